/* test_guard.c: a step whose loss is not finite ends the run with its name, or leaves no trace. A number of the bank is
 * spoilt for a step, so that its loss is none, and mended when the step was left out. */
#include "core/checked.h"
#include "device/flat.h"
#include "tests/support/train.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum target { BANK, NETWORK, TEACHER } target;

typedef struct spoiler {
    clv_trainer   *trainer;
    target         target;
    int64_t        from, stop_at;   /* after these steps; -1: never */
    int            mend_after;      /* steps left out */
    int            told;
    char           note[512];
    float          was;
    unsigned char *kept[3];         /* weights, running statistics of network and momentum encoder before the step */
} spoiler;

static clv_params *network(const spoiler *s, bool key)
{
    return clvi_method_params(s->trainer->method, key);
}

static float *spot(const spoiler *s)
{
    clv_view flat;
    if (s->target == BANK) return clv_bank_rows(s->trainer->method->bank).data;
    assert_ok(clv_params_flat(network(s, s->target == TEACHER), CLV_PARAM_VALUE, &flat));
    return flat.data;
}

/* Part i of what a step left out may not change. */
static const void *part(const spoiler *s, int i, size_t *size)
{
    clv_view flat;
    assert_ok(clv_params_flat(network(s, false), CLV_PARAM_VALUE, &flat));
    *size = i == 0 ? clvi_params_arena_size(network(s, false)) : clvi_params_buffer_size(network(s, i == 2));
    return i == 0 ? flat.data : clvi_params_buffers(network(s, i == 2));
}

static void spoil(spoiler *s)
{
    for (int i = 0; i < 3; i++) {
        size_t size;
        const void *bytes = part(s, i, &size);
        s->kept[i] = malloc(size);
        assert_non_null(s->kept[i]);
        memcpy(s->kept[i], bytes, size);
    }
    s->was = *spot(s);
    *spot(s) = NAN;
}

static void mend(spoiler *s)
{
    *spot(s) = s->was;
    for (int i = 0; i < 3; i++) {
        size_t size;
        const void *bytes = part(s, i, &size);
        assert_memory_equal(bytes, s->kept[i], size);
    }
}

static bool watches(const clv_progress *p, void *user)
{
    spoiler *s = user;
    if (p->kind == CLV_PROGRESS_EPOCH) assert_true(isfinite(p->loss_mean) && p->loss_mean > 0.1);
    if (p->kind == CLV_PROGRESS_NOTE && strstr(p->note, "step left out")) {
        snprintf(s->note, sizeof s->note, "%s", p->note);
        if (++s->told == s->mend_after) mend(s);
    }
    if (p->kind != CLV_PROGRESS_STEP) return true;
    if (p->total_step == s->from) spoil(s);
    return p->total_step != s->stop_at;
}

static clv_status run(test_env *t, spoiler *s, clv_config *config)
{
    clv_context *ctx = test_context(t, 1);
    assert_ok(clv_trainer_create(ctx, config, watches, s, &s->trainer));
    clv_config_destroy(config);
    const clv_status st = clv_trainer_run(s->trainer);
    for (int key = 0; key < 2 && st == CLV_OK; key++) {
        clv_params *params = network(s, key);
        assert_true(clvi_flat_all_finite(ctx, CLV_F32, (int64_t)(clvi_params_buffer_size(params) / sizeof(float)),
                                         clvi_params_buffers(params)));
    }
    clv_trainer_destroy(s->trainer);
    clv_context_destroy(ctx);
    for (int i = 0; i < 3; i++) free(s->kept[i]);
    return st;
}

static void a_step_that_is_not_finite_ends_the_run_before_it_is_saved(void **state)
{
    test_env *t = *state;
    spoiler s = { .from = 3, .stop_at = -1 };
    assert_fails(run(t, &s, test_run_config(t, "a", "epochs", "1", NULL)), CLV_ERR_NUMERIC,
                 "epoch 1, step 4: the gradient of '");
    assert_false(test_has_file(t, "a/last.h5"));
}

static void a_step_left_out_leaves_no_trace(void **state)
{
    test_env *t = *state;
    for (int i = 0; i < 2; i++) {
        spoiler s = { .from = 3, .stop_at = -1, .mend_after = i ? 3 : 1 };
        assert_ok(run(t, &s, test_run_config(t, i ? "b" : "a", "epochs", "1", "on-nan", "skip", NULL)));
        assert_int_equal(s.told, s.mend_after);
        assert_non_null(strstr(s.note, i ? "step left out: epoch 1, step 6: the gradient of '"
                                         : "step left out: epoch 1, step 4: the gradient of '"));
        assert_true(test_has_file(t, i ? "b/last.h5" : "a/last.h5"));
    }
}

static void a_run_that_left_a_step_out_goes_on_to_the_same_bits(void **state)
{
    test_env *t = *state;
    spoiler whole = { .from = 3, .stop_at = -1, .mend_after = 1 };
    spoiler cut = { .from = 3, .stop_at = 7, .mend_after = 1 }, rest = { .from = -1, .stop_at = -1 };
    assert_ok(run(t, &whole, test_run_config(t, "whole", "epochs", "1", "on-nan", "skip", NULL)));
    assert_int_equal(run(t, &cut, test_run_config(t, "cut", "epochs", "1", "on-nan", "skip", NULL)), CLV_STOPPED);
    assert_ok(run(t, &rest, test_run_config(t, "cut", "epochs", "1", "on-nan", "skip", "resume", "auto", NULL)));
    assert_true(test_same_file(t, "whole/last.h5", "cut/last.h5"));
}

/* Relu swallows what is no number, so that a loss can be finite when the statistics are not. */
static void what_is_not_finite_is_not_saved(void **state)
{
    test_env *t = *state;
    spoiler s = { .target = TEACHER, .from = 3, .stop_at = 8 };
    assert_fails(run(t, &s, test_run_config(t, "a", NULL)), CLV_ERR_NUMERIC,
                 "after 8 steps: parameter 'conv1.weight' of the momentum encoder is not finite");
    assert_false(test_has_file(t, "a/last.h5"));
}

static void skipping_ends_where_it_cannot_help(void **state)
{
    test_env *t = *state;
    spoiler weight = { .target = NETWORK, .from = 3, .stop_at = -1 }, ever = { .from = 3, .stop_at = -1 };
    spoiler epoch = ever;
    assert_fails(run(t, &weight, test_run_config(t, "a", "on-nan", "skip", NULL)), CLV_ERR_NUMERIC,
                 "after 3 steps: parameter 'conv1.weight' is not finite");
    assert_false(test_has_file(t, "a/last.h5"));
    assert_fails(run(t, &ever, test_run_config(t, "b", "batch-size", "4", "on-nan", "skip", NULL)), CLV_ERR_NUMERIC,
                 "as 25 steps in a row");
    assert_int_equal(ever.told, 24);
    assert_fails(run(t, &epoch, test_run_config(t, "c", "on-nan", "skip", NULL)), CLV_ERR_NUMERIC,
                 "epoch 2: no step of it was finite");
}

TEST_MAIN(TEST(a_step_that_is_not_finite_ends_the_run_before_it_is_saved), TEST(a_step_left_out_leaves_no_trace),
          TEST(a_run_that_left_a_step_out_goes_on_to_the_same_bits), TEST(what_is_not_finite_is_not_saved),
          TEST(skipping_ends_where_it_cannot_help))
