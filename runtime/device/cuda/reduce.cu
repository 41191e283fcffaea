/* reduce.cu: sum or mean over one axis or over everything, and its gradient. A mean over nothing is 0. */
#include "device/cuda/cu.h"

/* A value seen as [outer, length, inner] with `length` the axis reduced. */
struct extents { int64_t outer, length, inner; };

static extents extents_of(const clvi_desc *x, int axis)
{
    extents e = { 1, 1, 1 };
    for (int i = 0; i < x->ndim; i++) {
        if (axis < 0 || i == axis) e.length *= x->shape[i];
        else if (i < axis) e.outer *= x->shape[i];
        else e.inner *= x->shape[i];
    }
    return e;
}

/* One block a result where neighbours in memory are summed, else one thread a result, its neighbours beside it. */
template <class T> static clv_status reduce_of(const clvi_op_call *call)
{
    const clvi_reduce_attr *attr = (const clvi_reduce_attr *)call->attr;
    const extents e = extents_of(&call->in[0], attr->axis);
    const double divisor = attr->mean && e.length > 0 ? (double)e.length : 1;
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    if (e.inner == 1)
        return clvi_cu_rows(call, e.outer, [=] __device__ (int64_t row) {
            double sum = 0;
            for (int64_t j = threadIdx.x; j < e.length; j += CLVI_CU_THREADS) sum += (double)x[row * e.length + j];
            sum = clvi_cu_block_sum(sum);
            if (threadIdx.x == 0) y[row] = (T)(sum / divisor);
        });
    return clvi_cu_each(call, e.outer * e.inner, [=] __device__ (int64_t i) {
        const T *in = x + i / e.inner * e.length * e.inner + i % e.inner;
        double sum = 0;
        for (int64_t j = 0; j < e.length; j++) sum += (double)in[j * e.inner];
        y[i] = (T)(sum / divisor);
    });
}

static clv_status reduce(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], reduce_of, call); }
CLVI_CU_KERNEL(reduce);

template <class T> static clv_status reduce_bwd_of(const clvi_op_call *call)
{
    const clvi_reduce_attr *attr = (const clvi_reduce_attr *)call->attr;
    const extents e = extents_of(&call->out[0], attr->axis);
    const double divisor = attr->mean ? (double)e.length : 1;
    const T *dy = (const T *)call->in_data[0];
    T *dx = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) {
        dx[i] = (T)((double)dy[i / (e.length * e.inner) * e.inner + i % e.inner] / divisor);
    });
}

static clv_status reduce_bwd(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], reduce_bwd_of, call); }
CLVI_CU_KERNEL(reduce_bwd);
