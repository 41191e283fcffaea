/* backend.c: finds backends, opens their devices, and the memory of a context's device. */
#include <cleave/device.h>
#include "device/backend.h"
#include "device/tape.h"
#include "core/library.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BACKENDS 4

typedef struct slot {
    const char         *name;
    const clvi_backend *backend;    /* NULL: not there */
    char                why[256];
} slot;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static slot slots[MAX_BACKENDS] = { { .name = "cuda" } };
static int n_slots = 1;
static bool looked;                 /* slot 0 was tried */

/* ---- finding ---- */

static clv_status host_vfail(clv_status status, const char *fmt, va_list args)
{
    char text[512];
    vsnprintf(text, sizeof text, fmt, args);
    return clvi_fail(status, "%s", text);
}

static const clvi_backend_host host = { .vfail = host_vfail, .calloc = clvi_calloc, .free = clvi_free };

static const char library_name[] = "libcleave_cuda.so";

static void look(slot *s)
{
    void *library = clvi_library_open(library_name, "this build has no GPU backend (libcleave_cuda.so; make CUDA=1 builds "
                                      "it)", s->why, sizeof s->why);
    if (!library) return;
    clvi_backend_entry *get = NULL;
    *(void **)&get = clvi_library_find(library, CLVI_BACKEND_ENTRY);
    const clvi_backend *backend = get ? get(&host) : NULL;
    if (!backend || backend->abi != CLVI_BACKEND_ABI)
        snprintf(s->why, sizeof s->why, "%s is of another version", library_name);
    else
        s->backend = backend;
}

bool clvi_backend_at(int i, const char **name, const clvi_backend **out, const char **why)
{
    pthread_mutex_lock(&lock);
    if (!looked) look(&slots[0]);
    looked = true;
    const bool found = i >= 0 && i < n_slots;
    if (found) *name = slots[i].name, *out = slots[i].backend, *why = slots[i].why;
    pthread_mutex_unlock(&lock);
    return found;
}

clv_status clvi_backend_register(const clvi_backend *backend)
{
    clv_status st = CLV_OK;
    pthread_mutex_lock(&lock);
    if (backend->abi != CLVI_BACKEND_ABI || n_slots == MAX_BACKENDS)
        st = clvi_fail(CLV_ERR_INVALID, "backend '%s' cannot be added", backend->name);
    else
        slots[n_slots++] = (slot) { .name = backend->name, .backend = backend };
    pthread_mutex_unlock(&lock);
    return st;
}

/* ---- devices ---- */

/* "cuda:1" is backend "cuda", ordinal 1. False when the rest is no number. */
static bool split_name(const char *name, size_t *length, int *ordinal)
{
    const char *colon = strchr(name, ':');
    *length = colon ? (size_t)(colon - name) : strlen(name);
    *ordinal = 0;
    if (!colon) return true;
    char *end;
    const long n = strtol(colon + 1, &end, 10);
    *ordinal = (int)n;
    return colon[1] >= '0' && colon[1] <= '9' && *end == '\0' && n <= 255;
}

static clv_status open_on(clv_context *ctx, const char *name, const clvi_backend *backend, const char *why, int ordinal,
                          clvi_device **out)
{
    char reason[256] = "";
    CLV_CHECK(backend, CLV_ERR_UNSUPPORTED, "device '%s': %s", name, why);
    const int count = backend->count(reason, sizeof reason);
    CLV_CHECK(count > 0, CLV_ERR_UNSUPPORTED, "device '%s': %s", name, reason);
    CLV_CHECK(ordinal < count, CLV_ERR_INVALID, "device '%s': there %s %d", name, count == 1 ? "is only" : "are only",
              count);
    CLV_TRY(backend->open(ctx, ordinal, out));
    clv_status st = backend->alloc(*out, (2 + 2 * CLVI_FLAT_CHUNKS) * sizeof(double), &(*out)->sums);
    if (st == CLV_OK) st = backend->alloc(*out, CLVI_TOLD_SIZE, &(*out)->told);
    if (st == CLV_OK) return CLV_OK;
    clvi_device_close(*out);
    *out = NULL;
    return st;
}

clv_status clvi_device_open(clv_context *ctx, const char *name, clvi_device **out)
{
    *out = NULL;
    if (!name || strcmp(name, "cpu") == 0) return CLV_OK;
    size_t length;
    int ordinal;
    const char *known, *why;
    const clvi_backend *backend;
    CLV_CHECK(split_name(name, &length, &ordinal), CLV_ERR_INVALID,
              "device '%s': want cpu, cuda or cuda:N with N from 0 to 255", name);
    for (int i = 0; clvi_backend_at(i, &known, &backend, &why); i++)
        if (strlen(known) == length && strncmp(known, name, length) == 0)
            return open_on(ctx, name, backend, why, ordinal, out);
    return clvi_fail(CLV_ERR_INVALID, "device '%s': want cpu, cuda or cuda:N", name);
}

void clvi_device_close(clvi_device *device)
{
    if (!device) return;
    if (device->sums) device->backend->free(device, device->sums);
    if (device->told) device->backend->free(device, device->told);
    device->backend->close(device);
}

clv_status clv_context_use(clv_context *ctx, const char *device)
{
    CLV_CHECK(ctx && device, CLV_ERR_INVALID, "clv_context_use: an argument is NULL");
    CLV_CHECK(!ctx->device, CLV_ERR_INVALID, "clv_context_use: the context has a device already");
    ctx->device_close = clvi_device_close;
    return clvi_device_open(ctx, device, &ctx->device);
}

clv_status clv_context_benchmark(clv_context *ctx, bool on)
{
    CLV_CHECK(ctx, CLV_ERR_INVALID, "clv_context_benchmark: an argument is NULL");
    const clvi_backend *backend = ctx->device ? ctx->device->backend : NULL;
    CLV_CHECK(backend && backend->benchmarks, CLV_ERR_UNSUPPORTED,
              "cudnn-benchmark cannot act with device '%s': only a GPU has plans of cuDNN to choose from",
              backend ? backend->name : "cpu");
    ctx->device->benchmark = on;
    return CLV_OK;
}

/* ---- memory ---- */

void *clvi_device_alloc(clv_context *ctx, size_t size)
{
    if (!ctx->device) return clvi_arena_alloc(ctx, size);
    void *memory = NULL;
    if (clvi_tape_interrupt(ctx) != CLV_OK) return NULL;
    return ctx->device->backend->alloc(ctx->device, size, &memory) == CLV_OK ? memory : NULL;
}

void clvi_device_free(clv_context *ctx, void *memory, size_t size)
{
    if (!memory) return;
    if (ctx->device) ctx->device->backend->free(ctx->device, memory);
    else clvi_arena_free(ctx, memory, size);
}

void clvi_device_note(clvi_device *device, clv_status st)
{
    if (st == CLV_OK || device->failed != CLV_OK) return;
    device->failed = st;
    snprintf(device->message, sizeof device->message, "%s", clv_error_message());
}

/* What failed since the last time this was asked. */
static clv_status late_error(clvi_device *device)
{
    const clv_status st = device->failed;
    device->failed = CLV_OK;
    return st == CLV_OK ? CLV_OK : clvi_fail(st, "%s", device->message);
}

clv_status clvi_device_copy(clv_context *ctx, void *to, const void *from, size_t size, clvi_copy kind)
{
    if (ctx->device) {
        CLV_TRY(late_error(ctx->device));
        if (kind != CLVI_COPY_ON_DEVICE) CLV_TRY(clvi_tape_interrupt(ctx));
        if (clvi_tape_plays(ctx)) return CLV_OK;
        return ctx->device->backend->copy(ctx->device, to, from, size, kind);
    }
    if (size) memcpy(to, from, size);
    return CLV_OK;
}

clv_status clvi_device_fill(clv_context *ctx, void *memory, int byte, size_t size)
{
    if (clvi_tape_plays(ctx)) return CLV_OK;
    if (ctx->device) return ctx->device->backend->fill(ctx->device, memory, byte, size);
    if (size) memset(memory, byte, size);
    return CLV_OK;
}

clv_status clvi_device_wait(clv_context *ctx)
{
    if (!ctx->device) return CLV_OK;
    CLV_TRY(late_error(ctx->device));
    CLV_TRY(clvi_tape_interrupt(ctx));
    return ctx->device->backend->wait(ctx->device);
}
