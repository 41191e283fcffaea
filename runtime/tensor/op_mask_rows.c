/* op_mask_rows.c: rows where the mask is 0 become 0, and so do their gradients. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_desc *x = &call->in[0], *mask = &call->in[1];
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_CHECK(mask->dtype == CLV_U8 && mask->ndim == 1 && mask->shape[0] == x->shape[0], CLV_ERR_SHAPE,
              "mask_rows: expected uint8 [%" PRId64 "], got %s with %d dimensions", x->shape[0],
              clv_dtype_name(mask->dtype), mask->ndim);
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr;
    if (need[0]) grad_in[0] = clv_mask_rows(g, grad_out[0], in[1]);
}

const clvi_op_class clvi_op_mask_rows = { .name = "mask_rows", .n_in = 2, .infer = infer, .backward = backward };

clv_node clv_mask_rows(clv_graph *g, clv_node x, clv_node mask)
{
    return clvi_op2(g, "mask_rows", NULL, x, mask);
}
