/* blocked_prelu.c: prelu and its gradient on oneDNN's blocked layouts. The gradient of a slope is summed up over chunks
 * of pixels in float32, over these in double, over parts of the samples that depend on the shapes alone: results depend
 * on neither threads nor instruction set. */
#include "core/checked.h"
#include "device/attr.h"
#include "device/onednn/blocked.h"

enum {
    CHUNK = 256,                   /* pixels summed up in float32 */
    PARTS = 64,                    /* of the samples, at most */
    GRAIN = 4096,                  /* pixels a thread takes at a time */
};

typedef struct prelu {
    const clvi_op_call *call;
    const float *slope;
    int64_t samples, parts;        /* cut into so many parts */
    int64_t blocks, pixels;        /* of 16 channels; of so many pixels */
    double *sums;                  /* [parts][blocks][16] */
} prelu;

static prelu prelu_of(const clvi_op_call *call, int x)
{
    const clvi_desc *d = &call->in[x];
    return (prelu){ .call = call, .slope = call->in_data[x + 1], .samples = d->shape[0],
                    .parts = CLVI_MIN(PARTS, d->shape[0]), .blocks = d->shape[1] / CLVI_LANES,
                    .pixels = d->shape[2] * d->shape[3], .sums = call->scratch };
}

/* v, or slope v where x is not above 0. */
CLVI_INLINE void bend(clvi_v16f *v, const clvi_v16f *x, const clvi_v16f *slope)
{
    const clvi_v16i above = *x > 0;
    const clvi_v16f below = *v * *slope;
    clvi_select16(v, &above, v, &below);
}

/* ---- forward: x, slope -> y ---- */

CLVI_INLINE void apply(void *arg, int64_t begin, int64_t end, const clvi_blocked k)
{
    const prelu *s = arg;
    const size_t each = clvi_blocked_size(s->pixels, k);
    for (int64_t item = begin; item < end; item++) {
        const char *x = (const char *)s->call->in_data[0] + (size_t)item * each;
        char *y = (char *)s->call->out_data[0] + (size_t)item * each;
        clvi_v16f slope, v;
        memcpy(&slope, s->slope + item % s->blocks * CLVI_LANES, sizeof slope);
        for (int64_t j = 0; j < s->pixels; j++) {
            clvi_blocked_load(&v, x, j, s->pixels, k);
            bend(&v, &v, &slope);
            clvi_blocked_store(y, &v, j, s->pixels, k, false);
        }
    }
}
CLVI_BLOCKED_VARIANTS(apply)

static bool accepts(const clvi_op_call *call, int x)
{
    const clvi_desc *d = &call->in[x];
    return (clvi_onednn_is(d, CLV_F32) || clvi_onednn_is(d, CLV_BF16)) && d->ndim == 4 &&
           d->shape[1] % CLVI_LANES == 0 && call->in[x + 1].dtype == CLV_F32;
}

static bool forward_accepts(const clvi_op_call *call)
{
    return accepts(call, 0) && call->out[0].dtype == call->in[0].dtype;
}

static clv_status forward_prepare(clvi_op_call *call)
{
    CLV_TRY(clvi_blocked_choose(call, &call->in[0]));
    clvi_desc_make_dense(&call->in[1]);
    clvi_desc_copy_layout(&call->out[0], &call->in[0]);
    return CLV_OK;
}

static clv_status forward(const clvi_op_call *call)
{
    prelu s = prelu_of(call, 0);
    clvi_parallel_for(call->ctx, s.samples * s.blocks, CLVI_MAX(GRAIN / s.pixels, 1),
                      clvi_isa_pick(apply_kinds[clvi_blocked_kind(&call->in[0])]), &s);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_blocked_prelu = {
    .op = "prelu", .name = "blocked", .accepts = forward_accepts, .prepare = forward_prepare, .run = forward,
    .in_place = { 1 },
};

/* ---- backward: dy, x, slope -> dx, dslope ---- */

/* dx of up to CHUNK pixels, and the sum of dy x where x is not above 0. */
CLVI_INLINE void chunk_bwd(double sums[CLVI_LANES], char *dx, const char *dy, const char *x, const clvi_v16f *slope,
                           int64_t begin, int64_t pixels, const clvi_blocked k)
{
    const int64_t end = CLVI_MIN(begin + CHUNK, pixels);
    const clvi_v16f nothing = { 0 };
    clvi_v16f total = { 0 }, v, at;
    clvi_v8d wide[2], old[2];
    for (int64_t j = begin; j < end; j++) {
        clvi_blocked_load(&v, dy, j, pixels, k);
        clvi_blocked_load(&at, x, j, pixels, k);
        const clvi_v16i above = at > 0;
        clvi_v16f along = v * at;
        clvi_select16(&along, &above, &nothing, &along);
        total += along;
        bend(&v, &at, slope);
        clvi_blocked_store(dx, &v, j, pixels, k, false);
    }
    clvi_widen16(wide, &total);
    memcpy(old, sums, sizeof old);
    for (int i = 0; i < 2; i++) old[i] += wide[i];
    memcpy(sums, old, sizeof old);
}

/* A block of channels of a part of the samples. */
CLVI_INLINE void apply_bwd(void *arg, int64_t begin, int64_t end, const clvi_blocked k)
{
    const prelu *s = arg;
    const size_t each = clvi_blocked_size(s->pixels, k);
    for (int64_t item = begin; item < end; item++) {
        const int64_t part = item / s->blocks, block = item % s->blocks;
        double *sums = s->sums + item * CLVI_LANES;
        clvi_v16f slope;
        memcpy(&slope, s->slope + block * CLVI_LANES, sizeof slope);
        memset(sums, 0, CLVI_LANES * sizeof *sums);
        for (int64_t n = s->samples * part / s->parts; n < s->samples * (part + 1) / s->parts; n++) {
            const size_t at = (size_t)(n * s->blocks + block) * each;
            for (int64_t j = 0; j < s->pixels; j += CHUNK)
                chunk_bwd(sums, (char *)s->call->out_data[0] + at, (const char *)s->call->in_data[0] + at,
                          (const char *)s->call->in_data[1] + at, &slope, j, s->pixels, k);
        }
    }
}
CLVI_BLOCKED_VARIANTS(apply_bwd)

static bool backward_accepts(const clvi_op_call *call)
{
    return accepts(call, 1) && call->in[0].dtype == call->in[1].dtype && call->out[0].dtype == call->in[1].dtype;
}

static clv_status backward_prepare(clvi_op_call *call)
{
    CLV_TRY(clvi_blocked_choose(call, &call->in[1]));
    const prelu s = prelu_of(call, 1);
    clvi_desc_copy_layout(&call->in[0], &call->in[1]);
    clvi_desc_make_dense(&call->in[2]);
    clvi_desc_copy_layout(&call->out[0], &call->in[1]);
    clvi_desc_make_dense(&call->out[1]);
    call->scratch_size = (size_t)(s.parts * s.blocks * CLVI_LANES) * sizeof(double);
    return CLV_OK;
}

static clv_status backward(const clvi_op_call *call)
{
    prelu s = prelu_of(call, 1);
    const int64_t channels = s.blocks * CLVI_LANES;
    clvi_parallel_for(call->ctx, s.parts * s.blocks, 1,
                      clvi_isa_pick(apply_bwd_kinds[clvi_blocked_kind(&call->in[1])]), &s);
    for (int64_t c = 0; call->wanted[1] && c < channels; c++) {
        double sum = 0;
        for (int64_t part = 0; part < s.parts; part++) sum += s.sums[part * channels + c];
        ((float *)call->out_data[1])[c] = (float)sum;
    }
    return CLV_OK;
}

const clvi_kernel clvi_kernel_blocked_prelu_bwd = {
    .op = "prelu_bwd", .name = "blocked", .accepts = backward_accepts, .prepare = backward_prepare, .run = backward,
    .in_place = { 1 },
};
