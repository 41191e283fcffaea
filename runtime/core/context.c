/* context.c: the context, and all memory the library takes. */
#include "core/context.h"
#include "core/checked.h"
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_THREADS 1024
#define PAGE        4096
#define HUGE_PAGE   ((size_t)2 << 20)

static atomic_uint_least64_t alloc_count;

/* Precedes each block, so that releasing it can tell the size; as large as the alignment it must not disturb. */
typedef struct block_header {
    _Alignas(CLVI_ALIGN) size_t total;
} block_header;

static void *raw_alloc(const clv_allocator *from, size_t size, size_t alignment)
{
    if (from->alloc) return from->alloc(size, alignment, from->user);
    return aligned_alloc(alignment, size);
}

static void raw_release(const clv_allocator *from, void *memory, size_t size)
{
    if (from->release) from->release(memory, size, from->user);
    else free(memory);
}

static void *block_alloc(const clv_allocator *from, size_t size)
{
    size_t total;
    if (!clvi_add_size(size, sizeof(block_header) + CLVI_ALIGN - 1, &total)) return NULL;
    total &= ~(size_t)(CLVI_ALIGN - 1);   /* aligned_alloc wants a multiple of the alignment */
    block_header *header = raw_alloc(from, total, CLVI_ALIGN);
    if (!header) return NULL;
    memset(header, 0, total);
    header->total = total;
    return header + 1;
}

static void block_release(const clv_allocator *from, void *memory)
{
    block_header *header = (block_header *)memory - 1;
    raw_release(from, header, header->total);
}

static void *refused(size_t size)
{
    (void)clvi_fail(CLV_ERR_NOMEM, "out of memory: cannot allocate %zu bytes", size);
    return NULL;
}

void *clvi_calloc(clv_context *ctx, size_t count, size_t size)
{
    size_t bytes;
    if (!clvi_mul_size(count, size, &bytes)) {
        (void)clvi_fail(CLV_ERR_NOMEM, "out of memory: %zu items of %zu bytes overflow the address space", count, size);
        return NULL;
    }
    void *memory = block_alloc(&ctx->allocator, bytes);
    if (!memory) return refused(bytes);
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    return memory;
}

void *clvi_realloc(clv_context *ctx, void *memory, size_t new_size)
{
    void *grown = clvi_calloc(ctx, 1, new_size);
    if (!grown || !memory) return grown;
    const size_t old_size = ((const block_header *)memory - 1)->total - sizeof(block_header);
    memcpy(grown, memory, CLVI_MIN(old_size, new_size));
    block_release(&ctx->allocator, memory);
    return grown;
}

void clvi_free(clv_context *ctx, void *memory)
{
    if (memory) block_release(&ctx->allocator, memory);
}

char *clvi_strdup(clv_context *ctx, const char *text)
{
    const size_t length = strlen(text);
    char *copy = clvi_calloc(ctx, length + 1, 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

static void *map_pages(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    if (size >= HUGE_PAGE) (void)madvise(memory, size, MADV_HUGEPAGE);   /* only advice: refusal does no harm */
    return memory;
}

void *clvi_arena_alloc(clv_context *ctx, size_t size)
{
    const size_t wanted = CLVI_MAX(size, (size_t)1);
    void *memory = ctx->allocator.alloc ? raw_alloc(&ctx->allocator, wanted, PAGE) : map_pages(wanted);
    if (!memory) return refused(size);
    if (ctx->allocator.alloc) memset(memory, 0, wanted);
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    return memory;
}

void clvi_arena_free(clv_context *ctx, void *memory, size_t size)
{
    if (!memory) return;
    const size_t wanted = CLVI_MAX(size, (size_t)1);
    if (ctx->allocator.alloc) raw_release(&ctx->allocator, memory, wanted);
    else (void)munmap(memory, wanted);
}

uint64_t clvi_alloc_count(void)
{
    return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}

void clvi_log(clv_context *ctx, clv_log_level level, const char *fmt, ...)
{
    if (!ctx->log) return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    const int written = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (written >= 0) ctx->log(level, line, ctx->log_user);
}

/* Cores this process may run on: fewer than the machine has under taskset or in a container. */
static int available_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return CLVI_MIN(CLVI_MAX(CPU_COUNT(&set), 1), MAX_THREADS);
}

static clv_status import_desc(clv_context_desc *dst, const clv_context_desc *src)
{
    static const clv_context_desc defaults = CLV_CONTEXT_DESC_INIT;
    *dst = defaults;
    if (!src) return CLV_OK;
    const size_t known = sizeof *dst, given = src->struct_size;
    CLV_CHECK(given >= known && given <= PAGE, CLV_ERR_INVALID,
              "clv_context_create: struct_size is %zu; start from CLV_CONTEXT_DESC_INIT", given);
    for (size_t i = known; i < given; i++)   /* a newer caller: only unset fields may follow */
        CLV_CHECK(((const unsigned char *)src)[i] == 0, CLV_ERR_INVALID,
                  "clv_context_create: byte %zu of the descriptor is set, but this library knows only %zu", i, known);
    memcpy(dst, src, known);
    CLV_CHECK(dst->threads >= 0 && dst->threads <= MAX_THREADS, CLV_ERR_INVALID,
              "clv_context_create: threads is %d, want 0 (all cores) to %d", dst->threads, MAX_THREADS);
    CLV_CHECK(!dst->allocator.alloc == !dst->allocator.release, CLV_ERR_INVALID,
              "clv_context_create: an allocator needs both alloc and release, or neither");
    return CLV_OK;
}

clv_status clv_context_create(const clv_context_desc *desc, clv_context **out)
{
    CLV_CHECK(out, CLV_ERR_INVALID, "clv_context_create: out is NULL");
    *out = NULL;
    clv_context_desc d;
    CLV_TRY(import_desc(&d, desc));
    clv_context *ctx = block_alloc(&d.allocator, sizeof *ctx);
    CLV_CHECK(ctx, CLV_ERR_NOMEM, "clv_context_create: out of memory");
    ctx->allocator = d.allocator;
    ctx->log = d.log;
    ctx->log_user = d.log_user;
    ctx->threads = d.threads ? d.threads : available_cores();
    *out = ctx;
    return CLV_OK;
}

void clv_context_destroy(clv_context *ctx)
{
    if (!ctx) return;
    if (ctx->device) ctx->device_close(ctx->device);
    const clv_allocator allocator = ctx->allocator;   /* the context lives in memory of its own allocator */
    block_release(&allocator, ctx);
}

int clv_context_threads(const clv_context *ctx)
{
    return ctx->threads;
}
