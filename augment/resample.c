/* resample.c: two-pass resizing with antialiasing: a triangle filter, or Keys' cubic with a = -1/2, whose support grows
 * with the reduction. Weights are fixed-point with 22 fractional bits and each pass rounds to bytes, as Pillow does: the
 * bytes are equal.
 *
 * Both passes are one kernel: a weighted sum of rows of 32 bytes. For the horizontal pass a strip of 32 picture rows is
 * transposed first, so that a column of the picture is such a row. */
#include "augment/lower.h"
#include "augment/resample_taps.h"
#include <math.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define STRIP       32   /* bytes the kernel takes at once, and rows of a strip */
#define TILE        16   /* the transposition works on TILE x TILE bytes */

/* ---- weights ---- */

static double reach(clvi_filter filter)
{
    return filter == CLVI_BICUBIC ? 2.0 : 1.0;
}

static int tap_count(double scale, clvi_filter filter)
{
    return (int)ceil(reach(filter) * fmax(scale, 1.0)) * 2 + 1;
}

static size_t weights_bytes(int n, double scale, clvi_filter filter)
{
    return clvi_round_up((size_t)n * (size_t)(2 + tap_count(scale, filter)) * sizeof(int32_t), CLVI_ALIGN);
}

static double triangle(double x)
{
    return fmax(1.0 - fabs(x), 0.0);
}

/* Keys 1981, "Cubic convolution interpolation for digital image processing". */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

/* One direction of a box: the stored pixels it touches, and where it begins among them and how long it is in units of
 * them. Whole numbers unless the frame is reduced. */
typedef struct side {
    int    first, count;
    double offset, length;
} side;

static side side_make(int from, int length, int whole, int reduced)
{
    const int last = CLVI_MIN((from + length + reduced - 1) / reduced, (whole + reduced - 1) / reduced);
    side s = { .first = from / reduced, .length = (double)length / reduced };
    s.count = last - s.first;
    s.offset = (double)from / reduced - s.first;
    return s;
}

static clvi_taps weights_make(void *memory, const side *in, int full_size, int first_out, int n, clvi_filter filter)
{
    double (*const shape)(double) = filter == CLVI_BICUBIC ? cubic : triangle;
    const double scale = in->length / full_size, inverse = 1.0 / fmax(scale, 1.0);
    const double support = reach(filter) * fmax(scale, 1.0);
    clvi_taps w = { .taps = tap_count(scale, filter), .first = memory };
    w.count = w.first + n;
    w.weight = w.count + n;
    for (int i = 0; i < n; i++) {
        const double center = in->offset + (first_out + i + 0.5) * scale;
        const int first = CLVI_MAX((int)(center - support + 0.5), 0);
        const int count = CLVI_MIN((int)(center + support + 0.5), in->count) - first;
        double sum = 0.0;
        for (int t = 0; t < count; t++) sum += shape((t + first - center + 0.5) * inverse);
        for (int t = 0; t < count; t++) {
            const double k = shape((t + first - center + 0.5) * inverse) / sum;
            w.weight[i * w.taps + t] = (int32_t)(copysign(0.5, k) + k * (1 << CLVI_WEIGHT_BITS));
        }
        w.first[i] = first;
        w.count[i] = count;
        w.longest = CLVI_MAX(w.longest, count);
    }
    return w;
}

/* ---- the kernel ---- */

static inline __attribute__((always_inline)) void weigh(const uint8_t *in, int64_t step, const int32_t *weight,
                                                        int count, uint8_t *out)
{
    int32_t sum[STRIP];
    for (int j = 0; j < STRIP; j++) sum[j] = 1 << (CLVI_WEIGHT_BITS - 1);
    for (int t = 0; t < count; t++)
        for (int j = 0; j < STRIP; j++) sum[j] += weight[t] * in[t * step + j];
    for (int j = 0; j < STRIP; j++) {
        const int32_t v = sum[j] >> CLVI_WEIGHT_BITS;
        out[j] = (uint8_t)CLVI_MAX(CLVI_MIN(v, 255), 0);   /* weights of a cubic can be negative */
    }
}

/* Rows of `out` follow each other; row i of `in` starts at in + i * step. */
CLVI_BODY weigh_columns_body(const uint8_t *in, int64_t step, const clvi_taps *w, int n, uint8_t *out)
{
    for (int i = 0; i < n; i++)
        weigh(in + w->first[i] * step, step, w->weight + i * w->taps, w->count[i], out + (int64_t)i * STRIP);
}
CLVI_PATHS(weigh_columns, (const uint8_t *in, int64_t step, const clvi_taps *w, int n, uint8_t *out),
               (in, step, w, n, out))

/* in has rows of in_stride bytes, readable up to the next multiple of STRIP; out is width x n without gaps. */
CLVI_BODY weigh_rows_body(const uint8_t *in, int64_t in_stride, const clvi_taps *w, int first_row, int width, int n,
                          uint8_t *out)
{
    uint8_t part[STRIP];
    for (int i = 0; i < n; i++, out += width) {
        const uint8_t *rows = in + (w->first[i] - first_row) * in_stride;
        const int32_t *weight = w->weight + i * w->taps;
        int x = 0;
        for (; x + STRIP <= width; x += STRIP) weigh(rows + x, in_stride, weight, w->count[i], out + x);
        if (x == width) continue;
        weigh(rows + x, in_stride, weight, w->count[i], part);
        memcpy(out + x, part, (size_t)(width - x));
    }
}
CLVI_PATHS(weigh_rows, (const uint8_t *in, int64_t in_stride, const clvi_taps *w, int first_row, int width, int n,
                            uint8_t *out),
               (in, in_stride, w, first_row, width, n, out))

/* ---- transposition ---- */

/* out[j][i] = in[i][j] for i, j < TILE. */
static void transpose_tile(const uint8_t *in, int64_t in_stride, uint8_t *out, int64_t out_stride)
{
#if defined(__SSE2__)
    __m128i a[TILE], b[TILE];
    for (int i = 0; i < TILE; i++) a[i] = _mm_loadu_si128((const __m128i *)(const void *)(in + i * in_stride));
    for (int round = 0; round < 4; round++) {   /* interleaving row i with row i + 8 four times is a transposition */
        for (int i = 0; i < TILE / 2; i++) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + TILE / 2]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + TILE / 2]);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < TILE; i++) _mm_storeu_si128((__m128i *)(void *)(out + i * out_stride), a[i]);
#else
    for (int i = 0; i < TILE; i++)
        for (int j = 0; j < TILE; j++) out[j * out_stride + i] = in[i * in_stride + j];
#endif
}

/* A rows x cols matrix, rows <= STRIP, to cols rows of STRIP bytes. Room for whole tiles is written in `out`; nothing
 * outside the matrix is read. */
static void transpose_strip_in(const uint8_t *in, int64_t in_stride, int rows, int64_t cols, uint8_t *out)
{
    for (int i = 0; i < rows; i += TILE)
        for (int64_t j = 0; j < cols; j += TILE) {
            const uint8_t *from = in + i * in_stride + j;
            int64_t stride = in_stride;
            uint8_t edge[TILE * TILE];
            if (i + TILE > rows || j + TILE > cols) {
                const size_t width = (size_t)CLVI_MIN(cols - j, TILE);
                memset(edge, 0, sizeof edge);
                for (int k = 0; k < CLVI_MIN(rows - i, TILE); k++) memcpy(edge + k * TILE, from + k * stride, width);
                from = edge;
                stride = TILE;
            }
            transpose_tile(from, stride, out + j * STRIP + i, STRIP);
        }
}

/* Back: n rows of STRIP bytes (room for whole tiles) to STRIP rows of out_stride >= round_up(n, TILE) bytes. */
static void transpose_strip_out(const uint8_t *in, int n, uint8_t *out, int64_t out_stride)
{
    for (int i = 0; i < n; i += TILE)
        for (int j = 0; j < STRIP; j += TILE)
            transpose_tile(in + i * STRIP + j, STRIP, out + j * out_stride + i, out_stride);
}

/* ---- both passes ---- */

typedef struct layout {
    size_t  weights_x, weights_y, columns, narrow, middle;   /* bytes of each part of temp */
    int64_t middle_stride, middle_plane;
} layout;

static layout layout_make(const clvi_geometry *in, double scale_x, double scale_y, int h, int w,
                          clvi_filter filter)
{
    const size_t c = (size_t)in->channels;
    layout l = { .weights_x = weights_bytes(w, scale_x, filter),
                 .weights_y = weights_bytes(h, scale_y, filter) };
    l.columns = clvi_round_up((size_t)in->width * c, TILE) * STRIP + TILE * STRIP * c;
    l.narrow = clvi_round_up((size_t)w, TILE) * STRIP * c;
    l.middle_stride = (int64_t)clvi_round_up((size_t)w, STRIP);
    l.middle_plane = (int64_t)clvi_round_up((size_t)in->height, STRIP) * l.middle_stride;
    l.middle = (size_t)l.middle_plane * c;
    return l;
}

size_t clvi_resample_temp(const clvi_geometry *in, double shrink, int h, int w, clvi_filter filter)
{
    const layout l = layout_make(in, shrink, shrink, h, w, filter);
    const int taps = tap_count(shrink, filter);
    const size_t by_bytes = clvi_resample_bytes_temp(in->height, h, w, in->channels, taps, taps);
    return l.weights_x + l.weights_y + CLVI_MAX(l.columns + l.narrow + l.middle, by_bytes);
}

/* The strip of `rows` rows of `cols` pixels from `pixels` on, narrowed to the window's width, into `middle`. */
static void narrow_strip(const clvi_frame *f, const clvi_taps *wx, const uint8_t *pixels, int rows, int cols, int w,
                         uint8_t *columns, uint8_t *narrow, uint8_t *middle, const layout *l)
{
    void (*weigh_all)(const uint8_t *, int64_t, const clvi_taps *, int, uint8_t *) = weigh_columns_choose(f->plain);
    const bool interleaved = f->pixel_stride != 1;
    const int groups = interleaved ? 1 : f->channels;
    const int per_group = f->channels / groups;
    for (int g = 0; g < groups; g++) {
        transpose_strip_in(pixels + g * f->plane_stride, f->row_stride, rows, (int64_t)cols * per_group, columns);
        for (int c = 0; c < per_group; c++) {
            weigh_all(columns + c * STRIP, (int64_t)per_group * STRIP, wx, w, narrow);
            transpose_strip_out(narrow, w, middle + (g + c) * l->middle_plane, l->middle_stride);
        }
    }
}

/* The way that any processor can go. */
static void resample_strips(const clvi_frame *f, const uint8_t *pixels, int cols, int h, int w, const clvi_taps *wx,
                            const clvi_taps *wy, const layout *l, uint8_t *columns, uint8_t *out)
{
    uint8_t *narrow = columns + l->columns, *middle = narrow + l->narrow;
    const int first = wy->first[0], end = wy->first[h - 1] + wy->count[h - 1];
    for (int y = first; y < end; y += STRIP)
        narrow_strip(f, wx, pixels + y * f->row_stride, CLVI_MIN(end - y, STRIP), cols, w, columns, narrow,
                     middle + (y - first) * l->middle_stride, l);
    for (int c = 0; c < f->channels; c++)
        weigh_rows_choose(f->plain)(middle + c * l->middle_plane, l->middle_stride, wy, first, w, h,
                                    out + (int64_t)c * h * w);
}

void clvi_resample_apply(clvi_frame *f, const clvi_resample *r)
{
    const side x = side_make(r->box_x, r->box_w, f->width, f->reduced);
    const side y = side_make(r->box_y, r->box_h, f->height, f->reduced);
    const clvi_geometry box = { y.count, x.count, f->channels };
    const layout l = layout_make(&box, x.length / r->full_w, y.length / r->full_h, r->h, r->w, r->filter);
    const clvi_taps wx = weights_make(f->temp, &x, r->full_w, r->x, r->w, r->filter);
    const clvi_taps wy = weights_make(f->temp + l.weights_x, &y, r->full_h, r->y, r->h, r->filter);
    const uint8_t *pixels = f->pixels + y.first * f->row_stride + x.first * f->pixel_stride;
    uint8_t *temp = f->temp + l.weights_x + l.weights_y, *out = clvi_frame_spare(f);
    if (clvi_augment_path(f->plain) != CLVI_PATH_AVX512 ||
        !clvi_resample_bytes(f, pixels, r->h, r->w, &wx, &wy, temp, out))
        resample_strips(f, pixels, x.count, r->h, r->w, &wx, &wy, &l, temp, out);
    clvi_frame_adopt_spare(f, r->h, r->w);
}

/* The weights of one direction at the end of the tables, with the pixels counted from the picture's first. */
/* False where there is no room. */
static bool lower_side(clvi_pixel_list *list, const side *in, int full, int from, int n, clvi_filter filter,
                       clvi_taps *taps, int32_t *at)
{
    const size_t count = (size_t)n * (size_t)(2 + tap_count(in->length / full, filter));
    void *memory = clvi_pixel_table(list, count * sizeof(int32_t), at);
    if (!memory) return false;
    *taps = weights_make(memory, in, full, from, n, filter);
    for (int i = 0; i < n; i++) taps->first[i] += in->first;
    return true;
}

void clvi_resample_lower(const clvi_geometry *in, const clvi_resample *r, clvi_pixel_list *list)
{
    const side x = side_make(r->box_x, r->box_w, in->width, 1), y = side_make(r->box_y, r->box_h, in->height, 1);
    clvi_pixel_op op = { .kind = CLVI_PIXEL_RESIZE, .height = r->h, .width = r->w };
    clvi_taps taps;
    if (!lower_side(list, &x, r->full_w, r->x, r->w, r->filter, &taps, &op.at)) return;
    op.n[0] = taps.taps;
    if (!lower_side(list, &y, r->full_h, r->y, r->h, r->filter, &taps, &op.more)) return;
    op.n[1] = taps.taps;
    op.n[2] = taps.first[0];
    op.n[3] = taps.first[r->h - 1] + taps.count[r->h - 1] - taps.first[0];
    clvi_pixel_need(list, (size_t)op.n[3] * (size_t)r->w * (size_t)in->channels);
    clvi_pixel_append(list, &op, in->channels);
}
