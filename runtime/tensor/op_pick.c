/* op_pick.c: one entry of each row, by index: reading it (pick) and putting another value in its place (put). A
 * negative index picks 0 and puts nothing. */
#include "tensor/op.h"

static clv_status check_index(const clvi_op_call *call, int input, int64_t rows)
{
    const clvi_desc *d = &call->in[input];
    char text[CLVI_SHAPE_TEXT];
    CLV_CHECK(d->dtype == CLV_I64 && d->ndim == 1 && d->shape[0] == rows, CLV_ERR_SHAPE,
              "%s: the indices must be int64 [%" PRId64 "], are %s %s", call->op, rows, clv_dtype_name(d->dtype),
              clvi_shape_text(text, d->ndim, d->shape));
    return CLV_OK;
}

/* ---- pick: x [N,C], index i64 [N] -> y [N] ---- */

static clv_status pick_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(check_index(call, 1, call->in[0].shape[0]));
    clvi_op_out(call, call->in[0].dtype, 1, call->in[0].shape);
    return CLV_OK;
}

static void pick_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                          const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    int64_t shape[CLV_MAX_DIMS];
    const int ndim = clv_node_shape(g, in[0], shape);
    if (need[0] && ndim == 2) grad_in[0] = clv_put(g, clvi_fill(g, 2, shape, 0), in[1], grad_out[0]);
}

const clvi_op_class clvi_op_pick = { .name = "pick", .n_in = 2, .infer = pick_infer, .backward = pick_backward };

clv_node clv_pick(clv_graph *g, clv_node x, clv_node index)
{
    return clvi_op2(g, "pick", NULL, x, index);
}

/* ---- put: x [N,C], index i64 [N], value? [N] (absent: 0) -> y ---- */

static clv_status put_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(check_index(call, 1, call->in[0].shape[0]));
    if (clvi_op_has(call, 2)) {
        CLV_TRY(clvi_op_want(call, 2, 1));
        CLV_CHECK(call->in[2].shape[0] == call->in[0].shape[0], CLV_ERR_SHAPE,
                  "put: %" PRId64 " values for %" PRId64 " rows", call->in[2].shape[0], call->in[0].shape[0]);
    }
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

/* The values' gradient is read before the entries are cleared, which then can happen in place. */
static void put_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    if (!clvi_node_none(in[2]) && need[2]) grad_in[2] = clv_pick(g, grad_out[0], in[1]);
    if (need[0]) grad_in[0] = clv_put(g, grad_out[0], in[1], CLV_NONE);
}

const clvi_op_class clvi_op_put = {
    .name = "put", .n_in = 3, .optional = 1u << 2, .infer = put_infer, .backward = put_backward,
};

clv_node clv_put(clv_graph *g, clv_node x, clv_node index, clv_node value)
{
    return clvi_op(g, "put", NULL, (clv_node[]) { x, index, value }, 3, NULL, 0);
}
