/* op_box_filter.c: which of the marked entries are no outliers: those within the box of the quartiles and whiskers of
 * `reach` times its height. Tukey 1977; as used by Jung et al. 2022, arXiv:2203.11593. Not differentiable. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_float(call, 0));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    CLV_CHECK(call->in[1].dtype == CLV_U8, CLV_ERR_SHAPE, "box_filter: the mask must be uint8, is %s",
              clv_dtype_name(call->in[1].dtype));
    clvi_op_out_like(call, 1);
    for (int i = 0; i < 5; i++) clvi_op_out(call, call->in[0].dtype, 0, NULL);
    return CLV_OK;
}

const clvi_op_class clvi_op_box_filter = {
    .name = "box_filter", .attr_size = sizeof(clvi_box_filter_attr), .n_in = 2, .infer = infer,
};

clv_node clv_box_filter(clv_graph *g, clv_node x, clv_node mask, double reach, clv_box *box)
{
    clv_node out[6] = { CLV_NONE, CLV_NONE, CLV_NONE, CLV_NONE, CLV_NONE, CLV_NONE };
    (void)clvi_op(g, "box_filter", &(clvi_box_filter_attr) { .reach = reach }, (clv_node[]) { x, mask }, 2, out, 6);
    if (box) *box = (clv_box) { .q1 = out[1], .q3 = out[2], .low = out[3], .high = out[4], .kept = out[5] };
    return out[0];
}
