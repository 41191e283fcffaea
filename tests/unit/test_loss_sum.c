/* test_loss_sum.c: several losses with weights: values, gradients and their lengths are those of
 * the losses one by one. */
#include "tests/support/test.h"
#include <cleave/loss.h>
#include "core/context.h"
#include <math.h>
#include <string.h>

#define N 6
#define C 4

typedef struct data {
    float   logits[N * C], query[N * C], key[N * C];
    int64_t targets[N];
} data;

static data make_data(void)
{
    data d;
    for (int i = 0; i < N * C; i++) {
        d.logits[i] = (float)sin(3 * i + 1);
        d.query[i] = (float)cos(i * i);
        d.key[i] = (float)cos(2 * i + 3);
    }
    for (int i = 0; i < N; i++) d.targets[i] = i % C;
    return d;
}

static clv_loss_tensor f32(const char *name, float *x)
{
    return (clv_loss_tensor) { name, clv_view_2d(x, CLV_F32, N, C) };
}

static clv_loss_tensor labels(const char *name, int64_t *x)
{
    return (clv_loss_tensor) { name, clv_view_1d(x, CLV_I64, N) };
}

static const clv_option multiclass[] = { { "variant", "multiclass_official" }, { "square", "true" } };
static const clv_option cross_entropy[] = { { "gamma", "0" } };

/* One loss alone; returns its value. */
static double alone(test_env *t, const char *name, const clv_option *options, int n, const clv_loss_tensor *in,
                    int n_in, const char *of, float *grad)
{
    clv_loss *loss = NULL;
    double value = NAN;
    const clv_loss_tensor grads[] = { f32(of, grad) };
    assert_ok(clv_loss_create(t->ctx, name, options, n, &loss));
    assert_ok(clv_loss_eval(loss, in, n_in, grads, 1, NULL, 0, &value));
    clv_loss_destroy(loss);
    return value;
}

static double norm_of(const float *x)
{
    double sum = 0;
    for (int i = 0; i < N * C; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static void a_sum_is_the_weighted_sum_of_its_terms(void **state)
{
    test_env *t = *state;
    data d = make_data();
    const clv_loss_term terms[] = { { "focal", 1, cross_entropy, 1, NULL }, { "dice", 0.25, multiclass, 2, NULL },
                                    { "info_nce", -2, NULL, 0, "contrast" } };
    const clv_loss_tensor in[] = { f32("logits", d.logits), labels("targets", d.targets), f32("query", d.query),
                                   f32("contrast.key", d.key) };
    float grad[N * C], query_grad[N * C], focal[N * C], dice[N * C], query[N * C];
    const clv_loss_tensor grads[] = { f32("logits", grad), f32("query", query_grad) };
    const double a = alone(t, "focal", cross_entropy, 1, in, 2, "logits", focal);
    const double b = alone(t, "dice", multiclass, 2, in, 2, "logits", dice);
    const clv_loss_tensor pair[] = { in[2], f32("key", d.key) };
    const double c = alone(t, "info_nce", NULL, 0, pair, 2, "query", query);
    clv_loss_sum *sum = NULL;
    clv_loss_term_result results[3];
    double value = 0;
    assert_ok(clv_loss_sum_create(t->ctx, terms, 3, &sum));
    assert_ok(clv_loss_sum_eval(sum, in, 4, grads, 2, results, &value));
    assert_near(value, a + 0.25 * b - 2 * c, 1e-12);
    for (int i = 0; i < N * C; i++) {
        assert_near(grad[i], focal[i] + 0.25 * dice[i], 1e-7);
        assert_near(query_grad[i], -2 * query[i], 1e-7);
    }
    assert_string_equal(results[0].name, "focal");
    assert_string_equal(results[2].name, "contrast");
    assert_near(results[1].value, b, 0);
    assert_near(results[1].weight, 0.25, 0);
    assert_near(results[0].gradient_norm, norm_of(focal), 1e-6);
    assert_near(results[1].gradient_norm, norm_of(dice), 1e-6);
    assert_near(results[2].gradient_norm, norm_of(query), 1e-6);

    assert_ok(clv_loss_sum_set_weight(sum, "contrast", 0));
    const uint64_t count = clvi_alloc_count();
    assert_ok(clv_loss_sum_eval(sum, in, 4, grads, 2, results, &value));
    assert_true(clvi_alloc_count() == count);
    assert_near(value, a + 0.25 * b, 1e-12);
    for (int i = 0; i < N * C; i++) assert_near(query_grad[i], 0, 0);
    assert_ok(clv_loss_sum_eval(sum, in, 4, NULL, 0, NULL, NULL));
    clv_loss_sum_destroy(sum);
}

/* A loss with two settings; the tensor of a term's own goes before the shared one. */
static void a_term_reads_its_own_tensor_first(void **state)
{
    test_env *t = *state;
    data d = make_data();
    const clv_option warm[] = { { "temperature", "1" } };
    const clv_loss_term terms[] = { { "info_nce", 1, NULL, 0, "cold" }, { "info_nce", 1, warm, 1, "warm" } };
    const clv_loss_tensor in[] = { f32("query", d.query), f32("key", d.key), f32("warm.key", d.logits) };
    const clv_loss_tensor cold_in[] = { in[0], in[1] }, warm_in[] = { in[0], f32("key", d.logits) };
    float grad[N * C], query_grad[N * C], a[N * C], b[N * C];
    const clv_loss_tensor grads[] = { f32("warm.key", grad), f32("query", query_grad) };
    double value = alone(t, "info_nce", NULL, 0, cold_in, 2, "query", a);
    value += alone(t, "info_nce", warm, 1, warm_in, 2, "query", b);
    clv_loss_sum *sum = NULL;
    double got = 0;
    assert_ok(clv_loss_sum_create(t->ctx, terms, 2, &sum));
    assert_ok(clv_loss_sum_eval(sum, in, 3, grads, 2, NULL, &got));
    assert_near(got, value, 1e-12);
    for (int i = 0; i < N * C; i++) assert_near(query_grad[i], a[i] + b[i], 1e-7);
    alone(t, "info_nce", warm, 1, warm_in, 2, "key", b);
    for (int i = 0; i < N * C; i++) assert_near(grad[i], b[i], 1e-7);
    clv_loss_sum_destroy(sum);
}

static void wrong_sums_are_told_what_is_wrong(void **state)
{
    test_env *t = *state;
    data d = make_data();
    clv_loss_sum *sum = NULL;
    float grad[N * C];
    double value;
    const clv_loss_term twice[] = { { "focal", 1, NULL, 0, NULL }, { "focal", 1, NULL, 0, NULL } };
    const clv_loss_term wrong[] = { { "focul", 1, NULL, 0, NULL } }, dotted[] = { { "focal", 1, NULL, 0, "a.b" } };
    const clv_loss_term infinite[] = { { "focal", INFINITY, NULL, 0, NULL } };
    assert_fails(clv_loss_sum_create(t->ctx, twice, 2, &sum), CLV_ERR_INVALID, "two terms are called 'focal'");
    assert_fails(clv_loss_sum_create(t->ctx, wrong, 1, &sum), CLV_ERR_INVALID, "did you mean 'focal'");
    assert_fails(clv_loss_sum_create(t->ctx, dotted, 1, &sum), CLV_ERR_INVALID, "'a.b' is no name");
    assert_fails(clv_loss_sum_create(t->ctx, infinite, 1, &sum), CLV_ERR_INVALID, "weight is inf");
    assert_fails(clv_loss_sum_create(t->ctx, twice, 0, &sum), CLV_ERR_INVALID, "0 terms");
    assert_null(sum);
    assert_ok(clv_loss_sum_create(t->ctx, twice, 1, &sum));
    clv_loss_tensor in[] = { f32("logits", d.logits), labels("targets", d.targets), labels("labels", d.targets) };
    const clv_loss_tensor grads[] = { f32("logits", grad) }, of_targets[] = { f32("targets", grad) };
    assert_fails(clv_loss_sum_eval(sum, in, 3, grads, 1, NULL, &value), CLV_ERR_INVALID, "no term reads 'labels'");
    assert_fails(clv_loss_sum_eval(sum, in, 1, grads, 1, NULL, &value), CLV_ERR_INVALID, "'targets' is missing");
    assert_fails(clv_loss_sum_eval(sum, in, 2, of_targets, 1, NULL, &value), CLV_ERR_INVALID,
                 "no term has a gradient for 'targets'");
    assert_fails(clv_loss_sum_set_weight(sum, "dice", 1), CLV_ERR_INVALID, "no term 'dice'");
    clv_loss_sum_destroy(sum);
    clv_loss_sum_destroy(NULL);
}

static clv_status create_and_evaluate(clv_context *ctx, void *arg)
{
    data *d = arg;
    const clv_loss_term terms[] = { { "focal", 1, NULL, 0, NULL }, { "dice", 1, multiclass, 2, NULL } };
    const clv_loss_tensor in[] = { f32("logits", d->logits), labels("targets", d->targets) };
    float grad[N * C];
    const clv_loss_tensor grads[] = { f32("logits", grad) };
    clv_loss_sum *sum = NULL;
    clv_status st = clv_loss_sum_create(ctx, terms, 2, &sum);
    if (st == CLV_OK) st = clv_loss_sum_eval(sum, in, 2, grads, 1, NULL, NULL);
    clv_loss_sum_destroy(sum);
    return st;
}

static void each_refused_allocation_is_survived(void **state)
{
    data d = make_data();
    test_each_allocation_fails(*state, create_and_evaluate, &d);
}

TEST_MAIN(TEST(a_sum_is_the_weighted_sum_of_its_terms), TEST(a_term_reads_its_own_tensor_first),
          TEST(wrong_sums_are_told_what_is_wrong), TEST(each_refused_allocation_is_survived))
