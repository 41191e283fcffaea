/* ref_pick.c: pick and put: one entry of each row. put changes one entry a row, so in place it costs next to
 * nothing. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <string.h>

static clv_status check_index(const clvi_op_call *call)
{
    const int64_t *index = call->in_data[1], cols = call->in[0].shape[1];
    for (int64_t i = 0; i < call->in[0].shape[0]; i++)
        CLV_CHECK(index[i] < cols, CLV_ERR_INVALID,
                  "%s: index of row %" PRId64 " is %" PRId64 ", want less than %" PRId64, call->op, i, index[i], cols);
    return CLV_OK;
}

#define SELF "device/cpu/ref_pick.c"
#include "device/cpu/real.h"

static clv_status pick(const clvi_op_call *call)
{
    CLV_TRY(check_index(call));
    CLVI_REF_LOOP(call, call->in[0].shape[0], 1024, pick_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(pick);

static clv_status put(const clvi_op_call *call)
{
    CLV_TRY(check_index(call));
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, put_range);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_put = { .op = "put", .name = "reference", .run = put, .in_place = { 1 } };

#else

static void FN(pick_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1], *index = call->in_data[1];
    const REAL *x = call->in_data[0];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = index[i] < 0 ? 0 : x[i * cols + index[i]];
}

static void FN(put_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1], *index = call->in_data[1];
    const REAL *x = call->in_data[0], *value = call->in_data[2];
    REAL *y = call->out_data[0];
    if (y != x && cols > 0) memcpy(y + begin * cols, x + begin * cols, (size_t)((end - begin) * cols) * sizeof *y);
    for (int64_t i = begin; i < end; i++)
        if (index[i] >= 0) y[i * cols + index[i]] = value ? value[i] : 0;
}

#endif
