/* pixels.c: raw pixels as features: what an encoder must beat. */
#include <cleave/eval.h>
#include "core/status.h"

clv_status clv_pixel_features(clv_context *ctx, const clv_dataset *ds, int64_t first, int64_t count, const clv_view *features)
{
    CLV_CHECK(ctx && ds && features, CLV_ERR_INVALID, "clv_pixel_features: an argument is NULL");
    clv_dataset_info info;
    clv_dataset_describe(ds, &info);
    const int64_t row = info.height * info.width * info.channels;
    CLV_CHECK(row > 0, CLV_ERR_SHAPE, "clv_pixel_features: images of '%s' differ in size", info.path);
    CLV_CHECK(features->dtype == CLV_F32 && features->ndim == 2 && features->shape[0] == count && features->shape[1] == row
                  && clv_view_is_dense(features),
              CLV_ERR_SHAPE, "clv_pixel_features: features must be dense float32 [%" PRId64 ", %" PRId64 "]", count, row);
    clv_decoder *decoder = NULL;
    CLV_TRY(clv_decoder_create(ctx, NULL, &decoder));
    clv_status st = CLV_OK;
    for (int64_t i = 0; i < count; i++) {
        clv_image image;
        CLV_TRY_OR_DONE(clv_dataset_image(ds, first + i, decoder, &image));
        CLV_CHECK_OR_DONE(image.height == info.height && image.width == info.width && image.channels == info.channels,
                          CLV_ERR_SHAPE, "clv_pixel_features: image %" PRId64 " has another size", first + i);
        float *out = (float *)features->data + i * row;
        const int64_t line = image.width * image.channels;
        for (int64_t y = 0; y < image.height; y++)
            for (int64_t x = 0; x < line; x++) *out++ = (float)image.pixels[y * image.row_stride + x] / 255.0f;
    }
done:
    clv_decoder_destroy(decoder);
    return st;
}
