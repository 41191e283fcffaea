/* test_verification.c: acceptance of genuine and impostor pairs, against scikit-learn and values worked by hand. */
#include "tests/support/rows.h"
#include "tests/support/test.h"
#include <cleave/eval.h>

#include <math.h>
#include <string.h>

/* roc_curve and roc_auc_score of scikit-learn 1.9.1; scores with ties. */
static void figures_are_those_of_scikit_learn(void **state)
{
    enum { N = 400 };
    float s[N], genuine[N], impostor[N];
    int64_t g = 0, i = 0;
    (void)state;
    test_rows(s, N, 5);
    for (int n = 0; n < N; n++) {
        const float score = (float)(nearbyint((s[n] + (n % 5 < 2 ? 0.3 : 0.0)) * 50) / 50);
        if (n % 5 < 2) genuine[g++] = score;
        else impostor[i++] = score;
    }
    clv_verification_desc desc = CLV_VERIFICATION_DESC_INIT;
    clv_verification_result r;
    assert_ok(clv_verification_scores(&desc, genuine, g, impostor, i, &r));
    assert_near(r.auc, 77.72005208333332, 1e-9);
    assert_near(r.tar[0], 47.5, 1e-9);
    assert_near(r.tar[1], 30.625, 1e-9);
    assert_near(r.tar[2], 30.625, 1e-9);
    assert_near(r.eer, 32.734375, 1e-9);
    assert_int_equal(r.genuine, 160);
    assert_int_equal(r.impostors, 240);
}

static void small_sets_are_as_by_hand(void **state)
{
    float apart[2] = { 0.8f, 0.9f }, low[2] = { 0.1f, 0.2f }, mixed[4] = { 4, 3, 2, 0 }, others[4] = { 3, 1, 0, -1 };
    float equal[3] = { 5, 5, 5 }, also[2] = { 5, 5 }, none[1] = { 0 }, bad[1] = { NAN };
    clv_verification_desc desc = CLV_VERIFICATION_DESC_INIT;
    clv_verification_result r;
    (void)state;
    assert_ok(clv_verification_scores(&desc, apart, 2, low, 2, &r));
    assert_near(r.auc, 100, 0);
    assert_near(r.eer, 0, 0);
    assert_near(r.tar[3], 100, 0);
    assert_ok(clv_verification_scores(&desc, low, 2, apart, 2, &r));              /* the wrong way round */
    assert_near(r.auc, 0, 0);
    assert_near(r.eer, 100, 0);
    assert_near(r.tar[0], 0, 0);
    desc.rate[0] = 0.25;
    desc.rate[1] = 0.5;
    assert_ok(clv_verification_scores(&desc, mixed, 4, others, 4, &r));
    assert_near(r.auc, 100.0 * (4 + 3.5 + 3 + 1.5) / 16, 1e-12);
    assert_near(r.tar[0], 75, 0);                                                 /* at 2: one impostor of four */
    assert_near(r.tar[1], 75, 0);                                                 /* at 0 it would be three of four */
    assert_near(r.tar[2], 25, 0);                                                 /* none: above 3 */
    assert_near(r.eer, 25, 1e-12);                                                /* at 2: one of four either way */
    assert_ok(clv_verification_scores(&desc, equal, 3, also, 2, &r));             /* nothing can be told */
    assert_near(r.auc, 50, 0);
    assert_near(r.eer, 50, 0);
    assert_near(r.tar[1], 0, 0);
    assert_fails(clv_verification_scores(&desc, none, 0, also, 2, &r), CLV_ERR_INVALID, "0 genuine and 2 impostor");
    assert_fails(clv_verification_scores(&desc, also, 2, bad, 1, &r), CLV_ERR_NUMERIC, "impostor score 0");
    desc.rate[3] = 1.5;
    assert_fails(clv_verification_scores(&desc, also, 2, none, 1, &r), CLV_ERR_INVALID, "rate 1.5");
}

static void every_pair_of_rows_is_compared_once(void **state)
{
    test_env *t = *state;
    enum { N = 700 };
    static float x[N][2];
    static int64_t labels[N];
    for (int i = 0; i < N; i++) {                       /* seven directions, one for each class, at other lengths */
        const double angle = 0.5 * (i % 7);
        x[i][0] = (float)(cos(angle) * (1 + i));
        x[i][1] = (float)(sin(angle) * (1 + i));
        labels[i] = i % 7;
    }
    const clv_view rows = clv_view_2d(x, CLV_F32, N, 2), few = clv_view_2d(x, CLV_F32, 7, 2),
                   same = clv_view_2d(x, CLV_F32, 1, 2);
    clv_verification_desc desc = CLV_VERIFICATION_DESC_INIT;
    clv_verification_result r, again;
    assert_ok(clv_verification_measure(t->ctx, &desc, &rows, labels, &r));
    assert_int_equal(r.rows, N);
    assert_int_equal(r.genuine, 7 * 100 * 99 / 2);
    assert_int_equal(r.impostors, N * (N - 1) / 2 - 7 * 100 * 99 / 2);
    assert_near(r.auc, 100, 1e-9);
    assert_near(r.eer, 0, 1e-9);
    desc.max_rows = 100;
    assert_ok(clv_verification_measure(t->ctx, &desc, &rows, labels, &r));
    assert_int_equal(r.rows, 100);
    assert_int_equal(r.genuine + r.impostors, 100 * 99 / 2);
    assert_near(r.auc, 100, 1e-9);
    assert_ok(clv_verification_measure(t->ctx, &desc, &rows, labels, &again));
    assert_memory_equal(&r, &again, sizeof r);
    desc.seed = 1;
    assert_ok(clv_verification_measure(t->ctx, &desc, &rows, labels, &again));
    assert_true(again.genuine != r.genuine);
    desc.distance = CLV_KNN_L2;                         /* lengths tell more than directions now */
    assert_ok(clv_verification_measure(t->ctx, &desc, &rows, labels, &r));
    assert_true(r.auc < 90);
    assert_fails(clv_verification_measure(t->ctx, &desc, &few, labels, &r), CLV_ERR_INVALID,
                 "0 genuine and 21 impostor");
    assert_fails(clv_verification_measure(t->ctx, &desc, &same, labels, &r), CLV_ERR_INVALID,
                 "0 genuine and 0 impostor");
    desc.max_rows = 1;
    assert_fails(clv_verification_measure(t->ctx, &desc, &rows, labels, &r), CLV_ERR_INVALID, "1 rows have no pairs");
    desc.max_rows = 100;
    labels[3] = -1;
    assert_fails(clv_verification_measure(t->ctx, &desc, &rows, labels, &r), CLV_ERR_INVALID, "label -1 of row 3");
}

static clv_status measure_once(clv_context *ctx, void *arg)
{
    float x[4][2] = { { 1, 0 }, { 0, 1 }, { 1, 1 }, { 2, 1 } };
    const int64_t mixed[4] = { 0, 0, 1, 1 };
    const clv_view rows = clv_view_2d(x, CLV_F32, 4, 2);
    clv_verification_desc desc = CLV_VERIFICATION_DESC_INIT;
    clv_verification_result r;
    (void)arg;
    const clv_status st = clv_verification_measure(ctx, &desc, &rows, mixed, &r);
    desc.max_rows = 4 - 1;
    return st == CLV_OK ? clv_verification_measure(ctx, &desc, &rows, mixed, &r) : st;
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    test_each_allocation_fails(*state, measure_once, NULL);
}

TEST_MAIN(TEST(figures_are_those_of_scikit_learn), TEST(small_sets_are_as_by_hand),
          TEST(every_pair_of_rows_is_compared_once), TEST(running_out_of_memory_leaves_nothing_behind))
