/* op_block_mask.c: DropBlock (Ghiasi et al. 2018, arXiv:1810.12890): squares of a map are set to 0. Lee et al. 2019,
 * arXiv:1904.03758, whose networks use it, let the rate rise with the number of batches, and have a map's squares begin
 * where they fit. What is left of a sample is scaled so that its mean does not change: of a sample, where the papers
 * say of the batch, so that it does not depend on how a batch is divided. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_block_mask_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 1));
    CLV_CHECK(call->in[0].shape[0] == 1, CLV_ERR_SHAPE, "block_mask: the count has %" PRId64 " values, want 1",
              call->in[0].shape[0]);
    CLV_CHECK(a->block >= 1 && a->block <= a->shape[2] && a->block <= a->shape[3], CLV_ERR_INVALID,
              "block_mask: blocks of %" PRId64 " pixels do not fit maps of %" PRId64 "x%" PRId64, a->block, a->shape[2],
              a->shape[3]);
    clvi_op_out(call, call->in[0].dtype, 4, a->shape);
    return CLV_OK;
}

const clvi_op_class clvi_op_block_mask = {
    .name = "block_mask", .attr_size = sizeof(clvi_block_mask_attr), .n_in = 1, .infer = infer, .effect = true,
};

clv_node clvi_drop_block(clv_graph *g, clv_node x, clv_node count, const clvi_block_mask_attr *attr)
{
    clvi_block_mask_attr a = *attr;
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    if (!(a.path.rate >= 0 && a.path.rate < 1)) {
        clvi_graph_fail(g, CLV_ERR_INVALID, "drop_block: the rate is %g, want 0 or more and less than 1", a.path.rate);
        return CLV_NONE;
    }
    const int ndim = clv_node_shape(g, x, shape);
    if (ndim >= 0 && ndim != 4) clvi_graph_fail(g, CLV_ERR_SHAPE, "drop_block: expected 4 dimensions, got %d", ndim);
    if (ndim != 4) return CLV_NONE;
    if (!clv_graph_training(g)) return x;
    for (int i = 0; i < 4; i++) a.shape[i] = shape[i];
    return clv_mul(g, x, clvi_op1(g, "block_mask", &a, count));
}
