/* op_softmax_xent.c: cross entropy of a softmax against a class index, per row: log-sum-exp minus the target's
 * logit. */
#include "tensor/op.h"

/* Targets and mask follow the logits at inputs `at` and `at + 1`. */
static clv_status check(const clvi_op_call *call, int logits)
{
    CLV_TRY(clvi_op_want(call, logits, 2));
    const clvi_desc *x = &call->in[logits], *t = &call->in[logits + 1];
    char text[CLVI_SHAPE_TEXT];
    CLV_CHECK(t->dtype == CLV_I64 && t->ndim == 1 && t->shape[0] == x->shape[0], CLV_ERR_SHAPE,
              "%s: targets must be int64 [%" PRId64 "], are %s %s", call->op, x->shape[0], clv_dtype_name(t->dtype),
              clvi_shape_text(text, t->ndim, t->shape));
    if (!clvi_op_has(call, logits + 2)) return CLV_OK;
    CLV_CHECK(call->in[logits + 2].dtype == CLV_U8, CLV_ERR_SHAPE, "%s: the mask must be uint8, is %s", call->op,
              clv_dtype_name(call->in[logits + 2].dtype));
    return clvi_op_want_same_shape(call, logits, logits + 2);
}

static clv_status infer(clvi_op_call *call)
{
    CLV_TRY(check(call, 0));
    clvi_op_out(call, call->in[0].dtype, 1, call->in[0].shape);
    clvi_op_out(call, call->in[0].dtype, 1, call->in[0].shape);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)attr, (void)need;
    const clv_node args[] = { grad_out[0], in[0], in[1], in[2], out[1], grad_out[1] };
    grad_in[0] = clvi_op(g, "softmax_xent_bwd", NULL, args, 6, NULL, 0);
}

const clvi_op_class clvi_op_softmax_xent = {
    .name = "softmax_xent", .n_in = 3, .optional = 1u << 2, .infer = infer, .backward = backward,
};

/* dper_row?, logits, targets, mask?, lse, dlse? -> dlogits */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(check(call, 1));
    clvi_op_out_like(call, 1);
    return CLV_OK;
}

const clvi_op_class clvi_op_softmax_xent_bwd = {
    .name = "softmax_xent_bwd", .n_in = 6, .optional = 1u << 0 | 1u << 3 | 1u << 5, .infer = bwd_infer,
};

clv_node clv_softmax_xent_lse(clv_graph *g, clv_node logits, clv_node targets, clv_node mask, clv_node *lse)
{
    clv_node out[2] = { CLV_NONE, CLV_NONE };
    const clv_node per_row = clvi_op(g, "softmax_xent", NULL, (clv_node[]) { logits, targets, mask }, 3, out, 2);
    *lse = out[1];
    return per_row;
}

clv_node clv_softmax_xent(clv_graph *g, clv_node logits, clv_node targets, clv_node mask)
{
    clv_node lse;
    return clv_softmax_xent_lse(g, logits, targets, mask, &lse);
}
