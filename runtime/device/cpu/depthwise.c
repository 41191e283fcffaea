/* depthwise.c: convolution of each channel with a filter of its own, stride 1, and its two gradients, in float32 with
 * the channels innermost, 16 at a time. Formulas as in ref_conv2d.c. Filters lie as [kh,kw,C]. */
#include "core/checked.h"
#include "device/attr.h"
#include "device/cpu/isa.h"

#define STRIP 4             /* neighbouring pixels that share a weight once it is loaded */
#define TAPS  7             /* weights of a filter's row that share a pixel of the gradient */

/* A picture that is read, a filter, a picture that is written. Backward of the data is the same with the filter turned
 * around. */
typedef struct plane {
    int64_t channels, kh, kw;
    int64_t h, w, ph, pw;       /* of what is read */
    int64_t oh, ow;             /* of what is written */
    bool    turned;
} plane;

static plane plane_of(const clvi_op_call *call, bool turned)
{
    const clvi_conv2d_attr *a = call->attr;
    const int64_t *in = call->in[0].shape, *w = call->in[1].shape, *out = call->out[0].shape;
    return (plane){ .channels = in[1], .kh = w[2], .kw = w[3], .h = in[2], .w = in[3], .oh = out[2], .ow = out[3],
                    .ph = turned ? w[2] - 1 - a->pad[0] : a->pad[0], .pw = turned ? w[3] - 1 - a->pad[1] : a->pad[1],
                    .turned = turned };
}

/* Channels c to c+15 of `count` neighbouring pixels of one row; every tap of theirs lies inside the row read. */
CLVI_INLINE void strip(const plane *p, const float *x, const float *w, float *y, int64_t row, int64_t col, int64_t c,
                       const int count)
{
    clvi_v16f sum[STRIP] = { { 0 } }, weight, pixel;
    for (int64_t i = CLVI_MAX(p->ph - row, 0); i < CLVI_MIN(p->kh, p->h + p->ph - row); i++)
        for (int64_t j = CLVI_MAX(p->pw - col, 0); j < CLVI_MIN(p->kw, p->w + p->pw - col); j++) {
            const int64_t tap = p->turned ? (p->kh - 1 - i) * p->kw + p->kw - 1 - j : i * p->kw + j;
            const float *from = x + ((row - p->ph + i) * p->w + col - p->pw + j) * p->channels;
            clvi_load16(&weight, w + tap * p->channels, c, p->channels, 0);
            for (int u = 0; u < count; u++) {
                clvi_load16(&pixel, from + u * p->channels, c, p->channels, 0);
                sum[u] += weight * pixel;
            }
        }
    for (int u = 0; u < count; u++) clvi_store16(&sum[u], y + (row * p->ow + col + u) * p->channels, c, p->channels);
}

/* Row r of picture n is item n * rows + r. */
CLVI_INLINE void rows(const clvi_op_call *call, const plane *p, int64_t begin, int64_t end)
{
    for (int64_t item = begin; item < end; item++) {
        const int64_t n = item / p->oh, row = item % p->oh;
        const float *x = (const float *)call->in_data[0] + n * p->h * p->w * p->channels, *w = call->in_data[1];
        float *y = (float *)call->out_data[0] + n * p->oh * p->ow * p->channels;
        for (int64_t c = 0; c < p->channels; c += CLVI_LANES)
            for (int64_t col = 0; col < p->ow;) {
                const bool inside = col >= p->pw && col + STRIP - 1 - p->pw + p->kw <= p->w && col + STRIP <= p->ow;
                if (inside) strip(p, x, w, y, row, col, c, STRIP);
                else strip(p, x, w, y, row, col, c, 1);
                col += inside ? STRIP : 1;
            }
    }
}

CLVI_INLINE void forward_body(void *arg, int64_t begin, int64_t end)
{
    const plane p = plane_of(arg, false);
    rows(arg, &p, begin, end);
}
CLVI_ISA_VARIANTS(forward_body)

CLVI_INLINE void data_body(void *arg, int64_t begin, int64_t end)
{
    const plane p = plane_of(arg, true);
    rows(arg, &p, begin, end);
}
CLVI_ISA_VARIANTS(data_body)

/* ---- gradient of the filters ---- */

/* Sums over one row of dy: taps j to j+count-1 against a row of x that starts `shift` pixels before it. */
CLVI_INLINE void row_taps(const float *x, const float *dy, int64_t w, int64_t ow, int64_t channels, int64_t c,
                          int64_t shift, clvi_v8d (*sum)[2], const int count)
{
    clvi_v16f part[TAPS] = { { 0 } }, up, pixel;
    for (int64_t col = 0; col < ow; col++) {
        clvi_load16(&up, dy + col * channels, c, channels, 0);
        const int64_t first = col - shift;
        const bool inside = first >= 0 && first + count <= w;
        for (int t = 0; t < count; t++) {
            if (!inside && (first + t < 0 || first + t >= w)) continue;
            clvi_load16(&pixel, x + (first + t) * channels, c, channels, 0);
            part[t] += up * pixel;
        }
    }
    for (int t = 0; t < count; t++) {
        clvi_v8d half[2];
        clvi_widen16(half, &part[t]);
        for (int k = 0; k < 2; k++) sum[t][k] += half[k];
    }
}

/* Row i of the filters of 16 channels, block b, is item b * kh + i. Sums over pictures and rows are in double. */
CLVI_INLINE void weights_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_conv2d_attr *a = call->attr;
    const int64_t *x = call->in[0].shape, *dy = call->in[1].shape, channels = x[1];
    const int64_t kh = a->kernel[0], kw = a->kernel[1];
    for (int64_t item = begin; item < end; item++) {
        const int64_t c = item / kh * CLVI_LANES, i = item % kh;
        for (int64_t j = 0; j < kw;) {
            const int count = kw - j >= TAPS ? TAPS : 1;
            clvi_v8d sum[TAPS][2] = { { { 0 }, { 0 } } };
            for (int64_t line = 0; line < dy[0] * dy[2]; line++) {
                const int64_t n = line / dy[2], row = line % dy[2] - a->pad[0] + i;
                if (row < 0 || row >= x[2]) continue;
                const float *from = (const float *)call->in_data[0] + (n * x[2] + row) * x[3] * channels;
                const float *up = (const float *)call->in_data[1] + line * dy[3] * channels;
                if (count == TAPS) row_taps(from, up, x[3], dy[3], channels, c, a->pad[1] - j, sum, TAPS);
                else row_taps(from, up, x[3], dy[3], channels, c, a->pad[1] - j, sum, 1);
            }
            for (int t = 0; t < count; t++) {
                clvi_v16f all;
                clvi_narrow16(&all, sum[t]);
                clvi_store16(&all, (float *)call->out_data[0] + (i * kw + j + t) * channels, c, channels);
            }
            j += count;
        }
    }
}
CLVI_ISA_VARIANTS(weights_body)

/* ---- the kernels ---- */

/* One filter a channel, and no pixel of the result that sees only padding. */
static bool fits(const clvi_op_call *call, const clvi_desc *w, const clvi_desc *other)
{
    const clvi_conv2d_attr *a = call->attr;
    const clvi_desc *x = &call->in[0];
    return x->dtype == CLV_F32 && x->ndim == 4 && w->dtype == CLV_F32 && w->ndim == 4 && other->ndim == 4 &&
           a->groups == x->shape[1] && other->shape[1] == x->shape[1] && w->shape[0] == x->shape[1] &&
           w->shape[1] == 1 && a->stride[0] == 1 && a->stride[1] == 1 && a->pad[0] < w->shape[2] &&
           a->pad[1] < w->shape[3];
}

static bool accepts(const clvi_op_call *call)
{
    return fits(call, &call->in[1], &call->out[0]);
}

static bool weights_accepts(const clvi_op_call *call)
{
    return fits(call, &call->out[0], &call->in[1]);
}

/* Filters [C,1,kh,kw] with the channels innermost. */
static void make_filters(clvi_desc *w)
{
    clvi_desc_make_dense(w);
    w->stride[0] = 1;
    w->stride[2] = w->shape[3] * w->shape[0];
    w->stride[3] = w->shape[0];
}

static clv_status prepare(clvi_op_call *call)
{
    clvi_desc_make_nhwc(&call->in[0]);
    make_filters(&call->in[1]);
    clvi_desc_make_nhwc(&call->out[0]);
    return CLV_OK;
}

static clv_status weights_prepare(clvi_op_call *call)
{
    clvi_desc_make_nhwc(&call->in[0]);
    clvi_desc_make_nhwc(&call->in[1]);
    make_filters(&call->out[0]);
    return CLV_OK;
}

static clv_status forward(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->out[0].shape[0] * call->out[0].shape[2], 1, clvi_isa_pick(forward_body_table),
                      (void *)call);
    return CLV_OK;
}

static clv_status data(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->out[0].shape[0] * call->out[0].shape[2], 1, clvi_isa_pick(data_body_table),
                      (void *)call);
    return CLV_OK;
}

static clv_status weights(const clvi_op_call *call)
{
    const int64_t blocks = (call->out[0].shape[0] + CLVI_LANES - 1) / CLVI_LANES;
    clvi_parallel_for(call->ctx, blocks * call->out[0].shape[2], 1, clvi_isa_pick(weights_body_table), (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_depthwise = {
    .op = "conv2d", .name = "cpu", .accepts = accepts, .prepare = prepare, .run = forward,
};
const clvi_kernel clvi_kernel_cpu_depthwise_bwd_data = {
    .op = "conv2d_bwd_data", .name = "cpu", .accepts = accepts, .prepare = prepare, .run = data,
};
const clvi_kernel clvi_kernel_cpu_depthwise_bwd_weights = {
    .op = "conv2d_bwd_weights", .name = "cpu", .accepts = weights_accepts, .prepare = weights_prepare, .run = weights,
};
