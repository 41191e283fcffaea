/* l2norm_rows.cu: y = x / max(|x|, eps) of each row, a zero row for one that is 0, and the gradient. */
#include "device/cuda/cu.h"

template <class T> static clv_status l2norm_rows_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0], *norm = clvi_cu_output<T>(call, 1);
    const int64_t cols = call->in[0].shape[1];
    const double eps = ((const clvi_l2norm_attr *)call->attr)->eps;
    return clvi_cu_rows(call, call->in[0].shape[0], [=] __device__ (int64_t row) {
        const T *in = x + row * cols;
        double sum = 0;
        for (int64_t i = threadIdx.x; i < cols; i += CLVI_CU_THREADS) sum += (double)in[i] * (double)in[i];
        const double length = sqrt(clvi_cu_block_sum(sum)), divisor = length > eps ? length : eps;
        for (int64_t i = threadIdx.x; i < cols; i += CLVI_CU_THREADS)
            y[row * cols + i] = divisor > 0 ? (T)((double)in[i] / divisor) : in[i];
        if (norm && threadIdx.x == 0) norm[row] = (T)length;
    });
}

static clv_status l2norm_rows(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->in[0], l2norm_rows_of, call); }
CLVI_CU_KERNEL(l2norm_rows);

template <class T> static clv_status l2norm_rows_bwd_of(const clvi_op_call *call)
{
    const T *dy = (const T *)call->in_data[0], *y = (const T *)call->in_data[1], *norm = (const T *)call->in_data[2];
    T *dx = (T *)call->out_data[0];
    const int64_t cols = call->in[0].shape[1];
    const double eps = ((const clvi_l2norm_attr *)call->attr)->eps;
    return clvi_cu_rows(call, call->in[0].shape[0], [=] __device__ (int64_t row) {
        const double length = norm[row];
        double along = 0;
        for (int64_t i = row * cols + threadIdx.x; i < (row + 1) * cols; i += CLVI_CU_THREADS)
            along += (double)y[i] * (double)dy[i];
        along = clvi_cu_block_sum(along);
        for (int64_t i = row * cols + threadIdx.x; i < (row + 1) * cols; i += CLVI_CU_THREADS)
            dx[i] = length <= eps ? T(0) : (T)(((double)dy[i] - (double)y[i] * along) / length);
    });
}

static clv_status l2norm_rows_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], l2norm_rows_bwd_of, call);
}
CLVI_CU_KERNEL(l2norm_rows_bwd);
