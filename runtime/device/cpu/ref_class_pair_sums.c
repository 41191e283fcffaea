/* ref_class_pair_sums.c: inner products over pairs of equal and of different labels, by class sums, and the gradient
 *   dx_i = 2 dsame (S_c - x_i) + 2 ddifferent (T - S_c).
 * Rows with a negative label take no part. Columns are independent; sums are exact where classes have one row. */
#ifndef REAL

#include "device/cpu/class_runs.h"
#include "device/cpu/ref.h"
#include <string.h>

#define COLS CLVI_CLASS_COLS

#define SELF "device/cpu/ref_class_pair_sums.c"
#include "device/cpu/real.h"

static clv_status class_pair_sums(const clvi_op_call *call)
{
    return clvi_class_pair_sums(call, call->in[0].dtype == CLV_F64 ? class_pair_sums_range_f64
                                                                   : class_pair_sums_range_f32);
}
const clvi_kernel clvi_kernel_ref_class_pair_sums = {
    .op = "class_pair_sums", .name = "reference", .prepare = clvi_class_pairs_prepare, .run = class_pair_sums,
};

static clv_status class_pair_sums_bwd(const clvi_op_call *call)
{
    return clvi_class_pair_sums_bwd(call, call->out[0].dtype == CLV_F64 ? class_pair_sums_bwd_range_f64
                                                                        : class_pair_sums_bwd_range_f32);
}
const clvi_kernel clvi_kernel_ref_class_pair_sums_bwd = {
    .op = "class_pair_sums_bwd", .name = "reference", .prepare = clvi_class_pairs_prepare, .run = class_pair_sums_bwd,
};

#else

/* sum += the rows of a run, and what they are made of: square += their squares. */
static void FN(add_run)(const REAL *x, int64_t stride, const int64_t *order, int64_t begin, int64_t end, int64_t width,
                        double *sum, double *square)
{
    for (int64_t i = begin; i < end; i++) {
        const REAL *row = x + order[i] * stride;
        for (int64_t j = 0; j < width; j++) {
            sum[j] += row[j];
            square[j] += (double)row[j] * row[j];
        }
    }
}

static void FN(class_pair_sums_range)(void *arg, int64_t from, int64_t to)
{
    const clvi_op_call *call = arg;
    const int64_t n = call->in[0].shape[0], stride = call->in[0].shape[1], width = to - from;
    const int64_t *labels = call->in_data[1], *order = call->scratch;
    const REAL *x = (const REAL *)call->in_data[0] + from;
    double *part = clvi_class_parts(call) + from / COLS * 2;
    double total[COLS] = { 0 }, classes[COLS] = { 0 }, rows[COLS] = { 0 }, sum[COLS];
    for (int64_t begin = clvi_label_first(labels, order, n), end; begin < n; begin = end) {
        end = clvi_label_run(labels, order, begin, n);
        memset(sum, 0, sizeof sum);
        FN(add_run)(x, stride, order, begin, end, width, sum, rows);
        for (int64_t j = 0; j < width; j++) {
            total[j] += sum[j];
            classes[j] += sum[j] * sum[j];
        }
    }
    part[0] = part[1] = 0;
    for (int64_t j = 0; j < width; j++) {
        part[0] += classes[j] - rows[j];
        part[1] += total[j] * total[j] - classes[j];
    }
}

static void FN(class_pair_sums_bwd_range)(void *arg, int64_t from, int64_t to)
{
    const clvi_op_call *call = arg;
    const int64_t n = call->in[2].shape[0], stride = call->in[2].shape[1], width = to - from;
    const int64_t *labels = call->in_data[3], *order = call->scratch;
    const double same = call->in_data[0] ? 2 * (double)*(const REAL *)call->in_data[0] : 0;
    const double different = call->in_data[1] ? 2 * (double)*(const REAL *)call->in_data[1] : 0;
    const REAL *x = (const REAL *)call->in_data[2] + from;
    REAL *dx = (REAL *)call->out_data[0] + from;
    const int64_t first = clvi_label_first(labels, order, n);
    double total[COLS] = { 0 }, unused[COLS] = { 0 }, sum[COLS];
    for (int64_t i = 0; i < first; i++) memset(dx + order[i] * stride, 0, (size_t)width * sizeof *dx);
    FN(add_run)(x, stride, order, first, n, width, total, unused);
    for (int64_t begin = first, end; begin < n; begin = end) {
        end = clvi_label_run(labels, order, begin, n);
        memset(sum, 0, sizeof sum);
        FN(add_run)(x, stride, order, begin, end, width, sum, unused);
        for (int64_t i = begin; i < end; i++)
            for (int64_t j = 0; j < width; j++)
                dx[order[i] * stride + j] = (REAL)(same * (sum[j] - x[order[i] * stride + j]) +
                                                   different * (total[j] - sum[j]));
    }
}

#endif
