/* op_elementwise.c: add, sub, mul of equal shapes, scale, and adding a row to every row or a column to every
 * column. */
#include "tensor/op.h"

static clv_status infer_pair(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_float(call, 0));
    CLV_TRY(clvi_op_want_float(call, 1));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

/* ---- add, with an optional relu ---- */

static void add_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)need;
    const clvi_add_attr *a = attr;
    grad_in[0] = grad_in[1] = a->relu ? clvi_op2(g, "relu_bwd", NULL, grad_out[0], out[0]) : grad_out[0];
}

const clvi_op_class clvi_op_add = {
    .name = "add", .attr_size = sizeof(clvi_add_attr), .n_in = 2, .infer = infer_pair, .backward = add_backward,
    .half = { .in = 1 | 2, .out = 1, .like = 1 },
};

clv_node clv_add(clv_graph *g, clv_node a, clv_node b)
{
    return clvi_op2(g, "add", &(clvi_add_attr) { .relu = false }, a, b);
}

/* ---- sub, mul ---- */

static void sub_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)attr;
    grad_in[0] = grad_out[0];
    if (need[1]) grad_in[1] = clv_scale(g, grad_out[0], -1.0, 0.0);
}

const clvi_op_class clvi_op_sub = { .name = "sub", .n_in = 2, .infer = infer_pair, .backward = sub_backward };

clv_node clv_sub(clv_graph *g, clv_node a, clv_node b)
{
    return clvi_op2(g, "sub", NULL, a, b);
}

static void mul_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    if (need[0]) grad_in[0] = clv_mul(g, grad_out[0], in[1]);
    if (need[1]) grad_in[1] = clv_mul(g, grad_out[0], in[0]);
}

const clvi_op_class clvi_op_mul = { .name = "mul", .n_in = 2, .infer = infer_pair, .backward = mul_backward };

clv_node clv_mul(clv_graph *g, clv_node a, clv_node b)
{
    return clvi_op2(g, "mul", NULL, a, b);
}

/* ---- scale ---- */

static clv_status scale_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_float(call, 0));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void scale_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                           const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)need;
    const clvi_scale_attr *a = attr;
    grad_in[0] = a->factor == 1.0 ? grad_out[0] : clv_scale(g, grad_out[0], a->factor, 0.0);
}

const clvi_op_class clvi_op_scale = {
    .name = "scale", .attr_size = sizeof(clvi_scale_attr), .n_in = 1, .infer = scale_infer, .backward = scale_backward,
};

clv_node clv_scale(clv_graph *g, clv_node x, double factor, double offset)
{
    return clvi_op1(g, "scale", &(clvi_scale_attr) { .factor = factor, .offset = offset }, x);
}

/* ---- add_row ---- */

static clv_status add_row_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 1));
    CLV_CHECK(call->in[1].shape[0] == call->in[0].shape[1], CLV_ERR_SHAPE,
              "add_row: the row has %" PRId64 " values, x has %" PRId64 " columns", call->in[1].shape[0],
              call->in[0].shape[1]);
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void add_row_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                             const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)attr;
    grad_in[0] = grad_out[0];
    if (need[1]) grad_in[1] = clv_reduce(g, grad_out[0], 0, false);
}

const clvi_op_class clvi_op_add_row = {
    .name = "add_row", .n_in = 2, .infer = add_row_infer, .backward = add_row_backward,
};

clv_node clv_add_row(clv_graph *g, clv_node x, clv_node row)
{
    return clvi_op2(g, "add_row", NULL, x, row);
}

/* ---- add_column ---- */

static clv_status add_column_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 1));
    CLV_CHECK(call->in[1].shape[0] == call->in[0].shape[0], CLV_ERR_SHAPE,
              "add_column: the column has %" PRId64 " values, x has %" PRId64 " rows", call->in[1].shape[0],
              call->in[0].shape[0]);
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void add_column_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                                const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)attr;
    grad_in[0] = grad_out[0];
    if (need[1]) grad_in[1] = clv_reduce(g, grad_out[0], 1, false);
}

const clvi_op_class clvi_op_add_column = {
    .name = "add_column", .n_in = 2, .infer = add_column_infer, .backward = add_column_backward,
};

clv_node clv_add_column(clv_graph *g, clv_node x, clv_node column)
{
    return clvi_op2(g, "add_column", NULL, x, column);
}
