/* op_l2norm_rows.c: rows scaled to unit length: y = x / max(|x|, eps). A row no longer than eps, the zero row among
 * them, passes no gradient. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_l2norm_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_CHECK(a->eps >= 0, CLV_ERR_INVALID, "l2norm_rows: eps is %g, want at least 0", a->eps);
    clvi_op_out_like(call, 0);
    clvi_op_out(call, call->in[0].dtype, 1, call->in[0].shape);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)in, (void)need;
    if (clvi_node_none(grad_out[0])) return;
    const clv_node args[] = { grad_out[0], out[0], out[1] };
    grad_in[0] = clvi_op(g, "l2norm_rows_bwd", attr, args, 3, NULL, 0);
}

const clvi_op_class clvi_op_l2norm_rows = {
    .name = "l2norm_rows", .attr_size = sizeof(clvi_l2norm_attr), .n_in = 1, .infer = infer, .backward = backward,
};

/* dy, y, norm -> dx */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

const clvi_op_class clvi_op_l2norm_rows_bwd = {
    .name = "l2norm_rows_bwd", .attr_size = sizeof(clvi_l2norm_attr), .n_in = 3, .infer = bwd_infer,
};

clv_node clv_l2norm_rows(clv_graph *g, clv_node x, double eps)
{
    return clvi_op1(g, "l2norm_rows", &(clvi_l2norm_attr) { .eps = eps }, x);
}
