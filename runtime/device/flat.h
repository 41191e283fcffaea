/* flat.h: passes over flat arenas: what optimisers and momentum encoders do to all parameters at once. Vectors are
 * float32 or float64, of n elements; every pass is parallel and gives the same bits with any number of threads. They
 * lie on the context's device, whose errors come out at its next wait or copy. */
#ifndef CLVI_DEVICE_FLAT_H
#define CLVI_DEVICE_FLAT_H

#include "core/context.h"
#include "device/rate.h"
#include <cleave/view.h>

/* Averages that follow the weights an update makes, in the same walk over memory: k = m k + (1 - m) w with the new w,
 * which has the bits of a pass of its own (clvi_flat_ema). */
enum { CLVI_FLAT_FOLLOWERS = 2 };
typedef struct clvi_flat_followers {
    void  *k[CLVI_FLAT_FOLLOWERS];                /* NULL, and NULL from there on: no more */
    double m[CLVI_FLAT_FOLLOWERS];
} clvi_flat_followers;

/* Stochastic gradient descent with momentum as PyTorch defines it (Sutskever et al. 2013, with lr outside of v):
 *   d = g + weight_decay w;   v = momentum v + d;   w -= lr (nesterov ? d + momentum v : v)
 * At the first step v = d, and v need not be set. With momentum 0, v may be NULL. */
typedef struct clvi_flat_sgd_args {
    double              lr, momentum, weight_decay;
    bool                nesterov, first;
    clvi_flat_followers followers;
} clvi_flat_sgd_args;
void clvi_flat_sgd(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                   const clvi_flat_sgd_args *sgd);

/* k = m k + (1 - m) q */
void clvi_flat_ema(clv_context *ctx, clv_dtype dtype, int64_t n, void *k, const void *q, double m);

/* y += a x */
void clvi_flat_axpy(clv_context *ctx, clv_dtype dtype, int64_t n, double a, const void *x, void *y);

/* y *= a */
void clvi_flat_scale(clv_context *ctx, clv_dtype dtype, int64_t n, double a, void *y);

/* Layer-wise adaptive rates (You et al. 2017, arXiv:1708.03888), with the rate of this tensor in the momentum:
 *   d = rate (g + weight_decay w);   v = momentum v + d;   w -= lr (nesterov ? d + momentum v : v)
 * v is needed also with momentum 0; at the first step it need not be set. */
void clvi_flat_lars(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                    const clvi_flat_sgd_args *sgd, const clvi_flat_rate *rate);
/* The sums of squares of w and of g + weight_decay w, to two numbers on the context's device. */
void clvi_flat_norms2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g, double weight_decay,
                      double *sum);

/* Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1): m = beta1 m + (1 - beta1) g,
 * v = beta2 v + (1 - beta2) g^2; its direction is (m / correction1) / (sqrt(v / correction2) + eps). */
typedef struct clvi_flat_adam_args {
    double              lr, beta1, beta2, eps, weight_decay;
    double              correction1, correction2; /* 1 - beta1^t and 1 - beta2^t at step t, from 1 */
    clvi_flat_followers followers;                /* of the pass that writes w */
} clvi_flat_adam_args;
/* Moments, then w = (1 - lr weight_decay) w - lr direction (Loshchilov and Hutter 2019, arXiv:1711.05101). */
void clvi_flat_adamw(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *g, void *m, void *v,
                     const clvi_flat_adam_args *adam);
/* LAMB (You et al. 2020, arXiv:1904.00962, algorithm 2) in two passes: moments, with the sums of squares of w and of
 * u = direction + weight_decay w, to two numbers on the context's device; then w -= lr rate u. */
void clvi_flat_lamb_moments(clv_context *ctx, clv_dtype dtype, int64_t n, const void *w, const void *g, void *m, void *v,
                            const clvi_flat_adam_args *adam, double *sum);
void clvi_flat_lamb(clv_context *ctx, clv_dtype dtype, int64_t n, void *w, const void *m, const void *v,
                    const clvi_flat_adam_args *adam, const clvi_flat_rate *rate);

/* The sum of squares, summed in double. */
double clvi_flat_norm2(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x);

bool clvi_flat_all_finite(clv_context *ctx, clv_dtype dtype, int64_t n, const void *x);

#endif
