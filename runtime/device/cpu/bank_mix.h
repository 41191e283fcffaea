/* bank_mix.h: how bank_nce mixes the rows of a bank that it reads: with which row, and by how much. */
#ifndef CLVI_DEVICE_CPU_BANK_MIX_H
#define CLVI_DEVICE_CPU_BANK_MIX_H

#include "device/cpu/draw.h"

enum { CLVI_BANK_MIX_LAMBDA = 6, CLVI_BANK_MIX_INDEX, CLVI_BANK_MIX_STEP };    /* inputs of bank_nce */

/* The row mixed into row j; -1: none. */
static inline int64_t clvi_bank_mix_other(const clvi_op_call *call, int64_t j)
{
    const clvi_draw_attr *draw = &((const clvi_bank_nce_attr *)call->attr)->index;
    const int64_t *given = call->in_data[CLVI_BANK_MIX_INDEX];
    const int64_t other =
        given ? given[j] : clvi_draw_permutation(draw, clvi_draw_step(draw, call->in_data[CLVI_BANK_MIX_STEP]), j);
    return other >= 0 && other < call->in[2].shape[0] ? other : -1;
}

/* Row j's share of the mix: one number (step 0) or one for each value (step 1), of the type of q. room: for D of them. */
static inline const void *clvi_bank_mix_lambda(const clvi_op_call *call, int64_t j, void *room, int64_t *step)
{
    const clvi_draw_attr *draw = &((const clvi_bank_nce_attr *)call->attr)->lambda;
    const char *given = call->in_data[CLVI_BANK_MIX_LAMBDA];
    const clvi_desc *shape = &call->in[CLVI_BANK_MIX_LAMBDA];
    const int64_t cols = given ? shape->shape[1] : draw->cols;
    *step = cols > 1;
    if (given)
        return given + (shape->shape[0] == 1 ? 0 : j * cols) * (int64_t)clv_dtype_size(shape->dtype);
    clvi_draw_beta_row(draw, clvi_draw_step(draw, call->in_data[CLVI_BANK_MIX_STEP]), j, room);
    return room;
}

#endif
