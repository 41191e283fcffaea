/* op_gather_rows.c: rows of a table by index; a negative index gives a row of zeros. */
#include "tensor/op.h"

static clv_status want_index(const clvi_op_call *call, int input)
{
    CLV_TRY(clvi_op_want_dims(call, input, 1));
    CLV_CHECK(call->in[input].dtype == CLV_I64, CLV_ERR_SHAPE, "%s: indices must be int64, are %s", call->op,
              clv_dtype_name(call->in[input].dtype));
    return CLV_OK;
}

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(want_index(call, 1));
    clvi_op_out(call, call->in[0].dtype, 2, (int64_t[]) { call->in[1].shape[0], call->in[0].shape[1] });
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    int64_t shape[CLV_MAX_DIMS];
    if (!need[0] || clv_node_shape(g, in[0], shape) != 2) return;
    grad_in[0] = clvi_op2(g, "gather_rows_bwd", &(clvi_gather_rows_attr) { .rows = shape[0] }, grad_out[0], in[1]);
}

const clvi_op_class clvi_op_gather_rows = { .name = "gather_rows", .n_in = 2, .infer = infer, .backward = backward };

/* dy [N,D], index [N] -> dtable: the rows of dy added up by index */
static clv_status bwd_infer(clvi_op_call *call)
{
    const clvi_gather_rows_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(want_index(call, 1));
    clvi_op_out(call, call->in[0].dtype, 2, (int64_t[]) { a->rows, call->in[0].shape[1] });
    return CLV_OK;
}

const clvi_op_class clvi_op_gather_rows_bwd = {
    .name = "gather_rows_bwd", .attr_size = sizeof(clvi_gather_rows_attr), .n_in = 2, .infer = bwd_infer,
};

clv_node clv_gather_rows(clv_graph *g, clv_node table, clv_node index)
{
    return clvi_op2(g, "gather_rows", NULL, table, index);
}
