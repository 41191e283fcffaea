/* bf16.h: bfloat16: the upper half of a float32. */
#ifndef CLVI_CORE_BF16_H
#define CLVI_CORE_BF16_H

#include <stdint.h>
#include <string.h>

static inline float clvi_bf16_value(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Nearest, ties to even. A float64 goes through float32 rounded to odd, whose last bit remembers that something was cut
 * off: rounding twice to nearest would turn values just beside a tie the wrong way. */
static inline uint16_t clvi_bf16_round(double value)
{
    const float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (value != value) return (uint16_t)(bits >> 16 | 0x40);   /* NaN stays NaN */
    const double back = (double)f;
    if (back != value) {
        if ((back > value) == (value > 0)) bits--;   /* towards zero */
        bits |= 1;
    }
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
