/* op_columns.c: what a batch knows of its features: columns centred, standardised, multiplied. */
#include "tensor/op.h"

/* ---- center_columns: every column minus its mean; its own gradient, too ---- */

static clv_status center_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void center_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                            const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)attr, (void)need;
    grad_in[0] = clv_center_columns(g, grad_out[0]);
}

const clvi_op_class clvi_op_center_columns = {
    .name = "center_columns", .n_in = 1, .infer = center_infer, .backward = center_backward,
};

clv_node clv_center_columns(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "center_columns", NULL, x);
}

/* ---- standardize_columns: centred, and divided by the deviation or the length ---- */

static clv_status standardize_infer(clvi_op_call *call)
{
    const clvi_standardize_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_CHECK(a->eps >= 0, CLV_ERR_INVALID, "standardize_columns: eps is %g, want at least 0", a->eps);
    clvi_op_out_like(call, 0);
    clvi_op_out(call, call->in[0].dtype, 1, &call->in[0].shape[1]);
    return CLV_OK;
}

static void standardize_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                                 const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)need;
    if (clvi_node_none(grad_out[0])) return;
    const clv_node args[] = { grad_out[0], out[0], out[1] };
    grad_in[0] = clvi_op(g, "standardize_columns_bwd", attr, args, 3, NULL, 0);
}

const clvi_op_class clvi_op_standardize_columns = {
    .name = "standardize_columns", .attr_size = sizeof(clvi_standardize_attr), .n_in = 1, .infer = standardize_infer,
    .backward = standardize_backward,
};

/* dy, y, scale -> dx */
static clv_status standardize_bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

const clvi_op_class clvi_op_standardize_columns_bwd = {
    .name = "standardize_columns_bwd", .attr_size = sizeof(clvi_standardize_attr), .n_in = 3,
    .infer = standardize_bwd_infer,
};

clv_node clv_standardize_columns(clv_graph *g, clv_node x, double eps, bool unit)
{
    return clvi_op1(g, "standardize_columns", &(clvi_standardize_attr) { .eps = eps, .unit = unit }, x);
}

/* ---- scale_columns: x [N,D], s [D] ---- */

static clv_status scale_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 1));
    CLV_CHECK(call->in[1].shape[0] == call->in[0].shape[1], CLV_ERR_SHAPE,
              "scale_columns: %" PRId64 " factors for %" PRId64 " columns", call->in[1].shape[0],
              call->in[0].shape[1]);
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void scale_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                           const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    if (need[0]) grad_in[0] = clv_scale_columns(g, grad_out[0], in[1]);
    if (need[1]) grad_in[1] = clv_column_dot(g, grad_out[0], in[0]);
}

const clvi_op_class clvi_op_scale_columns = {
    .name = "scale_columns", .n_in = 2, .infer = scale_infer, .backward = scale_backward,
};

clv_node clv_scale_columns(clv_graph *g, clv_node x, clv_node s)
{
    return clvi_op2(g, "scale_columns", NULL, x, s);
}

/* ---- column_dot: a, b [N,D] ---- */

static clv_status dot_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 2));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out(call, call->in[0].dtype, 1, &call->in[0].shape[1]);
    return CLV_OK;
}

static void dot_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    if (need[0]) grad_in[0] = clv_scale_columns(g, in[1], grad_out[0]);
    if (need[1]) grad_in[1] = clv_scale_columns(g, in[0], grad_out[0]);
}

static double dot_flops(const clvi_op_call *call)
{
    return 2.0 * (double)clvi_desc_count(&call->in[0]);
}

const clvi_op_class clvi_op_column_dot = {
    .name = "column_dot", .n_in = 2, .infer = dot_infer, .backward = dot_backward, .flops = dot_flops,
};

clv_node clv_column_dot(clv_graph *g, clv_node a, clv_node b)
{
    return clvi_op2(g, "column_dot", NULL, a, b);
}
