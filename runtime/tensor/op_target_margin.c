/* op_target_margin.c: the logit of each row's own class made harder: s cos(theta) becomes s (cos(theta) - m) or
 * s cos(theta + m). Wang et al. 2018, arXiv:1801.09414, eq. 4; Deng et al. 2019, arXiv:1801.07698, eq. 3. */
#include "tensor/op.h"

enum { LOGITS, LABELS, MARGINS, INPUTS };

static clv_status check(const clvi_op_call *call)
{
    const clvi_target_margin_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, LOGITS, 2));
    const clvi_desc *labels = &call->in[LABELS];
    const int64_t rows = call->in[LOGITS].shape[0];
    CLV_CHECK(labels->dtype == CLV_I64 && labels->ndim == 1 && labels->shape[0] == rows, CLV_ERR_SHAPE,
              "%s: labels must be int64 [%" PRId64 "], are %s with %d dimensions", call->op, rows,
              clv_dtype_name(labels->dtype), labels->ndim);
    if (clvi_op_has(call, MARGINS)) {
        CLV_TRY(clvi_op_want(call, MARGINS, 1));
        CLV_CHECK(call->in[MARGINS].shape[0] == rows, CLV_ERR_SHAPE, "%s: %" PRId64 " margins for %" PRId64 " rows",
                  call->op, call->in[MARGINS].shape[0], rows);
    }
    CLV_CHECK(a->scale > 0, CLV_ERR_INVALID, "%s: the scale is %g, want more than 0", call->op, a->scale);
    return CLV_OK;
}

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(check(call));
    clvi_op_out_like(call, LOGITS);
    clvi_op_out(call, call->in[LOGITS].dtype, 1, call->in[LOGITS].shape);
    return CLV_OK;
}

/* The cosines of the targets, output 1, are for the backward operation alone: the logits may be gone by then. */
static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    const clv_node args[] = { grad_out[0], in[LABELS], in[MARGINS], out[1] };
    clv_node grad[2] = { CLV_NONE, CLV_NONE };
    if (clvi_node_none(grad_out[0])) return;
    (void)clvi_op(g, "target_margin_bwd", attr, args, 4, grad, 2);
    if (need[LOGITS]) grad_in[LOGITS] = grad[0];
    if (!clvi_node_none(in[MARGINS]) && need[MARGINS]) grad_in[MARGINS] = grad[1];
}

const clvi_op_class clvi_op_target_margin = {
    .name = "target_margin", .attr_size = sizeof(clvi_target_margin_attr), .n_in = INPUTS, .optional = 1u << MARGINS,
    .infer = infer, .backward = backward,
};

/* dy, labels, margins?, cosine [N] -> dlogits, dmargins */
const clvi_op_class clvi_op_target_margin_bwd = {
    .name = "target_margin_bwd", .attr_size = sizeof(clvi_target_margin_attr), .n_in = INPUTS + 1,
    .optional = 1u << MARGINS, .infer = infer,
};

clv_node clv_target_margin(clv_graph *g, clv_node logits, clv_node labels, const clv_target_margin_desc *desc)
{
    const clvi_target_margin_attr attr = { .scale = desc->scale, .margin = desc->margin, .clamp = desc->clamp,
                                           .mode = (int)desc->mode };
    return clvi_op(g, "target_margin", &attr, (clv_node[]) { logits, labels, desc->margins }, INPUTS, NULL, 0);
}
