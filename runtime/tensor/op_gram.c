/* op_gram.c: inner products of all rows, or of all columns, of one matrix. Written as the product of x with a constant
 * x^T: `symmetric` passes its operand on and makes the gradient G + G^T, so that one product gives the whole gradient
 * of x x^T, (G + G^T) x, where the two operands of a general product would cost one each. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_CHECK(call->in[0].shape[0] == call->in[0].shape[1], CLV_ERR_SHAPE,
              "%s: expected a square matrix, got [%" PRId64 ",%" PRId64 "]", call->op, call->in[0].shape[0],
              call->in[0].shape[1]);
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)attr, (void)need;
    grad_in[0] = clvi_op1(g, "add_transpose", NULL, grad_out[0]);
}

const clvi_op_class clvi_op_symmetric = {
    .name = "symmetric", .n_in = 1, .infer = infer, .backward = backward, .alias = true,
};

/* x -> x + x^T */
const clvi_op_class clvi_op_add_transpose = { .name = "add_transpose", .n_in = 1, .infer = infer };

clv_node clv_gram(clv_graph *g, clv_node x, bool columns)
{
    return clvi_op1(g, "symmetric", NULL, clv_matmul(g, x, columns, clv_stop_gradient(g, x), !columns));
}
