/* parallel.c: chunked loops on OpenMP. */
#include "core/parallel.h"
#include "core/checked.h"
#include <omp.h>

/* 0 outside of any loop, else 1 + the index of this compute thread. Kept here, not asked of OpenMP: the caller may be
 * in a parallel region of the application, whose thread numbers mean nothing to the library. */
static _Thread_local int inside;

static void run_serially(int64_t n, int64_t chunk, clvi_range_fn fn, void *arg)
{
    for (int64_t begin = 0; begin < n; begin += CLVI_MIN(chunk, n - begin))
        fn(arg, begin, begin + CLVI_MIN(chunk, n - begin));
}

void clvi_parallel_for(clv_context *ctx, int64_t n, int64_t chunk, clvi_range_fn fn, void *arg)
{
    if (n <= 0) return;
    if (chunk < 1) chunk = 1;
    if (n <= chunk || ctx->threads == 1 || inside) {
        run_serially(n, chunk, fn, arg);
        return;
    }
    const int64_t chunks = (n - 1) / chunk + 1;
    const int threads = (int)CLVI_MIN(chunks, (int64_t)ctx->threads);
#pragma omp parallel num_threads(threads)
    {
        inside = omp_get_thread_num() + 1;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < chunks; i++) {
            const int64_t begin = i * chunk;
            fn(arg, begin, begin + CLVI_MIN(chunk, n - begin));
        }
        inside = 0;
    }
}

int clvi_thread_index(void)
{
    return inside ? inside - 1 : 0;
}
