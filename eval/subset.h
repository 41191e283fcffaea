/* subset.h: rows drawn class by class. */
#ifndef CLVI_EVAL_SUBSET_H
#define CLVI_EVAL_SUBSET_H

#include "core/context.h"

/* clv_stratified_subset, and with `leave_one` the same for a part to hold out: at least one row of every class stays
 * behind, so a class of one row gives none. The two draw different numbers from one seed. */
clv_status clvi_subset_choose(clv_context *ctx, const int64_t *labels, int64_t n, double share, bool leave_one,
                              uint64_t seed, bool *chosen, int64_t *count) CLV_NODISCARD;

#endif
