/* l2norm_rows.cu: y = x / max(|x|, eps) of each row, a zero row for one that is 0, and the gradient. */
#include "device/cuda/cu.h"

template <class T> static clv_status l2norm_rows_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0], *norm = (T *)call->out_data[1];
    const int64_t cols = call->in[0].shape[1];
    const double eps = ((const clvi_l2norm_attr *)call->attr)->eps;
    return clvi_cu_rows(call, call->in[0].shape[0], [=] __device__ (int64_t row) {
        const T *in = x + row * cols;
        double sum = 0;
        for (int64_t i = threadIdx.x; i < cols; i += CLVI_CU_THREADS) sum += (double)in[i] * (double)in[i];
        const double length = sqrt(clvi_cu_block_sum(sum)), by = 1 / (length > eps ? length : eps);
        for (int64_t i = threadIdx.x; i < cols; i += CLVI_CU_THREADS) y[row * cols + i] = (T)((double)in[i] * by);
        if (norm && threadIdx.x == 0) norm[row] = (T)length;
    });
}

static clv_status l2norm_rows(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->in[0], l2norm_rows_of, call); }
CLVI_CU_KERNEL(l2norm_rows);
