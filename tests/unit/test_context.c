/* test_context.c: contexts, their memory and their log. */
#include "tests/support/test.h"
#include "core/context.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>

static void no_descriptor_means_all_cores_and_the_c_library(void **state)
{
    (void)state;
    clv_context *ctx;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_ok(clv_context_create(NULL, &ctx));
    assert_int_equal(clv_context_threads(ctx), CPU_COUNT(&set));
    char *text = clvi_strdup(ctx, "abc");
    assert_string_equal(text, "abc");
    clvi_free(ctx, text);
    clv_context_destroy(ctx);
    clv_context_destroy(NULL);
}

static void fewer_available_cores_mean_fewer_threads(void **state)
{
    (void)state;
    cpu_set_t all, one;
    clv_context *ctx;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    int core = 0;
    while (!CPU_ISSET(core, &all)) core++;
    CPU_SET(core, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    const clv_status st = clv_context_create(NULL, &ctx);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_ok(st);
    assert_int_equal(clv_context_threads(ctx), 1);
    clv_context_destroy(ctx);
}

static void *unused_alloc(size_t size, size_t alignment, void *user)
{
    (void)size, (void)alignment, (void)user;
    return NULL;
}

static void bad_descriptors_are_refused(void **state)
{
    (void)state;
    clv_context *ctx = (clv_context *)state;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = -1;
    assert_fails(clv_context_create(&desc, &ctx), CLV_ERR_INVALID, "threads is -1");
    assert_null(ctx);
    desc.threads = 1;
    desc.struct_size = 0;
    assert_fails(clv_context_create(&desc, &ctx), CLV_ERR_INVALID, "start from CLV_CONTEXT_DESC_INIT");
    desc.struct_size = sizeof desc;
    desc.allocator.alloc = unused_alloc;
    assert_fails(clv_context_create(&desc, &ctx), CLV_ERR_INVALID, "both alloc and release");
    assert_fails(clv_context_create(NULL, NULL), CLV_ERR_INVALID, "out is NULL");
}

static void a_newer_callers_unset_fields_are_fine(void **state)
{
    (void)state;
    struct { clv_context_desc desc; int64_t later; } newer = { .desc = CLV_CONTEXT_DESC_INIT };
    clv_context *ctx;
    newer.desc.struct_size = sizeof newer;
    assert_ok(clv_context_create(&newer.desc, &ctx));
    clv_context_destroy(ctx);
    newer.later = 1;
    assert_fails(clv_context_create(&newer.desc, &ctx), CLV_ERR_INVALID, "of the descriptor is set");
}

static bool is_zero(const unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i]) return false;
    return true;
}

static void blocks_are_aligned_and_zeroed(void **state)
{
    test_env *t = *state;
    clv_context *plain;
    assert_ok(clv_context_create(NULL, &plain));
    for (size_t size = 0; size < 300; size += 7) {
        clv_context *ctx = size % 2 ? t->ctx : plain;
        unsigned char *p = clvi_calloc(ctx, size, 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % CLVI_ALIGN, 0);
        assert_true(is_zero(p, size));
        clvi_free(ctx, p);
    }
    clvi_free(plain, NULL);
    clv_context_destroy(plain);
}

static void growing_keeps_the_bytes_and_zeroes_the_rest(void **state)
{
    test_env *t = *state;
    unsigned char *p = clvi_realloc(t->ctx, NULL, 10);
    memset(p, 7, 10);
    p = clvi_realloc(t->ctx, p, 1000);
    assert_int_equal((uintptr_t)p % CLVI_ALIGN, 0);
    for (int i = 0; i < 10; i++) assert_int_equal(p[i], 7);
    p = clvi_realloc(t->ctx, p, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(p[i], 7);
    clvi_free(t->ctx, p);
}

static void a_refused_growth_leaves_the_block_as_it_was(void **state)
{
    test_env *t = *state;
    char *p = clvi_strdup(t->ctx, "stays");
    t->heap.fail_at = t->heap.calls + 1;
    assert_null(clvi_realloc(t->ctx, p, 100));
    assert_string_equal(p, "stays");
    assert_string_equal(clv_error_message(), "out of memory: cannot allocate 100 bytes");
    clvi_free(t->ctx, p);
}

static void sizes_that_overflow_are_refused(void **state)
{
    test_env *t = *state;
    assert_null(clvi_calloc(t->ctx, SIZE_MAX / 2, 3));
    assert_non_null(strstr(clv_error_message(), "overflow"));
    assert_null(clvi_calloc(t->ctx, SIZE_MAX, 1));
    assert_null(clvi_calloc(t->ctx, SIZE_MAX - 64, 1));
}

static void arenas_are_page_aligned_and_zeroed(void **state)
{
    test_env *t = *state;
    clv_context *plain;
    assert_ok(clv_context_create(NULL, &plain));
    const size_t sizes[] = { 0, 1, 5000, (size_t)3 << 20 };
    for (int i = 0; i < 8; i++) {
        clv_context *ctx = i % 2 ? t->ctx : plain;
        unsigned char *p = clvi_arena_alloc(ctx, sizes[i / 2]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 4096, 0);
        assert_true(is_zero(p, sizes[i / 2]));
        clvi_arena_free(ctx, p, sizes[i / 2]);
    }
    assert_null(clvi_arena_alloc(plain, SIZE_MAX / 2));
    assert_non_null(strstr(clv_error_message(), "out of memory"));
    clvi_arena_free(plain, NULL, 0);
    clv_context_destroy(plain);
}

static void blocks_are_counted(void **state)
{
    test_env *t = *state;
    const uint64_t before = clvi_alloc_count();
    void *a = clvi_calloc(t->ctx, 1, 1), *b = clvi_arena_alloc(t->ctx, 1);
    a = clvi_realloc(t->ctx, a, 2);
    assert_int_equal(clvi_alloc_count() - before, 3);
    clvi_free(t->ctx, a);
    clvi_arena_free(t->ctx, b, 1);
    assert_int_equal(clvi_alloc_count() - before, 3);
}

static void keep_line(clv_log_level level, const char *line, void *user)
{
    snprintf(user, 64, "%d %s", (int)level, line);
}

static void the_log_receives_whole_lines(void **state)
{
    test_env *t = *state;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx;
    char line[64] = "";
    clvi_log(t->ctx, CLV_LOG_WARN, "goes nowhere");
    desc.log = keep_line;
    desc.log_user = line;
    assert_ok(clv_context_create(&desc, &ctx));
    clvi_log(ctx, CLV_LOG_WARN, "step %d", 5);
    assert_string_equal(line, "2 step 5");
    clv_context_destroy(ctx);
}

TEST_MAIN(TEST(no_descriptor_means_all_cores_and_the_c_library), TEST(fewer_available_cores_mean_fewer_threads),
          TEST(bad_descriptors_are_refused), TEST(a_newer_callers_unset_fields_are_fine),
          TEST(blocks_are_aligned_and_zeroed), TEST(growing_keeps_the_bytes_and_zeroes_the_rest),
          TEST(a_refused_growth_leaves_the_block_as_it_was), TEST(sizes_that_overflow_are_refused),
          TEST(arenas_are_page_aligned_and_zeroed), TEST(blocks_are_counted), TEST(the_log_receives_whole_lines))
