/* image.c: writing a picture and tiling several into one. */
#include <cleave/image.h>
#include "core/checked.h"
#include "core/file.h"
#include "core/png.h"
#include <string.h>

#define MAX_SHEET_BYTES (INT64_C(1) << 30)
#define MAX_SIDE        (INT64_C(1) << 20)

static clv_status check_image(const clv_image *image, const char *call)
{
    CLV_CHECK(image && image->pixels, CLV_ERR_INVALID, "%s: the picture is NULL", call);
    CLV_CHECK(image->height >= 1 && image->width >= 1 && image->height <= MAX_SIDE && image->width <= MAX_SIDE &&
              (image->channels == 1 || image->channels == 3), CLV_ERR_INVALID,
              "%s: want 1 or 3 channels and sides of 1..%" PRId64 ", got %" PRId64 " x %" PRId64 " x %" PRId64, call,
              MAX_SIDE, image->height, image->width, image->channels);
    CLV_CHECK(image->row_stride >= image->width * image->channels, CLV_ERR_INVALID,
              "%s: rows of %" PRId64 " bytes are %" PRId64 " bytes apart", call, image->width * image->channels,
              image->row_stride);
    return CLV_OK;
}

clv_status clv_image_write_png(clv_context *ctx, const char *path, const clv_image *image)
{
    clv_status st = CLV_OK;
    uint8_t *dense = NULL, *bytes = NULL;
    size_t size = 0;

    CLV_CHECK(ctx && path, CLV_ERR_INVALID, "clv_image_write_png: an argument is NULL");
    CLV_TRY(check_image(image, "clv_image_write_png"));
    const size_t row = (size_t)(image->width * image->channels);
    dense = clvi_calloc(ctx, (size_t)image->height, row);
    if (!dense) return CLV_ERR_NOMEM;
    for (int64_t y = 0; y < image->height; y++)
        memcpy(dense + (size_t)y * row, image->pixels + y * image->row_stride, row);
    CLV_TRY_OR_DONE(clvi_png_encode(ctx, dense, image->channels, image->height, image->width, &bytes, &size));
    CLV_TRY_OR_DONE(clvi_file_write(path, bytes, size));
done:
    clvi_free(ctx, bytes);
    clvi_free(ctx, dense);
    return st;
}

/* ---- contact sheet ---- */

typedef struct sheet {
    int64_t columns, rows, cell_h, cell_w, padding, zoom;   /* cells before zooming */
    int64_t height, width, channels;
} sheet;

static clv_status import_desc(clv_contact_sheet_desc *dst, const clv_contact_sheet_desc *src)
{
    static const clv_contact_sheet_desc defaults = CLV_CONTACT_SHEET_DESC_INIT;
    *dst = src ? *src : defaults;
    CLV_CHECK(dst->struct_size == sizeof *dst, CLV_ERR_INVALID,
              "clv_contact_sheet: struct_size is %zu; start from CLV_CONTACT_SHEET_DESC_INIT", dst->struct_size);
    CLV_CHECK(dst->columns >= 0 && dst->padding >= 0 && dst->padding <= 4096 && dst->zoom >= 1 && dst->zoom <= 64,
              CLV_ERR_INVALID, "clv_contact_sheet: want columns >= 0, padding 0..4096, zoom 1..64; got %" PRId64
              ", %" PRId64 ", %" PRId64, dst->columns, dst->padding, dst->zoom);
    return CLV_OK;
}

static clv_status sheet_plan(const clv_contact_sheet_desc *desc, const clv_image *images, int64_t count, sheet *out)
{
    sheet s = { .columns = desc->columns, .padding = desc->padding, .zoom = desc->zoom, .channels = 1 };
    CLV_CHECK(images && count >= 1 && count <= MAX_SIDE, CLV_ERR_INVALID, "clv_contact_sheet: want 1..%" PRId64
              " pictures, got %" PRId64, MAX_SIDE, count);
    for (int64_t i = 0; i < count; i++) {
        CLV_TRY(check_image(&images[i], "clv_contact_sheet"));
        s.cell_h = CLVI_MAX(s.cell_h, images[i].height);
        s.cell_w = CLVI_MAX(s.cell_w, images[i].width);
        s.channels = CLVI_MAX(s.channels, images[i].channels);
    }
    if (s.columns == 0)
        while (s.columns * s.columns < count) s.columns++;
    s.columns = CLVI_MIN(s.columns, count);
    s.rows = (count + s.columns - 1) / s.columns;
    s.height = s.rows * (s.cell_h * s.zoom + s.padding) + s.padding;   /* below 2^48: every factor is bounded above */
    s.width = s.columns * (s.cell_w * s.zoom + s.padding) + s.padding;
    CLV_CHECK(s.height <= MAX_SHEET_BYTES && s.width <= MAX_SHEET_BYTES / s.channels / s.height, CLV_ERR_UNSUPPORTED,
              "clv_contact_sheet: a sheet of %" PRId64 " x %" PRId64 " pixels is above 2^30 bytes", s.height, s.width);
    *out = s;
    return CLV_OK;
}

static void place_tile(const sheet *s, const clv_image *image, int64_t index, uint8_t *pixels)
{
    const int64_t top = s->padding + index / s->columns * (s->cell_h * s->zoom + s->padding) +
                        (s->cell_h - image->height) / 2 * s->zoom;
    const int64_t left = s->padding + index % s->columns * (s->cell_w * s->zoom + s->padding) +
                         (s->cell_w - image->width) / 2 * s->zoom;
    for (int64_t y = 0; y < image->height * s->zoom; y++)
        for (int64_t x = 0; x < image->width * s->zoom; x++) {
            const uint8_t *from = image->pixels + y / s->zoom * image->row_stride + x / s->zoom * image->channels;
            uint8_t *to = pixels + ((top + y) * s->width + left + x) * s->channels;
            for (int64_t c = 0; c < s->channels; c++) to[c] = from[image->channels == 1 ? 0 : c];
        }
}

clv_status clv_contact_sheet(const clv_contact_sheet_desc *desc, const clv_image *images, int64_t count,
                             uint8_t *pixels, int64_t *height, int64_t *width, int64_t *channels)
{
    clv_contact_sheet_desc d;
    sheet s;
    CLV_CHECK(height && width && channels, CLV_ERR_INVALID, "clv_contact_sheet: an argument is NULL");
    CLV_TRY(import_desc(&d, desc));
    CLV_TRY(sheet_plan(&d, images, count, &s));
    *height = s.height;
    *width = s.width;
    *channels = s.channels;
    if (!pixels) return CLV_OK;
    memset(pixels, d.background, (size_t)(s.height * s.width * s.channels));
    for (int64_t i = 0; i < count; i++) place_tile(&s, &images[i], i, pixels);
    return CLV_OK;
}
