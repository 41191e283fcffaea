/* flat.c: sends a pass over flat arenas to the context's device. */
#include "device/backend.h"
#include "device/cpu/flat.h"
#include <math.h>
#include <stdio.h>

/* Keeps the first error for the next wait or copy to tell. */
static void note(clvi_device *device, clv_status st)
{
    if (st == CLV_OK || device->failed != CLV_OK) return;
    device->failed = st;
    snprintf(device->message, sizeof device->message, "%s", clv_error_message());
}

void clvi_flat_sgd_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                       const clvi_flat_sgd_args *sgd, void *k, double m)
{
    clvi_device *d = ctx->device;
    if (d) note(d, d->backend->sgd(d, dtype, n, w, g, v, sgd, k, m));
    else clvi_cpu_flat_sgd_ema(ctx, dtype, n, w, g, v, sgd, k, m);
}

void clvi_flat_sgd(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                   const clvi_flat_sgd_args *sgd)
{
    clvi_device *d = ctx->device;
    if (d) note(d, d->backend->sgd(d, dtype, n, w, g, v, sgd, NULL, 0));
    else clvi_cpu_flat_sgd(ctx, dtype, n, w, g, v, sgd);
}

void clvi_flat_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *k, const void *q, double m)
{
    clvi_device *d = ctx->device;
    if (d) note(d, d->backend->mix(d, dtype, n, 1 - m, q, m, k));
    else clvi_cpu_flat_ema(ctx, dtype, n, k, q, m);
}

void clvi_flat_axpy(clv_context *ctx, clv_dtype dtype, int64_t n, double a, const void *x, void *y)
{
    clvi_device *d = ctx->device;
    if (d) note(d, d->backend->mix(d, dtype, n, a, x, 1, y));
    else clvi_cpu_flat_axpy(ctx, dtype, n, a, x, y);
}

void clvi_flat_scale(clv_context *ctx, clv_dtype dtype, int64_t n, double a, void *y)
{
    clvi_device *d = ctx->device;
    if (d) note(d, d->backend->mix(d, dtype, n, 0, y, a, y));
    else clvi_cpu_flat_scale(ctx, dtype, n, a, y);
}

/* Sum of squares and number of entries that are not finite. */
static clv_status measure(clvi_device *d, clv_dtype dtype, int64_t n, const void *x, double out[2])
{
    const clv_status st = d->backend->measure(d, dtype, n, x, out);
    note(d, st);
    return st;
}

double clvi_flat_norm2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x)
{
    double out[2];
    if (!ctx->device) return clvi_cpu_flat_norm2(ctx, dtype, n, x);
    return measure(ctx->device, dtype, n, x, out) == CLV_OK ? out[0] : NAN;
}

bool clvi_flat_all_finite(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x)
{
    double out[2];
    if (!ctx->device) return clvi_cpu_flat_all_finite(ctx, dtype, n, x);
    return measure(ctx->device, dtype, n, x, out) == CLV_OK && out[1] == 0;
}
