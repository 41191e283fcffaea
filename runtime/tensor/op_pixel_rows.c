/* op_pixel_rows.c: pictures as rows, one a pixel, and back: what mixes channels works on rows, what mixes neighbours on
 * pictures. Each is the other's gradient. */
#include "tensor/op.h"

static clv_status rows_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, 0, 4));
    const int64_t *x = call->in[0].shape;
    clvi_op_out(call, call->in[0].dtype, 2, (int64_t[]) { x[0] * x[2] * x[3], x[1] });
    return CLV_OK;
}

static void rows_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                          const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)out, (void)attr, (void)need;
    int64_t shape[CLV_MAX_DIMS];
    if (clv_node_shape(g, in[0], shape) == 4) grad_in[0] = clv_row_pixels(g, grad_out[0], shape[2], shape[3]);
}

const clvi_op_class clvi_op_pixel_rows = {
    .name = "pixel_rows", .n_in = 1, .infer = rows_infer, .backward = rows_backward,
};

clv_node clv_pixel_rows(clv_graph *g, clv_node x)
{
    return clvi_op1(g, "pixel_rows", NULL, x);
}

static clv_status pixels_infer(clvi_op_call *call)
{
    const clvi_pixels_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 2));
    const int64_t *x = call->in[0].shape;
    CLV_CHECK(a->height >= 1 && a->width >= 1 && x[0] % a->height == 0 && x[0] / a->height % a->width == 0,
              CLV_ERR_SHAPE, "row_pixels: %" PRId64 " rows are not pictures of %" PRId64 "x%" PRId64, x[0], a->height,
              a->width);
    clvi_op_out(call, call->in[0].dtype, 4, (int64_t[]) { x[0] / a->height / a->width, x[1], a->height, a->width });
    return CLV_OK;
}

static void pixels_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                            const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)out, (void)attr, (void)need;
    grad_in[0] = clv_pixel_rows(g, grad_out[0]);
}

const clvi_op_class clvi_op_row_pixels = {
    .name = "row_pixels", .attr_size = sizeof(clvi_pixels_attr), .n_in = 1, .infer = pixels_infer,
    .backward = pixels_backward,
};

clv_node clv_row_pixels(clv_graph *g, clv_node x, int64_t height, int64_t width)
{
    return clvi_op1(g, "row_pixels", &(clvi_pixels_attr) { .height = height, .width = width }, x);
}
