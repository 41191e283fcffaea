/* on_device.c: pictures, operations and tables to the device, and one launch there. */
#include "augment/on_device.h"
#include "augment/chain.h"
#include "augment/lower.h"
#include "device/backend.h"
#include <string.h>

/* The parts of a batch, host memory and where they go. */
enum { VIEWS, OPS, TABLES, BYTES, VALUES, PARTS };

typedef struct part {
    const void *from;
    size_t      size;
    void       *to;
} part;

static clv_status check(const clv_augment *a, const clv_context *ctx, int64_t n, const clv_image *pictures)
{
    const clvi_normalize *norm = clvi_chain_normalize(a);
    CLV_CHECK(ctx->device, CLV_ERR_UNSUPPORTED, "augmentation on a device: the context computes on the processor");
    for (int64_t i = 0; i < n; i++) {
        const clv_image *in = &pictures[i];
        CLV_CHECK(in->pixels && in->height >= 1 && in->width >= 1 && in->height <= CLV_AUGMENT_MAX_SIDE &&
                  in->width <= CLV_AUGMENT_MAX_SIDE && (in->channels == 1 || in->channels == 3) &&
                  in->channels == pictures[0].channels, CLV_ERR_SHAPE,
                  "augmentation on a device: picture %" PRId64 " of %" PRId64 " x %" PRId64 " x %" PRId64
                  " does not go with the first", i, in->height, in->width, in->channels);
        CLV_CHECK(norm->channels == 1 || in->channels == norm->channels, CLV_ERR_SHAPE,
                  "normalize: mean or std names %d channels, the picture has %" PRId64, norm->channels, in->channels);
    }
    return CLV_OK;
}

/* The pictures' rows one after another. */
static uint8_t *gather(clv_context *ctx, int64_t n, const clv_image *pictures, clvi_pixel_view *view, size_t *size)
{
    *size = 0;
    for (int64_t i = 0; i < n; i++) {
        view[i].bytes = (int64_t)*size;
        *size += (size_t)view[i].row_stride * (size_t)pictures[i].height;
    }
    uint8_t *bytes = clvi_calloc(ctx, *size ? *size : 1, 1);
    for (int64_t i = 0; bytes && i < n; i++)
        for (int64_t y = 0; y < pictures[i].height; y++)
            memcpy(bytes + view[i].bytes + y * view[i].row_stride, pictures[i].pixels + y * pictures[i].row_stride,
                   (size_t)view[i].row_stride);
    return bytes;
}

static clv_status run(const clv_augment *a, clv_context *ctx, int64_t n, const clvi_pixel_view *view,
                      const clvi_pixel_list *list, const uint8_t *bytes, size_t size, float *out)
{
    clv_status st = CLV_OK;
    void *room = NULL;
    part p[PARTS] = {
        [VIEWS] = { view, (size_t)n * sizeof *view, NULL },
        [OPS] = { list->op, (size_t)list->ops * sizeof *list->op, NULL },
        [TABLES] = { list->table, (size_t)list->tables * sizeof *list->table, NULL },
        [BYTES] = { bytes, size, NULL },
        [VALUES] = { clvi_chain_normalize(a)->table, sizeof clvi_chain_normalize(a)->table, NULL },
    };
    const size_t picture = clvi_round_up(list->picture, CLVI_ALIGN), temp = clvi_round_up(list->temp, CLVI_ALIGN);
    const size_t room_size = (size_t)n * (2 * picture + temp);
    for (int i = 0; i < PARTS; i++) {
        p[i].to = clvi_device_alloc(ctx, p[i].size);
        CLV_CHECK_OR_DONE(p[i].to, CLV_ERR_NOMEM, "augmentation on a device: no memory for %zu bytes", p[i].size);
        CLV_TRY_OR_DONE(clvi_device_copy(ctx, p[i].to, p[i].from, p[i].size, CLVI_COPY_TO_DEVICE));
    }
    room = clvi_device_alloc(ctx, room_size);
    CLV_CHECK_OR_DONE(room, CLV_ERR_NOMEM, "augmentation on a device: no memory for %zu bytes", room_size);
    const clvi_pixel_batch batch = {
        .view = p[VIEWS].to, .op = p[OPS].to, .table = p[TABLES].to, .bytes = p[BYTES].to, .values = p[VALUES].to,
        .room = room, .out = out, .views = n, .picture = (int64_t)picture, .temp = (int64_t)temp,
        .height = a->size, .width = a->size, .channels = view[0].channels,
    };
    CLV_TRY_OR_DONE(ctx->device->backend->augment(ctx->device, &batch));
    CLV_TRY_OR_DONE(clvi_device_wait(ctx));
done:
    for (int i = 0; i < PARTS; i++) clvi_device_free(ctx, p[i].to, p[i].size);
    clvi_device_free(ctx, room, room_size);
    return st;
}

clv_status clvi_augment_on_device(const clv_augment *a, clv_context *ctx, int64_t n, const clv_image *pictures,
                                  uint64_t seed, uint32_t epoch, const uint64_t *samples, uint32_t number, float *out)
{
    clv_status st = CLV_OK;
    clvi_pixel_list list = { .ctx = ctx };
    clvi_pixel_view *view = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    CLV_TRY(check(a, ctx, n, pictures));
    if (n == 0) return CLV_OK;
    view = clvi_calloc(ctx, (size_t)n, sizeof *view);
    if (!view) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        const clvi_geometry g = { (int)pictures[i].height, (int)pictures[i].width, (int)pictures[i].channels };
        CLV_TRY_OR_DONE(clvi_augment_lower(a, &g, seed, epoch, samples[i], number, &list, &view[i]));
        list.picture = CLVI_MAX(list.picture, (size_t)g.height * (size_t)g.width * (size_t)g.channels);
    }
    bytes = gather(ctx, n, pictures, view, &size);
    CLV_CHECK_OR_DONE(bytes, CLV_ERR_NOMEM, "augmentation on a device: no memory for %zu bytes", size);
    CLV_TRY_OR_DONE(run(a, ctx, n, view, &list, bytes, size, out));
done:
    clvi_pixel_list_release(&list);
    clvi_free(ctx, view);
    clvi_free(ctx, bytes);
    return st;
}
