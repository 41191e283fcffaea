/* normalize.c: bytes to floats: (value / 255 - mean) / std per channel, in single precision, or that in bfloat16. Ends
 * every chain. */
#include "augment/bytes.h"
#include "augment/normalize.h"
#include "core/bf16.h"
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static const clvi_option normalize_options[] = {
    CLVI_OPTION_STRING(clvi_normalize, mean, "mean", "0", "one number, or one per channel, on the 0..1 scale"),
    CLVI_OPTION_STRING(clvi_normalize, std, "std", "1", "one number, or one per channel, on the 0..1 scale"),
    CLVI_OPTION_END
};

int clvi_parse_channels(const char *text, float values[CLVI_AUGMENT_CHANNELS])
{
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);   /* a point in any locale; glibc allocates nothing */
    int n = 0;
    for (;;) {
        char *end = NULL;
        if (n == CLVI_AUGMENT_CHANNELS) return 0;
        values[n] = strtof_l(text, &end, c);
        if (end == text || !(values[n] > -1e6f && values[n] < 1e6f)) return 0;
        n++;
        if (*end == '\0') return n == 2 ? 0 : n;
        if (*end != ',') return 0;
        text = end + 1;
    }
}

/* What a byte of channel c becomes. */
static void fill_tables(clvi_normalize *p, int c)
{
    for (int v = 0; v < 256; v++) {
        uint32_t bits;
        uint16_t half[4] = { 0 };
        p->table[c][v] = ((float)v / 255.0f - p->m[c]) / p->s[c];
        memcpy(&bits, &p->table[c][v], sizeof bits);
        for (int k = 0; k < 4; k++) p->part[c][k][v] = (uint8_t)(bits >> 8 * k);
        half[c] = clvi_bf16_round(p->table[c][v]);
        memcpy(&p->half[c][v], half, sizeof half);
        for (int k = 0; k < 2; k++) p->half_part[c][k][v] = (uint8_t)(half[c] >> 8 * k);
    }
}

static clv_status normalize_prepare(void *params)
{
    clvi_normalize *p = params;
    float mean[CLVI_AUGMENT_CHANNELS], std[CLVI_AUGMENT_CHANNELS];
    const int means = clvi_parse_channels(p->mean, mean), stds = clvi_parse_channels(p->std, std);
    CLV_CHECK(means > 0, CLV_ERR_INVALID, "normalize: mean '%s' is not one number or three with commas", p->mean);
    CLV_CHECK(stds > 0, CLV_ERR_INVALID, "normalize: std '%s' is not one number or three with commas", p->std);
    p->channels = CLVI_MAX(means, stds);
    for (int c = 0; c < CLVI_AUGMENT_CHANNELS; c++) {
        p->m[c] = mean[means == 1 ? 0 : c];
        p->s[c] = std[stds == 1 ? 0 : c];
        CLV_CHECK(p->s[c] >= 1e-6f, CLV_ERR_INVALID, "normalize: std '%s' holds a value below 1e-6", p->std);
        fill_tables(p, c);
    }
    return CLV_OK;
}

static float *emit_row_1(const float table[][256], const uint8_t *row, int64_t step, int width, float *out)
{
    for (int x = 0; x < width; x++) *out++ = table[0][row[x * step]];
    return out;
}

static float *emit_row_3(const float table[][256], const uint8_t *row, int64_t step, int64_t plane, int width,
                         float *out)
{
    const uint8_t *r = row, *g = row + plane, *b = row + 2 * plane;
    for (int x = 0; x < width; x++, out += 3, r += step, g += step, b += step) {
        out[0] = table[0][*r];
        out[1] = table[1][*g];
        out[2] = table[2][*b];
    }
    return out;
}

#if CLVI_AUGMENT_BYTES
#define FLOATS 16   /* of a register */

/* How three registers of one channel each become three of pixels: from which place of red and green (then blue) each
 * float comes, and which floats are blue. */
typedef struct weave {
    __m512i   red_green[3], blue[3];
    __mmask16 is_blue[3];
} weave;

CLVI_BYTES_ON_STACK static void weave_make(weave *w)
{
    for (int k = 0; k < 3; k++) {
        int32_t red_green[FLOATS], blue[FLOATS];
        w->is_blue[k] = 0;
        for (int i = 0; i < FLOATS; i++) {
            const int pixel = (FLOATS * k + i) / 3, channel = (FLOATS * k + i) % 3;
            red_green[i] = pixel + (channel == 1) * FLOATS;
            blue[i] = pixel;
            w->is_blue[k] = (__mmask16)(w->is_blue[k] | (channel == 2) << i);
        }
        w->red_green[k] = _mm512_loadu_si512(red_green);
        w->blue[k] = _mm512_loadu_si512(blue);
    }
}

/* The floats of 64 bytes: each of their four bytes is looked up, then all are put together. */
CLVI_BYTES_INLINE void floats_of(const uint8_t part[4][256], const uint8_t *bytes, __m512 out[4])
{
    /* Unpacking works within parts of 128 bits: part k of the input must hold every fourth group of four. */
    const __m512i spread = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const __m512i index = _mm512_permutexvar_epi32(spread, _mm512_loadu_si512(bytes));
    const __m512i b0 = clvi_bytes_lookup(part[0], index), b1 = clvi_bytes_lookup(part[1], index);
    const __m512i b2 = clvi_bytes_lookup(part[2], index), b3 = clvi_bytes_lookup(part[3], index);
    const __m512i low0 = _mm512_unpacklo_epi8(b0, b1), low1 = _mm512_unpackhi_epi8(b0, b1);
    const __m512i high0 = _mm512_unpacklo_epi8(b2, b3), high1 = _mm512_unpackhi_epi8(b2, b3);
    out[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low0, high0));
    out[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low0, high0));
    out[2] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low1, high1));
    out[3] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low1, high1));
}

/* n pixels, a multiple of 64, of three planes. */
CLVI_BYTES_ON_STACK static void emit_planes(const clvi_normalize *p, const uint8_t *planes, int64_t plane, int64_t n,
                                            float *out)
{
    weave w;
    weave_make(&w);
    for (int64_t i = 0; i < n; i += CLVI_BYTES) {
        __m512 channel[3][4];
        for (int c = 0; c < 3; c++) floats_of(p->part[c], planes + c * plane + i, channel[c]);
        for (int q = 0; q < 4; q++)
            for (int k = 0; k < 3; k++, out += FLOATS) {
                const __m512 two = _mm512_permutex2var_ps(channel[0][q], w.red_green[k], channel[1][q]);
                _mm512_storeu_ps(out, _mm512_mask_permutexvar_ps(two, w.is_blue[k], w.blue[k], channel[2][q]));
            }
    }
}

/* The bfloat16s of 64 bytes in two registers, so that two more unpackings make eight registers of pixels in order:
 * unpacking works within parts of 128 bits, so part k of the input must hold every fourth pair, from pair k on. */
CLVI_BYTES_INLINE void halves_of(const uint8_t part[2][256], const uint8_t *bytes, __m512i out[2])
{
    static const uint16_t spread[32] = { 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29,
                                         2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31 };
    const __m512i index = _mm512_permutexvar_epi16(_mm512_loadu_si512(spread), _mm512_loadu_si512(bytes));
    const __m512i low = clvi_bytes_lookup(part[0], index), high = clvi_bytes_lookup(part[1], index);
    out[0] = _mm512_unpacklo_epi8(low, high);
    out[1] = _mm512_unpackhi_epi8(low, high);
}

/* Eight pixels of four bfloat16s, as three, four or eight of them. */
CLVI_BYTES_INLINE uint16_t *store_halves(__m512i pixels, int64_t channels, uint16_t *out)
{
    static const uint16_t three[32] = { 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22, 24, 25, 26,
                                        28, 29, 30 };
    const __m512i low = _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0), high = _mm512_set_epi64(0, 7, 0, 6, 0, 5, 0, 4);
    if (channels == 3) {
        _mm512_mask_storeu_epi16(out, 0xffffff, _mm512_permutexvar_epi16(_mm512_loadu_si512(three), pixels));
    } else if (channels == 4) {
        _mm512_storeu_si512(out, pixels);
    } else {
        _mm512_storeu_si512(out, _mm512_maskz_permutexvar_epi64(0x55, low, pixels));
        _mm512_storeu_si512(out + 32, _mm512_maskz_permutexvar_epi64(0x55, high, pixels));
    }
    return out + 8 * channels;
}

/* As emit_planes, in bfloat16. */
CLVI_BYTES_ON_STACK static void emit_half_planes(const clvi_normalize *p, const uint8_t *planes, int64_t plane,
                                                 int64_t n, int64_t channels, uint16_t *out)
{
    const __m512i zero = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i += CLVI_BYTES) {
        __m512i channel[3][2];
        for (int c = 0; c < 3; c++) halves_of(p->half_part[c], planes + c * plane + i, channel[c]);
        for (int h = 0; h < 2; h++)
            for (int q = 0; q < 2; q++) {
                const __m512i r = channel[0][h], g = channel[1][h], b = channel[2][h];
                const __m512i red_green = q ? _mm512_unpackhi_epi16(r, g) : _mm512_unpacklo_epi16(r, g);
                const __m512i blue = q ? _mm512_unpackhi_epi16(b, zero) : _mm512_unpacklo_epi16(b, zero);
                out = store_halves(_mm512_unpacklo_epi32(red_green, blue), channels, out);
                out = store_halves(_mm512_unpackhi_epi32(red_green, blue), channels, out);
            }
    }
}

/* Of an RGB picture in planes, as many pixels as there are whole registers of. */
static int64_t block_pixels(const clvi_frame *f)
{
    if (!f->planes || f->channels != 3 || clvi_augment_path(f->plain) != CLVI_PATH_AVX512) return 0;
    return (int64_t)f->height * f->width / CLVI_BYTES * CLVI_BYTES;
}
#else
#define emit_planes(p, planes, plane, n, out) ((void)0)
#define emit_half_planes(p, planes, plane, n, channels, out) ((void)0)

static int64_t block_pixels(const clvi_frame *f)
{
    (void)f;
    return 0;
}
#endif

static void emit_floats(const clvi_normalize *p, const clvi_frame *f, float *out)
{
    const int64_t done = block_pixels(f);
    if (done) emit_planes(p, f->planes, f->plane_stride, done, out);
    out += done * f->channels;
    for (int y = (int)(done / f->width), x = (int)(done % f->width); y < f->height; y++, x = 0) {
        const uint8_t *row = f->pixels + y * f->row_stride + x * f->pixel_stride;
        out = f->channels == 1 ? emit_row_1(p->table, row, f->pixel_stride, f->width, out)
                               : emit_row_3(p->table, row, f->pixel_stride, f->plane_stride, f->width - x, out);
    }
}

static void emit_wide_floats(const clvi_normalize *p, const clvi_frame *f, int64_t channels, float *out)
{
    const int64_t step = f->pixel_stride, plane = f->plane_stride;
    const bool color = f->channels == 3;
    for (int y = 0; y < f->height; y++) {
        const uint8_t *pixel = f->pixels + y * f->row_stride;
        for (int x = 0; x < f->width; x++, pixel += step, out += channels) {
            out[0] = p->table[0][pixel[0]];
            out[1] = color ? p->table[1][pixel[plane]] : 0;
            out[2] = color ? p->table[2][pixel[2 * plane]] : 0;
            out[3] = 0;
            if (channels == 8) memset(out + 4, 0, 4 * sizeof *out);
        }
    }
}

/* A pixel is one word of four bfloat16s, put together from its channels' tables; of eight, four are always 0. */
CLVI_BODY emit_half_row(const clvi_normalize *p, const uint8_t *pixel, int64_t step, int64_t plane, int width, int in,
                        size_t channels, uint16_t *out)
{
    for (int x = 0; x < width; x++, pixel += step, out += channels) {
        uint64_t word[2] = { p->half[0][pixel[0]], 0 };
        if (in == 3) word[0] |= p->half[1][pixel[plane]] | p->half[2][pixel[2 * plane]];
        memcpy(out, word, channels * sizeof *out);
    }
}

static void emit_half(const clvi_normalize *p, const clvi_frame *f, int64_t channels, uint16_t *out)
{
    const int64_t done = block_pixels(f), step = f->pixel_stride, plane = f->plane_stride;
    const bool color = f->channels == 3;
    if (done) emit_half_planes(p, f->planes, plane, done, channels, out);
    out += done * channels;
    for (int y = (int)(done / f->width), x = (int)(done % f->width); y < f->height; y++, x = 0) {
        const uint8_t *row = f->pixels + y * f->row_stride + x * step;
        const int n = f->width - x;
        if (channels == 8 && color) emit_half_row(p, row, step, plane, n, 3, 8, out);   /* copied by few instructions */
        else if (channels == 4 && color) emit_half_row(p, row, step, plane, n, 3, 4, out);
        else if (color) emit_half_row(p, row, step, plane, n, 3, 3, out);
        else emit_half_row(p, row, step, plane, n, 1, (size_t)channels, out);
        out += n * channels;
    }
}

static clv_status normalize_emit(const void *params, const clvi_frame *f, const clv_form *form, void *out)
{
    const clvi_normalize *p = params;
    CLV_CHECK(p->channels == 1 || f->channels == p->channels, CLV_ERR_SHAPE,
              "normalize: mean or std names %d channels, the picture has %d", p->channels, f->channels);
    if (form->dtype == CLV_BF16) emit_half(p, f, form->channels, out);
    else if (form->channels == f->channels) emit_floats(p, f, out);
    else emit_wide_floats(p, f, form->channels, out);
    return CLV_OK;
}

const clvi_augment_class clvi_augment_normalize = {
    .info = { "normalize", "bytes to floats: (value / 255 - mean) / std per channel; the last step",
              "torchvision ToTensor and Normalize", CLVI_COUNT(normalize_options) - 1 },
    .params_size = sizeof(clvi_normalize), .options = normalize_options,
    .prepare = normalize_prepare, .emit = normalize_emit,
};
