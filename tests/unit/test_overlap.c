/* test_overlap.c: sums over ranks beside the computation: the bits of sums that are waited for, the time they hide, and
 * when the gradients that they are made of are there. The other rank is a back end of this file. */
#include "tests/support/rig.h"
#include "core/profile.h"
#include "tensor/op.h"
#include "tensor/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- another rank ---- */

enum { PAUSE = 20 };                     /* milliseconds of a call, if it is slow */

static bool slow, gone, gentle_told[2];

static void pause_for(int milliseconds)
{
    const struct timespec t = { milliseconds / 1000, milliseconds % 1000 * 1000000L };
    nanosleep(&t, NULL);
}

static int fail_or_pause(char *why)
{
    if (slow) pause_for(PAUSE);
    if (gone) snprintf(why, CLVI_COMM_WHY, "the other rank has gone");
    return gone;
}

/* The other rank has half of what this one has. */
static int fake_all_to_all(const void *from, void *to, size_t size, char *why)
{
    const float *mine = from;
    float *all = to;
    for (size_t i = 0; i < size / sizeof *all; i++) {
        all[i] = mine[i];
        all[size / sizeof *all + i] = 0.5f * mine[i];
    }
    return fail_or_pause(why);
}

/* So it has made a sum of its own part that this test cannot know: the first again. */
static int fake_all_gather(void *x, size_t size, char *why)
{
    memcpy((char *)x + size, x, size);
    return fail_or_pause(why);
}

static void fake_gentle(bool on)
{
    gentle_told[on] = true;
}

static const clvi_comm_backend fake = {
    .abi = CLVI_COMM_ABI, .name = "fake", .all_to_all = fake_all_to_all, .all_gather = fake_all_gather,
    .gentle = fake_gentle,
};

static int fake_open(int *rank, int *ranks, char *why)
{
    (void)rank, (void)ranks, (void)why;
    return 0;
}

static void fake_close(bool failed)
{
    (void)failed;
}

/* As clvi_comm_open makes it, with that back end. */
static clvi_comm *join(test_env *t)
{
    static clvi_comm_backend backend;
    clvi_comm *c = NULL;
    assert_ok(clvi_comm_open(t->ctx, "cpu", &c));
    backend = fake;
    backend.open = fake_open;
    backend.close = fake_close;
    c->backend = &backend;
    c->ranks = 2;
    c->send = clvi_calloc(t->ctx, (size_t)CLVI_COMM_BUCKET + 2, sizeof *c->send);
    c->receive = clvi_calloc(t->ctx, (size_t)CLVI_COMM_BUCKET + 2, sizeof *c->receive);
    assert_true(c->send && c->receive);
    slow = gone = gentle_told[0] = gentle_told[1] = false;
    return c;
}

static float *numbers(int64_t n)
{
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)sin((double)i);
    return x;
}

/* ---- sums ---- */

/* More of them than fit the queue, of every length, over and over. */
static void they_are_those_that_are_waited_for(void **state)
{
    enum { N = 3 << 20, SUMS = 150 };
    clvi_comm *c = join(*state);
    float *beside = numbers(N), *waited = numbers(N);
    for (int again = 0; again < 3; again++) {
        const int64_t each = again ? 1000 * again : N / SUMS, bytes = c->bytes;
        for (int i = 0; i < SUMS; i++) assert_ok(clvi_comm_begin(c, beside + i * each, each + 3 * (i == SUMS - 1)));
        assert_ok(clvi_comm_end(c));
        const int64_t sent = c->bytes - bytes;
        for (int i = 0; i < SUMS; i++)
            assert_ok(clvi_comm_all_reduce(c, waited + i * each, each + 3 * (i == SUMS - 1)));
        assert_memory_equal(beside, waited, N * sizeof *beside);
        assert_true(sent > 0 && c->bytes - bytes == 2 * sent);
        assert_true(gentle_told[true] && gentle_told[false]);
    }
    free(beside);
    free(waited);
    clvi_comm_close(c, false);
}

static void what_is_alone_sums_nothing(void **state)
{
    test_env *t = *state;
    clvi_comm *c = NULL;
    float x = 3;
    assert_ok(clvi_comm_open(t->ctx, "cpu", &c));
    assert_ok(clvi_comm_begin(c, &x, 1));
    assert_ok(clvi_comm_end(c));
    assert_ok(clvi_comm_begin(NULL, &x, 1));
    assert_ok(clvi_comm_end(NULL));
    assert_true(x == 3 && !c->overlap);
    clvi_comm_close(c, false);
}

static void an_error_is_told_at_the_end(void **state)
{
    clvi_comm *c = join(*state);
    float x[8] = { 1 };
    gone = true;
    for (int i = 0; i < 4; i++) assert_ok(clvi_comm_begin(c, x + 2 * i, 2));
    assert_fails(clvi_comm_end(c), CLV_ERR_IO, "rank 0 of 2: the other rank has gone");
    gone = false;
    assert_ok(clvi_comm_begin(c, x, 2));
    assert_ok(clvi_comm_end(c));
    assert_ok(clvi_comm_begin(c, x, 2));
    clvi_comm_close(c, true);            /* what was begun is made first */
}

/* Both take as long: one after the other it would be twice the time. */
static void a_slow_network_hides_behind_the_computation(void **state)
{
    enum { SUMS = 8 };
    clvi_comm *c = join(*state);
    float x[SUMS] = { 0 };
    slow = true;
    const int64_t begin = clvi_profile_clock();
    for (int i = 0; i < SUMS; i++) {
        assert_ok(clvi_comm_begin(c, x + i, 1));
        pause_for(2 * PAUSE);
    }
    assert_ok(clvi_comm_end(c));
    const double seconds = 1e-9 * (double)(clvi_profile_clock() - begin), each = 2e-3 * PAUSE * SUMS;
    if (!(c->beside > 0.5 * each && seconds < 2 * each && c->seconds < 0.5 * each))
        fail_msg("%g s with %g beside and %g waited for, of twice %g", seconds, c->beside, c->seconds, each);
    clvi_comm_close(c, false);
}

/* ---- gradients ---- */

/* A gradient is what it will be after as many steps as are told, and not one step before. */
static void it_is_known_when_a_gradient_is_there(void **state)
{
    rig *r = rig_make(*state, "simclr", "micro-batch-size", "8", NULL);
    clv_graph *g = r->method->network;
    clv_params *params = r->method->params;
    const int64_t n = clv_params_count(params);
    int32_t *steps = calloc((size_t)n, sizeof *steps), most = 0;
    clv_view flat;
    (void)rig_forward(r, 0, 0.9);                        /* factors of the last part are bound */
    assert_non_null(steps);
    assert_ok(clv_params_flat(params, CLV_PARAM_GRADIENT, &flat));
    const size_t size = (size_t)clv_view_count(&flat) * sizeof(float);
    float *final = malloc(size);
    assert_non_null(final);
    assert_ok(clvi_graph_run_forward(g));
    assert_ok(clvi_graph_run_backward(g));
    memcpy(final, flat.data, size);
    clvi_graph_gradient_steps(g, steps);
    int64_t early = 0, trainable = 0;
    for (int64_t i = 0; i < n; i++) most = steps[i] > most ? steps[i] : most;
    for (int64_t i = 0; i < n; i++) {
        const clvi_param *p = clvi_params_at(params, i);
        if (p->kind != CLV_PARAM_TRAINABLE) continue;
        const char *now = (const char *)flat.data + p->offset, *then = (const char *)final + p->offset;
        trainable++;
        early += steps[i] < most / 2;
        assert_true(steps[i] > 0);
        memset(flat.data, 0xff, size);
        assert_ok(clvi_graph_run_forward(g));            /* the backward pass works in what it left */
        assert_ok(clvi_graph_run_stretch(g, 0, steps[i] - 1));
        if (!memcmp(now, then, p->desc.bytes)) fail_msg("%s is there before step %d", p->name, steps[i]);
        assert_ok(clvi_graph_run_stretch(g, steps[i] - 1, steps[i]));
        if (memcmp(now, then, p->desc.bytes)) fail_msg("%s is not there after step %d", p->name, steps[i]);
        assert_ok(clvi_graph_run_stretch(g, steps[i], INT32_MAX));
        assert_memory_equal(now, then, p->desc.bytes);
    }
    assert_true(early > 2 && early < trainable);         /* there is something to overlap with */
    free(final);
    free(steps);
    rig_destroy(r);
}

TEST_MAIN(
    TEST(they_are_those_that_are_waited_for),
    TEST(what_is_alone_sums_nothing),
    TEST(an_error_is_told_at_the_end),
    TEST(a_slow_network_hides_behind_the_computation),
    TEST(it_is_known_when_a_gradient_is_there),
)
