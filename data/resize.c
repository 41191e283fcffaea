/* resize.c: antialiased resizing of 8-bit pictures with a triangle filter. */
#include "data/resize.h"
#include "core/checked.h"
#include <math.h>

#define FRACTION 22

/* For each output place the first input place and the weights of those that follow. */
typedef struct axis {
    int64_t  taps;      /* room for weights of one place */
    int64_t *first, *count;
    int32_t *weight;    /* [out, taps] */
} axis;

static clv_status plan_axis(clv_context *ctx, clvi_buffer *memory, int64_t in, int64_t out, axis *a)
{
    const double scale = (double)in / (double)out, support = fmax(scale, 1.0);
    a->taps = 2 * (int64_t)ceil(support) + 1;
    const size_t ints = (size_t)out * (2 * sizeof(int64_t) + (size_t)a->taps * sizeof(int32_t));
    CLV_TRY(clvi_buffer_reserve(ctx, memory, ints));
    a->first = (int64_t *)(void *)memory->data;
    a->count = a->first + out;
    a->weight = (int32_t *)(a->count + out);
    for (int64_t o = 0; o < out; o++) {
        const double centre = ((double)o + 0.5) * scale;
        const int64_t lo = CLVI_MAX((int64_t)(centre - support + 0.5), 0);
        const int64_t hi = CLVI_MIN((int64_t)(centre + support + 0.5), in);
        double sum = 0.0;
        for (int64_t i = lo; i < hi; i++) sum += fmax(0.0, 1.0 - fabs(((double)i - centre + 0.5) / support));
        for (int64_t i = lo; i < hi; i++) {
            const double w = fmax(0.0, 1.0 - fabs(((double)i - centre + 0.5) / support)) / sum;
            a->weight[o * a->taps + i - lo] = (int32_t)(0.5 + w * (1 << FRACTION));
        }
        a->first[o] = lo;
        a->count[o] = hi - lo;
    }
    return CLV_OK;
}

/* One output value from `count` bytes that lie `step` apart. */
static uint8_t weigh(const uint8_t *in, int64_t step, const int32_t *weight, int64_t count)
{
    int64_t sum = (int64_t)1 << (FRACTION - 1);
    for (int64_t i = 0; i < count; i++) sum += (int64_t)in[i * step] * weight[i];
    return (uint8_t)CLVI_MIN(sum >> FRACTION, 255);
}

static void across(const clv_image *in, const axis *a, int64_t width, uint8_t *out)
{
    const int64_t c = in->channels;
    for (int64_t y = 0; y < in->height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int64_t k = 0; k < c; k++)
                *out++ = weigh(in->pixels + y * in->row_stride + a->first[x] * c + k, c, a->weight + x * a->taps,
                               a->count[x]);
}

static void down(const uint8_t *in, int64_t row, const axis *a, int64_t height, uint8_t *out)
{
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < row; x++)
            *out++ = weigh(in + a->first[y] * row + x, row, a->weight + y * a->taps, a->count[y]);
}

clv_status clvi_resize(clv_context *ctx, clvi_resizer *r, const clv_image *in, int64_t height, int64_t width,
                       clv_image *out)
{
    axis a;
    const int64_t c = in->channels, row = width * c;
    CLV_TRY(clvi_buffer_reserve(ctx, &r->half, (size_t)(in->height * row)));
    CLV_TRY(clvi_buffer_reserve(ctx, &r->out, (size_t)(height * row)));
    CLV_TRY(plan_axis(ctx, &r->weights, in->width, width, &a));
    across(in, &a, width, r->half.data);
    CLV_TRY(plan_axis(ctx, &r->weights, in->height, height, &a));
    down(r->half.data, row, &a, height, r->out.data);
    *out = (clv_image){ r->out.data, height, width, c, row };
    return CLV_OK;
}

void clvi_resizer_free(clv_context *ctx, clvi_resizer *r)
{
    clvi_free(ctx, r->weights.data);
    clvi_free(ctx, r->half.data);
    clvi_free(ctx, r->out.data);
    *r = (clvi_resizer){ 0 };
}
