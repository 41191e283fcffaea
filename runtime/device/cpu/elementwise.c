/* elementwise.c: relu, relu_bwd, add, sub, mul, scale in any layout that has no gaps, opaque ones included: one pass
 * over flat memory. Padding inside an opaque layout holds zeros and all of these keep it so (except scale with an
 * offset, which asks for dense values). */
#ifndef REAL

#include "core/checked.h"
#include "device/attr.h"
#include "device/cpu/isa.h"

#define CHUNK 32768

#define SELF "device/cpu/elementwise.c"
#include "device/cpu/real.h"

/* A strided value whose elements fill its memory: its strides are a dense one's in another order. */
static bool without_gaps(const clvi_desc *desc)
{
    int64_t expected = 1;
    bool used[CLV_MAX_DIMS] = { false };
    for (int found = 0; found < desc->ndim; found++) {
        int next = -1;
        for (int i = 0; i < desc->ndim && next < 0; i++)
            if (!used[i] && (desc->shape[i] == 1 || desc->stride[i] == expected)) next = i;
        if (next < 0) return false;
        used[next] = true;
        expected *= desc->shape[next];
    }
    return true;
}

static bool accepts(const clvi_op_call *call)
{
    const clv_dtype type = call->in[0].dtype;
    return (type == CLV_F32 || type == CLV_F64) && (call->n_in < 2 || call->in[1].dtype == type);
}

/* The first input's layout becomes everybody's. */
static clv_status prepare_alike(clvi_op_call *call)
{
    clvi_desc *x = &call->in[0];
    if (x->layout == CLVI_LAYOUT_ANY || (x->layout == CLVI_LAYOUT_STRIDED && !without_gaps(x))) clvi_desc_make_dense(x);
    for (int i = 1; i < call->n_in; i++) clvi_desc_copy_layout(&call->in[i], x);
    clvi_desc_copy_layout(&call->out[0], x);
    return CLV_OK;
}

static clv_status prepare_scale(clvi_op_call *call)
{
    const clvi_scale_attr *attr = call->attr;
    if (attr->offset != 0 && call->in[0].layout == CLVI_LAYOUT_OPAQUE) clvi_desc_make_dense(&call->in[0]);
    return prepare_alike(call);
}

static clv_status run_flat(const clvi_op_call *call, const clvi_range_fn *f32, const clvi_range_fn *f64)
{
    const clv_dtype type = call->out[0].dtype;
    const int64_t n = (int64_t)(call->out[0].bytes / clv_dtype_size(type));
    clvi_parallel_for(call->ctx, n, CHUNK, clvi_isa_pick(type == CLV_F64 ? f64 : f32), (void *)call);
    return CLV_OK;
}

#define ELEMENTWISE(op_name, prepare_fn, ...)                                                                          \
    static clv_status op_name(const clvi_op_call *call)                                                                \
    {                                                                                                                  \
        return run_flat(call, op_name##_body_f32_table, op_name##_body_f64_table);                                     \
    }                                                                                                                  \
    const clvi_kernel clvi_kernel_cpu_##op_name = {                                                                    \
        .op = #op_name, .name = "cpu", .accepts = accepts, .prepare = prepare_fn, .run = op_name,                      \
        .in_place = { __VA_ARGS__ },                                                                                   \
    }

ELEMENTWISE(relu, prepare_alike, 1);
ELEMENTWISE(relu_bwd, prepare_alike, 1);
ELEMENTWISE(add, prepare_alike, 1);
ELEMENTWISE(sub, prepare_alike, 1);
ELEMENTWISE(mul, prepare_alike, 1);
ELEMENTWISE(scale, prepare_scale, 1);

#else

/* An output may be an input's memory, element for element: no iteration reads what another writes. */
CLVI_INLINE void FN(relu_body)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *x = call->in_data[0];
    REAL *y = call->out_data[0];
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) y[i] = x[i] < 0 ? 0 : x[i];
}
CLVI_ISA_VARIANTS(FN(relu_body))

CLVI_INLINE void FN(relu_bwd_body)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *dy = call->in_data[0], *y = call->in_data[1];
    REAL *dx = call->out_data[0];
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}
CLVI_ISA_VARIANTS(FN(relu_bwd_body))

CLVI_INLINE void FN(add_body)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
    if (((const clvi_add_attr *)call->attr)->relu) {
#pragma GCC ivdep
        for (int64_t i = begin; i < end; i++) {
            const REAL sum = a[i] + b[i];
            y[i] = sum < 0 ? 0 : sum;
        }
        return;
    }
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) y[i] = a[i] + b[i];
}
CLVI_ISA_VARIANTS(FN(add_body))

CLVI_INLINE void FN(sub_body)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) y[i] = a[i] - b[i];
}
CLVI_ISA_VARIANTS(FN(sub_body))

CLVI_INLINE void FN(mul_body)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    REAL *y = call->out_data[0];
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) y[i] = a[i] * b[i];
}
CLVI_ISA_VARIANTS(FN(mul_body))

CLVI_INLINE void FN(scale_body)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_scale_attr *attr = call->attr;
    const REAL *x = call->in_data[0], factor = (REAL)attr->factor, offset = (REAL)attr->offset;
    REAL *y = call->out_data[0];
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) y[i] = factor * x[i] + offset;
}
CLVI_ISA_VARIANTS(FN(scale_body))

#endif
