/* rows.h: rows of a device that move within it: embeddings to where the batch has them and into a memory bank, images
 * of a batch into one another. For a context with a device; errors come out at its next wait or copy. */
#ifndef CLVI_DEVICE_ROWS_H
#define CLVI_DEVICE_ROWS_H

#include "core/context.h"
#include <cleave/view.h>

/* Row i of from [rows, cols] goes to row order[n rows + i] of `to`, in pass n of the tape at work (device/tape.h; 0
 * where it repeats nothing); order NULL: to row n rows + i; a negative one: nowhere. All of them are on the device, here
 * and below. */
void clvi_rows_place(clv_context *ctx, int64_t rows, int64_t cols, const float *from, const int64_t *order, float *to);
/* The other way: row i of to [rows, cols] comes from there, which is somewhere. */
void clvi_rows_pick(clv_context *ctx, int64_t rows, int64_t cols, const float *from, const int64_t *order, float *to);

/* A ring of rows and what is known of each (the copy of a bank, device/shadow.h). */
typedef struct clvi_ring {
    clv_dtype dtype;            /* of rows */
    int64_t   capacity, dim;
    void     *rows;
    uint8_t  *valid;
    int64_t  *ids, *labels;
    bool      blends;           /* a row moves what is in its slot: */
    double    momentum;         /* the share of it that stays, where the slot takes part */
    bool      unit;             /* the result is scaled to length 1 */
} clvi_ring;
/* Count rows go in one after the other, the first to slot `cursor`, unless the step was stopped (device/verdict.h). */
void clvi_rows_enqueue(clv_context *ctx, const clvi_ring *ring, int64_t cursor, int64_t count, const float *rows,
                       const int64_t *ids, const int64_t *labels);

/* What mixes the images of a batch with one another, image i with image N - 1 - i (train/step/mix.h). */
typedef struct clvi_mix {
    bool    cut;                          /* a box of the other image, not all of it */
    double  lambda;                       /* share of the image itself; 1: nothing is mixed */
    int64_t top, bottom, left, right;     /* the box; cut only */
} clvi_mix;
/* float32 images [N,C,H,W] (by `shape`; NHWC in memory); `to` may be `from`. `others`: as many of another rank, which are
 * met instead; NULL: none. The host's bits. */
void clvi_rows_mix(clv_context *ctx, const clvi_mix *mix, const int64_t shape[4], const float *from,
                   const float *others, float *to);

#endif
