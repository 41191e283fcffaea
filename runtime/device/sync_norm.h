/* sync_norm.h: batch norm over the batch of all ranks of a run:
 *   sync_batch_norm         x, gamma?, beta?, running_mean, running_var -> y, mean [C], var [C] (biased)
 *                           (the running ones are updated in place; x is [N,C,H,W] or [N,C], this rank's share)
 *   sync_batch_norm_bwd     dy, x, gamma?, mean, var                    -> dx, dgamma, dbeta
 *                           (dx of this rank's share; dgamma and dbeta are its part of the sum over all ranks) */
#ifndef CLVI_DEVICE_SYNC_NORM_H
#define CLVI_DEVICE_SYNC_NORM_H

#include <cleave/base.h>
#include <stdint.h>

/* Makes x[n], in memory of the context's device, the sum over all ranks, the same bits on each; on a device it is
 * queued. All ranks call it in the same order. */
typedef struct clvi_rank_sum {
    clv_status (*sum)(void *user, clv_context *ctx, double *x, int64_t n);
    void        *user;
} clvi_rank_sum;

typedef struct clvi_sync_norm_attr {
    double eps, momentum;          /* as of batch_norm */
    const clvi_rank_sum *ranks;    /* NULL: one rank */
} clvi_sync_norm_attr;

#endif
