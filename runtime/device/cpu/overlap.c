/* overlap.c: overlap and its gradient in float32: one pass over flat memory. Formulas and edge cases as in
 * ref_overlap.c; bottom - top is written so that nothing cancels. */
#include "device/cpu/pointwise.h"

#define CHUNK 65536

/* 0 where the divisor is 0; without a branch, so that loops over it become vector code. */
CLVI_INLINE float quotient(float a, float divisor)
{
    return (divisor == 0 ? 0 : a) / (divisor == 0 ? 1 : divisor);
}

CLVI_INLINE void overlap_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_overlap_attr *attr = call->attr;
    const float smooth = (float)attr->smooth, alpha = (float)attr->alpha, beta = (float)attr->beta;
    const float *w = call->in_data[0], *y = call->in_data[1];
    float *out = call->out_data[0];
    if (attr->kind == CLVI_OVERLAP_SQUARE) {
#pragma GCC ivdep
        for (int64_t i = begin; i < end; i++)
            out[i] = quotient((w[i] - y[i]) * (w[i] - y[i]), w[i] * w[i] + y[i] * y[i] + smooth);
    } else if (attr->kind == CLVI_OVERLAP_TVERSKY) {
#pragma GCC ivdep
        for (int64_t i = begin; i < end; i++) {
            const float wrong = alpha * w[i] * (1 - y[i]) + beta * (1 - w[i]) * y[i];
            out[i] = quotient(wrong, w[i] * y[i] + wrong + smooth);
        }
    } else {
#pragma GCC ivdep
        for (int64_t i = begin; i < end; i++)
            out[i] = quotient(w[i] * (1 - y[i]) + y[i] * (1 - w[i]), w[i] + y[i] + smooth);
    }
}
CLVI_ISA_VARIANTS(overlap_body)

CLVI_INLINE void overlap_bwd_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_overlap_attr *attr = call->attr;
    const float smooth = (float)attr->smooth, alpha = (float)attr->alpha, beta = (float)attr->beta;
    const float *dy = call->in_data[0], *w = call->in_data[1], *y = call->in_data[2];
    float *out = call->out_data[0];
    if (attr->kind == CLVI_OVERLAP_SQUARE) {
#pragma GCC ivdep
        for (int64_t i = begin; i < end; i++) {
            const float divisor = w[i] * w[i] + y[i] * y[i] + smooth;
            const float kept = quotient(2 * w[i] * y[i] + smooth, divisor);
            out[i] = quotient(dy[i] * 2 * (kept * w[i] - y[i]), divisor);
        }
    } else if (attr->kind == CLVI_OVERLAP_TVERSKY) {
#pragma GCC ivdep
        for (int64_t i = begin; i < end; i++) {
            const float top = w[i] * y[i], slope = y[i] + alpha * (1 - y[i]) - beta * y[i];
            const float divisor = top + alpha * w[i] * (1 - y[i]) + beta * (1 - w[i]) * y[i] + smooth;
            out[i] = quotient(dy[i] * (quotient(top + smooth, divisor) * slope - y[i]), divisor);
        }
    } else {
#pragma GCC ivdep
        for (int64_t i = begin; i < end; i++) {
            const float divisor = w[i] + y[i] + smooth;
            out[i] = quotient(dy[i] * (quotient(2 * w[i] * y[i] + smooth, divisor) - 2 * y[i]), divisor);
        }
    }
}
CLVI_ISA_VARIANTS(overlap_bwd_body)

CLVI_POINTWISE(overlap, CHUNK, 1);
CLVI_POINTWISE(overlap_bwd, CHUNK, 1);
