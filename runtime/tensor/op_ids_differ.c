/* op_ids_differ.c: which pairs of two lists of ids are different things. Not differentiable. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    for (int i = 0; i < 2; i++) {
        CLV_TRY(clvi_op_want_dims(call, i, 1));
        CLV_CHECK(call->in[i].dtype == CLV_I64, CLV_ERR_SHAPE, "ids_differ: input %d must be int64, is %s", i,
                  clv_dtype_name(call->in[i].dtype));
    }
    clvi_op_out(call, CLV_U8, 2, (int64_t[]) { call->in[0].shape[0], call->in[1].shape[0] });
    return CLV_OK;
}

const clvi_op_class clvi_op_ids_differ = {
    .name = "ids_differ", .n_in = 2, .infer = infer,
};

clv_node clv_ids_differ(clv_graph *g, clv_node a, clv_node b)
{
    return clvi_op2(g, "ids_differ", NULL, a, b);
}
