/* test_loss_calls.c: what the interface promises of every call, whichever loss it is: memory told beforehand, nothing
 * allocated by further calls, and one loss object a thread. */
#include "tests/support/losses.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct sizes {
    int64_t B, D, K;
} sizes;

static int64_t length(char letter, void *user)
{
    const sizes *s = user;
    switch (letter) {
    case 'D': case 'F': case 'H': return s->D;
    case 'K': case 'J': case 'G': case 'T': return s->K;
    case 'V': return 2;
    case 'A': return 2 * s->B;
    case 'C': return 6;
    case 'L': return 1 + s->K + 2 * s->B;   /* the bank and two mixes for each of the batch */
    default: return s->B;
    }
}

static test_loss *make(clv_context *ctx, const char *name, const char *variant, sizes s)
{
    return test_loss_make(ctx, name, variant, "0.2", true, 11, length, &s);
}

static clv_status eval_without_outputs(test_loss *l)
{
    return clv_loss_eval(l->loss, l->in, l->n_in, l->grad, l->n_grad, NULL, 0, &l->value);
}

/* ---- memory ---- */

/* What the first call takes beyond the bytes told. */
static long beyond_what_was_told(test_env *t, const char *name, const char *variant, sizes s)
{
    test_loss *l = make(t->ctx, name, variant, s);
    size_t told = 0;
    const long before = t->heap.live_bytes;
    assert_ok(clv_loss_memory(l->loss, l->in, l->n_in, &told));
    assert_int_equal(t->heap.live_bytes, before);
    assert_ok(eval_without_outputs(l));
    const long rest = t->heap.live_bytes - before - (long)told;
    if (rest < 0) fail_msg("%s %s: %zu bytes told, %ld fewer taken", name, variant ? variant : "", told, -rest);
    test_loss_free(l);
    return rest;
}

/* The rest is the description of the graph, which is the same for every size. */
static void check_memory(const char *name, const char *variant, void *user)
{
    const long small = beyond_what_was_told(user, name, variant, (sizes) { 3, 5, 7 });
    const long large = beyond_what_was_told(user, name, variant, (sizes) { 67, 130, 517 });
    if (large != small)
        fail_msg("%s %s: beyond what was told, %ld bytes for a small call and %ld for a large one", name,
                 variant ? variant : "", small, large);
}

static void the_memory_told_is_the_memory_taken(void **state)
{
    test_losses_each(check_memory, *state);
}

/* ---- further calls ---- */

static void check_further_calls(const char *name, const char *variant, void *user)
{
    test_env *t = user;
    for (int narrow = 0; narrow < 2; narrow++) {
        test_loss *l = make(t->ctx, name, variant, (sizes) { 33, 17, 130 });
        if (narrow) test_loss_narrow(l);
        assert_ok(test_loss_eval(l));
        const long calls = t->heap.calls, live = t->heap.live;
        const double first = l->value;
        for (int i = 0; i < 3; i++) assert_ok(test_loss_eval(l));
        if (t->heap.calls != calls || t->heap.live != live)
            fail_msg("%s %s: %ld allocations in further calls", name, variant ? variant : "", t->heap.calls - calls);
        assert_memory_equal(&l->value, &first, sizeof first);
        test_loss_free(l);
    }
}

static void further_calls_allocate_nothing(void **state)
{
    test_losses_each(check_further_calls, *state);
}

/* ---- threads ---- */

enum { THREADS = 3 };

typedef struct caller {
    test_loss         *l;
    pthread_barrier_t *start;
    clv_status         status;
} caller;

/* Plans in the first call and runs in both, beside the others. */
static void *call_twice(void *arg)
{
    caller *c = arg;
    (void)pthread_barrier_wait(c->start);
    for (int i = 0; i < 2 && c->status == CLV_OK; i++) c->status = test_loss_eval(c->l);
    return NULL;
}

static void same_bits(const clv_loss_tensor *a, const clv_loss_tensor *b, int n)
{
    for (int i = 0; i < n; i++)
        assert_memory_equal(a[i].view.data, b[i].view.data,
                            (size_t)clv_view_count(&a[i].view) * clv_dtype_size(a[i].view.dtype));
}

static void check_callers(test_env *t, const char *name, const char *variant, bool narrow)
{
    const sizes s = { 33, 17, 130 };
    test_loss *alone = make(t->ctx, name, variant, s);
    caller callers[THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t start;
    if (narrow) test_loss_narrow(alone);
    assert_ok(test_loss_eval(alone));
    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (caller) { make(t->ctx, name, variant, s), &start, CLV_OK };
        if (narrow) test_loss_narrow(callers[i].l);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_twice, &callers[i]), 0);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_ok(callers[i].status);
        assert_memory_equal(&callers[i].l->value, &alone->value, sizeof alone->value);
        same_bits(callers[i].l->grad, alone->grad, alone->n_grad);
        same_bits(callers[i].l->out, alone->out, alone->n_out);
        test_loss_free(callers[i].l);
    }
    (void)pthread_barrier_destroy(&start);
    test_loss_free(alone);
}

static void check_threads(const char *name, const char *variant, void *user)
{
    for (int narrow = 0; narrow < 2; narrow++) check_callers(user, name, variant, narrow);
}

/* They share one context, whose own work has two threads. */
static void a_loss_for_each_thread_gives_the_bits_of_one_alone(void **state)
{
    test_losses_each(check_threads, *state);
}

TEST_MAIN(TEST(the_memory_told_is_the_memory_taken), TEST(further_calls_allocate_nothing),
          TEST(a_loss_for_each_thread_gives_the_bits_of_one_alone))
