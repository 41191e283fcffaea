/* op_pair_dist.c: squared distances of all pairs of rows. Differences are taken before they are squared: |a|^2 + |b|^2
 * - 2 <a,b> would lose the distance of near-duplicates. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    const int64_t n = call->in[0].shape[0];
    clvi_op_out(call, call->in[0].dtype, 2, (int64_t[]) { n, n });
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr, (void)need;
    grad_in[0] = clvi_op2(g, "pair_dist_bwd", NULL, grad_out[0], in[0]);
}

static double flops(const clvi_op_call *call)
{
    return 3.0 * (double)clvi_desc_count(&call->in[0]) * (double)call->in[0].shape[0];
}

const clvi_op_class clvi_op_pair_dist = {
    .name = "pair_dist", .n_in = 1, .infer = infer, .backward = backward, .flops = flops,
};

/* dy, x -> dx */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 2));
    clvi_op_out_like(call, 1);
    return CLV_OK;
}

static double bwd_flops(const clvi_op_call *call)
{
    return 3.0 * (double)clvi_desc_count(&call->in[1]) * (double)call->in[1].shape[0];
}

const clvi_op_class clvi_op_pair_dist_bwd = {
    .name = "pair_dist_bwd", .n_in = 2, .infer = bwd_infer, .flops = bwd_flops,
};

clv_node clv_pair_dist(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "pair_dist", NULL, x);
}
