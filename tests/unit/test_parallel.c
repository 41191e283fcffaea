/* test_parallel.c: loops over threads. */
#include "tests/support/test.h"
#include "core/parallel.h"
#include <pthread.h>
#include <unistd.h>

typedef struct loop {
    clv_context *ctx;
    int64_t      n, chunk;
    atomic_int   hits[1000];
    atomic_int   wrong, calls, index_seen[8];
    int64_t      slowly;       /* microseconds a chunk takes */
} loop;

static void count_hits(void *arg, int64_t begin, int64_t end)
{
    loop *l = arg;
    if (begin % l->chunk != 0 || end - begin != (begin + l->chunk <= l->n ? l->chunk : l->n - begin)) l->wrong++;
    for (int64_t i = begin; i < end; i++) l->hits[i]++;
    const int index = clvi_thread_index();
    if (index < 0 || index >= clv_context_threads(l->ctx)) l->wrong++;
    else l->index_seen[index]++;
    l->calls++;
    if (l->slowly) usleep((useconds_t)l->slowly);
}

static void each_index_comes_once_in_fixed_chunks(void **state)
{
    test_env *t = *state;
    const int64_t chunks[] = { 1, 7, 64, 999, 1000, 5000 };
    for (int threads = 1; threads <= 4; threads++) {
        clv_context *ctx = test_context(t, threads);
        for (int c = 0; c < 6; c++) {
            loop l = { .ctx = ctx, .n = 1000, .chunk = chunks[c] };
            clvi_parallel_for(ctx, l.n, l.chunk, count_hits, &l);
            assert_int_equal(l.wrong, 0);
            assert_int_equal(l.calls, (l.n + l.chunk - 1) / l.chunk);
            for (int i = 0; i < 1000; i++) assert_int_equal(l.hits[i], 1);
        }
        clv_context_destroy(ctx);
    }
}

static void nothing_to_do_calls_nothing(void **state)
{
    test_env *t = *state;
    loop l = { .ctx = t->ctx, .n = 0, .chunk = 1 };
    clvi_parallel_for(t->ctx, 0, 8, count_hits, &l);
    clvi_parallel_for(t->ctx, -5, 8, count_hits, &l);
    assert_int_equal(l.calls, 0);
}

static void all_threads_take_part(void **state)
{
    test_env *t = *state;
    loop l = { .ctx = t->ctx, .n = 100, .chunk = 1, .slowly = 500 };
    clvi_parallel_for(t->ctx, l.n, l.chunk, count_hits, &l);
    assert_true(l.index_seen[0] > 0 && l.index_seen[1] > 0);
    assert_int_equal(clvi_thread_index(), 0);
}

static void only_ends(void *arg, int64_t begin, int64_t end)
{
    loop *l = arg;
    l->calls++;
    if (begin < 0 || end <= begin) l->wrong++;
}

static void huge_ranges_do_not_overflow(void **state)
{
    test_env *t = *state;
    for (int threads = 1; threads <= 2; threads++) {
        clv_context *ctx = test_context(t, threads);
        loop l = { .ctx = ctx };
        clvi_parallel_for(ctx, INT64_MAX, INT64_MAX / 3 + 1, only_ends, &l);
        assert_int_equal(l.calls, 3);
        assert_int_equal(l.wrong, 0);
        clv_context_destroy(ctx);
    }
}

typedef struct outer {
    clv_context *ctx;
    atomic_int   total, moved;
} outer;

typedef struct inner {
    outer    *out;
    pthread_t thread;
} inner;

static void inner_range(void *arg, int64_t begin, int64_t end)
{
    inner *in = arg;
    in->out->total += (int)(end - begin);
    if (!pthread_equal(in->thread, pthread_self())) in->out->moved++;
}

static void outer_range(void *arg, int64_t begin, int64_t end)
{
    outer *o = arg;
    for (int64_t i = begin; i < end; i++) {
        inner in = { o, pthread_self() };
        const int index = clvi_thread_index();
        clvi_parallel_for(o->ctx, 10, 1, inner_range, &in);
        if (clvi_thread_index() != index) o->moved++;
    }
}

static void a_loop_in_a_loop_stays_on_its_thread(void **state)
{
    test_env *t = *state;
    outer o = { .ctx = t->ctx };
    clvi_parallel_for(t->ctx, 50, 1, outer_range, &o);
    assert_int_equal(o.total, 500);
    assert_int_equal(o.moved, 0);
}

typedef struct sum {
    float partial[64];
} sum;

static void partial_sum(void *arg, int64_t begin, int64_t end)
{
    sum *s = arg;
    float x = 0;
    for (int64_t i = begin; i < end; i++) x += 1.0f / (float)(i + 1);
    s->partial[begin / 100] = x;
}

static void a_sum_by_chunks_is_the_same_with_any_number_of_threads(void **state)
{
    test_env *t = *state;
    sum want = { { 0 } };
    for (int threads = 1; threads <= 4; threads++) {
        clv_context *ctx = test_context(t, threads);
        sum got = { { 0 } };
        clvi_parallel_for(ctx, 6350, 100, partial_sum, &got);
        if (threads == 1) want = got;
        assert_memory_equal(&got, &want, sizeof got);
        clv_context_destroy(ctx);
    }
}

TEST_MAIN(TEST(each_index_comes_once_in_fixed_chunks), TEST(nothing_to_do_calls_nothing), TEST(all_threads_take_part),
          TEST(huge_ranges_do_not_overflow), TEST(a_loop_in_a_loop_stays_on_its_thread),
          TEST(a_sum_by_chunks_is_the_same_with_any_number_of_threads))
