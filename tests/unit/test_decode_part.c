/* test_decode_part.c: pictures of which only the windows of their views are decoded, perhaps reduced. */
#include "tests/support/pictures.h"
#include "core/file.h"
#include "data/decode.h"
#include <cleave/augment.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <turbojpeg.h>

enum { HEIGHT = 131, WIDTH = 170, JPEG_ROOM = 1 << 20 };

/* Waves of several lengths and a little noise, as photographs have them. */
static uint8_t *make_scene(int height, int width)
{
    uint8_t *rgb = malloc((size_t)height * (size_t)width * 3);
    uint32_t noise = 7;
    assert_non_null(rgb);
    for (int i = 0; i < height * width * 3; i++) {
        const double y = i / 3 / width, x = i / 3 % width, c = i % 3;
        double v = 128;
        for (int k = 1; k <= 5; k++)
            v += 90.0 / (1 << k) * sin(x * 0.011 * (1 << k) + c * k) * cos(y * 0.013 * (1 << k) - c + k);
        noise = noise * 1664525u + 1013904223u;
        v += (double)(noise >> 29) - 3.5;
        rgb[i] = (uint8_t)fmin(fmax(v, 0), 255);
    }
    return rgb;
}

static size_t make_jpeg(int height, int width, int sampling, int flags, uint8_t *out)
{
    uint8_t *rgb = make_scene(height, width);
    unsigned long size = JPEG_ROOM;
    tjhandle tj = tjInitCompress();
    assert_int_equal(tjCompress2(tj, rgb, width, 0, height, TJPF_RGB, &out, &size, sampling, 90,
                                 TJFLAG_NOREALLOC | flags), 0);
    tjDestroy(tj);
    free(rgb);
    return size;
}

static void give_window(void *user, int64_t height, int64_t width, clv_window *window)
{
    (void)height, (void)width;
    *window = *(const clv_window *)user;
}

/* The window of the picture by parts and, at the same reduction, out of the whole. */
static void check_window(test_env *t, const uint8_t *jpeg, size_t size, clv_window window)
{
    clv_decoder *whole = NULL, *part = NULL;
    clv_window all = { 0, 0, HEIGHT, WIDTH, window.reduce };
    clv_image a, b;
    assert_ok(clv_decoder_create(t->ctx, NULL, &whole));
    assert_ok(clv_decoder_create(t->ctx, NULL, &part));
    whole->plan = (clvi_decode_plan){ give_window, &all };
    part->plan = (clvi_decode_plan){ give_window, &window };
    assert_ok(clv_decoder_decode(whole, "whole", jpeg, size, &a));
    assert_ok(clv_decoder_decode(part, "part", jpeg, size, &b));
    assert_int_equal(part->reduced, window.reduce);
    assert_true(b.height == HEIGHT && b.width == WIDTH && a.row_stride == b.row_stride);
    const int64_t n = window.reduce, left = window.x / n, right = (window.x + window.width + n - 1) / n;
    for (int64_t y = window.y / n; y < (window.y + window.height + n - 1) / n; y++)
        assert_memory_equal(a.pixels + y * a.row_stride + left * 3, b.pixels + y * b.row_stride + left * 3,
                            (size_t)(right - left) * 3);
    clv_decoder_destroy(whole);
    clv_decoder_destroy(part);
}

static void a_window_has_the_pixels_of_the_whole(void **state)
{
    static uint8_t jpeg[JPEG_ROOM];
    static const int samplings[] = { TJSAMP_444, TJSAMP_422, TJSAMP_420, TJSAMP_GRAY, TJSAMP_440, TJSAMP_411 };
    uint32_t dice = 3;
    for (size_t s = 0; s < 6; s++)
        for (int flags = 0; flags <= TJFLAG_PROGRESSIVE; flags += TJFLAG_PROGRESSIVE) {
            const size_t size = make_jpeg(HEIGHT, WIDTH, samplings[s], flags, jpeg);
            for (int k = 0; k < 40; k++) {
                clv_window w = { .reduce = 1 << k % 4 };
                dice = dice * 1664525u + 1013904223u;
                w.y = (dice >> 16) % HEIGHT;
                w.height = 1 + (dice >> 4) % (uint32_t)(HEIGHT - w.y);
                w.x = (dice >> 8) % WIDTH;
                w.width = 1 + (dice >> 20) % (uint32_t)(WIDTH - w.x);
                check_window(*state, jpeg, size, w);
            }
        }
}

static void the_whole_at_once_is_what_turbojpeg_decodes(void **state)
{
    test_env *t = *state;
    static uint8_t jpeg[JPEG_ROOM], pixels[HEIGHT * WIDTH * 3];
    clv_decoder *decoder = NULL;
    clv_image image;
    tjhandle tj = tjInitDecompress();
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    for (int sampling = 0; sampling < TJ_NUMSAMP; sampling++) {
        const size_t size = make_jpeg(HEIGHT, WIDTH, sampling, 0, jpeg);
        assert_int_equal(tjDecompress2(tj, jpeg, size, pixels, WIDTH, 0, HEIGHT, TJPF_RGB, 0), 0);
        assert_ok(clv_decoder_decode(decoder, "whole", jpeg, size, &image));
        assert_memory_equal(image.pixels, pixels, sizeof pixels);
    }
    tjDestroy(tj);
    clv_decoder_destroy(decoder);
}

static void a_cut_file_is_an_error_whatever_the_window(void **state)
{
    test_env *t = *state;
    static uint8_t jpeg[JPEG_ROOM];
    const size_t size = make_jpeg(HEIGHT, WIDTH, TJSAMP_420, 0, jpeg);
    clv_window top = { 0, 0, 16, 16, 1 };
    clv_decoder *decoder = NULL;
    clv_image image;
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    decoder->plan = (clvi_decode_plan){ give_window, &top };
    assert_ok(clv_decoder_decode(decoder, "p", jpeg, size, &image));
    for (size_t n = size - 3; n > size / 2; n -= 97)
        assert_fails(clv_decoder_decode(decoder, "p.jpg", jpeg, n, &image), CLV_ERR_FORMAT, "p.jpg: JPEG: ");
    assert_ok(clv_decoder_decode(decoder, "p", jpeg, size, &image));
    clv_decoder_destroy(decoder);
}

static void a_window_outside_of_the_picture_is_refused(void **state)
{
    test_env *t = *state;
    static uint8_t jpeg[JPEG_ROOM];
    static const clv_window bad[] = { { -1, 0, 5, 5, 1 },          { 0, 0, HEIGHT + 1, 5, 1 }, { 0, WIDTH, 5, 1, 1 },
                                      { 0, 10, 5, INT64_MAX, 1 },  { 0, 0, 0, 5, 1 },          { 0, 0, 5, 5, 3 },
                                      { 0, 0, 5, 5, 0 },           { INT64_MAX, 0, 5, 5, 1 } };
    const size_t size = make_jpeg(HEIGHT, WIDTH, TJSAMP_420, 0, jpeg);
    clv_decoder *decoder = NULL;
    clv_image image;
    assert_ok(clv_decoder_create(t->ctx, NULL, &decoder));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        clv_window window = bad[i];
        decoder->plan = (clvi_decode_plan){ give_window, &window };
        assert_fails(clv_decoder_decode(decoder, "p.jpg", jpeg, size, &image), CLV_ERR_INVALID,
                     "p.jpg: JPEG: a transform's window is");
    }
    decoder->plan = (clvi_decode_plan){ 0 };
    assert_ok(clv_decoder_decode(decoder, "p.jpg", jpeg, size, &image));
    clv_decoder_destroy(decoder);
}

/* ---- through the loader ---- */

static clv_dataset *open_scenes(test_env *t)
{
    static uint8_t jpeg[JPEG_ROOM];
    char path[640];
    clv_dataset *ds = NULL;
    const char *folder = test_path(t, "scenes");
    assert_int_equal(mkdir(folder, 0700), 0);
    for (int i = 0; i < 4; i++) {
        const size_t size = make_jpeg(300 + 20 * i, 420 - 30 * i, i % 2 ? TJSAMP_444 : TJSAMP_420, 0, jpeg);
        snprintf(path, sizeof path, "%s/%d.jpg", folder, i);
        assert_ok(clvi_file_write(path, jpeg, size));
    }
    assert_ok(clv_dataset_open(t->ctx, folder, NULL, &ds));
    return ds;
}

/* Differences in grey levels of two views of all scenes, decoded as told and decoded whole. */
static void compare_with_exact(test_env *t, const char *chain, double *mean, double *largest)
{
    clv_dataset *ds = open_scenes(t);
    clv_augment *augment = NULL;
    clv_transform views[2];
    clv_loader *loader[2] = { NULL, NULL };
    clv_batch batch[2];
    assert_ok(clv_augment_create(t->ctx, chain, NULL, 0, &augment));
    assert_ok(clv_augment_transform(augment, &views[0]));
    views[1] = views[0];
    for (int exact = 0; exact < 2; exact++) {
        clv_loader_desc desc = CLV_LOADER_DESC_INIT;
        desc.batch_size = 4;
        desc.transforms = views;
        desc.workers = exact;
        desc.exact_decode = exact;
        assert_ok(clv_loader_create(t->ctx, ds, &desc, &loader[exact]));
    }
    int64_t count = 0;
    *mean = *largest = 0;
    for (int step = 0; step < 5; step++) {
        for (int exact = 0; exact < 2; exact++) assert_ok(clv_loader_next(loader[exact], &batch[exact]));
        for (int v = 0; v < 2; v++) {
            const float *a = batch[0].view[v].data, *b = batch[1].view[v].data;
            for (int64_t i = 0; i < clv_view_count(&batch[0].view[v]); i++, count++) {
                const double d = fabs((double)a[i] - (double)b[i]) * 255;
                *mean += d;
                *largest = fmax(*largest, d);
            }
        }
    }
    *mean /= (double)count;
    for (int exact = 0; exact < 2; exact++) clv_loader_destroy(loader[exact]);
    clv_augment_destroy(augment);
    clv_dataset_destroy(ds);
}

static void views_of_parts_are_those_of_the_whole(void **state)
{
    double mean = 1, largest = 1;
    compare_with_exact(*state, "random-resized-crop size=160; flip; color-jitter", &mean, &largest);
    assert_true(largest == 0);
}

static void a_chain_that_looks_everywhere_gets_everything(void **state)
{
    double mean = 1, largest = 1;
    compare_with_exact(*state, "flip; random-resized-crop size=16", &mean, &largest);
    assert_true(largest == 0);
}

/* The bound that docs/data.md states. */
static void reduced_pictures_stay_near_exact_ones(void **state)
{
    double mean = 0, largest = 0;
    compare_with_exact(*state, "random-resized-crop size=24 scale-min=0.4", &mean, &largest);
    assert_true(largest > 0);
    assert_true(mean <= 1);
    assert_true(largest <= 12);
}

static void a_window_without_apply_part_is_refused(void **state)
{
    test_env *t = *state;
    clv_dataset *ds = open_scenes(t);
    clv_augment *augment = NULL;
    clv_transform view;
    clv_loader *loader = NULL;
    clv_loader_desc desc = CLV_LOADER_DESC_INIT;
    assert_ok(clv_augment_create(t->ctx, "moco-cifar", NULL, 0, &augment));
    assert_ok(clv_augment_transform(augment, &view));
    view.apply_part = NULL;
    desc.views = 1;
    desc.batch_size = 2;
    desc.transforms = &view;
    assert_fails(clv_loader_create(t->ctx, ds, &desc, &loader), CLV_ERR_INVALID, "window and no apply_part");
    clv_augment_destroy(augment);
    clv_dataset_destroy(ds);
}

TEST_MAIN(TEST(a_window_has_the_pixels_of_the_whole), TEST(the_whole_at_once_is_what_turbojpeg_decodes),
          TEST(a_cut_file_is_an_error_whatever_the_window), TEST(a_window_outside_of_the_picture_is_refused),
          TEST(views_of_parts_are_those_of_the_whole),
          TEST(a_chain_that_looks_everywhere_gets_everything), TEST(reduced_pictures_stay_near_exact_ones),
          TEST(a_window_without_apply_part_is_refused))
