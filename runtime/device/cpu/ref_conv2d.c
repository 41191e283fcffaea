/* ref_conv2d.c: y[n,o,p,q] = sum_{c,i,j} x[n, C' g + c, p sh - ph + i, q sw - pw + j] w[o,c,i,j], C' the channels of a
 * group, g the group of o; and its two gradients. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

/* Sizes of one convolution, from whichever of x, w, y the operation has. */
typedef struct conv_sizes {
    int64_t n, c, h, w;      /* x */
    int64_t o, kh, kw;       /* weights */
    int64_t gc, go;          /* channels of x and of y in a group */
    int64_t oh, ow;          /* y */
    int64_t sh, sw, ph, pw;
} conv_sizes;

static conv_sizes sizes_of(const clvi_conv2d_attr *a, const clvi_desc *x, const clvi_desc *w, const clvi_desc *y)
{
    return (conv_sizes){
        .n = x->shape[0], .c = x->shape[1], .h = x->shape[2], .w = x->shape[3],
        .o = w->shape[0], .kh = w->shape[2], .kw = w->shape[3],
        .oh = y->shape[2], .ow = y->shape[3],
        .gc = x->shape[1] / a->groups, .go = w->shape[0] / a->groups,
        .sh = a->stride[0], .sw = a->stride[1], .ph = a->pad[0], .pw = a->pad[1],
    };
}

#define SELF "device/cpu/ref_conv2d.c"
#include "device/cpu/real.h"

static clv_status conv2d(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[0].shape[0] * call->out[0].shape[1], 1, conv2d_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(conv2d);

/* The plane at a time, so that what follows finds it in a cache. */
static clv_status conv2d_norm(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[0].shape[0] * call->out[0].shape[1], 1, conv2d_norm_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(conv2d_norm);

static clv_status conv2d_bwd_data(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[0].shape[0] * call->out[0].shape[1], 1, conv2d_bwd_data_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(conv2d_bwd_data);

static clv_status conv2d_bwd_weights(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[0].shape[0] * call->out[0].shape[1], 1, conv2d_bwd_weights_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(conv2d_bwd_weights);

#else

/* Plane (n, o) of y is item n * O + o. */
static void FN(conv2d_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const conv_sizes s = sizes_of(call->attr, &call->in[0], &call->in[1], &call->out[0]);
    const REAL *x = call->in_data[0], *w = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t item = begin; item < end; item++) {
        const int64_t group = item % s.o / s.go;
        const REAL *image = x + (item / s.o * s.c + group * s.gc) * s.h * s.w;
        const REAL *filter = w + item % s.o * s.gc * s.kh * s.kw;
        for (int64_t p = 0; p < s.oh; p++)
            for (int64_t q = 0; q < s.ow; q++) {
                double sum = 0;
                for (int64_t c = 0; c < s.gc; c++)
                    for (int64_t i = 0; i < s.kh; i++)
                        for (int64_t j = 0; j < s.kw; j++) {
                            const int64_t row = p * s.sh - s.ph + i, col = q * s.sw - s.pw + j;
                            if (row < 0 || row >= s.h || col < 0 || col >= s.w) continue;
                            sum += (double)image[(c * s.h + row) * s.w + col] * filter[(c * s.kh + i) * s.kw + j];
                        }
                y[(item * s.oh + p) * s.ow + q] = (REAL)sum;
            }
    }
}

/* A channel's scale and offset are applied to each of its planes once that is convolved. */
static void FN(conv2d_norm_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_conv2d_norm_attr *attr = call->attr;
    const REAL *gamma = call->in_data[2], *beta = call->in_data[3], *mean = call->in_data[4], *var = call->in_data[5];
    const REAL *sum = call->in_data[6];
    const int64_t channels = call->out[0].shape[1], pixels = call->out[0].shape[2] * call->out[0].shape[3];
    REAL *y = call->out_data[0];
    FN(conv2d_range)(arg, begin, end);
    for (int64_t item = begin; item < end; item++) {
        const int64_t c = item % channels;
        const double scale = (gamma ? (double)gamma[c] : 1.0) / sqrt((double)var[c] + attr->eps);
        for (int64_t i = item * pixels; i < (item + 1) * pixels; i++) {
            double v = ((double)y[i] - (double)mean[c]) * scale + (beta ? (double)beta[c] : 0.0);
            if (sum) v += (double)sum[i];
            y[i] = attr->relu && v < 0 ? 0 : (REAL)v;
        }
    }
}

/* Plane (n, c) of dx is item n * C + c; each pixel gathers from the outputs it took part in. */
static void FN(conv2d_bwd_data_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const conv_sizes s = sizes_of(call->attr, &call->out[0], &call->in[1], &call->in[0]);
    const REAL *dy = call->in_data[0], *w = call->in_data[1];
    REAL *dx = call->out_data[0];
    for (int64_t item = begin; item < end; item++) {
        const int64_t n = item / s.c, group = item % s.c / s.gc, c = item % s.c % s.gc;
        for (int64_t row = 0; row < s.h; row++)
            for (int64_t col = 0; col < s.w; col++) {
                double sum = 0;
                for (int64_t o = group * s.go; o < (group + 1) * s.go; o++)
                    for (int64_t i = 0; i < s.kh; i++)
                        for (int64_t j = 0; j < s.kw; j++) {
                            const int64_t down = row + s.ph - i, right = col + s.pw - j;
                            if (down < 0 || down % s.sh || right < 0 || right % s.sw) continue;
                            const int64_t p = down / s.sh, q = right / s.sw;
                            if (p >= s.oh || q >= s.ow) continue;
                            sum += (double)dy[((n * s.o + o) * s.oh + p) * s.ow + q] *
                                   w[((o * s.gc + c) * s.kh + i) * s.kw + j];
                        }
                dx[(item * s.h + row) * s.w + col] = (REAL)sum;
            }
    }
}

/* Plane (o, c) of dw is item o * C' + c. */
static void FN(conv2d_bwd_weights_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const conv_sizes s = sizes_of(call->attr, &call->in[0], &call->out[0], &call->in[1]);
    const REAL *x = call->in_data[0], *dy = call->in_data[1];
    REAL *dw = call->out_data[0];
    for (int64_t item = begin; item < end; item++) {
        const int64_t o = item / s.gc, c = o / s.go * s.gc + item % s.gc;
        for (int64_t i = 0; i < s.kh; i++)
            for (int64_t j = 0; j < s.kw; j++) {
                double sum = 0;
                for (int64_t n = 0; n < s.n; n++)
                    for (int64_t p = 0; p < s.oh; p++)
                        for (int64_t q = 0; q < s.ow; q++) {
                            const int64_t row = p * s.sh - s.ph + i, col = q * s.sw - s.pw + j;
                            if (row < 0 || row >= s.h || col < 0 || col >= s.w) continue;
                            sum += (double)x[((n * s.c + c) * s.h + row) * s.w + col] *
                                   dy[((n * s.o + o) * s.oh + p) * s.ow + q];
                        }
                dw[(item * s.kh + i) * s.kw + j] = (REAL)sum;
            }
    }
}

#endif
