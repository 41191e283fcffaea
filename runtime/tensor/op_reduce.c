/* op_reduce.c: sum or mean over one axis or over everything. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_reduce_attr *a = call->attr;
    const clvi_desc *x = &call->in[0];
    CLV_TRY(clvi_op_want_float(call, 0));
    CLV_CHECK(a->axis >= -1 && a->axis < x->ndim, CLV_ERR_INVALID,
              "reduce: there is no axis %d in %d dimensions", a->axis, x->ndim);
    int64_t shape[CLV_MAX_DIMS];
    int ndim = 0;
    for (int i = 0; i < x->ndim; i++)
        if (a->axis >= 0 && i != a->axis) shape[ndim++] = x->shape[i];
    clvi_op_out(call, x->dtype, ndim, shape);
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)need;
    grad_in[0] = clvi_op1(g, "reduce_bwd", attr, grad_out[0]);
}

const clvi_op_class clvi_op_reduce = {
    .name = "reduce", .attr_size = sizeof(clvi_reduce_attr), .n_in = 1, .infer = infer, .backward = backward,
};

/* dy -> dx: every element of x gets the gradient of the sum it went into (divided by the count for a mean). */
static clv_status bwd_infer(clvi_op_call *call)
{
    const clvi_reduce_attr *a = call->attr;
    CLV_TRY(clvi_op_want_float(call, 0));
    clvi_op_out(call, call->in[0].dtype, a->ndim, a->shape);
    return CLV_OK;
}

const clvi_op_class clvi_op_reduce_bwd = {
    .name = "reduce_bwd", .attr_size = sizeof(clvi_reduce_attr), .n_in = 1, .infer = bwd_infer,
};

clv_node clv_reduce(clv_graph *g, clv_node x, int axis, bool mean)
{
    clvi_reduce_attr attr = { .axis = axis, .mean = mean };
    attr.ndim = clv_node_shape(g, x, attr.shape);
    return clvi_op1(g, "reduce", &attr, x);
}
