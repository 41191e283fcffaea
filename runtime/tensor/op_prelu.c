/* op_prelu.c: y = x above 0, else slope x, a slope for each channel: He et al. 2015, arXiv:1502.01852, eq. 1. At 0 the
 * gradient is that of the negative side. */
#include "tensor/op.h"

static clv_status want_pair(const clvi_op_call *call, int x, int slope)
{
    CLV_TRY(clvi_op_want_float(call, x));
    CLV_CHECK(call->in[x].ndim == 2 || call->in[x].ndim == 4, CLV_ERR_SHAPE, "%s: expected 2 or 4 dimensions, got %d",
              call->op, call->in[x].ndim);
    CLV_TRY(clvi_op_want(call, slope, 1));
    CLV_CHECK(call->in[slope].shape[0] == call->in[x].shape[1], CLV_ERR_SHAPE,
              "%s: %" PRId64 " slopes for %" PRId64 " channels", call->op, call->in[slope].shape[0],
              call->in[x].shape[1]);
    return CLV_OK;
}

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(want_pair(call, 0, 1));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    const clv_node args[] = { grad_out[0], in[0], in[1] };
    clv_node grads[2];
    (void)clvi_op(g, "prelu_bwd", NULL, args, 3, grads, 2);
    grad_in[0] = grads[0];
    if (need[1]) grad_in[1] = grads[1];
}

const clvi_op_class clvi_op_prelu = {
    .name = "prelu", .n_in = 2, .infer = infer, .backward = backward, .half = { .in = 1, .out = 1, .like = 1 },
};

/* dy, x, slope -> dx, dslope */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(want_pair(call, 1, 2));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out_like(call, 1);
    clvi_op_out(call, call->in[2].dtype, 1, call->in[2].shape);
    return CLV_OK;
}

const clvi_op_class clvi_op_prelu_bwd = {
    .name = "prelu_bwd", .n_in = 3, .infer = bwd_infer, .half = { .in = 1 | 2, .out = 1, .like = 2 },
};

clv_node clv_prelu(clv_graph *g, clv_node x, clv_node slope)
{
    return clvi_op2(g, "prelu", NULL, x, slope);
}
