/* flat.c: passes over flat arenas. */
#ifndef REAL

#include "device/cpu/flat.h"
#include "core/checked.h"
#include "core/profile.h"
#include "device/cpu/isa.h"

#include <math.h>

#define CHUNK      32768
#define MAX_CHUNKS 512       /* of a reduction: its partial results live on the stack */
#define BLOCK      1024      /* elements looked at before a bad one ends the search */
#define BATCH      4096      /* elements an update that is followed takes at a time: they fit the second cache */
#define PIECE      256       /* elements whose direction is kept between making and measuring it */

/* One pass: pointers and coefficients, in the roles its body gives them. */
typedef struct pass {
    void       *y, *v, *m;
    const void *x;
    double      a, b, c, scale;
    bool        nesterov, first;
    int64_t     chunk;
    double     *partial;     /* of a reduction, one a chunk */
    double     *second;      /* of its other sum */
    const clvi_flat_adam_args *adam;
    clvi_flat_followers        followers;
} pass;

/* The variants of an update: what it does to the weights, and then, while they are in a cache, the followers. */
#define FOLLOWED(update)                                                                                               \
    CLVI_INLINE void FN(update##_body)(void *arg, int64_t begin, int64_t end)                                          \
    {                                                                                                                  \
        const int64_t step = ((const pass *)arg)->followers.k[0] ? BATCH : end - begin;                                \
        for (int64_t at = begin; at < end; at += step) {                                                               \
            FN(update)(arg, at, CLVI_MIN(at + step, end));                                                             \
            FN(follow)(arg, at, CLVI_MIN(at + step, end));                                                             \
        }                                                                                                              \
    }                                                                                                                  \
    CLVI_ISA_VARIANTS(FN(update##_body))

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

/* The pass of an update, with the arguments it was called with. */
#define UPDATE(name, vectors, args, body)                                                                              \
    do {                                                                                                               \
        p.followers = (args)->followers;                                                                               \
        SWEEP(CLVI_FLAT_NAME(name, args), (vectors) + CLVI_FLAT_FOLLOWED(args), body);                                 \
    } while (0)

void clvi_cpu_flat_sgd(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                   const clvi_flat_sgd_args *sgd)
{
    pass p = { .y = w, .v = v, .x = g, .a = sgd->lr, .b = sgd->momentum, .c = sgd->weight_decay,
               .nesterov = sgd->nesterov, .first = sgd->first };
    if (sgd->momentum == 0) UPDATE("sgd", 3, sgd, plain_sgd_body);
    else UPDATE("sgd", 5, sgd, momentum_sgd_body);
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

void clvi_cpu_flat_scale(clv_context *ctx, clv_dtype dtype, int64_t n, double a, void *y)
{
    pass p = { .y = y, .a = a };
    SWEEP("scale", 2, scale_body);
}

void clvi_cpu_flat_lars(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                    const clvi_flat_sgd_args *sgd, double scale)
{
    pass p = { .y = w, .v = v, .x = g, .a = sgd->lr, .b = sgd->momentum, .c = sgd->weight_decay,
               .scale = scale, .nesterov = sgd->nesterov, .first = sgd->first };
    UPDATE("lars", 5, sgd, lars_body);
}

void clvi_cpu_flat_adamw(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *m, void *v,
                     const clvi_flat_adam_args *adam)
{
    pass p = { .y = w, .x = g, .m = m, .v = v, .adam = adam };
    UPDATE("adamw", 7, adam, adamw_body);
}

void clvi_cpu_flat_lamb(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *m, const void *v,
                    const clvi_flat_adam_args *adam)
{
    pass p = { .y = w, .m = (void *)(uintptr_t)m, .v = (void *)(uintptr_t)v, .adam = adam };   /* not written */
    UPDATE("lamb", 4, adam, lamb_body);
}

/* Runs a reduction to two sums: chunks grow with n, never with the number of threads, and are added in order. */
static void reduce(clv_context *ctx, const char *name, clv_dtype dtype, int64_t n, pass *p, int vectors,
                   const clvi_range_fn *f32, const clvi_range_fn *f64, double sum[2])
{
    const int64_t begin = clv_profile_begin(ctx);
    double partial[MAX_CHUNKS] = { 0 }, second[MAX_CHUNKS] = { 0 };
    p->chunk = CLVI_MAX(CHUNK, (n + MAX_CHUNKS - 1) / MAX_CHUNKS);
    p->partial = partial;
    p->second = second;
    clvi_parallel_for(ctx, n, p->chunk, clvi_isa_pick(dtype == CLV_F64 ? f64 : f32), p);
    sum[0] = sum[1] = 0;
    for (int i = 0; i < MAX_CHUNKS; i++) {
        sum[0] += partial[i];
        sum[1] += second[i];
    }
    tell(ctx, begin, name, dtype, n, vectors);
}

#define REDUCE(name, vectors, body, sum) \
    reduce(ctx, name, dtype, n, &p, vectors, body##_f32_table, body##_f64_table, sum)

double clvi_cpu_flat_norm2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x)
{
    pass p = { .x = x };
    double sum[2];
    REDUCE("norm2", 1, norm2_body, sum);
    return sum[0];
}

bool clvi_cpu_flat_all_finite(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x)
{
    pass p = { .x = x };
    double sum[2];
    REDUCE("all_finite", 1, not_finite_body, sum);
    return sum[0] == 0;
}

void clvi_cpu_flat_norms2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g,
                          double weight_decay, double sum[2])
{
    pass p = { .y = (void *)(uintptr_t)w, .x = g, .c = weight_decay };      /* not written */
    REDUCE("norms2", 2, norms2_body, sum);
}

void clvi_cpu_flat_lamb_moments(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g, void *m,
                                void *v, const clvi_flat_adam_args *adam, double sum[2])
{
    pass p = { .y = (void *)(uintptr_t)w, .x = g, .m = m, .v = v, .adam = adam };             /* w is not written */
    REDUCE("lamb moments", 6, lamb_moments_body, sum);
}

#else

CLVI_INLINE void FN(average)(REAL *k, const REAL *q, REAL m, REAL rest, int64_t begin, int64_t end)
{
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) k[i] = m * k[i] + rest * q[i];
}

CLVI_INLINE void FN(follow)(const pass *p, int64_t begin, int64_t end)
{
    const clvi_flat_followers *f = &p->followers;
    for (int i = 0; i < CLVI_FLAT_FOLLOWERS && f->k[i]; i++)
        FN(average)(f->k[i], p->y, (REAL)f->m[i], (REAL)(1 - f->m[i]), begin, end);
}

CLVI_INLINE void FN(plain_sgd)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *g = p->x, lr = (REAL)p->a, decay = (REAL)p->c;
    REAL *w = p->y;
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) w[i] -= lr * (g[i] + decay * w[i]);
}
FOLLOWED(plain_sgd)

CLVI_INLINE void FN(momentum_sgd)(void *arg, int64_t begin, int64_t end)
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
FOLLOWED(momentum_sgd)

CLVI_INLINE void FN(ema_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    FN(average)(p->y, p->x, (REAL)p->a, (REAL)p->b, begin, end);
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

CLVI_INLINE void FN(scale_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL a = (REAL)p->a;
    REAL *y = p->y;
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) y[i] *= a;
}
CLVI_ISA_VARIANTS(FN(scale_body))

CLVI_INLINE void FN(lars)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *g = p->x, lr = (REAL)p->a, momentum = (REAL)p->b, decay = (REAL)p->c, scale = (REAL)p->scale;
    const REAL ahead = p->nesterov ? momentum : 1, now = p->nesterov ? 1 : 0;
    REAL *w = p->y, *v = p->v;
    if (p->first) memset(v + begin, 0, (size_t)(end - begin) * sizeof *v);
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) {
        const REAL d = scale * (g[i] + decay * w[i]);
        v[i] = momentum * v[i] + d;
        w[i] -= lr * (now * d + ahead * v[i]);
    }
}
FOLLOWED(lars)

/* The averages of Adam, and what it makes of them. */
CLVI_INLINE void FN(adam_moments)(const clvi_flat_adam_args *a, REAL g, REAL *m, REAL *v)
{
    *m += (REAL)(1 - a->beta1) * (g - *m);
    *v = (REAL)a->beta2 * *v + (REAL)(1 - a->beta2) * g * g;
}

#define ADAM_DIRECTION(m, v) ((m) * by_correction1 / (FN(root)(v) * by_root + eps))

CLVI_INLINE REAL FN(root)(REAL x)
{
    return sizeof x == sizeof(float) ? (REAL)sqrtf((float)x) : (REAL)sqrt((double)x);
}

CLVI_INLINE void FN(adamw)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const clvi_flat_adam_args a = *p->adam;
    const REAL by_correction1 = (REAL)(1 / a.correction1), by_root = (REAL)(1 / sqrt(a.correction2));
    const REAL eps = (REAL)a.eps, lr = (REAL)a.lr, keep = (REAL)(1 - a.lr * a.weight_decay);
    const REAL *g = p->x;
    REAL *w = p->y, *m = p->m, *v = p->v;
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) {
        FN(adam_moments)(&a, g[i], &m[i], &v[i]);
        w[i] = keep * w[i] - lr * ADAM_DIRECTION(m[i], v[i]);
    }
}
FOLLOWED(adamw)

CLVI_INLINE void FN(lamb)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const clvi_flat_adam_args a = *p->adam;
    const REAL by_correction1 = (REAL)(1 / a.correction1), by_root = (REAL)(1 / sqrt(a.correction2));
    const REAL eps = (REAL)a.eps, lr = (REAL)a.lr, decay = (REAL)a.weight_decay;
    const REAL *m = p->m, *v = p->v;
    REAL *w = p->y;
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) w[i] -= lr * (ADAM_DIRECTION(m[i], v[i]) + decay * w[i]);
}
FOLLOWED(lamb)

/* Adds squares of x[0..n) to eight sums in double, each of every eighth element; n is a multiple of 8. */
CLVI_INLINE void FN(add_squares)(clvi_v8d *sum, const REAL *x, int64_t n)
{
    typedef REAL lanes __attribute__((vector_size(8 * sizeof(REAL))));
    for (int64_t i = 0; i + 8 <= n; i += 8) {
        lanes v;
        memcpy(&v, x + i, sizeof v);
        const clvi_v8d d = __builtin_convertvector(v, clvi_v8d);
        *sum += d * d;
    }
}

CLVI_INLINE void FN(norm2_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *x = p->x;
    const int64_t whole = (end - begin) / 8 * 8;
    clvi_v8d sum = { 0 };
    FN(add_squares)(&sum, x + begin, whole);
    double total = clvi_total8(&sum);
    for (int64_t i = begin + whole; i < end; i++) total += (double)x[i] * x[i];
    p->partial[begin / p->chunk] = total;
}
CLVI_ISA_VARIANTS(FN(norm2_body))

/* A piece of a vector that was made on the way; its end is filled up with zeros. */
CLVI_INLINE void FN(add_piece)(clvi_v8d *sum, REAL *piece, int64_t n)
{
    for (; n % 8; n++) piece[n] = 0;
    FN(add_squares)(sum, piece, n);
}

CLVI_INLINE void FN(norms2_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const REAL *g = p->x, *w = p->y, decay = (REAL)p->c;
    REAL piece[2][PIECE];
    clvi_v8d sum[2] = { { 0 } };
    for (int64_t at = begin; at < end; at += PIECE) {
        const int64_t n = CLVI_MIN(end - at, (int64_t)PIECE);
        for (int64_t i = 0; i < n; i++) {
            piece[0][i] = w[at + i];
            piece[1][i] = g[at + i] + decay * w[at + i];
        }
        for (int k = 0; k < 2; k++) FN(add_piece)(&sum[k], piece[k], n);
    }
    p->partial[begin / p->chunk] = clvi_total8(&sum[0]);
    p->second[begin / p->chunk] = clvi_total8(&sum[1]);
}
CLVI_ISA_VARIANTS(FN(norms2_body))

CLVI_INLINE void FN(lamb_moments_body)(void *arg, int64_t begin, int64_t end)
{
    const pass *p = arg;
    const clvi_flat_adam_args a = *p->adam;
    const REAL by_correction1 = (REAL)(1 / a.correction1), by_root = (REAL)(1 / sqrt(a.correction2));
    const REAL eps = (REAL)a.eps, decay = (REAL)a.weight_decay;
    const REAL *g = p->x, *w = p->y;
    REAL *m = p->m, *v = p->v, piece[2][PIECE];
    clvi_v8d sum[2] = { { 0 } };
    for (int64_t at = begin; at < end; at += PIECE) {
        const int64_t n = CLVI_MIN(end - at, (int64_t)PIECE);
#pragma GCC ivdep
        for (int64_t i = 0; i < n; i++) {
            FN(adam_moments)(&a, g[at + i], &m[at + i], &v[at + i]);
            piece[0][i] = w[at + i];
            piece[1][i] = ADAM_DIRECTION(m[at + i], v[at + i]) + decay * w[at + i];
        }
        for (int k = 0; k < 2; k++) FN(add_piece)(&sum[k], piece[k], n);
    }
    p->partial[begin / p->chunk] = clvi_total8(&sum[0]);
    p->second[begin / p->chunk] = clvi_total8(&sum[1]);
}
CLVI_ISA_VARIANTS(FN(lamb_moments_body))

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

#undef ADAM_DIRECTION

#endif
