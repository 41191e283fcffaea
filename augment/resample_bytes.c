/* resample_bytes.c: the two passes of resample.c for processors that permute and multiply bytes (AVX-512 VBMI and
 * VNNI), with the same sums. A weight of 22 fractional bits is three signed digits of 8 bits, so a sum of four products
 * is three instructions for 16 places. */
#include "augment/bytes.h"
#include "augment/resample_taps.h"
#include <string.h>

#define TAPS   4      /* weights of one product */
#define LANES  16     /* sums of one register */
#define DIGITS 3
#define WINDOW 64     /* bytes of a register; a permutation chooses from one or two */
#define QUADS  4      /* at most, along a row: more taps come from further away than two windows anyway */
#define STRIP  64     /* rows taken at once, so that both sides of the first pass stay in the nearest cache */

/* Digit d of four weights, one a byte. */
typedef struct quad {
    uint32_t digit[DIGITS];
} quad;

/* Four taps of LANES neighbouring values of a row: which bytes of the windows they are, and their weights. */
typedef struct gather {
    _Alignas(64) uint32_t index[LANES];
    uint32_t digit[DIGITS][LANES];
    uint64_t mask[2];   /* bytes of the windows that count; no others are touched */
    int64_t  base;      /* of the first window in the row */
} gather;

static int quad_count(int taps)
{
    return (taps + TAPS - 1) / TAPS;
}

/* The digits lie in -128..127: bytes of weight + 128 * (1 + 256 + 65536), each less 128. */
static quad quad_make(const int32_t *weight, int count)
{
    quad q = { { 0 } };
    for (int t = 0; t < TAPS; t++) {
        const uint32_t shifted = (uint32_t)(t < count ? weight[t] : 0) + 0x808080u;
        for (int d = 0; d < DIGITS; d++) q.digit[d] |= ((shifted >> 8 * d & 255u) ^ 128u) << 8 * t;
    }
    return q;
}

/* ---- layout of temp ---- */

typedef struct layout {
    size_t  quads, gathers, line, middle;   /* bytes of each part */
    int64_t middle_stride;
} layout;

static layout layout_make(int rows, int h, int w, int channels, int taps_x, int taps_y)
{
    const size_t values = (size_t)w * (size_t)channels, quads_x = (size_t)CLVI_MIN(quad_count(taps_x), QUADS);
    layout l = { .middle_stride = (int64_t)clvi_round_up(values, WINDOW) };
    const size_t quads = CLVI_MAX((size_t)w * quads_x, (size_t)h * (size_t)quad_count(taps_y));
    l.quads = clvi_round_up(quads * sizeof(quad), CLVI_ALIGN);
    l.gathers = clvi_round_up(values, LANES) / LANES * quads_x * sizeof(gather);
    l.line = clvi_round_up(values, 3 * WINDOW);
    l.middle = (size_t)rows * (size_t)l.middle_stride;
    return l;
}

size_t clvi_resample_bytes_temp(int rows, int h, int w, int channels, int taps_x, int taps_y)
{
    const layout l = layout_make(rows, h, w, channels, taps_x, taps_y);
    return l.quads + l.gathers + l.line + l.middle;
}

/* ---- weights ---- */

static void quads_make(const clvi_taps *w, int n, int quads, quad *out)
{
    for (int i = 0; i < n; i++)
        for (int q = 0; q < quads; q++)
            *out++ = quad_make(w->weight + i * w->taps + q * TAPS, w->count[i] - q * TAPS);
}

/* Quad q of the values from `value` on, of n; a value is a pixel's channel. The last byte it takes, or -1. */
static int64_t gather_make(const clvi_taps *w, const quad *quads, int quads_each, int q, int value, int n,
                           int channels, gather *out)
{
    int64_t reach = -1;
    memset(out, 0, sizeof *out);
    int x = value / channels, c = value % channels;
    out->base = (int64_t)(w->first[x] + q * TAPS) * channels;
    for (int k = 0; k < CLVI_MIN(n - value, LANES); k++, x += c + 1 == channels, c = c + 1 == channels ? 0 : c + 1) {
        const int taps = CLVI_MIN(w->count[x] - q * TAPS, TAPS);
        if (taps <= 0) continue;
        const int64_t from = (int64_t)(w->first[x] + q * TAPS) * channels + c - out->base;
        reach = CLVI_MAX(reach, from + (taps - 1) * channels);
        /* Unused taps may lie beyond the windows: any byte will do, their weight is 0. */
        out->index[k] = (uint32_t)from * 0x01010101u + (uint32_t)channels * 0x03020100u;
        for (int d = 0; d < DIGITS; d++) out->digit[d][k] = quads[x * quads_each + q].digit[d];
    }
    for (int k = 0; k < 2; k++) {
        const int64_t bytes = CLVI_MIN(CLVI_MAX(reach + 1 - k * WINDOW, 0), WINDOW);
        out->mask[k] = bytes ? ~UINT64_C(0) >> (WINDOW - bytes) : 0;
    }
    return reach;
}

/* How many windows the farthest one needs. */
static int64_t gathers_make(const clvi_taps *w, const quad *quads, int quads_each, int n, int channels, gather *out)
{
    int64_t reach = 0;
    for (int value = 0; value < n; value += LANES)
        for (int q = 0; q < quads_each; q++, out++) {
            const int64_t last = gather_make(w, quads, quads_each, q, value, n, channels, out);
            reach = CLVI_MAX(reach, last);
        }
    return reach / WINDOW + 1;
}

#if CLVI_AUGMENT_BYTES
typedef struct sums {
    __m512i digit[DIGITS];
} sums;

CLVI_BYTES_INLINE void sums_begin(sums *s)
{
    s->digit[0] = _mm512_set1_epi32(1 << (CLVI_WEIGHT_BITS - 1));
    s->digit[1] = s->digit[2] = _mm512_setzero_si512();
}

/* The rounded sums, which a cubic's weights may leave outside of 0..255. */
CLVI_BYTES_INLINE __m512i sums_end(const sums *s)
{
    const __m512i high = _mm512_add_epi32(_mm512_slli_epi32(s->digit[2], 8), s->digit[1]);
    return _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(high, 8), s->digit[0]), CLVI_WEIGHT_BITS);
}

/* ---- along the rows ---- */

CLVI_BYTES_INLINE void narrow_rows(const uint8_t *in, int64_t in_stride, int rows, const gather *g, int quads,
                                   int64_t windows, uint8_t *out, int64_t out_stride)
{
    for (int y = 0; y < rows; y++, in += in_stride, out += out_stride) {
        sums s;
        sums_begin(&s);
        for (int q = 0; q < quads; q++) {
            const __m512i index = _mm512_load_si512(g[q].index);
            const __m512i near = _mm512_maskz_loadu_epi8(g[q].mask[0], in + g[q].base);
            __m512i bytes = _mm512_permutexvar_epi8(index, near);
            if (windows > 1) {
                const __m512i far = _mm512_maskz_loadu_epi8(g[q].mask[1], in + g[q].base + WINDOW);
                bytes = _mm512_permutex2var_epi8(near, index, far);
            }
            for (int d = 0; d < DIGITS; d++)
                s.digit[d] = _mm512_dpbusd_epi32(s.digit[d], bytes, _mm512_load_si512(g[q].digit[d]));
        }
        const __m512i sum = _mm512_max_epi32(sums_end(&s), _mm512_setzero_si512());
        _mm_storeu_si128((__m128i *)(void *)out, _mm512_cvtusepi32_epi8(sum));
    }
}

/* Few quads stay in registers for all rows. */
CLVI_AUGMENT_AVX512 static void narrow(const uint8_t *in, int64_t in_stride, int rows, const gather *g, int quads,
                                       int64_t windows, uint8_t *out, int64_t out_stride)
{
    if (windows > 1) narrow_rows(in, in_stride, rows, g, quads, 2, out, out_stride);
    else if (quads == 1) narrow_rows(in, in_stride, rows, g, 1, 1, out, out_stride);
    else if (quads == 2) narrow_rows(in, in_stride, rows, g, 2, 1, out, out_stride);
    else narrow_rows(in, in_stride, rows, g, quads, 1, out, out_stride);
}

static void narrow_all(const uint8_t *in, int64_t in_stride, int rows, const gather *g, int quads, int64_t windows,
                       int n, uint8_t *out, int64_t out_stride)
{
    for (int y = 0; y < rows; y += STRIP) {
        const gather *at = g;
        for (int value = 0; value < n; value += LANES, at += quads)
            narrow(in + y * in_stride, in_stride, CLVI_MIN(rows - y, STRIP), at, quads, windows,
                   out + y * out_stride + value, out_stride);
    }
}

/* ---- down the columns ---- */

/* WINDOW places from quads of rows; `count` rows from `in` on have a weight. Unpacking and packing within parts of 128
 * bits cancel out. */
CLVI_BYTES_INLINE __m512i lower_block(const uint8_t *in, int64_t stride, const quad *quads, int count)
{
    sums s[4];
    for (int k = 0; k < 4; k++) sums_begin(&s[k]);
    for (int t = 0; t < count; t += TAPS, quads++) {
        __m512i row[TAPS], pair[TAPS], four[4];
        for (int k = 0; k < TAPS; k++) row[k] = _mm512_loadu_si512(in + CLVI_MIN(t + k, count - 1) * stride);
        pair[0] = _mm512_unpacklo_epi8(row[0], row[1]);
        pair[1] = _mm512_unpackhi_epi8(row[0], row[1]);
        pair[2] = _mm512_unpacklo_epi8(row[2], row[3]);
        pair[3] = _mm512_unpackhi_epi8(row[2], row[3]);
        four[0] = _mm512_unpacklo_epi16(pair[0], pair[2]);
        four[1] = _mm512_unpackhi_epi16(pair[0], pair[2]);
        four[2] = _mm512_unpacklo_epi16(pair[1], pair[3]);
        four[3] = _mm512_unpackhi_epi16(pair[1], pair[3]);
        for (int d = 0; d < DIGITS; d++) {
            const __m512i weight = _mm512_set1_epi32((int)quads->digit[d]);
            for (int k = 0; k < 4; k++) s[k].digit[d] = _mm512_dpbusd_epi32(s[k].digit[d], four[k], weight);
        }
    }
    return _mm512_packus_epi16(_mm512_packs_epi32(sums_end(&s[0]), sums_end(&s[1])),
                               _mm512_packs_epi32(sums_end(&s[2]), sums_end(&s[3])));
}

/* n bytes of one output row; nothing beyond them is written. */
CLVI_AUGMENT_AVX512 static void lower_row(const uint8_t *in, int64_t stride, const quad *quads, int count, int64_t n,
                                          uint8_t *out)
{
    for (int64_t x = 0; x < n; x += WINDOW)
        _mm512_mask_storeu_epi8(out + x, clvi_bytes_first(n - x), lower_block(in + x, stride, quads, count));
}

/* Where the bytes of three planes are in WINDOW RGB triples, and which of them are in the last third. */
typedef struct splitter {
    __m512i   place[3];
    __mmask64 third[3];
} splitter;

CLVI_AUGMENT_AVX512 static void splitter_make(splitter *s)
{
    uint8_t place[WINDOW];
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < WINDOW; i++) place[i] = (uint8_t)(3 * i + c);
        s->place[c] = _mm512_loadu_si512(place);
        s->third[c] = _mm512_movepi8_mask(s->place[c]);
    }
}

/* RGB triples to three planes. */
CLVI_AUGMENT_AVX512 static void split_row(const splitter *s, const uint8_t *rgb, int w, uint8_t *out, int64_t plane)
{
    for (int x = 0; x < w; x += WINDOW, rgb += 3 * WINDOW) {
        const __m512i a = _mm512_loadu_si512(rgb), b = _mm512_loadu_si512(rgb + WINDOW);
        const __m512i end = _mm512_loadu_si512(rgb + 2 * WINDOW);
        for (int c = 0; c < 3; c++) {
            const __m512i two = _mm512_permutex2var_epi8(a, s->place[c], b);
            const __m512i all = _mm512_mask_permutexvar_epi8(two, s->third[c], s->place[c], end);
            _mm512_mask_storeu_epi8(out + c * plane + x, clvi_bytes_first(w - x), all);
        }
    }
}

/* ---- both ---- */

bool clvi_resample_bytes(const clvi_frame *f, const uint8_t *pixels, int h, int w, const clvi_taps *wx,
                         const clvi_taps *wy, uint8_t *temp, uint8_t *out)
{
    const int groups = f->pixel_stride == 1 ? f->channels : 1, channels = f->channels / groups;
    const int quads_x = quad_count(wx->longest), quads_y = quad_count(wy->longest), n = w * channels;
    const int first = wy->first[0], rows = wy->first[h - 1] + wy->count[h - 1] - first;
    const layout l = layout_make(rows, h, w, channels, wx->longest, wy->longest);
    quad *quads = (quad *)(void *)temp;
    gather *gathers = (gather *)(void *)(temp + l.quads);
    uint8_t *line = temp + l.quads + l.gathers, *middle = line + l.line;
    splitter thirds;
    if (quads_x > QUADS) return false;
    quads_make(wx, w, quads_x, quads);
    const int64_t windows = gathers_make(wx, quads, quads_x, n, channels, gathers);
    if (windows > 2) return false;
    quads_make(wy, h, quads_y, quads);
    splitter_make(&thirds);

    const int64_t plane = (int64_t)h * w;
    const uint8_t *in = pixels + first * f->row_stride;
    for (int g = 0; g < groups; g++) {
        narrow_all(in + g * f->plane_stride, f->row_stride, rows, gathers, quads_x, windows, n, middle,
                   l.middle_stride);
        for (int y = 0; y < h; y++) {
            const uint8_t *from = middle + (wy->first[y] - first) * l.middle_stride;
            uint8_t *to = out + g * plane + (int64_t)y * w;
            lower_row(from, l.middle_stride, quads + y * quads_y, wy->count[y], n, channels == 3 ? line : to);
            if (channels == 3) split_row(&thirds, line, w, to, plane);
        }
    }
    return true;
}

#else

bool clvi_resample_bytes(const clvi_frame *f, const uint8_t *pixels, int h, int w, const clvi_taps *wx,
                         const clvi_taps *wy, uint8_t *temp, uint8_t *out)
{
    (void)f, (void)pixels, (void)h, (void)w, (void)wx, (void)wy, (void)temp, (void)out;
    return false;
}

#endif
