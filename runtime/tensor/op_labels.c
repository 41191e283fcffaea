/* op_labels.c: what is made of class labels: one_hot, ignore_label, hard_negatives. Not differentiable. */
#include "tensor/op.h"

static clv_status want_labels(const clvi_op_call *call, int input)
{
    CLV_TRY(clvi_op_want_dims(call, input, 1));
    CLV_CHECK(call->in[input].dtype == CLV_I64, CLV_ERR_SHAPE, "%s: labels must be int64, are %s", call->op,
              clv_dtype_name(call->in[input].dtype));
    return CLV_OK;
}

/* ---- one_hot ---- */

static clv_status one_hot_infer(clvi_op_call *call)
{
    const clvi_one_hot_attr *a = call->attr;
    CLV_TRY(want_labels(call, 0));
    CLV_CHECK(a->classes >= 0, CLV_ERR_INVALID, "one_hot: %" PRId64 " classes", a->classes);
    clvi_op_out(call, (clv_dtype)a->dtype, 2, (int64_t[]) { call->in[0].shape[0], a->classes });
    return CLV_OK;
}

const clvi_op_class clvi_op_one_hot = {
    .name = "one_hot", .attr_size = sizeof(clvi_one_hot_attr), .n_in = 1, .infer = one_hot_infer,
};

clv_node clv_one_hot(clv_graph *g, clv_node labels, int64_t classes)
{
    const clvi_one_hot_attr attr = { .classes = classes, .dtype = (int)clvi_graph_dtype(g) };
    return clvi_op1(g, "one_hot", &attr, labels);
}

/* ---- ignore_label ---- */

static clv_status ignore_infer(clvi_op_call *call)
{
    CLV_TRY(want_labels(call, 0));
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

const clvi_op_class clvi_op_ignore_label = {
    .name = "ignore_label", .attr_size = sizeof(clvi_ignore_label_attr), .n_in = 1, .infer = ignore_infer,
};

clv_node clv_ignore_label(clv_graph *g, clv_node labels, int64_t label)
{
    return clvi_op1(g, "ignore_label", &(clvi_ignore_label_attr) { .label = label }, labels);
}

/* ---- hard_negatives: scores [N], labels [N], mask? [N] ---- */

static clv_status hard_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 1));
    CLV_TRY(want_labels(call, 1));
    const int64_t n = call->in[0].shape[0];
    CLV_CHECK(call->in[1].shape[0] == n, CLV_ERR_SHAPE, "hard_negatives: %" PRId64 " labels for %" PRId64 " scores",
              call->in[1].shape[0], n);
    const clvi_desc *mask = &call->in[2];
    CLV_CHECK(!clvi_op_has(call, 2) || (mask->dtype == CLV_U8 && mask->ndim == 1 && mask->shape[0] == n), CLV_ERR_SHAPE,
              "hard_negatives: the mask must be uint8 [%" PRId64 "]", n);
    clvi_op_out(call, CLV_U8, 1, &n);
    clvi_op_out(call, CLV_I64, 0, NULL);
    return CLV_OK;
}

const clvi_op_class clvi_op_hard_negatives = {
    .name = "hard_negatives", .attr_size = sizeof(clvi_hard_negatives_attr), .n_in = 3, .optional = 1u << 2,
    .infer = hard_infer,
};
