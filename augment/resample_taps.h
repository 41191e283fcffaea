/* resample_taps.h: what the two ways of resizing share: the weights of every output place. */
#ifndef CLVI_AUGMENT_RESAMPLE_TAPS_H
#define CLVI_AUGMENT_RESAMPLE_TAPS_H

#include "augment/resample.h"

#define CLVI_WEIGHT_BITS 22

/* Output i is the sum over t < count[i] of weight[i * taps + t] * input[first[i] + t], in units of 2^-22. */
typedef struct clvi_taps {
    int      taps, longest;   /* room for weights of one place, and the largest count */
    int     *first, *count;
    int32_t *weight;
} clvi_taps;

/* Both passes from `pixels` on, laid out as the frame's, by permutations and products of bytes (CLVI_PATH_AVX512), into
 * h x w planes without gaps at `out`.
 * False, and nothing is written, when the picture shrinks too much for them. `temp` has clvi_resample_bytes_temp bytes,
 * aligned; `rows` is how many rows the second pass reads. */
bool clvi_resample_bytes(const clvi_frame *f, const uint8_t *pixels, int h, int w, const clvi_taps *wx,
                         const clvi_taps *wy, uint8_t *temp, uint8_t *out);
size_t clvi_resample_bytes_temp(int rows, int h, int w, int channels, int taps_x, int taps_y);

#endif
