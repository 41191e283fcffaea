/* half.h: 16 values of bfloat16 at a time, in the style of isa.h: the same bits as rounding the float32 result. */
#ifndef CLVI_DEVICE_CPU_HALF_H
#define CLVI_DEVICE_CPU_HALF_H

#include "device/cpu/isa.h"

typedef uint16_t clvi_v16h __attribute__((vector_size(32)));
typedef uint32_t clvi_v16u __attribute__((vector_size(64)));

/* The first `count` of 16, zeros behind them. */
CLVI_INLINE void clvi_load_half(clvi_v16f *v, const uint16_t *x, int64_t count)
{
    clvi_v16h half = { 0 };
    memcpy(&half, x, (size_t)count * sizeof *x);
    const clvi_v16u bits = __builtin_convertvector(half, clvi_v16u) << 16;
    memcpy(v, &bits, sizeof bits);
}

/* To nearest, ties to even; NaN stays NaN. */
CLVI_INLINE void clvi_round_half(clvi_v16h *half, const clvi_v16f *v)
{
    clvi_v16u bits;
    memcpy(&bits, v, sizeof bits);
    const clvi_v16u nan = (clvi_v16u)(*v != *v), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const clvi_v16u quiet = bits >> 16 | 0x40;
    *half = __builtin_convertvector((rounded & ~nan) | (quiet & nan), clvi_v16h);
}

CLVI_INLINE void clvi_store_half(uint16_t *y, const clvi_v16f *v, int64_t count)
{
    clvi_v16h half;
    clvi_round_half(&half, v);
    memcpy(y, &half, (size_t)count * sizeof *y);
}

#endif
