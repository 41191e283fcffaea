/* gelu.c: gelu and its gradient in float32, 16 values at a time.
 *
 * The normal distribution function is erfc(z)/2 at z = |x|/sqrt(2) for x <= 0, one minus that for x > 0, and erfc(z) =
 * t (a1 + t (a2 + ... t a5)) e^(-z^2), t = 1/(1 + p z): Abramowitz and Stegun 1964, 7.1.26, error below 1.5e-7. */
#include "device/attr.h"
#include "device/cpu/isa.h"

#define CHUNK 8192

/* The distribution function, and the density times sqrt(2 pi). */
CLVI_INLINE void normal16(const clvi_v16f *x, clvi_v16f *below, clvi_v16f *density)
{
    const clvi_v16f zero = { 0 }, one = zero + 1.0f;
    const clvi_v16i negative = *x < zero;
    clvi_v16f magnitude = -*x, e = *x * *x * -0.5f;
    clvi_select16(&magnitude, &negative, &magnitude, x);
    clvi_exp16(&e);
    const clvi_v16f t = one / (one + magnitude * (0.3275911f * 0.70710678f));
    clvi_v16f p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const clvi_v16f tail = p * t * e * 0.5f, rest = one - tail;
    clvi_select16(below, &negative, &tail, &rest);
    *density = e;
}

CLVI_INLINE void forward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const float *in = call->in_data[0];
    float *out = call->out_data[0];
    clvi_v16f x, below, density;
    for (int64_t i = begin; i < end; i += CLVI_LANES) {
        clvi_load16(&x, in, i, end, 0);
        normal16(&x, &below, &density);
        x *= below;
        clvi_store16(&x, out, i, end);
    }
}
CLVI_ISA_VARIANTS(forward_body)

CLVI_INLINE void backward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const float *dy = call->in_data[0], *in = call->in_data[1];
    float *out = call->out_data[0];
    clvi_v16f x, g, below, density;
    for (int64_t i = begin; i < end; i += CLVI_LANES) {
        clvi_load16(&x, in, i, end, 0);
        clvi_load16(&g, dy, i, end, 0);
        normal16(&x, &below, &density);
        g *= below + x * density * 0.39894228f;
        clvi_store16(&g, out, i, end);
    }
}
CLVI_ISA_VARIANTS(backward_body)

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

static clv_status forward(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, clvi_desc_count(&call->out[0]), CHUNK, clvi_isa_pick(forward_body_table),
                      (void *)call);
    return CLV_OK;
}

static clv_status backward(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, clvi_desc_count(&call->out[0]), CHUNK, clvi_isa_pick(backward_body_table),
                      (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_gelu = {
    .op = "gelu", .name = "cpu", .accepts = accepts, .run = forward, .in_place = { 1 },
};
const clvi_kernel clvi_kernel_cpu_gelu_bwd = {
    .op = "gelu_bwd", .name = "cpu", .accepts = accepts, .run = backward, .in_place = { 1 },
};
