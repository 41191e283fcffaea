/* lbfgs.h: minimises a smooth convex function with limited-memory BFGS: Liu and Nocedal 1989, "On the limited memory BFGS
 * method for large scale optimization", Mathematical Programming 45. */
#ifndef CLVI_EVAL_LBFGS_H
#define CLVI_EVAL_LBFGS_H

#include "core/context.h"

typedef struct clvi_lbfgs {
    int64_t n;               /* variables */
    int64_t steps;           /* at most */
    double  tolerance;       /* done when no entry of the gradient is larger */
    /* Value and gradient [n] at x [n]. */
    clv_status (*objective)(void *arg, const double *x, double *value, double *gradient);
    void   *arg;
} clvi_lbfgs;

/* Moves x [n] from where it is to the minimum; *steps: taken. Ends early where rounding lets the value fall no further.
 * Errors: those of the objective; CLV_ERR_NUMERIC if its value at the start is not finite; CLV_ERR_NOMEM. */
clv_status clvi_lbfgs_minimise(clv_context *ctx, const clvi_lbfgs *problem, double *x, int64_t *steps) CLV_NODISCARD;

#endif
