/* test_memory.c: how much memory the system can give, as its files tell it. */
#include "tests/support/test.h"
#include "core/file.h"
#include "core/memory.h"
#include <string.h>

#define GIB ((size_t)1 << 30)
#define MEMINFO "MemTotal: 25165824 kB\nMemFree: 100 kB\nMemAvailable:   20971520 kB\nBuffers: 1 kB\n"

static size_t told(test_env *t, const char *meminfo, const char *limit)
{
    const char *a = test_path(t, "meminfo"), *b = test_path(t, "limit");
    assert_ok(clvi_file_write(a, meminfo, strlen(meminfo)));
    assert_ok(clvi_file_write(b, limit, strlen(limit)));
    return clvi_memory_available_in(a, b);
}

static void the_smaller_of_memory_and_limit_is_available(void **state)
{
    test_env *t = *state;
    assert_int_equal(told(t, MEMINFO, "max\n"), 20 * GIB);
    assert_int_equal(told(t, MEMINFO, "4294967296\n"), 4 * GIB);
    assert_int_equal(told(t, MEMINFO, "42949672960\n"), 20 * GIB);
}

static void what_is_not_told_is_nothing(void **state)
{
    test_env *t = *state;
    assert_int_equal(told(t, "", "4294967296\n"), 0);
    assert_int_equal(told(t, "MemAvailable: lots\n", "max\n"), 0);
    assert_int_equal(told(t, "MemAvailable: 99999999999999999 kB\n", "max\n"), 0);
    assert_int_equal(told(t, MEMINFO, ""), 20 * GIB);
    assert_int_equal(clvi_memory_available_in("/nowhere", "/nowhere"), 0);
    assert_true(clvi_memory_available() > 1 << 20);
}

TEST_MAIN(TEST(the_smaller_of_memory_and_limit_is_available), TEST(what_is_not_told_is_nothing))
