/* verdict.h: what a device knows of a step once its gradients are there, and what hangs on it. A step that is not
 * finite stops everything that would change weights, state or bank, on the device and at once, until it is told to
 * go on: the host may have queued the next step before it hears. */
#ifndef CLVI_DEVICE_VERDICT_H
#define CLVI_DEVICE_VERDICT_H

#include "core/context.h"
#include <cleave/view.h>

typedef struct clvi_verdict {
    double  loss, squares;      /* the loss, and the gradient's sum of squares */
    double  factor;             /* what clipping multiplies the gradient by */
    int64_t first_bad;          /* the first entry of the gradient that is not finite; -1: none */
    int64_t stopped;            /* 0: no; 1: at this step; 2: at one before */
} clvi_verdict;

/* The verdict on the context's device that passes over arenas (device/flat.h) and those here heed from now on; NULL:
 * none. */
void clvi_verdict_heed(clv_context *ctx, const clvi_verdict *on_device);

/* The rest is for a context with a device; errors come out at its next wait or copy. All memory is the device's. */

/* Of gradient g and the loss; gradients longer than `most` (0: any) are to be shortened to it. */
void clvi_verdict_judge(clv_context *ctx, clv_dtype dtype, int64_t n, const void *g, const float *loss, double most,
                        clvi_verdict *out);
/* g *= factor */
void clvi_verdict_clip(clv_context *ctx, clv_dtype dtype, int64_t n, void *g, const clvi_verdict *v);
/* `to` is as `from` again if the step was stopped. Sizes are multiples of 4. */
void clvi_verdict_restore(clv_context *ctx, size_t size, void *to, const void *from, const clvi_verdict *v);

#endif
