/* op_triplet.c: the triplets in the distances between the rows of a batch: the hardest positive and negative of each
 * row, or all triplets at once. Hermans et al. 2017, arXiv:1703.07737, eq. 5 and 6. */
#include "tensor/op.h"

/* ---- hardest_pairs: distances [N,N], labels [N] -> positive i64 [N], negative i64 [N], valid u8 [N] ---- */

static clv_status want_labelled(const clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 2));
    const clvi_desc *d = &call->in[0], *labels = &call->in[1];
    CLV_CHECK(d->shape[0] == d->shape[1] && labels->dtype == CLV_I64 && labels->ndim == 1 &&
              labels->shape[0] == d->shape[0], CLV_ERR_SHAPE,
              "%s: want distances [N,N] and int64 labels [N], got [%" PRId64 ",%" PRId64 "] and %s with %d dimensions",
              call->op, d->shape[0], d->shape[1], clv_dtype_name(labels->dtype), labels->ndim);
    return CLV_OK;
}

static clv_status hardest_infer(clvi_op_call *call)
{
    CLV_TRY(want_labelled(call));
    clvi_op_out_like(call, 1);
    clvi_op_out_like(call, 1);
    clvi_op_out(call, CLV_U8, 1, call->in[1].shape);
    return CLV_OK;
}

const clvi_op_class clvi_op_hardest_pairs = { .name = "hardest_pairs", .n_in = 2, .infer = hardest_infer };

void clv_hardest_pairs(clv_graph *g, clv_node distances, clv_node labels, clv_node *positive, clv_node *negative,
                       clv_node *valid)
{
    clv_node out[3] = { CLV_NONE, CLV_NONE, CLV_NONE };
    (void)clvi_op(g, "hardest_pairs", NULL, (clv_node[]) { distances, labels }, 2, out, 3);
    *positive = out[0];
    *negative = out[1];
    *valid = out[2];
}

/* ---- triplet_sum: distances, labels -> sum, number above 0, number of triplets, d sum / d distances ---- */

static clv_status sum_infer(clvi_op_call *call)
{
    CLV_TRY(want_labelled(call));
    for (int i = 0; i < 3; i++) clvi_op_out(call, call->in[0].dtype, 0, NULL);
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

/* The forward walk made the gradient, too: only its scale is missing. */
static void sum_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)attr;
    int64_t shape[CLV_MAX_DIMS];
    if (!need[0] || clvi_node_none(grad_out[0]) || clv_node_shape(g, in[0], shape) != 2) return;
    const clv_node row = clv_reshape(g, out[3], 2, (int64_t[]) { 1, shape[0] * shape[1] });
    const clv_node scaled = clv_scale_rows(g, row, clv_reshape(g, grad_out[0], 1, (int64_t[]) { 1 }));
    grad_in[0] = clv_reshape(g, scaled, 2, shape);
}

const clvi_op_class clvi_op_triplet_sum = {
    .name = "triplet_sum", .attr_size = sizeof(clvi_triplet_sum_attr), .n_in = 2,
    .infer = sum_infer, .backward = sum_backward,
};

clv_node clv_triplet_sum(clv_graph *g, clv_node distances, clv_node labels, double margin, clv_node *active,
                         clv_node *triplets)
{
    clv_node out[3] = { CLV_NONE, CLV_NONE, CLV_NONE };
    (void)clvi_op(g, "triplet_sum", &(clvi_triplet_sum_attr) { .margin = margin }, (clv_node[]) { distances, labels },
                  2, out, 3);
    *active = out[1];
    *triplets = out[2];
    return out[0];
}
