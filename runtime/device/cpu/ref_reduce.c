/* ref_reduce.c: sum or mean over one axis or over everything, and its gradient. A mean over nothing is 0. */
#ifndef REAL

#include "device/cpu/ref.h"

/* A value seen as [outer, length, inner] with `length` the axis reduced. */
typedef struct extents {
    int64_t outer, length, inner;
} extents;

static extents extents_of(const clvi_desc *x, int axis)
{
    if (axis < 0) return (extents){ 1, clvi_desc_count(x), 1 };
    return (extents){ clvi_desc_extent(x, 0, axis), x->shape[axis], clvi_desc_extent(x, axis + 1, x->ndim) };
}

#define SELF "device/cpu/ref_reduce.c"
#include "device/cpu/real.h"

static clv_status reduce(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, clvi_desc_count(&call->out[0]), 64, reduce_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(reduce);

static clv_status reduce_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, clvi_desc_count(&call->out[0]), CLVI_REF_CHUNK, reduce_bwd_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(reduce_bwd);

#else

static void FN(reduce_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_reduce_attr *attr = call->attr;
    const extents e = extents_of(&call->in[0], attr->axis);
    const double divisor = attr->mean && e.length > 0 ? (double)e.length : 1;
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)call->in_data[0] + i / e.inner * e.length * e.inner + i % e.inner;
        double sum = 0;
        for (int64_t j = 0; j < e.length; j++) sum += x[j * e.inner];
        y[i] = (REAL)(sum / divisor);
    }
}

static void FN(reduce_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_reduce_attr *attr = call->attr;
    const extents e = extents_of(&call->out[0], attr->axis);
    const double divisor = attr->mean ? (double)e.length : 1;
    const REAL *dy = call->in_data[0];
    REAL *dx = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        dx[i] = (REAL)(dy[i / (e.length * e.inner) * e.inner + i % e.inner] / divisor);
}

#endif
