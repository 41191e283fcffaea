/* ref_half.c: the reference of what computes on bfloat16: every bfloat16 operand is widened to float32, the reference
 * kernel for float32 does the work, and what is to be bfloat16 is rounded at the end, to nearest, ties to even. */
#include "core/bf16.h"
#include "device/cpu/ref.h"

typedef struct half_state {
    clvi_op_call       inner;               /* the same call in float32 */
    const clvi_kernel *kernel;
    size_t             at[CLVI_MAX_IN + CLVI_MAX_OUT];   /* of the widened operands, in the scratch memory */
} half_state;

static bool half_accepts(const clvi_op_call *call)
{
    bool any = false;
    for (int i = 0; i < call->n_in + call->n_out; i++) {
        const clv_dtype type = i < call->n_in ? call->in[i].dtype : call->out[i - call->n_in].dtype;
        if (type == CLV_F64) return false;
        any = any || type == CLV_BF16;
    }
    return any;
}

static void half_release(clvi_op_call *call)
{
    half_state *s = call->state;
    if (!s) return;
    if (s->kernel && s->kernel->release) s->kernel->release(&s->inner);
    clvi_free(call->ctx, s);
    call->state = NULL;
}

static clvi_desc widened(clvi_desc *desc)
{
    if (clvi_ref_present(desc)) clvi_desc_make_dense(desc);
    clvi_desc wide = *desc;
    if (wide.dtype != CLV_BF16) return wide;
    wide.dtype = CLV_F32;
    clvi_desc_make_dense(&wide);
    return wide;
}

/* Room for a widened operand behind what is reserved already. */
static void reserve(const clvi_desc *desc, const clvi_desc *wide, size_t *at, size_t *size)
{
    *at = *size;
    if (desc->dtype == CLV_BF16) *size += (wide->bytes + CLVI_ALIGN - 1) & ~(size_t)(CLVI_ALIGN - 1);
}

static clv_status half_prepare(clvi_op_call *call)
{
    clv_status st = CLV_OK;
    size_t size = 0;
    half_state *s = clvi_calloc(call->ctx, 1, sizeof *s);
    if (!s) return CLV_ERR_NOMEM;
    call->state = s;
    s->inner = *call;
    s->inner.state = NULL;
    for (int i = 0; i < call->n_in; i++) {
        s->inner.in[i] = widened(&call->in[i]);
        reserve(&call->in[i], &s->inner.in[i], &s->at[i], &size);
    }
    for (int i = 0; i < call->n_out; i++) {
        s->inner.out[i] = widened(&call->out[i]);
        reserve(&call->out[i], &s->inner.out[i], &s->at[CLVI_MAX_IN + i], &size);
    }
    const clvi_kernel *kernel = clvi_kernel_find(&s->inner, true);
    CLV_CHECK_OR_DONE(kernel, CLV_ERR_UNSUPPORTED, "%s: there is no reference kernel for float32", call->op);
    if (kernel->prepare) CLV_TRY_OR_DONE(kernel->prepare(&s->inner));
    s->kernel = kernel;
    for (int i = 0; i < call->n_out; i++)
        if (call->out[i].dtype != CLV_BF16) call->out[i] = s->inner.out[i];      /* the size of a workspace */
    call->scratch_size = size + s->inner.scratch_size;
done:
    if (st != CLV_OK) half_release(call);
    return st;
}

static void widen_range(void *arg, int64_t begin, int64_t end)
{
    void *const *p = arg;
    const uint16_t *x = p[0];
    float *y = p[1];
    for (int64_t i = begin; i < end; i++) y[i] = clvi_bf16_value(x[i]);
}

static void round_range(void *arg, int64_t begin, int64_t end)
{
    void *const *p = arg;
    const float *x = p[0];
    uint16_t *y = p[1];
    for (int64_t i = begin; i < end; i++) y[i] = clvi_bf16_round((double)x[i]);
}

static clv_status half_run(const clvi_op_call *call)
{
    half_state *s = call->state;
    clvi_op_call *inner = &s->inner;
    char *scratch = call->scratch;
    for (int i = 0; i < call->n_in; i++) {
        const bool narrow = call->in[i].dtype == CLV_BF16 && call->in_data[i];
        inner->in_data[i] = narrow ? scratch + s->at[i] : call->in_data[i];
        if (narrow)
            clvi_parallel_for(call->ctx, clvi_desc_count(&call->in[i]), CLVI_REF_CHUNK, widen_range,
                              (void *[]){ call->in_data[i], inner->in_data[i] });
    }
    for (int i = 0; i < call->n_out; i++)
        inner->out_data[i] = call->out[i].dtype == CLV_BF16 ? scratch + s->at[CLVI_MAX_IN + i] : call->out_data[i];
    inner->scratch = scratch + call->scratch_size - inner->scratch_size;
    CLV_TRY(s->kernel->run(inner));
    for (int i = 0; i < call->n_out; i++)
        if (call->out[i].dtype == CLV_BF16)
            clvi_parallel_for(call->ctx, clvi_desc_count(&call->out[i]), CLVI_REF_CHUNK, round_range,
                              (void *[]){ inner->out_data[i], call->out_data[i] });
    return CLV_OK;
}

#define HALF(op_name)                                                                                                  \
    const clvi_kernel clvi_kernel_ref_half_##op_name = {                                                               \
        .op = #op_name, .name = "reference", .accepts = half_accepts, .prepare = half_prepare, .run = half_run,        \
        .release = half_release,                                                                                       \
    }

HALF(conv2d);
HALF(conv2d_norm);
HALF(conv2d_bwd_data);
HALF(conv2d_bwd_weights);
HALF(batch_norm);
HALF(batch_norm_bwd);
HALF(batch_norm_pair);
HALF(batch_norm_pair_bwd);
HALF(relu);
HALF(relu_bwd);
HALF(prelu);
HALF(prelu_bwd);
HALF(add);
HALF(max_pool2d);
HALF(max_pool2d_bwd);
