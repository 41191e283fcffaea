/* test_augment.c: views made on a device have the bits of those the host makes: every preset, pictures of awkward
 * sizes, every step that a device takes, in any order of threads. */
#include "augment/on_device.h"
#include "core/checked.h"
#include "device/backend.h"
#include "tests/cuda/device.h"
#include <cleave/augment.h>
#include <stdlib.h>
#include <string.h>

enum { PICTURES = 7, MOST = 96 };

static const int sizes[PICTURES][2] = { { 31, 47 }, { 64, 20 }, { 1, 1 }, { 24, 24 }, { 90, 71 },
                                         { 3, 58 }, { 96, 96 } };
static uint8_t pixels[PICTURES][MOST * (MOST * 3 + 5)];

/* Slopes with noise on them; a flat one; rows with bytes between them. */
static void draw_pictures(clv_image out[PICTURES], int channels)
{
    uint32_t state = 12345;
    for (int i = 0; i < PICTURES; i++) {
        const int h = sizes[i][0], w = sizes[i][1], stride = w * channels + (i % 2 ? 5 : 0);
        for (int k = 0; k < h * stride; k++) {
            state = state * 1664525u + 1013904223u;
            pixels[i][k] = (uint8_t)(i == 3 ? 77 : (k % stride) * 3 + (k / stride) * (i + 1) + (state >> 25));
        }
        out[i] = (clv_image) { .pixels = pixels[i], .height = h, .width = w, .channels = channels,
                               .row_stride = stride };
    }
}

static float *on_host(const clv_augment *a, const clv_image *in, uint32_t epoch, const uint64_t *samples, int64_t *each)
{
    clv_transform t;
    assert_ok(clv_augment_transform(a, &t));
    *each = t.height * t.width * in[0].channels;
    float *views = malloc((size_t)(PICTURES * *each) * sizeof *views);
    for (int i = 0; i < PICTURES; i++) {
        const int64_t need = t.scratch_size(t.user, in[i].height, in[i].width, in[i].channels);
        assert_true(need >= 0);
        void *scratch = malloc((size_t)need);
        assert_ok(t.apply(t.user, &in[i], 5, epoch, samples[i], 1, scratch, (size_t)need, views + i * *each));
        free(scratch);
    }
    return views;
}

static void compare(clv_context *device, const clv_augment *a, int channels, uint32_t epoch, const char *what)
{
    static const uint64_t samples[PICTURES] = { 0, 1, 2, 3, 1000000007, 5, 6 };
    clv_image in[PICTURES];
    int64_t each;
    draw_pictures(in, channels);
    float *want = on_host(a, in, epoch, samples, &each), *got = malloc((size_t)(PICTURES * each) * sizeof *got);
    const size_t size = (size_t)(PICTURES * each) * sizeof *got;
    float *there = clvi_device_alloc(device, size);
    assert_non_null(there);
    assert_ok(clvi_device_fill(device, there, 0xff, size));
    assert_ok(clvi_augment_on_device(a, device, PICTURES, in, 5, epoch, samples, 1, there));
    assert_ok(clvi_device_copy(device, got, there, size, CLVI_COPY_TO_HOST));
    for (int64_t i = 0; i < PICTURES * each; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s, epoch %u: picture %ld, value %ld: %.9g, the host has %.9g", what, epoch, (long)(i / each),
                     (long)(i % each), (double)got[i], (double)want[i]);
    clvi_device_free(device, there, size);
    free(want);
    free(got);
}

static void every_preset_has_the_hosts_bits(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    const clv_option small = { "size", "24" };
    for (int i = 0; i < clv_augment_preset_count(); i++) {
        const char *name = clv_augment_preset_at(i)->name;
        clv_augment *a = NULL;
        assert_ok(clv_augment_create(t->ctx, name, &small, 1, &a));
        for (uint32_t epoch = 0; epoch < 3; epoch++) compare(device, a, strstr(name, "glyphs") ? 1 : 3, epoch, name);
        clv_augment_destroy(a);
    }
    clv_context_destroy(device);
}

static const char *const chains[] = {
    "grayscale p=1; flip p=1; random-resized-crop size=17",                      /* steps before the crop */
    "random-affine degrees=40 fill=9; center-crop size=20 filter=bicubic",
    "random-resized-crop size=33 filter=bicubic; gaussian-blur mode=kernel kernel-size=9 p=1 sigma-max=16",
    "random-resized-crop size=9; gaussian-blur mode=pil p=1 sigma-min=5 sigma-max=16",   /* wider than the picture */
    "random-resized-crop size=24; color-jitter brightness=2 contrast=3 saturation=4 hue=0.5 p=1; solarize p=1",
    "color-jitter brightness=0 hue=0 p=1; random-resized-crop size=12; color-jitter contrast=0 p=1;"
    "solarize threshold=0 p=1",
};

static void every_step_has_the_hosts_bits(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    for (size_t i = 0; i < CLVI_COUNT(chains); i++) {
        clv_augment *a = NULL;
        assert_ok(clv_augment_create(t->ctx, chains[i], NULL, 0, &a));
        for (int channels = 1; channels <= 3; channels += 2)
            for (uint32_t epoch = 0; epoch < 2; epoch++) {
                test_device_order(epoch ? 2026 : 0);
                compare(device, a, channels, epoch, chains[i]);
            }
        clv_augment_destroy(a);
    }
    test_device_order(0);
    clv_context_destroy(device);
}

static void what_a_device_does_not_do_is_said(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    clv_image in[PICTURES];
    const uint64_t samples[PICTURES] = { 0 };
    float none;
    clv_augment *a = NULL;
    draw_pictures(in, 3);
    assert_ok(clv_augment_create(t->ctx, "random-resized-crop size=8; random-erasing p=1", NULL, 0, &a));
    assert_fails(clvi_augment_on_device(a, t->ctx, 1, in, 0, 0, samples, 0, &none), CLV_ERR_UNSUPPORTED,
                 "the processor");
    assert_fails(clvi_augment_on_device(a, device, 1, in, 0, 0, samples, 0, &none), CLV_ERR_UNSUPPORTED,
                 "random-erasing");
    clv_augment_destroy(a);
    assert_ok(clv_augment_create(t->ctx, "moco-cifar", NULL, 0, &a));
    in[1].channels = 1;
    assert_fails(clvi_augment_on_device(a, device, 2, in, 0, 0, samples, 0, &none), CLV_ERR_SHAPE, "picture 1");
    in[0].channels = 1;
    assert_fails(clvi_augment_on_device(a, device, 2, in, 0, 0, samples, 0, &none), CLV_ERR_SHAPE, "names 3 channels");
    assert_ok(clvi_augment_on_device(a, device, 0, in, 0, 0, samples, 0, &none));
    clv_augment_destroy(a);
    clv_context_destroy(device);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(every_preset_has_the_hosts_bits),
        TEST(every_step_has_the_hosts_bits),
        TEST(what_a_device_does_not_do_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
