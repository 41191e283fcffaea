/* op_unary.c: functions of one value: sqrt, abs, softplus, gelu, clamp. The gradient is 0 where the function has a
 * corner or none: sqrt at 0 and below, abs at 0, clamp outside its range. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_float(call, 0));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

/* dy and what the forward operation had (x) or made (y) -> dx */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_float(call, 0));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static clv_status clamp_infer(clvi_op_call *call)
{
    const clvi_clamp_attr *a = call->attr;
    CLV_CHECK(a->low <= a->high, CLV_ERR_INVALID, "clamp: the range %g to %g is empty", a->low, a->high);
    return infer(call);
}

#define UNARY(op_name, kept)                                                                                           \
    static void op_name##_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,            \
                                   const clv_node *grad_out, const bool *need, clv_node *grad_in)                      \
    {                                                                                                                  \
        (void)in, (void)out, (void)need;                                                                               \
        grad_in[0] = clvi_op2(g, #op_name "_bwd", attr, grad_out[0], kept);                                            \
    }

UNARY(sqrt, out[0])
UNARY(abs, in[0])
UNARY(softplus, in[0])
UNARY(gelu, in[0])
UNARY(clamp, in[0])

const clvi_op_class clvi_op_sqrt = { .name = "sqrt", .n_in = 1, .infer = infer, .backward = sqrt_backward };
const clvi_op_class clvi_op_sqrt_bwd = { .name = "sqrt_bwd", .n_in = 2, .infer = bwd_infer };
const clvi_op_class clvi_op_abs = { .name = "abs", .n_in = 1, .infer = infer, .backward = abs_backward };
const clvi_op_class clvi_op_abs_bwd = { .name = "abs_bwd", .n_in = 2, .infer = bwd_infer };
const clvi_op_class clvi_op_softplus = { .name = "softplus", .n_in = 1, .infer = infer, .backward = softplus_backward };
const clvi_op_class clvi_op_softplus_bwd = { .name = "softplus_bwd", .n_in = 2, .infer = bwd_infer };
const clvi_op_class clvi_op_gelu = { .name = "gelu", .n_in = 1, .infer = infer, .backward = gelu_backward };
const clvi_op_class clvi_op_gelu_bwd = { .name = "gelu_bwd", .n_in = 2, .infer = bwd_infer };
const clvi_op_class clvi_op_clamp = {
    .name = "clamp", .attr_size = sizeof(clvi_clamp_attr), .n_in = 1, .infer = clamp_infer, .backward = clamp_backward,
};
const clvi_op_class clvi_op_clamp_bwd = {
    .name = "clamp_bwd", .attr_size = sizeof(clvi_clamp_attr), .n_in = 2, .infer = bwd_infer,
};

clv_node clv_sqrt(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "sqrt", NULL, x);
}

clv_node clv_abs(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "abs", NULL, x);
}

clv_node clv_softplus(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "softplus", NULL, x);
}

clv_node clv_gelu(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "gelu", NULL, x);
}

clv_node clv_clamp(clv_graph *g, clv_node x, double low, double high)
{
    return clvi_op1(g, "clamp", &(clvi_clamp_attr) { .low = low, .high = high }, x);
}
