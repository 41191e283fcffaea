/* resize.h: antialiased resizing of 8-bit pictures, for packing. */
#ifndef CLVI_DATA_RESIZE_H
#define CLVI_DATA_RESIZE_H

#include "data/decode.h"

typedef struct clvi_resizer {
    clvi_buffer weights, half, out;
} clvi_resizer;

/* Resizes to height x width with a triangle filter as wide as the reduction, as Pillow does: two passes, horizontal
 * first, 8 bits between them, weights of 22 fractional bits. The result lies in the resizer. */
clv_status clvi_resize(clv_context *ctx, clvi_resizer *r, const clv_image *in, int64_t height, int64_t width,
                       clv_image *out) CLV_NODISCARD;
void clvi_resizer_free(clv_context *ctx, clvi_resizer *r);

#endif
