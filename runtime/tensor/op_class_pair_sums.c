/* op_class_pair_sums.c: inner products summed over all pairs of rows with the same label, and over all pairs with
 * different ones, without making the pairs: with S_c the sum of the rows of class c and T that of all rows,
 *   sum over i != j of one class = sum_c |S_c|^2 - sum_i |x_i|^2,   over different classes = |T|^2 - sum_c |S_c|^2.
 * Rows may be scaled to unit length on the way. */
#include "tensor/op.h"

static clv_status check(const clvi_op_call *call, int x)
{
    CLV_TRY(clvi_op_want(call, x, 2));
    const clvi_desc *labels = &call->in[x + 1];
    CLV_CHECK(labels->dtype == CLV_I64 && labels->ndim == 1 && labels->shape[0] == call->in[x].shape[0], CLV_ERR_SHAPE,
              "%s: labels must be int64 [%" PRId64 "], are %s with %d dimensions", call->op, call->in[x].shape[0],
              clv_dtype_name(labels->dtype), labels->ndim);
    return CLV_OK;
}

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(check(call, 0));
    const clv_dtype type = call->in[0].dtype;
    for (int i = 0; i < 4; i++) clvi_op_out(call, type, 0, NULL);
    clvi_op_out(call, type, 1, &call->in[0].shape[0]);
    clvi_op_out(call, type, 1, &call->in[0].shape[1]);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    if (!need[0] || (clvi_node_none(grad_out[0]) && clvi_node_none(grad_out[1]))) return;
    const clv_node args[] = { grad_out[0], grad_out[1], in[0], in[1], out[4], out[5] };
    grad_in[0] = clvi_op(g, "class_pair_sums_bwd", attr, args, 6, NULL, 0);
}

const clvi_op_class clvi_op_class_pair_sums = {
    .name = "class_pair_sums", .attr_size = sizeof(clvi_class_pairs_attr), .n_in = 2, .infer = infer,
    .backward = backward,
};

/* dsame?, ddifferent?, x, labels, norm, total -> dx */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(check(call, 2));
    clvi_op_out_like(call, 2);
    return CLV_OK;
}

const clvi_op_class clvi_op_class_pair_sums_bwd = {
    .name = "class_pair_sums_bwd", .attr_size = sizeof(clvi_class_pairs_attr), .n_in = 6,
    .optional = 1u << 0 | 1u << 1, .infer = bwd_infer,
};

void clv_class_pair_sums(clv_graph *g, clv_node x, clv_node labels, bool unit, double eps, clv_pair_sums *out)
{
    const clvi_class_pairs_attr attr = { .unit = unit, .eps = eps };
    clv_node sums[6];
    for (int i = 0; i < 6; i++) sums[i] = CLV_NONE;
    (void)clvi_op(g, "class_pair_sums", &attr, (clv_node[]) { x, labels }, 2, sums, 6);
    *out = (clv_pair_sums) { .same = sums[0], .different = sums[1], .n_same = sums[2], .n_different = sums[3] };
}
