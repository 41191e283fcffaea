/* draw.h: what the operations that draw have in common. */
#ifndef CLVI_DEVICE_CPU_DRAW_H
#define CLVI_DEVICE_CPU_DRAW_H

#include "core/rng.h"
#include "device/attr.h"
#include "device/device.h"

/* Where the mixes of one row go: pairs i, j, a and query mixes j_q, b. */
typedef struct clvi_mixes_row {
    int64_t  *i, *j, *j_q;
    void     *a, *b;
    clv_dtype dtype;      /* of a and b */
} clvi_mixes_row;

/* The step that is given as an input, or the attributes' own. */
int64_t clvi_draw_step(const clvi_draw_attr *attr, const void *given);

/* The stream of one row: the step's low half is the epoch, its high half and the row the sample. */
clvi_rng clvi_draw_stream(const clvi_draw_attr *attr, int64_t step, int64_t row, uint32_t stream);

/* Draws the mixes of row `row` from its list of `top` slots. Pure; thread-safe. */
void clvi_draw_mixes(const clvi_draw_attr *attr, int64_t step, int64_t row, const int64_t *list, int64_t top,
                     const clvi_mixes_row *to);

/* Row `row` of what beta_draw gives, attr->cols numbers of type attr->dtype, and place i of what permutation gives.
 * Pure; thread-safe. */
void clvi_draw_beta_row(const clvi_draw_attr *attr, int64_t step, int64_t row, void *to);
int64_t clvi_draw_permutation(const clvi_draw_attr *attr, int64_t step, int64_t i);

#endif
