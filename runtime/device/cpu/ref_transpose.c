/* ref_transpose.c: y[j][i] = x[i][j], where an entry may be a block of several values; and x + x^T. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <string.h>

static void transpose_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_desc *x = &call->in[0];
    const int64_t rows = x->shape[0], cols = x->shape[1];
    const size_t block = (size_t)clvi_desc_extent(x, 2, x->ndim) * clv_dtype_size(x->dtype);
    for (int64_t j = begin; j < end; j++)
        for (int64_t i = 0; i < rows && block > 0; i++)
            memcpy((char *)call->out_data[0] + (size_t)(j * rows + i) * block,
                   (const char *)call->in_data[0] + (size_t)(i * cols + j) * block, block);
}

static clv_status transpose(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[1], 16, transpose_range, (void *)call);
    return CLV_OK;
}
CLVI_REF_KERNEL(transpose);

#define SELF "device/cpu/ref_transpose.c"
#include "device/cpu/real.h"

static clv_status add_transpose(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, add_transpose_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(add_transpose);

#else

static void FN(add_transpose_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t n = call->in[0].shape[0];
    const REAL *x = call->in_data[0];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] + x[j * n + i];
}

#endif
