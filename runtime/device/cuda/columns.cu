/* columns.cu: center_columns, standardize_columns and its gradient, scale_columns, column_dot. The formulas are those
 * of ref_columns.c. */
#include "device/cuda/column.h"

#define BOTH_TYPES(op_name)                                                                                            \
    static clv_status op_name(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], op_name##_of, call); }  \
    CLVI_CU_KERNEL(op_name)

/* A column's rows, for the threads that share it; none for a column that is not there. */
template <class T> struct column { const T *x; int64_t first, rows, cols; };

template <class T>
static __device__ column<T> column_of(const T *x, int64_t j, int64_t first, int64_t rows, int64_t cols)
{
    return column<T>{ x + j, first, j < cols ? rows : 0, cols };
}

/* The sum of f(i) over the rows. */
template <class T, class F> static __device__ double sum_rows(const column<T> &c, F f)
{
    double sum = 0;
    for (int64_t i = c.first; i < c.rows; i += CLVI_CU_COLUMN_THREADS) sum += f(i);
    return clvi_cu_column_sum(sum);
}

template <class T> static __device__ double column_mean(const column<T> &c)
{
    const double sum = sum_rows(c, [&](int64_t i) { return (double)c.x[i * c.cols]; });
    return c.rows > 0 ? sum / (double)c.rows : 0;
}

template <class T> static clv_status center_columns_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    return clvi_cu_columns(call, cols, [=] __device__ (int64_t j, int64_t first) {
        const column<T> c = column_of(x, j, first, rows, cols);
        const double mean = column_mean(c);
        for (int64_t i = first; i < c.rows; i += CLVI_CU_COLUMN_THREADS)
            y[i * cols + j] = (T)((double)c.x[i * cols] - mean);
    });
}
BOTH_TYPES(center_columns);

template <class T> static clv_status standardize_columns_of(const clvi_op_call *call)
{
    const clvi_standardize_attr attr = *(const clvi_standardize_attr *)call->attr;
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0], *scale_out = clvi_cu_output<T>(call, 1);
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    return clvi_cu_columns(call, cols, [=] __device__ (int64_t j, int64_t first) {
        const column<T> c = column_of(x, j, first, rows, cols);
        const double mean = column_mean(c), squares = sum_rows(c, [&](int64_t i) {
            const double gap = (double)c.x[i * cols] - mean;
            return gap * gap;
        });
        const bool flat = attr.unit && sqrt(squares) <= attr.eps;
        const double divisor = attr.unit ? fmax(sqrt(squares), attr.eps)
                                         : sqrt(squares / (double)(rows > 1 ? rows : 1) + attr.eps);
        const double scale = divisor > 0 ? 1 / divisor : 0;
        for (int64_t i = first; i < c.rows; i += CLVI_CU_COLUMN_THREADS)
            y[i * cols + j] = (T)(((double)c.x[i * cols] - mean) * scale);
        if (scale_out && first == 0 && j < cols) scale_out[j] = (T)(flat ? 0 : scale);
    });
}
BOTH_TYPES(standardize_columns);

template <class T> static clv_status standardize_columns_bwd_of(const clvi_op_call *call)
{
    const bool unit = ((const clvi_standardize_attr *)call->attr)->unit;
    const T *dy = (const T *)call->in_data[0], *y = (const T *)call->in_data[1], *scale = (const T *)call->in_data[2];
    T *dx = (T *)call->out_data[0];
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    return clvi_cu_columns(call, cols, [=] __device__ (int64_t j, int64_t first) {
        const column<T> c = column_of(dy, j, first, rows, cols);
        const double mean = column_mean(c);
        double along = sum_rows(c, [&](int64_t i) { return (double)c.x[i * cols] * (double)y[i * cols + j]; });
        if (!unit) along /= (double)(rows > 1 ? rows : 1);
        for (int64_t i = first; i < c.rows; i += CLVI_CU_COLUMN_THREADS)
            dx[i * cols + j] = (T)((double)scale[j] * ((double)c.x[i * cols] - mean - (double)y[i * cols + j] * along));
    });
}
BOTH_TYPES(standardize_columns_bwd);

template <class T> static clv_status scale_columns_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0], *s = (const T *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    const int64_t cols = call->in[0].shape[1];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]),
                        [=] __device__ (int64_t i) { y[i] = x[i] * s[i % cols]; });
}
BOTH_TYPES(scale_columns);

template <class T> static clv_status column_dot_of(const clvi_op_call *call)
{
    const T *a = (const T *)call->in_data[0], *b = (const T *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    return clvi_cu_columns(call, cols, [=] __device__ (int64_t j, int64_t first) {
        const column<T> c = column_of(a, j, first, rows, cols);
        const double sum = sum_rows(c, [&](int64_t i) { return (double)c.x[i * cols] * (double)b[i * cols + j]; });
        if (first == 0 && j < cols) y[j] = (T)sum;
    });
}
BOTH_TYPES(column_dot);
