/* op_batch_norm.c: batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167), whole or split into groups of
 * samples, with the running statistics of PyTorch. */
#include "tensor/graph.h"
#include "tensor/batch_norm.h"
#include "device/sync_norm.h"

clv_status clvi_batch_norm_want(const clvi_op_call *call, int input)
{
    CLV_TRY(clvi_op_want_float(call, input));
    CLV_CHECK(call->in[input].ndim == 2 || call->in[input].ndim == 4, CLV_ERR_SHAPE,
              "%s: expected 2 or 4 dimensions, got %d", call->op, call->in[input].ndim);
    return CLV_OK;
}

static clv_status infer(clvi_op_call *call)
{
    static const char *const names[] = { "x", "gamma", "beta", "running_mean", "running_var" };
    const clvi_batch_norm_attr *a = call->attr;
    const clvi_desc *x = &call->in[0];
    CLV_TRY(clvi_batch_norm_want(call, 0));
    for (int i = 1; i < 5; i++) {
        if (!clvi_op_has(call, i)) continue;
        char text[CLVI_SHAPE_TEXT];
        if (a->again && i >= 3) continue;      /* [G,C], of the node this one repeats */
        CLV_CHECK(call->in[i].ndim == 1 && call->in[i].shape[0] == x->shape[1], CLV_ERR_SHAPE,
                  "batch_norm: %s must be [%" PRId64 "], is %s", names[i], x->shape[1],
                  clvi_shape_text(text, call->in[i].ndim, call->in[i].shape));
    }
    CLV_CHECK(a->groups >= 1 && x->shape[0] % a->groups == 0, CLV_ERR_SHAPE,
              "batch_norm: %" PRId64 " groups do not divide a batch of %" PRId64, a->groups, x->shape[0]);
    int64_t values = x->shape[0] / a->groups;
    for (int i = 2; i < x->ndim; i++) values *= x->shape[i];
    CLV_CHECK(!a->training || values > 1, CLV_ERR_SHAPE,
              "batch_norm: training needs more than 1 value per channel and group");
    CLV_CHECK(a->eps > 0 && a->momentum >= 0 && a->momentum <= 1, CLV_ERR_INVALID,
              "batch_norm: eps %g must be above 0 and momentum %g within 0 to 1", a->eps, a->momentum);
    if (a->sum) CLV_TRY(clvi_op_want_same_shape(call, 0, 5));
    const clv_dtype dtype = x->dtype;
    const int64_t stats[] = { a->groups, x->shape[1] };
    clvi_op_out_like(call, 0);
    clvi_op_out(call, dtype, 2, stats);
    clvi_op_out(call, dtype, 2, stats);
    clvi_op_out_workspace(call);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)need;
    const clvi_batch_norm_attr *a = attr;
    if (clvi_node_none(grad_out[0])) return;
    const clv_node args[] = { grad_out[0], in[0], in[1], a->training ? out[1] : in[3], a->training ? out[2] : in[4],
                              out[3], CLV_NONE };
    const bool joined = clvi_batch_norm_gives_sum(a);
    clv_node grads[4];
    (void)clvi_op(g, "batch_norm_bwd", attr, args, 7, grads, joined ? 4 : 3);
    grad_in[0] = grads[0];
    if (a->sum) grad_in[5] = joined ? grads[3] : grad_out[0];
    if (!clvi_node_none(in[1])) grad_in[1] = grads[1];
    if (!clvi_node_none(in[2])) grad_in[2] = grads[2];
}

const clvi_op_class clvi_op_batch_norm = {
    .name = "batch_norm", .attr_size = sizeof(clvi_batch_norm_attr), .n_in = 6,
    .optional = 1u << 1 | 1u << 2 | 1u << 5, .infer = infer, .backward = backward, .effect = true, .workspace = 1 + 3,
    .half = { .in = 1 | 1u << 5, .out = 1, .like = 1 },
};

/* dy, x, ... -> dx, dgamma, dbeta */
clv_status clvi_batch_norm_bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_batch_norm_want(call, 1));
    CLV_TRY(clvi_op_want_same_shape(call, 0, 1));
    const int64_t channels = call->in[1].shape[1];
    clvi_op_out_like(call, 1);
    clvi_op_out(call, call->in[1].dtype, 1, &channels);
    clvi_op_out(call, call->in[1].dtype, 1, &channels);
    return CLV_OK;
}

/* dy, x, gamma?, mean, var, workspace, dy2? -> dx, dgamma, dbeta, dsum? */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_batch_norm_bwd_infer(call));
    if (clvi_op_has(call, 6)) CLV_TRY(clvi_op_want_same_shape(call, 6, 1));
    if (clvi_batch_norm_gives_sum(call->attr)) clvi_op_out_like(call, 1);
    return CLV_OK;
}

const clvi_op_class clvi_op_batch_norm_bwd = {
    .name = "batch_norm_bwd", .attr_size = sizeof(clvi_batch_norm_attr), .n_in = 7,
    .optional = 1u << 2 | 1u << 6, .infer = bwd_infer, .half = { .in = 1 | 2 | 1u << 6, .out = 1 | 1u << 3, .like = 2 },
};

clv_node clv_batch_norm(clv_graph *g, clv_node x, const clv_batch_norm_desc *desc)
{
    if (!desc) {
        clvi_graph_fail(g, CLV_ERR_INVALID, "batch_norm: desc is NULL");
        return CLV_NONE;
    }
    const bool training = clv_graph_training(g);
    const clvi_batch_norm_attr attr = { .groups = training ? desc->groups : 1, .eps = desc->eps,
                                        .momentum = desc->momentum, .training = training };
    const clv_node in[] = { x, desc->gamma, desc->beta, desc->running_mean, desc->running_var, CLV_NONE };
    const clvi_sync_norm_attr sync = { desc->eps, desc->momentum, g->ranks };
    if (g->ranks && training) return clvi_op(g, "sync_batch_norm", &sync, in, 5, NULL, 0);
    return clvi_op(g, "batch_norm", &attr, in, 6, NULL, 0);
}
