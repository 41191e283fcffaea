/* op_lerp.c: lambda a + (1 - lambda) b with a constant lambda: one number, or one for each row, column, or element; b
 * may be rows taken elsewhere. */
#include "tensor/bank.h"

enum { A, B, LAMBDA, INDEX, INPUTS };

static clv_status infer(clvi_op_call *call)
{
    const bool has_a = clvi_op_has(call, A), has_b = clvi_op_has(call, B), has_index = clvi_op_has(call, INDEX);
    CLV_CHECK(has_a || has_b, CLV_ERR_INVALID, "lerp: both ends are missing");
    CLV_CHECK(!has_index || (has_a && has_b), CLV_ERR_INVALID, "lerp: an index needs both ends");
    if (has_a) CLV_TRY(clvi_op_want(call, A, 2));
    if (has_b) CLV_TRY(clvi_op_want(call, B, 2));
    const clvi_desc *x = &call->in[has_a ? A : B], *lambda = &call->in[LAMBDA];
    if (has_index) {
        CLV_TRY(clvi_op_want_dims(call, INDEX, 1));
        CLV_CHECK(call->in[INDEX].dtype == CLV_I64 && call->in[INDEX].shape[0] == x->shape[0] &&
                  call->in[B].shape[1] == x->shape[1], CLV_ERR_SHAPE,
                  "lerp: want an int64 index for each of %" PRId64 " rows, into rows of %" PRId64 " values",
                  x->shape[0], x->shape[1]);
    } else if (has_a && has_b) {
        CLV_TRY(clvi_op_want_same_shape(call, A, B));
    }
    CLV_TRY(clvi_op_want(call, LAMBDA, 2));
    CLV_CHECK((lambda->shape[0] == 1 || lambda->shape[0] == x->shape[0]) &&
              (lambda->shape[1] == 1 || lambda->shape[1] == x->shape[1]), CLV_ERR_SHAPE,
              "lerp: lambda must be [1 or %" PRId64 ",1 or %" PRId64 "], is [%" PRId64 ",%" PRId64 "]", x->shape[0],
              x->shape[1], lambda->shape[0], lambda->shape[1]);
    clvi_op_out_like(call, has_a ? A : B);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    const bool indexed = !clvi_node_none(in[INDEX]);
    if (need[A] && !indexed) grad_in[A] = clvi_lerp(g, grad_out[0], CLV_NONE, in[LAMBDA], CLV_NONE);
    if (need[B] && !indexed) grad_in[B] = clvi_lerp(g, CLV_NONE, grad_out[0], in[LAMBDA], CLV_NONE);
}

const clvi_op_class clvi_op_lerp = {
    .name = "lerp", .n_in = INPUTS, .optional = 1u << A | 1u << B | 1u << INDEX, .infer = infer, .backward = backward,
};

clv_node clvi_lerp(clv_graph *g, clv_node a, clv_node b, clv_node lambda, clv_node index)
{
    return clvi_op(g, "lerp", NULL, (clv_node[]) { a, b, lambda, index }, INPUTS, NULL, 0);
}
