/* rows.cu: rows and columns of matrices: add_row, add_column, scale_rows, row_dot, batched_row_dot and its gradients,
 * lerp, row_stats, mask, mask_rows. */
#include "device/cuda/cu.h"
#include <float.h>

#define BOTH_TYPES(op_name)                                                                                            \
    static clv_status op_name(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], op_name##_of, call); }  \
    CLVI_CU_KERNEL(op_name)

/* ---- elements of [N,D] ---- */

template <class T> static clv_status add_row_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0], *row = (const T *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    const int64_t cols = call->in[0].shape[1];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]),
                        [=] __device__ (int64_t i) { y[i] = x[i] + row[i % cols]; });
}
BOTH_TYPES(add_row);

template <class T> static clv_status add_column_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0], *column = (const T *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    const int64_t cols = call->in[0].shape[1];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]),
                        [=] __device__ (int64_t i) { y[i] = x[i] + column[i / cols]; });
}
BOTH_TYPES(add_column);

template <class T> static clv_status scale_rows_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0], *s = (const T *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    const int64_t cols = call->in[0].shape[1];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]),
                        [=] __device__ (int64_t i) { y[i] = s[i / cols] * x[i]; });
}
BOTH_TYPES(scale_rows);

/* A masked entry is 0 whatever it was, NaN and infinity included. The mask is [N,C] or one row for all. */
template <class T> static clv_status mask_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    const unsigned char *keep = (const unsigned char *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    const int64_t cols = call->in[0].shape[1];
    const bool own = call->in[1].ndim == 2;
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]),
                        [=] __device__ (int64_t i) { y[i] = keep[own ? i : i % cols] ? x[i] : T(0); });
}
BOTH_TYPES(mask);

template <class T> static clv_status mask_rows_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    const unsigned char *keep = (const unsigned char *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    const int64_t cols = call->in[0].shape[1];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]),
                        [=] __device__ (int64_t i) { y[i] = keep[i / cols] ? x[i] : T(0); });
}
BOTH_TYPES(mask_rows);

/* lambda a + (1 - lambda) b[index], lambda one number, one a row, one a column or one each; a alone where the index is
 * no row of b. */
template <class T> static clv_status lerp_of(const clvi_op_call *call)
{
    const T *a = (const T *)call->in_data[0], *b = (const T *)call->in_data[1], *lambda = (const T *)call->in_data[2];
    const int64_t *index = (const int64_t *)call->in_data[3];
    T *y = (T *)call->out_data[0];
    const int64_t cols = call->out[0].shape[1], rows = clvi_cu_present(&call->in[1]) ? call->in[1].shape[0] : 0;
    const int64_t row_step = call->in[2].shape[0] == 1 ? 0 : call->in[2].shape[1], step = call->in[2].shape[1] != 1;
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) {
        const int64_t n = i / cols, d = i % cols, other = index ? index[n] : n;
        const double l = lambda[n * row_step + d * step], x = a ? a[i] : T(0);
        const bool alone = index && (other < 0 || other >= rows);
        y[i] = (T)(alone ? x : l * x + (1 - l) * (b ? (double)b[other * cols + d] : 0));
    });
}

static bool lerp_accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32 || call->out[0].dtype == CLV_F64;
}

static clv_status lerp(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], lerp_of, call); }
CLVI_CU_KERNEL_WITH(lerp, lerp_accepts, nullptr);

/* ---- inner products ---- */

/* sum over threads of the block of a[i] b[i]. */
template <class T> static __device__ double block_dot(const T *a, const T *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += CLVI_CU_THREADS) sum += (double)a[i] * (double)b[i];
    return clvi_cu_block_sum(sum);
}

template <class T> static clv_status row_dot_of(const clvi_op_call *call)
{
    const T *a = (const T *)call->in_data[0], *b = (const T *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    const int64_t cols = call->in[0].shape[1];
    return clvi_cu_rows(call, call->in[0].shape[0], [=] __device__ (int64_t row) {
        const double sum = block_dot(a + row * cols, b + row * cols, cols);
        if (threadIdx.x == 0) y[row] = (T)sum;
    });
}
BOTH_TYPES(row_dot);

/* y[i,m] = <a[i], b[i,m]> */
template <class T> static clv_status batched_row_dot_of(const clvi_op_call *call)
{
    const T *a = (const T *)call->in_data[0], *b = (const T *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    const int64_t each = call->in[1].shape[1], cols = call->in[1].shape[2];
    return clvi_cu_rows(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t row) {
        const double sum = block_dot(a + row / each * cols, b + row * cols, cols);
        if (threadIdx.x == 0) y[row] = (T)sum;
    });
}
BOTH_TYPES(batched_row_dot);

/* da[i] = sum_m dy[i,m] b[i,m] */
template <class T> static clv_status batched_row_dot_bwd_a_of(const clvi_op_call *call)
{
    const T *dy = (const T *)call->in_data[0], *b = (const T *)call->in_data[1];
    T *da = (T *)call->out_data[0];
    const int64_t each = call->in[1].shape[1], cols = call->in[1].shape[2];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) {
        const int64_t n = i / cols, d = i % cols;
        double sum = 0;
        for (int64_t m = n * each; m < (n + 1) * each; m++) sum += (double)dy[m] * (double)b[m * cols + d];
        da[i] = (T)sum;
    });
}
BOTH_TYPES(batched_row_dot_bwd_a);

/* db[i,m] = dy[i,m] a[i] */
template <class T> static clv_status batched_row_dot_bwd_b_of(const clvi_op_call *call)
{
    const T *dy = (const T *)call->in_data[0], *a = (const T *)call->in_data[1];
    T *db = (T *)call->out_data[0];
    const int64_t each = call->in[0].shape[1], cols = call->in[1].shape[1];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) {
        const int64_t row = i / cols;
        db[i] = dy[row] * a[row / each * cols + i % cols];
    });
}
BOTH_TYPES(batched_row_dot_bwd_b);

/* ---- statistics of a row ---- */

template <class T> static clv_status row_stats_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    T *mean = clvi_cu_output<T>(call, 0), *var = clvi_cu_output<T>(call, 1), *exp_mean = clvi_cu_output<T>(call, 2);
    const int64_t cols = call->in[0].shape[1];
    const double factor = ((const clvi_row_stats_attr *)call->attr)->factor;
    const double largest = sizeof(T) == 8 ? DBL_MAX : (double)FLT_MAX;
    return clvi_cu_rows(call, call->in[0].shape[0], [=] __device__ (int64_t row) {
        const T *in = x + row * cols;
        double sum = 0, squares = 0, exps = 0;
        for (int64_t i = threadIdx.x; i < cols; i += CLVI_CU_THREADS) sum += (double)in[i];
        const double m = cols ? clvi_cu_block_sum(sum) / (double)cols : 0;
        for (int64_t i = threadIdx.x; i < cols; i += CLVI_CU_THREADS) {
            squares += ((double)in[i] - m) * ((double)in[i] - m);
            exps += exp(factor * (double)in[i]) / (double)cols;
        }
        squares = clvi_cu_block_sum(squares);
        exps = clvi_cu_block_sum(exps);
        if (threadIdx.x != 0) return;
        if (mean) mean[row] = (T)m;
        if (var) var[row] = (T)(cols > 1 ? squares / (double)(cols - 1) : 0);
        if (exp_mean) exp_mean[row] = (T)fmin(exps, largest);
    });
}

static clv_status row_stats(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->in[0], row_stats_of, call); }
CLVI_CU_KERNEL(row_stats);
