/* op_drop_path.c: stochastic depth (Huang et al. 2016, arXiv:1603.09382): the residual of a sample is left out with
 * some probability, and what stays is scaled so that the mean does not change. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 1));
    CLV_CHECK(call->in[1].shape[0] == 1, CLV_ERR_SHAPE, "drop_path: the count has %" PRId64 " values, want 1",
              call->in[1].shape[0]);
    clvi_op_out_like(call, 0);
    clvi_op_out(call, call->in[0].dtype, 1, call->in[0].shape);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)in, (void)attr, (void)need;
    if (!clvi_node_none(grad_out[0])) grad_in[0] = clv_scale_rows(g, grad_out[0], out[1]);
}

const clvi_op_class clvi_op_drop_path = {
    .name = "drop_path", .attr_size = sizeof(clvi_drop_path_attr), .n_in = 2, .infer = infer, .backward = backward,
    .effect = true,
};

clv_node clv_drop_path(clv_graph *g, clv_node x, clv_node count, double rate, uint64_t seed, uint32_t stream)
{
    if (!(rate >= 0 && rate < 1)) {
        clvi_graph_fail(g, CLV_ERR_INVALID, "drop_path: the rate is %g, want 0 or more and less than 1", rate);
        return CLV_NONE;
    }
    if (!clv_graph_training(g)) return x;
    const clvi_drop_path_attr attr = { .rate = rate, .seed = seed, .stream = stream };
    return clvi_op2(g, "drop_path", &attr, x, count);
}
