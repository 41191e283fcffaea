/* op_widen.c: bfloat16 values in the type a graph computes in. A constant: what is stored so was computed before. */
#include "tensor/graph.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_widen_attr *a = call->attr;
    const clvi_desc *x = &call->in[0];
    CLV_CHECK(x->dtype == CLV_BF16, CLV_ERR_SHAPE, "widen: expected bfloat16, got %s", clv_dtype_name(x->dtype));
    clvi_op_out(call, (clv_dtype)a->dtype, x->ndim, x->shape);
    return CLV_OK;
}

const clvi_op_class clvi_op_widen = {
    .name = "widen", .attr_size = sizeof(clvi_widen_attr), .n_in = 1, .infer = infer,
};

clv_node clv_widen(clv_graph *g, clv_node x)
{
    const clvi_widen_attr attr = { (int)g->dtype };
    return clvi_op1(g, "widen", &attr, x);
}
