/* pool2d.cu: maximum and average pooling, channels last. Padding never wins a maximum and is not counted in an average;
 * of equal values the first in row-major order is the maximum. The workspace of max_pool2d holds, for each output, the
 * winner's index in its plane. Gradients gather: each pixel looks at the windows it is in, so nothing is added twice.
 * */
#include "device/cuda/cu.h"

struct pooling {
    int64_t channels, h, w, oh, ow;
    int64_t kernel[2], stride[2], pad[2];
};

static pooling pooling_of(const clvi_op_call *call, const clvi_desc *x, const clvi_desc *y)
{
    const clvi_pool2d_attr *a = (const clvi_pool2d_attr *)call->attr;
    pooling p = { x->shape[1], x->shape[2], x->shape[3], y->shape[2], y->shape[3], {}, {}, {} };
    for (int i = 0; i < 2; i++) p.kernel[i] = a->kernel[i], p.stride[i] = a->stride[i], p.pad[i] = a->pad[i];
    return p;
}

/* Rows and columns of x under an output. */
struct window { int64_t top, bottom, left, right; };

static __device__ window window_at(const pooling &p, int64_t row, int64_t col)
{
    const int64_t top = row * p.stride[0] - p.pad[0], left = col * p.stride[1] - p.pad[1];
    const int64_t bottom = top + p.kernel[0], right = left + p.kernel[1];
    return { top > 0 ? top : 0, bottom < p.h ? bottom : p.h, left > 0 ? left : 0, right < p.w ? right : p.w };
}

/* The outputs whose windows hold row or column `at` of x: [first, last]. */
static __device__ void holders(int64_t at, int64_t pad, int64_t kernel, int64_t stride, int64_t count, int64_t *first,
                               int64_t *last)
{
    const int64_t reach = at + pad - kernel;              /* windows that begin after it hold `at` */
    *first = reach < 0 ? 0 : reach / stride + 1;
    *last = (at + pad) / stride < count ? (at + pad) / stride : count - 1;
}

/* dx: each pixel adds up what share(output, its own index in the plane, the window) says of every output that holds it. */
template <class T, class F> static clv_status gather(const clvi_op_call *call, const pooling &p, F share)
{
    T *dx = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) {
        const int64_t c = i % p.channels, col = i / p.channels % p.w, row = i / (p.channels * p.w) % p.h;
        const int64_t plane = i / (p.channels * p.w * p.h) * p.oh * p.ow;
        int64_t r0, r1, k0, k1;
        holders(row, p.pad[0], p.kernel[0], p.stride[0], p.oh, &r0, &r1);
        holders(col, p.pad[1], p.kernel[1], p.stride[1], p.ow, &k0, &k1);
        typename clvi_cu_wide<T>::type sum = 0;
        for (int64_t r = r0; r <= r1; r++)
            for (int64_t k = k0; k <= k1; k++)
                sum += share((plane + r * p.ow + k) * p.channels + c, row * p.w + col, window_at(p, r, k));
        dx[i] = (T)sum;
    });
}

static clv_status channels_last(clvi_op_call *call)
{
    clvi_desc_make_nhwc(&call->in[0]);
    clvi_desc_make_nhwc(&call->out[0]);
    return CLV_OK;
}

/* ---- maximum ---- */

template <class T> static clv_status max_pool2d_of(const clvi_op_call *call)
{
    const pooling p = pooling_of(call, &call->in[0], &call->out[0]);
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    int32_t *winner = clvi_cu_output<int32_t>(call, 1);
    return clvi_cu_each_long(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) {
        const int64_t c = i % p.channels, col = i / p.channels % p.ow, row = i / (p.channels * p.ow) % p.oh;
        const T *plane = x + i / (p.channels * p.ow * p.oh) * p.h * p.w * p.channels + c;
        const window win = window_at(p, row, col);
        int64_t best = win.top * p.w + win.left;
        for (int64_t r = win.top; r < win.bottom; r++)
            for (int64_t k = win.left; k < win.right; k++)
                if (plane[(r * p.w + k) * p.channels] > plane[best * p.channels]) best = r * p.w + k;
        y[i] = plane[best * p.channels];
        if (winner) winner[i] = (int32_t)best;
    });
}

static clv_status max_pool2d(const clvi_op_call *call) { return CLVI_CU_BY_ANY_TYPE(call->in[0], max_pool2d_of, call); }

static clv_status prepare_max(clvi_op_call *call)
{
    const size_t count = (size_t)clvi_desc_count(&call->out[0]);
    call->out[1].bytes = (count ? count : 1) * sizeof(int32_t);
    return channels_last(call);
}
CLVI_CU_KERNEL_WITH(max_pool2d, clvi_cu_accepts_half, prepare_max);

template <class T> static clv_status max_pool2d_bwd_of(const clvi_op_call *call)
{
    const T *dy = (const T *)call->in_data[0];
    const int32_t *winner = (const int32_t *)call->in_data[1];
    return gather<T>(call, pooling_of(call, &call->out[0], &call->in[0]),
                     [=] __device__ (int64_t at, int64_t pixel, window) { return winner[at] == pixel ? dy[at] : T(0); });
}

static clv_status max_pool2d_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_ANY_TYPE(call->out[0], max_pool2d_bwd_of, call);
}
CLVI_CU_KERNEL_WITH(max_pool2d_bwd, clvi_cu_accepts_half, channels_last);

/* ---- average ---- */

template <class T> static clv_status avg_pool2d_of(const clvi_op_call *call)
{
    const pooling p = pooling_of(call, &call->in[0], &call->out[0]);
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) {
        const int64_t c = i % p.channels, col = i / p.channels % p.ow, row = i / (p.channels * p.ow) % p.oh;
        const T *plane = x + i / (p.channels * p.ow * p.oh) * p.h * p.w * p.channels + c;
        const window win = window_at(p, row, col);
        double sum = 0;
        for (int64_t r = win.top; r < win.bottom; r++)
            for (int64_t k = win.left; k < win.right; k++) sum += (double)plane[(r * p.w + k) * p.channels];
        y[i] = (T)(sum / (double)((win.bottom - win.top) * (win.right - win.left)));
    });
}

static clv_status avg_pool2d(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->in[0], avg_pool2d_of, call); }
CLVI_CU_KERNEL_WITH(avg_pool2d, nullptr, channels_last);

template <class T> static clv_status avg_pool2d_bwd_of(const clvi_op_call *call)
{
    const T *dy = (const T *)call->in_data[0];
    return gather<T>(call, pooling_of(call, &call->out[0], &call->in[0]),
                     [=] __device__ (int64_t at, int64_t, window win) {
                         return dy[at] / (T)((win.bottom - win.top) * (win.right - win.left));
                     });
}

static clv_status avg_pool2d_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], avg_pool2d_bwd_of, call);
}
CLVI_CU_KERNEL_WITH(avg_pool2d_bwd, nullptr, channels_last);
