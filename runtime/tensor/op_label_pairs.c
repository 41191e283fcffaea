/* op_label_pairs.c: which pairs of rows have the same label, or different ones. A row with a negative label is in no
 * pair, and no row is paired with itself. Not differentiable. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_dims(call, 0, 1));
    CLV_CHECK(call->in[0].dtype == CLV_I64, CLV_ERR_SHAPE, "label_pairs: labels must be int64, are %s",
              clv_dtype_name(call->in[0].dtype));
    const int64_t n = call->in[0].shape[0];
    clvi_op_out(call, CLV_U8, 2, (int64_t[]) { n, n });
    return CLV_OK;
}

const clvi_op_class clvi_op_label_pairs = {
    .name = "label_pairs", .attr_size = sizeof(clvi_label_pairs_attr), .n_in = 1, .infer = infer,
};

clv_node clv_label_pairs(clv_graph *g, clv_node labels, bool same, bool upper)
{
    return clvi_op1(g, "label_pairs", &(clvi_label_pairs_attr) { .same = same, .upper = upper }, labels);
}
