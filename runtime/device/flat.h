/* flat.h: passes over flat arenas: what optimisers and momentum encoders do to all parameters at once. Vectors are
 * float32 or float64, of n elements; every pass is parallel and gives the same bits with any number of threads. They
 * lie on the context's device, whose errors come out at its next wait or copy. */
#ifndef CLVI_DEVICE_FLAT_H
#define CLVI_DEVICE_FLAT_H

#include "core/context.h"
#include <cleave/view.h>

/* Stochastic gradient descent with momentum as PyTorch defines it (Sutskever et al. 2013, with lr outside of v):
 *   d = g + weight_decay w;   v = momentum v + d;   w -= lr (nesterov ? d + momentum v : v)
 * At the first step v = d, and v need not be set. With momentum 0, v may be NULL. */
typedef struct clvi_flat_sgd_args {
    double lr, momentum, weight_decay;
    bool   nesterov, first;
} clvi_flat_sgd_args;
void clvi_flat_sgd(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                   const clvi_flat_sgd_args *sgd);

/* The same, and k = m k + (1 - m) w with the new w: the same bits as two passes, for little more than the time of one. */
void clvi_flat_sgd_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                       const clvi_flat_sgd_args *sgd, void *k, double m);

/* k = m k + (1 - m) q */
void clvi_flat_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *k, const void *q, double m);

/* y += a x */
void clvi_flat_axpy(clv_context *ctx, clv_dtype dtype, int64_t n, double a, const void *x, void *y);

/* y *= a */
void clvi_flat_scale(clv_context *ctx, clv_dtype dtype, int64_t n, double a, void *y);

/* The sum of squares, summed in double. */
double clvi_flat_norm2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x);

bool clvi_flat_all_finite(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x);

#endif
