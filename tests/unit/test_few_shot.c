/* test_few_shot.c: tasks of few examples: what is told apart, what is chance, and which rows are used. */
#include "tests/support/rows.h"
#include "tests/support/test.h"
#include <cleave/eval.h>

#include <math.h>

enum { CLASSES = 8, EACH = 20, N = CLASSES * EACH, D = 16 };

static clv_few_shot_result few_shot(test_env *t, const clv_few_shot_desc *desc, float *rows, const int64_t *labels)
{
    const clv_view view = clv_view_2d(rows, CLV_F32, N, D);
    clv_few_shot_result r;
    assert_ok(clv_few_shot_measure(t->ctx, desc, &view, labels, &r));
    assert_int_equal(r.episodes, desc->episodes);
    return r;
}

/* Row i is of class i % CLASSES: `signal` along the class's axis, and noise. */
static void make(float *rows, int64_t *labels, float signal)
{
    test_rows(rows, N * D, 7);
    for (int i = 0; i < N; i++) {
        labels[i] = 100 + i % CLASSES;
        for (int k = 0; k < D; k++) rows[i * D + k] *= 0.25f;
        rows[i * D + i % CLASSES] += signal;
    }
}

static void classes_far_apart_are_always_told(void **state)
{
    float rows[N * D];
    int64_t labels[N];
    const clv_few_shot_desc desc = CLV_FEW_SHOT_DESC_INIT;
    make(rows, labels, 20);
    const clv_few_shot_result r = few_shot(*state, &desc, rows, labels);
    assert_near(r.accuracy, 100, 0);
    assert_near(r.interval, 0, 0);
    assert_int_equal(r.classes, CLASSES);
}

/* Nothing to tell by: one in five; six standard errors of 600 tasks of 75 queries are about 3 points. */
static void noise_is_told_by_chance(void **state)
{
    float rows[N * D];
    int64_t labels[N];
    clv_few_shot_desc desc = CLV_FEW_SHOT_DESC_INIT;
    make(rows, labels, 0);
    const clv_few_shot_result r = few_shot(*state, &desc, rows, labels);
    assert_near(r.accuracy, 20, 3);
    assert_true(r.interval > 0.1 && r.interval < 1);
    desc.seed = 1;
    assert_true(few_shot(*state, &desc, rows, labels).accuracy != r.accuracy);
}

static void more_examples_tell_more(void **state)
{
    float rows[N * D];
    int64_t labels[N];
    clv_few_shot_desc desc = CLV_FEW_SHOT_DESC_INIT;
    make(rows, labels, 0.2f);
    const clv_few_shot_result one = few_shot(*state, &desc, rows, labels);
    const clv_few_shot_result again = few_shot(*state, &desc, rows, labels);
    assert_memory_equal(&one, &again, sizeof one);
    desc.shots = 5;
    const clv_few_shot_result five = few_shot(*state, &desc, rows, labels);
    assert_true(one.accuracy > 30);
    assert_true(five.accuracy > one.accuracy + 5);
}

/* Two classes of two rows each, at right angles, and one query apiece: whichever are examples, the other is told. Their
 * lengths say nothing. A class of one row is left out. */
static void small_classes_are_left_out_and_lengths_do_not_count(void **state)
{
    test_env *t = *state;
    float rows[] = { 1, 0, 90, 0, 0, 3, 0, 0.1f, -5, -5 };
    const int64_t labels[] = { 3, 3, 0, 0, 7 };
    clv_few_shot_desc desc = CLV_FEW_SHOT_DESC_INIT;
    desc.ways = 2;
    desc.queries = 1;
    desc.episodes = 20;
    clv_few_shot_result r;
    const clv_view view = clv_view_2d(rows, CLV_F32, 5, 2);
    assert_ok(clv_few_shot_measure(t->ctx, &desc, &view, labels, &r));
    assert_near(r.accuracy, 100, 0);
    assert_int_equal(r.classes, 2);
}

static void what_cannot_be_measured_is_refused(void **state)
{
    test_env *t = *state;
    float rows[N * D];
    int64_t labels[N];
    clv_few_shot_desc desc = CLV_FEW_SHOT_DESC_INIT;
    clv_few_shot_result r;
    make(rows, labels, 1);
    const clv_view view = clv_view_2d(rows, CLV_F32, N, D);
    desc.shots = 6;
    assert_fails(clv_few_shot_measure(t->ctx, &desc, &view, labels, &r), CLV_ERR_INVALID,
                 "0 classes have 21 rows or more");
    desc = (clv_few_shot_desc)CLV_FEW_SHOT_DESC_INIT;
    desc.ways = 9;
    assert_fails(clv_few_shot_measure(t->ctx, &desc, &view, labels, &r), CLV_ERR_INVALID, "a task takes 9");
    desc.ways = 1;
    assert_fails(clv_few_shot_measure(t->ctx, &desc, &view, labels, &r), CLV_ERR_INVALID, "tasks of 1 classes");
    desc.ways = INT64_MAX;
    assert_fails(clv_few_shot_measure(t->ctx, &desc, &view, labels, &r), CLV_ERR_INVALID, "few-shot: 600 tasks of");
    desc.struct_size = 0;
    assert_fails(clv_few_shot_measure(t->ctx, &desc, &view, labels, &r), CLV_ERR_INVALID, "CLV_FEW_SHOT_DESC_INIT");
    desc = (clv_few_shot_desc)CLV_FEW_SHOT_DESC_INIT;
    labels[5] = -2;
    assert_fails(clv_few_shot_measure(t->ctx, &desc, &view, labels, &r), CLV_ERR_INVALID, "label -2 of row 5");
    labels[5] = 0;
    rows[D] = INFINITY;
    assert_fails(clv_few_shot_measure(t->ctx, &desc, &view, labels, &r), CLV_ERR_NUMERIC, "row 1, column 0");
}

TEST_MAIN(TEST(classes_far_apart_are_always_told), TEST(noise_is_told_by_chance), TEST(more_examples_tell_more),
          TEST(small_classes_are_left_out_and_lengths_do_not_count), TEST(what_cannot_be_measured_is_refused))
