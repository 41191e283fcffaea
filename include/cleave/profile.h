/* profile.h: where the time of a context goes: every operation its graphs run, and pieces of work the caller names.
 *
 * While a profile is on, each operation costs two readings of the clock; while none is, one comparison a run. */
#ifndef CLEAVE_PROFILE_H
#define CLEAVE_PROFILE_H

#include <cleave/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clv_profile clv_profile;

/* From now on all graphs of `ctx` are timed, in whatever thread they run. The context must outlive the profile. Memory:
 * about 3 MiB, taken here; recording allocates nothing. Errors: CLV_ERR_INVALID when the context has a profile already,
 * CLV_ERR_NOMEM. Not while a graph of the context runs. */
CLV_API clv_status clv_profile_start(clv_context *ctx, clv_profile **out) CLV_NODISCARD;
/* No more is recorded; what was stays readable. Not while a graph of the context runs. */
CLV_API void clv_profile_stop(clv_profile *p);
/* Stops and frees; NULL is fine. */
CLV_API void clv_profile_destroy(clv_profile *p);

/* A piece of work of the caller's own, like waiting for data:
 *     const int64_t begin = clv_profile_begin(ctx);
 *     ...
 *     clv_profile_end(ctx, begin, "data");
 * Pieces called CLV_PROFILE_STEP are what shares are of. `name` must stay valid as long as the profile.
 * Without a profile both do nothing. */
#define CLV_PROFILE_STEP "step"
CLV_API int64_t clv_profile_begin(const clv_context *ctx);
CLV_API void clv_profile_end(clv_context *ctx, int64_t begin, const char *name);

typedef struct clv_profile_entry {
    const char *name;       /* of the operation, or of the caller's piece of work */
    const char *kernel;     /* of the operation: reference, cpu, blas, onednn; NULL for a piece of work */
    int64_t     calls;
    double      seconds;    /* in all calls together, as the next two */
    double      flops;      /* counted for the plain algorithm: Winograd's convolutions may exceed the machine's rate */
    double      bytes;      /* of operands and results, each once: what must be moved at the least */
    double      share;      /* of the time in CLV_PROFILE_STEP or, without such, of all operations together; 0 to 1 */
} clv_profile_entry;

/* Kinds of operation and pieces of work, the longest first. Errors: CLV_ERR_INVALID when there is none at `index`. */
CLV_API int clv_profile_count(const clv_profile *p);
CLV_API clv_status clv_profile_get(const clv_profile *p, int index, clv_profile_entry *out) CLV_NODISCARD;
/* The same as a table, a line at a time. */
CLV_API clv_status clv_profile_print(const clv_profile *p, void (*line)(const char *text, void *user),
                                     void *user) CLV_NODISCARD;
/* The last 65,536 operations and pieces of work with their times, in Chrome's trace format ("Trace Event Format",
 * complete events), as https://ui.perfetto.dev and chrome://tracing read it. Errors: CLV_ERR_IO. */
CLV_API clv_status clv_profile_write_trace(const clv_profile *p, const char *path) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
