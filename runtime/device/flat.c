/* flat.c: sends a pass over flat arenas to the context's device. */
#include "device/backend.h"
#include "device/cpu/flat.h"
#include "core/profile.h"
#include <math.h>
#include <stdio.h>

/* Keeps the first error for the next wait or copy to tell. */
static void note(clvi_device *device, clv_status st)
{
    if (st == CLV_OK || device->failed != CLV_OK) return;
    device->failed = st;
    snprintf(device->message, sizeof device->message, "%s", clv_error_message());
}

/* A pass that began at `begin` and read or wrote `vectors` vectors is queued: a profile waits for it. */
static void queued(clvi_device *d, int64_t begin, const char *name, clv_dtype dtype, int64_t n, int vectors, clv_status st)
{
    if (st == CLV_OK && begin) st = d->backend->wait(d);
    note(d, st);
    if (begin && d->ctx->profile) clvi_profile_add(d->ctx->profile, begin, clvi_profile_clock(), &(clvi_profile_work){
        .name = name, .kernel = d->backend->name, .bytes = (double)vectors * (double)n * (double)clv_dtype_size(dtype) });
}

/* A pass of the context's device, or of the host. */
#define SEND(name, vectors, device_pass, host_pass)                                                                    \
    do {                                                                                                               \
        clvi_device *d = ctx->device;                                                                                  \
        const int64_t begin = d ? clv_profile_begin(ctx) : 0;                                                          \
        if (d) queued(d, begin, name, dtype, n, vectors, d->backend->flat->device_pass);                               \
        else host_pass;                                                                                                \
    } while (0)

void clvi_flat_sgd(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                   const clvi_flat_sgd_args *sgd)
{
    SEND(CLVI_FLAT_NAME("sgd", sgd), (sgd->momentum == 0 ? 3 : 5) + CLVI_FLAT_FOLLOWED(sgd),
         sgd(d, dtype, n, w, g, v, sgd), clvi_cpu_flat_sgd(ctx, dtype, n, w, g, v, sgd));
}

void clvi_flat_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *k, const void *q, double m)
{
    SEND("ema", 3, mix(d, dtype, n, 1 - m, q, m, k), clvi_cpu_flat_ema(ctx, dtype, n, k, q, m));
}

void clvi_flat_axpy(clv_context *ctx, clv_dtype dtype, int64_t n, double a, const void *x, void *y)
{
    SEND("axpy", 3, mix(d, dtype, n, a, x, 1, y), clvi_cpu_flat_axpy(ctx, dtype, n, a, x, y));
}

void clvi_flat_scale(clv_context *ctx, clv_dtype dtype, int64_t n, double a, void *y)
{
    SEND("scale", 2, mix(d, dtype, n, 0, y, a, y), clvi_cpu_flat_scale(ctx, dtype, n, a, y));
}

void clvi_flat_lars(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                    const clvi_flat_sgd_args *sgd, double scale)
{
    SEND(CLVI_FLAT_NAME("lars", sgd), 5 + CLVI_FLAT_FOLLOWED(sgd), lars(d, dtype, n, w, g, v, sgd, scale),
         clvi_cpu_flat_lars(ctx, dtype, n, w, g, v, sgd, scale));
}

void clvi_flat_adamw(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *m, void *v,
                     const clvi_flat_adam_args *adam)
{
    SEND(CLVI_FLAT_NAME("adamw", adam), 7 + CLVI_FLAT_FOLLOWED(adam), adamw(d, dtype, n, w, g, m, v, adam),
         clvi_cpu_flat_adamw(ctx, dtype, n, w, g, m, v, adam));
}

void clvi_flat_lamb(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *m, const void *v,
                    const clvi_flat_adam_args *adam)
{
    SEND(CLVI_FLAT_NAME("lamb", adam), 4 + CLVI_FLAT_FOLLOWED(adam), lamb(d, dtype, n, w, m, v, adam),
         clvi_cpu_flat_lamb(ctx, dtype, n, w, m, v, adam));
}

/* ---- sums ---- */

void clvi_flat_norms2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g, double weight_decay,
                      double *sum)
{
    SEND("norms2", 2, norms2(d, dtype, n, w, g, weight_decay, sum),
         clvi_cpu_flat_norms2(ctx, dtype, n, w, g, weight_decay, sum));
}

void clvi_flat_lamb_moments(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g, void *m, void *v,
                            const clvi_flat_adam_args *adam, double *sum)
{
    SEND("lamb moments", 6, lamb_moments(d, dtype, n, w, g, m, v, adam, sum),
         clvi_cpu_flat_lamb_moments(ctx, dtype, n, w, g, m, v, adam, sum));
}

/* Sum of squares and number of entries that are not finite, of a vector on a device; NaN when that failed. */
static void measure(clvi_device *d, clv_dtype dtype, int64_t n, const void *x, double out[2])
{
    const int64_t begin = clv_profile_begin(d->ctx);
    clv_status st = d->backend->flat->measure(d, dtype, n, x, d->sums);
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
