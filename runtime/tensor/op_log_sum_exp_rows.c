/* op_log_sum_exp_rows.c: the logarithm of the sum of exponentials of each row, entries with mask 0 left out. Over
 * nothing it is -inf, with no gradient. */
#include "tensor/op.h"

/* The mask follows x at input `x + 1`. */
static clv_status check(const clvi_op_call *call, int x)
{
    CLV_TRY(clvi_op_want(call, x, 2));
    if (!clvi_op_has(call, x + 1)) return CLV_OK;
    CLV_CHECK(call->in[x + 1].dtype == CLV_U8, CLV_ERR_SHAPE, "%s: the mask must be uint8, is %s", call->op,
              clv_dtype_name(call->in[x + 1].dtype));
    return clvi_op_want_same_shape(call, x, x + 1);
}

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(check(call, 0));
    clvi_op_out(call, call->in[0].dtype, 1, call->in[0].shape);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)attr, (void)need;
    const clv_node args[] = { grad_out[0], in[0], in[1], out[0] };
    grad_in[0] = clvi_op(g, "log_sum_exp_rows_bwd", NULL, args, 4, NULL, 0);
}

const clvi_op_class clvi_op_log_sum_exp_rows = {
    .name = "log_sum_exp_rows", .n_in = 2, .optional = 1u << 1, .infer = infer, .backward = backward,
};

/* dy, x, mask?, y -> dx */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(check(call, 1));
    clvi_op_out_like(call, 1);
    return CLV_OK;
}

const clvi_op_class clvi_op_log_sum_exp_rows_bwd = {
    .name = "log_sum_exp_rows_bwd", .n_in = 4, .optional = 1u << 2, .infer = bwd_infer,
};

clv_node clv_log_sum_exp_rows(clv_graph *g, clv_node x, clv_node mask)
{
    return clvi_op(g, "log_sum_exp_rows", NULL, (clv_node[]) { x, mask }, 2, NULL, 0);
}
