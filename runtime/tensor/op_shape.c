/* op_shape.c: reshape, identity (stop_gradient), fill, reorder. */
#include "core/checked.h"
#include "tensor/graph.h"

/* ---- reshape ---- */

static clv_status reshape_infer(clvi_op_call *call)
{
    const clvi_shape_attr *a = call->attr;
    int64_t count = 1;
    bool fits = true;
    for (int i = 0; i < a->ndim; i++) fits = fits && clvi_mul_i64(count, a->shape[i], &count);
    char from[CLVI_SHAPE_TEXT], to[CLVI_SHAPE_TEXT];
    CLV_CHECK(fits && count == clvi_desc_count(&call->in[0]), CLV_ERR_SHAPE,
              "reshape: %s has another number of elements than %s",
              clvi_shape_text(from, call->in[0].ndim, call->in[0].shape), clvi_shape_text(to, a->ndim, a->shape));
    clvi_op_out(call, call->in[0].dtype, a->ndim, a->shape);
    return CLV_OK;
}

static void reshape_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                             const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr, (void)need;
    int64_t shape[CLV_MAX_DIMS];
    const int ndim = clv_node_shape(g, in[0], shape);
    if (ndim >= 0) grad_in[0] = clv_reshape(g, grad_out[0], ndim, shape);
}

const clvi_op_class clvi_op_reshape = {
    .name = "reshape", .attr_size = sizeof(clvi_shape_attr), .n_in = 1,
    .infer = reshape_infer, .backward = reshape_backward, .alias = true,
};

clv_node clv_reshape(clv_graph *g, clv_node x, int ndim, const int64_t *shape)
{
    if (ndim < 0 || ndim > CLV_MAX_DIMS || (!shape && ndim > 0)) {
        clvi_graph_fail(g, CLV_ERR_INVALID, "reshape: %d dimensions, want 0 to %d", ndim, CLV_MAX_DIMS);
        return CLV_NONE;
    }
    clvi_shape_attr attr = { .ndim = ndim };
    for (int i = 0; i < ndim; i++) attr.shape[i] = shape[i];
    return clvi_op1(g, "reshape", &attr, x);
}

/* ---- identity: the same value, but gradients stop here ---- */

static clv_status same_infer(clvi_op_call *call)
{
    clvi_op_out_like(call, 0);
    return CLV_OK;
}

const clvi_op_class clvi_op_identity = { .name = "identity", .n_in = 1, .infer = same_infer, .alias = true };

clv_node clv_stop_gradient(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "identity", NULL, x);
}

/* ---- reorder: only plans insert it ---- */

const clvi_op_class clvi_op_reorder = { .name = "reorder", .n_in = 1, .infer = same_infer };

/* ---- fill: a constant of the type the graph computes in ---- */

static clv_status fill_infer(clvi_op_call *call)
{
    const clvi_shape_attr *a = call->attr;
    clvi_op_out(call, (clv_dtype)a->dtype, a->ndim, a->shape);
    return CLV_OK;
}

const clvi_op_class clvi_op_fill = {
    .name = "fill", .attr_size = sizeof(clvi_shape_attr), .n_in = 0, .infer = fill_infer,
};

clv_dtype clvi_graph_dtype(const clv_graph *g)
{
    return g->dtype;
}

clv_node clvi_fill(clv_graph *g, int ndim, const int64_t *shape, double value)
{
    clvi_shape_attr attr = { .ndim = ndim, .value = value, .dtype = (int)g->dtype };
    for (int i = 0; i < ndim; i++) attr.shape[i] = shape[i];
    return clvi_op(g, "fill", &attr, NULL, 0, NULL, 0);
}
