/* op_rows.c: products of rows: scale_rows, row_dot, batched_row_dot. */
#include "tensor/op.h"

/* ---- scale_rows: x [N,D], s [N] ---- */

static clv_status scale_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 1));
    CLV_CHECK(call->in[1].shape[0] == call->in[0].shape[0], CLV_ERR_SHAPE,
              "scale_rows: %" PRId64 " factors for %" PRId64 " rows", call->in[1].shape[0], call->in[0].shape[0]);
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void scale_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                           const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    if (need[0]) grad_in[0] = clv_scale_rows(g, grad_out[0], in[1]);
    if (need[1]) grad_in[1] = clv_row_dot(g, grad_out[0], in[0]);
}

const clvi_op_class clvi_op_scale_rows = {
    .name = "scale_rows", .n_in = 2, .infer = scale_infer, .backward = scale_backward,
};

clv_node clv_scale_rows(clv_graph *g, clv_node x, clv_node s)
{
    return clvi_op2(g, "scale_rows", NULL, x, s);
}

/* ---- row_dot: a, b [N,D] ---- */

static clv_status dot_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 2));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    clvi_op_out(call, call->in[0].dtype, 1, call->in[0].shape);
    return CLV_OK;
}

static void dot_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    if (need[0]) grad_in[0] = clv_scale_rows(g, in[1], grad_out[0]);
    if (need[1]) grad_in[1] = clv_scale_rows(g, in[0], grad_out[0]);
}

static double dot_flops(const clvi_op_call *call)
{
    return 2.0 * (double)clvi_desc_count(&call->in[0]);
}

const clvi_op_class clvi_op_row_dot = {
    .name = "row_dot", .n_in = 2, .infer = dot_infer, .backward = dot_backward, .flops = dot_flops,
};

clv_node clv_row_dot(clv_graph *g, clv_node a, clv_node b)
{
    return clvi_op2(g, "row_dot", NULL, a, b);
}

/* ---- batched_row_dot: a [N,D], b [N,M,D] ---- */

static clv_status batched_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 3));
    const int64_t *a = call->in[0].shape, *b = call->in[1].shape;
    CLV_CHECK(a[0] == b[0] && a[1] == b[2], CLV_ERR_SHAPE, "batched_row_dot: a is [%" PRId64 ",%" PRId64
              "], b [%" PRId64 ",%" PRId64 ",%" PRId64 "]; want [N,D] and [N,M,D]", a[0], a[1], b[0], b[1], b[2]);
    clvi_op_out(call, call->in[0].dtype, 2, b);
    return CLV_OK;
}

static void batched_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                             const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    if (need[0]) grad_in[0] = clvi_op2(g, "batched_row_dot_bwd_a", NULL, grad_out[0], in[1]);
    if (need[1]) grad_in[1] = clvi_op2(g, "batched_row_dot_bwd_b", NULL, grad_out[0], in[0]);
}

static double batched_flops(const clvi_op_call *call)
{
    return 2.0 * (double)clvi_desc_count(&call->in[1]);
}

const clvi_op_class clvi_op_batched_row_dot = {
    .name = "batched_row_dot", .n_in = 2, .infer = batched_infer, .backward = batched_backward, .flops = batched_flops,
};

/* dy [N,M], b [N,M,D] -> da [N,D] */
static clv_status bwd_a_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 3));
    const int64_t *b = call->in[1].shape;
    clvi_op_out(call, call->in[1].dtype, 2, (int64_t[]) { b[0], b[2] });
    return CLV_OK;
}

const clvi_op_class clvi_op_batched_row_dot_bwd_a = {
    .name = "batched_row_dot_bwd_a", .n_in = 2, .infer = bwd_a_infer, .flops = batched_flops,
};

/* dy [N,M], a [N,D] -> db [N,M,D] */
static clv_status bwd_b_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 2));
    const int64_t *dy = call->in[0].shape, *a = call->in[1].shape;
    clvi_op_out(call, call->in[1].dtype, 3, (int64_t[]) { dy[0], dy[1], a[1] });
    return CLV_OK;
}

static double bwd_b_flops(const clvi_op_call *call)
{
    return (double)clvi_desc_count(&call->out[0]);
}

const clvi_op_class clvi_op_batched_row_dot_bwd_b = {
    .name = "batched_row_dot_bwd_b", .n_in = 2, .infer = bwd_b_infer, .flops = bwd_b_flops,
};

clv_node clv_batched_row_dot(clv_graph *g, clv_node a, clv_node b)
{
    return clvi_op2(g, "batched_row_dot", NULL, a, b);
}
