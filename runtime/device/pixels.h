/* pixels.h: the way of pictures from bytes to views as lists of operations whose numbers are all decided: what a chain
 * of augmentations becomes for a device (augment/lower.h makes it; it holds no option, and of all that is random only
 * where noise begins).
 *
 * A picture travels in a room of its own: first a clvi_pixel_view for each of its views, then what they name by its
 * place in the room, in bytes from the beginning. */
#ifndef CLVI_DEVICE_PIXELS_H
#define CLVI_DEVICE_PIXELS_H

#include "core/status.h"

typedef enum clvi_pixel_kind {
    /* Both passes of a resize. Table of int32: of each column of the result the first pixel it reads, then of each how
     * many, then n[0] weights of 2^-22 each; likewise, at `more`, of each row, n[1] weights each. Rows n[2] to
     * n[2] + n[3] are read. */
    CLVI_PIXEL_RESIZE,
    CLVI_PIXEL_AFFINE,       /* place (x, y) is matrix (x, y, 1), bilinear; outside: n[0]. Table: 6 doubles */
    CLVI_PIXEL_MIRROR,
    CLVI_PIXEL_BLEND,        /* base n[0] + alpha (value - base), as the next two */
    CLVI_PIXEL_CONTRAST,     /* base: the mean luma */
    CLVI_PIXEL_SATURATION,   /* base: the pixel's luma */
    CLVI_PIXEL_HUE,          /* turned by n[0] of 256 */
    CLVI_PIXEL_GRAY,
    CLVI_PIXEL_SOLARIZE,     /* from n[0] on */
    CLVI_PIXEL_BOX,          /* three boxes a direction: radius n[0], weights of 2^24: n[1] inside, n[2] at the ends */
    CLVI_PIXEL_KERNEL,       /* table: 2 n[0] + 1 floats, in both directions */
    CLVI_PIXEL_FILL,         /* of rows n[0] to n[0] + n[2] the columns n[1] to n[1] + n[3]; table: a byte a channel */
    CLVI_PIXEL_NOISE         /* likewise. Table: a clvi_rng, whose numbers are four bytes each of a row of a channel */
} clvi_pixel_kind;

typedef struct clvi_pixel_op {
    int32_t kind, height, width;     /* of the result */
    int32_t n[4];
    float   alpha;
    int32_t at, more;                /* of tables */
} clvi_pixel_op;

/* Pixel (y, x) of channel c is at bytes + y row_stride + x pixel_stride + c plane_stride, where it is there. */
typedef struct clvi_pixel_view {
    int64_t bytes, row_stride, pixel_stride, plane_stride;
    int32_t height, width, channels, ops, first_op, unused;
} clvi_pixel_view;

/* Everything lies on the device. View v of picture i, [height, width, channels], is the one at place i from
 * out + v * apart on; of each byte it has what table v of 256 floats a channel says. */
typedef struct clvi_pixel_batch {
    const uint8_t *rooms;
    const float   *values;           /* [views][3][256] */
    uint8_t       *scratch;          /* pictures * views * (2 picture + temp) bytes */
    float         *out;
    int64_t        pictures, views, room, picture, temp, apart;
    int32_t        height, width, channels;
} clvi_pixel_batch;

#endif
