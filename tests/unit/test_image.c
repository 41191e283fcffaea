/* test_image.c: contact sheets, PNG files, and the preview of a chain. */
#include "tests/support/augment.h"
#include "core/file.h"
#include "core/checked.h"
#include "core/png.h"
#include <spng.h>
#include <stdlib.h>
#include <string.h>

/* The picture in a PNG file, through libspng; free(). */
static uint8_t *read_png(clv_context *ctx, const char *path, struct spng_ihdr *header, int format)
{
    uint8_t *bytes = NULL, *pixels = NULL;
    size_t size = 0, length = 0;
    assert_ok(clvi_file_read(ctx, path, 1 << 24, &bytes, &size));
    spng_ctx *png = spng_ctx_new(0);
    assert_int_equal(spng_set_png_buffer(png, bytes, size), 0);
    assert_int_equal(spng_get_ihdr(png, header), 0);
    assert_int_equal(spng_decoded_image_size(png, format, &length), 0);
    pixels = malloc(length);
    assert_int_equal(spng_decode_image(png, pixels, length, format, 0), 0);
    spng_ctx_free(png);
    clvi_free(ctx, bytes);
    return pixels;
}

static void a_written_png_reads_back_the_same(void **state)
{
    test_env *t = *state;
    uint8_t *pixels = test_noise(8, 13, 17, 3), *row = NULL;
    struct spng_ihdr header;
    const clv_image part = { pixels + 6, 13, 15, 3, 51 };
    const char *path = test_path(t, "a.png");
    assert_ok(clv_image_write_png(t->ctx, path, &part));
    uint8_t *back = read_png(t->ctx, path, &header, SPNG_FMT_RGB8);
    assert_int_equal(header.width, 15);
    assert_int_equal(header.height, 13);
    for (int y = 0; y < 13; y++) assert_memory_equal(back + y * 45, pixels + 6 + y * 51, 45);
    free(back);
    row = test_noise(9, 4, 5, 1);
    const clv_image grey = clv_image_dense(row, 4, 5, 1);
    assert_ok(clv_image_write_png(t->ctx, path, &grey));
    back = read_png(t->ctx, path, &header, SPNG_FMT_G8);
    assert_int_equal(header.color_type, SPNG_COLOR_TYPE_GRAYSCALE);
    assert_memory_equal(back, row, 20);
    free(back);
    free(row);
    free(pixels);
}

static void a_picture_that_is_no_png_is_refused(void **state)
{
    test_env *t = *state;
    const uint8_t pixels[64] = { 0 };
    clv_image image = clv_image_dense(pixels, 4, 4, 2);
    assert_fails(clv_image_write_png(t->ctx, test_path(t, "b.png"), &image), CLV_ERR_INVALID, "got 4 x 4 x 2");
    image = clv_image_dense(pixels, 0, 4, 3);
    assert_fails(clv_image_write_png(t->ctx, test_path(t, "b.png"), &image), CLV_ERR_INVALID, "got 0 x 4 x 3");
    image = clv_image_dense(pixels, 4, 4, 3);
    assert_fails(clv_image_write_png(t->ctx, test_path(t, "no/such/folder/b.png"), &image), CLV_ERR_IO, "b.png");
}

static void a_contact_sheet_places_and_enlarges_its_tiles(void **state)
{
    (void)state;
    const uint8_t a[4] = { 1, 2, 3, 4 }, b[3] = { 10, 20, 30 };
    const clv_image images[3] = { clv_image_dense(a, 2, 2, 1), clv_image_dense(b, 1, 1, 3),
                                  clv_image_dense(a, 2, 2, 1) };
    clv_contact_sheet_desc desc = CLV_CONTACT_SHEET_DESC_INIT;
    int64_t h = 0, w = 0, c = 0;
    uint8_t sheet[11 * 11 * 3];
    desc.padding = 1;
    desc.zoom = 2;
    desc.background = 200;
    assert_ok(clv_contact_sheet(&desc, images, 3, NULL, &h, &w, &c));
    assert_true(h == 11 && w == 11 && c == 3);   /* two columns: 1 + 4 + 1 + 4 + 1 */
    assert_ok(clv_contact_sheet(&desc, images, 3, sheet, &h, &w, &c));
    assert_int_equal(sheet[0], 200);
    assert_memory_equal(sheet + (1 * 11 + 1) * 3, ((uint8_t[]) { 1, 1, 1, 1, 1, 1, 2, 2, 2 }), 9);
    assert_memory_equal(sheet + (2 * 11 + 7) * 3, ((uint8_t[]) { 10, 20, 30, 200, 200, 200 }), 3);
    assert_memory_equal(sheet + (9 * 11 + 4) * 3, ((uint8_t[]) { 4, 4, 4, 200, 200, 200 }), 6);
    assert_int_equal(sheet[(7 * 11 + 7) * 3], 200);   /* the fourth cell is empty */
}

static void a_sheet_that_cannot_be_is_refused(void **state)
{
    (void)state;
    const uint8_t a[4] = { 1, 2, 3, 4 };
    const clv_image huge = clv_image_dense(a, 1 << 20, 1 << 20, 1), small = clv_image_dense(a, 2, 2, 1);
    clv_contact_sheet_desc desc = CLV_CONTACT_SHEET_DESC_INIT;
    int64_t h, w, c;
    assert_fails(clv_contact_sheet(NULL, &small, 0, NULL, &h, &w, &c), CLV_ERR_INVALID, "got 0");
    assert_fails(clv_contact_sheet(NULL, &huge, 1, NULL, &h, &w, &c), CLV_ERR_UNSUPPORTED, "above 2^30 bytes");
    desc.zoom = 0;
    assert_fails(clv_contact_sheet(&desc, &small, 1, NULL, &h, &w, &c), CLV_ERR_INVALID, "zoom 1..64");
    desc = (clv_contact_sheet_desc) { 0 };
    assert_fails(clv_contact_sheet(&desc, &small, 1, NULL, &h, &w, &c), CLV_ERR_INVALID, "CLV_CONTACT_SHEET_DESC_INIT");
}

static void a_preview_shows_the_picture_and_its_views(void **state)
{
    test_env *t = *state;
    test_chain c = test_chain_make(t, "center-crop size=8 margin=1; normalize mean=0.4 std=0.25", 12, 12, 3);
    uint8_t *pixels = test_noise(3, 8, 8, 3), *sheet = NULL;
    const clv_image images[2] = { clv_image_dense(pixels, 8, 8, 3), clv_image_dense(pixels, 4, 4, 3) };
    clv_augment_preview_desc desc = CLV_AUGMENT_PREVIEW_DESC_INIT;
    int64_t h = 0, w = 0, channels = 0;
    desc.views = 2;
    assert_ok(clv_augment_preview(c.augment, &desc, images, 2, &sheet, &h, &w, &channels));
    assert_true(h == 2 + 2 * 10 && w == 2 + 3 * 10 && channels == 3);
    for (int column = 0; column < 3; column++)   /* this chain changes nothing, and normalize is undone */
        for (int y = 0; y < 8; y++)
            assert_memory_equal(sheet + ((2 + y) * w + 2 + column * 10) * 3, pixels + y * 24, 24);
    clv_augment_preview_free(c.augment, sheet);
    /* With a title, 16 rows above: a line for it, and one for the columns, each cut where its room ends. */
    desc.title = "I-1 and much more than fits here";
    assert_ok(clv_augment_preview(c.augment, &desc, images, 2, &sheet, &h, &w, &channels));
    assert_true(h == 16 + 2 + 2 * 10 && w == 2 + 3 * 10);
    static const char *const letters[5] = { "###......#..", ".#......##..", ".#..###..#..", ".#.......#..", "###.....###." };
    for (int y = 0; y < 5; y++)
        for (int x = 0; x < 12; x++)
            assert_int_equal(sheet[((2 + y) * w + 2 + x) * 3 + 1], letters[y][x] == '#' ? 0 : 255);
    int dark[3] = { 0 };
    for (int y = 8; y < 16; y++)
        for (int x = 0; x < w; x++) dark[CLVI_MIN(x / 10, 2)] += sheet[(y * w + x) * 3] == 0;
    for (int column = 0; column < 3; column++) assert_true(dark[column] > 10);   /* "PI", "VI", "VI" */
    for (int column = 0; column < 3; column++)
        assert_memory_equal(sheet + (18 * w + 2 + column * 10) * 3, pixels, 24);
    clv_augment_preview_free(c.augment, sheet);
    desc.views = 0;
    assert_fails(clv_augment_preview(c.augment, &desc, images, 2, &sheet, &h, &w, &channels), CLV_ERR_INVALID,
                 "want 1..4096 pictures and views");
    free(pixels);
    test_chain_free(&c);
}

TEST_MAIN(TEST(a_written_png_reads_back_the_same), TEST(a_picture_that_is_no_png_is_refused),
          TEST(a_contact_sheet_places_and_enlarges_its_tiles), TEST(a_sheet_that_cannot_be_is_refused),
          TEST(a_preview_shows_the_picture_and_its_views))
