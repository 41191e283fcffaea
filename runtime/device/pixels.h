/* pixels.h: the way of pictures from bytes to views as lists of operations whose numbers are all decided: what a chain
 * of augmentations becomes for a device (augment/lower.h makes it; it holds nothing random, and no option). */
#ifndef CLVI_DEVICE_PIXELS_H
#define CLVI_DEVICE_PIXELS_H

#include "core/status.h"

/* Tables are runs of 4-byte numbers, `at` the first of them. */
typedef enum clvi_pixel_kind {
    /* Both passes of a resize. Table: of each column of the result the first pixel it reads, then of each how many,
     * then n[0] weights of 2^-22 each; likewise of each row, n[1] weights each. Rows n[2] to n[2] + n[3] are read. */
    CLVI_PIXEL_RESIZE,
    CLVI_PIXEL_AFFINE,       /* place (x, y) is matrix (x, y, 1), bilinear; outside: n[0] */
    CLVI_PIXEL_MIRROR,
    CLVI_PIXEL_BLEND,        /* base n[0] + alpha (value - base), as the next two */
    CLVI_PIXEL_CONTRAST,     /* base: the mean luma */
    CLVI_PIXEL_SATURATION,   /* base: the pixel's luma */
    CLVI_PIXEL_HUE,          /* turned by n[0] of 256 */
    CLVI_PIXEL_GRAY,
    CLVI_PIXEL_SOLARIZE,     /* from n[0] on */
    CLVI_PIXEL_BOX,          /* three boxes a direction: radius n[0], weights of 2^24: n[1] inside, n[2] at the ends */
    CLVI_PIXEL_KERNEL        /* table: 2 n[0] + 1 floats, in both directions */
} clvi_pixel_kind;

typedef struct clvi_pixel_op {
    int32_t kind, height, width;     /* of the result */
    int32_t n[4];
    float   alpha;
    int64_t at;
    double  matrix[6];
} clvi_pixel_op;

/* A picture of interleaved bytes, and which operations it goes through. */
typedef struct clvi_pixel_view {
    int64_t bytes, row_stride;       /* where it begins in the batch's bytes */
    int32_t height, width, channels, ops;
    int64_t first_op;
} clvi_pixel_view;

/* Everything lies on the device. Results are [views, height, width, channels], of each byte what its channel's table of
 * 256 floats says. */
typedef struct clvi_pixel_batch {
    const clvi_pixel_view *view;
    const clvi_pixel_op   *op;
    const int32_t         *table;
    const uint8_t         *bytes;
    const float           *values;   /* [3][256] */
    uint8_t               *room;     /* views * (2 picture + temp) bytes */
    float                 *out;
    int64_t                views, picture, temp;
    int32_t                height, width, channels;
} clvi_pixel_batch;

#endif
