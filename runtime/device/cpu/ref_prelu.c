/* ref_prelu.c: prelu and its gradient: dx = dy (x above 0 ? 1 : slope), dslope = the sum of dy x over all x that are
 * not above 0. A NaN goes through. */
#ifndef REAL

#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_prelu.c"
#include "device/cpu/real.h"

static clv_status prelu(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[1], 1, prelu_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(prelu);

static clv_status prelu_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[1].shape[1], 1, prelu_bwd_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(prelu_bwd);

#else

static void FN(prelu_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_desc *d = &call->in[0];
    const int64_t pixels = clvi_desc_extent(d, 2, d->ndim);
    const REAL *x = call->in_data[0], *slope = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t c = begin; c < end; c++)
        for (int64_t n = 0; n < d->shape[0]; n++)
            for (int64_t i = (n * d->shape[1] + c) * pixels, last = i + pixels; i < last; i++)
                y[i] = x[i] > 0 ? x[i] : slope[c] * x[i];
}

static void FN(prelu_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_desc *d = &call->in[1];
    const int64_t pixels = clvi_desc_extent(d, 2, d->ndim);
    const REAL *dy = call->in_data[0], *x = call->in_data[1], *slope = call->in_data[2];
    REAL *dx = call->out_data[0], *dslope = clvi_ref_output(call, 1);
    for (int64_t c = begin; c < end; c++) {
        double sum = 0;
        for (int64_t n = 0; n < d->shape[0]; n++)
            for (int64_t i = (n * d->shape[1] + c) * pixels, last = i + pixels; i < last; i++) {
                if (!(x[i] > 0)) sum += (double)dy[i] * (double)x[i];
                dx[i] = x[i] > 0 ? dy[i] : slope[c] * dy[i];
            }
        if (dslope) dslope[c] = (REAL)sum;
    }
}

#endif
