/* normalize.c: bytes to floats: (value / 255 - mean) / std per channel, in single precision. Ends every chain. */
#include "augment/bytes.h"
#include "augment/normalize.h"
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
        for (int v = 0; v < 256; v++) {
            uint32_t bits;
            p->table[c][v] = ((float)v / 255.0f - p->m[c]) / p->s[c];
            memcpy(&bits, &p->table[c][v], sizeof bits);
            for (int k = 0; k < 4; k++) p->part[c][k][v] = (uint8_t)(bits >> 8 * k);
        }
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

CLVI_AUGMENT_AVX512 static void weave_make(weave *w)
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
CLVI_AUGMENT_AVX512 static void emit_planes(const clvi_normalize *p, const uint8_t *planes, int64_t plane, int64_t n,
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

/* As many pixels of an RGB picture in planes as there are whole registers of; how many that was. */
static int64_t emit_blocks(const clvi_normalize *p, const clvi_frame *f, float *out)
{
    const int64_t n = (int64_t)f->height * f->width / CLVI_BYTES * CLVI_BYTES;
    if (!f->planes || f->channels != 3 || clvi_augment_path(f->plain) != CLVI_PATH_AVX512) return 0;
    emit_planes(p, f->planes, f->plane_stride, n, out);
    return n;
}
#else
static int64_t emit_blocks(const clvi_normalize *p, const clvi_frame *f, float *out)
{
    (void)p, (void)f, (void)out;
    return 0;
}
#endif

static clv_status normalize_emit(const void *params, const clvi_frame *f, float *out)
{
    const clvi_normalize *p = params;
    CLV_CHECK(p->channels == 1 || f->channels == p->channels, CLV_ERR_SHAPE,
              "normalize: mean or std names %d channels, the picture has %d", p->channels, f->channels);
    const int64_t done = emit_blocks(p, f, out);
    out += done * f->channels;
    for (int y = (int)(done / f->width), x = (int)(done % f->width); y < f->height; y++, x = 0) {
        const uint8_t *row = f->pixels + y * f->row_stride + x * f->pixel_stride;
        out = f->channels == 1 ? emit_row_1(p->table, row, f->pixel_stride, f->width, out)
                               : emit_row_3(p->table, row, f->pixel_stride, f->plane_stride, f->width - x, out);
    }
    return CLV_OK;
}

const clvi_augment_class clvi_augment_normalize = {
    .info = { "normalize", "bytes to floats: (value / 255 - mean) / std per channel; the last step",
              "torchvision ToTensor and Normalize", CLVI_COUNT(normalize_options) - 1 },
    .params_size = sizeof(clvi_normalize), .options = normalize_options,
    .prepare = normalize_prepare, .emit = normalize_emit,
};
