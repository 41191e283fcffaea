/* unary.c: sqrt and its gradient, and fill, in float32. Edge cases as in ref_unary.c. */
#include "device/cpu/pointwise.h"
#include <math.h>

#define CHUNK 32768

CLVI_INLINE void sqrt_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const float *x = call->in_data[0];
    float *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = sqrtf(x[i] < 0 ? 0 : x[i]);
}
CLVI_ISA_VARIANTS(sqrt_body)

CLVI_INLINE void sqrt_bwd_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const float *dy = call->in_data[0], *y = call->in_data[1];
    float *dx = call->out_data[0];
#pragma GCC ivdep
    for (int64_t i = begin; i < end; i++) {
        const float root = y[i] > 0 ? y[i] : INFINITY;
        dx[i] = y[i] > 0 ? dy[i] / (2 * root) : 0;
    }
}
CLVI_ISA_VARIANTS(sqrt_bwd_body)

CLVI_INLINE void fill_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const float value = (float)((const clvi_shape_attr *)call->attr)->value;
    float *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = value;
}
CLVI_ISA_VARIANTS(fill_body)

CLVI_POINTWISE(sqrt, CHUNK, 1);
CLVI_POINTWISE(sqrt_bwd, CHUNK, 1);
CLVI_POINTWISE(fill, CHUNK, 0);
