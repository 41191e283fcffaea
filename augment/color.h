/* color.h: colour arithmetic on planar bytes, with Pillow's rounding. */
#ifndef CLVI_AUGMENT_COLOR_H
#define CLVI_AUGMENT_COLOR_H

#include "augment/augment.h"

/* Luma of three planes of n bytes: 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point (ITU-R BT.601), rounded. */
void clvi_color_luma(bool plain, const uint8_t *planes, int64_t n, uint8_t *out);

/* Sum of n bytes. */
uint64_t clvi_color_sum(bool plain, const uint8_t *bytes, int64_t n);

/* value = base + alpha * (value - base), cut to 0..255 and truncated; base is one number, or one per pixel. */
void clvi_color_blend(bool plain, uint8_t *values, int64_t n, int base, float alpha);
void clvi_color_blend_with(bool plain, uint8_t *values, const uint8_t *base, int64_t n, float alpha);

/* Turns the hue of three planes of n bytes by shift / 256 of the circle, through bytes of hue, saturation, value. */
void clvi_color_turn_hue(bool plain, uint8_t *planes, int64_t n, uint8_t shift);

#endif
