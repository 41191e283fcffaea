/* op_transpose.c: the first two axes exchanged; what lies behind them stays together. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_desc *x = &call->in[0];
    CLV_TRY(clvi_op_want_float(call, 0));
    CLV_CHECK(x->ndim >= 2, CLV_ERR_SHAPE, "transpose: expected at least 2 dimensions, got %d", x->ndim);
    int64_t shape[CLV_MAX_DIMS] = { x->shape[1], x->shape[0] };
    for (int i = 2; i < x->ndim; i++) shape[i] = x->shape[i];
    clvi_op_out(call, x->dtype, x->ndim, shape);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)attr, (void)need;
    grad_in[0] = clv_transpose(g, grad_out[0]);
}

const clvi_op_class clvi_op_transpose = { .name = "transpose", .n_in = 1, .infer = infer, .backward = backward };

clv_node clv_transpose(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "transpose", NULL, x);
}
