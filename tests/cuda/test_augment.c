/* test_augment.c: views made on a device have the bits of those the host makes: every preset and step, pictures of
 * awkward sizes, such that fit into their rooms and such that do not, in any order of threads. */
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

static float *on_host(const clv_augment *a, const clv_image *in, uint32_t epoch, const uint64_t *samples,
                      uint32_t number, int64_t *each)
{
    clv_transform t;
    assert_ok(clv_augment_transform(a, &t));
    *each = t.height * t.width * in[0].channels;
    float *views = malloc((size_t)(PICTURES * *each) * sizeof *views);
    for (int i = 0; i < PICTURES; i++) {
        const int64_t need = t.scratch_size(t.user, in[i].height, in[i].width, in[i].channels);
        assert_true(need >= 0);
        void *scratch = malloc((size_t)need);
        assert_ok(t.apply(t.user, &in[i], 5, epoch, samples[i], number, scratch, (size_t)need, views + i * *each));
        free(scratch);
    }
    return views;
}

static int64_t whole, cut;              /* pictures that fitted into their rooms, and others */

/* A picture that is not in its window is not there: its bytes are others. */
static void pack(const clvi_packer *p, const clv_image *in, uint32_t epoch, uint64_t sample, uint8_t *room)
{
    clv_transform t;
    clv_window w = { 0, 0, in->height, in->width, 1 };
    clvi_packer_transform(p, &t);
    assert_int_equal(t.height * t.width * in->channels * 4, p->room);
    t.window(t.user, in->height, in->width, in->channels, 5, epoch, sample, 0, &w);
    const size_t size = (size_t)(in->height * in->row_stride), need = (size_t)t.scratch_size(t.user, in->height,
                                                                                            in->width, in->channels);
    uint8_t *part = malloc(size), *scratch = malloc(need);
    memset(part, 0xa5, size);
    for (int64_t y = w.y; y < w.y + w.height; y++) {
        const int64_t at = y * in->row_stride + w.x * in->channels;
        memcpy(part + at, in->pixels + at, (size_t)(w.width * in->channels));
    }
    clv_part given = { *in, 1 };
    const clv_form form = { CLV_F32, in->channels };
    given.image.pixels = part;
    assert_ok(t.apply_part(t.user, &given, 5, epoch, sample, 0, scratch, need, &form, room));
    const clvi_pixel_view *view = (const clvi_pixel_view *)room;
    *(view->height == in->height && view->width == in->width && view->plane_stride == 1 ? &whole : &cut) += 1;
    free(part);
    free(scratch);
}

static void fail_other(const char *what, uint32_t epoch, int v, int64_t each, int64_t i, float got, float want)
{
    fail_msg("%s, epoch %u, view %d: picture %ld, value %ld: %.9g, the host has %.9g", what, epoch, v, (long)(i / each),
             (long)(i % each), (double)got, (double)want);
}

/* Both views of all pictures, by two chains or twice the same. */
static void compare(clv_context *device, const clv_augment *const chains[2], int channels, uint32_t epoch,
                    const char *what)
{
    static const uint64_t samples[PICTURES] = { 0, 1, 2, 3, 1000000007, 5, 6 };
    clv_image in[PICTURES];
    clvi_packer p;
    clvi_view_maker *maker = NULL;
    clv_view view[2];
    draw_pictures(in, channels);
    assert_ok(clvi_packer_init(chains, 2, channels, &p));
    uint8_t *rooms = malloc(PICTURES * p.room);
    memset(rooms, 0x5a, PICTURES * p.room);
    for (int i = 0; i < PICTURES; i++) pack(&p, &in[i], epoch, samples[i], rooms + (size_t)i * p.room);
    assert_ok(clvi_view_maker_create(device, &p, PICTURES, &maker));
    assert_ok(clvi_view_maker_queue(maker, rooms, view));
    for (int v = 0; v < 2; v++) {
        int64_t each;
        float *want = on_host(chains[v], in, epoch, samples, (uint32_t)v, &each);
        const size_t size = (size_t)(PICTURES * each) * sizeof *want;
        float *got = malloc(size);
        assert_int_equal(clv_view_count(&view[v]), PICTURES * each);
        assert_ok(clvi_device_copy(device, got, view[v].data, size, CLVI_COPY_TO_HOST));
        for (int64_t i = 0; i < PICTURES * each; i++)
            if (memcmp(&got[i], &want[i], sizeof *got) != 0) fail_other(what, epoch, v, each, i, got[i], want[i]);
        free(want);
        free(got);
    }
    clvi_view_maker_destroy(maker);
    free(rooms);
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
        for (uint32_t epoch = 0; epoch < 3; epoch++)
            compare(device, (const clv_augment *[]) { a, a }, strstr(name, "glyphs") ? 1 : 3, epoch, name);
        clv_augment_destroy(a);
    }
    assert_true(whole > 50 && cut > 50);
    clv_context_destroy(device);
}

static const char *const texts[] = {
    "grayscale p=1; flip p=1; random-resized-crop size=17",                      /* steps before the crop */
    "random-affine degrees=40 fill=9; center-crop size=20 filter=bicubic",
    "random-resized-crop size=33 filter=bicubic; gaussian-blur mode=kernel kernel-size=9 p=1 sigma-max=16",
    "random-resized-crop size=9; gaussian-blur mode=pil p=1 sigma-min=5 sigma-max=16",   /* wider than the picture */
    "random-resized-crop size=24; color-jitter brightness=2 contrast=3 saturation=4 hue=0.5 p=1; solarize p=1",
    "color-jitter brightness=0 hue=0 p=1; random-resized-crop size=12; color-jitter contrast=0 p=1;"
    "solarize threshold=0 p=1",
    "flip p=1; random-affine degrees=20 p=1; gaussian-blur p=1; random-resized-crop size=80; center-crop size=64",
    "random-resized-crop size=31; random-erasing p=1 mode=noise; random-erasing p=1 fill=7",
    "random-erasing p=1 mode=noise scale-min=0.3; center-crop size=100; random-erasing p=1 fill=200 scale-max=0.05",
};

static void every_step_has_the_hosts_bits(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    for (size_t i = 0; i < CLVI_COUNT(texts); i++) {
        clv_augment *a = NULL;
        assert_ok(clv_augment_create(t->ctx, texts[i], NULL, 0, &a));
        for (int channels = 1; channels <= 3; channels += 2)
            for (uint32_t epoch = 0; epoch < 2; epoch++) {
                test_device_order(epoch ? 2026 : 0);
                compare(device, (const clv_augment *[]) { a, a }, channels, epoch, texts[i]);
            }
        clv_augment_destroy(a);
    }
    test_device_order(0);
    clv_context_destroy(device);
}

/* Each view by its own chain, with its own mean and deviation. */
static void two_chains_keep_their_numbers(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    const clv_option small = { "size", "24" };
    clv_augment *a[2] = { NULL, NULL };
    assert_ok(clv_augment_create(t->ctx, "byol-1", &small, 1, &a[0]));
    assert_ok(clv_augment_create(t->ctx, "random-resized-crop size=24; random-erasing p=1 fill=1,2,3; normalize "
                                 "mean=0.1,0.2,0.3 std=0.5", NULL, 0, &a[1]));
    compare(device, (const clv_augment *[]) { a[0], a[1] }, 3, 2, "two chains");
    compare(device, (const clv_augment *[]) { a[1], a[0] }, 3, 3, "two chains, the other way round");
    clv_augment_destroy(a[0]);
    clv_augment_destroy(a[1]);
    clv_context_destroy(device);
}

static void what_cannot_be_packed_is_said(void **state)
{
    test_env *t = *state;
    clvi_packer p;
    clvi_view_maker *maker = NULL;
    clv_augment *a = NULL, *b = NULL;
    assert_ok(clv_augment_create(t->ctx, "moco-cifar", NULL, 0, &a));
    assert_ok(clv_augment_create(t->ctx, "moco-v2", NULL, 0, &b));
    const clv_augment *const chains[] = { a, b };
    assert_fails(clvi_packer_init(chains, 1, 1, &p), CLV_ERR_SHAPE, "names 3 channels, the pictures have 1");
    assert_fails(clvi_packer_init(chains, 1, 4, &p), CLV_ERR_SHAPE, "pictures of 4 channels");
    assert_fails(clvi_packer_init(chains, 2, 3, &p), CLV_ERR_SHAPE, "views of 32 and 224 pixels");
    assert_ok(clvi_packer_init(chains, 1, 3, &p));
    assert_fails(clvi_view_maker_create(t->ctx, &p, 4, &maker), CLV_ERR_UNSUPPORTED, "the processor");
    assert_null(maker);
    clv_augment_destroy(a);
    clv_augment_destroy(b);
}

/* A chain may say of a picture what it says on the host. */
static void a_picture_that_a_chain_does_not_take_is_refused(void **state)
{
    test_env *t = *state;
    clvi_packer p;
    clv_transform pack_it;
    clv_augment *a = NULL;
    clv_image in[PICTURES];
    static uint8_t room[1 << 14], scratch[1 << 16];
    draw_pictures(in, 1);
    assert_ok(clv_augment_create(t->ctx, "random-resized-crop size=8; random-erasing p=1 fill=1,2,3; normalize "
                                 "mean=0.5 std=0.5", NULL, 0, &a));
    assert_ok(clvi_packer_init((const clv_augment *[]) { a }, 1, 1, &p));
    assert_true(p.room <= sizeof room);
    clvi_packer_transform(&p, &pack_it);
    for (int i = 3; i < 7; i += 3) {               /* one that fits into its room, and one that does not */
        const clv_part part = { in[i], 1 };
        const clv_form form = { CLV_F32, 1 };
        assert_fails(pack_it.apply_part(pack_it.user, &part, 0, 0, 1, 0, scratch, sizeof scratch, &form, room),
                     CLV_ERR_SHAPE, "fill names 3 channels");
    }
    clv_augment_destroy(a);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(every_preset_has_the_hosts_bits),
        TEST(every_step_has_the_hosts_bits),
        TEST(two_chains_keep_their_numbers),
        TEST(what_cannot_be_packed_is_said),
        TEST(a_picture_that_a_chain_does_not_take_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
