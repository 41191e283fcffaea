/* test_decode.c: JPEG and PNG pictures as strangers write them. */
#include "tests/support/pictures.h"
#include "core/context.h"
#include "data/decode.h"
#include <spng.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>
#include <zlib.h>

static clv_decoder *new_decoder(test_env *t, bool exif)
{
    clv_decoder *decoder = NULL;
    clv_decoder_desc desc = CLV_DECODER_DESC_INIT;
    desc.exif_orientation = exif;
    assert_ok(clv_decoder_create(t->ctx, &desc, &decoder));
    return decoder;
}

static void a_truncated_picture_is_an_error_wherever_it_ends(void **state)
{
    test_env *t = *state;
    uint8_t bytes[20000];
    clv_image image;
    clv_decoder *decoder = new_decoder(t, false);
    size_t size = picture_jpeg(1, 24, 32, bytes, sizeof bytes);
    assert_ok(clv_decoder_decode(decoder, "p", bytes, size, &image));
    for (size_t n = 0; n < size - 2; n++)
        assert_fails(clv_decoder_decode(decoder, "p.jpg", bytes, n, &image), CLV_ERR_FORMAT, "p.jpg: ");
    size = picture_png(1, 24, 32, bytes, sizeof bytes);
    assert_ok(clv_decoder_decode(decoder, "p", bytes, size, &image));
    /* 12 bytes of IEND and the 4 of the last checksum say nothing about pixels. */
    for (size_t n = 0; n < size - 16; n++)
        assert_fails(clv_decoder_decode(decoder, "p.png", bytes, n, &image), CLV_ERR_FORMAT, "p.png: ");
    clv_decoder_destroy(decoder);
}

/* Puts `size` bytes into a JPEG after its start-of-image marker. */
static size_t insert_after_start(uint8_t *jpeg, size_t jpeg_size, const void *bytes, size_t size)
{
    memmove(jpeg + 2 + size, jpeg + 2, jpeg_size - 2);
    memcpy(jpeg + 2, bytes, size);
    return jpeg_size + size;
}

static void stray_bytes_between_segments_do_no_harm_but_hide_no_truncation(void **state)
{
    test_env *t = *state;
    static uint8_t plain[20000], stray[20000];
    clv_image image;
    clv_decoder *a = new_decoder(t, false), *b = new_decoder(t, false);
    const size_t size = picture_jpeg(2, 24, 32, plain, sizeof plain);
    memcpy(stray, plain, size);
    const size_t app0 = 4 + ((size_t)plain[4] << 8 | plain[5]);   /* behind the first segment */
    memmove(stray + app0 + 5, stray + app0, size - app0);
    memcpy(stray + app0, "\x01\x02\xff\x00\x03", 5);
    assert_ok(clv_decoder_decode(a, "plain", plain, size, &image));
    clv_image other;
    assert_ok(clv_decoder_decode(b, "stray", stray, size + 5, &other));
    assert_memory_equal(image.pixels, other.pixels, 24 * 32 * 3);
    assert_fails(clv_decoder_decode(b, "stray", stray, size - 40, &other), CLV_ERR_FORMAT, "Premature end");
    clv_decoder_destroy(a);
    clv_decoder_destroy(b);
}

static void the_exif_orientation_is_applied_only_when_asked(void **state)
{
    test_env *t = *state;
    /* Stored 2 x 3: where the first stored pixel (top left) must come out, as (y, x), for each orientation. */
    static const int place[9][2] = { { 0, 0 }, { 0, 0 }, { 0, 2 }, { 1, 2 }, { 1, 0 },
                                     { 0, 0 }, { 0, 1 }, { 2, 1 }, { 2, 0 } };
    static uint8_t jpeg[20000];
    clv_decoder *plain = new_decoder(t, false), *upright = new_decoder(t, true);
    /* Blocks of 16 x 16 so that JPEG keeps them apart: one white block at the top left of a black 2 x 3 board. */
    uint8_t *board = calloc(1, 32 * 48 * 3);
    for (int y = 0; y < 16; y++) memset(board + y * 48 * 3, 255, 16 * 3);
    for (int o = 1; o <= 8; o++) {
        uint8_t exif[36] = "\xff\xe1\x00\x22" "Exif\0\0" "MM\0*\0\0\0\x08" "\0\x01" "\x01\x12\0\x03\0\0\0\x01\0\0\0\0";
        exif[29] = (uint8_t)o;
        tjhandle tj = tjInitCompress();
        unsigned char *out = jpeg;
        unsigned long size = sizeof jpeg - 36;
        assert_int_equal(tjCompress2(tj, board, 48, 0, 32, TJPF_RGB, &out, &size, TJSAMP_444, 95, TJFLAG_NOREALLOC), 0);
        tjDestroy(tj);
        const size_t whole = insert_after_start(jpeg, size, exif, sizeof exif);
        clv_image image;
        assert_ok(clv_decoder_decode(plain, "o", jpeg, whole, &image));
        assert_int_equal(image.width, 48);
        assert_true(image.pixels[0] > 250);
        assert_ok(clv_decoder_decode(upright, "o", jpeg, whole, &image));
        assert_int_equal(image.width, o >= 5 ? 32 : 48);
        assert_int_equal(image.height, o >= 5 ? 48 : 32);
        for (int64_t y = 0; y < image.height / 16; y++)
            for (int64_t x = 0; x < image.width / 16; x++) {
                const int value = image.pixels[(16 * y + 8) * image.row_stride + (16 * x + 8) * 3];
                assert_true((y == place[o][0] && x == place[o][1]) ? value > 250 : value < 5);
            }
    }
    free(board);
    clv_decoder_destroy(plain);
    clv_decoder_destroy(upright);
}

static void broken_exif_blocks_are_ignored(void **state)
{
    (void)state;
    uint8_t tiff[40] = "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
    assert_int_equal(clvi_exif_orientation(tiff, 26), 6);
    for (size_t n = 0; n < 22; n++) assert_int_equal(clvi_exif_orientation(tiff, n), 1);
    tiff[18] = 9;
    assert_int_equal(clvi_exif_orientation(tiff, 26), 1);
    memset(tiff + 4, 0xff, 4);
    assert_int_equal(clvi_exif_orientation(tiff, 26), 1);
}

static size_t encode_png(uint8_t color, uint8_t depth, const void *pixels, size_t size, struct spng_plte *plte,
                         struct spng_trns *trns, uint8_t *out)
{
    struct spng_ihdr header = { .width = 2, .height = 1, .bit_depth = depth, .color_type = color };
    spng_ctx *png = spng_ctx_new(SPNG_CTX_ENCODER);
    int error = 0;
    size_t n = 0;
    spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    assert_int_equal(spng_set_ihdr(png, &header), 0);
    if (plte) assert_int_equal(spng_set_plte(png, plte), 0);
    if (trns) assert_int_equal(spng_set_trns(png, trns), 0);
    assert_int_equal(spng_encode_image(png, pixels, size, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
    void *bytes = spng_get_png_buffer(png, &n, &error);
    memcpy(out, bytes, n);
    free(bytes);
    spng_ctx_free(png);
    return n;
}

static void every_kind_of_png_becomes_rgb(void **state)
{
    test_env *t = *state;
    uint8_t bytes[2000];
    clv_image image;
    clv_decoder *decoder = new_decoder(t, false);
    struct spng_plte plte = { .n_entries = 2, .entries = { { 1, 2, 3, 0 }, { 7, 8, 9, 0 } } };
    struct spng_trns trns = { .n_type3_entries = 1, .type3_alpha = { 0 } };
    size_t n = encode_png(3, 8, (uint8_t[]){ 1, 0 }, 2, &plte, &trns, bytes);
    assert_ok(clv_decoder_decode(decoder, "palette", bytes, n, &image));
    assert_memory_equal(image.pixels, ((uint8_t[]){ 7, 8, 9, 1, 2, 3 }), 6);
    n = encode_png(0, 8, (uint8_t[]){ 5, 200 }, 2, NULL, NULL, bytes);
    assert_ok(clv_decoder_decode(decoder, "gray", bytes, n, &image));
    assert_memory_equal(image.pixels, ((uint8_t[]){ 5, 5, 5, 200, 200, 200 }), 6);
    n = encode_png(6, 8, (uint8_t[]){ 1, 2, 3, 0, 4, 5, 6, 128 }, 8, NULL, NULL, bytes);
    assert_ok(clv_decoder_decode(decoder, "alpha", bytes, n, &image));
    assert_memory_equal(image.pixels, ((uint8_t[]){ 1, 2, 3, 4, 5, 6 }), 6);
    n = encode_png(4, 8, (uint8_t[]){ 9, 0, 250, 128 }, 4, NULL, NULL, bytes);
    assert_ok(clv_decoder_decode(decoder, "gray and alpha", bytes, n, &image));
    assert_memory_equal(image.pixels, ((uint8_t[]){ 9, 9, 9, 250, 250, 250 }), 6);
    n = encode_png(0, 16, (uint16_t[]){ 0x12ff, 0xfe00 }, 4, NULL, NULL, bytes);
    assert_ok(clv_decoder_decode(decoder, "deep gray", bytes, n, &image));
    assert_memory_equal(image.pixels, ((uint8_t[]){ 0x12, 0x12, 0x12, 0xfe, 0xfe, 0xfe }), 6);
    n = encode_png(2, 16, (uint16_t[]){ 0x1234, 0xff00, 0, 0x80ff, 0x7f00, 0xabcd }, 12, NULL, NULL, bytes);
    assert_ok(clv_decoder_decode(decoder, "deep", bytes, n, &image));
    assert_memory_equal(image.pixels, ((uint8_t[]){ 0x12, 0xff, 0, 0x80, 0x7f, 0xab }), 6);
    clv_decoder_destroy(decoder);
}

static void gray_and_cmyk_jpegs_become_rgb(void **state)
{
    test_env *t = *state;
    static uint8_t jpeg[20000], pixels[16 * 16 * 4];
    clv_image image;
    clv_decoder *decoder = new_decoder(t, false);
    tjhandle tj = tjInitCompress();
    unsigned char *out = jpeg;
    unsigned long size = sizeof jpeg;
    memset(pixels, 90, sizeof pixels);
    assert_int_equal(tjCompress2(tj, pixels, 16, 0, 16, TJPF_GRAY, &out, &size, TJSAMP_GRAY, 95, TJFLAG_NOREALLOC), 0);
    assert_ok(clv_decoder_decode(decoder, "gray", jpeg, size, &image));
    assert_int_equal(image.channels, 3);
    for (int c = 0; c < 3; c++) assert_near(image.pixels[c], 90, 1);
    for (int i = 0; i < 256; i++) memcpy(pixels + 4 * i, (uint8_t[]){ 255, 102, 0, 204 }, 4);
    size = sizeof jpeg;
    assert_int_equal(tjCompress2(tj, pixels, 16, 0, 16, TJPF_CMYK, &out, &size, TJSAMP_444, 95, TJFLAG_NOREALLOC), 0);
    assert_ok(clv_decoder_decode(decoder, "cmyk", jpeg, size, &image));
    assert_near(image.pixels[0], 204, 3);
    assert_near(image.pixels[1], 102 * 204 / 255, 3);
    assert_near(image.pixels[2], 0, 3);
    tjDestroy(tj);
    clv_decoder_destroy(decoder);
}

static void a_cmyk_jpeg_is_not_taken_for_ycck(void **state)
{
    test_env *t = *state;
    static uint8_t jpeg[20000], pixels[16 * 16 * 4];
    clv_image image;
    clv_decoder *decoder = new_decoder(t, false);
    tjhandle tj = tjInitCompress();
    unsigned char *out = jpeg;
    unsigned long size = sizeof jpeg;
    /* Equal inks are stored as YCCK with Y of the inks' complement; without the transform, these are three inks. */
    for (int i = 0; i < 256; i++) memcpy(pixels + 4 * i, (uint8_t[]){ 155, 155, 155, 204 }, 4);
    assert_int_equal(tjCompress2(tj, pixels, 16, 0, 16, TJPF_CMYK, &out, &size, TJSAMP_444, 95, TJFLAG_NOREALLOC), 0);
    tjDestroy(tj);
    assert_ok(clv_decoder_decode(decoder, "ycck", jpeg, size, &image));
    for (int c = 0; c < 3; c++) assert_near(image.pixels[c], 155 * 204 / 255, 3);
    uint8_t *adobe = memmem(jpeg, size, "Adobe", 5);
    assert_non_null(adobe);
    assert_int_equal(adobe[11], 2);
    adobe[11] = 0;
    assert_ok(clv_decoder_decode(decoder, "cmyk", jpeg, size, &image));
    assert_near(image.pixels[0], 100 * 204 / 255, 3);
    assert_near(image.pixels[1], 128 * 204 / 255, 3);
    assert_near(image.pixels[2], 128 * 204 / 255, 3);
    clv_decoder_destroy(decoder);
}

static void progressive_pictures_are_read_and_too_many_scans_refused(void **state)
{
    test_env *t = *state;
    static uint8_t jpeg[20000], plain[20000], pixels[16 * 16 * 3];
    clv_image image, same;
    clv_decoder *decoder = new_decoder(t, false), *other = new_decoder(t, false);
    tjhandle tj = tjInitCompress();
    unsigned char *out = plain;
    unsigned long size = sizeof plain;
    picture_fill(pixels, 4, 16, 16, 3);
    assert_int_equal(tjCompress2(tj, pixels, 16, 0, 16, TJPF_RGB, &out, &size, TJSAMP_444, 95, TJFLAG_NOREALLOC), 0);
    assert_ok(clv_decoder_decode(other, "baseline", plain, size, &same));
    out = jpeg;
    size = sizeof jpeg;
    assert_int_equal(tjCompress2(tj, pixels, 16, 0, 16, TJPF_RGB, &out, &size, TJSAMP_444, 95,
                                 TJFLAG_NOREALLOC | TJFLAG_PROGRESSIVE), 0);
    tjDestroy(tj);
    assert_ok(clv_decoder_decode(decoder, "progressive", jpeg, size, &image));
    assert_memory_equal(image.pixels, same.pixels, sizeof pixels);
    /* The last scan, a refinement, again and again: each costs time and few bytes. */
    size_t scan = size - 2;
    while (!(jpeg[scan] == 0xff && jpeg[scan + 1] == 0xda)) scan--;
    const size_t length = size - 2 - scan;
    uint8_t *bomb = malloc(size + 600 * length);
    memcpy(bomb, jpeg, size - 2);
    for (size_t i = 0; i < 600; i++) memcpy(bomb + size - 2 + i * length, jpeg + scan, length);
    memcpy(bomb + size - 2 + 600 * length, "\xff\xd9", 2);
    assert_fails(clv_decoder_decode(decoder, "bomb.jpg", bomb, size + 600 * length, &image), CLV_ERR_FORMAT,
                 "bomb.jpg: JPEG: ");
    assert_ok(clv_decoder_decode(decoder, "progressive", jpeg, size, &image));   /* the decoder works on */
    free(bomb);
    clv_decoder_destroy(other);
    clv_decoder_destroy(decoder);
}

static void an_empty_file_and_a_png_bomb_are_refused_by_name(void **state)
{
    test_env *t = *state;
    /* 13000 x 13000 of RGB, with a right checksum. */
    static const uint8_t head[33] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x32\xc8\0\0\x32\xc8\x08\x02\0\0\0";
    uint8_t png[20000] = { 0 };
    clv_image image;
    clv_decoder *decoder = new_decoder(t, false);
    assert_fails(clv_decoder_decode(decoder, "empty.jpg", "", 0, &image), CLV_ERR_FORMAT, "empty.jpg: expected the");
    memcpy(png, head, sizeof head);
    const uint32_t crc = (uint32_t)crc32(0, png + 12, 17);
    for (int i = 0; i < 4; i++) png[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    assert_fails(clv_decoder_decode(decoder, "bomb.png", png, sizeof png, &image), CLV_ERR_FORMAT,
                 "bomb.png: PNG: 13000x13000 pixels of 507000000 bytes cannot be in a file of 20000 bytes");
    assert_true(t->heap.live_bytes < 100000);
    clv_decoder_destroy(decoder);
}

static void pictures_beyond_the_limits_are_refused_before_memory_is_taken(void **state)
{
    test_env *t = *state;
    static uint8_t jpeg[20000], png[20000];
    clv_image image;
    clv_decoder *decoder = new_decoder(t, false);
    size_t n = picture_jpeg(0, 16, 16, jpeg, sizeof jpeg);
    for (size_t i = 0; i + 9 < n; i++)
        if (jpeg[i] == 0xff && jpeg[i + 1] == 0xc0) memcpy(jpeg + i + 5, "\xff\x00\xff\x00", 4);   /* 65280 x 65280 */
    assert_fails(clv_decoder_decode(decoder, "big.jpg", jpeg, n, &image), CLV_ERR_FORMAT,
                 "big.jpg: JPEG: 65280x65280 pixels; expected sides of 1 to 65500");
    n = picture_png(0, 16, 16, png, sizeof png);
    memcpy(png + 16, "\x00\x01\x00\x00", 4);
    assert_fails(clv_decoder_decode(decoder, "big.png", png, n, &image), CLV_ERR_FORMAT, "big.png: PNG: header");
    assert_true(t->heap.live_bytes < 100000);
    clv_decoder_destroy(decoder);
}

static void names_tell_which_files_are_pictures(void **state)
{
    (void)state;
    assert_int_equal(clvi_image_name_kind("a.JPeG"), CLVI_NAME_DECODABLE);
    assert_int_equal(clvi_image_name_kind("a.b.png"), CLVI_NAME_DECODABLE);
    assert_int_equal(clvi_image_name_kind("a.TIFF"), CLVI_NAME_REFUSED);
    assert_int_equal(clvi_image_name_kind(".png"), CLVI_NAME_OTHER);
    assert_int_equal(clvi_image_name_kind("png"), CLVI_NAME_OTHER);
    assert_int_equal(clvi_image_name_kind("a.jpg.txt"), CLVI_NAME_OTHER);
}

TEST_MAIN(
    TEST(a_truncated_picture_is_an_error_wherever_it_ends),
    TEST(stray_bytes_between_segments_do_no_harm_but_hide_no_truncation),
    TEST(the_exif_orientation_is_applied_only_when_asked),
    TEST(broken_exif_blocks_are_ignored),
    TEST(every_kind_of_png_becomes_rgb),
    TEST(gray_and_cmyk_jpegs_become_rgb),
    TEST(a_cmyk_jpeg_is_not_taken_for_ycck),
    TEST(progressive_pictures_are_read_and_too_many_scans_refused),
    TEST(an_empty_file_and_a_png_bomb_are_refused_by_name),
    TEST(pictures_beyond_the_limits_are_refused_before_memory_is_taken),
    TEST(names_tell_which_files_are_pictures),
)
