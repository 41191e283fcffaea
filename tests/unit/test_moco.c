/* test_moco.c: what momentum contrast does in a step: directions, shuffling, the order of the bank, running
 * statistics. */
#include "tests/support/test.h"
#include "core/rng.h"
#include "train/method.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, SIDE = 16, DIM = 16, BANK = 64, PIXELS = BATCH * SIDE * SIDE * 3, PARAMETERS = 1 << 18 };

/* A method with a configuration and one batch of two views. */
typedef struct rig {
    clv_context *ctx;
    clv_config  *config;
    clvi_method *method;
    clv_batch    batch;
    clv_view     view[2];
    int64_t      ids[BATCH], labels[BATCH];
    float        pixels[2][PIXELS];
} rig;

static rig *make(test_env *t, ...) __attribute__((sentinel));
static rig *make(test_env *t, ...)
{
    static const char *const tiny[][2] = {
        { "arch", "resnet8" }, { "width", "4" },   { "batch-size", "16" }, { "moco-dim", "16" }, { "moco-k", "64" },
        { "moco-m", "0.9" },   { "moco-t", "0.2" }, { "seed", "5" },
    };
    rig *r = calloc(1, sizeof *r);
    const clvi_method_class *cls = NULL;
    assert_non_null(r);
    r->ctx = test_context(t, 1);
    assert_ok(clv_config_create(r->ctx, &r->config));
    for (size_t i = 0; i < sizeof tiny / sizeof tiny[0]; i++)
        assert_ok(clv_config_set(r->config, tiny[i][0], tiny[i][1]));
    va_list args;
    va_start(args, t);
    for (const char *name; (name = va_arg(args, const char *));)
        assert_ok(clv_config_set(r->config, name, va_arg(args, const char *)));
    va_end(args);
    assert_ok(clvi_method_find("moco", &cls));
    const clvi_method_setup setup = { r->ctx, &r->config->settings, 3, SIDE, SIDE };
    assert_ok(cls->create(&setup, &r->method));
    for (int v = 0; v < 2; v++) {
        clvi_rng rng = clvi_rng_make(9, CLVI_RNG_TEST, 0, 0, (uint32_t)v);
        for (int i = 0; i < PIXELS; i++) {                  /* each image has waves of its own, and noise */
            const int image = i / (PIXELS / BATCH), column = i / 3 % SIDE, row = i / 3 / SIDE % SIDE;
            const double wave = sin(0.4 * (image / 4 + 1) * column + 0.5 * (image % 4) * row + i % 3);
            r->pixels[v][i] = (float)(2 * wave + 0.3 * clvi_rng_normal(&rng));
        }
        r->view[v] = clv_view_nhwc(r->pixels[v], CLV_F32, BATCH, 3, SIDE, SIDE);
    }
    for (int i = 0; i < BATCH; i++) {
        r->ids[i] = 1000 + i;
        r->labels[i] = i % 3;
    }
    r->batch.view = r->view;
    r->batch.ids = r->ids;
    r->batch.labels = r->labels;
    return r;
}

static void destroy(rig *r)
{
    r->method->cls->destroy(r->method);
    clv_config_destroy(r->config);
    clv_context_destroy(r->ctx);
    free(r);
}

static clvi_step_result forward(rig *r, int64_t total, double key_momentum)
{
    const clvi_step at = { 5, total, 0.1, key_momentum };
    clvi_step_result result = { .bank = NULL };
    assert_ok(r->method->cls->forward(r->method, &r->batch, &at, &result));
    assert_true(isfinite(result.loss) && result.grad_norm > 0);
    return result;
}

static void update(rig *r, int64_t total, double lr)
{
    const clvi_step at = { 5, total, lr, 0.9 };
    assert_ok(r->method->cls->update(r->method, &r->batch, &at));
}

static void swap_views(rig *r)
{
    const clv_view first = r->view[0];
    r->view[0] = r->view[1];
    r->view[1] = first;
}

/* Adds the gradient to `sum`; returns how many entries it has. */
static int64_t add_gradient(rig *r, double *sum)
{
    clv_view g;
    assert_ok(clv_params_flat(r->method->cls->params(r->method, false), CLV_PARAM_GRADIENT, &g));
    assert_true(clv_view_count(&g) <= PARAMETERS);
    for (int64_t i = 0; i < clv_view_count(&g); i++) sum[i] += ((const float *)g.data)[i];
    return clv_view_count(&g);
}

static void copy_rows(const clv_view *rows, float *out)
{
    assert_true(rows->shape[0] == BATCH && rows->shape[1] == DIM);
    memcpy(out, rows->data, BATCH * DIM * sizeof(float));
}

static void assert_rows_near(const float *a, const float *b, double tolerance)
{
    for (int i = 0; i < BATCH * DIM; i++) assert_near(a[i], b[i], tolerance);
}

/* Buffer `name`, at most 64 entries. */
static int64_t read_buffer(rig *r, bool key, const char *name, float *out)
{
    clv_params *params = r->method->cls->params(r->method, key);
    const int64_t i = clv_params_find(params, name);
    clv_param_info info;
    assert_true(i >= 0);
    assert_ok(clv_params_info(params, i, &info));
    assert_true(info.kind == CLV_PARAM_BUFFER && info.ndim == 1 && info.shape[0] <= 64);
    const clv_view view = clv_view_1d(out, CLV_F32, info.shape[0]);
    assert_ok(clv_params_read(params, i, CLV_PARAM_VALUE, &view));
    return info.shape[0];
}

/* ---- directions ---- */

static void a_symmetric_step_is_the_sum_of_its_two_directions(void **state)
{
    test_env *t = *state;
    static double both[PARAMETERS], apart[PARAMETERS];
    rig *s = make(t, "symmetric", "true", "mlp", "true", NULL), *one = make(t, "mlp", "true", NULL),
        *two = make(t, "mlp", "true", NULL);
    memset(both, 0, sizeof both);
    memset(apart, 0, sizeof apart);
    const double loss = forward(s, 0, 0.9).loss;
    const int64_t n = add_gradient(s, both);
    double sum = forward(one, 0, 0.9).loss;
    assert_int_equal(add_gradient(one, apart), n);
    swap_views(two);
    sum += forward(two, 0, 0.9).loss;
    add_gradient(two, apart);
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(apart[i]));
    assert_true(largest > 1e-3);
    for (int64_t i = 0; i < n; i++) assert_near(both[i], apart[i], 1e-6 * largest);
    assert_near(loss, sum, 1e-6 * sum);
    destroy(s);
    destroy(one);
    destroy(two);
}

static void a_symmetric_step_enqueues_the_first_views_keys_and_then_the_seconds(void **state)
{
    test_env *t = *state;
    float first[BATCH * DIM], second[BATCH * DIM];
    rig *s = make(t, "symmetric", "true", NULL), *one = make(t, NULL), *two = make(t, NULL);
    clvi_step_result of_one = forward(one, 0, 0.9);           /* its keys are of the second view */
    copy_rows(&of_one.key, second);
    swap_views(two);
    clvi_step_result of_two = forward(two, 0, 0.9);
    copy_rows(&of_two.key, first);
    const clvi_step_result of_both = forward(s, 0, 0.9);
    update(s, 0, 0.1);
    const clv_view rows = clv_bank_rows(of_both.bank), ids = clv_bank_ids(of_both.bank);
    assert_int_equal(clv_bank_pointer(of_both.bank), 2 * BATCH);
    assert_rows_near(rows.data, first, 1e-6);
    assert_rows_near((const float *)rows.data + BATCH * DIM, second, 1e-6);
    for (int i = 0; i < 2 * BATCH; i++) assert_int_equal(((const int64_t *)ids.data)[i], 1000 + i % BATCH);
    destroy(s);
    destroy(one);
    destroy(two);
}

static void what_the_trainer_looks_at_belongs_to_the_first_direction(void **state)
{
    test_env *t = *state;
    float query[BATCH * DIM], key[BATCH * DIM];
    rig *s = make(t, "symmetric", "true", NULL), *one = make(t, NULL);
    const clvi_step_result of_one = forward(one, 0, 0.9), of_both = forward(s, 0, 0.9);
    copy_rows(&of_one.query, query);
    copy_rows(&of_one.key, key);
    assert_rows_near(of_both.query.data, query, 1e-6);
    assert_rows_near(of_both.key.data, key, 1e-6);
    destroy(s);
    destroy(one);
}

/* ---- shuffling ---- */

static int nearest_row(const float *q, const float *rows)
{
    int nearest = -1;
    double best = -INFINITY;
    for (int j = 0; j < BATCH; j++) {
        double dot = 0;
        for (int d = 0; d < DIM; d++) dot += (double)q[d] * rows[j * DIM + d];
        if (dot > best) nearest = j;
        best = fmax(best, dot);
    }
    return nearest;
}

/* With m = 0 and the same views on both sides, key i is query i, but for the company it had in batch norm: with several
 * groups it is still nearest to query i for most i. Were the rows left in the order of the groups, it would be for
 * one. */
static void keys_come_back_in_the_order_of_the_batch(void **state)
{
    test_env *t = *state;
    enum { STEPS = 4 };
    for (int splits = 1; splits <= 2; splits++) {
        int right = 0;
        rig *r = make(t, "bn-splits", splits == 1 ? "1" : "2", NULL);
        r->view[1] = r->view[0];
        for (int step = 0; step < STEPS; step++) {
            const clvi_step_result result = forward(r, step, 0.0);
            if (splits == 1) assert_rows_near(result.query.data, result.key.data, 1e-5);
            for (int i = 0; i < BATCH; i++)
                right += nearest_row((const float *)result.query.data + i * DIM, result.key.data) == i;
        }
        assert_in_range(right, splits == 1 ? STEPS * BATCH : STEPS * BATCH / 2, STEPS * BATCH);
        destroy(r);
    }
}

static void shuffling_acts_with_several_groups_and_differs_from_step_to_step(void **state)
{
    test_env *t = *state;
    float plain[BATCH * DIM], shuffled[BATCH * DIM], later[BATCH * DIM];
    rig *a = make(t, "bn-splits", "4", "shuffle-bn", "false", NULL), *b = make(t, "bn-splits", "4", NULL);
    clvi_step_result result = forward(a, 0, 1.0);              /* m = 1: the key encoder stands still */
    copy_rows(&result.key, plain);
    result = forward(a, 1, 1.0);
    copy_rows(&result.key, later);
    assert_rows_near(plain, later, 0);
    result = forward(b, 0, 1.0);
    copy_rows(&result.key, shuffled);
    result = forward(b, 1, 1.0);
    copy_rows(&result.key, later);
    double from_plain = 0, from_later = 0;
    for (int i = 0; i < BATCH * DIM; i++) {
        from_plain = fmax(from_plain, fabs(shuffled[i] - plain[i]));
        from_later = fmax(from_later, fabs(shuffled[i] - later[i]));
    }
    assert_true(from_plain > 1e-3 && from_later > 1e-3);
    destroy(a);
    destroy(b);
}

static void with_one_group_keys_are_those_without_shuffling_to_the_bit(void **state)
{
    test_env *t = *state;
    float a[BATCH * DIM], b[BATCH * DIM];
    rig *on = make(t, "shuffle-bn", "true", NULL), *off = make(t, "shuffle-bn", "false", NULL);
    const clvi_step_result x = forward(on, 7, 0.9), y = forward(off, 7, 0.9);
    copy_rows(&x.key, a);
    copy_rows(&y.key, b);
    assert_memory_equal(a, b, sizeof a);
    destroy(on);
    destroy(off);
}

/* ---- running statistics of the key encoder ---- */

static void running_statistics_follow_the_policy(void **state)
{
    test_env *t = *state;
    static const char *const policies[] = { "own", "copy", "average" };
    float key[3][64], query[64], query_before[64], key_before[64], own_update[64];
    for (int p = 0; p < 3; p++) {
        rig *r = make(t, "bn-buffers", policies[p], NULL);
        forward(r, 0, 0.9);
        update(r, 0, 0.0);
        read_buffer(r, false, "bn1.running_mean", query_before);
        read_buffer(r, true, "bn1.running_mean", key_before);
        forward(r, 1, 0.75);
        const int64_t n = read_buffer(r, true, "bn1.running_mean", key[p]);
        read_buffer(r, false, "bn1.running_mean", query);
        /* The key encoder's own pass then moves whatever it started from by a tenth towards this batch's mean. Weights
         * did not move (lr 0), so the batch's mean is the one that the first step saw. */
        for (int64_t i = 0; i < n; i++) {
            if (p == 0) {
                own_update[i] = (float)((key[0][i] - 0.9 * key_before[i]) / 0.1);
                assert_near(key_before[i], 0.1 * own_update[i], 1e-6);        /* from zero, by its own batches alone */
            }
            const double start = p == 0 ? key_before[i] : p == 1 ? query_before[i]
                                                                 : 0.75 * key_before[i] + 0.25 * query_before[i];
            assert_near(key[p][i], 0.9 * start + 0.1 * own_update[i], 1e-6);
        }
        double apart = 0;
        for (int64_t i = 0; i < n; i++) apart = fmax(apart, fabs(query_before[i] - key_before[i]));
        assert_true(apart > 1e-4);                     /* else the policies could not be told apart */
        destroy(r);
    }
}

TEST_MAIN(TEST(a_symmetric_step_is_the_sum_of_its_two_directions),
          TEST(a_symmetric_step_enqueues_the_first_views_keys_and_then_the_seconds),
          TEST(what_the_trainer_looks_at_belongs_to_the_first_direction),
          TEST(keys_come_back_in_the_order_of_the_batch),
          TEST(shuffling_acts_with_several_groups_and_differs_from_step_to_step),
          TEST(with_one_group_keys_are_those_without_shuffling_to_the_bit), TEST(running_statistics_follow_the_policy))
