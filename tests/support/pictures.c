/* pictures.c: small images and data sets for tests. */
#include "tests/support/pictures.h"
#include "core/file.h"
#include "core/h5.h"
#include <spng.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

uint8_t picture_value(int64_t i, int64_t y, int64_t x, int64_t c)
{
    return (uint8_t)((40 * i + 3 * y + 2 * x + 50 * c) % 251);
}

void picture_fill(uint8_t *pixels, int64_t i, int64_t height, int64_t width, int64_t channels)
{
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int64_t c = 0; c < channels; c++) *pixels++ = picture_value(i, y, x, c);
}

static uint8_t *new_rgb(int64_t i, int height, int width)
{
    uint8_t *rgb = malloc((size_t)height * (size_t)width * 3);
    assert_non_null(rgb);
    picture_fill(rgb, i, height, width, 3);
    return rgb;
}

size_t picture_jpeg(int64_t i, int height, int width, uint8_t *out, size_t capacity)
{
    uint8_t *rgb = new_rgb(i, height, width);
    unsigned char *jpeg = NULL;
    unsigned long size = 0;
    tjhandle tj = tjInitCompress();
    assert_int_equal(tjCompress2(tj, rgb, width, 0, height, TJPF_RGB, &jpeg, &size, TJSAMP_444, 95, 0), 0);
    assert_true(size <= capacity);
    memcpy(out, jpeg, size);
    tjFree(jpeg);
    tjDestroy(tj);
    free(rgb);
    return size;
}

size_t picture_png(int64_t i, int height, int width, uint8_t *out, size_t capacity)
{
    uint8_t *rgb = new_rgb(i, height, width);
    struct spng_ihdr header = { .width = (uint32_t)width, .height = (uint32_t)height, .bit_depth = 8, .color_type = 2 };
    spng_ctx *png = spng_ctx_new(SPNG_CTX_ENCODER);
    size_t size = 0;
    int error = 0;
    spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    spng_set_ihdr(png, &header);
    const size_t raw = (size_t)height * (size_t)width * 3;
    assert_int_equal(spng_encode_image(png, rgb, raw, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
    void *bytes = spng_get_png_buffer(png, &size, &error);
    assert_true(bytes && size <= capacity);
    memcpy(out, bytes, size);
    free(bytes);
    spng_ctx_free(png);
    free(rgb);
    return size;
}

void picture_write_jpeg(const char *path, int64_t i, int height, int width)
{
    static uint8_t bytes[1 << 20];
    const size_t size = picture_jpeg(i, height, width, bytes, sizeof bytes);
    assert_ok(clvi_file_write(path, bytes, size));
}

void picture_write_png(const char *path, int64_t i, int height, int width)
{
    static uint8_t bytes[1 << 20];
    const size_t size = picture_png(i, height, width, bytes, sizeof bytes);
    assert_ok(clvi_file_write(path, bytes, size));
}

static void write_labels(clvi_h5 *h5, const char *name, int64_t count)
{
    static const char *const names[] = { "a", "b", "c" };
    int64_t *labels = calloc((size_t)count, sizeof *labels);
    assert_non_null(labels);
    for (int64_t i = 0; i < count; i++) labels[i] = i % 3;
    const clv_view view = clv_view_1d(labels, CLV_I64, count);
    assert_ok(clvi_h5_write(h5, name, &view));
    assert_ok(clvi_h5_set_attr_texts(h5, "/", "class_names", 3, names));
    free(labels);
}

void picture_write_h5(test_env *t, const char *path, const char *split, int64_t count, int64_t height, int64_t width,
                      int64_t channels, bool labelled)
{
    clvi_h5 *h5 = NULL;
    char name[64];
    const int64_t one = height * width * channels;
    uint8_t *pixels = malloc((size_t)(count * one));
    assert_non_null(pixels);
    for (int64_t i = 0; i < count; i++) picture_fill(pixels + i * one, i, height, width, channels);
    const clv_view view = clv_view_dense(pixels, CLV_U8, 4, (int64_t[]){ count, height, width, channels });
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    snprintf(name, sizeof name, "%s%simages", split, split[0] ? "/" : "");
    assert_ok(clvi_h5_write(h5, name, &view));
    snprintf(name, sizeof name, "%s%slabels", split, split[0] ? "/" : "");
    if (labelled) write_labels(h5, name, count);
    assert_ok(clvi_h5_commit(h5));
    free(pixels);
}

void picture_write_encoded_h5(test_env *t, const char *path, int64_t count)
{
    clvi_h5 *h5 = NULL;
    const size_t capacity = 1 << 20;
    uint8_t *bytes = malloc(capacity);
    int64_t *offsets = calloc((size_t)count + 1, sizeof *offsets);
    assert_true(bytes && offsets);
    for (int64_t i = 0; i < count; i++) {
        uint8_t *to = bytes + offsets[i];
        const size_t left = capacity - (size_t)offsets[i];
        const int height = (int)(16 + i);
        const size_t size = i % 2 ? picture_png(i, height, 20, to, left) : picture_jpeg(i, height, 20, to, left);
        offsets[i + 1] = offsets[i] + (int64_t)size;
    }
    const clv_view blob = clv_view_1d(bytes, CLV_U8, offsets[count]);
    const clv_view places = clv_view_1d(offsets, CLV_I64, count + 1);
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "train/bytes", &blob));
    assert_ok(clvi_h5_write(h5, "train/offsets", &places));
    write_labels(h5, "train/labels", count);
    assert_ok(clvi_h5_commit(h5));
    free(bytes);
    free(offsets);
}
