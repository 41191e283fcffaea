/* test_graph.c: what must hold for any graph, tried on random ones. */
#include "tests/support/random_graph.h"
#include "core/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GRAPHS 25

static clv_graph_desc make_desc(clv_dtype dtype, bool reference)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.dtype = dtype;
    desc.training = true;
    desc.reference = reference;
    return desc;
}

static double run_loss(random_graph *r)
{
    clv_view view;
    assert_ok(clv_graph_run(r->g));
    assert_ok(clv_graph_read(r->g, r->loss, &view));
    return r->g->dtype == CLV_F64 ? *(const double *)view.data : *(const float *)view.data;
}

static clv_view flat(random_graph *r, clv_param_part part)
{
    clv_view view;
    assert_ok(clv_params_flat(clv_graph_params(r->g), part, &view));
    return view;
}

/* Gradient of parameter `index` as doubles in plain order; the caller frees it. */
static double *gradient_of(random_graph *r, int64_t index, int64_t *count)
{
    clv_param_info info;
    clv_params *p = clv_graph_params(r->g);
    assert_ok(clv_params_info(p, index, &info));
    *count = 0;
    if (info.kind != CLV_PARAM_TRAINABLE) return NULL;
    *count = 1;
    for (int i = 0; i < info.ndim; i++) *count *= info.shape[i];
    double *out = calloc((size_t)*count, sizeof *out);
    const clv_view view = clv_view_dense(out, CLV_F64, info.ndim, info.shape);
    assert_ok(clv_params_read(p, index, CLV_PARAM_GRADIENT, &view));
    return out;
}

static void the_flat_gradient_is_the_slope_of_the_loss_in_any_direction(void **state)
{
    clv_context *ctx = test_context(*state, 1);
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        random_graph r;
        const clv_graph_desc desc = make_desc(CLV_F64, seed % 2);
        random_graph_make(ctx, &desc, seed, &r);
        (void)run_loss(&r);
        const clv_view values = flat(&r, CLV_PARAM_VALUE), gradient = flat(&r, CLV_PARAM_GRADIENT);
        const int64_t n = values.shape[0];
        double *x = values.data, slope = 0, size = 0;
        const double *g = gradient.data, h = 1e-6;
        double *at = malloc((size_t)(n + 1) * sizeof *at), *direction = malloc((size_t)(n + 1) * sizeof *direction);
        clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_TEST, 1, 0, 0);
        for (int64_t i = 0; i < n; i++) {
            at[i] = x[i];
            direction[i] = clvi_rng_normal(&rng);
            slope += g[i] * direction[i];
            size += g[i] * g[i];
        }
        for (int64_t i = 0; i < n; i++) x[i] = at[i] + h * direction[i];
        const double up = run_loss(&r);
        for (int64_t i = 0; i < n; i++) x[i] = at[i] - h * direction[i];
        const double down = run_loss(&r);
        assert_near((up - down) / (2 * h), slope, 1e-5 * (1 + sqrt(size)));
        free(at);
        free(direction);
        random_graph_destroy(&r);
    }
    clv_context_destroy(ctx);
}

static void float32_with_any_kernels_agrees_with_plain_float64(void **state)
{
    test_env *t = *state;
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        random_graph exact, fast;
        const clv_graph_desc exact_desc = make_desc(CLV_F64, true), fast_desc = make_desc(CLV_F32, false);
        random_graph_make(t->ctx, &exact_desc, seed, &exact);
        random_graph_make(t->ctx, &fast_desc, seed, &fast);
        const double want = run_loss(&exact);
        assert_near(run_loss(&fast), want, 1e-3 * fmax(1, fabs(want)));
        for (int64_t i = 0; i < clv_params_count(clv_graph_params(exact.g)); i++) {
            int64_t n;
            double *a = gradient_of(&exact, i, &n), *b = gradient_of(&fast, i, &n), largest = 0;
            for (int64_t k = 0; k < n; k++) largest = fmax(largest, fabs(a[k]));
            for (int64_t k = 0; k < n; k++) assert_near(b[k], a[k], 2e-3 * fmax(largest, 0.05));
            free(a);
            free(b);
        }
        random_graph_destroy(&exact);
        random_graph_destroy(&fast);
    }
}

static void plain_kernels_give_the_same_bits_with_any_number_of_threads(void **state)
{
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        double loss[3];
        void *gradient[3] = { NULL };
        size_t bytes = 0;
        for (int threads = 1; threads <= 3; threads++) {
            clv_context *ctx = test_context(*state, threads);
            random_graph r;
            const clv_graph_desc desc = make_desc(CLV_F32, true);
            random_graph_make(ctx, &desc, seed, &r);
            loss[threads - 1] = run_loss(&r);
            const clv_view view = flat(&r, CLV_PARAM_GRADIENT);
            bytes = (size_t)view.shape[0] * sizeof(float);
            gradient[threads - 1] = malloc(bytes + 1);
            memcpy(gradient[threads - 1], view.data, bytes);
            random_graph_destroy(&r);
            clv_context_destroy(ctx);
        }
        for (int k = 1; k < 3; k++) {
            assert_memory_equal(&loss[0], &loss[k], sizeof loss[0]);
            if (bytes) assert_memory_equal(gradient[0], gradient[k], bytes);
        }
        for (int k = 0; k < 3; k++) free(gradient[k]);
    }
}

static void building_twice_gives_the_same_plan(void **state)
{
    test_env *t = *state;
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        random_graph a, b;
        const clv_graph_desc desc = make_desc(CLV_F32, false);
        random_graph_make(t->ctx, &desc, seed, &a);
        random_graph_make(t->ctx, &desc, seed, &b);
        assert_int_equal(a.g->n_steps, b.g->n_steps);
        assert_int_equal(a.g->arena_size, b.g->arena_size);
        for (int32_t s = 0; s < a.g->n_steps; s++) assert_ptr_equal(a.g->steps[s].kernel, b.g->steps[s].kernel);
        for (int32_t s = 0; s < a.g->n_storages; s++)
            assert_int_equal(a.g->storages[s].offset, b.g->storages[s].offset);
        random_graph_destroy(&a);
        random_graph_destroy(&b);
    }
}

TEST_MAIN(
    TEST(the_flat_gradient_is_the_slope_of_the_loss_in_any_direction),
    TEST(float32_with_any_kernels_agrees_with_plain_float64),
    TEST(plain_kernels_give_the_same_bits_with_any_number_of_threads),
    TEST(building_twice_gives_the_same_plan),
)
