/* op_pair_nce.c: every row picks its positives, the rows with its label, out of all other rows. The kernels walk the
 * pairs in tiles, forward and again backward: no matrix of all pairs is kept. */
#include "tensor/op.h"

/* x and labels are inputs `at` and `at + 1`. */
static clv_status check(const clvi_op_call *call, int at)
{
    const clvi_pair_nce_attr *a = call->attr;
    const clvi_desc *x = &call->in[at], *labels = &call->in[at + 1];
    CLV_TRY(clvi_op_want(call, at, 2));
    CLV_TRY(clvi_op_want_dims(call, at + 1, 1));
    const int64_t rows = x->shape[0], period = labels->shape[0];
    CLV_CHECK(labels->dtype == CLV_I64, CLV_ERR_SHAPE, "pair_nce: labels must be int64, are %s",
              clv_dtype_name(labels->dtype));
    CLV_CHECK(period > 0 ? rows % period == 0 : rows == 0, CLV_ERR_SHAPE,
              "pair_nce: %" PRId64 " labels do not fit %" PRId64 " rows", period, rows);
    CLV_CHECK(a->anchors >= 0 && a->anchors <= rows, CLV_ERR_SHAPE,
              "pair_nce: %" PRId64 " anchors, but %" PRId64 " rows", a->anchors, rows);
    CLV_CHECK(a->temperature > 0, CLV_ERR_INVALID, "pair_nce: temperature is %g, want more than 0", a->temperature);
    return CLV_OK;
}

static clv_status infer(clvi_op_call *call)
{
    const clvi_pair_nce_attr *a = call->attr;
    CLV_TRY(check(call, 0));
    for (int i = 0; i < 3; i++) clvi_op_out(call, call->in[0].dtype, 1, &a->anchors);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)need;
    if (clvi_node_none(grad_out[0])) return;
    const clv_node args[] = { grad_out[0], in[0], in[1], out[2] };
    grad_in[0] = clvi_op(g, "pair_nce_bwd", attr, args, 4, NULL, 0);
}

static double flops_of(const clvi_op_call *call, int x, double products)
{
    const clvi_pair_nce_attr *a = call->attr;
    return products * 2 * (double)a->anchors * (double)clvi_desc_count(&call->in[x]);
}

static double flops(const clvi_op_call *call)
{
    return flops_of(call, 0, 1);
}

const clvi_op_class clvi_op_pair_nce = {
    .name = "pair_nce", .attr_size = sizeof(clvi_pair_nce_attr), .n_in = 2, .infer = infer, .backward = backward,
    .flops = flops,
};

/* dper_anchor, x, labels, lse -> dx */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(check(call, 1));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 3));
    clvi_op_out_like(call, 1);
    return CLV_OK;
}

/* The scores once more, and their weights times the rows. */
static double bwd_flops(const clvi_op_call *call)
{
    return flops_of(call, 1, 2);
}

const clvi_op_class clvi_op_pair_nce_bwd = {
    .name = "pair_nce_bwd", .attr_size = sizeof(clvi_pair_nce_attr), .n_in = 4, .infer = bwd_infer, .flops = bwd_flops,
};

clv_node clv_pair_nce(clv_graph *g, clv_node x, clv_node labels, int64_t anchors, double temperature,
                      clv_node *positives)
{
    const clvi_pair_nce_attr attr = { .temperature = temperature, .anchors = anchors };
    const clv_node in[] = { x, labels };
    clv_node out[2] = { CLV_NONE, CLV_NONE };
    const clv_node per_anchor = clvi_op(g, "pair_nce", &attr, in, 2, out, 2);
    if (positives) *positives = out[1];
    return per_anchor;
}
