/* test_label_losses.c: losses of labelled rows by hand, where nothing counts, and where labels are wrong. */
#include "tests/support/test.h"
#include <cleave/loss.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define B 4
#define D 2
#define C 3

static const double unit[B][D] = { { 1, 0 }, { 0.6, 0.8 }, { 0, 1 }, { -1, 0 } };

typedef struct result {
    double value, grad[B * D];
} result;

/* Features `unit` with the labels; weight is given where the loss takes one. */
static clv_status evaluate(test_env *t, const char *name, const clv_option *options, int n, const int64_t *labels,
                           const double *weight, result *out)
{
    clv_loss *loss = NULL;
    const clv_loss_tensor in[] = { { "features", clv_view_2d((void *)unit, CLV_F64, B, D) },
                                   { "labels", clv_view_dense((void *)labels, CLV_I64, 1, (int64_t[]) { B }) },
                                   { "weight", clv_view_2d((void *)weight, CLV_F64, C, D) } };
    const clv_loss_tensor grad = { "features", clv_view_2d(out->grad, CLV_F64, B, D) };
    assert_ok(clv_loss_create(t->ctx, name, options, n, &loss));
    const clv_status st = clv_loss_eval(loss, in, weight ? 3 : 2, &grad, 1, NULL, 0, &out->value);
    clv_loss_destroy(loss);
    return st;
}

static void assert_no_gradient(const result *r)
{
    for (int i = 0; i < B * D; i++) assert_near(r->grad[i], 0, 0);
}

static void the_variants_of_opl_by_hand(void **state)
{
    /* Same label: <0,1> = 0.6 and <2,3> = 0. Different: <0,2> 0, <0,3> -1, <1,2> 0.8, <1,3> -0.6; all both ways. */
    static const struct { const char *mode; double d; } cases[] = {
        { "none", -0.2 }, { "abs_of_mean", 0.2 }, { "mean_of_abs", 0.6 },
    };
    for (int i = 0; i < 3; i++) {
        result r;
        const clv_option options[] = { { "neg-mode", cases[i].mode }, { "gamma", "2" }, { "den-eps", "0" } };
        assert_ok(evaluate(*state, "opl", options, 3, (int64_t[]) { 7, 7, 2, 2 }, NULL, &r));
        assert_near(r.value, 1 - 0.3 + 2 * cases[i].d, 1e-14);
    }
}

static void pairs_that_are_not_there_contribute_nothing(void **state)
{
    static const int64_t one_class[] = { 1, 1, 1, 1 }, all_differ[] = { 0, 1, 2, 3 }, none[] = { -1, -1, -1, -1 };
    static const clv_option hard[] = { { "variant", "batch_hard" } }, all[] = { { "variant", "batch_all" } };
    const struct { const char *name; const clv_option *options; const int64_t *labels; } cases[] = {
        { "circle", NULL, one_class }, { "circle", NULL, all_differ }, { "circle", NULL, none },
        { "triplet", hard, one_class }, { "triplet", hard, all_differ }, { "triplet", hard, none },
        { "triplet", all, one_class }, { "triplet", all, all_differ }, { "triplet", all, none },
    };
    result r;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int n = cases[i].options != NULL;
        assert_ok(evaluate(*state, cases[i].name, cases[i].options, n, cases[i].labels, NULL, &r));
        assert_near(r.value, 0, 0);
        assert_no_gradient(&r);
    }
    assert_ok(evaluate(*state, "opl", NULL, 0, none, NULL, &r));
    assert_near(r.value, 1, 0);       /* s = d = 0 */
    assert_no_gradient(&r);
}

static void rows_without_a_label_have_no_margin_loss(void **state)
{
    static const double weight[C][D] = { { 1, 1 }, { -1, 2 }, { 0, -1 } };
    static const char *const names[] = { "arcface", "cosface", "unpg" };
    for (int i = 0; i < 3; i++) {
        result r;
        assert_ok(evaluate(*state, names[i], NULL, 0, (int64_t[]) { -1, -1, -1, -1 }, &weight[0][0], &r));
        assert_near(r.value, 0, 0);
        assert_no_gradient(&r);
    }
}

static void unpg_without_pairs_is_the_margin_softmax(void **state)
{
    static const double weight[C][D] = { { 1, 1 }, { -1, 2 }, { 0, -1 } };
    static const int64_t labels[] = { 2, 2, -1, 2 };
    const clv_option options[] = { { "m", "0.4" }, { "s", "16" } };
    result u, c;
    assert_ok(evaluate(*state, "unpg", options, 2, labels, &weight[0][0], &u));
    assert_ok(evaluate(*state, "cosface", options, 2, labels, &weight[0][0], &c));
    assert_near(u.value, c.value, 1e-13);
    for (int i = 0; i < B * D; i++) assert_near(u.grad[i], c.grad[i], 1e-13);
}

/* Row 0 lies on its class's direction: the slope of the sine is infinite there. */
static void a_row_on_its_own_direction_stays_finite(void **state)
{
    static const double weight[C][D] = { { 2, 0 }, { 3, 4 }, { 0, -1 } };
    static const char *const names[] = { "arcface", "unpg" };
    const clv_option options[] = { { "margin-mode", "plain" } };
    for (int i = 0; i < 2; i++) {
        result r;
        assert_ok(evaluate(*state, names[i], options, 1, (int64_t[]) { 0, 1, 2, 0 }, &weight[0][0], &r));
        assert_true(isfinite(r.value));
        for (int j = 0; j < B * D; j++) assert_true(isfinite(r.grad[j]));
    }
}

static void a_label_without_a_class_is_named(void **state)
{
    static const double weight[C][D] = { { 1, 1 }, { -1, 2 }, { 0, -1 } };
    result r;
    assert_fails(evaluate(*state, "arcface", NULL, 0, (int64_t[]) { 0, 1, 3, 0 }, &weight[0][0], &r), CLV_ERR_INVALID,
                 "target_margin: label of row 2 is 3, want less than 3");
}

TEST_MAIN(TEST(the_variants_of_opl_by_hand), TEST(pairs_that_are_not_there_contribute_nothing),
          TEST(rows_without_a_label_have_no_margin_loss), TEST(unpg_without_pairs_is_the_margin_softmax),
          TEST(a_row_on_its_own_direction_stays_finite), TEST(a_label_without_a_class_is_named))
