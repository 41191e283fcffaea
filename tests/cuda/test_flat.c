/* test_flat.c: passes over flat arenas on a device: the host's numbers, over several steps and awkward lengths. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include "device/flat.h"
#include <math.h>

#define MOST 70001

static float host[4][MOST], other[4][MOST];     /* w, g, v, k */

static void fill(int64_t n)
{
    for (int a = 0; a < 4; a++)
        for (int64_t i = 0; i < n; i++)
            host[a][i] = other[a][i] = (float)((i * 7919 + a * 104729) % 1009) / 500.0f - 1;
}

static void sgd_and_the_encoder_that_follows_equal_the_hosts(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    static const int64_t lengths[] = { 0, 1, 257, MOST };
    for (size_t l = 0; l < CLVI_COUNT(lengths); l++)
        for (int variant = 0; variant < 4; variant++) {
            const int64_t n = lengths[l];
            void *at[4];
            fill(n);
            for (int a = 0; a < 4; a++) {
                at[a] = clvi_device_alloc(device, (size_t)n * sizeof(float));
                assert_non_null(at[a]);
                assert_ok(clvi_device_copy(device, at[a], other[a], (size_t)n * sizeof(float), CLVI_COPY_TO_DEVICE));
            }
            for (int step = 0; step < 3; step++) {
                clvi_flat_sgd_args a = { .lr = 0.1, .momentum = variant == 3 ? 0 : 0.9, .weight_decay = 0.01,
                                         .nesterov = variant == 1, .first = step == 0,
                                         .followers = { { host[3] }, { 0.99 } } };
                clvi_flat_sgd(t->ctx, CLV_F32, n, host[0], host[1], variant == 3 ? NULL : host[2], &a);
                a.followers.k[0] = variant == 2 ? NULL : at[3];
                clvi_flat_sgd(device, CLV_F32, n, at[0], at[1], variant == 3 ? NULL : at[2], &a);
                if (variant == 2) clvi_flat_ema(device, CLV_F32, n, at[3], at[0], 0.99);
            }
            for (int a = 0; a < 4; a++) {
                assert_ok(clvi_device_copy(device, other[a], at[a], (size_t)n * sizeof(float), CLVI_COPY_TO_HOST));
                for (int64_t i = 0; i < n; i++) assert_near(other[a][i], host[a][i], 1e-6);
                clvi_device_free(device, at[a], (size_t)n * sizeof(float));
            }
        }
    clv_context_destroy(device);
}

static void norms_and_what_is_not_finite(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    fill(MOST);
    float *x = clvi_device_alloc(device, sizeof host[0]);
    assert_non_null(x);
    assert_ok(clvi_device_copy(device, x, host[0], sizeof host[0], CLVI_COPY_TO_DEVICE));
    const double want = clvi_flat_norm2(t->ctx, CLV_F32, MOST, host[0]);
    assert_near(clvi_flat_norm2(device, CLV_F32, MOST, x), want, 1e-9 * want);
    assert_true(clvi_flat_all_finite(device, CLV_F32, MOST, x));
    host[0][MOST - 1] = NAN;
    assert_ok(clvi_device_copy(device, x, host[0], sizeof host[0], CLVI_COPY_TO_DEVICE));
    assert_false(clvi_flat_all_finite(device, CLV_F32, MOST, x));
    assert_true(clvi_flat_all_finite(device, CLV_F32, MOST - 1, x));
    clvi_device_free(device, x, sizeof host[0]);
    clv_context_destroy(device);
}

/* Lengths beyond one chunk of a sum, in whole and in part; tests/cuda/test_optimizers.c has the steps themselves. */
static void sums_of_many_chunks_equal_the_hosts(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    float *w = clvi_device_alloc(device, sizeof host[0]), *g = clvi_device_alloc(device, sizeof host[0]);
    double *sum = clvi_device_alloc(device, 2 * sizeof *sum), want[2], got[2];
    assert_true(w && g && sum);
    fill(MOST);
    assert_ok(clvi_device_copy(device, w, host[0], sizeof host[0], CLVI_COPY_TO_DEVICE));
    assert_ok(clvi_device_copy(device, g, host[1], sizeof host[0], CLVI_COPY_TO_DEVICE));
    for (int64_t n = MOST; n >= 0; n = n > 65536 ? 65536 : n - 65536) {
        clvi_flat_norms2(t->ctx, CLV_F32, n, host[0], host[1], 0.1, want);
        clvi_flat_norms2(device, CLV_F32, n, w, g, 0.1, sum);
        assert_ok(clvi_device_copy(device, got, sum, sizeof got, CLVI_COPY_TO_HOST));
        for (int i = 0; i < 2; i++) assert_near(got[i], want[i], 1e-9 * want[i]);
    }
    clvi_device_free(device, sum, 2 * sizeof *sum);
    clvi_device_free(device, w, sizeof host[0]);
    clvi_device_free(device, g, sizeof host[0]);
    clv_context_destroy(device);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(sgd_and_the_encoder_that_follows_equal_the_hosts),
        TEST(norms_and_what_is_not_finite),
        TEST(sums_of_many_chunks_equal_the_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
