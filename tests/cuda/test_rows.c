/* test_rows.c: rows that a device moves itself: into a memory bank, whose copy there keeps the bits of the host's, and
 * images into one another. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include "core/rng.h"
#include "device/backend.h"
#include "device/shadow.h"
#include "memorybank/bank.h"
#include "train/step/mix.h"
#include <cleave/bank.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DIM = 300, MOST = 40, CAPACITY = 17 };

static void draw(float *rows, int64_t n, uint64_t stream)
{
    clvi_rng rng = clvi_rng_make(7, CLVI_RNG_TEST, 0, stream, 0);
    for (int64_t i = 0; i < n; i++) rows[i] = (float)clvi_rng_normal(&rng);
}

/* ---- banks ---- */

static void *to_device(clv_context *ctx, const void *from, size_t size)
{
    void *there = clvi_device_alloc(ctx, size);
    assert_non_null(there);
    assert_ok(clvi_device_copy(ctx, there, from, size, CLVI_COPY_TO_DEVICE));
    return there;
}

static void assert_same(clv_context *ctx, const void *host, const void *there, size_t size)
{
    static unsigned char back[CAPACITY * DIM * sizeof(double)];
    assert_true(size <= sizeof back);
    assert_ok(clvi_device_copy(ctx, back, there, size, CLVI_COPY_TO_HOST));
    assert_memory_equal(back, host, size);
}

static void push_both(clv_bank *bank, const clvi_ring *ring, int64_t count, int64_t number)
{
    static float rows[MOST * DIM];
    int64_t ids[MOST], labels[MOST];
    clv_context *ctx = bank->ctx;
    draw(rows, count * DIM, (uint64_t)number);
    if (number == 1) memset(rows, 0, DIM * sizeof *rows);
    for (int64_t i = 0; i < count; i++) {
        ids[i] = number * 100 + i;
        labels[i] = i % 5;
    }
    float *there = to_device(ctx, rows, (size_t)count * DIM * sizeof *rows);
    int64_t *marks[2] = { to_device(ctx, ids, (size_t)count * sizeof *ids), to_device(ctx, labels, (size_t)count * 8) };
    clvi_rows_enqueue(ctx, ring, clv_bank_pointer(bank), count, there, marks[0], marks[1]);
    const clv_view view = clv_view_2d(rows, CLV_F32, count, DIM);
    assert_ok(clvi_bank_push_behind(bank, &view, ids, labels));
    assert_ok(clvi_device_wait(ctx));
    clvi_device_free(ctx, there, (size_t)count * DIM * sizeof *rows);
    for (int i = 0; i < 2; i++) clvi_device_free(ctx, marks[i], (size_t)count * 8);
}

static void a_bank_that_a_device_fills_has_the_hosts_bits(void **state)
{
    static const char *const kinds[][4] = {      /* kind, update, momentum, normalize */
        { "fifo" }, { "labelled" }, { "repulsor", "fifo", "0.9", "true" }, { "repulsor", "ema", "0.9", "true" },
        { "repulsor", "ema", "0.37", "false" },
    };
    static const char *const types[] = { "float32", "float64", "bfloat16" };
    static const int64_t counts[] = { 5, 1, 11, MOST, 8 };             /* MOST is more than the bank holds */
    test_env *t = *state;
    clv_context *ctx = test_device_context(t);
    for (size_t k = 0; k < CLVI_COUNT(kinds) * CLVI_COUNT(types); k++) {
        const char *const *kind = kinds[k / CLVI_COUNT(types)];
        const clv_option options[] = {
            { "capacity", "17" }, { "dim", "300" }, { "init", "empty" }, { "dtype", types[k % CLVI_COUNT(types)] },
            { "update", kind[1] }, { "momentum", kind[2] }, { "normalize", kind[3] },
        };
        clv_bank *bank = NULL;
        clvi_ring ring;
        assert_ok(clv_bank_create(ctx, kind[0], options, kind[1] ? 7 : 4, &bank));
        clvi_bank_ring(bank, &ring);
        for (int i = 0; i < 4; i++) assert_ok(clvi_shadow_update(bank->shadow[i]));
        for (size_t i = 0; i < CLVI_COUNT(counts); i++) {
            push_both(bank, &ring, counts[i], (int64_t)i);
            assert_same(ctx, bank->rows, ring.rows, bank->rows_size);
            assert_same(ctx, bank->valid, ring.valid, CAPACITY);
            assert_same(ctx, bank->ids, ring.ids, CAPACITY * sizeof *ring.ids);
            assert_same(ctx, bank->labels, ring.labels, CAPACITY * sizeof *ring.labels);
        }
        clv_bank_destroy(bank);
    }
    clv_context_destroy(ctx);
}

/* ---- images ---- */

enum { H = 9, W = 7, C = 3, N = 7, ALL = N * H * W * C };

static const clvi_mix mixes[] = {
    { .lambda = 0.3 }, { .lambda = 1 },
    { .cut = true, .lambda = 0.9, .top = 1, .bottom = 4, .left = 2, .right = 4 },
    { .cut = true, .lambda = 0, .top = 0, .bottom = H, .left = 0, .right = W },
};

static void images_mixed_on_a_device_have_the_hosts_bits(void **state)
{
    static float image[ALL], mixed[ALL], back[ALL];
    test_env *t = *state;
    clv_context *ctx = test_device_context(t);
    draw(image, ALL, 3);
    for (size_t k = 0; k < 2 * CLVI_COUNT(mixes); k++) {
        const clvi_mix *how = &mixes[k / 2];
        const int64_t n = N - (int64_t)(k % 2);                        /* odd: the middle stays; and even */
        const size_t size = (size_t)(n * H * W * C) * sizeof *image;
        clv_view view = clv_view_nhwc(mixed, CLV_F32, n, C, H, W);
        memcpy(mixed, image, size);
        clvi_mix_images(how, &view, NULL);
        float *from = to_device(ctx, image, size), *to = to_device(ctx, image, size);
        clvi_rows_mix(ctx, how, view.shape, from, NULL, to);           /* to another place, */
        assert_ok(clvi_device_copy(ctx, back, to, size, CLVI_COPY_TO_HOST));
        assert_memory_equal(back, mixed, size);
        clvi_rows_mix(ctx, how, view.shape, from, NULL, from);         /* and where they lie */
        assert_ok(clvi_device_copy(ctx, back, from, size, CLVI_COPY_TO_HOST));
        assert_memory_equal(back, mixed, size);
        clvi_device_free(ctx, from, size);
        clvi_device_free(ctx, to, size);
    }
    clv_context_destroy(ctx);
}

static void so_have_those_that_meet_another_ranks(void **state)
{
    static float image[ALL], other[ALL], mixed[ALL], back[ALL];
    test_env *t = *state;
    clv_context *ctx = test_device_context(t);
    draw(image, ALL, 3);
    draw(other, ALL, 4);
    for (size_t k = 0; k < CLVI_COUNT(mixes); k++) {
        clv_view view = clv_view_nhwc(mixed, CLV_F32, N, C, H, W);
        memcpy(mixed, image, sizeof mixed);
        clvi_mix_images(&mixes[k], &view, other);
        float *from = to_device(ctx, image, sizeof image), *to = to_device(ctx, other, sizeof image);
        float *others = to_device(ctx, other, sizeof other);
        for (int in_place = 0; in_place < 2; in_place++) {
            clvi_rows_mix(ctx, &mixes[k], view.shape, from, others, in_place ? from : to);
            assert_ok(clvi_device_copy(ctx, back, in_place ? from : to, sizeof back, CLVI_COPY_TO_HOST));
            assert_memory_equal(back, mixed, sizeof back);
        }
        clvi_device_free(ctx, from, sizeof image);
        clvi_device_free(ctx, to, sizeof image);
        clvi_device_free(ctx, others, sizeof other);
    }
    clv_context_destroy(ctx);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(a_bank_that_a_device_fills_has_the_hosts_bits),
        TEST(images_mixed_on_a_device_have_the_hosts_bits),
        TEST(so_have_those_that_meet_another_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
