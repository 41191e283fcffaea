/* ref_gather_rows.c: gather_rows, and its gradient: the rows of dy added up by index, in their order. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <string.h>

#define SELF "device/cpu/ref_gather_rows.c"
#include "device/cpu/real.h"

static clv_status gather_rows(const clvi_op_call *call)
{
    const int64_t *index = call->in_data[1], rows = call->in[0].shape[0];
    for (int64_t i = 0; i < call->in[1].shape[0]; i++)
        CLV_CHECK(index[i] < rows, CLV_ERR_INVALID, "gather_rows: index %" PRId64 " is %" PRId64
                  ", want less than %" PRId64, i, index[i], rows);
    CLVI_REF_LOOP(call, call->in[1].shape[0], 16, gather_rows_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(gather_rows);

/* Columns are independent: each thread adds up some of them, over all rows. */
static clv_status gather_rows_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[1], 64, gather_rows_bwd_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(gather_rows_bwd);

#else

static void FN(gather_rows_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1], *index = call->in_data[1];
    const REAL *table = call->in_data[0];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < cols; j++) y[i * cols + j] = index[i] < 0 ? 0 : table[index[i] * cols + j];
}

static void FN(gather_rows_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1], *index = call->in_data[1];
    const REAL *dy = call->in_data[0];
    REAL *dx = call->out_data[0];
    for (int64_t i = 0; i < call->out[0].shape[0]; i++)
        memset(dx + i * cols + begin, 0, (size_t)(end - begin) * sizeof *dx);
    for (int64_t i = 0; i < call->in[0].shape[0]; i++)
        for (int64_t j = begin; j < end && index[i] >= 0; j++) dx[index[i] * cols + j] += dy[i * cols + j];
}

#endif
