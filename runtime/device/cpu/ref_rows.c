/* ref_rows.c: add_row, add_column, scale_rows, row_dot, batched_row_dot and its gradients. */
#ifndef REAL

#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_rows.c"
#include "device/cpu/real.h"

/* One call of the body per row of the first dimension of `input`. */
#define PER_ROW(op_name, input)                                                                                        \
    static clv_status op_name(const clvi_op_call *call)                                                                \
    {                                                                                                                  \
        CLVI_REF_LOOP(call, call->in[input].shape[0], 16, op_name##_range);                                            \
        return CLV_OK;                                                                                                 \
    }                                                                                                                  \
    CLVI_REF_KERNEL(op_name)

PER_ROW(add_row, 0);
PER_ROW(add_column, 0);
PER_ROW(scale_rows, 0);
PER_ROW(row_dot, 0);
PER_ROW(batched_row_dot, 0);
PER_ROW(batched_row_dot_bwd_a, 0);
PER_ROW(batched_row_dot_bwd_b, 0);

#else

/* y = x[i] + row */
static void FN(add_row_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const REAL *x = call->in_data[0], *row = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < cols; j++) y[i * cols + j] = x[i * cols + j] + row[j];
}

/* y = x[i] + column[i] */
static void FN(add_column_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const REAL *x = call->in_data[0], *column = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < cols; j++) y[i * cols + j] = x[i * cols + j] + column[i];
}

/* y = s[i] x[i] */
static void FN(scale_rows_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const REAL *x = call->in_data[0], *s = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < cols; j++) y[i * cols + j] = s[i] * x[i * cols + j];
}

static REAL FN(dot)(const REAL *a, const REAL *b, int64_t n)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += (double)a[j] * b[j];
    return (REAL)sum;
}

/* y[i] = <a[i], b[i]> */
static void FN(row_dot_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = FN(dot)(a + i * cols, b + i * cols, cols);
}

/* y[i,m] = <a[i], b[i,m]> */
static void FN(batched_row_dot_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t per_row = call->in[1].shape[1], cols = call->in[1].shape[2];
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t m = 0; m < per_row; m++)
            y[i * per_row + m] = FN(dot)(a + i * cols, b + (i * per_row + m) * cols, cols);
}

/* da[i] = sum_m dy[i,m] b[i,m] */
static void FN(batched_row_dot_bwd_a_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t per_row = call->in[1].shape[1], cols = call->in[1].shape[2];
    const REAL *dy = call->in_data[0], *b = call->in_data[1];
    REAL *da = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < cols; j++) {
            double sum = 0;
            for (int64_t m = 0; m < per_row; m++)
                sum += (double)dy[i * per_row + m] * b[(i * per_row + m) * cols + j];
            da[i * cols + j] = (REAL)sum;
        }
}

/* db[i,m] = dy[i,m] a[i] */
static void FN(batched_row_dot_bwd_b_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t per_row = call->in[0].shape[1], cols = call->in[1].shape[1];
    const REAL *dy = call->in_data[0], *a = call->in_data[1];
    REAL *db = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t m = 0; m < per_row; m++)
            for (int64_t j = 0; j < cols; j++)
                db[(i * per_row + m) * cols + j] = dy[i * per_row + m] * a[i * cols + j];
}

#endif
