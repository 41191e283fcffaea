/* op_pool2d.c: maximum and mean over windows. Padding is never the maximum and not counted in the mean. */
#include "tensor/op.h"

static clv_status infer_pool(clvi_op_call *call)
{
    const clvi_pool2d_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 4));
    const int64_t *x = call->in[0].shape;
    int64_t size[2];
    for (int i = 0; i < 2; i++) {
        const int64_t k = a->kernel[i], s = a->stride[i], p = a->pad[i];
        CLV_CHECK(k >= 1 && s >= 1 && p >= 0 && 2 * p <= k, CLV_ERR_INVALID,
                  "%s: kernel %" PRId64 ", stride %" PRId64 ", pad %" PRId64
                  ": want a kernel and stride of at least 1 and a pad of at most half the kernel", call->op, k, s, p);
        CLV_CHECK(x[2 + i] + 2 * p >= k, CLV_ERR_SHAPE, "%s: a window of %" PRId64 " does not fit %" PRId64
                  " pixels with pad %" PRId64, call->op, k, x[2 + i], p);
        size[i] = (x[2 + i] + 2 * p - k) / s + 1;
    }
    clvi_op_out(call, call->in[0].dtype, 4, (int64_t[]) { x[0], x[1], size[0], size[1] });
    return CLV_OK;
}

/* dy -> dx */
static clv_status bwd_infer(clvi_op_call *call)
{
    const clvi_pool2d_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 4));
    const int64_t *dy = call->in[0].shape;
    clvi_op_out(call, call->in[0].dtype, 4, (int64_t[]) { dy[0], dy[1], a->in_size[0], a->in_size[1] });
    return CLV_OK;
}

/* ---- maximum ---- */

static clv_status max_infer(clvi_op_call *call)
{
    CLV_TRY(infer_pool(call));
    clvi_op_out_workspace(call);
    return CLV_OK;
}

static void max_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)need;
    if (!clvi_node_none(grad_out[0])) grad_in[0] = clvi_op2(g, "max_pool2d_bwd", attr, grad_out[0], out[1]);
}

const clvi_op_class clvi_op_max_pool2d = {
    .name = "max_pool2d", .attr_size = sizeof(clvi_pool2d_attr), .n_in = 1,
    .infer = max_infer, .backward = max_backward, .workspace = 1 + 1, .half = { .in = 1, .out = 1 },
};

const clvi_op_class clvi_op_max_pool2d_bwd = {
    .name = "max_pool2d_bwd", .attr_size = sizeof(clvi_pool2d_attr), .n_in = 2, .infer = bwd_infer,
    .half = { .in = 1, .out = 1 },
};

/* ---- mean ---- */

static void avg_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)need;
    grad_in[0] = clvi_op1(g, "avg_pool2d_bwd", attr, grad_out[0]);
}

const clvi_op_class clvi_op_avg_pool2d = {
    .name = "avg_pool2d", .attr_size = sizeof(clvi_pool2d_attr), .n_in = 1,
    .infer = infer_pool, .backward = avg_backward,
};

const clvi_op_class clvi_op_avg_pool2d_bwd = {
    .name = "avg_pool2d_bwd", .attr_size = sizeof(clvi_pool2d_attr), .n_in = 1, .infer = bwd_infer,
};

/* ---- builders ---- */

static clv_node pool(clv_graph *g, const char *op, clv_node x, int64_t kernel, int64_t stride, int64_t pad)
{
    int64_t xs[CLV_MAX_DIMS];
    (void)clv_node_shape(g, x, xs);
    const clvi_pool2d_attr attr = { .kernel = { kernel, kernel }, .stride = { stride, stride }, .pad = { pad, pad },
                                    .in_size = { xs[2], xs[3] } };
    return clvi_op1(g, op, &attr, x);
}

clv_node clv_max_pool2d(clv_graph *g, clv_node x, int64_t kernel, int64_t stride, int64_t pad)
{
    return pool(g, "max_pool2d", x, kernel, stride, pad);
}

clv_node clv_avg_pool2d(clv_graph *g, clv_node x, int64_t kernel, int64_t stride, int64_t pad)
{
    return pool(g, "avg_pool2d", x, kernel, stride, pad);
}

clv_node clv_global_avg_pool(clv_graph *g, clv_node x)
{
    int64_t xs[CLV_MAX_DIMS];
    const int ndim = clv_node_shape(g, x, xs);
    if (ndim >= 0 && ndim != 4) {
        clvi_graph_fail(g, CLV_ERR_SHAPE, "global_avg_pool: expected 4 dimensions, got %d", ndim);
        return CLV_NONE;
    }
    const clvi_pool2d_attr attr = { .kernel = { xs[2], xs[3] }, .stride = { xs[2], xs[3] },
                                    .in_size = { xs[2], xs[3] } };
    return clv_reshape(g, clvi_op1(g, "avg_pool2d", &attr, x), 2, xs);
}
