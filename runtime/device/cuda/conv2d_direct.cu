/* conv2d_direct.cu: convolutions one thread a result: what cuDNN has no engine for, and what the emulator computes
 * with. Values are dense. And what a folded batch norm needs beside a convolution, whoever does that. */
#include "device/cuda/cu.h"
#include "device/cuda/tf32.h"
extern "C" {
#include "device/cuda/passes.h"
}

struct conv {
    int64_t n, c, h, w, o, kh, kw, gc, go, oh, ow;      /* gc, go: channels of x and of y in a group */
    int64_t sh, sw, ph, pw;
    bool    tf32;
};

static conv conv_of(const clvi_op_call *call, const clvi_desc *x, const clvi_desc *w, const clvi_desc *y)
{
    const clvi_conv2d_attr *a = (const clvi_conv2d_attr *)call->attr;
    return { x->shape[0], x->shape[1], x->shape[2], x->shape[3], w->shape[0], w->shape[2], w->shape[3], w->shape[1],
             w->shape[0] / a->groups, y->shape[2], y->shape[3], a->stride[0], a->stride[1], a->pad[0], a->pad[1],
             call->tf32 };
}

static clv_status all_dense(clvi_op_call *call)
{
    for (int i = 0; i < 2; i++) clvi_desc_make_dense(&call->in[i]);
    clvi_desc_make_dense(&call->out[0]);
    return CLV_OK;
}

template <class T, class R> static clv_status convolve(const clvi_op_call *call, const T *w, R *y)
{
    const conv s = conv_of(call, &call->in[0], &call->in[1], &call->out[0]);
    const T *x = (const T *)call->in_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t at) {
        const int64_t q = at % s.ow, p = at / s.ow % s.oh, o = at / (s.ow * s.oh) % s.o, n = at / (s.ow * s.oh * s.o);
        const T *image = x + (n * s.c + o / s.go * s.gc) * s.h * s.w, *filter = w + o * s.gc * s.kh * s.kw;
        double sum = 0;
        for (int64_t c = 0; c < s.gc; c++)
            for (int64_t i = 0; i < s.kh; i++)
                for (int64_t j = 0; j < s.kw; j++) {
                    const int64_t row = p * s.sh - s.ph + i, col = q * s.sw - s.pw + j;
                    if (row < 0 || row >= s.h || col < 0 || col >= s.w) continue;
                    sum += clvi_cu_operand(image[(c * s.h + row) * s.w + col], s.tf32) *
                           clvi_cu_operand(filter[(c * s.kh + i) * s.kw + j], s.tf32);
                }
        y[at] = (R)sum;
    });
}

template <class T> static clv_status conv2d_of(const clvi_op_call *call)
{
    return convolve(call, (const T *)call->in_data[1], (T *)call->out_data[0]);
}

static clv_status conv2d(const clvi_op_call *call) { return CLVI_CU_BY_ANY_TYPE(call->out[0], conv2d_of, call); }
CLVI_CU_KERNEL_WITH(conv2d, clvi_cu_accepts_half, all_dense);

/* Each pixel gathers from the outputs it took part in. */
template <class T> static clv_status conv2d_bwd_data_of(const clvi_op_call *call)
{
    const conv s = conv_of(call, &call->out[0], &call->in[1], &call->in[0]);
    const T *dy = (const T *)call->in_data[0], *w = (const T *)call->in_data[1];
    T *dx = (T *)call->out_data[0];
    return clvi_cu_each_long(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t at) {
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
                    sum += clvi_cu_operand(dy[((n * s.o + o) * s.oh + p) * s.ow + q], s.tf32) *
                           clvi_cu_operand(w[((o * s.gc + c) * s.kh + i) * s.kw + j], s.tf32);
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
            sum += clvi_cu_operand(x[((n * s.c + c) * s.h + row) * s.w + col], s.tf32) *
                   clvi_cu_operand(dy[((n * s.o + o) * s.oh + p) * s.ow + q], s.tf32);
        }
        dw[at] = (R)sum;
    });
}

static clv_status conv2d_bwd_weights(const clvi_op_call *call)
{
    return CLVI_CU_BY_ANY_TYPE(call->in[0], conv2d_bwd_weights_of, call);
}
CLVI_CU_KERNEL_WITH(conv2d_bwd_weights, clvi_cu_accepts_half, all_dense);

/* ---- a convolution and the batch norm (in evaluation) behind it ---- */

enum { X, W, GAMMA, BETA, MEAN, VAR, SUM };

/* scale = gamma / sqrt(var + eps), offset = beta - scale mean. */
template <class R> static clv_status norm_channels(const clvi_op_call *call, R *scale, R *offset)
{
    const R *gamma = (const R *)call->in_data[GAMMA], *beta = (const R *)call->in_data[BETA];
    const R *mean = (const R *)call->in_data[MEAN], *var = (const R *)call->in_data[VAR];
    const double eps = ((const clvi_conv2d_norm_attr *)call->attr)->eps;
    return clvi_cu_each(call, call->out[0].shape[1], [=] __device__ (int64_t c) {
        const double a = (gamma ? (double)gamma[c] : 1.0) / sqrt((double)var[c] + eps);
        scale[c] = (R)a;
        offset[c] = (R)((beta ? (double)beta[c] : 0.0) - a * (double)mean[c]);
    });
}

/* Weights [O, ...], whatever the order within a channel. */
template <class R> static clv_status norm_weights(const clvi_op_call *call, const R *scale, R *weights)
{
    const R *w = (const R *)call->in_data[W];
    const int64_t count = clvi_desc_count(&call->in[W]), each = count / call->in[W].shape[0];
    return clvi_cu_each(call, count, [=] __device__ (int64_t i) { weights[i] = w[i] * scale[i / each]; });
}

/* y = relu?(x scale? + offset + sum?), x a convolution's result that may lie where y does. */
template <class T, class A, class R>
static clv_status norm_results(const clvi_op_call *call, const A *x, const R *scale, const R *offset)
{
    const clvi_desc *out = &call->out[0];
    const T *sum = (const T *)call->in_data[SUM];
    T *y = (T *)call->out_data[0];
    const bool relu = ((const clvi_conv2d_norm_attr *)call->attr)->relu;
    const int64_t channels = out->shape[1], inner = out->stride[1];      /* 1 where they come last */
    return clvi_cu_each(call, clvi_desc_count(out), [=] __device__ (int64_t at) {
        const int64_t c = at / inner % channels;
        R v = (R)x[at];
        v = (scale ? v * scale[c] : v) + offset[c];
        if (sum) v += (R)sum[at];
        y[at] = (T)(relu && v < 0 ? R(0) : v);
    });
}

extern "C" clv_status clvi_cuda_norm_channels(const clvi_op_call *call, float *scale, float *offset)
{
    return norm_channels(call, scale, offset);
}

extern "C" clv_status clvi_cuda_norm_weights(const clvi_op_call *call, const float *scale, float *weights)
{
    return norm_weights(call, scale, weights);
}

extern "C" clv_status clvi_cuda_norm_results(const clvi_op_call *call, const float *scale, const float *offset)
{
    if (call->out[0].dtype == CLV_BF16)
        return norm_results<clvi_cu_half>(call, (const clvi_cu_half *)call->out_data[0], scale, offset);
    return norm_results<float>(call, (const float *)call->out_data[0], scale, offset);
}

/* The scratch memory: scales, offsets, then the weights times their scale, or, in bfloat16, results in float32. */
static clv_status norm_prepare(clvi_op_call *call)
{
    const size_t each = call->out[0].dtype == CLV_F64 ? sizeof(double) : sizeof(float);
    const clvi_desc *third = call->out[0].dtype == CLV_BF16 ? &call->out[0] : &call->in[W];
    if (call->in[SUM].dtype != CLV_DTYPE_COUNT) clvi_desc_make_dense(&call->in[SUM]);
    call->scratch_size = (size_t)(2 * call->out[0].shape[1] + clvi_desc_count(third)) * each;
    return all_dense(call);
}

template <class T> static clv_status conv2d_norm_of(const clvi_op_call *call)
{
    typedef typename clvi_cu_wide<T>::type R;
    R *scale = (R *)call->scratch, *offset = scale + call->out[0].shape[1], *third = offset + call->out[0].shape[1];
    CLV_TRY(norm_channels(call, scale, offset));
    if (call->out[0].dtype == CLV_BF16) {                   /* folded weights would be rounded twice */
        CLV_TRY(convolve(call, (const T *)call->in_data[W], third));
        return norm_results<T>(call, (const R *)third, (const R *)scale, (const R *)offset);
    }
    CLV_TRY(norm_weights(call, scale, third));
    CLV_TRY(convolve(call, (const T *)(const void *)third, (T *)call->out_data[0]));
    return norm_results<T>(call, (const T *)call->out_data[0], (const R *)nullptr, (const R *)offset);
}

static clv_status conv2d_norm(const clvi_op_call *call)
{
    return CLVI_CU_BY_ANY_TYPE(call->out[0], conv2d_norm_of, call);
}
CLVI_CU_KERNEL_WITH(conv2d_norm, clvi_cu_accepts_half, norm_prepare);
