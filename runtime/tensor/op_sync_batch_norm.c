/* op_sync_batch_norm.c: batch normalisation over the batch of all ranks of a run, of which a graph sees a share. */
#include "tensor/batch_norm.h"
#include "tensor/graph.h"
#include "tensor/sync.h"

void clvi_graph_sync(clv_graph *g, const clvi_rank_sum *ranks)
{
    g->ranks = ranks;
}

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_batch_norm_want(call, 0));
    const clvi_desc *x = &call->in[0];
    const int64_t channels = x->shape[1];
    for (int i = 1; i < 5; i++) {
        if (!clvi_op_has(call, i)) continue;
        CLV_CHECK(call->in[i].ndim == 1 && call->in[i].shape[0] == channels, CLV_ERR_SHAPE,
                  "sync_batch_norm: input %d must be [%" PRId64 "]", i, channels);
    }
    clvi_op_out_like(call, 0);
    clvi_op_out(call, x->dtype, 1, &channels);
    clvi_op_out(call, x->dtype, 1, &channels);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)need;
    if (clvi_node_none(grad_out[0])) return;
    const clv_node args[] = { grad_out[0], in[0], in[1], out[1], out[2] };
    clv_node grads[3];
    (void)clvi_op(g, "sync_batch_norm_bwd", attr, args, 5, grads, 3);
    grad_in[0] = grads[0];
    if (!clvi_node_none(in[1])) grad_in[1] = grads[1];
    if (!clvi_node_none(in[2])) grad_in[2] = grads[2];
}

const clvi_op_class clvi_op_sync_batch_norm = {
    .name = "sync_batch_norm", .attr_size = sizeof(clvi_sync_norm_attr), .n_in = 5, .optional = 1u << 1 | 1u << 2,
    .infer = infer, .backward = backward, .effect = true,
};

const clvi_op_class clvi_op_sync_batch_norm_bwd = {
    .name = "sync_batch_norm_bwd", .attr_size = sizeof(clvi_sync_norm_attr), .n_in = 5, .optional = 1u << 2,
    .infer = clvi_batch_norm_bwd_infer,
};
