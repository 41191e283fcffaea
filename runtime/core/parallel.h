/* parallel.h: loops over the context's compute threads (OpenMP). */
#ifndef CLVI_CORE_PARALLEL_H
#define CLVI_CORE_PARALLEL_H

#include "core/context.h"

typedef void (*clvi_range_fn)(void *arg, int64_t begin, int64_t end);

/* Calls fn over 0..n in chunks of exactly `chunk` (the last may be shorter). The chunks do not depend on the number of
 * threads, so a reduction that keeps one partial result per chunk (index begin / chunk) gives the same bits with any
 * number of threads. Runs on the calling thread when there is one chunk or the call is already inside a loop. */
void clvi_parallel_for(clv_context *ctx, int64_t n, int64_t chunk, clvi_range_fn fn, void *arg);

/* Index of the calling compute thread inside a loop, 0 outside; below clv_context_threads(). */
int clvi_thread_index(void);

#endif
