/* op_conv2d.c: two-dimensional convolution (cross-correlation, as everywhere in deep learning), no bias. */
#include "tensor/op.h"

static double conv_flops(const clvi_desc *out, const clvi_desc *weight)
{
    return 2.0 * (double)clvi_desc_count(out) * (double)(weight->shape[1] * weight->shape[2] * weight->shape[3]);
}

/* Length of the output along one side, or 0 when the kernel does not fit. */
static int64_t out_size(int64_t in, int64_t kernel, int64_t stride, int64_t pad)
{
    return in + 2 * pad < kernel ? 0 : (in + 2 * pad - kernel) / stride + 1;
}

static clv_status infer(clvi_op_call *call)
{
    const clvi_conv2d_attr *a = call->attr;
    const clvi_desc *x = &call->in[0], *w = &call->in[1];
    CLV_TRY(clvi_op_want(call, 0, 4));
    CLV_TRY(clvi_op_want(call, 1, 4));
    CLV_CHECK(a->groups >= 1 && w->shape[0] % a->groups == 0, CLV_ERR_INVALID,
              "conv2d: %" PRId64 " groups do not divide %" PRId64 " output channels", a->groups, w->shape[0]);
    CLV_CHECK(w->shape[1] * a->groups == x->shape[1], CLV_ERR_SHAPE,
              "conv2d: weight expects %" PRId64 " input channels, x has %" PRId64, w->shape[1] * a->groups,
              x->shape[1]);
    int64_t size[2];
    for (int i = 0; i < 2; i++) {
        CLV_CHECK(a->stride[i] >= 1 && a->pad[i] >= 0, CLV_ERR_INVALID,
                  "conv2d: stride %" PRId64 " and pad %" PRId64 ", want at least 1 and 0", a->stride[i], a->pad[i]);
        size[i] = out_size(x->shape[2 + i], w->shape[2 + i], a->stride[i], a->pad[i]);
        CLV_CHECK(size[i] >= 1, CLV_ERR_SHAPE, "conv2d: a kernel of %" PRId64 " does not fit %" PRId64
                  " pixels with pad %" PRId64, w->shape[2 + i], x->shape[2 + i], a->pad[i]);
    }
    clvi_op_out(call, x->dtype, 4, (int64_t[]) { x->shape[0], w->shape[0], size[0], size[1] });
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)out;
    if (need[0]) grad_in[0] = clvi_op2(g, "conv2d_bwd_data", attr, grad_out[0], in[1]);
    if (need[1]) grad_in[1] = clvi_op2(g, "conv2d_bwd_weights", attr, in[0], grad_out[0]);
}

static double flops(const clvi_op_call *call)
{
    return conv_flops(&call->out[0], &call->in[1]);
}

const clvi_op_class clvi_op_conv2d = {
    .name = "conv2d", .attr_size = sizeof(clvi_conv2d_attr), .n_in = 2,
    .infer = infer, .backward = backward, .flops = flops, .half = { .in = 1 | 2, .out = 1 },
};

/* x, w, gamma?, beta?, mean, var, sum? -> y: what a plan makes of a convolution and a batch norm (fold.c); nobody builds
 * one, so there is nothing to differentiate. */
static clv_status norm_infer(clvi_op_call *call)
{
    CLV_TRY(infer(call));
    for (int i = 2; i < 6; i++)
        CLV_CHECK(!clvi_op_has(call, i) || (call->in[i].ndim == 1 && call->in[i].shape[0] == call->out[0].shape[1]),
                  CLV_ERR_SHAPE, "conv2d_norm: input %d is not one number a channel", i);
    if (!clvi_op_has(call, 6)) return CLV_OK;
    for (int d = 0; d < 4; d++)
        CLV_CHECK(call->in[6].ndim == 4 && call->in[6].shape[d] == call->out[0].shape[d], CLV_ERR_SHAPE,
                  "conv2d_norm: what is added has another shape than the result");
    return CLV_OK;
}

const clvi_op_class clvi_op_conv2d_norm = {
    .name = "conv2d_norm", .attr_size = sizeof(clvi_conv2d_norm_attr), .n_in = 7,
    .optional = 1u << 2 | 1u << 3 | 1u << 6, .infer = norm_infer, .flops = flops,
    .half = { .in = 1 | 2 | 1 << 6, .out = 1 },
};

/* dy, w -> dx */
static clv_status data_infer(clvi_op_call *call)
{
    const clvi_conv2d_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 4));
    CLV_TRY(clvi_op_want(call, 1, 4));
    const int64_t *dy = call->in[0].shape, *w = call->in[1].shape;
    clvi_op_out(call, call->in[0].dtype, 4, (int64_t[]) { dy[0], w[1] * a->groups, a->in_size[0], a->in_size[1] });
    return CLV_OK;
}

static double data_flops(const clvi_op_call *call)
{
    return conv_flops(&call->in[0], &call->in[1]);
}

const clvi_op_class clvi_op_conv2d_bwd_data = {
    .name = "conv2d_bwd_data", .attr_size = sizeof(clvi_conv2d_attr), .n_in = 2,
    .infer = data_infer, .flops = data_flops, .half = { .in = 1 | 2, .out = 1 },
};

/* x, dy -> dw */
static clv_status weights_infer(clvi_op_call *call)
{
    const clvi_conv2d_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 4));
    CLV_TRY(clvi_op_want(call, 1, 4));
    const int64_t *x = call->in[0].shape, *dy = call->in[1].shape;
    clvi_op_out(call, call->in[0].dtype, 4, (int64_t[]) { dy[1], x[1] / a->groups, a->kernel[0], a->kernel[1] });
    return CLV_OK;
}

static double weights_flops(const clvi_op_call *call)
{
    return conv_flops(&call->in[1], &call->out[0]);
}

const clvi_op_class clvi_op_conv2d_bwd_weights = {
    .name = "conv2d_bwd_weights", .attr_size = sizeof(clvi_conv2d_attr), .n_in = 2,
    .infer = weights_infer, .flops = weights_flops, .half = { .in = 1 | 2 },
};

clv_node clv_conv2d(clv_graph *g, clv_node x, clv_node w, int64_t stride, int64_t pad)
{
    return clv_conv2d_groups(g, x, w, stride, pad, 1);
}

clv_node clv_conv2d_groups(clv_graph *g, clv_node x, clv_node w, int64_t stride, int64_t pad, int64_t groups)
{
    int64_t xs[CLV_MAX_DIMS], ws[CLV_MAX_DIMS];
    (void)clv_node_shape(g, x, xs);   /* zeros when there is no such value; the shape rule says what is wrong */
    (void)clv_node_shape(g, w, ws);
    const clvi_conv2d_attr attr = { .stride = { stride, stride }, .pad = { pad, pad }, .in_size = { xs[2], xs[3] },
                                    .kernel = { ws[2], ws[3] }, .groups = groups };
    return clvi_op2(g, "conv2d", &attr, x, w);
}
