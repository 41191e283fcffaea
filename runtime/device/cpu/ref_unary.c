/* ref_unary.c: sqrt, abs, softplus, gelu, clamp and their gradients, computed in double. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

#define SELF "device/cpu/ref_unary.c"
#include "device/cpu/real.h"

#define UNARY(op_name)                                                                                                 \
    static clv_status op_name##_kernel(const clvi_op_call *call)                                                       \
    {                                                                                                                  \
        CLVI_REF_LOOP(call, clvi_desc_count(&call->out[0]), CLVI_REF_CHUNK, op_name##_range);                          \
        return CLV_OK;                                                                                                 \
    }                                                                                                                  \
    const clvi_kernel clvi_kernel_ref_##op_name = {                                                                    \
        .op = #op_name, .name = "reference", .run = op_name##_kernel, .in_place = { 1 },                               \
    }

UNARY(sqrt);
UNARY(sqrt_bwd);
UNARY(abs);
UNARY(abs_bwd);
UNARY(softplus);
UNARY(softplus_bwd);
UNARY(gelu);
UNARY(gelu_bwd);
UNARY(clamp);
UNARY(clamp_bwd);

#else

/* The body of a loop over x (and dy, for a gradient), all in double. */
#define EACH(op_name, expression)                                                                                      \
    static void FN(op_name##_range)(void *arg, int64_t begin, int64_t end)                                             \
    {                                                                                                                  \
        const clvi_op_call *call = arg;                                                                                \
        const REAL *in = call->in_data[0];                                                                             \
        REAL *out = call->out_data[0];                                                                                 \
        for (int64_t i = begin; i < end; i++) {                                                                        \
            const double x = in[i];                                                                                    \
            out[i] = (REAL)(expression);                                                                               \
        }                                                                                                              \
    }
#define EACH_BWD(op_name, expression)                                                                                  \
    static void FN(op_name##_bwd_range)(void *arg, int64_t begin, int64_t end)                                         \
    {                                                                                                                  \
        const clvi_op_call *call = arg;                                                                                \
        const REAL *dy = call->in_data[0], *kept = call->in_data[1];                                                   \
        REAL *dx = call->out_data[0];                                                                                  \
        for (int64_t i = begin; i < end; i++) {                                                                        \
            const double x = kept[i], up = dy[i];                                                                      \
            dx[i] = (REAL)(expression);                                                                                \
        }                                                                                                              \
    }
#define NORMAL(x) (0.5 * erfc(-(x) * M_SQRT1_2))       /* the distribution function */
#define CLAMP (*(const clvi_clamp_attr *)call->attr)

EACH(sqrt, x < 0 ? 0 : sqrt(x))
EACH_BWD(sqrt, x > 0 ? up / (2 * x) : 0)
EACH(abs, fabs(x))
EACH_BWD(abs, x > 0 ? up : x < 0 ? -up : 0)
EACH(softplus, (x > 0 ? x : 0) + log1p(exp(-fabs(x))))
EACH_BWD(softplus, x > 0 ? up / (1 + exp(-x)) : up * exp(x) / (1 + exp(x)))
EACH(gelu, x * NORMAL(x))
EACH_BWD(gelu, up * (NORMAL(x) + x * exp(-0.5 * x * x) * (0.5 * M_SQRT1_2 * M_2_SQRTPI)))
EACH(clamp, x < CLAMP.low ? CLAMP.low : x > CLAMP.high ? CLAMP.high : x)
EACH_BWD(clamp, x < CLAMP.low || x > CLAMP.high ? 0 : up)

#undef EACH
#undef EACH_BWD
#undef CLAMP
#undef NORMAL

#endif
