/* op_div.c: y = a / b, and 0 with zero gradients where b is 0: a mean over nothing is 0. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_float(call, 0));
    CLV_TRY(clvi_op_want_float(call, 1));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

/* da = dy / b, db = -dy y / b */
static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)attr;
    const clv_node da = clv_div(g, grad_out[0], in[1]);
    if (need[0]) grad_in[0] = da;
    if (need[1]) grad_in[1] = clv_scale(g, clv_mul(g, da, out[0]), -1, 0);
}

const clvi_op_class clvi_op_div = { .name = "div", .n_in = 2, .infer = infer, .backward = backward };

clv_node clv_div(clv_graph *g, clv_node a, clv_node b)
{
    return clvi_op2(g, "div", NULL, a, b);
}
