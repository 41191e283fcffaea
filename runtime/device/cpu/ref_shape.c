/* ref_shape.c: concat, slice, slice_bwd, reorder: operations that only move elements, of any type. */
#include "core/bf16.h"
#include "device/cpu/ref.h"
#include <string.h>

/* A value as [outer, run] where a run covers the axis and everything inside it, in bytes. */
static size_t run_bytes(const clvi_desc *x, int axis)
{
    return (size_t)clvi_desc_extent(x, axis, x->ndim) * clv_dtype_size(x->dtype);
}

static clv_status concat(const clvi_op_call *call)
{
    const clvi_concat_attr *attr = call->attr;
    const int64_t outer = clvi_desc_extent(&call->out[0], 0, attr->axis);
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
    const int64_t outer = clvi_desc_extent(x, 0, attr->axis);
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
    const int64_t outer = clvi_desc_extent(dx, 0, attr->axis);
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

/* ---- reorder: between any two strided layouts, of one type or of float32 and bfloat16 ---- */

static bool is_half_or_single(clv_dtype type)
{
    return type == CLV_F32 || type == CLV_BF16;
}

static bool reorder_accepts(const clvi_op_call *call)
{
    const clvi_desc *x = &call->in[0], *y = &call->out[0];
    const bool same = x->dtype == y->dtype || (is_half_or_single(x->dtype) && is_half_or_single(y->dtype));
    return same && x->layout == CLVI_LAYOUT_STRIDED && y->layout == CLVI_LAYOUT_STRIDED;
}

/* The layouts are the point of the operation: they stay as they are. */
static clv_status reorder_prepare(clvi_op_call *call)
{
    (void)call;
    return CLV_OK;
}

/* One element, in the type of where it goes. */
static void move(const clvi_desc *x, const char *from, const clvi_desc *y, char *to)
{
    if (x->dtype == y->dtype) {
        memcpy(to, from, clv_dtype_size(x->dtype));
    } else if (y->dtype == CLV_BF16) {
        float value;
        memcpy(&value, from, sizeof value);
        memcpy(to, &(uint16_t){ clvi_bf16_round((double)value) }, sizeof(uint16_t));
    } else {
        uint16_t half;
        memcpy(&half, from, sizeof half);
        memcpy(to, &(float){ clvi_bf16_value(half) }, sizeof(float));
    }
}

static void reorder_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_desc *x = &call->in[0], *y = &call->out[0];
    const int64_t x_size = (int64_t)clv_dtype_size(x->dtype), y_size = (int64_t)clv_dtype_size(y->dtype);
    for (int64_t i = begin; i < end; i++) {
        int64_t from = 0, to = 0, rest = i;
        for (int d = x->ndim - 1; d >= 0; d--) {
            const int64_t at = rest % x->shape[d];
            rest /= x->shape[d];
            from += at * x->stride[d];
            to += at * y->stride[d];
        }
        move(x, (const char *)call->in_data[0] + from * x_size, y, (char *)call->out_data[0] + to * y_size);
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
