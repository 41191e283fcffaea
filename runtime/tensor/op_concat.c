/* op_concat.c: joining values along an axis, and cutting a piece out of one. */
#include "tensor/op.h"

/* ---- concat ---- */

static clv_status concat_infer(clvi_op_call *call)
{
    const clvi_concat_attr *a = call->attr;
    const clvi_desc *first = &call->in[0];
    CLV_CHECK(a->axis >= 0 && a->axis < first->ndim, CLV_ERR_INVALID,
              "concat: there is no axis %d in %d dimensions", a->axis, first->ndim);
    int64_t shape[CLV_MAX_DIMS];
    for (int i = 0; i < first->ndim; i++) shape[i] = first->shape[i];
    for (int k = 1; k < call->n_in; k++) {
        const clvi_desc *x = &call->in[k];
        bool fits = x->ndim == first->ndim && x->dtype == first->dtype;
        for (int i = 0; fits && i < x->ndim; i++) fits = i == a->axis || x->shape[i] == first->shape[i];
        char t0[CLVI_SHAPE_TEXT], tk[CLVI_SHAPE_TEXT];
        CLV_CHECK(fits, CLV_ERR_SHAPE, "concat: input %d is %s %s, input 0 %s %s; only axis %d may differ", k,
                  clv_dtype_name(x->dtype), clvi_shape_text(tk, x->ndim, x->shape), clv_dtype_name(first->dtype),
                  clvi_shape_text(t0, first->ndim, first->shape), a->axis);
        shape[a->axis] += x->shape[a->axis];
    }
    clvi_op_out(call, first->dtype, first->ndim, shape);
    return CLV_OK;
}

/* The number of inputs is not told: it is where the pieces add up to the whole. */
static void concat_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                            const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    const clvi_concat_attr *a = attr;
    int64_t whole[CLV_MAX_DIMS], piece[CLV_MAX_DIMS];
    if (clv_node_shape(g, out[0], whole) < 0) return;
    for (int64_t begin = 0, i = 0; begin < whole[a->axis]; i++) {
        if (clv_node_shape(g, in[i], piece) < 0) return;
        if (need[i]) grad_in[i] = clv_slice(g, grad_out[0], a->axis, begin, piece[a->axis]);
        begin += piece[a->axis];
    }
}

const clvi_op_class clvi_op_concat = {
    .name = "concat", .attr_size = sizeof(clvi_concat_attr), .n_in = -1,
    .infer = concat_infer, .backward = concat_backward,
};

clv_node clv_concat(clv_graph *g, const clv_node *x, int count, int axis)
{
    if (!x || count < 2 || count > 8) {
        clvi_graph_fail(g, CLV_ERR_INVALID, "concat: %d inputs, want 2 to 8", count);
        return CLV_NONE;
    }
    return clvi_op(g, "concat", &(clvi_concat_attr) { .axis = axis }, x, count, NULL, 0);
}

/* ---- slice ---- */

static clv_status slice_infer(clvi_op_call *call)
{
    const clvi_slice_attr *a = call->attr;
    const clvi_desc *x = &call->in[0];
    CLV_CHECK(a->axis >= 0 && a->axis < x->ndim, CLV_ERR_INVALID,
              "slice: there is no axis %d in %d dimensions", a->axis, x->ndim);
    const int64_t full = x->shape[a->axis];
    CLV_CHECK(a->begin >= 0 && a->length >= 1 && a->begin <= full && a->length <= full - a->begin, CLV_ERR_SHAPE,
              "slice: %" PRId64 " values from %" PRId64 " do not lie within axis %d of length %" PRId64, a->length,
              a->begin, a->axis, full);
    clvi_op_out_like(call, 0);
    call->out[0].shape[a->axis] = a->length;
    return CLV_OK;
}

static void slice_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                           const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)need;
    grad_in[0] = clvi_op1(g, "slice_bwd", attr, grad_out[0]);
}

const clvi_op_class clvi_op_slice = {
    .name = "slice", .attr_size = sizeof(clvi_slice_attr), .n_in = 1, .infer = slice_infer, .backward = slice_backward,
};

/* dy -> dx, zero outside the piece */
static clv_status slice_bwd_infer(clvi_op_call *call)
{
    const clvi_slice_attr *a = call->attr;
    clvi_op_out_like(call, 0);
    call->out[0].shape[a->axis] = a->full;
    return CLV_OK;
}

const clvi_op_class clvi_op_slice_bwd = {
    .name = "slice_bwd", .attr_size = sizeof(clvi_slice_attr), .n_in = 1, .infer = slice_bwd_infer,
};

clv_node clv_slice(clv_graph *g, clv_node x, int axis, int64_t begin, int64_t length)
{
    int64_t shape[CLV_MAX_DIMS];
    const int ndim = clv_node_shape(g, x, shape);
    const int64_t full = axis >= 0 && axis < ndim ? shape[axis] : 0;
    if (full && begin == 0 && length == full) return x;
    return clvi_op1(g, "slice", &(clvi_slice_attr) { .axis = axis, .begin = begin, .length = length, .full = full }, x);
}
