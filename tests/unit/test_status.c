/* test_status.c: messages of failures. */
#include "tests/support/test.h"
#include "core/status.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void version_is_that_of_the_header(void **state)
{
    (void)state;
    char want[32];
    snprintf(want, sizeof want, "%d.%d.%d", CLV_VERSION_MAJOR, CLV_VERSION_MINOR, CLV_VERSION_PATCH);
    assert_string_equal(clv_version(), want);
}

static void each_status_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = CLV_ERR_INTERNAL; a <= CLV_STOPPED; a++) {
        assert_string_not_equal(clv_status_name((clv_status)a), "unknown status");
        for (int b = CLV_ERR_INTERNAL; b < a; b++)
            assert_string_not_equal(clv_status_name((clv_status)a), clv_status_name((clv_status)b));
    }
    assert_string_equal(clv_status_name((clv_status)-1000), "unknown status");
}

static void failing_records_the_message(void **state)
{
    (void)state;
    assert_int_equal(clvi_fail(CLV_ERR_SHAPE, "want %d, got %s", 3, "four"), CLV_ERR_SHAPE);
    assert_string_equal(clv_error_message(), "want 3, got four");
}

static void a_caller_can_put_its_name_before_the_message(void **state)
{
    (void)state;
    (void)clvi_fail(CLV_ERR_FORMAT, "bad header");
    assert_int_equal(clvi_fail_in(CLV_ERR_FORMAT, "a.h5"), CLV_ERR_FORMAT);
    assert_string_equal(clv_error_message(), "a.h5: bad header");
}

static void a_message_may_quote_the_one_before(void **state)
{
    (void)state;
    (void)clvi_fail(CLV_ERR_IO, "first");
    (void)clvi_fail(CLV_ERR_IO, "second, after '%s'", clv_error_message());
    assert_string_equal(clv_error_message(), "second, after 'first'");
}

static void a_long_message_is_cut_off(void **state)
{
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    (void)clvi_fail(CLV_ERR_IO, "%s", text);
    for (int i = 0; i < 3; i++) (void)clvi_fail_in(CLV_ERR_IO, text);
    const size_t length = strlen(clv_error_message());
    assert_in_range(length, 500, 2000);
    assert_int_equal(clv_error_message()[length - 1], 'x');
}

static void *message_of_a_fresh_thread(void *arg)
{
    char *first = arg;
    snprintf(first, 64, "%s", clv_error_message());
    (void)clvi_fail(CLV_ERR_IO, "of the other thread");
    return NULL;
}

static void each_thread_has_its_own_message(void **state)
{
    (void)state;
    pthread_t thread;
    char first[64] = "unset";
    (void)clvi_fail(CLV_ERR_IO, "mine");
    assert_int_equal(pthread_create(&thread, NULL, message_of_a_fresh_thread, first), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(first, "");
    assert_string_equal(clv_error_message(), "mine");
}

static clv_status fails_on_the_way(int *steps)
{
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(CLV_OK);
    (*steps)++;
    CLV_CHECK_OR_DONE(*steps == 0, CLV_ERR_NUMERIC, "steps: want 0, got %d", *steps);
    *steps = 100;
done:
    (*steps)++;
    return st;
}

/* Names from files come into messages, and messages onto terminals. */
static void a_message_holds_nothing_a_terminal_obeys(void **state)
{
    (void)state;
    (void)clvi_fail(CLV_ERR_FORMAT, "no '%s'", "a\x1b[2J\nb\x7f");
    assert_string_equal(clv_error_message(), "no 'a?[2J?b?'");
}

static void there_is_one_way_out(void **state)
{
    (void)state;
    int steps = 0;
    assert_fails(fails_on_the_way(&steps), CLV_ERR_NUMERIC, "steps: want 0, got 1");
    assert_int_equal(steps, 2);
}

TEST_MAIN(TEST(version_is_that_of_the_header), TEST(each_status_has_a_name_of_its_own),
          TEST(failing_records_the_message), TEST(a_caller_can_put_its_name_before_the_message), TEST(a_message_may_quote_the_one_before),
          TEST(a_long_message_is_cut_off), TEST(a_message_holds_nothing_a_terminal_obeys),
          TEST(each_thread_has_its_own_message), TEST(there_is_one_way_out))
