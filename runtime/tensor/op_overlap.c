/* op_overlap.c: one item's part of a dice or Tversky loss, and the self-adjusting weight that goes into it. Both
 * backward operations start from the inputs again: cheaper than memory.
 * Li et al. 2020, arXiv:1911.02855, section 3. */
#include "tensor/op.h"

static clv_status want_alike(const clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++) CLV_TRY(clvi_op_want_float(call, i));
    for (int i = 1; i < call->n_in; i++) CLV_TRY(clvi_op_want_same_shape(call, 0, i));
    return CLV_OK;
}

/* ---- overlap: w, y -> R, elementwise; y is a constant ---- */

static clv_status overlap_infer(clvi_op_call *call)
{
    CLV_TRY(want_alike(call));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void overlap_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                             const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out;
    const clv_node args[] = { grad_out[0], in[0], in[1] };
    if (need[0]) grad_in[0] = clvi_op(g, "overlap_bwd", attr, args, 3, NULL, 0);
}

const clvi_op_class clvi_op_overlap = {
    .name = "overlap", .attr_size = sizeof(clvi_overlap_attr), .n_in = 2, .infer = overlap_infer,
    .backward = overlap_backward,
};

const clvi_op_class clvi_op_overlap_bwd = {
    .name = "overlap_bwd", .attr_size = sizeof(clvi_overlap_attr), .n_in = 3, .infer = overlap_infer,
};

/* ---- self_adjust: x [N,C] -> w, p; p passes no gradient ---- */

static clv_status adjust_infer(clvi_op_call *call)
{
    const clvi_self_adjust_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_CHECK(a->alpha >= 0, CLV_ERR_INVALID, "self_adjust: alpha is %g, want at least 0", a->alpha);
    clvi_op_out_like(call, 0);
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

static void adjust_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                            const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)need;
    if (!clvi_node_none(grad_out[0])) grad_in[0] = clvi_op2(g, "self_adjust_bwd", attr, grad_out[0], in[0]);
}

const clvi_op_class clvi_op_self_adjust = {
    .name = "self_adjust", .attr_size = sizeof(clvi_self_adjust_attr), .n_in = 1, .infer = adjust_infer,
    .backward = adjust_backward,
};

/* dw, x -> dx */
static clv_status adjust_bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 1, 2));
    CLV_TRY(want_alike(call));
    clvi_op_out_like(call, 1);
    return CLV_OK;
}

const clvi_op_class clvi_op_self_adjust_bwd = {
    .name = "self_adjust_bwd", .attr_size = sizeof(clvi_self_adjust_attr), .n_in = 2, .infer = adjust_bwd_infer,
};
