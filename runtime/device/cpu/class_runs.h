/* class_runs.h: rows in the order of their labels, so that each class is a run; and what kernels of class_pair_sums
 * share. */
#ifndef CLVI_DEVICE_CPU_CLASS_RUNS_H
#define CLVI_DEVICE_CPU_CLASS_RUNS_H

#include "device/attr.h"
#include "device/cpu/label_numbers.h"
#include "device/cpu/ref.h"

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

/* One past the run that place `begin` is in. */
static inline int64_t clvi_label_run(const int64_t *labels, const int64_t *order, int64_t begin, int64_t n)
{
    int64_t end = begin;
    while (end < n && labels[order[end]] == labels[order[begin]]) end++;
    return end;
}

/* ---- class_pair_sums: scratch is the order of the rows, a kernel's own doubles, and numbers to sort with ---- */

static inline clv_status clvi_class_pairs_prepare(clvi_op_call *call, int x, int64_t doubles)
{
    const int64_t rows = call->in[x].shape[0];
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = sizeof(int64_t) * (size_t)rows + sizeof(double) * (size_t)doubles +
                         sizeof(int32_t) * (size_t)clvi_label_sort_numbers(rows);
    return CLV_OK;
}

static inline double *clvi_class_doubles(const clvi_op_call *call, int x)
{
    return (double *)(void *)((int64_t *)call->scratch + call->in[x].shape[0]);
}

static inline void clvi_class_sort(const clvi_op_call *call, int x, int64_t doubles)
{
    clvi_label_sort(call->in_data[x + 1], call->in[x].shape[0], call->scratch,
                    (int32_t *)(void *)(clvi_class_doubles(call, x) + doubles));
}

static inline void clvi_class_put(const clvi_op_call *call, int output, double value)
{
    if (call->out[output].dtype == CLV_F64) *(double *)call->out_data[output] = value;
    else *(float *)call->out_data[output] = (float)value;
}

/* The four scalars of class_pair_sums; the rows are sorted. */
static inline void clvi_class_put_sums(const clvi_op_call *call, double same, double different)
{
    const int64_t n = call->in[0].shape[0], *labels = call->in_data[1], *order = call->scratch;
    const int64_t first = clvi_label_first(labels, order, n);
    double n_same = 0;
    for (int64_t begin = first, end; begin < n; begin = end) {
        end = clvi_label_run(labels, order, begin, n);
        n_same += (double)(end - begin) * (double)(end - begin - 1);
    }
    clvi_class_put(call, 0, same);
    clvi_class_put(call, 1, different);
    clvi_class_put(call, 2, n_same);
    clvi_class_put(call, 3, (double)(n - first) * (double)(n - first - 1) - n_same);
}

/* Twice the gradient of a sum; 0 for none. */
static inline double clvi_class_grad(const clvi_op_call *call, int input)
{
    if (!call->in_data[input]) return 0;
    return 2 * (call->out[0].dtype == CLV_F64 ? *(const double *)call->in_data[input]
                                              : (double)*(const float *)call->in_data[input]);
}

#endif
