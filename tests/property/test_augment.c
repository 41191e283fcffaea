/* test_augment.c (property): a view is the same bits whatever the order of calls, the thread, where scratch begins,
 * what it held before, and whether the processor's vector instructions are used, for sides from 1 to 8192; what changes
 * nothing, changes nothing. */
#include "tests/support/augment.h"
#include "tests/support/isa.h"
#include "augment/augment.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SAMPLES = 24, VIEWS = 2, SIDE = 32, FLOATS = SIDE * SIDE * 3, THREADS = 4 };

static const char chain[] = "random-affine p=0.5; random-resized-crop size=32; flip; color-jitter hue=0.4; grayscale; "
                            "gaussian-blur; gaussian-blur mode=kernel; solarize; random-erasing mode=noise; "
                            "random-resized-crop size=32 filter=bicubic";

typedef struct run {
    const clv_transform *transform;
    const clv_image     *images;
    size_t               scratch_size;
    int                  first, step;   /* which views: first, first + step, ... modulo all */
    int                  status;
    float               *out;           /* [SAMPLES * VIEWS][FLOATS] */
} run;

static void *run_views(void *arg)
{
    run *r = arg;
    char *memory = aligned_alloc(64, (r->scratch_size + 127) / 64 * 64), *scratch = memory + 7 * r->first;
    memset(scratch, r->first * 37 + 1, r->scratch_size);
    r->status = CLV_OK;
    for (int k = r->first; k < SAMPLES * VIEWS && r->status == CLV_OK; k += r->step) {
        const int i = r->step == 1 ? SAMPLES * VIEWS - 1 - k : k;   /* a single thread goes backwards */
        r->status = r->transform->apply(r->transform->user, &r->images[i / VIEWS], 77, 3, (uint64_t)(i / VIEWS),
                                        (uint32_t)(i % VIEWS), scratch, r->scratch_size, r->out + (size_t)i * FLOATS);
    }
    free(memory);
    return NULL;
}

static void views_do_not_depend_on_threads_order_scratch_or_processor(void **state)
{
    test_chain c = test_chain_make(*state, chain, 60, 80, 3);
    uint8_t *pixels[SAMPLES];
    clv_image images[SAMPLES];
    float *alone = calloc(SAMPLES * VIEWS * FLOATS, sizeof *alone);
    float *shared = calloc(SAMPLES * VIEWS * FLOATS, sizeof *shared);
    pthread_t threads[THREADS];
    run runs[THREADS];
    for (int i = 0; i < SAMPLES; i++) {
        const int64_t h = 20 + i, w = 80 - 2 * i;
        pixels[i] = test_noise((uint32_t)i + 1, h, w, 3);
        images[i] = clv_image_dense(pixels[i], h, w, 3);
    }
    run one = { &c.transform, images, c.scratch_size, 0, 1, 0, alone };
    run_views(&one);
    assert_int_equal(one.status, CLV_OK);
    for (int i = 0; i < THREADS; i++) {
        runs[i] = (run) { &c.transform, images, c.scratch_size, i, THREADS, 0, shared };
        assert_int_equal(pthread_create(&threads[i], NULL, run_views, &runs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(runs[i].status, CLV_OK);
    }
    assert_memory_equal(alone, shared, SAMPLES * VIEWS * FLOATS * sizeof *alone);

    clvi_augment_set_plain(c.augment, true);
    memset(shared, 0, SAMPLES * VIEWS * FLOATS * sizeof *shared);
    one.out = shared;
    run_views(&one);
    assert_memory_equal(alone, shared, SAMPLES * VIEWS * FLOATS * sizeof *alone);
    for (int i = 0; i + 1 < SAMPLES * VIEWS; i++)   /* and they are not all the same */
        assert_memory_not_equal(alone + i * FLOATS, alone + (i + 1) * FLOATS, FLOATS * sizeof *alone);
    for (int i = 0; i < SAMPLES; i++) free(pixels[i]);
    free(alone);
    free(shared);
    test_chain_free(&c);
}

static void applying_allocates_nothing(void **state)
{
    test_chain c = test_chain_make(*state, chain, 60, 80, 3);
    uint8_t *pixels = test_noise(4, 60, 80, 3);
    static float out[FLOATS];
    const clv_image image = clv_image_dense(pixels, 60, 80, 3);
    const uint64_t before = clvi_alloc_count();
    for (uint64_t i = 0; i < 50; i++)
        assert_ok(c.transform.apply(c.transform.user, &image, 1, 0, i, 0, c.scratch, c.scratch_size, out));
    assert_true(clvi_alloc_count() == before);
    free(pixels);
    test_chain_free(&c);
}

/* A picture of noise whose last byte is the last one of a page; what follows cannot be read. */
typedef struct cornered {
    uint8_t  *map;
    size_t    map_size;
    clv_image image;
} cornered;

static cornered cornered_make(int64_t height, int64_t width, int64_t channels, int64_t gap)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), row = (size_t)(width * channels + gap);
    const size_t bytes = row * (size_t)(height - 1) + (size_t)(width * channels);
    cornered c = { .map_size = (bytes + page - 1) / page * page + page };
    c.map = mmap(NULL, c.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(c.map != MAP_FAILED);
    assert_int_equal(mprotect(c.map + c.map_size - page, page, PROT_NONE), 0);
    uint8_t *pixels = c.map + c.map_size - page - bytes, *noise = test_noise((uint32_t)width, height, width, channels);
    for (int64_t y = 0; y < height; y++)
        memcpy(pixels + (size_t)y * row, noise + y * width * channels, (size_t)(width * channels));
    free(noise);
    c.image = (clv_image) { pixels, height, width, channels, (int64_t)row };
    return c;
}

static void compare_paths(test_env *t, const char *text, const clv_image *image)
{
    static float fast[64 * 64 * 3], plain[64 * 64 * 3];
    test_chain c = test_chain_make(t, text, image->height, image->width, image->channels);
    const size_t size = (size_t)(c.transform.height * c.transform.width * image->channels) * sizeof *fast;
    assert_true(size <= sizeof fast);
    for (uint64_t i = 0; i < 3; i++) {
        clvi_augment_set_plain(c.augment, false);
        memset(c.scratch, 255, c.scratch_size);
        assert_ok(c.transform.apply(c.transform.user, image, 5, 1, i, 0, c.scratch, c.scratch_size, fast));
        clvi_augment_set_plain(c.augment, true);
        memset(c.scratch, 0, c.scratch_size);
        assert_ok(c.transform.apply(c.transform.user, image, 5, 1, i, 0, c.scratch, c.scratch_size, plain));
        assert_memory_equal(fast, plain, size);
    }
    test_chain_free(&c);
}

static const int64_t sides[][2] = { { 1, 1 }, { 1, 9 }, { 9, 1 }, { 2, 3 }, { 31, 33 }, { 64, 65 }, { 40, 300 },
                                    { 300, 41 }, { 700, 5 }, { 190, 130 }, { 1, 8192 }, { 8192, 1 }, { 3, 8192 },
                                    { 8192, 3 }, { 64, 8191 }, { 8191, 33 } };

static void any_size_and_stride_gives_the_same_bits_on_every_path(void **state)
{
    static const char *const chains[] = {
        "random-resized-crop size=33; flip; color-jitter p=1; gaussian-blur p=1",
        "random-resized-crop size=64 filter=bicubic; grayscale p=0.5; gaussian-blur p=1 mode=kernel",
        "center-crop size=17 margin=1.2; random-resized-crop size=61 scale-min=0.5; gaussian-blur p=1 sigma-min=8 "
        "sigma-max=16; solarize p=1",
        "random-affine; flip p=1; color-jitter p=1; gaussian-blur p=1; gaussian-blur p=1 mode=kernel kernel-size=9; "
        "grayscale p=0.5; random-erasing p=1; center-crop size=40",   /* each step on the whole picture */
    };
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        for (int64_t channels = 1; channels <= 3; channels += 2)
            for (size_t k = 0; k < sizeof chains / sizeof *chains; k++) {
                cornered c = cornered_make(sides[i][0], sides[i][1], channels, (int64_t)k * 7);
                compare_paths(*state, chains[k], &c.image);
                munmap(c.map, c.map_size);
            }
}

/* Weights that sum to one keep a picture without contrast as it is, to the bit. */
static void a_flat_picture_stays_flat_at_any_size(void **state)
{
    static const char text[] = "random-affine fill=77; flip; gaussian-blur p=1; "
                               "gaussian-blur p=1 mode=kernel kernel-size=9; center-crop size=50 margin=1.3; "
                               "random-resized-crop size=40 filter=bicubic";
    static float out[40 * 40 * 3];
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        cornered c = cornered_make(sides[i][0], sides[i][1], 3, 5);
        memset((uint8_t *)c.image.pixels, 77, (size_t)(c.image.row_stride * (c.image.height - 1) + c.image.width * 3));
        test_chain flat = test_chain_make(*state, text, c.image.height, c.image.width, 3);
        assert_ok(flat.transform.apply(flat.transform.user, &c.image, 5, 1, i, 0, flat.scratch,
                                         flat.scratch_size, out));
        for (size_t k = 0; k < sizeof out / sizeof *out; k++) assert_true(out[k] == 77 / 255.0f);
        test_chain_free(&flat);
        munmap(c.map, c.map_size);
    }
}

/* Steps that must leave a picture as it is, before a step that fixes the size. */
static const char *const nothing[] = {
    "random-affine degrees=0 translate=0 zoom-min=1 zoom-max=1 shear=0",
    "color-jitter p=1 brightness=0 contrast=0 saturation=0 hue=0",
    "gaussian-blur p=1 sigma-min=0.01 sigma-max=0.01",
    "gaussian-blur p=1 sigma-min=0.01 sigma-max=0.01 mode=kernel kernel-size=5",
    "flip p=1; flip p=1",
    "solarize p=1 threshold=0; solarize p=1 threshold=0",
    "flip p=0; color-jitter p=0; grayscale p=0; gaussian-blur p=0; solarize p=0; random-erasing p=0",
};

static void identity_parameters_and_two_flips_change_nothing(void **state)
{
    static float after[64 * 64 * 3], before[64 * 64 * 3];
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        const cornered c = cornered_make(sides[i][0], sides[i][1], 3, 2);
        test_chain plain = test_chain_make(*state, "center-crop size=64", c.image.height, c.image.width, 3);
        assert_ok(plain.transform.apply(plain.transform.user, &c.image, 5, 1, i, 0, plain.scratch, plain.scratch_size,
                                        before));
        for (size_t k = 0; k < sizeof nothing / sizeof *nothing; k++) {
            char text[160];
            snprintf(text, sizeof text, "%s; center-crop size=64", nothing[k]);
            test_chain more = test_chain_make(*state, text, c.image.height, c.image.width, 3);
            assert_ok(more.transform.apply(more.transform.user, &c.image, 5, 1, i, 0, more.scratch, more.scratch_size,
                                           after));
            assert_memory_equal(after, before, sizeof after);
            test_chain_free(&more);
        }
        test_chain_free(&plain);
        munmap(c.map, c.map_size);
    }
}

static void a_crop_of_all_is_the_picture(void **state)
{
    static const int64_t all[] = { 1, 2, 31, 64 };
    static float out[64 * 64 * 3];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int bicubic = 0; bicubic < 2; bicubic++) {
            char text[160];
            snprintf(text, sizeof text, "random-resized-crop size=%d scale-min=1 scale-max=1 ratio-min=1 ratio-max=1 "
                     "filter=%s", (int)all[i], bicubic ? "bicubic" : "bilinear");
            const cornered c = cornered_make(all[i], all[i], 3, 0);
            test_chain crop = test_chain_make(*state, text, all[i], all[i], 3);
            assert_ok(crop.transform.apply(crop.transform.user, &c.image, 5, 1, i, 0, crop.scratch, crop.scratch_size,
                                           out));
            for (int64_t k = 0; k < all[i] * all[i] * 3; k++) assert_true(out[k] == (float)c.image.pixels[k] / 255.0f);
            test_chain_free(&crop);
            munmap(c.map, c.map_size);
        }
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(views_do_not_depend_on_threads_order_scratch_or_processor),
        TEST(any_size_and_stride_gives_the_same_bits_on_every_path),
        TEST(a_flat_picture_stays_flat_at_any_size),
        TEST(identity_parameters_and_two_flips_change_nothing),
        TEST(a_crop_of_all_is_the_picture),
        TEST(applying_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa(run_all);
}
