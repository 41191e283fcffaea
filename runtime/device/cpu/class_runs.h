/* class_runs.h: rows in the order of their labels, so that each class is a run; and what kernels of class_pair_sums
 * share: they go through the runs for a few columns at a time. */
#ifndef CLVI_DEVICE_CPU_CLASS_RUNS_H
#define CLVI_DEVICE_CPU_CLASS_RUNS_H

#include "core/parallel.h"
#include "device/device.h"

#define CLVI_CLASS_COLS 64   /* columns a thread takes at a time */

static inline bool clvi_label_before(const int64_t *labels, int64_t a, int64_t b)
{
    return labels[a] != labels[b] ? labels[a] < labels[b] : a < b;
}

/* Moves order[at] down to its place in the heap order[0..n). */
static inline void clvi_label_sift(const int64_t *labels, int64_t *order, int64_t at, int64_t n)
{
    const int64_t row = order[at];
    for (int64_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && clvi_label_before(labels, order[child], order[child + 1])) child++;
        if (!clvi_label_before(labels, row, order[child])) break;
        order[at] = order[child];
        at = child;
    }
    order[at] = row;
}

/* order: 0..n-1 sorted by (label, row), by heap: no memory, and no bad case. */
static inline void clvi_label_sort(const int64_t *labels, int64_t n, int64_t *order)
{
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n / 2 - 1; i >= 0; i--) clvi_label_sift(labels, order, i, n);
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t last = order[0];
        order[0] = order[i];
        order[i] = last;
        clvi_label_sift(labels, order, 0, i);
    }
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

/* ---- class_pair_sums: scratch is the order of the rows, then two partial sums a group of columns ---- */

static inline clv_status clvi_class_pairs_prepare(clvi_op_call *call)
{
    const clvi_desc *x = &call->in[call->n_in - 2];     /* labels come last */
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i].dtype != CLV_DTYPE_COUNT) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    call->scratch_size = sizeof(int64_t) * (size_t)x->shape[0] +
                         2 * sizeof(double) * (size_t)(x->shape[1] / CLVI_CLASS_COLS + 1);
    return CLV_OK;
}

static inline double *clvi_class_parts(const clvi_op_call *call)
{
    return (double *)(void *)((int64_t *)call->scratch + call->in[call->n_in - 2].shape[0]);
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
    int64_t *order = call->scratch;
    const double *part = clvi_class_parts(call);
    double same = 0, different = 0, n_same = 0;
    clvi_label_sort(labels, n, order);
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
    clvi_label_sort(call->in_data[3], call->in[2].shape[0], call->scratch);
    clvi_parallel_for(call->ctx, call->in[2].shape[1], CLVI_CLASS_COLS, body, (void *)call);
    return CLV_OK;
}

#endif
