/* flat.h: the host's own passes over flat arenas; device/flat.h says what they do. */
#ifndef CLVI_DEVICE_CPU_FLAT_H
#define CLVI_DEVICE_CPU_FLAT_H

#include "device/flat.h"

/* What a profile calls an update with these arguments, and the vectors that its followers read and write. */
#define CLVI_FLAT_NAME(name, args)  ((args)->followers.k[0] ? name "+ema" : name)
#define CLVI_FLAT_FOLLOWED(args)    (((args)->followers.k[0] ? 2 : 0) + ((args)->followers.k[1] ? 2 : 0))

void clvi_cpu_flat_sgd(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                   const clvi_flat_sgd_args *sgd);
void clvi_cpu_flat_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *k, const void *q, double m);
void clvi_cpu_flat_axpy(clv_context *ctx, clv_dtype dtype, int64_t n, double a, const void *x, void *y);
void clvi_cpu_flat_scale(clv_context *ctx, clv_dtype dtype, int64_t n, double a, void *y);
double clvi_cpu_flat_norm2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x);
bool clvi_cpu_flat_all_finite(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x);
void clvi_cpu_flat_lars(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                        const clvi_flat_sgd_args *sgd, double scale);
void clvi_cpu_flat_norms2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g,
                          double weight_decay, double sum[2]);
void clvi_cpu_flat_adamw(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *m, void *v,
                         const clvi_flat_adam_args *adam);
void clvi_cpu_flat_lamb_moments(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g, void *m,
                                void *v, const clvi_flat_adam_args *adam, double sum[2]);
void clvi_cpu_flat_lamb(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *m, const void *v,
                        const clvi_flat_adam_args *adam);

#endif
