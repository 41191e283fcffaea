/* context.h: the context's inside: allocator, log, threads. */
#ifndef CLVI_CORE_CONTEXT_H
#define CLVI_CORE_CONTEXT_H

#include "core/status.h"

struct clv_context {
    clv_allocator allocator;
    clv_log_fn    log;
    void         *log_user;
    int           threads;
    struct clv_profile *profile;     /* NULL: none is on (core/profile.h) */
    bool          detect_anomaly;    /* every result is searched for NaN (tensor/anomaly.c) */
    struct clvi_device *device;     /* device/backend.h; NULL: the host */
    void (*device_close)(struct clvi_device *device);
};

#define CLVI_ALIGN 64

/* Memory from the context's allocator, zeroed, CLVI_ALIGN-aligned. NULL with a message set when it refuses or
 * count * size overflows. A request of 0 bytes gives a valid pointer. Freed with clvi_free. */
void *clvi_calloc(clv_context *ctx, size_t count, size_t size);
/* Keeps the first min(old, new) bytes; on failure returns NULL and `memory` stays valid. */
void *clvi_realloc(clv_context *ctx, void *memory, size_t new_size);
void clvi_free(clv_context *ctx, void *memory);
char *clvi_strdup(clv_context *ctx, const char *text);

/* A large block (an arena): page-aligned, zeroed, huge pages advised where the system allows. */
void *clvi_arena_alloc(clv_context *ctx, size_t size);
void clvi_arena_free(clv_context *ctx, void *memory, size_t size);

/* How many blocks of this process came from clvi_calloc/realloc/arena_alloc so far: tests assert it stands still. */
uint64_t clvi_alloc_count(void);

void clvi_log(clv_context *ctx, clv_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
