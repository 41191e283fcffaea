/* conv2d_direct.cu: convolutions one thread a result: what cuDNN has no engine for, and what the emulator computes
 * with. Values are dense. */
#include "device/cuda/cu.h"

struct conv {
    int64_t n, c, h, w, o, kh, kw, gc, go, oh, ow;      /* gc, go: channels of x and of y in a group */
    int64_t sh, sw, ph, pw;
};

static conv conv_of(const clvi_op_call *call, const clvi_desc *x, const clvi_desc *w, const clvi_desc *y)
{
    const clvi_conv2d_attr *a = (const clvi_conv2d_attr *)call->attr;
    return { x->shape[0], x->shape[1], x->shape[2], x->shape[3], w->shape[0], w->shape[2], w->shape[3], w->shape[1],
             w->shape[0] / a->groups, y->shape[2], y->shape[3], a->stride[0], a->stride[1], a->pad[0], a->pad[1] };
}

static clv_status all_dense(clvi_op_call *call)
{
    for (int i = 0; i < 2; i++) clvi_desc_make_dense(&call->in[i]);
    clvi_desc_make_dense(&call->out[0]);
    return CLV_OK;
}

template <class T> static clv_status conv2d_of(const clvi_op_call *call)
{
    const conv s = conv_of(call, &call->in[0], &call->in[1], &call->out[0]);
    const T *x = (const T *)call->in_data[0], *w = (const T *)call->in_data[1];
    T *y = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t at) {
        const int64_t q = at % s.ow, p = at / s.ow % s.oh, o = at / (s.ow * s.oh) % s.o, n = at / (s.ow * s.oh * s.o);
        const T *image = x + (n * s.c + o / s.go * s.gc) * s.h * s.w, *filter = w + o * s.gc * s.kh * s.kw;
        double sum = 0;
        for (int64_t c = 0; c < s.gc; c++)
            for (int64_t i = 0; i < s.kh; i++)
                for (int64_t j = 0; j < s.kw; j++) {
                    const int64_t row = p * s.sh - s.ph + i, col = q * s.sw - s.pw + j;
                    if (row < 0 || row >= s.h || col < 0 || col >= s.w) continue;
                    sum += (double)image[(c * s.h + row) * s.w + col] * (double)filter[(c * s.kh + i) * s.kw + j];
                }
        y[at] = (T)sum;
    });
}

static clv_status conv2d(const clvi_op_call *call) { return CLVI_CU_BY_ANY_TYPE(call->out[0], conv2d_of, call); }
CLVI_CU_KERNEL_WITH(conv2d, clvi_cu_accepts_half, all_dense);

/* Each pixel gathers from the outputs it took part in. */
template <class T> static clv_status conv2d_bwd_data_of(const clvi_op_call *call)
{
    const conv s = conv_of(call, &call->out[0], &call->in[1], &call->in[0]);
    const T *dy = (const T *)call->in_data[0], *w = (const T *)call->in_data[1];
    T *dx = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t at) {
        const int64_t col = at % s.w, row = at / s.w % s.h;
        const int64_t channel = at / (s.w * s.h) % s.c, n = at / (s.w * s.h * s.c);
        const int64_t group = channel / s.gc, c = channel % s.gc;
        double sum = 0;
        for (int64_t o = group * s.go; o < (group + 1) * s.go; o++)
            for (int64_t i = 0; i < s.kh; i++)
                for (int64_t j = 0; j < s.kw; j++) {
                    const int64_t down = row + s.ph - i, right = col + s.pw - j;
                    if (down < 0 || down % s.sh || right < 0 || right % s.sw) continue;
                    const int64_t p = down / s.sh, q = right / s.sw;
                    if (p >= s.oh || q >= s.ow) continue;
                    sum += (double)dy[((n * s.o + o) * s.oh + p) * s.ow + q] *
                           (double)w[((o * s.gc + c) * s.kh + i) * s.kw + j];
                }
        dx[at] = (T)sum;
    });
}

static clv_status conv2d_bwd_data(const clvi_op_call *call)
{
    return CLVI_CU_BY_ANY_TYPE(call->out[0], conv2d_bwd_data_of, call);
}
CLVI_CU_KERNEL_WITH(conv2d_bwd_data, clvi_cu_accepts_half, all_dense);

template <class T> static clv_status conv2d_bwd_weights_of(const clvi_op_call *call)
{
    const conv s = conv_of(call, &call->in[0], &call->out[0], &call->in[1]);
    const T *x = (const T *)call->in_data[0], *dy = (const T *)call->in_data[1];
    typedef typename clvi_cu_wide<T>::type R;
    R *dw = (R *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t at) {
        const int64_t j = at % s.kw, i = at / s.kw % s.kh, item = at / (s.kw * s.kh);
        const int64_t o = item / s.gc, c = o / s.go * s.gc + item % s.gc, pixels = s.oh * s.ow;
        double sum = 0;
        for (int64_t k = 0; k < s.n * pixels; k++) {
            const int64_t n = k / pixels, p = k % pixels / s.ow, q = k % s.ow;
            const int64_t row = p * s.sh - s.ph + i, col = q * s.sw - s.pw + j;
            if (row < 0 || row >= s.h || col < 0 || col >= s.w) continue;
            sum += (double)x[((n * s.c + c) * s.h + row) * s.w + col] *
                   (double)dy[((n * s.o + o) * s.oh + p) * s.ow + q];
        }
        dw[at] = (R)sum;
    });
}

static clv_status conv2d_bwd_weights(const clvi_op_call *call)
{
    return CLVI_CU_BY_ANY_TYPE(call->in[0], conv2d_bwd_weights_of, call);
}
CLVI_CU_KERNEL_WITH(conv2d_bwd_weights, clvi_cu_accepts_half, all_dense);
