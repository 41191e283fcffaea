/* test_flat.c: passes over flat arenas compute what plain loops do, with the same bits for any number of threads. */
#include "device/cpu/flat.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t lengths[] = { 0, 1, 7, 33, 32768, 100003 };
#define EACH_LENGTH(at) for (const int64_t *at = lengths; at < lengths + sizeof lengths / sizeof *lengths; at++)

/* Numbers in [-1, 1), exact in float. */
static double *numbers(int64_t n, uint64_t seed)
{
    double *x = malloc(((size_t)n + 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (double)(seed >> 44) / 524288.0 - 1;
    }
    return x;
}

static float *rounded(const double *x, int64_t n)
{
    float *y = malloc(((size_t)n + 1) * sizeof *y);
    assert_non_null(y);
    for (int64_t i = 0; i < n; i++) y[i] = (float)x[i];
    return y;
}

/* Three steps of a plain loop. */
static void plain_sgd(int64_t n, double *w, const double *g, double *v, const clvi_flat_sgd_args *a, int steps)
{
    for (int step = 0; step < steps; step++)
        for (int64_t i = 0; i < n; i++) {
            const double d = g[i] + a->weight_decay * w[i];
            v[i] = step == 0 ? d : a->momentum * v[i] + d;
            w[i] -= a->lr * (a->nesterov ? d + a->momentum * v[i] : v[i]);
        }
}

static void sgd_is_pytorchs(void **state)
{
    test_env *t = *state;
    for (int variant = 0; variant < 3; variant++)
        EACH_LENGTH(at) {
            const int64_t n = *at;
            clvi_flat_sgd_args a = { .lr = 0.1, .momentum = variant ? 0.9 : 0, .weight_decay = 0.01,
                                     .nesterov = variant == 2 };
            double *w = numbers(n, 1), *g = numbers(n, 2), *v = numbers(n, 3);
            double *want = numbers(n, 1), *wv = numbers(n, 4);
            float *w32 = rounded(w, n), *g32 = rounded(g, n), *v32 = rounded(v, n);
            plain_sgd(n, want, g, wv, &a, 3);
            for (int step = 0; step < 3; step++) {
                a.first = step == 0;
                clvi_flat_sgd(t->ctx, CLV_F64, n, w, g, variant ? v : NULL, &a);
                clvi_flat_sgd(t->ctx, CLV_F32, n, w32, g32, variant ? v32 : NULL, &a);
            }
            for (int64_t i = 0; i < n; i++) {
                assert_near(w[i], want[i], 1e-14);
                assert_near(w32[i], want[i], 1e-6);
            }
            free(w), free(g), free(v), free(want), free(wv), free(w32), free(g32), free(v32);
        }
}

static void the_first_step_does_not_read_the_momentum(void **state)
{
    test_env *t = *state;
    float w[3] = { 1, 2, 3 }, g[3] = { 1, 1, 1 }, v[3] = { NAN, INFINITY, NAN };
    const clvi_flat_sgd_args a = { .lr = 0.5, .momentum = 0.9, .first = true };
    clvi_flat_sgd(t->ctx, CLV_F32, 3, w, g, v, &a);
    for (int i = 0; i < 3; i++) {
        assert_near(v[i], 1, 0);
        assert_near(w[i], i + 0.5, 0);
    }
}

static void ema_and_axpy_match_plain_loops(void **state)
{
    test_env *t = *state;
    EACH_LENGTH(at) {
        const int64_t n = *at;
        double *k = numbers(n, 1), *q = numbers(n, 2), *was = numbers(n, 1);
        float *k32 = rounded(k, n), *q32 = rounded(q, n);
        clvi_flat_ema(t->ctx, CLV_F64, n, k, q, 0.99);
        clvi_flat_ema(t->ctx, CLV_F32, n, k32, q32, 0.99);
        for (int64_t i = 0; i < n; i++) {
            assert_near(k[i], 0.99 * was[i] + 0.01 * q[i], 1e-15);
            assert_near(k32[i], 0.99 * was[i] + 0.01 * q[i], 1.2e-7);
            was[i] = k[i];
        }
        clvi_flat_axpy(t->ctx, CLV_F64, n, -3, q, k);
        clvi_flat_axpy(t->ctx, CLV_F32, n, -3, q32, k32);
        for (int64_t i = 0; i < n; i++) {
            assert_near(k[i], was[i] - 3 * q[i], 1e-14);
            assert_near(k32[i], was[i] - 3 * q[i], 1e-6);
        }
        free(k), free(q), free(was), free(k32), free(q32);
    }
}

/* ---- what follows an update ---- */

typedef enum update { PLAIN, MOMENTUM, NESTEROV, FIRST, LARS, ADAMW, LAMB, UPDATES } update;

/* Weights, gradient, two vectors of state, two followers. */
enum { W, G, M, V, K, L, VECTORS };

static void apply(clv_context *ctx, update what, clv_dtype dtype, int64_t n, void *const x[VECTORS],
                  const clvi_flat_followers *followers)
{
    const clvi_flat_sgd_args sgd = { .lr = 0.1, .momentum = what == PLAIN ? 0 : 0.9, .weight_decay = 0.01,
                                     .nesterov = what == NESTEROV, .first = what == FIRST, .followers = *followers };
    const clvi_flat_adam_args adam = { .lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1,
                                       .correction1 = 0.1, .correction2 = 0.01, .followers = *followers };
    const double squares[2] = { 4, 25 };
    const clvi_flat_rate rate = { .trust = 0.75, .factor = 1, .squares = squares };      /* 0.75 2 / 5 */
    switch (what) {
    case LARS: clvi_flat_lars(ctx, dtype, n, x[W], x[G], x[V], &sgd, &rate); return;
    case ADAMW: clvi_flat_adamw(ctx, dtype, n, x[W], x[G], x[M], x[V], &adam); return;
    case LAMB: clvi_flat_lamb(ctx, dtype, n, x[W], x[M], x[V], &adam, &rate); return;
    default: clvi_flat_sgd(ctx, dtype, n, x[W], x[G], x[V], &sgd);
    }
}

/* Updates two copies, with the followers taken along and with a pass for each. */
static void compare_followed(clv_context *ctx, update what, clv_dtype dtype, int64_t n, int followers)
{
    void *x[2][VECTORS];
    const clvi_flat_followers none = { .k = { NULL } };
    for (int copy = 0; copy < 2; copy++)
        for (int i = 0; i < VECTORS; i++) {
            double *wide = numbers(n, (uint64_t)i + 1);
            for (int64_t k = 0; i == V && k < n; k++) wide[k] = fabs(wide[k]);      /* squares, for Adam */
            x[copy][i] = dtype == CLV_F64 ? (void *)wide : (void *)rounded(wide, n);
            if (dtype != CLV_F64) free(wide);
        }
    const clvi_flat_followers both = { { x[0][K], followers > 1 ? x[0][L] : NULL }, { 0.99, 0.7 } };
    apply(ctx, what, dtype, n, x[0], &both);
    apply(ctx, what, dtype, n, x[1], &none);
    clvi_flat_ema(ctx, dtype, n, x[1][K], x[1][W], 0.99);
    if (followers > 1) clvi_flat_ema(ctx, dtype, n, x[1][L], x[1][W], 0.7);
    for (int i = 0; i < VECTORS; i++) {
        assert_memory_equal(x[0][i], x[1][i], (size_t)n * clv_dtype_size(dtype));
        free(x[0][i]), free(x[1][i]);
    }
}

static void what_follows_in_the_same_pass_has_the_bits_of_a_pass_of_its_own(void **state)
{
    test_env *t = *state;
    for (update what = PLAIN; what < UPDATES; what++)
        for (int followers = 1; followers <= 2; followers++)
            EACH_LENGTH(at) {
                compare_followed(t->ctx, what, CLV_F64, *at, followers);
                compare_followed(t->ctx, what, CLV_F32, *at, followers);
            }
}

static void norm_is_summed_in_double(void **state)
{
    test_env *t = *state;
    EACH_LENGTH(at) {
        const int64_t n = *at;
        double *x = numbers(n, 5), sum = 0;
        float *x32 = rounded(x, n);
        for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
        assert_near(clvi_flat_norm2(t->ctx, CLV_F64, n, x), sum, 1e-12 * (1 + sum));
        assert_near(clvi_flat_norm2(t->ctx, CLV_F32, n, x32), sum, 1e-12 * (1 + sum));
        free(x), free(x32);
    }
}

static void one_bad_value_anywhere_is_found(void **state)
{
    test_env *t = *state;
    static const double bad[] = { NAN, INFINITY, -INFINITY };
    static const int64_t places[] = { 0, 1023, 1024, 32767, 50000, 70000 };
    double *x = numbers(70001, 6);
    float *x32 = rounded(x, 70001);
    assert_true(clvi_flat_all_finite(t->ctx, CLV_F64, 70001, x));
    assert_true(clvi_flat_all_finite(t->ctx, CLV_F32, 70001, x32));
    assert_true(clvi_flat_all_finite(t->ctx, CLV_F32, 0, x32));
    for (int p = 0; p < 6; p++)
        for (int b = 0; b < 3; b++) {
            const double was = x[places[p]];
            x[places[p]] = bad[b], x32[places[p]] = (float)bad[b];
            assert_false(clvi_flat_all_finite(t->ctx, CLV_F64, 70001, x));
            assert_false(clvi_flat_all_finite(t->ctx, CLV_F32, 70001, x32));
            x[places[p]] = was, x32[places[p]] = (float)was;
        }
    free(x), free(x32);
}

static void thread_count_changes_no_bit(void **state)
{
    test_env *t = *state;
    const int64_t n = 300007;
    float *w[2], *v[2];
    double *raw = numbers(n, 8), *gradient = numbers(n, 9), norm[2];
    float *g = rounded(gradient, n);
    const clvi_flat_sgd_args a = { .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .first = true };
    for (int i = 0; i < 2; i++) {
        clv_context *ctx = test_context(t, i ? 3 : 1);
        w[i] = rounded(raw, n), v[i] = rounded(raw, n);
        clvi_flat_sgd(ctx, CLV_F32, n, w[i], g, v[i], &a);
        clvi_flat_ema(ctx, CLV_F32, n, v[i], w[i], 0.999);
        norm[i] = clvi_flat_norm2(ctx, CLV_F32, n, v[i]);
        clv_context_destroy(ctx);
    }
    assert_memory_equal(w[0], w[1], (size_t)n * sizeof(float));
    assert_memory_equal(v[0], v[1], (size_t)n * sizeof(float));
    assert_true(norm[0] == norm[1]);
    for (int i = 0; i < 2; i++) free(w[i]), free(v[i]);
    free(raw), free(gradient), free(g);
}

/* AdamW, LARS and LAMB over three chunks and a rest, with any number of threads. */
static double *adaptive(clv_context *ctx, int64_t n, double sums[4])
{
    const clvi_flat_adam_args adam = { .lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1,
                                       .correction1 = 0.1, .correction2 = 0.01 };
    const clvi_flat_sgd_args sgd = { .lr = 0.1, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true };
    double *x = numbers(n, 1), *g = numbers(n, 2), *zero = calloc((size_t)n, sizeof *zero);
    float *w = rounded(x, n), *g32 = rounded(g, n), *m = rounded(zero, n), *v = rounded(zero, n), *u = rounded(zero, n);
    clvi_cpu_flat_adamw(ctx, CLV_F32, n, w, g32, m, v, &adam);
    clvi_cpu_flat_norms2(ctx, CLV_F32, n, w, g32, 0.1, sums);
    clvi_cpu_flat_lars(ctx, CLV_F32, n, w, g32, u, &sgd, 0.3);
    clvi_cpu_flat_lamb_moments(ctx, CLV_F32, n, w, g32, m, v, &adam, sums + 2);
    clvi_cpu_flat_lamb(ctx, CLV_F32, n, w, m, v, &adam);
    clvi_flat_scale(ctx, CLV_F32, n, 0.5, w);
    for (int64_t i = 0; i < n; i++) x[i] = w[i];
    free(g), free(zero), free(w), free(g32), free(m), free(v), free(u);
    return x;
}

static void adaptive_passes_give_the_same_bits_with_any_number_of_threads(void **state)
{
    test_env *t = *state;
    EACH_LENGTH(at) {
        double sums[3][4], *x[3];
        for (int i = 0; i < 3; i++) {
            clv_context *ctx = test_context(t, i + 1);
            x[i] = adaptive(ctx, *at, sums[i]);
            clv_context_destroy(ctx);
        }
        for (int i = 1; i < 3; i++) {
            assert_memory_equal(sums[i], sums[0], sizeof sums[0]);
            if (*at > 0) assert_memory_equal(x[i], x[0], (size_t)*at * sizeof *x[0]);
        }
        for (int i = 0; i < 3; i++) free(x[i]);
    }
}

static void norms_of_weights_and_decayed_gradients_are_those_of_a_loop(void **state)
{
    test_env *t = *state;
    EACH_LENGTH(at) {
        double *w = numbers(*at, 1), *g = numbers(*at, 2), want[2] = { 0, 0 }, got[2];
        for (int64_t i = 0; i < *at; i++) {
            want[0] += w[i] * w[i];
            want[1] += (g[i] + 0.3 * w[i]) * (g[i] + 0.3 * w[i]);
        }
        clvi_cpu_flat_norms2(t->ctx, CLV_F64, *at, w, g, 0.3, got);
        for (int k = 0; k < 2; k++) assert_near(got[k], want[k], 1e-12 * (1 + want[k]));
        free(w), free(g);
    }
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sgd_is_pytorchs),
        TEST(the_first_step_does_not_read_the_momentum),
        TEST(ema_and_axpy_match_plain_loops),
        TEST(what_follows_in_the_same_pass_has_the_bits_of_a_pass_of_its_own),
        TEST(norm_is_summed_in_double),
        TEST(one_bad_value_anywhere_is_found),
        TEST(thread_count_changes_no_bit),
        TEST(adaptive_passes_give_the_same_bits_with_any_number_of_threads),
        TEST(norms_of_weights_and_decayed_gradients_are_those_of_a_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa(run_all);
}
