/* test_dice.c: dice and focal where the golden files do not go: hand-worked values, degenerate inputs, hard negatives
 * under a mask, probabilities as inputs. */
#include "tests/support/test.h"
#include <cleave/loss.h>
#include <math.h>
#include <string.h>

#define N 6

typedef struct batch {
    double  x[N], grad[N], probs[N], loss_vec[N];
    int64_t targets[N], keep_num;
    uint8_t mask[N], keep[N];
    bool    masked;
} batch;

static clv_loss_tensor at(const char *name, void *data, clv_dtype dtype, int64_t rows, int64_t cols)
{
    return (clv_loss_tensor) { name, cols ? clv_view_2d(data, dtype, rows, cols) : clv_view_1d(data, dtype, rows) };
}

static double evaluate(test_env *t, const char *name, const clv_option *options, int n, batch *b)
{
    clv_loss *loss = NULL;
    double value = NAN;
    const bool set = n == 0 || strcmp(options[0].value, "binary_set") == 0;
    const clv_loss_tensor in[] = { at("logits", b->x, CLV_F64, N, 1), at("targets", b->targets, CLV_I64, N, 0),
                                   at("mask", b->mask, CLV_U8, N, 0) };
    const clv_loss_tensor grad[] = { at("logits", b->grad, CLV_F64, N, 1) };
    const clv_loss_tensor out[] = {
        at("probs", b->probs, CLV_F64, N, 0),
        set ? at("ohem_keep", b->keep, CLV_U8, N, 0) : at("loss_vec", b->loss_vec, CLV_F64, N, 0),
        { "ohem_keep_num", clv_view_dense(&b->keep_num, CLV_I64, 0, NULL) },
    };
    assert_ok(clv_loss_create(t->ctx, name, options, n, &loss));
    assert_ok(clv_loss_eval(loss, in, b->masked ? 3 : 2, grad, 1, out, set ? 3 : 2, &value));
    clv_loss_destroy(loss);
    for (int i = 0; i < N; i++) assert_true(isfinite(b->grad[i]));
    return value;
}

static batch some(void)
{
    return (batch) { .x = { 2, -1, 0.5, -3, 1, -0.5 }, .targets = { 1, 0, 0, 1, 0, 0 },
                     .mask = { 1, 1, 1, 1, 0, 1 } };
}

static double p_of(double x) { return 1 / (1 + exp(-x)); }

static void a_set_of_six_gives_the_fraction_worked_out_by_hand(void **state)
{
    batch b = some();
    const clv_option options[] = { { "variant", "binary_set" }, { "smooth", "0.5" } };
    double top = 0.5, bottom = 0.5;
    for (int i = 0; i < N; i++) {
        top += 2 * p_of(b.x[i]) * (double)b.targets[i];
        bottom += p_of(b.x[i]) + (double)b.targets[i];
    }
    assert_near(evaluate(*state, "dice", options, 2, &b), 1 - top / bottom, 1e-14);
    assert_near(b.probs[3], p_of(-3), 1e-15);
    assert_int_equal(b.keep[4], 1);
    assert_int_equal(b.keep_num, 0);
}

/* Positives 0 and 3, negatives 1, 2, 4 (masked or not), 5 with p .27, .62, .73, .38. */
static void hard_negatives_are_those_of_largest_probability(void **state)
{
    static const struct { const char *rule, *ratio; bool masked; int64_t number; uint8_t keep[N]; } cases[] = {
        { "exact", "0.5", false, 1, { 1, 0, 0, 1, 1, 0 } },
        { "exact", "1", false, 2, { 1, 0, 1, 1, 1, 0 } },
        { "exact", "1", true, 2, { 1, 0, 1, 1, 0, 1 } },
        { "exact", "9", true, 3, { 1, 1, 1, 1, 0, 1 } },
        { "exact", "0.4", false, 0, { 1, 0, 0, 1, 0, 0 } },
        { "official", "1.5", false, 3, { 1, 0, 0, 1, 1, 0 } },      /* ascending 1 5 2 4, threshold 2's: 4 alone */
        { "official", "0.5", false, 1, { 1, 0, 1, 1, 1, 1 } },      /* threshold [0]: all but 1 */
        { "official", "0.4", false, 0, { 1, 0, 1, 1, 1, 0 } },      /* threshold [1] */
        { "official", "1", true, 2, { 1, 0, 0, 1, 0, 0 } },         /* ascending 4 (as 0) 1 5 2 */
        { "none", "1", false, 0, { 1, 1, 1, 1, 1, 1 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        batch b = some();
        b.masked = cases[i].masked;
        const clv_option options[] = { { "variant", "binary_set" }, { "ohem-rule", cases[i].rule },
                                       { "ohem-ratio", cases[i].ratio } };
        (void)evaluate(*state, "dice", options, 3, &b);
        assert_int_equal(b.keep_num, cases[i].number);
        assert_memory_equal(b.keep, cases[i].keep, N);
        for (int j = 0; j < N; j++)
            if (!b.keep[j]) assert_near(b.grad[j], 0, 0);
    }
}

static void ties_keep_the_earlier_negative(void **state)
{
    batch b = some();
    const clv_option options[] = { { "variant", "binary_set" }, { "ohem-ratio", "1" } };
    for (int i = 0; i < N; i++) b.x[i] = 0.25;
    (void)evaluate(*state, "dice", options, 2, &b);
    assert_memory_equal(b.keep, ((uint8_t[N]) { 1, 1, 1, 1, 0, 0 }), N);
}

static void nothing_that_counts_gives_zero(void **state)
{
    static const char *const variants[] = { "binary_set", "dsc_per_example", "dl_per_example",
                                            "tversky_per_example" };
    for (int i = 0; i < 4; i++)
        for (int smooth = 0; smooth < 2; smooth++) {
            batch b = some();
            const clv_option options[] = { { "variant", variants[i] }, { "smooth", smooth ? "1" : "0" } };
            b.masked = true;
            memset(b.mask, 0, N);
            b.x[2] = NAN;   /* what is masked may hold anything */
            assert_near(evaluate(*state, "dice", options, 2, &b), 0, 0);
            for (int j = 0; j < N; j++) assert_near(b.grad[j], 0, 0);
        }
}

static void probabilities_give_what_their_logits_give(void **state)
{
    static const char *const variants[] = { "binary_set", "dsc_per_example", "dl_per_example", "tversky_per_example" };
    for (int i = 0; i < 4; i++) {
        batch a = some(), b = some();
        const clv_option options[] = { { "variant", variants[i] }, { "alpha", "0.4" }, { "with-logits", "false" } };
        for (int j = 0; j < N; j++) b.x[j] = p_of(a.x[j]);
        const double value = evaluate(*state, "dice", options, 2, &a);
        assert_near(evaluate(*state, "dice", options, 3, &b), value, 1e-14);
        for (int j = 0; j < N; j++)
            assert_near(b.grad[j] * p_of(a.x[j]) * (1 - p_of(a.x[j])), a.grad[j], 1e-14);
    }
}

static void certainty_keeps_a_finite_gradient(void **state)
{
    static const char *const logits[] = { "true", "false" };
    for (int i = 0; i < 2; i++) {
        batch b = { .x = { 0, 1, 1, 0, 1, 0 }, .targets = { 0, 1, 0, 1, 1, 0 } };
        const clv_option options[] = { { "variant", "binary_set" }, { "alpha", "0.01" }, { "with-logits", logits[i] } };
        for (int j = 0; i == 0 && j < N; j++) b.x[j] = b.x[j] > 0 ? 900 : -900;
        assert_true(isfinite(evaluate(*state, "dice", options, 3, &b)));
    }
}

/* The released code forgets the item in the denominator: two items, two classes by hand, p = 1/2 throughout. */
static void several_classes_share_a_denominator_of_the_batch(void **state)
{
    test_env *t = *state;
    clv_loss *loss = NULL;
    double x[4] = { 0 }, loss_vec[2], value;
    int64_t targets[] = { 0, 0 };
    const clv_option options[] = { { "variant", "multiclass_official" }, { "smooth", "1" } };
    const clv_loss_tensor in[] = { at("logits", x, CLV_F64, 2, 2), at("targets", targets, CLV_I64, 2, 0) };
    const clv_loss_tensor out[] = { at("loss_vec", loss_vec, CLV_F64, 2, 0) };
    assert_ok(clv_loss_create(t->ctx, "dice", options, 2, &loss));
    assert_ok(clv_loss_eval(loss, in, 2, NULL, 0, out, 1, &value));
    /* D = (1 + 2, 1 + 0): R = 1 - 2/4 and 1 - 1/2. */
    assert_near(value, 1, 1e-15);
    assert_near(loss_vec[1], 1, 1e-15);
    targets[1] = 2;
    assert_fails(clv_loss_eval(loss, in, 2, NULL, 0, NULL, 0, &value), CLV_ERR_INVALID, "want less than 2");
    clv_loss_destroy(loss);
}

/* ---- focal ---- */

static double focal(test_env *t, const clv_option *options, int n, const int64_t *targets, double *grad)
{
    static const double x[] = { 1, 0, -1, 0.5, 0.25, 2 };
    clv_loss *loss = NULL;
    double value = NAN;
    const clv_loss_tensor in[] = { at("logits", (void *)(uintptr_t)x, CLV_F64, 2, 3),
                                   at("targets", (void *)(uintptr_t)targets, CLV_I64, 2, 0) };
    const clv_loss_tensor grads[] = { at("logits", grad, CLV_F64, 2, 3) };
    assert_ok(clv_loss_create(t->ctx, "focal", options, n, &loss));
    assert_ok(clv_loss_eval(loss, in, 2, grads, 1, NULL, 0, &value));
    clv_loss_destroy(loss);
    return value;
}

static void ignored_items_are_left_out_of_the_mean(void **state)
{
    const clv_option plain[] = { { "gamma", "0" }, { "ignore-index", "2" } };
    double grad[6];
    const double want = log(exp(1) + exp(0) + exp(-1)) - 1;   /* item 0 alone */
    assert_near(focal(*state, plain, 2, (int64_t[]) { 0, 2 }, grad), want, 1e-15);
    assert_near(focal(*state, plain, 2, (int64_t[]) { 0, -7 }, grad), want, 1e-15);
    for (int i = 3; i < 6; i++) assert_near(grad[i], 0, 0);
    assert_near(focal(*state, plain, 2, (int64_t[]) { 2, -1 }, grad), 0, 0);
    for (int i = 0; i < 6; i++) assert_near(grad[i], 0, 0);
}

static void a_power_weighs_the_cross_entropy(void **state)
{
    const clv_option options[] = { { "gamma", "1.5" }, { "reduction", "sum" } };
    double grad[6];
    const double p = exp(1) / (exp(1) + exp(0) + exp(-1));
    assert_near(focal(*state, options, 2, (int64_t[]) { 0, -1 }, grad), -pow(1 - p, 1.5) * log(p), 1e-14);
}

/* A tagger rules classes out with -infinity: all but one here, and all but two. */
static void classes_ruled_out_have_no_probability_in_any_kernel(void **state)
{
    test_env *t = *state;
    float x[3][4] = { { -INFINITY, 0.5f, -INFINITY, -INFINITY }, { 1, -INFINITY, 2, -INFINITY }, { 0, 1, 2, 3 } };
    const int64_t targets[3] = { 1, 2, 0 };
    const clv_loss_tensor in[] = { at("logits", x, CLV_F32, 3, 4), at("targets", (void *)targets, CLV_I64, 3, 0) };
    const clv_option options[] = { { "variant", "multiclass_official" } };
    double value[2] = { 0 };
    float probs[2][3][4];
    for (int reference = 0; reference < 2; reference++) {
        clv_loss *loss = NULL;
        const clv_loss_tensor out[] = { at("probs", probs[reference], CLV_F32, 3, 4) };
        assert_ok(clv_loss_create(t->ctx, "dice", options, 1, &loss));
        clv_loss_set_reference(loss, reference);
        assert_ok(clv_loss_eval(loss, in, 2, NULL, 0, out, 1, &value[reference]));
        clv_loss_destroy(loss);
    }
    assert_near(value[0], value[1], 1e-6);
    assert_near(probs[0][0][1], 1, 0);
    for (int i = 0; i < 12; i++) assert_near(probs[0][i / 4][i % 4], probs[1][i / 4][i % 4], 1e-6);
}

TEST_MAIN(TEST(classes_ruled_out_have_no_probability_in_any_kernel), TEST(a_set_of_six_gives_the_fraction_worked_out_by_hand),
          TEST(hard_negatives_are_those_of_largest_probability),
          TEST(ties_keep_the_earlier_negative), TEST(nothing_that_counts_gives_zero),
          TEST(probabilities_give_what_their_logits_give), TEST(certainty_keeps_a_finite_gradient),
          TEST(several_classes_share_a_denominator_of_the_batch), TEST(ignored_items_are_left_out_of_the_mean),
          TEST(a_power_weighs_the_cross_entropy))
