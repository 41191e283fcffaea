/* elementwise.c: relu, relu_bwd, add, sub, mul, scale in any layout that has no gaps, opaque ones included: one pass
 * over flat memory; relu, relu_bwd and add also in bfloat16, each result rounded once. Padding inside an opaque layout
 * holds zeros and all of these keep it so (except scale with an offset, which asks for dense values). */
#ifndef REAL

#include "core/checked.h"
#include "device/attr.h"
#include "device/cpu/half.h"

#define CHUNK 32768

#define SELF "device/cpu/elementwise.c"
#include "device/cpu/real.h"

static bool accepts(const clvi_op_call *call)
{
    const clv_dtype type = call->in[0].dtype;
    return (type == CLV_F32 || type == CLV_F64) && (call->n_in < 2 || call->in[1].dtype == type);
}

static bool accepts_half(const clvi_op_call *call)
{
    return accepts(call) || (call->in[0].dtype == CLV_BF16 && call->out[0].dtype == CLV_BF16 &&
                             (call->n_in < 2 || call->in[1].dtype == CLV_BF16));
}

static clv_status prepare_scale(clvi_op_call *call)
{
    const clvi_scale_attr *attr = call->attr;
    if (attr->offset != 0 && call->in[0].layout == CLVI_LAYOUT_OPAQUE) clvi_desc_make_dense(&call->in[0]);
    return clvi_prepare_alike(call);
}

static clv_status run_flat(const clvi_op_call *call, const clvi_range_fn *f32, const clvi_range_fn *f64)
{
    const clv_dtype type = call->out[0].dtype;
    const int64_t n = (int64_t)(call->out[0].bytes / clv_dtype_size(type));
    clvi_parallel_for(call->ctx, n, CHUNK, clvi_isa_pick(type == CLV_F64 ? f64 : f32), (void *)call);
    return CLV_OK;
}

/* ---- bfloat16 ---- */

CLVI_INLINE void relu_half16(const clvi_op_call *call, int64_t i, int64_t count)
{
    clvi_v16f x;
    clvi_load_half(&x, (const uint16_t *)call->in_data[0] + i, count);
    const clvi_v16i negative = x < 0;
    const clvi_v16f zero = { 0 };
    clvi_select16(&x, &negative, &zero, &x);
    clvi_store_half((uint16_t *)call->out_data[0] + i, &x, count);
}

CLVI_INLINE void relu_bwd_half16(const clvi_op_call *call, int64_t i, int64_t count)
{
    clvi_v16f dy, y;
    clvi_load_half(&dy, (const uint16_t *)call->in_data[0] + i, count);
    clvi_load_half(&y, (const uint16_t *)call->in_data[1] + i, count);
    const clvi_v16i through = y > 0;
    const clvi_v16f zero = { 0 };
    clvi_select16(&dy, &through, &dy, &zero);
    clvi_store_half((uint16_t *)call->out_data[0] + i, &dy, count);
}

CLVI_INLINE void add_half16(const clvi_op_call *call, int64_t i, int64_t count)
{
    clvi_v16f a, b;
    clvi_load_half(&a, (const uint16_t *)call->in_data[0] + i, count);
    clvi_load_half(&b, (const uint16_t *)call->in_data[1] + i, count);
    a += b;
    const clvi_v16i negative = a < (((const clvi_add_attr *)call->attr)->relu ? 0.0f : -__builtin_inff());
    const clvi_v16f zero = { 0 };
    clvi_select16(&a, &negative, &zero, &a);
    clvi_store_half((uint16_t *)call->out_data[0] + i, &a, count);
}

#define HALF_BODY(op_name)                                                                                             \
    CLVI_INLINE void op_name##_half_body(void *arg, int64_t begin, int64_t end)                                        \
    {                                                                                                                  \
        int64_t i = begin;                                                                                             \
        for (; i + CLVI_LANES <= end; i += CLVI_LANES) op_name##_half16(arg, i, CLVI_LANES);                           \
        if (i < end) op_name##_half16(arg, i, end - i);                                                                \
    }                                                                                                                  \
    CLVI_ISA_VARIANTS(op_name##_half_body)

HALF_BODY(relu)
HALF_BODY(relu_bwd)
HALF_BODY(add)

static clv_status run_half(const clvi_op_call *call, const clvi_range_fn *half)
{
    const int64_t n = (int64_t)(call->out[0].bytes / sizeof(uint16_t));
    clvi_parallel_for(call->ctx, n, CHUNK, clvi_isa_pick(half), (void *)call);
    return CLV_OK;
}

/* ---- the kernels ---- */

#define ELEMENTWISE(op_name, prepare_fn)                                                                               \
    static clv_status op_name(const clvi_op_call *call)                                                                \
    {                                                                                                                  \
        return run_flat(call, op_name##_body_f32_table, op_name##_body_f64_table);                                     \
    }                                                                                                                  \
    const clvi_kernel clvi_kernel_cpu_##op_name = {                                                                    \
        .op = #op_name, .name = "cpu", .accepts = accepts, .prepare = prepare_fn, .run = op_name, .in_place = { 1 },   \
    }

#define ELEMENTWISE_HALF(op_name)                                                                                      \
    static clv_status op_name(const clvi_op_call *call)                                                                \
    {                                                                                                                  \
        if (call->out[0].dtype == CLV_BF16) return run_half(call, op_name##_half_body_table);                          \
        return run_flat(call, op_name##_body_f32_table, op_name##_body_f64_table);                                     \
    }                                                                                                                  \
    const clvi_kernel clvi_kernel_cpu_##op_name = {                                                                    \
        .op = #op_name, .name = "cpu", .accepts = accepts_half, .prepare = clvi_prepare_alike, .run = op_name,              \
        .in_place = { 1 },                                                                                             \
    }

ELEMENTWISE_HALF(relu);
ELEMENTWISE_HALF(relu_bwd);
ELEMENTWISE_HALF(add);
ELEMENTWISE(sub, clvi_prepare_alike);
ELEMENTWISE(mul, clvi_prepare_alike);
ELEMENTWISE(scale, prepare_scale);

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
