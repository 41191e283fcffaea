/* test_steps.c: training steps that a device is given as a whole: recorded, they have the bits of those that are
 * launched piece by piece; a steady one is one copy and one launch; one that is not finite leaves no trace, although
 * the next was on its way. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include "device/tape.h"
#include "tensor/op.h"
#include "tests/support/train.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* device/cuda/emu.h, for C */
typedef struct counts { int64_t launches, copies, plays, sends, waits; } counts;
extern counts clvi_emu_count(clvi_device *device);

#define MORE  12
#define PARTS 14      /* from this case on */
#define LENT  (PARTS + 1)   /* once more with pictures that are lent */

/* Of a generator. */
#define CHAIN "center-crop size=8 margin=1; normalize mean=0.5 std=0.25"

/* What there is to record: shuffles, two directions, rates of tensors, clipping, averages, momenta that change,
 * banks of other types with labels, slots that move, pictures that are mixed or made. */
static const char *const cases[][MORE][2] = {
    { { "method", "moco" }, { "moco-k", "64" }, { "bn-splits", "2" } },
    { { "method", "moco" }, { "moco-k", "64" }, { "symmetric", "true" }, { "ema-decay", "0.9" } },
    { { "method", "moco" }, { "bank", "labelled" }, { "queue-mask", "class" }, { "moco-queue-dtype", "bfloat16" },
      { "bn-buffers", "average" }, { "moco-k", "24" } },
    { { "method", "moco" }, { "moco-k", "64" }, { "loss", "mochi N=32 s=8 s-prime=4" }, { "clip-grad", "0.5" },
      { "moco-m-cos", "true" } },
    { { "method", "simclr" }, { "optimizer", "lars-simclr" }, { "clip-grad", "0.5" }, { "wd", "0.001" } },
    { { "method", "byol" }, { "optimizer", "adamw" }, { "moco-m-cos", "true" }, { "save-steps", "4" } },
    { { "method", "mocov3" }, { "optimizer", "lars-solo-learn" }, { "wd", "0.001" } },
    { { "method", "barlow" }, { "optimizer", "lamb" }, { "wd", "0.001" } },
    { { "method", "supervised" }, { "nesterov", "true" } },
    { { "method", "supervised" }, { "mixup-alpha", "0.4" }, { "cutmix-alpha", "1" }, { "mixup-prob", "0.8" },
      { "ema-decay", "0.9" }, { "batch-size", "15" } },
    { { "method", "supervised" }, { "loss", "cross_entropy; repulsor weight=0.1" }, { "moco-k", "24" },
      { "queue-update", "ema" } },
    { { "method", "supervised" }, { "loss", "cross_entropy; repulsor weight=0.1 normalize=false" }, { "moco-k", "12" },
      { "queue-update", "ema" }, { "queue-dim", "8" } },
    { { "method", "flow_matching" }, { "arch", "uvit" }, { "width", "16" }, { "aug", CHAIN }, { "eval-aug", CHAIN },
      { "size", "0" }, { "moco-dim", "128" }, { "optimizer", "adamw" }, { "loss", "mse; repulsor weight=0.1" },
      { "moco-k", "48" } },
    { { "method", "moco" }, { "moco-k", "64" }, { "precision", "tf32" } },
    [PARTS] =
    { { "method", "moco" }, { "micro-batch-size", "4" }, { "moco-k", "64" } },
    { { "method", "moco" }, { "micro-batch-size", "8" }, { "bn-splits", "4" }, { "moco-k", "64" },
      { "symmetric", "true" }, { "bn-buffers", "average" } },
    { { "method", "supervised" }, { "micro-batch-size", "4" }, { "mixup-alpha", "1" }, { "cutmix-alpha", "1" } },
};

/* Recordings that a step of a batch in parts plays: a pass of every part for each of its 3, 6, 2 walks over them,
 * and what is before, between and after those. Others play one. */
static const int plays[CLVI_COUNT(cases)] = { [PARTS] = 4 + 3 * 4, 7 + 6 * 2, 3 + 2 * 4 };

/* One epoch of ten steps, of which the first and the last are logged. */
static clv_config *config_of(test_env *t, const char *folder, const char *const more[MORE][2])
{
    static const char *const all[][2] = {
        { "arch", "resnet8" }, { "width", "4" }, { "aug", "glyphs" }, { "size", "8" }, { "batch-size", "16" },
        { "moco-dim", "16" }, { "lr", "0.05" }, { "cos", "true" }, { "epochs", "2" }, { "stop-epoch", "1" },
        { "seed", "5" },
        { "knn-freq", "0" }, { "print-freq", "100" }, { "on-nan", "skip" },
    };
    char data[512];
    clv_config *made = test_run_config(t, folder, NULL), *c = NULL;      /* it makes the pictures */
    assert_ok(clv_config_get(made, "data", data, sizeof data));
    clv_config_destroy(made);
    assert_ok(clv_config_create(t->ctx, &c));
    assert_ok(clv_config_set(c, "data", data));
    assert_ok(clv_config_set(c, "results-dir", test_path(t, folder)));
    for (size_t i = 0; i < CLVI_COUNT(all); i++)
        if (strcmp(more[0][1], "supervised") || strcmp(all[i][0], "moco-dim"))
            assert_ok(clv_config_set(c, all[i][0], all[i][1]));
    for (int i = 0; i < MORE && more[i][0]; i++) assert_ok(clv_config_set(c, more[i][0], more[i][1]));
    return c;
}

/* ---- a steady step ---- */

typedef struct watch {
    clv_context *ctx;
    clv_trainer *trainer;
    int64_t      plays;                 /* expected of a step */
    int          steady;                /* steps of one copy and so many launches */
    int          skipped;
    char         note[512];             /* of the last one */
} watch;

static bool see(const clv_progress *p, void *user)
{
    watch *w = user;
    if (p->kind == CLV_PROGRESS_NOTE && strstr(p->note, "step left out")) {
        snprintf(w->note, sizeof w->note, "%s", p->note);
        w->skipped++;
    }
    if (p->kind != CLV_PROGRESS_STEP || !w->ctx->device || !test_device_is_emulated()) return true;
    const counts c = clvi_emu_count(w->ctx->device);
    w->steady += c.plays == w->plays && c.sends == 1 && c.launches == 0 && c.copies == 0 && c.waits == 0;
    return true;
}

static void run(test_env *t, clv_context *ctx, clv_config *c, watch *w, bool spoilt);

/* Of a batch in parts the device reads pictures in the host's memory, as if they were more than it should hold twice. */
static void lent(test_env *t, const char *sent)
{
    const size_t most = clvi_tape_most_sent;
    watch w = { .ctx = test_device_context(t), .plays = plays[LENT] };
    clvi_tape_most_sent = 0;
    run(t, w.ctx, config_of(t, "lent", cases[LENT]), &w, false);
    clvi_tape_most_sent = most;
    if (test_device_is_emulated() && w.steady < 3) fail_msg("%d steady steps of lent pictures", w.steady);
    if (!test_same_file(t, "lent/last.h5", sent)) fail_msg("lent pictures: other bits");
}

/* The first is launched, two are recorded, and what comes before the last or a checkpoint is waited for. */
static void recorded_steps_have_the_bits_of_others_and_are_one_launch(void **state)
{
    test_env *t = *state;
    for (size_t c = 0; c < CLVI_COUNT(cases); c++) {
        char folder[2][32], file[2][96];
        for (int eager = 0; eager < 2; eager++) {
            watch w = { .ctx = test_device_context(t), .plays = plays[c] ? plays[c] : 1 };
            snprintf(folder[eager], sizeof folder[eager], "%s%zu", eager ? "eager" : "recorded", c);
            snprintf(file[eager], sizeof file[eager], "%s/last.h5", folder[eager]);
            if (eager) assert_int_equal(setenv("CLEAVE_GRAPH", "0", 1), 0);
            run(t, w.ctx, config_of(t, folder[eager], cases[c]), &w, false);
            assert_int_equal(unsetenv("CLEAVE_GRAPH"), 0);
            if (test_device_is_emulated() && !eager && w.steady < 3) fail_msg("case %zu: %d steady steps", c, w.steady);
            if (eager) assert_int_equal(w.steady, 0);
        }
        if (!test_same_file(t, file[0], file[1])) fail_msg("case %zu: other bits", c);
        if (c == LENT) lent(t, file[0]);
    }
}

/* ---- a step that is not finite ---- */

static const clvi_method_class *plain;
static int64_t spoilt_steps[3];

/* Spoils the pictures of some steps, however often a step is begun. */
static clv_status spoilt_forward(clvi_method *m, const clv_batch *batch, const clvi_step *at, clvi_step_result *out)
{
    for (size_t i = 0; i < CLVI_COUNT(spoilt_steps); i++)
        for (int v = 0; at->total == spoilt_steps[i] && v < plain->views; v++) *(float *)batch->view[v].data = NAN;
    return plain->forward(m, batch, at, out);
}

static void run(test_env *t, clv_context *ctx, clv_config *c, watch *w, bool spoilt)
{
    clvi_method_class class;
    (void)t;
    w->ctx = ctx;
    assert_ok(clv_trainer_create(ctx, c, see, w, &w->trainer));
    clv_config_destroy(c);
    plain = w->trainer->method->cls;
    class = *plain;
    class.forward = spoilt_forward;
    if (spoilt) w->trainer->method->cls = &class;
    assert_ok(clv_trainer_run(w->trainer));
    w->trainer->method->cls = plain;
    clv_trainer_destroy(w->trainer);
    clv_context_destroy(ctx);
}

/* Two in a row; one alone, and the last but one; where pictures are mixed, a second time by a step that is queued
 * again. On the host, launched, recorded: the same words, and on the device the same bits. */
static void a_step_that_is_not_finite_leaves_no_trace_while_the_next_is_on_its_way(void **state)
{
    static const int64_t which[][3] = { { 5, 6, -1 }, { 3, 8, -1 }, { 4, -1, 7 } };
    static const char *const mixed[MORE][2] = { { "method", "supervised" }, { "mixup-alpha", "1" } };
    test_env *t = *state;
    for (size_t c = 0; c < CLVI_COUNT(which); c++) {
        watch w[3] = { { .steady = 0 } };
        char file[3][96];
        memcpy(spoilt_steps, which[c], sizeof spoilt_steps);
        for (int i = 0; i < 3; i++) {
            char folder[32];
            snprintf(folder, sizeof folder, "%s%zu", i == 0 ? "host" : i == 1 ? "launched" : "recorded", c);
            snprintf(file[i], sizeof file[i], "%s/last.h5", folder);
            if (i == 1) assert_int_equal(setenv("CLEAVE_GRAPH", "0", 1), 0);
            run(t, i ? test_device_context(t) : test_context(t, 1), config_of(t, folder, c < 2 ? cases[0] : mixed),
                &w[i], true);
            assert_int_equal(unsetenv("CLEAVE_GRAPH"), 0);
            assert_int_equal(w[i].skipped, 2);
            assert_memory_equal(w[i].note, w[0].note, strcspn(w[0].note, "("));       /* a ReLU may swallow NaN */
        }
        assert_true(test_same_file(t, file[1], file[2]));
    }
}

/* ---- tapes ---- */

/* Sums of rows that change from step to step, read in the middle of a step (or not). */
static void take_steps(test_env *t, bool reads, float out[6])
{
    clv_context *ctx = test_device_context(t);
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    clvi_tape *tape = NULL;
    float data[6] = { 0 };
    assert_ok(clv_graph_create(ctx, &desc, &g));
    const clv_node x = clv_input(g, "x", CLV_F32, 2, (const int64_t[]) { 2, 3 }), y = clv_reduce(g, x, -1, false);
    clv_graph_output(g, y);
    assert_ok(clv_graph_finish(g));
    const clv_view in = clv_view_2d(data, CLV_F32, 2, 3);
    assert_ok(clv_graph_bind(g, x, &in));
    assert_ok(clvi_tape_create(ctx, &tape));
    for (int step = 0; step < 6; step++) {
        clv_view view;
        data[5] = (float)step;
        assert_ok(clvi_tape_begin(tape));
        assert_ok(clv_graph_run(g));
        if (reads) assert_ok(clv_graph_read(g, y, &view));
        if (reads) assert_true(*(const float *)view.data == (float)step);
        assert_ok(clvi_graph_fetch(g, y, &out[step]));
        assert_ok(clvi_tape_end(tape));
        assert_int_equal(clvi_tape_waiting(tape), step % 2 + 1);
        while (step % 2 && clvi_tape_waiting(tape) > 0) assert_ok(clvi_tape_collect(tape));
        assert_int_equal(clvi_tape_runs_ahead(tape), !reads && step >= 2);
    }
    assert_fails(clvi_tape_collect(tape), CLV_ERR_INTERNAL, "no step is at work");
    clvi_tape_destroy(tape);
    clv_graph_destroy(g);
    clv_context_destroy(ctx);
}

/* Two fetches on their way to places of their own arrive in order; a step that reads is never recorded. */
static void what_steps_fetch_arrives_whether_they_can_be_recorded_or_not(void **state)
{
    for (int reads = 0; reads < 2; reads++) {
        float out[6];
        take_steps(*state, reads, out);
        for (int i = 0; i < 6; i++) assert_true(out[i] == (float)i);
    }
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(recorded_steps_have_the_bits_of_others_and_are_one_launch),
        TEST(a_step_that_is_not_finite_leaves_no_trace_while_the_next_is_on_its_way),
        TEST(what_steps_fetch_arrives_whether_they_can_be_recorded_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
