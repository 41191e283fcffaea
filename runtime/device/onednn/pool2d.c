/* pool2d.c: maximum and average pooling and their gradients through oneDNN, always in the blocked layout convolutions
 * use: so the backward kernel knows the layout of the forward one, whose workspace (each maximum's place in its window)
 * has it too. */
#include "device/attr.h"
#include "device/onednn/onednn.h"

typedef struct pool_state {
    clvi_onednn_exec exec;
    int in, out, workspace;        /* places of the arguments; workspace -1: none */
} pool_state;

/* oneDNN wants every window to touch the image. */
static bool pool_accepts(const clvi_op_call *call)
{
    const clvi_pool2d_attr *a = call->attr;
    const clv_dtype type = call->in[0].dtype;
    if (type != CLV_F32 && type != CLV_BF16) return false;
    return clvi_onednn_is(&call->in[0], type) && clvi_onednn_is(&call->out[0], type) && a->pad[0] < a->kernel[0] &&
           a->pad[1] < a->kernel[1];
}

static clv_status forward_desc(const clvi_op_call *call, dnnl_alg_kind_t algorithm, dnnl_prop_kind_t kind,
                               const clvi_desc *x, const clvi_desc *y, dnnl_primitive_desc_t *out)
{
    const clvi_pool2d_attr *a = call->attr;
    const dnnl_dims_t kernel = { a->kernel[0], a->kernel[1] }, stride = { a->stride[0], a->stride[1] };
    const dnnl_dims_t pad = { a->pad[0], a->pad[1] };
    dnnl_memory_desc_t src, dst;
    dnnl_pooling_desc_t d;
    CLV_TRY(clvi_onednn_blocked(call, x, &src));
    CLV_TRY(clvi_onednn_blocked(call, y, &dst));
    CLV_TRY(clvi_onednn_check(dnnl_pooling_forward_desc_init(&d, kind, algorithm, &src, &dst, stride, kernel, pad, pad),
                              call, "shapes"));
    return clvi_onednn_check(clvi_onednn_primitive_desc(call, &d, NULL, out), call, "no kernel");
}

static clv_status backward_desc(const clvi_op_call *call, dnnl_alg_kind_t algorithm, const_dnnl_primitive_desc_t hint,
                                dnnl_primitive_desc_t *out)
{
    const clvi_pool2d_attr *a = call->attr;
    const dnnl_dims_t kernel = { a->kernel[0], a->kernel[1] }, stride = { a->stride[0], a->stride[1] };
    const dnnl_dims_t pad = { a->pad[0], a->pad[1] };
    const dnnl_memory_desc_t *src = dnnl_primitive_desc_query_md(hint, dnnl_query_src_md, 0);
    const dnnl_memory_desc_t *dst = dnnl_primitive_desc_query_md(hint, dnnl_query_dst_md, 0);
    dnnl_pooling_desc_t d;
    CLV_TRY(clvi_onednn_check(dnnl_pooling_backward_desc_init(&d, algorithm, src, dst, stride, kernel, pad, pad), call,
                              "shapes"));
    return clvi_onednn_check(clvi_onednn_primitive_desc(call, &d, hint, out), call, "no kernel");
}

static void pool_release(clvi_op_call *call)
{
    pool_state *s = call->state;
    if (!s) return;
    clvi_onednn_exec_destroy(&s->exec);
    clvi_free(call->ctx, s);
    call->state = NULL;
}

/* Makes the primitive with its arguments and gives the two values their layouts. */
static clv_status build(clvi_op_call *call, const_dnnl_primitive_desc_t pd, bool backward)
{
    pool_state *s = call->state;
    const dnnl_memory_desc_t *in, *out, *workspace = dnnl_primitive_desc_query_md(pd, dnnl_query_workspace_md, 0);
    in = dnnl_primitive_desc_query_md(pd, backward ? dnnl_query_diff_dst_md : dnnl_query_src_md, 0);
    out = dnnl_primitive_desc_query_md(pd, backward ? dnnl_query_diff_src_md : dnnl_query_dst_md, 0);
    CLV_TRY(clvi_onednn_exec_create(call, pd, &s->exec, &call->scratch_size));
    CLV_TRY(clvi_onednn_exec_add(call, &s->exec, backward ? DNNL_ARG_DIFF_DST : DNNL_ARG_SRC, in, &s->in));
    CLV_TRY(clvi_onednn_exec_add(call, &s->exec, backward ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DST, out, &s->out));
    s->workspace = -1;
    const size_t bytes = dnnl_memory_desc_get_size(workspace);
    if (bytes) CLV_TRY(clvi_onednn_exec_add(call, &s->exec, DNNL_ARG_WORKSPACE, workspace, &s->workspace));
    if (bytes && !backward) call->out[1].bytes = bytes;
    clvi_onednn_export(in, &call->in[0]);
    clvi_onednn_export(out, &call->out[0]);
    return CLV_OK;
}

static clv_status pool_prepare(clvi_op_call *call, dnnl_alg_kind_t algorithm, bool backward)
{
    clv_status st = CLV_OK;
    dnnl_primitive_desc_t forward = NULL, pd = NULL;
    const clvi_desc *x = backward ? &call->out[0] : &call->in[0], *y = backward ? &call->in[0] : &call->out[0];
    /* A maximum nobody will differentiate needs no workspace. */
    const bool keep = backward || (call->n_out > 1 && call->wanted[1]);
    const dnnl_prop_kind_t kind = keep ? dnnl_forward_training : dnnl_forward_inference;
    if (!(call->state = clvi_calloc(call->ctx, 1, sizeof(pool_state)))) return CLV_ERR_NOMEM;
    CLV_TRY_OR_DONE(forward_desc(call, algorithm, kind, x, y, &forward));
    if (backward) CLV_TRY_OR_DONE(backward_desc(call, algorithm, forward, &pd));
    CLV_TRY_OR_DONE(build(call, backward ? pd : forward, backward));
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (forward) dnnl_primitive_desc_destroy(forward);
    if (st != CLV_OK) pool_release(call);
    return st;
}

static clv_status pool_run(const clvi_op_call *call, void *workspace)
{
    pool_state *s = call->state;
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, 0, call->scratch));
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->in, call->in_data[0]));
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->out, call->out_data[0]));
    if (s->workspace >= 0) CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->workspace, workspace));
    return clvi_onednn_exec_run(call, &s->exec);
}

static clv_status forward_run(const clvi_op_call *call)
{
    return pool_run(call, call->out_data[1]);
}

static clv_status backward_run(const clvi_op_call *call)
{
    return pool_run(call, call->in_data[1]);
}

static clv_status max_prepare(clvi_op_call *call)
{
    return pool_prepare(call, dnnl_pooling_max, false);
}

static clv_status max_bwd_prepare(clvi_op_call *call)
{
    return pool_prepare(call, dnnl_pooling_max, true);
}

static clv_status avg_prepare(clvi_op_call *call)
{
    return pool_prepare(call, dnnl_pooling_avg_exclude_padding, false);
}

static clv_status avg_bwd_prepare(clvi_op_call *call)
{
    return pool_prepare(call, dnnl_pooling_avg_exclude_padding, true);
}

const clvi_kernel clvi_kernel_onednn_max_pool2d = {
    .op = "max_pool2d", .name = "onednn",
    .accepts = pool_accepts, .prepare = max_prepare, .run = forward_run, .release = pool_release,
};

const clvi_kernel clvi_kernel_onednn_max_pool2d_bwd = {
    .op = "max_pool2d_bwd", .name = "onednn",
    .accepts = pool_accepts, .prepare = max_bwd_prepare, .run = backward_run, .release = pool_release,
};

const clvi_kernel clvi_kernel_onednn_avg_pool2d = {
    .op = "avg_pool2d", .name = "onednn",
    .accepts = pool_accepts, .prepare = avg_prepare, .run = forward_run, .release = pool_release,
};

const clvi_kernel clvi_kernel_onednn_avg_pool2d_bwd = {
    .op = "avg_pool2d_bwd", .name = "onednn",
    .accepts = pool_accepts, .prepare = avg_bwd_prepare, .run = backward_run, .release = pool_release,
};
