/* op_xent.c: cross entropies one by one: of a logit against a probability (sigmoid_xent), and the factor that makes a
 * cross entropy focal (focal). Lin et al. 2017, arXiv:1708.02002, eq. 5. Elementwise. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++) CLV_TRY(clvi_op_want_float(call, i));
    for (int i = 1; i < call->n_in; i++) CLV_TRY(clvi_op_want_same_shape(call, 0, i));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

/* ---- sigmoid_xent: softplus(x) - y x; y is a constant ---- */

static void sigmoid_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                             const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    const clv_node args[] = { grad_out[0], in[0], in[1] };
    if (need[0]) grad_in[0] = clvi_op(g, "sigmoid_xent_bwd", NULL, args, 3, NULL, 0);
}

const clvi_op_class clvi_op_sigmoid_xent = {
    .name = "sigmoid_xent", .n_in = 2, .infer = infer, .backward = sigmoid_backward,
};

const clvi_op_class clvi_op_sigmoid_xent_bwd = { .name = "sigmoid_xent_bwd", .n_in = 3, .infer = infer };

clv_node clv_sigmoid_xent(clv_graph *g, clv_node x, clv_node y)
{
    return clvi_op2(g, "sigmoid_xent", NULL, x, y);
}

/* ---- focal: (1 - e^-c)^gamma c ---- */

static void focal_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                           const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)need;
    grad_in[0] = clvi_op2(g, "focal_bwd", attr, grad_out[0], in[0]);
}

const clvi_op_class clvi_op_focal = {
    .name = "focal", .attr_size = sizeof(clvi_focal_attr), .n_in = 1, .infer = infer, .backward = focal_backward,
};

const clvi_op_class clvi_op_focal_bwd = {
    .name = "focal_bwd", .attr_size = sizeof(clvi_focal_attr), .n_in = 2, .infer = infer,
};
