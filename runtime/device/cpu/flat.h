/* flat.h: the host's own passes over flat arenas; see device/flat.h for what they do. */
#ifndef CLVI_DEVICE_CPU_FLAT_H
#define CLVI_DEVICE_CPU_FLAT_H

#include "device/flat.h"

void clvi_cpu_flat_sgd(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                   const clvi_flat_sgd_args *sgd);
void clvi_cpu_flat_sgd_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                       const clvi_flat_sgd_args *sgd, void *k, double m);
void clvi_cpu_flat_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *k, const void *q, double m);
void clvi_cpu_flat_axpy(clv_context *ctx, clv_dtype dtype, int64_t n, double a, const void *x, void *y);
double clvi_cpu_flat_norm2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x);
bool clvi_cpu_flat_all_finite(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x);

#endif
