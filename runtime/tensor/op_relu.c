/* op_relu.c: y = max(x, 0); the gradient at 0 is 0. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_float(call, 0));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)in, (void)attr, (void)need;
    grad_in[0] = clvi_op2(g, "relu_bwd", NULL, grad_out[0], out[0]);
}

const clvi_op_class clvi_op_relu = {
    .name = "relu", .n_in = 1, .infer = infer, .backward = backward, .half = { .in = 1, .out = 1, .like = 1 },
};

/* dy, y -> dx */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_float(call, 0));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

const clvi_op_class clvi_op_relu_bwd = {
    .name = "relu_bwd", .n_in = 2, .infer = bwd_infer, .half = { .in = 1 | 2, .out = 1, .like = 2 },
};

clv_node clv_relu(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "relu", NULL, x);
}
