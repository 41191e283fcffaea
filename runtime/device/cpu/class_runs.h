/* class_runs.h: rows in the order of their labels, so that each class is a run. */
#ifndef CLVI_DEVICE_CPU_CLASS_RUNS_H
#define CLVI_DEVICE_CPU_CLASS_RUNS_H

#include <stdbool.h>
#include <stdint.h>

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

#endif
