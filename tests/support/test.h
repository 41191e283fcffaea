/* test.h: what every test program shares, on top of cmocka.
 *
 *     #include "tests/support/test.h"
 *
 *     static void a_name_that_says_what_must_hold(void **state)
 *     {
 *         test_env *t = *state;
 *         assert_ok(clvi_file_write(test_path(t, "x"), "abc", 3));
 *     }
 *
 *     TEST_MAIN(TEST(a_name_that_says_what_must_hold))
 *
 * Each test gets an environment of its own: a context whose allocator counts, and a folder that is made when first asked
 * for. At its end the folder is removed, and the test fails if memory of the context is left. */
#ifndef CLEAVE_TESTS_SUPPORT_TEST_H
#define CLEAVE_TESTS_SUPPORT_TEST_H

#include <cleave/base.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <cmocka.h>

/* The memory of the environment's context. */
typedef struct test_heap {
    atomic_long calls;        /* allocations asked for */
    atomic_long fail_at;      /* the call with this number is refused; 0: none */
    atomic_long live;         /* blocks not released */
    atomic_long live_bytes;
} test_heap;

typedef struct test_env {
    clv_context *ctx;         /* two threads */
    test_heap    heap;
    char         folder[256]; /* "" until test_path is called */
    char         path[8][512];
    int          next_path;
} test_env;

/* Path of a file in the test's own folder. Good until the eighth call after this one. */
const char *test_path(test_env *t, const char *name);

/* A further context on the test's heap, with another number of threads. */
clv_context *test_context(test_env *t, int threads);

/* Calls fn with the 1st, 2nd, ... allocation refused until it succeeds. Each failure must be CLV_ERR_NOMEM with a message
 * and leave as much memory in use as there was before. fn must release what it makes. At least one must fail. */
typedef clv_status (*test_alloc_fn)(clv_context *ctx, void *arg);
void test_each_allocation_fails(test_env *t, test_alloc_fn fn, void *arg);

int test_setup(void **state);
int test_teardown(void **state);
void test_check_ok(clv_status status, const char *expr, const char *file, int line);
void test_check_fails(clv_status got, clv_status want, const char *text, const char *expr, const char *file, int line);
void test_check_near(double a, double b, double tolerance, const char *expr, const char *file, int line);

/* The status is CLV_OK; else its message is printed. */
#define assert_ok(e) test_check_ok((e), #e, __FILE__, __LINE__)
/* The status is `status`, and the message contains `text`. */
#define assert_fails(e, status, text) test_check_fails((e), (status), (text), #e, __FILE__, __LINE__)
/* |a - b| <= tolerance; NaN is near nothing. */
#define assert_near(a, b, tolerance) test_check_near((a), (b), (tolerance), #a " near " #b, __FILE__, __LINE__)

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
#define TEST_MAIN(...)                                                                                                 \
    int main(void)                                                                                                     \
    {                                                                                                                  \
        const struct CMUnitTest tests[] = { __VA_ARGS__ };                                                             \
        return cmocka_run_group_tests(tests, NULL, NULL);                                                              \
    }

#endif
