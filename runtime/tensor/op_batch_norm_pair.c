/* op_batch_norm_pair.c: the sum of two batch norms in training, as a residual block with a projection ends. Nobody
 * builds it: tensor/fuse.c makes it of the two and their sum, whose shapes have been checked. */
#include "tensor/batch_norm.h"
#include "device/attr.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_batch_norm_attr *a = call->attr;
    CLV_TRY(clvi_batch_norm_want(call, 0));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 5));
    const int64_t stats[] = { 2 * a->groups, call->in[0].shape[1] };
    clvi_op_out_like(call, 0);
    clvi_op_out(call, call->in[0].dtype, 2, stats);
    clvi_op_out(call, call->in[0].dtype, 2, stats);
    clvi_op_out_workspace(call);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)need;
    if (clvi_node_none(grad_out[0])) return;
    const clv_node args[] = { grad_out[0], in[0], in[1], in[5], in[6], out[1], out[2], out[3], CLV_NONE };
    clv_node grads[6];
    (void)clvi_op(g, "batch_norm_pair_bwd", attr, args, 9, grads, 6);
    for (int i = 0; i < 6; i++) {
        const int at = i < 3 ? i : i + 2;
        if (!clvi_node_none(in[at])) grad_in[at] = grads[i];
    }
}

const clvi_op_class clvi_op_batch_norm_pair = {
    .name = "batch_norm_pair", .attr_size = sizeof(clvi_batch_norm_attr), .n_in = 10,
    .optional = 1u << 1 | 1u << 2 | 1u << 6 | 1u << 7, .infer = infer, .backward = backward, .effect = true,
    .workspace = 1 + 3, .half = { .in = 1 | 1u << 5, .out = 1, .like = 1 },
};

/* dy, x, gamma?, x2, gamma2?, mean, var, workspace, dy2? -> dx, dgamma, dbeta, dx2, dgamma2, dbeta2 */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_batch_norm_want(call, 1));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    CLV_TRY(clvi_op_want_same_shape(call, 3, 1));
    if (clvi_op_has(call, 8)) CLV_TRY(clvi_op_want_same_shape(call, 8, 1));
    for (int i = 0; i < 2; i++) {
        clvi_op_out_like(call, 1);
        clvi_op_out(call, call->in[1].dtype, 1, &call->in[1].shape[1]);
        clvi_op_out(call, call->in[1].dtype, 1, &call->in[1].shape[1]);
    }
    return CLV_OK;
}

const clvi_op_class clvi_op_batch_norm_pair_bwd = {
    .name = "batch_norm_pair_bwd", .attr_size = sizeof(clvi_batch_norm_attr), .n_in = 9,
    .optional = 1u << 2 | 1u << 4 | 1u << 8, .infer = bwd_infer,
    .half = { .in = 1 | 2 | 1u << 3 | 1u << 8, .out = 1 | 1u << 3, .like = 2 },
};
