/* conv2d_norm.c: a convolution with the batch norm (in evaluation) behind it folded into its weights and bias, and the
 * addition and relu behind that done as results are written: one pass over the activations instead of four. The weights
 * are folded anew at every run, into scratch memory: parameters may have changed, and it costs one pass over them. */
#include "core/checked.h"
#include "core/parallel.h"
#include "device/onednn/conv2d.h"
#include <math.h>
#include <string.h>

enum { X, W, GAMMA, BETA, MEAN, VAR, SUM };
enum { MAX_INNER = 4096 };           /* weights in one block of a blocked layout */

/* Where the output channels are in a blocked layout of weights [O,I,kh,kw]. */
typedef struct blocks {
    int64_t count[4], stride[4];     /* of blocks along each dimension; elements from one to the next */
    int64_t inner, channels;         /* elements of a block; output channels it spans */
} blocks;

typedef struct norm_state {
    clvi_onednn_exec   exec;
    int                x, w, bias, y;            /* places of the arguments */
    size_t             weights, offsets, scales; /* offsets into the scratch memory */
    dnnl_memory_desc_t layout;                   /* of the weights */
    blocks             blocks;
} norm_state;

static bool is_image(const clvi_desc *desc)
{
    return clvi_onednn_is(desc, CLV_F32) && desc->ndim == 4;
}

static bool norm_accepts(const clvi_op_call *call)
{
    return call->n_in == 7 && is_image(&call->in[X]) && is_image(&call->in[W]) && is_image(&call->out[0]) &&
           call->in[MEAN].dtype == CLV_F32;
}

static bool adds(const clvi_op_call *call)
{
    return call->in[SUM].dtype != CLV_DTYPE_COUNT;
}

static void norm_release(clvi_op_call *call)
{
    norm_state *s = call->state;
    if (!s) return;
    clvi_onednn_exec_destroy(&s->exec);
    clvi_free(call->ctx, s);
    call->state = NULL;
}

/* ---- layouts ---- */

static clv_status find_blocks(const clvi_op_call *call, const dnnl_memory_desc_t *md, blocks *out)
{
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    CLV_CHECK(md->format_kind == dnnl_blocked, CLV_ERR_UNSUPPORTED, "%s: the weights' layout is not known", call->op);
    *out = (blocks){ .inner = 1, .channels = 1 };
    int64_t per_block[4] = { 1, 1, 1, 1 };
    for (int i = 0; i < b->inner_nblks; i++) {
        per_block[b->inner_idxs[i]] *= b->inner_blks[i];
        out->inner *= b->inner_blks[i];
    }
    CLV_CHECK(out->inner <= MAX_INNER, CLV_ERR_UNSUPPORTED, "%s: blocks of %" PRId64 " weights", call->op, out->inner);
    out->channels = per_block[0];
    for (int d = 0; d < 4; d++) {
        out->count[d] = md->padded_dims[d] / per_block[d];
        out->stride[d] = b->strides[d];
    }
    return CLV_OK;
}

/* The output channel, within its block, of element k of the block. The last inner block is the fastest. */
static int64_t channel_of(const dnnl_memory_desc_t *md, int64_t k)
{
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    int64_t channel = 0, weight = 1;
    for (int i = b->inner_nblks - 1; i >= 0; i--) {
        if (b->inner_idxs[i] == 0) {
            channel += k % b->inner_blks[i] * weight;
            weight *= b->inner_blks[i];
        }
        k /= b->inner_blks[i];
    }
    return channel;
}

/* ---- preparing ---- */

static clv_status make_post_ops(const clvi_op_call *call, dnnl_post_ops_t *out)
{
    const clvi_conv2d_norm_attr *attr = call->attr;
    dnnl_status_t st = dnnl_post_ops_create(out);
    if (st == dnnl_success && adds(call)) st = dnnl_post_ops_append_sum(*out, 1.0f);
    if (st == dnnl_success && attr->relu) st = dnnl_post_ops_append_eltwise(*out, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
    return clvi_onednn_check(st, call, "post operations");
}

static clv_status add(clvi_op_call *call, const_dnnl_primitive_desc_t pd, dnnl_query_t query, int index, int arg,
                      clvi_desc *desc, int *place)
{
    norm_state *s = call->state;
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, query, index);
    if (desc) clvi_onednn_export(md, desc);
    return clvi_onednn_exec_add(call, &s->exec, arg, md, place);
}

static clv_status settle(clvi_op_call *call, const_dnnl_primitive_desc_t pd)
{
    norm_state *s = call->state;
    CLV_TRY(clvi_onednn_exec_create(call, pd, &s->exec, &call->scratch_size));
    CLV_TRY(add(call, pd, dnnl_query_src_md, 0, DNNL_ARG_SRC, &call->in[X], &s->x));
    CLV_TRY(add(call, pd, dnnl_query_weights_md, 0, DNNL_ARG_WEIGHTS, &call->in[W], &s->w));
    CLV_TRY(add(call, pd, dnnl_query_weights_md, 1, DNNL_ARG_BIAS, NULL, &s->bias));
    CLV_TRY(add(call, pd, dnnl_query_dst_md, 0, DNNL_ARG_DST, &call->out[0], &s->y));
    if (adds(call)) clvi_desc_copy_layout(&call->in[SUM], &call->out[0]);
    for (int i = GAMMA; i <= VAR; i++)
        if (call->in[i].dtype != CLV_DTYPE_COUNT) clvi_desc_make_dense(&call->in[i]);
    s->layout = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    CLV_TRY(find_blocks(call, &s->layout, &s->blocks));
    const size_t vector = clvi_onednn_round((size_t)(s->blocks.count[0] * s->blocks.channels) * sizeof(float));
    s->weights = call->scratch_size;
    s->offsets = s->weights + clvi_onednn_round(call->in[W].bytes);
    s->scales = s->offsets + vector;
    call->scratch_size = s->scales + vector;
    return CLV_OK;
}

static clv_status norm_prepare(clvi_op_call *call)
{
    const clvi_conv2d_norm_attr *attr = call->attr;
    clv_status st = CLV_OK;
    dnnl_post_ops_t post = NULL;
    dnnl_primitive_desc_t pd = NULL;
    if (!(call->state = clvi_calloc(call->ctx, 1, sizeof(norm_state)))) return CLV_ERR_NOMEM;
    CLV_TRY_OR_DONE(make_post_ops(call, &post));
    CLV_TRY_OR_DONE(clvi_onednn_conv2d_fused(call, &attr->conv, post, &pd));
    CLV_TRY_OR_DONE(settle(call, pd));
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (post) dnnl_post_ops_destroy(post);
    if (st != CLV_OK) norm_release(call);
    return st;
}

/* ---- running ---- */

static void *scratch_at(const clvi_op_call *call, size_t offset)
{
    return (char *)call->scratch + offset;
}

/* scale = gamma / sqrt(var + eps), offset = beta - scale mean; 0 in the padding. */
static void fold_channels(const clvi_op_call *call)
{
    const norm_state *s = call->state;
    const clvi_conv2d_norm_attr *attr = call->attr;
    const float *gamma = call->in_data[GAMMA], *beta = call->in_data[BETA], *mean = call->in_data[MEAN],
                *var = call->in_data[VAR];
    float *offset = scratch_at(call, s->offsets), *scale = scratch_at(call, s->scales);
    const int64_t channels = call->in[W].shape[0], padded = s->blocks.count[0] * s->blocks.channels;
    for (int64_t c = 0; c < padded; c++) {
        const bool real = c < channels;
        const double a = real ? (gamma ? gamma[c] : 1.0) / sqrt((double)var[c] + attr->eps) : 0.0;
        scale[c] = (float)a;
        offset[c] = real ? (float)((beta ? beta[c] : 0.0) - a * mean[c]) : 0.0f;
    }
}

/* Weights of the blocks [begin, end) of output channels. */
static void fold_weights(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const norm_state *s = call->state;
    const blocks *b = &s->blocks;
    const float *scale = scratch_at(call, s->scales), *from = call->in_data[W];
    float *to = scratch_at(call, s->weights), factor[MAX_INNER];
    for (int64_t o = begin; o < end; o++) {
        for (int64_t k = 0; k < b->inner; k++) factor[k] = scale[o * b->channels + channel_of(&s->layout, k)];
        for (int64_t i = 0; i < b->count[1]; i++)
            for (int64_t p = 0; p < b->count[2] * b->count[3]; p++) {
                const int64_t at = o * b->stride[0] + i * b->stride[1] + p / b->count[3] * b->stride[2] +
                                   p % b->count[3] * b->stride[3];
                for (int64_t k = 0; k < b->inner; k++) to[at + k] = from[at + k] * factor[k];
            }
    }
}

static clv_status norm_run(const clvi_op_call *call)
{
    norm_state *s = call->state;
    fold_channels(call);
    clvi_parallel_for(call->ctx, s->blocks.count[0], 1, fold_weights, (void *)call);
    /* The sum is added to what the result's memory holds: the operand itself, where the plan let the two share it. */
    if (adds(call) && call->in_data[SUM] != call->out_data[0])
        memcpy(call->out_data[0], call->in_data[SUM], call->out[0].bytes);
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, 0, call->scratch));
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->x, call->in_data[X]));
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->w, scratch_at(call, s->weights)));
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->bias, scratch_at(call, s->offsets)));
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->y, call->out_data[0]));
    return clvi_onednn_exec_run(call, &s->exec);
}

const clvi_kernel clvi_kernel_onednn_conv2d_norm = {
    .op = "conv2d_norm", .name = "onednn",
    .accepts = norm_accepts, .prepare = norm_prepare, .run = norm_run, .release = norm_release,
    .in_place = { 1 + SUM },
};
