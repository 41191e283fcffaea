/* rows.h: rows of a device that move within it: embeddings to where the batch has them, and into a memory bank. For
 * a context with a device; errors come out at its next wait or copy. */
#ifndef CLVI_DEVICE_ROWS_H
#define CLVI_DEVICE_ROWS_H

#include "core/context.h"
#include <cleave/view.h>

/* Row i of from [rows, cols] goes to row order[i]. All of them are on the device, here and below. */
void clvi_rows_place(clv_context *ctx, int64_t rows, int64_t cols, const float *from, const int64_t *order, float *to);

/* A ring of rows and what is known of each (the copy of a bank, device/shadow.h). */
typedef struct clvi_ring {
    clv_dtype dtype;            /* of rows */
    int64_t   capacity, dim;
    void     *rows;
    uint8_t  *valid;
    int64_t  *ids, *labels;
} clvi_ring;
/* The last min(count, capacity) of count rows go in, the first of `count` to slot `cursor`, unless the step was stopped
 * (device/verdict.h). */
void clvi_rows_enqueue(clv_context *ctx, const clvi_ring *ring, int64_t cursor, int64_t count, const float *rows,
                       const int64_t *ids, const int64_t *labels);

#endif
