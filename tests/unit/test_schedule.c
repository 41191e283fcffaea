/* test_schedule.c: learning rates and momenta against the published formulas, worked by hand. */
#include "tests/support/test.h"
#include "train/config/schedule.h"

#include <math.h>
#include <string.h>

static void the_demo_counts_epochs_from_one_and_ends_at_zero(void **state)
{
    (void)state;
    const clvi_schedule s = { .base = 0.06, .cosine = true, .horizon = 200, .start = 1 };
    assert_near(clvi_schedule_at(&s, 0, 50, 97), 0.059996, 5e-7);
    assert_near(clvi_schedule_at(&s, 0, 0, 97), clvi_schedule_at(&s, 0, 96, 97), 0);
    assert_near(clvi_schedule_at(&s, 99, 0, 97), 0.03, 1e-12);
    assert_near(clvi_schedule_at(&s, 199, 0, 97), 0, 1e-12);
}

static void a_cosine_may_end_above_zero(void **state)
{
    (void)state;
    const clvi_schedule s = { .base = 2, .cosine = true, .by_step = true, .horizon = 4, .end = 0.001 };
    assert_near(clvi_schedule_at(&s, 0, 0, 10), 2, 0);
    assert_near(clvi_schedule_at(&s, 2, 0, 10), 2 * (0.001 + 0.999 * 0.5), 1e-15);
    assert_near(clvi_schedule_at(&s, 4, 0, 10), 0.002, 1e-15);
}

static void by_step_it_moves_within_an_epoch(void **state)
{
    (void)state;
    const clvi_schedule s = { .base = 1, .cosine = true, .by_step = true, .horizon = 4 };
    assert_near(clvi_schedule_at(&s, 1, 5, 10), 0.5 * (1 + cos(M_PI * 1.5 / 4)), 1e-15);
}

static void steps_drop_at_their_epochs(void **state)
{
    (void)state;
    clvi_schedule s = { .base = 0.03, .drop = 0.1, .horizon = 200 };
    assert_ok(clvi_schedule_milestones(&s, "120,160"));
    assert_near(clvi_schedule_at(&s, 119, 9, 10), 0.03, 0);
    assert_near(clvi_schedule_at(&s, 120, 0, 10), 0.003, 1e-15);
    assert_near(clvi_schedule_at(&s, 160, 0, 10), 0.0003, 1e-15);
    s.drop = 0.2;
    assert_near(clvi_schedule_at(&s, 160, 0, 10), 0.0012, 1e-15);
}

static void warm_up_rises_linearly_and_then_the_cosine_spans_the_rest(void **state)
{
    (void)state;
    const clvi_schedule s = { .base = 2, .cosine = true, .by_step = true, .horizon = 12, .warmup = 2 };
    assert_near(clvi_schedule_at(&s, 0, 0, 10), 0, 0);
    assert_near(clvi_schedule_at(&s, 1, 0, 10), 1, 1e-15);
    assert_near(clvi_schedule_at(&s, 2, 0, 10), 2, 1e-15);
    assert_near(clvi_schedule_at(&s, 7, 0, 10), 1, 1e-15);
    assert_near(clvi_schedule_at(&s, 12, 0, 10), 0, 1e-15);
}

static void warm_up_can_begin_above_zero_and_rise_once_an_epoch(void **state)
{
    (void)state;
    const clvi_schedule s = { .base = 2, .horizon = 12, .warmup = 2, .warmup_start = 0.5, .warmup_by_epoch = true };
    assert_near(clvi_schedule_at(&s, 0, 0, 10), 0.5, 0);
    assert_near(clvi_schedule_at(&s, 0, 9, 10), 0.5, 0);
    assert_near(clvi_schedule_at(&s, 1, 3, 10), 1.25, 1e-15);
    assert_near(clvi_schedule_at(&s, 2, 0, 10), 2, 1e-15);
}

/* MoCo v3: lr batch / 256. SimCLR: 0.075 sqrt(4096) = 0.3 x 4096 / 256. */
static void the_learning_rate_scales_with_the_batch_as_published(void **state)
{
    (void)state;
    clvi_settings s = { .lr = 0.3, .batch_size = 4096 };
    assert_near(clvi_schedule_base(&s), 0.3, 0);
    s.lr_scaling = CLVI_LR_LINEAR;
    assert_near(clvi_schedule_base(&s), 4.8, 1e-15);
    s.lr = 0.075;
    s.lr_scaling = CLVI_LR_SQRT;
    assert_near(clvi_schedule_base(&s), 4.8, 1e-15);
}

static void milestones_must_be_rising_numbers(void **state)
{
    (void)state;
    clvi_schedule s = { .base = 1 };
    assert_fails(clvi_schedule_milestones(&s, "30,twenty"), CLV_ERR_INVALID, "expected epochs separated by commas");
    assert_fails(clvi_schedule_milestones(&s, "30,20"), CLV_ERR_INVALID, "must rise");
    assert_fails(clvi_schedule_milestones(&s, "nan"), CLV_ERR_INVALID, "expected epochs");
    assert_ok(clvi_schedule_milestones(&s, ""));
    assert_int_equal(s.milestone_count, 0);
}

static void key_momentum_goes_from_base_to_one(void **state)
{
    (void)state;
    assert_near(clvi_momentum_cosine(0.99, 0, 100), 0.99, 1e-15);
    assert_near(clvi_momentum_cosine(0.99, 50, 100), 0.995, 1e-15);
    assert_near(clvi_momentum_cosine(0.99, 100, 100), 1, 1e-15);
}

TEST_MAIN(TEST(the_demo_counts_epochs_from_one_and_ends_at_zero), TEST(a_cosine_may_end_above_zero),
          TEST(by_step_it_moves_within_an_epoch),
          TEST(steps_drop_at_their_epochs), TEST(warm_up_rises_linearly_and_then_the_cosine_spans_the_rest),
          TEST(warm_up_can_begin_above_zero_and_rise_once_an_epoch),
          TEST(the_learning_rate_scales_with_the_batch_as_published),
          TEST(milestones_must_be_rising_numbers), TEST(key_momentum_goes_from_base_to_one))
