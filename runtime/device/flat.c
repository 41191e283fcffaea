/* flat.c: sends a pass over flat arenas to the context's device. */
#include "device/backend.h"
#include "device/cpu/flat.h"
#include "device/tape.h"
#include "core/profile.h"
#include <math.h>

/* A pass that began at `begin` and read or wrote `vectors` vectors is queued: a profile waits for it. */
static void queued(clvi_device *d, int64_t begin, const char *name, clv_dtype dtype, int64_t n, int vectors, clv_status st)
{
    if (st == CLV_OK && begin) st = d->backend->wait(d);
    clvi_device_note(d, st);
    if (begin && d->ctx->profile) clvi_profile_add(d->ctx->profile, begin, clvi_profile_clock(), &(clvi_profile_work){
        .name = name, .kernel = d->backend->name, .bytes = (double)vectors * (double)n * (double)clv_dtype_size(dtype) });
}

/* A pass of the context's device, told `told` (and none where its step is played), or of the host. */
#define SEND(name, vectors, told, device_pass, host_pass)                                                              \
    do {                                                                                                               \
        clvi_device *d = ctx->device;                                                                                  \
        const int64_t begin = d ? clv_profile_begin(ctx) : 0;                                                          \
        const void *at = d ? clvi_tape_bring(ctx, &(told), sizeof(told), d->told) : NULL;                              \
        if (d && clvi_tape_plays(ctx)) break;                                                                          \
        if (d) queued(d, begin, name, dtype, n, vectors, d->backend->flat->device_pass);                               \
        else host_pass;                                                                                                \
    } while (0)

static const clvi_flat_rate plain_rate = { .factor = 1 };

void clvi_flat_sgd(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                   const clvi_flat_sgd_args *sgd)
{
    const clvi_flat_sgd_told told = { *sgd, plain_rate };
    SEND(CLVI_FLAT_NAME("sgd", sgd), (sgd->momentum == 0 ? 3 : 5) + CLVI_FLAT_FOLLOWED(sgd), told,
         sgd(d, dtype, n, w, g, sgd->momentum == 0 ? NULL : v, at), clvi_cpu_flat_sgd(ctx, dtype, n, w, g, v, sgd));
}

void clvi_flat_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *k, const void *q, double m)
{
    const clvi_flat_mix_told told = { 1 - m, m };
    SEND("ema", 3, told, mix(d, dtype, n, q, k, at), clvi_cpu_flat_ema(ctx, dtype, n, k, q, m));
}

void clvi_flat_axpy(clv_context *ctx, clv_dtype dtype, int64_t n, double a, const void *x, void *y)
{
    const clvi_flat_mix_told told = { a, 1 };
    SEND("axpy", 3, told, mix(d, dtype, n, x, y, at), clvi_cpu_flat_axpy(ctx, dtype, n, a, x, y));
}

void clvi_flat_scale(clv_context *ctx, clv_dtype dtype, int64_t n, double a, void *y)
{
    const clvi_flat_mix_told told = { 0, a };
    SEND("scale", 2, told, mix(d, dtype, n, y, y, at), clvi_cpu_flat_scale(ctx, dtype, n, a, y));
}

static void lars_on_host(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                         const clvi_flat_sgd_told *told)
{
    clvi_flat_sgd_args sgd = told->sgd;
    const double scale = clvi_flat_rate_of(&told->rate, &sgd.weight_decay);
    clvi_cpu_flat_lars(ctx, dtype, n, w, g, v, &sgd, scale);
}

void clvi_flat_lars(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                    const clvi_flat_sgd_args *sgd, const clvi_flat_rate *rate)
{
    const clvi_flat_sgd_told told = { *sgd, *rate };
    SEND(CLVI_FLAT_NAME("lars", sgd), 5 + CLVI_FLAT_FOLLOWED(sgd), told, sgd(d, dtype, n, w, g, v, at),
         lars_on_host(ctx, dtype, n, w, g, v, &told));
}

void clvi_flat_adamw(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *m, void *v,
                     const clvi_flat_adam_args *adam)
{
    const clvi_flat_adam_told told = { *adam, plain_rate };
    SEND(CLVI_FLAT_NAME("adamw", adam), 7 + CLVI_FLAT_FOLLOWED(adam), told, adamw(d, dtype, n, w, g, m, v, at),
         clvi_cpu_flat_adamw(ctx, dtype, n, w, g, m, v, adam));
}

static void lamb_on_host(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *m, const void *v,
                         const clvi_flat_adam_told *told)
{
    clvi_flat_adam_args adam = told->adam;
    adam.lr *= clvi_flat_rate_of(&told->rate, &adam.weight_decay);
    clvi_cpu_flat_lamb(ctx, dtype, n, w, m, v, &adam);
}

void clvi_flat_lamb(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *m, const void *v,
                    const clvi_flat_adam_args *adam, const clvi_flat_rate *rate)
{
    const clvi_flat_adam_told told = { *adam, *rate };
    SEND(CLVI_FLAT_NAME("lamb", adam), 4 + CLVI_FLAT_FOLLOWED(adam), told, lamb(d, dtype, n, w, m, v, at),
         lamb_on_host(ctx, dtype, n, w, m, v, &told));
}

/* ---- sums ---- */

void clvi_flat_norms2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g, double weight_decay,
                      double *sum)
{
    clvi_device *d = ctx->device;
    const int64_t begin = d ? clv_profile_begin(ctx) : 0;
    if (!d) clvi_cpu_flat_norms2(ctx, dtype, n, w, g, weight_decay, sum);
    else if (!clvi_tape_plays(ctx))
        queued(d, begin, "norms2", dtype, n, 2, d->backend->flat->norms2(d, dtype, n, w, g, weight_decay, sum));
}

void clvi_flat_lamb_moments(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g, void *m, void *v,
                            const clvi_flat_adam_args *adam, double *sum)
{
    const clvi_flat_adam_told told = { *adam, plain_rate };
    SEND("lamb moments", 6, told, lamb_moments(d, dtype, n, w, g, m, v, at, sum),
         clvi_cpu_flat_lamb_moments(ctx, dtype, n, w, g, m, v, adam, sum));
}

/* Sum of squares and number of entries that are not finite, of a vector on a device; NaN when that failed. */
static void measure(clvi_device *d, clv_dtype dtype, int64_t n, const void *x, double out[2])
{
    const int64_t begin = clv_profile_begin(d->ctx);
    clv_status st = clvi_tape_interrupt(d->ctx);
    if (st == CLV_OK) st = d->backend->flat->measure(d, dtype, n, x, d->sums);
    if (st == CLV_OK) st = d->backend->copy(d, out, d->sums, 2 * sizeof *out, CLVI_COPY_TO_HOST);
    queued(d, begin, "norm2", dtype, n, 1, st);
    if (st != CLV_OK) out[0] = out[1] = NAN;
}

double clvi_flat_norm2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x)
{
    double out[2];
    if (!ctx->device) return clvi_cpu_flat_norm2(ctx, dtype, n, x);
    measure(ctx->device, dtype, n, x, out);
    return out[0];
}

bool clvi_flat_all_finite(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x)
{
    double out[2];
    if (!ctx->device) return clvi_cpu_flat_all_finite(ctx, dtype, n, x);
    measure(ctx->device, dtype, n, x, out);
    return out[1] == 0;
}

/* ---- a step's verdict (device/verdict.h) ---- */

void clvi_verdict_heed(clv_context *ctx, const clvi_verdict *on_device)
{
    if (ctx->device) ctx->device->verdict = on_device;
}

void clvi_verdict_judge(clv_context *ctx, clv_dtype dtype, int64_t n, const void *g, const float *loss, double most,
                        clvi_verdict *out)
{
    clvi_device *d = ctx->device;
    const int64_t begin = clv_profile_begin(ctx);
    if (clvi_tape_plays(ctx)) return;
    clv_status st = d->backend->flat->measure(d, dtype, n, g, d->sums);
    if (st == CLV_OK) st = d->backend->step->judge(d, d->sums, loss, most, out);
    if (st == CLV_OK) st = d->backend->step->find(d, dtype, n, g, out);
    queued(d, begin, "judge", dtype, n, 1, st);
}

void clvi_verdict_clip(clv_context *ctx, clv_dtype dtype, int64_t n, void *g, const clvi_verdict *v)
{
    clvi_device *d = ctx->device;
    const int64_t begin = clv_profile_begin(ctx);
    if (!clvi_tape_plays(ctx)) queued(d, begin, "clip", dtype, n, 2, d->backend->step->clip(d, dtype, n, g, v));
}

void clvi_verdict_restore(clv_context *ctx, size_t size, void *to, const void *from, const clvi_verdict *v)
{
    clvi_device *d = ctx->device;
    if (!clvi_tape_plays(ctx)) clvi_device_note(d, d->backend->step->restore(d, (int64_t)(size / 4), to, from, v));
}

/* ---- rows (device/rows.h) ---- */

void clvi_rows_place(clv_context *ctx, int64_t rows, int64_t cols, const float *from, const int64_t *order, float *to)
{
    clvi_device *d = ctx->device;
    const int64_t *pass = clvi_tape_pass(ctx);
    if (!clvi_tape_plays(ctx)) clvi_device_note(d, d->backend->step->place(d, rows, cols, from, order, pass, to));
}

void clvi_rows_pick(clv_context *ctx, int64_t rows, int64_t cols, const float *from, const int64_t *order, float *to)
{
    clvi_device *d = ctx->device;
    const int64_t *pass = clvi_tape_pass(ctx);
    if (!clvi_tape_plays(ctx)) clvi_device_note(d, d->backend->step->pick(d, rows, cols, from, order, pass, to));
}

void clvi_rows_enqueue(clv_context *ctx, const clvi_ring *ring, int64_t cursor, int64_t count, const float *rows,
                       const int64_t *ids, const int64_t *labels)
{
    clvi_device *d = ctx->device;
    const int64_t *at = clvi_tape_bring(ctx, &cursor, sizeof cursor, d->told);
    if (!clvi_tape_plays(ctx)) clvi_device_note(d, d->backend->step->enqueue(d, ring, at, count, rows, ids, labels));
}

void clvi_rows_mix(clv_context *ctx, const clvi_mix *mix, const int64_t shape[4], const float *from,
                   const float *others, float *to)
{
    clvi_device *d = ctx->device;
    const clvi_mix *at = clvi_tape_bring(ctx, mix, sizeof *mix, d->told);
    if (!clvi_tape_plays(ctx)) clvi_device_note(d, d->backend->step->mix(d, at, shape, from, others, to));
}
