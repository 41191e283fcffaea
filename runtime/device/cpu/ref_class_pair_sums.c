/* ref_class_pair_sums.c: inner products over pairs of equal and of different labels, by class sums S_c and their total T.
 * With f_i = x_i, or x_i / max(|x_i|, eps) where rows count as of unit length, the gradient is
 *   g_i = 2 dsame (S_c - f_i) + 2 ddifferent (T - S_c)   by f,   and by x   g_i, or (g_i - f_i <f_i, g_i>) / |x_i|
 * (0 for |x_i| <= eps). There, the part of g_i along f_i drops out: f_i need not be subtracted from S_c, but where it is
 * the whole class, which is then exactly nothing. Rows with a negative label take no part. */
#ifndef REAL

#include "device/cpu/class_runs.h"
#include <math.h>
#include <string.h>

#define COLS 256      /* columns of which a range takes sums at a time; a row's length is a range's, too */

/* Two sums for each group of columns. */
static int64_t group_sums(const clvi_op_call *call, int x)
{
    return 2 * (call->in[x].shape[1] / COLS + 1);
}

#define SELF "device/cpu/ref_class_pair_sums.c"
#include "device/cpu/real.h"

static clv_status prepare(clvi_op_call *call)
{
    return clvi_class_pairs_prepare(call, 0, group_sums(call, 0));
}

static clv_status class_pair_sums(const clvi_op_call *call)
{
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1], groups = group_sums(call, 0);
    const double *part = clvi_class_doubles(call, 0);
    double same = 0, different = 0;
    clvi_class_sort(call, 0, groups);
    CLVI_REF_LOOP(call, rows, 64, norms_range);
    CLVI_REF_LOOP(call, cols, COLS, sums_range);
    for (int64_t i = 0; i < cols; i += COLS, part += 2) same += part[0], different += part[1];
    clvi_class_put_sums(call, same, different);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_class_pair_sums = {
    .op = "class_pair_sums", .name = "reference", .prepare = prepare, .run = class_pair_sums,
};

static clv_status bwd_prepare(clvi_op_call *call)
{
    return clvi_class_pairs_prepare(call, 2, 0);
}

static clv_status class_pair_sums_bwd(const clvi_op_call *call)
{
    clvi_class_sort(call, 2, 0);
    CLVI_REF_LOOP(call, call->in[2].shape[1], COLS, bwd_columns_range);
    if (((const clvi_class_pairs_attr *)call->attr)->unit)
        CLVI_REF_LOOP(call, call->in[2].shape[0], 64, bwd_rows_range);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_class_pair_sums_bwd = {
    .op = "class_pair_sums_bwd", .name = "reference", .prepare = bwd_prepare, .run = class_pair_sums_bwd,
};

#else

static void FN(norms_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    REAL *norm = call->out_data[4];
    for (int64_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)call->in_data[0] + i * cols;
        double square = 0;
        for (int64_t j = 0; j < cols; j++) square += (double)x[j] * x[j];
        norm[i] = (REAL)sqrt(square);
    }
}

/* What row i is divided by. */
static double FN(divisor)(const clvi_op_call *call, const REAL *norm, int64_t i)
{
    const clvi_class_pairs_attr *attr = call->attr;
    const double divisor = !attr->unit ? 1 : norm[i] > attr->eps ? (double)norm[i] : attr->eps;
    return divisor > 0 ? divisor : 1;
}

/* sum = the rows of a run, and what they are made of: square += their squares. */
static void FN(add_run)(const clvi_op_call *call, const REAL *x, const REAL *norm, int64_t stride, int64_t begin,
                        int64_t end, int64_t width, double *sum, double *square)
{
    const int64_t *order = call->scratch;
    memset(sum, 0, (size_t)width * sizeof *sum);
    for (int64_t i = begin; i < end; i++) {
        const REAL *row = x + order[i] * stride;
        const double divisor = FN(divisor)(call, norm, order[i]);
        for (int64_t j = 0; j < width; j++) {
            const double f = row[j] / divisor;
            sum[j] += f;
            square[j] += f * f;
        }
    }
}

static void FN(sums_range)(void *arg, int64_t from, int64_t to)
{
    const clvi_op_call *call = arg;
    const int64_t n = call->in[0].shape[0], stride = call->in[0].shape[1], width = to - from;
    const int64_t *labels = call->in_data[1], *order = call->scratch;
    const REAL *x = (const REAL *)call->in_data[0] + from, *norm = call->out_data[4];
    double *part = clvi_class_doubles(call, 0) + from / COLS * 2;
    double total[COLS] = { 0 }, classes[COLS] = { 0 }, rows[COLS] = { 0 }, sum[COLS];
    for (int64_t begin = clvi_label_first(labels, order, n), end; begin < n; begin = end) {
        end = clvi_label_run(labels, order, begin, n);
        FN(add_run)(call, x, norm, stride, begin, end, width, sum, rows);
        for (int64_t j = 0; j < width; j++) {
            total[j] += sum[j];
            classes[j] += sum[j] * sum[j];
        }
    }
    part[0] = part[1] = 0;
    for (int64_t j = 0; j < width; j++) {
        part[0] += classes[j] - rows[j];
        part[1] += total[j] * total[j] - classes[j];
        ((REAL *)call->out_data[5])[from + j] = (REAL)total[j];
    }
}

/* dx = g, where rows have unit length up to multiples of f. */
static void FN(bwd_columns_range)(void *arg, int64_t from, int64_t to)
{
    const clvi_op_call *call = arg;
    const int64_t n = call->in[2].shape[0], stride = call->in[2].shape[1], width = to - from;
    const int64_t *labels = call->in_data[3], *order = call->scratch;
    const REAL *x = (const REAL *)call->in_data[2] + from, *norm = call->in_data[4];
    const REAL *total = (const REAL *)call->in_data[5] + from;
    const bool unit = ((const clvi_class_pairs_attr *)call->attr)->unit;
    const int64_t first = clvi_label_first(labels, order, n);
    REAL *dx = (REAL *)call->out_data[0] + from;
    double sum[COLS], unused[COLS] = { 0 };
    for (int64_t i = 0; i < first; i++) memset(dx + order[i] * stride, 0, (size_t)width * sizeof *dx);
    for (int64_t begin = first, end; begin < n; begin = end) {
        end = clvi_label_run(labels, order, begin, n);
        FN(add_run)(call, x, norm, stride, begin, end, width, sum, unused);
        const double same = end - begin > 1 ? clvi_class_grad(call, 0) : 0, different = clvi_class_grad(call, 1);
        for (int64_t i = begin; i < end; i++)
            for (int64_t j = 0; j < width; j++) {
                const double others = unit ? sum[j] : sum[j] - x[order[i] * stride + j];
                dx[order[i] * stride + j] = (REAL)(same * others + different * (total[j] - (REAL)sum[j]));
            }
    }
}

/* dx = (dx - f <f, dx>) / |x| */
static void FN(bwd_rows_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_class_pairs_attr *attr = call->attr;
    const int64_t cols = call->in[2].shape[1];
    const REAL *norm = call->in_data[4];
    for (int64_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)call->in_data[2] + i * cols;
        REAL *dx = (REAL *)call->out_data[0] + i * cols;
        double along = 0;
        for (int64_t j = 0; j < cols; j++) along += x[j] / (double)norm[i] * dx[j];
        for (int64_t j = 0; j < cols; j++)
            dx[j] = norm[i] <= attr->eps ? 0 : (REAL)((dx[j] - x[j] / (double)norm[i] * along) / norm[i]);
    }
}

#endif
