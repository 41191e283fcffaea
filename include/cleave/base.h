/* base.h: status codes, messages and the context every other object belongs to. */
#ifndef CLEAVE_BASE_H
#define CLEAVE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLV_API      __attribute__((visibility("default")))
#define CLV_NODISCARD __attribute__((warn_unused_result))

#define CLV_VERSION_MAJOR 0
#define CLV_VERSION_MINOR 1
#define CLV_VERSION_PATCH 0

/* What every fallible function returns. Negative is an error; CLV_STOPPED means the caller's own callback
 * asked for a stop and everything is in a state to go on from. */
typedef enum clv_status {
    CLV_OK          = 0,
    CLV_STOPPED     = 1,
    CLV_ERR_INVALID = -1,     /* an argument, option or key is wrong */
    CLV_ERR_SHAPE   = -2,     /* shapes or types do not fit together */
    CLV_ERR_NOMEM   = -3,     /* the allocator refused */
    CLV_ERR_IO      = -4,     /* the operating system refused */
    CLV_ERR_FORMAT  = -5,     /* a file is damaged, or not what it says */
    CLV_ERR_UNSUPPORTED = -6, /* valid, but this build, device or version cannot do it */
    CLV_ERR_DEVICE  = -7,     /* a device or its library failed */
    CLV_ERR_NUMERIC = -8,     /* a value that must be finite is not */
    CLV_ERR_INTERNAL = -9     /* a broken promise inside the library: please report */
} clv_status;

/* "major.minor.patch" of the library that is linked. Static storage. Thread-safe. */
CLV_API const char *clv_version(void);

/* Short name of a status, such as "invalid argument". Static storage. Thread-safe. */
CLV_API const char *clv_status_name(clv_status status);

/* The message of the last call that failed on this thread: which call, what was expected, what was found.
 * Valid until the next failing call on the same thread; never NULL, "" before any failure. */
CLV_API const char *clv_error_message(void);

/* Where memory comes from. alloc returns memory aligned to `alignment` (a power of two, at most 4096) or NULL. */
typedef struct clv_allocator {
    void *(*alloc)(size_t size, size_t alignment, void *user);
    void (*release)(void *memory, size_t size, void *user);
    void *user;
} clv_allocator;

typedef enum clv_log_level { CLV_LOG_DEBUG, CLV_LOG_INFO, CLV_LOG_WARN } clv_log_level;

/* Receives one line without its newline. The library itself never prints. May be called from any thread. */
typedef void (*clv_log_fn)(clv_log_level level, const char *line, void *user);

typedef struct clv_context_desc {
    size_t        struct_size; /* set by CLV_CONTEXT_DESC_INIT */
    int           threads;     /* compute threads; 0: one per available core */
    clv_allocator allocator;   /* all zero: the C library's */
    clv_log_fn    log;         /* NULL: no log */
    void         *log_user;
} clv_context_desc;

#define CLV_CONTEXT_DESC_INIT { .struct_size = sizeof(clv_context_desc) }

/* Holds threads, allocator and log. Everything created with a context must be destroyed before it.
 * Threads: one context may be used from several threads at once unless a function says otherwise. */
typedef struct clv_context clv_context;

/* desc may be NULL for the defaults. Errors: CLV_ERR_INVALID, CLV_ERR_NOMEM. */
CLV_API clv_status clv_context_create(const clv_context_desc *desc, clv_context **out) CLV_NODISCARD;

/* NULL is accepted. */
CLV_API void clv_context_destroy(clv_context *ctx);

/* Number of compute threads this context uses. */
CLV_API int clv_context_threads(const clv_context *ctx);

#ifdef __cplusplus
}
#endif
#endif
