/* rows.h: feature rows made ready to compare. */
#ifndef CLVI_EVAL_ROWS_H
#define CLVI_EVAL_ROWS_H

#include <cleave/view.h>
#include "core/context.h"

/* Checks that a view is float32 [n,D] with dense rows and finite numbers. `what` opens messages. */
clv_status clvi_rows_check(const clv_view *rows, const char *what) CLV_NODISCARD;

/* Rows [n,D] into dense memory, centred (their own mean taken off) and scaled to unit length as asked; a zero row stays
 * zero. */
void clvi_rows_ready(const clv_view *rows, bool centre, bool unit, float *out);

/* The same into new memory (clvi_free it). */
clv_status clvi_rows_copy(clv_context *ctx, const clv_view *rows, bool centre, bool unit, float **out) CLV_NODISCARD;

/* Labels [n] are 0 .. limit - 1; *classes: one more than the largest, at least 1. */
clv_status clvi_labels_check(const int64_t *labels, int64_t n, int64_t limit, const char *what, int64_t *classes)
    CLV_NODISCARD;

#endif
