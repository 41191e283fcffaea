/* class_runs.h: rows in the order of their labels, so that each class is a run; and what kernels of class_pair_sums
 * share: they go through the runs for a few columns at a time. */
#ifndef CLVI_DEVICE_CPU_CLASS_RUNS_H
#define CLVI_DEVICE_CPU_CLASS_RUNS_H

#include "core/parallel.h"
#include "device/cpu/label_numbers.h"
#include "device/device.h"

/* Columns a thread takes at a time: enough that the pieces of rows a power of 2 apart do not share few places of the
 * cache. */
#define CLVI_CLASS_COLS 256

/* int32 numbers beside the order: a table, the first row with each row's label, and counts. */
static inline int64_t clvi_label_sort_numbers(int64_t n)
{
    return clvi_label_slots(n) + 2 * n;
}

/* order: 0..n-1 with the rows of a label next to each other, negative labels first, otherwise as they come.
 * n is below 2^31. */
static inline void clvi_label_sort(const int64_t *labels, int64_t n, int64_t *order, int32_t *numbers)
{
    int32_t *first = numbers + clvi_label_slots(n), *next = first + n, used = 0;
    clvi_label_numbers(labels, n, n, numbers, first);
    memset(next, 0, (size_t)n * sizeof *next);
    for (int64_t i = 0; i < n; i++) next[first[i]]++;
    for (int negative = 1; negative >= 0; negative--)
        for (int64_t i = 0; i < n; i++)
            if (first[i] == i && (labels[i] < 0) == negative) {
                const int32_t rows = next[i];
                next[i] = used;
                used += rows;
            }
    for (int64_t i = 0; i < n; i++) order[next[first[i]]++] = i;
}

/* Where the rows with a label start in the order. */
static inline int64_t clvi_label_first(const int64_t *labels, const int64_t *order, int64_t n)
{
    int64_t first = 0;
    while (first < n && labels[order[first]] < 0) first++;
    return first;
}

/* One past the run that starts at `begin`. */
static inline int64_t clvi_label_run(const int64_t *labels, const int64_t *order, int64_t begin, int64_t n)
{
    int64_t end = begin;
    while (end < n && labels[order[end]] == labels[order[begin]]) end++;
    return end;
}

/* ---- class_pair_sums: scratch is the order of the rows, two partial sums a group of columns, and numbers ---- */

static inline clv_status clvi_class_pairs_prepare(clvi_op_call *call)
{
    const clvi_desc *x = &call->in[call->n_in - 2];     /* labels come last */
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i].dtype != CLV_DTYPE_COUNT) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    call->scratch_size = sizeof(int64_t) * (size_t)x->shape[0] +
                         2 * sizeof(double) * (size_t)(x->shape[1] / CLVI_CLASS_COLS + 1) +
                         sizeof(int32_t) * (size_t)clvi_label_sort_numbers(x->shape[0]);
    return CLV_OK;
}

static inline double *clvi_class_parts(const clvi_op_call *call)
{
    return (double *)(void *)((int64_t *)call->scratch + call->in[call->n_in - 2].shape[0]);
}

static inline void clvi_class_sort(const clvi_op_call *call)
{
    const clvi_desc *x = &call->in[call->n_in - 2];
    double *after = clvi_class_parts(call) + 2 * (x->shape[1] / CLVI_CLASS_COLS + 1);
    clvi_label_sort(call->in_data[call->n_in - 1], x->shape[0], call->scratch, (int32_t *)(void *)after);
}

static inline void clvi_class_put(const clvi_op_call *call, int output, double value)
{
    if (call->out[output].dtype == CLV_F64) *(double *)call->out_data[output] = value;
    else *(float *)call->out_data[output] = (float)value;
}

/* body: fills the partial sums of columns [begin, end). */
static inline clv_status clvi_class_pair_sums(const clvi_op_call *call, clvi_range_fn body)
{
    const int64_t n = call->in[0].shape[0], cols = call->in[0].shape[1], *labels = call->in_data[1];
    const int64_t *order = call->scratch;
    const double *part = clvi_class_parts(call);
    double same = 0, different = 0, n_same = 0;
    clvi_class_sort(call);
    clvi_parallel_for(call->ctx, cols, CLVI_CLASS_COLS, body, (void *)call);
    for (int64_t i = 0; i < cols; i += CLVI_CLASS_COLS, part += 2) same += part[0], different += part[1];
    const int64_t first = clvi_label_first(labels, order, n);
    for (int64_t begin = first, end; begin < n; begin = end) {
        end = clvi_label_run(labels, order, begin, n);
        n_same += (double)(end - begin) * (double)(end - begin - 1);
    }
    clvi_class_put(call, 0, same);
    clvi_class_put(call, 1, different);
    clvi_class_put(call, 2, n_same);
    clvi_class_put(call, 3, (double)(n - first) * (double)(n - first - 1) - n_same);
    return CLV_OK;
}

/* body: fills columns [begin, end) of the gradient. */
static inline clv_status clvi_class_pair_sums_bwd(const clvi_op_call *call, clvi_range_fn body)
{
    clvi_class_sort(call);
    clvi_parallel_for(call->ctx, call->in[2].shape[1], CLVI_CLASS_COLS, body, (void *)call);
    return CLV_OK;
}

#endif
