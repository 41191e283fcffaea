/* test.c: environments, counted memory and checks for the tests. */
#include "tests/support/test.h"
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *heap_alloc(size_t size, size_t alignment, void *user)
{
    test_heap *heap = user;
    if (atomic_fetch_add(&heap->calls, 1) + 1 == atomic_load(&heap->fail_at)) return NULL;
    void *memory = NULL;
    if (posix_memalign(&memory, alignment, size) != 0) return NULL;
    memset(memory, 0xa5, size);   /* what must be zero is zeroed by the library, not by luck */
    atomic_fetch_add(&heap->live, 1);
    atomic_fetch_add(&heap->live_bytes, (long)size);
    return memory;
}

static void heap_release(void *memory, size_t size, void *user)
{
    test_heap *heap = user;
    atomic_fetch_sub(&heap->live, 1);
    atomic_fetch_sub(&heap->live_bytes, (long)size);
    free(memory);
}

clv_context *test_context(test_env *t, int threads)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx = NULL;
    desc.threads = threads;
    desc.allocator = (clv_allocator) { heap_alloc, heap_release, &t->heap };
    assert_ok(clv_context_create(&desc, &ctx));
    return ctx;
}

int test_setup(void **state)
{
    test_env *t = calloc(1, sizeof *t);
    if (!t) return -1;
    t->ctx = test_context(t, 2);
    *state = t;
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

int test_teardown(void **state)
{
    test_env *t = *state;
    clv_context_destroy(t->ctx);
    if (t->folder[0]) (void)nftw(t->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    const long live = t->heap.live, bytes = t->heap.live_bytes;
    free(t);
    if (live == 0 && bytes == 0) return 0;
    print_error("memory of the context is left: %ld blocks, %ld bytes\n", live, bytes);
    return -1;
}

const char *test_path(test_env *t, const char *name)
{
    if (!t->folder[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(t->folder, sizeof t->folder, "%s/cleave-XXXXXX", base && strlen(base) < 200 ? base : "/tmp");
        if (!mkdtemp(t->folder)) fail_msg("cannot make the folder %s", t->folder);
    }
    char *path = t->path[t->next_path++ % 8];
    snprintf(path, sizeof t->path[0], "%s/%s", t->folder, name);
    return path;
}

void test_each_allocation_fails(test_env *t, test_alloc_fn fn, void *arg)
{
    const long live = t->heap.live, bytes = t->heap.live_bytes;
    for (long n = 1; ; n++) {
        t->heap.fail_at = t->heap.calls + n;
        const clv_status st = fn(t->ctx, arg);
        const bool refused = t->heap.calls >= t->heap.fail_at;
        t->heap.fail_at = 0;
        if (t->heap.live != live || t->heap.live_bytes != bytes)
            fail_msg("with allocation %ld refused, %ld blocks are left", n, t->heap.live - live);
        if (!refused) {
            assert_ok(st);
            if (n == 1) fail_msg("nothing was allocated");
            return;
        }
        if (st != CLV_ERR_NOMEM)
            fail_msg("with allocation %ld refused: '%s' instead of '%s'", n, clv_status_name(st),
                     clv_status_name(CLV_ERR_NOMEM));
        assert_true(clv_error_message()[0] != 0);
    }
}

void test_check_ok(clv_status status, const char *expr, const char *file, int line)
{
    if (status == CLV_OK) return;
    print_error("%s: %s: %s\n", expr, clv_status_name(status), clv_error_message());
    _fail(file, line);
}

void test_check_fails(clv_status got, clv_status want, const char *text, const char *expr, const char *file, int line)
{
    if (got != want) {
        print_error("%s: want '%s', got '%s': %s\n", expr, clv_status_name(want), clv_status_name(got),
                    got == CLV_OK ? "" : clv_error_message());
        _fail(file, line);
    }
    if (!strstr(clv_error_message(), text)) {
        print_error("%s: want a message with \"%s\", got \"%s\"\n", expr, text, clv_error_message());
        _fail(file, line);
    }
}

void test_check_near(double a, double b, double tolerance, const char *expr, const char *file, int line)
{
    if (fabs(a - b) <= tolerance || (isinf(a) && a == b)) return;
    print_error("%s: %.17g and %.17g differ by %.3g, allowed %.3g\n", expr, a, b, fabs(a - b), tolerance);
    _fail(file, line);
}
