/* profile.c: times of operations: totals by kind, and the last ones one by one. */
#include "core/profile.h"
#include "core/checked.h"
#include "core/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define MAX_KINDS  256     /* beyond: the last kind takes the rest */
#define MAX_EVENTS 65536

typedef struct kind {
    clvi_profile_work work;     /* sums of flops and bytes */
    int64_t calls, nanoseconds;
} kind;

typedef struct event {
    int64_t begin, end;
    double  flops, bytes;
    int16_t kind;
    int32_t thread;
} event;

struct clv_profile {
    clv_context *ctx;
    mtx_t        lock;          /* graphs may run in several threads */
    kind         kinds[MAX_KINDS];
    int          count;
    event       *events;        /* a ring */
    uint64_t     seen;
    int64_t      origin;
};

int64_t clvi_profile_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec + 1;
}

clv_status clv_profile_start(clv_context *ctx, clv_profile **out)
{
    CLV_CHECK(ctx && out, CLV_ERR_INVALID, "clv_profile_start: an argument is NULL");
    *out = NULL;
    CLV_CHECK(!ctx->profile, CLV_ERR_INVALID, "clv_profile_start: the context has a profile already");
    clv_profile *p = clvi_calloc(ctx, 1, sizeof *p);
    if (!p) return CLV_ERR_NOMEM;
    p->ctx = ctx;
    p->events = clvi_calloc(ctx, MAX_EVENTS, sizeof *p->events);
    if (!p->events || mtx_init(&p->lock, mtx_plain) != thrd_success) {
        clvi_free(ctx, p->events);
        clvi_free(ctx, p);
        return CLV_ERR_NOMEM;
    }
    p->origin = clvi_profile_clock();
    ctx->profile = p;
    *out = p;
    return CLV_OK;
}

void clv_profile_stop(clv_profile *p)
{
    if (p && p->ctx->profile == p) p->ctx->profile = NULL;
}

void clv_profile_destroy(clv_profile *p)
{
    if (!p) return;
    clv_profile_stop(p);
    mtx_destroy(&p->lock);
    clvi_free(p->ctx, p->events);
    clvi_free(p->ctx, p);
}

/* ---- recording ---- */

/* Literals of the same text may or may not be one. */
static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static int kind_of(clv_profile *p, const clvi_profile_work *work)
{
    for (int i = 0; i < p->count; i++)
        if (same(p->kinds[i].work.name, work->name) && same(p->kinds[i].work.kernel, work->kernel)) return i;
    if (p->count == MAX_KINDS) return MAX_KINDS - 1;
    p->kinds[p->count].work = (clvi_profile_work){ work->name, work->kernel, 0, 0 };
    return p->count++;
}

void clvi_profile_add(clv_profile *p, int64_t begin, int64_t end, const clvi_profile_work *work)
{
    mtx_lock(&p->lock);
    const int k = kind_of(p, work);
    p->kinds[k].work.flops += work->flops;
    p->kinds[k].work.bytes += work->bytes;
    p->kinds[k].calls++;
    p->kinds[k].nanoseconds += end - begin;
    p->events[p->seen++ % MAX_EVENTS] = (event){ begin, end, work->flops, work->bytes, (int16_t)k, (int32_t)gettid() };
    mtx_unlock(&p->lock);
}

int64_t clv_profile_begin(const clv_context *ctx)
{
    return ctx && ctx->profile ? clvi_profile_clock() : 0;
}

void clv_profile_end(clv_context *ctx, int64_t begin, const char *name)
{
    if (!ctx || !ctx->profile || !begin) return;
    clvi_profile_add(ctx->profile, begin, clvi_profile_clock(), &(clvi_profile_work){ .name = name });
}

/* ---- totals ---- */

static bool is_step(const kind *k)
{
    return !k->work.kernel && strcmp(k->work.name, CLV_PROFILE_STEP) == 0;
}

/* What shares are of, in nanoseconds. */
static int64_t whole(const clv_profile *p)
{
    int64_t operations = 0;
    for (int i = 0; i < p->count; i++) {
        if (is_step(&p->kinds[i])) return p->kinds[i].nanoseconds;
        if (p->kinds[i].work.kernel) operations += p->kinds[i].nanoseconds;
    }
    return operations;
}

/* The kind with `index` longer ones before it; of equals the first made comes first. */
static const kind *by_time(const clv_profile *p, int index)
{
    for (int i = 0; i < p->count; i++) {
        int before = 0;
        for (int k = 0; k < p->count; k++) {
            const int64_t a = p->kinds[k].nanoseconds, b = p->kinds[i].nanoseconds;
            before += a > b || (a == b && k < i);
        }
        if (before == index) return &p->kinds[i];
    }
    return NULL;
}

int clv_profile_count(const clv_profile *p)
{
    return p ? p->count : 0;
}

clv_status clv_profile_get(const clv_profile *p, int index, clv_profile_entry *out)
{
    CLV_CHECK(p && out, CLV_ERR_INVALID, "clv_profile_get: an argument is NULL");
    CLV_CHECK(index >= 0 && index < p->count, CLV_ERR_INVALID, "clv_profile_get: there is no entry %d; there are %d",
              index, p->count);
    const kind *k = by_time(p, index);
    const int64_t all = whole(p);
    *out = (clv_profile_entry){
        .name = k->work.name, .kernel = k->work.kernel, .calls = k->calls, .seconds = 1e-9 * (double)k->nanoseconds,
        .flops = k->work.flops, .bytes = k->work.bytes,
        .share = all > 0 ? (double)k->nanoseconds / (double)all : 0,
    };
    return CLV_OK;
}

/* The columns of an operation behind its share. */
static void put_rates(const clv_profile_entry *e, char *text, size_t size)
{
    char flops[16] = "-";
    if (!e->kernel || !(e->seconds > 0)) return;
    if (e->flops > 0) snprintf(flops, sizeof flops, "%.1f", 1e-9 * e->flops / e->seconds);
    snprintf(text, size, " %10s %10.1f %9.3f", flops, 1e-9 * e->bytes / e->seconds, 1e-9 * e->bytes);
}

clv_status clv_profile_print(const clv_profile *p, void (*line)(const char *text, void *user), void *user)
{
    CLV_CHECK(p && line, CLV_ERR_INVALID, "clv_profile_print: an argument is NULL");
    char text[160];
    snprintf(text, sizeof text, "%-24s %-10s %8s %10s %7s %10s %10s %9s", "operation", "kernel", "calls", "seconds",
             "share", "GFLOP/s", "GB/s", "GB");
    line(text, user);
    for (int i = 0; i < p->count; i++) {
        clv_profile_entry e;
        CLV_TRY(clv_profile_get(p, i, &e));
        const int n = snprintf(text, sizeof text, "%-24.24s %-10.10s %8" PRId64 " %10.4f %6.2f%%", e.name,
                         e.kernel ? e.kernel : "-", e.calls, e.seconds, 100 * e.share);
        put_rates(&e, text + n, sizeof text - (size_t)n);
        line(text, user);
    }
    return CLV_OK;
}

/* ---- the trace ---- */

/* A name as JSON text; what would need escaping becomes '?'. */
static void put_name(FILE *file, const char *name)
{
    fputc('"', file);
    for (; *name; name++) fputc((unsigned char)*name < ' ' || *name == '"' || *name == '\\' ? '?' : *name, file);
    fputc('"', file);
}

static void put_event(const clv_profile *p, const event *e, bool first, FILE *file)
{
    const clvi_profile_work *work = &p->kinds[e->kind].work;
    fputs(first ? "\n{\"name\":" : ",\n{\"name\":", file);
    put_name(file, work->name);
    fprintf(file, ",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f",
            work->kernel ? "operation" : "work", (int)e->thread, 1e-3 * (double)(e->begin - p->origin),
            1e-3 * (double)(e->end - e->begin));
    if (work->kernel) {
        fputs(",\"args\":{\"kernel\":", file);
        put_name(file, work->kernel);
        fprintf(file, ",\"MFLOP\":%.3f,\"MB\":%.3f}", 1e-6 * e->flops, 1e-6 * e->bytes);
    }
    fputc('}', file);
}

clv_status clv_profile_write_trace(const clv_profile *p, const char *path)
{
    CLV_CHECK(p && path, CLV_ERR_INVALID, "clv_profile_write_trace: an argument is NULL");
    char temp[1200];
    CLV_TRY(clvi_file_temp(path, temp, sizeof temp));
    FILE *file = fopen(temp, "wb");
    CLV_CHECK(file, CLV_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", file);
    const uint64_t first = p->seen > MAX_EVENTS ? p->seen - MAX_EVENTS : 0;
    for (uint64_t i = first; i < p->seen; i++) put_event(p, &p->events[i % MAX_EVENTS], i == first, file);
    fputs("\n]}\n", file);
    const bool failed = ferror(file);
    if (fclose(file) != 0 || failed) {
        remove(temp);
        return clvi_fail(CLV_ERR_IO, "cannot write '%s'", path);
    }
    return clvi_file_commit(temp, path);
}
