/* ref_matmul.c: y[M,N] = op(a)[M,K] op(b)[K,N]. */
#ifndef REAL

#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_matmul.c"
#include "device/cpu/real.h"

static clv_status matmul(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[0].shape[0], 4, matmul_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(matmul);

#else

static void FN(matmul_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_matmul_attr *attr = call->attr;
    const clvi_desc *da = &call->in[0], *db = &call->in[1];
    const int64_t cols = call->out[0].shape[1], depth = da->shape[attr->trans_a ? 0 : 1];
    const int64_t a_row = attr->trans_a ? 1 : da->shape[1], a_step = attr->trans_a ? da->shape[1] : 1;
    const int64_t b_col = attr->trans_b ? db->shape[1] : 1, b_step = attr->trans_b ? 1 : db->shape[1];
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < cols; j++) {
            double sum = 0;
            for (int64_t k = 0; k < depth; k++)
                sum += (double)a[i * a_row + k * a_step] * b[j * b_col + k * b_step];
            y[i * cols + j] = (REAL)sum;
        }
}

#endif
