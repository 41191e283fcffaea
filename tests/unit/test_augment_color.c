/* test_augment_color.c: the colour arithmetic against the published formulas written out in double precision, for every
 * colour there is. */
#include "tests/support/test.h"
#include "augment/color.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLOURS (1 << 24)

/* Hue, saturation and value as bytes, as Python's colorsys defines them, with Pillow's float and double steps. */
static void to_hsv(const uint8_t rgb[3], uint8_t hsv[3])
{
    const int r = rgb[0], g = rgb[1], b = rgb[2];
    const int max = CLVI_MAX(r, CLVI_MAX(g, b)), min = CLVI_MIN(r, CLVI_MIN(g, b));
    hsv[0] = hsv[1] = 0;
    hsv[2] = (uint8_t)max;
    if (max == min) return;
    const float range = (float)(max - min), s = range / (float)max;
    const float rc = (float)(max - r) / range, gc = (float)(max - g) / range, bc = (float)(max - b) / range;
    float h;
    if (r == max) h = bc - gc;
    else if (g == max) h = (float)(2.0 + (double)rc - (double)bc);
    else h = (float)(4.0 + (double)gc - (double)rc);
    h = (float)fmod((double)h / 6.0 + 1.0, 1.0);
    hsv[0] = (uint8_t)(int)((double)h * 255.0);
    hsv[1] = (uint8_t)(int)((double)s * 255.0);
}

static void from_hsv(const uint8_t hsv[3], uint8_t rgb[3])
{
    const double turn = hsv[0] * 6.0 / 255.0;
    const int i = (int)floor(turn);
    const float f = (float)(turn - (double)(float)i), s = (float)(hsv[1] / 255.0), v = (float)hsv[2];
    const uint8_t p = (uint8_t)round((double)v * (1.0 - (double)s));
    const uint8_t q = (uint8_t)round((double)v * (1.0 - (double)(s * f)));
    const uint8_t t = (uint8_t)round((double)v * (1.0 - (double)s * (1.0 - (double)f)));
    const uint8_t sector[6][3] = { { hsv[2], t, p }, { q, hsv[2], p }, { p, hsv[2], t },
                                   { p, q, hsv[2] }, { t, p, hsv[2] }, { hsv[2], p, q } };
    memcpy(rgb, sector[i % 6], 3);
}

/* Every colour in planes; the caller frees. */
static uint8_t *all_colours(void)
{
    uint8_t *planes = malloc((size_t)COLOURS * 3);
    assert_non_null(planes);
    for (int i = 0; i < COLOURS; i++) {
        planes[i] = (uint8_t)(i >> 16);
        planes[COLOURS + i] = (uint8_t)(i >> 8);
        planes[2 * COLOURS + i] = (uint8_t)i;
    }
    return planes;
}

static void check_every_hue(uint8_t shift, bool plain)
{
    uint8_t *planes = all_colours();
    int wrong = 0;
    clvi_color_turn_hue(plain, planes, COLOURS, shift);
    for (int i = 0; i < COLOURS; i++) {
        const uint8_t rgb[3] = { (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };
        uint8_t hsv[3], want[3];
        to_hsv(rgb, hsv);
        hsv[0] = (uint8_t)(hsv[0] + shift);
        from_hsv(hsv, want);
        wrong += planes[i] != want[0] || planes[COLOURS + i] != want[1] || planes[2 * COLOURS + i] != want[2];
    }
    assert_int_equal(wrong, 0);
    free(planes);
}

static void every_colour_turned_by_some_hue_is_exact(void **state)
{
    (void)state;
    check_every_hue(0, false);
    check_every_hue(201, false);
    check_every_hue(67, true);
}

static void luma_of_every_colour_is_the_rounded_weighted_sum(void **state)
{
    (void)state;
    uint8_t *planes = all_colours(), *luma = malloc(COLOURS);
    int far = 0;
    clvi_color_luma(false, planes, COLOURS, luma);
    for (int i = 0; i < COLOURS; i++) {
        const double want = 0.299 * (i >> 16) + 0.587 * (i >> 8 & 255) + 0.114 * (i & 255);
        far += fabs(luma[i] - want) > 0.5 + 0.37 * 255 / 65536;   /* 0.587 * 65536 is 38469.63: 0.37 off its weight */
    }
    assert_int_equal(far, 0);
    free(planes);
    free(luma);
}

static void blending_clips_and_truncates(void **state)
{
    (void)state;
    uint8_t v[5] = { 0, 10, 100, 200, 255 };
    clvi_color_blend(false, v, 5, 0, 1.5f);
    assert_memory_equal(v, ((uint8_t[]) { 0, 15, 150, 255, 255 }), 5);
    uint8_t w[3] = { 0, 101, 255 };
    clvi_color_blend(false, w, 3, 100, 3.0f);
    assert_memory_equal(w, ((uint8_t[]) { 0, 103, 255 }), 3);
    uint8_t x[2] = { 51, 52 };
    clvi_color_blend_with(false, x, (const uint8_t[]) { 50, 50 }, 2, 0.9f);
    assert_memory_equal(x, ((uint8_t[]) { 50, 51 }), 2);
}

TEST_MAIN(TEST(every_colour_turned_by_some_hue_is_exact), TEST(luma_of_every_colour_is_the_rounded_weighted_sum),
          TEST(blending_clips_and_truncates))
