/* test_linear.c: the linear probe and its draws of rows, against scikit-learn and values worked by hand. */
#include "tests/support/rows.h"
#include "tests/support/test.h"
#include <cleave/eval.h>
#include "eval/lbfgs.h"

#include <math.h>
#include <string.h>

enum { N = 120, TEST_ROWS = 60, DIM = 6, CLASSES = 3 };

typedef struct problem {
    float    x[N * DIM], t[TEST_ROWS * DIM];
    int64_t  y[N], ty[TEST_ROWS];
    clv_view train, test;
} problem;

static void make(problem *p)
{
    test_rows(p->x, N * DIM, 1);
    test_rows(p->t, TEST_ROWS * DIM, 2);
    test_labels(p->y, N, CLASSES);
    test_labels(p->ty, TEST_ROWS, CLASSES);
    for (int i = 0; i < N; i++) p->x[i * DIM + p->y[i]] += 0.25f;
    for (int i = 0; i < TEST_ROWS; i++) p->t[i * DIM + p->ty[i]] += 0.25f;
    p->train = clv_view_2d(p->x, CLV_F32, N, DIM);
    p->test = clv_view_2d(p->t, CLV_F32, TEST_ROWS, DIM);
}

/* scikit-learn 1.9.1: StandardScaler, LogisticRegression(C=1/(120 lambda), tol=1e-10), log_loss;
 * in float64. */
static void fits_and_predictions_are_those_of_scikit_learn(void **state)
{
    static const struct { double lambda, top1, loss; const char *predicted;
    } wanted[] = {
        { 1e-3, 43.333333333333336, 0.8414955481627343,
          "110011101210111201111121211200110012122100210020111110001102" },
        { 1e-1, 50.0, 0.8606955175267755, "110010101210111001111121211200110010100100210020111110001101" },
        { 0.3, 51.66666666666667, 0.9020281576115871, "110010101110111001111101111200110010100100210020111110001101" },
    };
    test_env *t = *state;
    problem p;
    make(&p);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        clv_linear_desc desc = CLV_LINEAR_DESC_INIT;
        clv_linear_result r;
        int64_t predicted[TEST_ROWS];
        desc.lambda_min = desc.lambda_max = wanted[i].lambda;
        desc.strengths = 1;
        assert_ok(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, predicted, &r));
        assert_near(r.lambda, wanted[i].lambda, 1e-12);
        assert_near(r.loss, wanted[i].loss, 1e-6);
        assert_near(r.top1, wanted[i].top1, 1e-9);
        assert_near(r.top5, 100, 0);
        for (int j = 0; j < TEST_ROWS; j++) assert_int_equal(predicted[j], wanted[i].predicted[j] - '0');
        assert_int_equal(r.rows, N);
        assert_int_equal(r.queries, TEST_ROWS);
        assert_int_equal(r.classes, CLASSES);
        assert_true(r.steps > 3 && r.steps < 100);
    }
}

static void the_sweep_takes_what_is_best_on_rows_held_out(void **state)
{
    test_env *t = *state;
    problem p;
    clv_linear_desc desc = CLV_LINEAR_DESC_INIT;
    clv_linear_result r, again, other;
    make(&p);
    assert_ok(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &r));
    assert_int_equal(r.held_out, 25);                     /* 10, 10 and 5 of 48, 48 and 24 */
    assert_true(r.lambda >= desc.lambda_min * 0.999 && r.lambda <= desc.lambda_max);
    assert_ok(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &again));
    assert_memory_equal(&r, &again, sizeof r);
    /* At one strength nobody else is compared with, what it reaches there cannot be more. */
    for (double lambda = 1e-5; lambda < 11; lambda *= 10) {
        desc.lambda_min = desc.lambda_max = lambda;
        desc.strengths = 2;
        assert_ok(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &other));
        assert_true(other.held_out_top1 <= r.held_out_top1);
    }
}

static void rows_that_a_plane_separates_are_learnt(void **state)
{
    test_env *t = *state;
    /* Columns of very different size, one that never changes, rows farther apart than they are long. */
    float x[8][5], q[2][5] = { { 990, 0, 0, 7, 9 }, { 1012, 0, 0, 7, 9 } };
    int64_t y[8];
    const int64_t qy[2] = { 0, 4 }, unseen[2] = { 5, 4 };
    for (int i = 0; i < 8; i++) {
        y[i] = i < 4 ? 0 : 4;                             /* classes 1 to 3 have no rows */
        x[i][0] = (float)(i < 4 ? 990 + i : 1010 + i % 4);
        x[i][1] = (float)(i % 2) * 1e-6f;
        x[i][2] = 0;
        x[i][3] = 7;
        x[i][4] = 9;
    }
    clv_view train = clv_view_2d(x, CLV_F32, 8, 4), test = clv_view_2d(q, CLV_F32, 2, 4);
    train.stride[0] = test.stride[0] = 5;
    clv_linear_desc desc = CLV_LINEAR_DESC_INIT;
    clv_linear_result r;
    int64_t predicted[2];
    assert_ok(clv_linear_probe(t->ctx, &desc, &train, y, &test, qy, predicted, &r));
    assert_near(r.top1, 100, 0);
    assert_int_equal(r.classes, 5);
    assert_int_equal(r.held_out, 2);
    assert_int_equal(predicted[1], 4);
    assert_ok(clv_linear_probe(t->ctx, &desc, &train, y, &test, unseen, NULL, &r));
    assert_near(r.top1, 50, 0);
    assert_near(r.top5, 50, 0);                           /* nothing can say class 5 */
    for (int i = 0; i < 8; i++) y[i] = 0;                 /* one class: nothing to learn */
    assert_ok(clv_linear_probe(t->ctx, &desc, &train, y, &test, qy, NULL, &r));
    assert_near(r.top1, 50, 0);
    assert_near(r.loss, 0, 0);
    assert_int_equal(r.steps, 0);
}

static void low_shot_trains_on_a_share_of_every_class(void **state)
{
    test_env *t = *state;
    problem p;
    clv_linear_desc desc = CLV_LINEAR_DESC_INIT;
    clv_linear_result r, seed;
    make(&p);
    desc.share = 0.1;
    assert_ok(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &r));
    assert_int_equal(r.rows, 12);
    assert_int_equal(r.held_out, 3);
    desc.seed = 1;
    assert_ok(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &seed));
    assert_true(fabs(seed.loss - r.loss) > 1e-6);         /* other rows */
    desc.share = 0.01;                                    /* one row of each class, none to hold out */
    assert_ok(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &r));
    assert_int_equal(r.rows, CLASSES);
    assert_int_equal(r.held_out, 0);
    assert_near(r.lambda, 1e-2, 1e-12);
}

static void subsets_are_stratified_and_a_function_of_the_seed(void **state)
{
    test_env *t = *state;
    enum { ROWS = 111 };
    int64_t labels[ROWS], count = 0, of[2] = { 0, 0 };
    bool chosen[ROWS], again[ROWS];
    for (int i = 0; i < ROWS; i++) labels[i] = i < 100 ? 5 : i < 110 ? 0 : 9;
    assert_ok(clv_stratified_subset(t->ctx, labels, ROWS, 0.1, 3, chosen, &count));
    for (int i = 0; i < 110; i++) of[i >= 100] += chosen[i];
    assert_int_equal(of[0], 10);
    assert_int_equal(of[1], 1);
    assert_true(chosen[110]);
    assert_int_equal(count, 12);
    assert_ok(clv_stratified_subset(t->ctx, labels, ROWS, 0.1, 3, again, &count));
    assert_memory_equal(chosen, again, sizeof chosen);
    assert_ok(clv_stratified_subset(t->ctx, labels, ROWS, 0.1, 4, again, &count));
    assert_memory_not_equal(chosen, again, sizeof chosen);
    assert_ok(clv_stratified_subset(t->ctx, labels, ROWS, 1.0, 3, again, &count));
    assert_int_equal(count, ROWS);
    assert_ok(clv_stratified_subset(t->ctx, labels, 0, 0.5, 3, again, &count));
    assert_int_equal(count, 0);
    assert_fails(clv_stratified_subset(t->ctx, labels, ROWS, 0.0, 3, again, &count), CLV_ERR_INVALID, "share is 0");
    assert_fails(clv_stratified_subset(t->ctx, labels, ROWS, NAN, 3, again, &count), CLV_ERR_INVALID, "share is");
}

static void wrong_input_is_named(void **state)
{
    test_env *t = *state;
    problem p;
    clv_linear_desc desc = CLV_LINEAR_DESC_INIT;
    clv_linear_result r;
    make(&p);
    const clv_view none = clv_view_2d(p.x, CLV_F32, 0, DIM), thin = clv_view_2d(p.t, CLV_F32, TEST_ROWS, 2);
    assert_fails(clv_linear_probe(t->ctx, &desc, &none, p.y, &p.test, p.ty, NULL, &r), CLV_ERR_INVALID,
                 "no rows to train");
    assert_fails(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &thin, p.ty, NULL, &r), CLV_ERR_SHAPE,
                 "training rows have 6 values, test rows 2");
    desc.lambda_min = 0;
    assert_fails(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &r), CLV_ERR_INVALID,
                 "lambda runs from 0");
    desc.lambda_min = 1e-5;
    desc.strengths = 0;
    assert_fails(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &r), CLV_ERR_INVALID,
                 "0 strengths");
    desc.strengths = 3;
    desc.held_out = 1;
    assert_fails(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &r), CLV_ERR_INVALID,
                 "held out 1");
    desc.held_out = 0.2;
    p.y[3] = -1;
    assert_fails(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &r), CLV_ERR_INVALID,
                 "training: label -1 of row 3");
    p.y[3] = 1 << 20;
    assert_fails(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &r), CLV_ERR_INVALID,
                 "label 1048576");
    p.y[3] = 0;
    p.t[7] = INFINITY;
    assert_fails(clv_linear_probe(t->ctx, &desc, &p.train, p.y, &p.test, p.ty, NULL, &r), CLV_ERR_NUMERIC,
                 "row 1, column 1");
}

/* ---- the minimiser ---- */

/* Sum of a_i (x_i - i)^2 / 2 with a from 1 to 1000. */
static clv_status bowl(void *arg, const double *x, double *value, double *gradient)
{
    const int64_t n = *(const int64_t *)arg;
    *value = 0;
    for (int64_t i = 0; i < n; i++) {
        const double a = pow(1000, (double)i / (double)(n - 1)), d = x[i] - (double)i;
        *value += 0.5 * a * d * d;
        gradient[i] = a * d;
    }
    return CLV_OK;
}

static clv_status nowhere(void *arg, const double *x, double *value, double *gradient)
{
    (void)arg;
    *value = NAN;
    gradient[0] = x[0];
    return CLV_OK;
}

static void the_minimum_of_a_narrow_bowl_is_found(void **state)
{
    test_env *t = *state;
    int64_t n = 20, steps = 0;
    double x[20] = { 0 };
    clvi_lbfgs task = { .n = n, .steps = 300, .tolerance = 1e-8, .objective = bowl, .arg = &n };
    assert_ok(clvi_lbfgs_minimise(t->ctx, &task, x, &steps));
    for (int i = 0; i < 20; i++) assert_near(x[i], i, 1e-7);
    assert_true(steps > 1 && steps < 300);
    assert_ok(clvi_lbfgs_minimise(t->ctx, &task, x, &steps));
    assert_int_equal(steps, 0);
    task.steps = 3;
    memset(x, 0, sizeof x);
    assert_ok(clvi_lbfgs_minimise(t->ctx, &task, x, &steps));
    assert_int_equal(steps, 3);
    task.objective = nowhere;
    assert_fails(clvi_lbfgs_minimise(t->ctx, &task, x, &steps), CLV_ERR_NUMERIC, "value at the start");
}

static clv_status probe_once(clv_context *ctx, void *arg)
{
    problem *p = arg;
    clv_linear_desc desc = CLV_LINEAR_DESC_INIT;
    clv_linear_result r;
    desc.strengths = 2;
    desc.steps = 2;
    return clv_linear_probe(ctx, &desc, &p->train, p->y, &p->test, p->ty, NULL, &r);
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    problem p;
    make(&p);
    test_each_allocation_fails(*state, probe_once, &p);
}

TEST_MAIN(TEST(fits_and_predictions_are_those_of_scikit_learn), TEST(the_sweep_takes_what_is_best_on_rows_held_out),
          TEST(rows_that_a_plane_separates_are_learnt), TEST(low_shot_trains_on_a_share_of_every_class),
          TEST(subsets_are_stratified_and_a_function_of_the_seed), TEST(wrong_input_is_named),
          TEST(the_minimum_of_a_narrow_bowl_is_found), TEST(running_out_of_memory_leaves_nothing_behind))
