/* normalize.h: the last step's numbers, which a preview needs to undo it. */
#ifndef CLVI_AUGMENT_NORMALIZE_H
#define CLVI_AUGMENT_NORMALIZE_H

#include "augment/augment.h"

typedef struct clvi_normalize {
    char  mean[96], std[96];
    int   channels;                            /* derived, from here on: 1 when any number of channels will do */
    float m[CLVI_AUGMENT_CHANNELS], s[CLVI_AUGMENT_CHANNELS];
    float table[CLVI_AUGMENT_CHANNELS][256];   /* of every byte */
    uint8_t part[CLVI_AUGMENT_CHANNELS][4][256];   /* the bytes of the table's floats, from the lowest on */
    uint64_t half[CLVI_AUGMENT_CHANNELS][256];     /* the table in bfloat16, at its channel's place in four of them */
    uint8_t half_part[CLVI_AUGMENT_CHANNELS][2][256];
} clvi_normalize;

#endif
