/* pca.h: the first two principal components of a set of rows. */
#ifndef CLVI_EVAL_PCA_H
#define CLVI_EVAL_PCA_H

#include "core/context.h"

/* rows [n, dim], n >= 1, finite. xy [n, 2]: each row's place on the two components; share [2]: their parts of the whole
 * variance. Repeatable to the bit; a component's sign is chosen so that its largest entry is positive. Where there is
 * nothing to tell apart, places are 0. Errors: CLV_ERR_NOMEM. */
clv_status clvi_pca(clv_context *ctx, const float *rows, int64_t n, int64_t dim, double *xy, double share[2])
    CLV_NODISCARD;

#endif
