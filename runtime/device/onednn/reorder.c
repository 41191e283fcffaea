/* reorder.c: the same elements in another layout or type, through oneDNN: the only kernel that reads and writes its
 * blocked layouts. Both sides are given by the plan. */
#include "device/onednn/onednn.h"

typedef struct reorder_state {
    clvi_onednn_exec exec;
    int from, to;
} reorder_state;

static bool is_known(const clvi_desc *desc)
{
    if (!clvi_onednn_is(desc, CLV_F32) && !clvi_onednn_is(desc, CLV_BF16)) return false;
    if (desc->layout != CLVI_LAYOUT_STRIDED) return true;
    for (int i = 0; i < desc->ndim; i++)
        if (desc->stride[i] < 1) return false;
    return true;
}

static bool reorder_accepts(const clvi_op_call *call)
{
    return call->n_in == 1 && call->n_out == 1 && is_known(&call->in[0]) && is_known(&call->out[0]);
}

static void reorder_release(clvi_op_call *call)
{
    reorder_state *s = call->state;
    if (!s) return;
    clvi_onednn_exec_destroy(&s->exec);
    clvi_free(call->ctx, s);
    call->state = NULL;
}

static clv_status reorder_prepare(clvi_op_call *call)
{
    clv_status st = CLV_OK;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_memory_desc_t from, to;
    reorder_state *s = clvi_calloc(call->ctx, 1, sizeof *s);
    if (!s) return CLV_ERR_NOMEM;
    call->state = s;
    CLV_TRY_OR_DONE(clvi_onednn_import(call, &call->in[0], &from));
    CLV_TRY_OR_DONE(clvi_onednn_import(call, &call->out[0], &to));
    CLV_TRY_OR_DONE(clvi_onednn_check(clvi_onednn_reorder_desc(call, &from, &to, &pd), call, "no kernel"));
    CLV_TRY_OR_DONE(clvi_onednn_exec_create(call, pd, &s->exec, &call->scratch_size));
    CLV_TRY_OR_DONE(clvi_onednn_exec_add(call, &s->exec, DNNL_ARG_FROM, &from, &s->from));
    CLV_TRY_OR_DONE(clvi_onednn_exec_add(call, &s->exec, DNNL_ARG_TO, &to, &s->to));
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (st != CLV_OK) reorder_release(call);
    return st;
}

static clv_status reorder_run(const clvi_op_call *call)
{
    reorder_state *s = call->state;
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, 0, call->scratch));
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->from, call->in_data[0]));
    CLV_TRY(clvi_onednn_exec_bind(call, &s->exec, s->to, call->out_data[0]));
    return clvi_onednn_exec_run(call, &s->exec);
}

const clvi_kernel clvi_kernel_onednn_reorder = {
    .op = "reorder", .name = "onednn",
    .accepts = reorder_accepts, .prepare = reorder_prepare, .run = reorder_run, .release = reorder_release,
};
