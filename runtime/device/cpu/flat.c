/* flat.c: passes over flat arenas. */
#ifndef REAL

#include "device/cpu/flat.h"
#include "core/checked.h"
#include "core/profile.h"
#include "device/cpu/isa.h"

#define CHUNK      32768
#define MAX_CHUNKS 512       /* of a reduction: its partial results live on the stack */
#define BLOCK      1024      /* elements looked at before a bad one ends the search */
#define PAIR       4096      /* elements two passes in one take at a time: they fit the second cache */

/* One pass: pointers and coefficients, in the roles its body gives them. */
typedef struct pass {
    void       *y, *v, *k;
    const void *x;
    double      a, b, c, m;
    bool        nesterov, first;
    int64_t     chunk;
    double     *partial;     /* of a reduction, one a chunk */
} pass;

#define SELF "device/cpu/flat.c"
#include "device/cpu/real.h"

/* Tells a profile of a pass that began at `begin` and read or wrote `vectors` vectors. */
static void tell(clv_context *ctx, int64_t begin, const char *name, clv_dtype dtype, int64_t n, int vectors)
{
    if (!begin || !ctx->profile) return;
    clvi_profile_add(ctx->profile, begin, clvi_profile_clock(), &(clvi_profile_work){
        .name = name, .kernel = "cpu", .bytes = (double)vectors * (double)n * (double)clv_dtype_size(dtype) });
}

static void sweep(clv_context *ctx, const char *name, clv_dtype dtype, int64_t n, pass *p, int vectors,
                  const clvi_range_fn *f32, const clvi_range_fn *f64)
{
    const int64_t begin = clv_profile_begin(ctx);
    clvi_parallel_for(ctx, n, CHUNK, clvi_isa_pick(dtype == CLV_F64 ? f64 : f32), p);
    tell(ctx, begin, name, dtype, n, vectors);
}

/* A pass over `vectors` vectors, each counted once for being read and once for being written. */
#define SWEEP(name, vectors, body) sweep(ctx, name, dtype, n, &p, vectors, body##_f32_table, body##_f64_table)

void clvi_cpu_flat_sgd(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                   const clvi_flat_sgd_args *sgd)
{
    pass p = { .y = w, .v = v, .x = g, .a = sgd->lr, .b = sgd->momentum, .c = sgd->weight_decay,
               .nesterov = sgd->nesterov, .first = sgd->first };
    if (sgd->momentum == 0) SWEEP("sgd", 3, plain_sgd_body);
    else SWEEP("sgd", 5, momentum_sgd_body);
}

void clvi_cpu_flat_sgd_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                       const clvi_flat_sgd_args *sgd, void *k, double m)
{
    pass p = { .y = w, .v = v, .x = g, .k = k, .a = sgd->lr, .b = sgd->momentum, .c = sgd->weight_decay, .m = m,
               .nesterov = sgd->nesterov, .first = sgd->first };
    SWEEP("sgd+ema", sgd->momentum == 0 ? 5 : 7, sgd_ema_body);
}

void clvi_cpu_flat_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *k, const void *q, double m)
{
    pass p = { .y = k, .x = q, .a = m, .b = 1 - m };
    SWEEP("ema", 3, ema_body);
}

void clvi_cpu_flat_axpy(clv_context *ctx, clv_dtype dtype, int64_t n, double a, const void *x, void *y)
{
    pass p = { .y = y, .x = x, .a = a };
    SWEEP("axpy", 3, axpy_body);
}

/* Runs a reduction: chunks grow with n, never with the number of threads, and are added in order. */
static double reduce(clv_context *ctx, const char *name, clv_dtype dtype, int64_t n, const void *x,
                     const clvi_range_fn *f32, const clvi_range_fn *f64)
{
    const int64_t begin = clv_profile_begin(ctx);
    double partial[MAX_CHUNKS] = { 0 }, sum = 0;
    pass p = { .x = x, .chunk = CLVI_MAX(CHUNK, (n + MAX_CHUNKS - 1) / MAX_CHUNKS), .partial = partial };
    clvi_parallel_for(ctx, n, p.chunk, clvi_isa_pick(dtype == CLV_F64 ? f64 : f32), &p);
    for (int i = 0; i < MAX_CHUNKS; i++) sum += partial[i];
    tell(ctx, begin, name, dtype, n, 1);
    return sum;
}

double clvi_cpu_flat_norm2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x)
{
    return reduce(ctx, "norm2", dtype, n, x, norm2_body_f32_table, norm2_body_f64_table);
}

bool clvi_cpu_flat_all_finite(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x)
{
    return reduce(ctx, "all_finite", dtype, n, x, not_finite_body_f32_table, not_finite_body_f64_table) == 0;
}

#else

CLVI_INLINE void FN(plain_sgd_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *g = p->x, lr = (REAL)p->a, decay = (REAL)p->c;
    REAL *w = p->y;
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) w[i] -= lr * (g[i] + decay * w[i]);
}
CLVI_ISA_VARIANTS(FN(plain_sgd_body))

CLVI_INLINE void FN(momentum_sgd_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *g = p->x, lr = (REAL)p->a, momentum = (REAL)p->b, decay = (REAL)p->c;
    REAL *w = p->y, *v = p->v;
    if (p->first) memset(v + begin, 0, (size_t)(end - begin) * sizeof *v);
    if (p->nesterov) {
#pragma GCC ivdep
        for (int64_t i = begin; i < end; i++) {
            const REAL d = g[i] + decay * w[i];
            v[i] = momentum * v[i] + d;
            w[i] -= lr * (d + momentum * v[i]);
        }
        return;
    }
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) {
        v[i] = momentum * v[i] + (g[i] + decay * w[i]);
        w[i] -= lr * v[i];
    }
}
CLVI_ISA_VARIANTS(FN(momentum_sgd_body))

/* A piece at a time, so that the average finds the new weights in a cache. */
CLVI_INLINE void FN(sgd_ema_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL m = (REAL)p->m, rest = (REAL)(1 - p->m);
    const REAL *w = p->y;
    REAL *k = p->k;
    for (int64_t block = begin; block < end; block += PAIR) {
        const int64_t stop = CLVI_MIN(block + PAIR, end);
        if (p->b == 0) FN(plain_sgd_body)(arg, block, stop);
        else FN(momentum_sgd_body)(arg, block, stop);
#pragma GCC ivdep
        for (int64_t i = block; i < stop; i++) k[i] = m * k[i] + rest * w[i];
    }
}
CLVI_ISA_VARIANTS(FN(sgd_ema_body))

CLVI_INLINE void FN(ema_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *q = p->x, m = (REAL)p->a, rest = (REAL)p->b;
    REAL *k = p->y;
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) k[i] = m * k[i] + rest * q[i];
}
CLVI_ISA_VARIANTS(FN(ema_body))

CLVI_INLINE void FN(axpy_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *x = p->x, a = (REAL)p->a;
    REAL *y = p->y;
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) y[i] += a * x[i];
}
CLVI_ISA_VARIANTS(FN(axpy_body))

/* Eight sums in double, each of every eighth element. */
CLVI_INLINE void FN(norm2_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *x = p->x;
    typedef REAL lanes __attribute__((vector_size(8 * sizeof(REAL))));
    clvi_v8d sum = { 0 };
    int64_t i = begin;
    for (; i + 8 <= end; i += 8) {
        lanes v;
        memcpy(&v, x + i, sizeof v);
        const clvi_v8d d = __builtin_convertvector(v, clvi_v8d);
        sum += d * d;
    }
    double total = clvi_total8(&sum);
    for (; i < end; i++) total += (double)x[i] * x[i];
    p->partial[begin / p->chunk] = total;
}
CLVI_ISA_VARIANTS(FN(norm2_body))

/* x - x is 0 for a finite x and NaN for the rest. */
CLVI_INLINE void FN(not_finite_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *x = p->x;
    bool bad = false;
    for (int64_t block = begin; block < end && !bad; block += BLOCK) {
        int found = 0;
        for (int64_t i = block; i < CLVI_MIN(block + BLOCK, end); i++) found |= !(x[i] - x[i] == 0);
        bad = found;
    }
    p->partial[begin / p->chunk] = bad;
}
CLVI_ISA_VARIANTS(FN(not_finite_body))

#endif
