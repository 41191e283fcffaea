/* test_isolate.c: work in a child process: what it wrote comes back, and a child that stands still is replaced. */
#include "core/isolate.h"
#include "tests/support/test.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Memory that the children share with this process. */
typedef struct shared {
    atomic_int children;
} shared;

static shared *share(void)
{
    shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(s != MAP_FAILED);
    return s;
}

static void check_isolated(clvi_isolated_fn fn, shared *s, const char *wrote)
{
    clvi_map map;
    assert_ok(clvi_isolate("x.h5", fn, s, &map));
    assert_int_equal(map.size, strlen(wrote));
    assert_memory_equal(map.data, wrote, strlen(wrote));
    clvi_map_close(&map);
}

static clv_status put(int fd, const char *text)
{
    CLV_CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text), CLV_ERR_IO, "a short write");
    return CLV_OK;
}

/* As one that waits for a lock which a thread of its parent held. */
static clv_status stand_still_at_first(clv_context *ctx, void *arg, int fd)
{
    shared *s = arg;
    (void)ctx;
    if (atomic_fetch_add(&s->children, 1) > 0) return put(fd, "second");
    CLV_TRY(put(fd, "the first, longer"));
    for (;;) pause();
}

static void a_child_that_stands_still_is_replaced(void **state)
{
    (void)state;
    shared *s = share();
    check_isolated(stand_still_at_first, s, "second");
    assert_int_equal(atomic_load(&s->children), 2);
    munmap(s, sizeof *s);
}

/* A slow disk: seldom at work, never still. */
static clv_status work_seldom(clv_context *ctx, void *arg, int fd)
{
    shared *s = arg;
    (void)ctx;
    atomic_fetch_add(&s->children, 1);
    for (int i = 0; i < 15; i++) nanosleep(&(struct timespec) { .tv_nsec = 100 * 1000 * 1000 }, NULL);
    return put(fd, "slow");
}

static void a_slow_child_is_waited_for(void **state)
{
    (void)state;
    shared *s = share();
    check_isolated(work_seldom, s, "slow");
    assert_int_equal(atomic_load(&s->children), 1);
    munmap(s, sizeof *s);
}

static clv_status crash(clv_context *ctx, void *arg, int fd)
{
    shared *s = arg;
    (void)ctx;
    (void)fd;
    atomic_fetch_add(&s->children, 1);
    abort();
}

static void a_crash_is_an_error_and_not_tried_again(void **state)
{
    (void)state;
    shared *s = share();
    clvi_map map;
    assert_fails(clvi_isolate("x.h5", crash, s, &map), CLV_ERR_FORMAT, "'x.h5' cannot be read: the HDF5 library crashed");
    assert_int_equal(atomic_load(&s->children), 1);
    munmap(s, sizeof *s);
}

static clv_status refuse(clv_context *ctx, void *arg, int fd)
{
    (void)ctx;
    (void)arg;
    (void)fd;
    return clvi_fail(CLV_ERR_SHAPE, "images of %d axes", 7);
}

static void an_error_comes_back_with_its_words(void **state)
{
    (void)state;
    clvi_map map;
    assert_fails(clvi_isolate("x.h5", refuse, NULL, &map), CLV_ERR_SHAPE, "images of 7 axes");
}

TEST_MAIN(TEST(a_child_that_stands_still_is_replaced), TEST(a_slow_child_is_waited_for),
          TEST(a_crash_is_an_error_and_not_tried_again), TEST(an_error_comes_back_with_its_words))
