/* color.c: colour arithmetic on planar bytes. The order of operations and the roundings are Pillow's (Image.blend,
 * convert("L"), convert("HSV")), so that the bytes are equal; loops are laid out for the compiler's vectoriser. */
#include "augment/color.h"
#include <string.h>

#define BLOCK 64   /* pixels whose intermediate values are held at once */

/* ---- luma ---- */

CLVI_BODY luma_body(const uint8_t *restrict r, const uint8_t *restrict g, const uint8_t *restrict b, int64_t n,
                    uint8_t *restrict out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (uint8_t)((19595u * r[i] + 38470u * g[i] + 7471u * b[i] + 0x8000u) >> 16);
}
CLVI_PATHS(luma, (const uint8_t *r, const uint8_t *g, const uint8_t *b, int64_t n, uint8_t *out),
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

/* Cut to 0..255 by masks on 16-bit numbers, which halves the time of a comparison; |alpha| is at most 11, so the sum
 * fits. */
static inline __attribute__((always_inline)) uint8_t blend(int base, int value, float alpha)
{
    const int16_t v = (int16_t)(int)((float)base + alpha * (float)(value - base));
    const int16_t low = (int16_t)(v & ~(v >> 15));                          /* max(v, 0) */
    return (uint8_t)(low | (int16_t)((int16_t)(255 - low) >> 15));          /* all ones above 255 */
}

CLVI_BODY blend_one_body(uint8_t *restrict values, int64_t n, int base, float alpha)
{
    for (int64_t i = 0; i < n; i++) values[i] = blend(base, values[i], alpha);
}
CLVI_PATHS(blend_one, (uint8_t *values, int64_t n, int base, float alpha), (values, n, base, alpha))

CLVI_BODY blend_each_body(uint8_t *restrict values, const uint8_t *restrict base, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i++) values[i] = blend(base[i], values[i], alpha);
}
CLVI_PATHS(blend_each, (uint8_t *values, const uint8_t *base, int64_t n, float alpha), (values, base, n, alpha))

void clvi_color_blend(bool plain, uint8_t *values, int64_t n, int base, float alpha)
{
    blend_one_choose(plain)(values, n, base, alpha);
}

void clvi_color_blend_with(bool plain, uint8_t *values, const uint8_t *base, int64_t n, float alpha)
{
    blend_each_choose(plain)(values, base, n, alpha);
}

/* ---- hue ----
 *
 * Pillow stores hue, saturation and value as bytes and computes them partly in double precision. The single-precision
 * forms below give the same bytes: there are only 2^24 colours either way, and a test goes through all of them. */

typedef struct colour_block {
    uint8_t r[BLOCK], g[BLOCK], b[BLOCK];
} colour_block;

/* Each 0..255. */
typedef struct hsv_block {
    int32_t hue[BLOCK], saturation[BLOCK], value[BLOCK];
} hsv_block;

/* chosen ? a : b without a branch, which is what keeps the loops below vectorised; chosen is 0 or 1. */
static inline __attribute__((always_inline)) int pick(int chosen, int a, int b)
{
    return b ^ ((a ^ b) & -chosen);
}

/* The hue in sixths of the circle is base + numerator / (max - min), where base and the numerator, the distance of the
 * middle channel from the largest up to its sign, follow from which channel is largest and which smallest: one
 * rounding, as in the usual formula with three quotients. */
static inline __attribute__((always_inline)) void to_hsv(const colour_block *restrict in, hsv_block *restrict out)
{
    int32_t base[BLOCK], numerator[BLOCK], range[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        const int r = in->r[i], g = in->g[i], b = in->b[i];
        const int max_rg = CLVI_MAX(r, g), max = CLVI_MAX(max_rg, b);
        const int min_rg = CLVI_MIN(r, g), min = CLVI_MIN(min_rg, b);
        const int distance = 2 * max + min - r - g - b;
        const int red = r == max, green = g == max, blue_least = b == min, red_least = r == min;
        const int rising = pick(red, 1 - blue_least, pick(green, blue_least, red_least));
        base[i] = pick(red, 2 * blue_least - 1, pick(green, 3 - 2 * blue_least, 5 - 2 * red_least));
        numerator[i] = pick(rising, distance, -distance);
        range[i] = max - min;
        out->value[i] = max;
    }
    for (int i = 0; i < BLOCK; i++) {
        const int grey = range[i] == 0, black = out->value[i] == 0, wraps = base[i] < 0;
        const float sixths = (float)base[i] + (float)numerator[i] / (float)(range[i] + grey);
        const float turn = sixths / 6.0f + (float)wraps;
        const int near = (int)(turn * 255.0f);   /* may be one too large */
        const int over = 256.0f * turn - (float)near < turn;
        out->hue[i] = pick(grey, 0, near - over);
        out->saturation[i] = (int)((float)range[i] / (float)(out->value[i] + black) * 255.0f);
    }
}

static inline __attribute__((always_inline)) void from_hsv(const hsv_block *restrict in, colour_block *restrict out)
{
    int32_t sectors[BLOCK], p[BLOCK], q[BLOCK], t[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        const int h = in->hue[i];
        const int sector = (h >= 43) + (h >= 85) + (h >= 128) + (h >= 170) + (h >= 213) + (h >= 255);
        const float v = (float)in->value[i], s = (float)in->saturation[i] / 255.0f;
        const float part = (float)(2 * h - 85 * sector) / 85.0f;
        sectors[i] = sector;
        p[i] = (int)(v * (1.0f - s) + 0.5f);
        q[i] = (int)(v * (1.0f - s * part) + 0.5f);
        t[i] = (int)(v * (1.0f - s * (1.0f - part)) + 0.5f);
    }
    for (int i = 0; i < BLOCK; i++) {
        const int sector = sectors[i], v = in->value[i];
        const int is1 = sector == 1, is2 = sector == 2, is3 = sector == 3, is4 = sector == 4, is5 = sector == 5;
        out->r[i] = (uint8_t)pick(is1, q[i], pick(is2 | is3, p[i], pick(is4, t[i], v)));
        out->g[i] = (uint8_t)pick(is1 | is2, v, pick(is3, q[i], pick(is4 | is5, p[i], t[i])));
        out->b[i] = (uint8_t)pick(is2, t[i], pick(is3 | is4, v, pick(is5, q[i], p[i])));
    }
}

CLVI_BODY turn_hue_body(uint8_t *r, uint8_t *g, uint8_t *b, int64_t n, uint8_t shift)
{
    colour_block colours = { { 0 }, { 0 }, { 0 } };
    hsv_block hsv;
    for (int64_t i = 0; i < n; i += BLOCK) {
        const size_t count = (size_t)CLVI_MIN(n - i, BLOCK);
        memcpy(colours.r, r + i, count);
        memcpy(colours.g, g + i, count);
        memcpy(colours.b, b + i, count);
        to_hsv(&colours, &hsv);
        for (int j = 0; j < BLOCK; j++) hsv.hue[j] = (hsv.hue[j] + shift) & 255;
        from_hsv(&hsv, &colours);
        memcpy(r + i, colours.r, count);
        memcpy(g + i, colours.g, count);
        memcpy(b + i, colours.b, count);
    }
}
CLVI_PATHS(turn_hue, (uint8_t *r, uint8_t *g, uint8_t *b, int64_t n, uint8_t shift), (r, g, b, n, shift))

void clvi_color_turn_hue(bool plain, uint8_t *planes, int64_t n, uint8_t shift)
{
    turn_hue_choose(plain)(planes, planes + n, planes + 2 * n, n, shift);
}
