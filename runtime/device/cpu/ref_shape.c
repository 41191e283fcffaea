/* ref_shape.c: concat, slice, slice_bwd, reorder: operations that only move elements, of any type. */
#include "device/cpu/ref.h"
#include <string.h>

/* A value as [outer, run] where a run covers the axis and everything inside it, in bytes. */
static size_t run_bytes(const clvi_desc *x, int axis)
{
    return (size_t)clvi_ref_extent(x, axis, x->ndim) * clv_dtype_size(x->dtype);
}

static clv_status concat(const clvi_op_call *call)
{
    const clvi_concat_attr *attr = call->attr;
    const int64_t outer = clvi_ref_extent(&call->out[0], 0, attr->axis);
    char *y = call->out_data[0];
    for (int64_t i = 0; i < outer; i++)
        for (int k = 0; k < call->n_in; k++) {
            const size_t run = run_bytes(&call->in[k], attr->axis);
            if (run > 0) memcpy(y, (const char *)call->in_data[k] + (size_t)i * run, run);
            y += run;
        }
    return CLV_OK;
}
CLVI_REF_KERNEL(concat);

static clv_status slice(const clvi_op_call *call)
{
    const clvi_slice_attr *attr = call->attr;
    const clvi_desc *x = &call->in[0], *y = &call->out[0];
    const int64_t outer = clvi_ref_extent(x, 0, attr->axis);
    const size_t step = run_bytes(x, attr->axis), run = run_bytes(y, attr->axis), skip = run_bytes(x, attr->axis + 1);
    const char *from = (const char *)call->in_data[0] + (size_t)attr->begin * skip;
    for (int64_t i = 0; run > 0 && i < outer; i++)
        memcpy((char *)call->out_data[0] + (size_t)i * run, from + (size_t)i * step, run);
    return CLV_OK;
}
CLVI_REF_KERNEL(slice);

static clv_status slice_bwd(const clvi_op_call *call)
{
    const clvi_slice_attr *attr = call->attr;
    const clvi_desc *dy = &call->in[0], *dx = &call->out[0];
    const int64_t outer = clvi_ref_extent(dx, 0, attr->axis);
    const size_t step = run_bytes(dx, attr->axis), run = run_bytes(dy, attr->axis);
    const size_t before = (size_t)attr->begin * run_bytes(dx, attr->axis + 1);
    for (int64_t i = 0; step > 0 && i < outer; i++) {
        char *to = (char *)call->out_data[0] + (size_t)i * step;
        memset(to, 0, step);
        if (run > 0) memcpy(to + before, (const char *)call->in_data[0] + (size_t)i * run, run);
    }
    return CLV_OK;
}
CLVI_REF_KERNEL(slice_bwd);

/* ---- reorder: between any two strided layouts of one type ---- */

static bool reorder_accepts(const clvi_op_call *call)
{
    const clvi_desc *x = &call->in[0], *y = &call->out[0];
    return x->dtype == y->dtype && x->layout == CLVI_LAYOUT_STRIDED && y->layout == CLVI_LAYOUT_STRIDED;
}

/* The layouts are the point of the operation: they stay as they are. */
static clv_status reorder_prepare(clvi_op_call *call)
{
    (void)call;
    return CLV_OK;
}

static void reorder_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_desc *x = &call->in[0], *y = &call->out[0];
    const size_t size = clv_dtype_size(x->dtype);
    for (int64_t i = begin; i < end; i++) {
        int64_t from = 0, to = 0, rest = i;
        for (int d = x->ndim - 1; d >= 0; d--) {
            const int64_t at = rest % x->shape[d];
            rest /= x->shape[d];
            from += at * x->stride[d];
            to += at * y->stride[d];
        }
        memcpy((char *)call->out_data[0] + to * (int64_t)size, (const char *)call->in_data[0] + from * (int64_t)size,
               size);
    }
}

static clv_status reorder(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, clvi_desc_count(&call->in[0]), CLVI_REF_CHUNK, reorder_range, (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_reorder = {
    .op = "reorder", .name = "reference", .accepts = reorder_accepts, .prepare = reorder_prepare, .run = reorder,
};
