/* op_layer_norm.c: rows with mean 0 and variance 1, then scaled and shifted by column (Ba et al. 2016,
 * arXiv:1607.06450). */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_layer_norm_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 2));
    const int64_t *x = call->in[0].shape;
    for (int i = 1; i < 3; i++) {
        CLV_TRY(clvi_op_want(call, i, 1));
        CLV_CHECK(call->in[i].shape[0] == x[1], CLV_ERR_SHAPE,
                  "layer_norm: %s has %" PRId64 " values, x has %" PRId64 " columns", i == 1 ? "gamma" : "beta",
                  call->in[i].shape[0], x[1]);
    }
    CLV_CHECK(a->eps > 0, CLV_ERR_INVALID, "layer_norm: eps is %g, want more than 0", a->eps);
    clvi_op_out_like(call, 0);
    clvi_op_out(call, call->in[0].dtype, 1, x);
    clvi_op_out(call, call->in[0].dtype, 1, x);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)need;
    if (clvi_node_none(grad_out[0])) return;
    const clv_node args[] = { grad_out[0], in[0], in[1], out[1], out[2] };
    (void)clvi_op(g, "layer_norm_bwd", attr, args, 5, grad_in, 3);
}

const clvi_op_class clvi_op_layer_norm = {
    .name = "layer_norm", .attr_size = sizeof(clvi_layer_norm_attr), .n_in = 3, .infer = infer, .backward = backward,
};

/* dy, x, gamma, mean, scale -> dx, dgamma, dbeta */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out_like(call, 1);
    clvi_op_out_like(call, 2);
    clvi_op_out_like(call, 2);
    return CLV_OK;
}

const clvi_op_class clvi_op_layer_norm_bwd = {
    .name = "layer_norm_bwd", .attr_size = sizeof(clvi_layer_norm_attr), .n_in = 5, .infer = bwd_infer,
};

clv_node clv_layer_norm(clv_graph *g, clv_node x, clv_node gamma, clv_node beta, double eps)
{
    const clvi_layer_norm_attr attr = { .eps = eps };
    return clvi_op(g, "layer_norm", &attr, (clv_node[]) { x, gamma, beta }, 3, NULL, 0);
}
