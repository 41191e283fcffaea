/* ref_columns.c: center_columns, standardize_columns and its gradient, scale_columns, column_dot.
 *
 *   c = x - mean of the column
 *   standardize   y = s c with s = 1 / sqrt(sum c^2 / N + eps), or, for unit columns, s = 1 / max(sqrt(sum c^2), eps)
 *   gradient      dx = s (dy - mean dy - y m), m = mean of dy y, or, for unit columns, the sum of dy y; 0 where a unit
 *                 column's length is at most eps. `scale` is s, or 0 in that case. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

#define SELF "device/cpu/ref_columns.c"
#include "device/cpu/real.h"

#define PER_COLUMN(op_name)                                                                                            \
    static clv_status op_name(const clvi_op_call *call)                                                                \
    {                                                                                                                  \
        CLVI_REF_LOOP(call, call->in[0].shape[1], 16, op_name##_range);                                                \
        return CLV_OK;                                                                                                 \
    }                                                                                                                  \
    CLVI_REF_KERNEL(op_name)

PER_COLUMN(center_columns);
PER_COLUMN(standardize_columns);
PER_COLUMN(standardize_columns_bwd);
PER_COLUMN(scale_columns);
PER_COLUMN(column_dot);

#else

static double FN(column_mean)(const REAL *x, int64_t rows, int64_t cols)
{
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) sum += x[i * cols];
    return rows > 0 ? sum / (double)rows : 0;
}

static void FN(center_columns_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    for (int64_t j = begin; j < end; j++) {
        const REAL *x = (const REAL *)call->in_data[0] + j;
        REAL *y = (REAL *)call->out_data[0] + j;
        const double mean = FN(column_mean)(x, rows, cols);
        for (int64_t i = 0; i < rows; i++) y[i * cols] = (REAL)(x[i * cols] - mean);
    }
}

static void FN(standardize_columns_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_standardize_attr *attr = call->attr;
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    REAL *scale_out = clvi_ref_output(call, 1);
    for (int64_t j = begin; j < end; j++) {
        const REAL *x = (const REAL *)call->in_data[0] + j;
        REAL *y = (REAL *)call->out_data[0] + j;
        const double mean = FN(column_mean)(x, rows, cols);
        double squares = 0;
        for (int64_t i = 0; i < rows; i++) squares += (x[i * cols] - mean) * (x[i * cols] - mean);
        const bool flat = attr->unit && sqrt(squares) <= attr->eps;
        const double divisor = attr->unit ? fmax(sqrt(squares), attr->eps)
                                          : sqrt(squares / (double)CLVI_MAX(rows, 1) + attr->eps);
        const double scale = divisor > 0 ? 1 / divisor : 0;
        for (int64_t i = 0; i < rows; i++) y[i * cols] = (REAL)((x[i * cols] - mean) * scale);
        if (scale_out) scale_out[j] = (REAL)(flat ? 0 : scale);
    }
}

static void FN(standardize_columns_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_standardize_attr *attr = call->attr;
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    for (int64_t j = begin; j < end; j++) {
        const REAL *dy = (const REAL *)call->in_data[0] + j, *y = (const REAL *)call->in_data[1] + j;
        REAL *dx = (REAL *)call->out_data[0] + j;
        const double scale = ((const REAL *)call->in_data[2])[j], mean = FN(column_mean)(dy, rows, cols);
        double along = 0;
        for (int64_t i = 0; i < rows; i++) along += (double)dy[i * cols] * y[i * cols];
        if (!attr->unit) along /= (double)CLVI_MAX(rows, 1);
        for (int64_t i = 0; i < rows; i++) dx[i * cols] = (REAL)(scale * (dy[i * cols] - mean - y[i * cols] * along));
    }
}

static void FN(scale_columns_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    const REAL *x = call->in_data[0], *s = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = begin; j < end; j++) y[i * cols + j] = x[i * cols + j] * s[j];
}

static void FN(column_dot_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    for (int64_t j = begin; j < end; j++) {
        double sum = 0;
        for (int64_t i = 0; i < rows; i++) sum += (double)a[i * cols + j] * b[i * cols + j];
        ((REAL *)call->out_data[0])[j] = (REAL)sum;
    }
}

#endif
