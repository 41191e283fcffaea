/* box_blur.c: what Pillow's GaussianBlur does: three box filters of fractional length per direction, each rounded to
 * bytes (Gwosdek et al. 2011, "Theoretical foundations of Gaussian convolution by extended box filtering"). */
#include "augment/box_blur.h"
#include "augment/bytes.h"
#include "augment/lower.h"
#include <math.h>
#include <string.h>

#define BOX_PASSES 3
#define BOX_REACH  32   /* more than the radius of a box for sigma 16, and one more for the fraction */
#define BOX_BLOCK  64
#define BOX_ROWS   16   /* taken at once along rows */
_Static_assert(BOX_BLOCK <= CLVI_FRAME_SLACK, "blocks read past the end of a row");

/* A box of length 2 * radius + 1 and a bit: inner bytes weigh `whole`, the two outermost `part`, of 2^24. */
typedef struct box {
    int      radius;
    uint32_t whole, part;
} box;

static box box_make(float sigma)
{
    const float variance = sigma * sigma / BOX_PASSES;
    const float length = (float)sqrt(12.0 * (double)variance + 1.0);
    const float whole = (float)floor(((double)length - 1.0) / 2.0);
    float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
    part /= 6 * (variance - (whole + 1) * (whole + 1));
    const float radius = whole + part;
    box b = { .radius = (int)radius };
    b.whole = (uint32_t)((float)(1u << 24) / (radius * 2 + 1));
    b.part = ((1u << 24) - (uint32_t)(b.radius * 2 + 1) * b.whole) / 2;
    return b;
}

/* out[i] for i < n from the bytes in[i + t * step], t = 0 .. 2 * radius + 2; `in` may be read up to BOX_BLOCK bytes
 * further. */
CLVI_BODY box_run_body(const uint8_t *in, int64_t step, const box *b, int64_t n, uint8_t *out)
{
    const int last = 2 * b->radius + 2;
    const uint32_t whole = b->whole, part = b->part;
    for (int64_t i = 0; i < n; i += BOX_BLOCK) {
        uint16_t sum[BOX_BLOCK] = { 0 };
        uint8_t bytes[BOX_BLOCK];
        for (int t = 1; t < last; t++)
            for (int j = 0; j < BOX_BLOCK; j++) sum[j] = (uint16_t)(sum[j] + in[t * step + i + j]);
        const uint8_t *first = in + i, *end = in + last * step + i;
        for (int j = 0; j < BOX_BLOCK; j++)
            bytes[j] = (uint8_t)((sum[j] * whole + (uint32_t)(first[j] + end[j]) * part + (1u << 23)) >> 24);
        memcpy(out + i, bytes, (size_t)CLVI_MIN(n - i, BOX_BLOCK));
    }
}

#if CLVI_AUGMENT_BYTES

/* Both weights side by side, as products of 16 bits take them: a digit of 12 bits from `shift` on, up to 2^12 itself. */
CLVI_BYTES_INLINE __m512i digits(const box *b, int shift, uint32_t mask)
{
    return _mm512_set1_epi32((int)((b->whole >> shift & mask) | (b->part >> shift & mask) << 16));
}

/* 16 outputs from (sum of inner bytes, sum of outer bytes). */
CLVI_BYTES_INLINE __m512i weigh(__m512i sums, __m512i low, __m512i high)
{
    const __m512i small = _mm512_dpwssd_epi32(_mm512_set1_epi32(1 << 23), sums, low);
    const __m512i large = _mm512_slli_epi32(_mm512_madd_epi16(sums, high), 12);
    return _mm512_srli_epi32(_mm512_add_epi32(small, large), 24);
}

/* Unpacking and packing within parts of 128 bits cancel out. */
CLVI_BYTES_INLINE void box_run_radius(const uint8_t *in, int64_t step, const box *b, int radius, int64_t n,
                                      uint8_t *out)
{
    const __m512i zero = _mm512_setzero_si512(), low = digits(b, 0, 0xfff), high = digits(b, 12, 0x1fff);
    const int last = 2 * radius + 2;
    for (int64_t i = 0; i < n; i += BOX_BLOCK) {
        const __m512i first = _mm512_loadu_si512(in + i), end = _mm512_loadu_si512(in + last * step + i);
        const __m512i outer0 = _mm512_add_epi16(_mm512_unpacklo_epi8(first, zero), _mm512_unpacklo_epi8(end, zero));
        const __m512i outer1 = _mm512_add_epi16(_mm512_unpackhi_epi8(first, zero), _mm512_unpackhi_epi8(end, zero));
        __m512i inner0 = zero, inner1 = zero;
        for (int t = 1; t < last; t++) {
            const __m512i bytes = _mm512_loadu_si512(in + t * step + i);
            inner0 = _mm512_add_epi16(inner0, _mm512_unpacklo_epi8(bytes, zero));
            inner1 = _mm512_add_epi16(inner1, _mm512_unpackhi_epi8(bytes, zero));
        }
        const __m512i a = weigh(_mm512_unpacklo_epi16(inner0, outer0), low, high);
        const __m512i c = weigh(_mm512_unpackhi_epi16(inner0, outer0), low, high);
        const __m512i d = weigh(_mm512_unpacklo_epi16(inner1, outer1), low, high);
        const __m512i e = weigh(_mm512_unpackhi_epi16(inner1, outer1), low, high);
        const __m512i bytes = _mm512_packus_epi16(_mm512_packus_epi32(a, c), _mm512_packus_epi32(d, e));
        _mm512_mask_storeu_epi8(out + i, clvi_bytes_first(n - i), bytes);
    }
}

/* Unrolled for the radii of sigma up to 2. */
CLVI_AUGMENT_AVX512 static void box_run_avx512(const uint8_t *in, int64_t step, const box *b, int64_t n, uint8_t *out)
{
    if (b->radius == 0) box_run_radius(in, step, b, 0, n, out);
    else if (b->radius == 1) box_run_radius(in, step, b, 1, n, out);
    else box_run_radius(in, step, b, b->radius, n, out);
}
CLVI_PATHS_BY_HAND(box_run, (const uint8_t *in, int64_t step, const box *b, int64_t n, uint8_t *out),
                   (in, step, b, n, out))
#else
CLVI_PATHS(box_run, (const uint8_t *in, int64_t step, const box *b, int64_t n, uint8_t *out), (in, step, b, n, out))
#endif

/* Rows of one plane with `reach` bytes on either side of each, one after another. */
typedef struct padded_rows {
    int rows, width, reach;
} padded_rows;

static int64_t padded_stride(const padded_rows *p)
{
    return p->width + 2 * p->reach;
}

/* The border repeats. */
static void pad_rows(const padded_rows *p, uint8_t *bytes)
{
    for (int y = 0; y < p->rows; y++, bytes += padded_stride(p)) {
        memset(bytes, bytes[p->reach], (size_t)p->reach);
        memset(bytes + p->reach + p->width, bytes[p->reach + p->width - 1], (size_t)p->reach);
    }
}

/* All passes along some rows, which are one run: what it leaves in the padding is replaced after each pass. */
static void box_along_rows(const clvi_frame *f, const box *b, int rows, uint8_t *plane)
{
    const padded_rows p = { rows, f->width, b->radius + 1 };
    const int64_t stride = padded_stride(&p);
    uint8_t *in = f->temp, *out = in + BOX_ROWS * (f->width + 2 * BOX_REACH) + BOX_BLOCK;
    for (int y = 0; y < rows; y++) memcpy(in + y * stride + p.reach, plane + (int64_t)y * p.width, (size_t)p.width);
    for (int pass = 0; pass < BOX_PASSES; pass++) {
        pad_rows(&p, in);
        box_run_choose(f->plain)(in, 1, b, rows * stride - 2 * p.reach, out + p.reach);
        uint8_t *next = out;
        out = in;
        in = next;
    }
    for (int y = 0; y < rows; y++) memcpy(plane + (int64_t)y * p.width, in + y * stride + p.reach, (size_t)p.width);
}

/* Rows whose box crosses the border are gathered one by one, the others are one run. */
static void box_down_plane(const clvi_frame *f, const box *b, const uint8_t *in, uint8_t *out)
{
    const int reach = b->radius + 1, w = f->width, inner = f->height - 2 * reach;
    for (int y = 0; y < f->height; y++) {
        if (inner > 0 && y == reach) {
            box_run_choose(f->plain)(in, w, b, (int64_t)inner * w, out + (int64_t)y * w);
            y += inner;
        }
        for (int t = 0; t <= 2 * reach; t++) {
            const int from = CLVI_MIN(CLVI_MAX(y + t - reach, 0), f->height - 1);
            memcpy(f->temp + (int64_t)t * w, in + (int64_t)from * w, (size_t)w);
        }
        box_run_choose(f->plain)(f->temp, w, b, w, out + (int64_t)y * w);
    }
}

/* For two buffers of padded rows, or for the rows of one box. */
size_t clvi_box_blur_temp(int width)
{
    const size_t along = 2 * (BOX_ROWS * (size_t)(width + 2 * BOX_REACH) + BOX_BLOCK);
    const size_t down = (2 * BOX_REACH + 1) * (size_t)width + BOX_BLOCK;
    return CLVI_MAX(along, down);
}

void clvi_box_blur(clvi_frame *f, double sigma)
{
    const box b = box_make((float)sigma);
    const int64_t n = (int64_t)f->height * f->width, rows = (int64_t)f->height * f->channels;
    for (int64_t y = 0; y < rows; y += BOX_ROWS)
        box_along_rows(f, &b, (int)CLVI_MIN(rows - y, BOX_ROWS), f->planes + y * f->width);
    for (int pass = 0; pass < BOX_PASSES; pass++) {
        uint8_t *out = clvi_frame_spare(f);
        for (int c = 0; c < f->channels; c++) box_down_plane(f, &b, f->planes + c * n, out + c * n);
        clvi_frame_adopt_spare(f, f->height, f->width);
    }
}

clv_status clvi_box_blur_lower(double sigma, const clvi_geometry *in, clvi_pixel_list *list)
{
    const box b = box_make((float)sigma);
    const clvi_pixel_op op = { .kind = CLVI_PIXEL_BOX, .height = in->height, .width = in->width,
                               .n = { b.radius, (int32_t)b.whole, (int32_t)b.part } };
    clvi_pixel_append(list, &op, in->channels);
    return CLV_OK;
}
