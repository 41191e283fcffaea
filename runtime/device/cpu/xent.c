/* xent.c: sigmoid_xent, focal and their gradients in float32, 16 entries at a time. Formulas as in ref_overlap.c. */
#include "device/cpu/pointwise.h"

#define CHUNK 16384

typedef clvi_v16f v16f;
typedef clvi_v16i v16i;

static const v16f zeros;

/* u = e^-|x|, and where x > 0. */
CLVI_INLINE void fold(v16f *u, v16i *positive, const v16f *x)
{
    const v16f minus = -*x;
    *positive = *x > zeros;
    clvi_select16(u, positive, &minus, x);
    clvi_exp16(u);
}

CLVI_INLINE void sigmoid_xent_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    for (int64_t i = begin; i < end; i += CLVI_LANES) {
        v16f x, y, u, up, down;
        v16i positive;
        clvi_load16(&x, call->in_data[0], i, end, 0);
        clvi_load16(&y, call->in_data[1], i, end, 0);
        fold(&u, &positive, &x);
        clvi_log1p16(&u);
        clvi_select16(&up, &positive, &x, &zeros);      /* max(x, 0) and max(-x, 0) */
        down = up - x;
        x = y * (down + u) + (1 - y) * (up + u);
        clvi_store16(&x, call->out_data[0], i, end);
    }
}
CLVI_ISA_VARIANTS(sigmoid_xent_body)

CLVI_INLINE void sigmoid_xent_bwd_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    for (int64_t i = begin; i < end; i += CLVI_LANES) {
        v16f dy, x, y, u, yes, no;
        v16i positive;
        clvi_load16(&dy, call->in_data[0], i, end, 0);
        clvi_load16(&x, call->in_data[1], i, end, 0);
        clvi_load16(&y, call->in_data[2], i, end, 0);
        fold(&u, &positive, &x);
        const v16f large = 1 / (1 + u), small = u * large;
        clvi_select16(&yes, &positive, &large, &small);
        clvi_select16(&no, &positive, &small, &large);
        x = dy * ((1 - y) * yes - y * no);
        clvi_store16(&x, call->out_data[0], i, end);
    }
}
CLVI_ISA_VARIANTS(sigmoid_xent_bwd_body)

/* ---- focal: (1 - e^-c)^gamma c ---- */

/* e = e^-c, q = 1 - e. */
CLVI_INLINE void complement(v16f *e, v16f *q, const v16f *c)
{
    const v16f minus = -*c;
    clvi_exp_less1_16(e, q, &minus);
    *q = -*q;
}

/* q^gamma; 0 for q <= 0 unless gamma is 0. */
CLVI_INLINE void raise_to(v16f *q, float gamma)
{
    const v16f one = zeros + 1.0f;
    if (gamma == 0) {
        *q = one;
        return;
    }
    if (gamma == 1 || gamma == 2) {
        if (gamma == 2) *q *= *q;
        return;
    }
    const v16i some = *q >= __FLT_MIN__;
    v16f power;
    clvi_select16(&power, &some, q, &one);
    clvi_log16(&power);
    power *= gamma;
    clvi_exp16(&power);
    clvi_select16(q, &some, &power, &zeros);
}

CLVI_INLINE void focal_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const float gamma = (float)((const clvi_focal_attr *)call->attr)->gamma;
    for (int64_t i = begin; i < end; i += CLVI_LANES) {
        v16f c, e, q;
        clvi_load16(&c, call->in_data[0], i, end, 0);
        complement(&e, &q, &c);
        raise_to(&q, gamma);
        q *= c;
        clvi_store16(&q, call->out_data[0], i, end);
    }
}
CLVI_ISA_VARIANTS(focal_body)

/* q^gamma + gamma q^(gamma-1) e^-c c = q^gamma (1 + gamma e^-c c/q); c/q is 1 where both vanish. */
CLVI_INLINE void focal_bwd_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const float gamma = (float)((const clvi_focal_attr *)call->attr)->gamma;
    for (int64_t i = begin; i < end; i += CLVI_LANES) {
        v16f dy, c, e, q, ratio;
        const v16f one = zeros + 1.0f;
        clvi_load16(&dy, call->in_data[0], i, end, 0);
        clvi_load16(&c, call->in_data[1], i, end, 0);
        complement(&e, &q, &c);
        const v16i some = q > 0;
        clvi_select16(&ratio, &some, &q, &one);
        ratio = c / ratio;
        clvi_select16(&ratio, &some, &ratio, &one);
        raise_to(&q, gamma);
        q = dy * (q * (1 + gamma * e * ratio));
        clvi_store16(&q, call->out_data[0], i, end);
    }
}
CLVI_ISA_VARIANTS(focal_bwd_body)

CLVI_POINTWISE(sigmoid_xent, CHUNK, 1);
CLVI_POINTWISE(sigmoid_xent_bwd, CHUNK, 1);
CLVI_POINTWISE(focal, CHUNK, 1);
CLVI_POINTWISE(focal_bwd, CHUNK, 1);
