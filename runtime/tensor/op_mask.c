/* op_mask.c: entries where the mask is 0 become 0, and so do their gradients. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_desc *x = &call->in[0], *mask = &call->in[1];
    CLV_TRY(clvi_op_want(call, 0, 2));
    const bool row = mask->ndim == 1 && mask->shape[0] == x->shape[1];
    const bool full = mask->ndim == 2 && mask->shape[0] == x->shape[0] && mask->shape[1] == x->shape[1];
    CLV_CHECK(mask->dtype == CLV_U8 && (row || full), CLV_ERR_SHAPE,
              "mask: expected uint8 [%" PRId64 ",%" PRId64 "] or [%" PRId64 "], got %s with %d dimensions", x->shape[0],
              x->shape[1], x->shape[1], clv_dtype_name(mask->dtype), mask->ndim);
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)out;
    (void)attr;
    if (need[0]) grad_in[0] = clv_mask(g, grad_out[0], in[1]);
}

const clvi_op_class clvi_op_mask = {
    .name = "mask", .n_in = 2, .infer = infer, .backward = backward,
};

clv_node clv_mask(clv_graph *g, clv_node x, clv_node mask)
{
    return clvi_op2(g, "mask", NULL, x, mask);
}
