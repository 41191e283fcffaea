/* color.c: colour arithmetic on planar bytes. The order of operations and the roundings are Pillow's (Image.blend,
 * convert("L"), convert("HSV")), so that the bytes are equal; loops are laid out for the compiler's vectoriser. */
#include "augment/color.h"
#include <math.h>

#define BLOCK 64   /* pixels whose intermediate values are held at once */

/* ---- luma ---- */

CLVI_BODY luma_body(const uint8_t *restrict r, const uint8_t *restrict g, const uint8_t *restrict b, int64_t n,
                    uint8_t *restrict out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (uint8_t)((19595u * r[i] + 38470u * g[i] + 7471u * b[i] + 0x8000u) >> 16);
}
CLVI_TWO_PATHS(luma, (const uint8_t *r, const uint8_t *g, const uint8_t *b, int64_t n, uint8_t *out),
               (r, g, b, n, out))

void clvi_color_luma(bool plain, const uint8_t *planes, int64_t n, uint8_t *out)
{
    luma_choose(plain)(planes, planes + n, planes + 2 * n, n, out);
}

uint64_t clvi_color_sum(const uint8_t *bytes, int64_t n)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < n;) {
        const int64_t end = CLVI_MIN(n, i + 65536);   /* 65536 bytes fit a 32-bit sum */
        uint32_t part = 0;
        for (; i < end; i++) part += bytes[i];
        sum += part;
    }
    return sum;
}

/* ---- blending ---- */

static inline __attribute__((always_inline)) uint8_t blend(int base, int value, float alpha)
{
    const float v = (float)base + alpha * (float)(value - base);
    return (uint8_t)(int)(v <= 0.0f ? 0.0f : v >= 255.0f ? 255.0f : v);
}

CLVI_BODY blend_one_body(uint8_t *restrict values, int64_t n, int base, float alpha)
{
    for (int64_t i = 0; i < n; i++) values[i] = blend(base, values[i], alpha);
}
CLVI_TWO_PATHS(blend_one, (uint8_t *values, int64_t n, int base, float alpha), (values, n, base, alpha))

CLVI_BODY blend_each_body(uint8_t *restrict values, const uint8_t *restrict base, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i++) values[i] = blend(base[i], values[i], alpha);
}
CLVI_TWO_PATHS(blend_each, (uint8_t *values, const uint8_t *base, int64_t n, float alpha), (values, base, n, alpha))

void clvi_color_blend(bool plain, uint8_t *values, int64_t n, int base, float alpha)
{
    blend_one_choose(plain)(values, n, base, alpha);
}

void clvi_color_blend_with(bool plain, uint8_t *values, const uint8_t *base, int64_t n, float alpha)
{
    blend_each_choose(plain)(values, base, n, alpha);
}

/* ---- hue ---- */

/* A block of pixels in HSV, each 0..255. */
typedef struct hsv_block {
    int32_t hue[BLOCK], saturation[BLOCK], value[BLOCK];
} hsv_block;

/* The hue in sixths of the circle is base + sign * middle, where middle = (max - mid) / (max - min) and base and sign
 * follow from which channel is largest and which smallest. All terms but one are exact, so that the single-precision
 * sum here rounds once, as the double-precision formula stored to a float does. */
static inline __attribute__((always_inline)) void to_hsv(const uint8_t *restrict r, const uint8_t *restrict g,
                                                         const uint8_t *restrict b, int n, hsv_block *restrict out)
{
    float sixths[BLOCK], ratio[BLOCK];
    for (int i = 0; i < n; i++) {
        const int red = r[i], green = g[i], blue = b[i];
        const int max = CLVI_MAX(red, CLVI_MAX(green, blue)), min = CLVI_MIN(red, CLVI_MIN(green, blue));
        const int range = max - min, mid = red + green + blue - max - min;
        const float middle = (float)(max - mid) / (float)(range > 0 ? range : 1);
        const float if_red = blue == min ? 1.0f - middle : middle - 1.0f;
        const float if_green = blue == min ? 1.0f + middle : 3.0f - middle;
        const float if_blue = red == min ? 3.0f + middle : 5.0f - middle;
        sixths[i] = red == max ? if_red : green == max ? if_green : if_blue;
        ratio[i] = (float)range / (float)(max > 0 ? max : 1);
        out->value[i] = max;
    }
    for (int i = 0; i < n; i++) {
        const double turn = (double)sixths[i] / 6.0 + 1.0;
        const float hue = (float)(turn >= 1.0 ? turn - 1.0 : turn);
        const int saturation = (int)((double)ratio[i] * 255.0);
        const int h = (int)((double)hue * 255.0);
        out->hue[i] = ratio[i] > 0.0f ? h : 0;
        out->saturation[i] = saturation;
    }
}

static inline __attribute__((always_inline)) void from_hsv(const hsv_block *restrict in, int n, uint8_t *restrict r,
                                                           uint8_t *restrict g, uint8_t *restrict b)
{
    for (int i = 0; i < n; i++) {
        const int h = in->hue[i], v = in->value[i];
        const double turn = h * 6.0 / 255.0;
        const int whole = (int)turn, sector = whole == 6 ? 0 : whole;
        const float part = (float)(turn - whole), s = (float)(in->saturation[i] / 255.0);
        const int p = (int)(v * (1.0 - (double)s) + 0.5);
        const int q = (int)(v * (1.0 - (double)(s * part)) + 0.5);
        const int t = (int)(v * (1.0 - (double)s * (1.0 - (double)part)) + 0.5);
        const int red = sector == 0 || sector == 5 ? v : sector == 1 ? q : sector == 4 ? t : p;
        const int green = sector == 1 || sector == 2 ? v : sector == 0 ? t : sector == 3 ? q : p;
        const int blue = sector == 3 || sector == 4 ? v : sector == 2 ? t : sector == 5 ? q : p;
        r[i] = (uint8_t)red;
        g[i] = (uint8_t)green;
        b[i] = (uint8_t)blue;
    }
}

CLVI_BODY turn_hue_body(uint8_t *r, uint8_t *g, uint8_t *b, int64_t n, uint8_t shift)
{
    hsv_block block;
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int count = (int)CLVI_MIN(n - i, BLOCK);
        to_hsv(r + i, g + i, b + i, count, &block);
        for (int j = 0; j < count; j++) block.hue[j] = (block.hue[j] + shift) & 255;
        from_hsv(&block, count, r + i, g + i, b + i);
    }
}
CLVI_TWO_PATHS(turn_hue, (uint8_t *r, uint8_t *g, uint8_t *b, int64_t n, uint8_t shift), (r, g, b, n, shift))

void clvi_color_turn_hue(bool plain, uint8_t *planes, int64_t n, uint8_t shift)
{
    turn_hue_choose(plain)(planes, planes + n, planes + 2 * n, n, shift);
}
