/* color.c: colour arithmetic on planar bytes. The order of operations and the roundings are Pillow's (Image.blend,
 * convert("L"), convert("HSV")), so that the bytes are equal; loops are laid out for the compiler's vectoriser. */
#include "augment/color.h"
#include "augment/bytes.h"
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

CLVI_BODY sum_body(const uint8_t *bytes, int64_t n, uint64_t *out)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < n;) {
        const int64_t end = CLVI_MIN(n, i + 65536);   /* 65536 bytes fit a 32-bit sum */
        uint32_t part = 0;
        for (; i < end; i++) part += bytes[i];
        sum += part;
    }
    *out = sum;
}
CLVI_PATHS(sum, (const uint8_t *bytes, int64_t n, uint64_t *out), (bytes, n, out))

uint64_t clvi_color_sum(bool plain, const uint8_t *bytes, int64_t n)
{
    uint64_t sum = 0;
    sum_choose(plain)(bytes, n, &sum);
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

#if CLVI_AUGMENT_BYTES
/* With one base there are only 256 results. */
CLVI_BYTES_ON_STACK static void blend_one_avx512(uint8_t *values, int64_t n, int base, float alpha)
{
    uint8_t table[256];
    for (int v = 0; v < 256; v++) table[v] = blend(base, v, alpha);
    for (int64_t i = 0; i < n; i += CLVI_BYTES) {
        const __mmask64 inside = clvi_bytes_first(n - i);
        const __m512i bytes = _mm512_maskz_loadu_epi8(inside, values + i);
        _mm512_mask_storeu_epi8(values + i, inside, clvi_bytes_lookup(table, bytes));
    }
}
CLVI_PATHS_BY_HAND(blend_one, (uint8_t *values, int64_t n, int base, float alpha), (values, n, base, alpha))
#else
CLVI_PATHS(blend_one, (uint8_t *values, int64_t n, int base, float alpha), (values, n, base, alpha))
#endif

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
    for (int i = 0; i < BLOCK; i++) {
        const int r = in->r[i], g = in->g[i], b = in->b[i];
        const int max_rg = CLVI_MAX(r, g), max = CLVI_MAX(max_rg, b);
        const int min_rg = CLVI_MIN(r, g), min = CLVI_MIN(min_rg, b);
        const int range = max - min, distance = 2 * max + min - r - g - b;
        const int red = r == max, green = g == max, blue_least = b == min, red_least = r == min;
        const int rising = pick(red, 1 - blue_least, pick(green, blue_least, red_least));
        const int base = pick(red, 2 * blue_least - 1, pick(green, 3 - 2 * blue_least, 5 - 2 * red_least));
        const int grey = range == 0, black = max == 0, wraps = base < 0;
        const float sixths = (float)base + (float)pick(rising, distance, -distance) / (float)(range + grey);
        const float turn = sixths / 6.0f + (float)wraps;
        const int near = (int)(turn * 255.0f);   /* may be one too large */
        const int over = 256.0f * turn - (float)near < turn;
        out->hue[i] = pick(grey, 0, near - over);
        out->saturation[i] = (int)((float)range / (float)(max + black) * 255.0f);
        out->value[i] = max;
    }
}

/* A channel is value * (1 - saturation * away): `away` is 0 where the channel is largest, 1 where it is least and
 * linear between them. In units of 1/85 it is a whole number, as h is in units of 1/255 of six sectors. The quotient is
 * never halfway between two bytes, since 255 * 85 is odd, so a product with the reciprocal rounds right. */
static inline __attribute__((always_inline)) uint8_t fade(int value, int saturation, int away)
{
    const int part = CLVI_MIN(CLVI_MAX(away, 0), 85);
    return (uint8_t)(int)(((float)(value * (21675 - saturation * part)) + 10837.5f) * (1.0f / 21675));
}

static inline __attribute__((always_inline)) void from_hsv(const hsv_block *restrict in, colour_block *restrict out)
{
    for (int i = 0; i < BLOCK; i++) {
        const int h = 2 * in->hue[i], s = in->saturation[i], v = in->value[i];
        out->r[i] = fade(v, s, CLVI_MIN(h - 85, 425 - h));
        out->g[i] = fade(v, s, CLVI_MAX(85 - h, h - 255));
        out->b[i] = fade(v, s, CLVI_MAX(255 - h, h - 425));
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
