/* ref_widen.c: bfloat16 in a wider type. */
#ifndef REAL

#include "core/bf16.h"
#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_widen.c"
#include "device/cpu/real.h"

/* The shape rule has seen to the type of x. */
static bool widen_accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32 || call->out[0].dtype == CLV_F64;
}

static clv_status widen(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, clvi_desc_count(&call->in[0]), CLVI_REF_CHUNK, widen_range);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_widen = {
    .op = "widen", .name = "reference", .accepts = widen_accepts, .run = widen,
};

#else

static void FN(widen_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const uint16_t *x = call->in_data[0];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = (REAL)clvi_bf16_value(x[i]);
}

#endif
