/* columns.c: center_columns, standardize_columns and its gradient, scale_columns, column_dot in float32: a thread takes
 * a strip of columns and goes down the rows with sums in double. Formulas and edge cases as in ref_columns.c. */
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include <math.h>

#define STRIP 64    /* columns of a strip: a few cache lines of every row */

typedef struct strip {
    int64_t rows, cols, first, count;
} strip;

static strip strip_at(const clvi_op_call *call, int64_t begin, int64_t end)
{
    return (strip){ call->in[0].shape[0], call->in[0].shape[1], begin, end - begin };
}

CLVI_INLINE void sum_columns(const strip *s, const float *x, double sum[STRIP])
{
    for (int64_t j = 0; j < STRIP; j++) sum[j] = 0;
    for (int64_t i = 0; i < s->rows; i++) {
        const float *row = x + i * s->cols + s->first;
        for (int64_t j = 0; j < s->count; j++) sum[j] += row[j];
    }
}

CLVI_INLINE void dot_columns(const strip *s, const float *a, const float *b, double sum[STRIP])
{
    for (int64_t j = 0; j < STRIP; j++) sum[j] = 0;
    for (int64_t i = 0; i < s->rows; i++) {
        const float *p = a + i * s->cols + s->first, *q = b + i * s->cols + s->first;
        for (int64_t j = 0; j < s->count; j++) sum[j] += (double)p[j] * q[j];
    }
}

CLVI_INLINE void mean_columns(const strip *s, const float *x, double mean[STRIP])
{
    sum_columns(s, x, mean);
    for (int64_t j = 0; j < STRIP; j++) mean[j] /= (double)CLVI_MAX(s->rows, 1);
}

CLVI_INLINE void center_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const strip s = strip_at(call, begin, end);
    double mean[STRIP];
    mean_columns(&s, call->in_data[0], mean);
    for (int64_t i = 0; i < s.rows; i++) {
        const float *x = (const float *)call->in_data[0] + i * s.cols + s.first;
        float *y = (float *)call->out_data[0] + i * s.cols + s.first;
#pragma GCC ivdep
        for (int64_t j = 0; j < s.count; j++) y[j] = (float)(x[j] - mean[j]);
    }
}
CLVI_ISA_VARIANTS(center_body)

CLVI_INLINE void standardize_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_standardize_attr *attr = call->attr;
    const strip s = strip_at(call, begin, end);
    double mean[STRIP], squares[STRIP] = { 0 }, scale[STRIP];
    float *scale_out = clvi_ref_output(call, 1);
    mean_columns(&s, call->in_data[0], mean);
    for (int64_t i = 0; i < s.rows; i++) {
        const float *x = (const float *)call->in_data[0] + i * s.cols + s.first;
        for (int64_t j = 0; j < s.count; j++) squares[j] += (x[j] - mean[j]) * (x[j] - mean[j]);
    }
    for (int64_t j = 0; j < s.count; j++) {
        const bool flat = attr->unit && sqrt(squares[j]) <= attr->eps;
        const double divisor = attr->unit ? fmax(sqrt(squares[j]), attr->eps)
                                          : sqrt(squares[j] / (double)CLVI_MAX(s.rows, 1) + attr->eps);
        scale[j] = divisor > 0 ? 1 / divisor : 0;
        if (scale_out) scale_out[s.first + j] = flat ? 0 : (float)scale[j];
    }
    for (int64_t i = 0; i < s.rows; i++) {
        const float *x = (const float *)call->in_data[0] + i * s.cols + s.first;
        float *y = (float *)call->out_data[0] + i * s.cols + s.first;
#pragma GCC ivdep
        for (int64_t j = 0; j < s.count; j++) y[j] = (float)((x[j] - mean[j]) * scale[j]);
    }
}
CLVI_ISA_VARIANTS(standardize_body)

CLVI_INLINE void standardize_bwd_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_standardize_attr *attr = call->attr;
    const strip s = strip_at(call, begin, end);
    double mean[STRIP], along[STRIP];
    float offset[STRIP], slope[STRIP], scale[STRIP];
    mean_columns(&s, call->in_data[0], mean);
    dot_columns(&s, call->in_data[0], call->in_data[1], along);
    for (int64_t j = 0; j < s.count; j++) {
        offset[j] = (float)mean[j];
        slope[j] = (float)(attr->unit ? along[j] : along[j] / (double)CLVI_MAX(s.rows, 1));
        scale[j] = ((const float *)call->in_data[2])[s.first + j];
    }
    for (int64_t i = 0; i < s.rows; i++) {
        const float *dy = (const float *)call->in_data[0] + i * s.cols + s.first;
        const float *y = (const float *)call->in_data[1] + i * s.cols + s.first;
        float *dx = (float *)call->out_data[0] + i * s.cols + s.first;
#pragma GCC ivdep
        for (int64_t j = 0; j < s.count; j++) dx[j] = scale[j] * (dy[j] - offset[j] - y[j] * slope[j]);
    }
}
CLVI_ISA_VARIANTS(standardize_bwd_body)

CLVI_INLINE void column_dot_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const strip s = strip_at(call, begin, end);
    double sum[STRIP];
    dot_columns(&s, call->in_data[0], call->in_data[1], sum);
    for (int64_t j = 0; j < s.count; j++) ((float *)call->out_data[0])[s.first + j] = (float)sum[j];
}
CLVI_ISA_VARIANTS(column_dot_body)

/* Rows, not columns, are shared out here. */
CLVI_INLINE void scale_columns_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const float *s = call->in_data[1];
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in_data[0] + i * cols;
        float *y = (float *)call->out_data[0] + i * cols;
#pragma GCC ivdep
        for (int64_t j = 0; j < cols; j++) y[j] = x[j] * s[j];
    }
}
CLVI_ISA_VARIANTS(scale_columns_body)

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

#define KERNEL(op_name, body, axis, chunk, ...)                                                                        \
    static clv_status op_name(const clvi_op_call *call)                                                                \
    {                                                                                                                  \
        clvi_parallel_for(call->ctx, call->in[0].shape[axis], chunk, clvi_isa_pick(body##_table), (void *)call);       \
        return CLV_OK;                                                                                                 \
    }                                                                                                                  \
    const clvi_kernel clvi_kernel_cpu_##op_name = {                                                                    \
        .op = #op_name, .name = "cpu", .accepts = accepts, .run = op_name, .in_place = { __VA_ARGS__ },                \
    }

KERNEL(center_columns, center_body, 1, STRIP, 1);
KERNEL(standardize_columns, standardize_body, 1, STRIP, 1);
KERNEL(standardize_columns_bwd, standardize_bwd_body, 1, STRIP, 1);
KERNEL(column_dot, column_dot_body, 1, STRIP, 0);
KERNEL(scale_columns, scale_columns_body, 0, 16, 1);
