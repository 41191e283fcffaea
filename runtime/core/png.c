/* png.c: a picture to PNG bytes, through libspng. */
#include "core/png.h"
#include "core/checked.h"
#include <spng.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIDE (1 << 20)

static int encode(spng_ctx *png, const uint8_t *pixels, struct spng_ihdr *header, size_t length)
{
    int err = spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    if (!err) err = spng_set_ihdr(png, header);
    if (!err) err = spng_encode_image(png, pixels, length, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    return err;
}

clv_status clvi_png_encode(clv_context *ctx, const uint8_t *pixels, int64_t channels, int64_t height, int64_t width,
                           uint8_t **bytes, size_t *size)
{
    clv_status st = CLV_OK;
    spng_ctx *png = NULL;
    uint8_t *own = NULL;   /* libspng's buffer, from malloc */
    size_t length = 0;
    int err = 0;

    CLV_CHECK(ctx && pixels && bytes && size, CLV_ERR_INVALID, "clvi_png_encode: an argument is NULL");
    CLV_CHECK((channels == 1 || channels == 3) && height >= 1 && width >= 1 && height <= MAX_SIDE && width <= MAX_SIDE,
              CLV_ERR_INVALID, "PNG: want 1 or 3 channels and sides of 1..%d, got %" PRId64 " x %" PRId64 " x %" PRId64,
              MAX_SIDE, height, width, channels);
    struct spng_ihdr header = { .width = (uint32_t)width, .height = (uint32_t)height, .bit_depth = 8,
        .color_type = channels == 3 ? SPNG_COLOR_TYPE_TRUECOLOR : SPNG_COLOR_TYPE_GRAYSCALE };
    png = spng_ctx_new(SPNG_CTX_ENCODER);
    CLV_CHECK_OR_DONE(png, CLV_ERR_NOMEM, "PNG: out of memory");
    err = encode(png, pixels, &header, (size_t)(height * width * channels));
    if (!err) own = spng_get_png_buffer(png, &length, &err);
    CLV_CHECK_OR_DONE(own && !err, err == SPNG_EMEM ? CLV_ERR_NOMEM : CLV_ERR_INTERNAL, "PNG: %s", spng_strerror(err));

    *bytes = clvi_calloc(ctx, length, 1);
    CLV_CHECK_OR_DONE(*bytes, CLV_ERR_NOMEM, "PNG: out of memory for %zu bytes", length);
    memcpy(*bytes, own, length);
    *size = length;
done:
    free(own);
    spng_ctx_free(png);
    return st;
}
