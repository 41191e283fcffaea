/* softmax_xent.cu: per_row = LSE(row) - row[target] and log_sum_exp_rows, and their gradients. One block a row; its
 * exponentials are taken in the value's type, their sum in double. */
#include "device/cuda/cu.h"

/* The largest entry, and sum e^{x - largest}, of those that `kept(j)` names. A NaN is never the largest; it is in the
 * sum. */
struct exps { double max, sum; };

template <class T, class Kept> static __device__ exps block_exps(const T *x, int64_t cols, Kept kept)
{
    T max = -INFINITY;
    for (int64_t j = threadIdx.x; j < cols; j += CLVI_CU_THREADS)
        if (kept(j) && x[j] > max) max = x[j];
    max = clvi_cu_block_max(max);
    double sum = 0;
    for (int64_t j = threadIdx.x; j < cols; j += CLVI_CU_THREADS)
        if (kept(j)) sum += (double)exp(x[j] - max);
    return exps{ (double)max, clvi_cu_block_sum(sum) };
}

/* ---- softmax_xent ---- */

template <class T> static clv_status softmax_xent_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    const int64_t *targets = (const int64_t *)call->in_data[1], cols = call->in[0].shape[1];
    const unsigned char *mask = (const unsigned char *)call->in_data[2];
    T *per_row = (T *)call->out_data[0], *lse_out = clvi_cu_output<T>(call, 1);
    clvi_cuda_fault *fault = clvi_cu_fault(call);
    return clvi_cu_rows(call, call->in[0].shape[0], [=] __device__ (int64_t i) {
        const int64_t target = targets[i];
        const bool counts = target >= 0 && target < cols;
        const T *row = x + i * cols;
        exps e = { 0, 1 };
        if (counts) e = block_exps(row, cols, [=](int64_t j) { return !mask || mask[i * cols + j] || j == target; });
        if (threadIdx.x != 0) return;
        if (target >= cols) clvi_cu_report(fault, CLVI_FAULT_XENT_TARGET, i, target, cols);
        const double lse = e.max + log(e.sum);
        per_row[i] = counts ? (T)(lse - (double)row[target]) : T(0);
        if (lse_out) lse_out[i] = (T)lse;
    });
}

static clv_status softmax_xent(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], softmax_xent_of, call);
}
CLVI_CU_KERNEL(softmax_xent);

template <class T> static clv_status softmax_xent_bwd_of(const clvi_op_call *call)
{
    const T *up = (const T *)call->in_data[0], *x = (const T *)call->in_data[1];
    const T *lse = (const T *)call->in_data[4], *dlse = (const T *)call->in_data[5];
    const int64_t *targets = (const int64_t *)call->in_data[2], cols = call->in[1].shape[1];
    const unsigned char *mask = (const unsigned char *)call->in_data[3];
    T *dx = (T *)call->out_data[0];
    return clvi_cu_rows(call, call->in[1].shape[0], [=] __device__ (int64_t i) {
        const int64_t target = targets[i];
        const double own = up ? (double)up[i] : 0, sum = own + (dlse ? (double)dlse[i] : 0);
        for (int64_t j = threadIdx.x; j < cols; j += CLVI_CU_THREADS) {
            const int64_t at = i * cols + j;
            const bool in = target >= 0 && (!mask || mask[at] || j == target);
            dx[at] = in ? (T)(sum * (double)exp(x[at] - lse[i]) - (j == target ? own : 0)) : T(0);
        }
    });
}

static clv_status softmax_xent_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], softmax_xent_bwd_of, call);
}
CLVI_CU_KERNEL(softmax_xent_bwd);

/* ---- log_sum_exp_rows: -infinity counts as nothing ---- */

template <class T> static clv_status log_sum_exp_rows_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    const unsigned char *mask = (const unsigned char *)call->in_data[1];
    const int64_t cols = call->in[0].shape[1];
    T *y = (T *)call->out_data[0];
    return clvi_cu_rows(call, call->in[0].shape[0], [=] __device__ (int64_t i) {
        const exps e = block_exps(x + i * cols, cols, [=](int64_t j) { return !mask || mask[i * cols + j]; });
        if (threadIdx.x == 0) y[i] = (T)(e.max > -INFINITY ? e.max + log(e.sum) : e.max);
    });
}

static clv_status log_sum_exp_rows(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], log_sum_exp_rows_of, call);
}
CLVI_CU_KERNEL(log_sum_exp_rows);

template <class T> static clv_status log_sum_exp_rows_bwd_of(const clvi_op_call *call)
{
    const T *dy = (const T *)call->in_data[0], *x = (const T *)call->in_data[1], *y = (const T *)call->in_data[3];
    const unsigned char *mask = (const unsigned char *)call->in_data[2];
    const int64_t cols = call->in[1].shape[1];
    T *dx = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->in[1]), [=] __device__ (int64_t at) {
        const int64_t i = at / cols;
        const bool in = (!mask || mask[at]) && x[at] > -INFINITY;
        dx[at] = in ? dy[i] * exp(x[at] - y[i]) : T(0);
    });
}

static clv_status log_sum_exp_rows_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], log_sum_exp_rows_bwd_of, call);
}
CLVI_CU_KERNEL(log_sum_exp_rows_bwd);
