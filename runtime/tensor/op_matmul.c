/* op_matmul.c: product of two matrices, each transposed or not, and the linear layer made of it. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_matmul_attr *t = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 2));
    CLV_TRY(clvi_op_want(call, 1, 2));
    const int64_t *a = call->in[0].shape, *b = call->in[1].shape;
    CLV_CHECK(a[!t->trans_a] == b[t->trans_b], CLV_ERR_SHAPE, "matmul: [%" PRId64 ",%" PRId64 "]%s times [%" PRId64
              ",%" PRId64 "]%s: the inner lengths differ", a[0], a[1], t->trans_a ? " transposed" : "", b[0], b[1],
              t->trans_b ? " transposed" : "");
    clvi_op_out(call, call->in[0].dtype, 2, (int64_t[]) { a[t->trans_a], b[!t->trans_b] });
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)out;
    const clvi_matmul_attr *t = attr;
    const clv_node dy = grad_out[0], a = in[0], b = in[1];
    if (need[0]) grad_in[0] = t->trans_a ? clv_matmul(g, b, t->trans_b, dy, true) :
                                           clv_matmul(g, dy, false, b, !t->trans_b);
    if (need[1]) grad_in[1] = t->trans_b ? clv_matmul(g, dy, true, a, t->trans_a) :
                                           clv_matmul(g, a, !t->trans_a, dy, false);
}

static double flops(const clvi_op_call *call)
{
    const clvi_matmul_attr *t = call->attr;
    return 2.0 * (double)clvi_desc_count(&call->out[0]) * (double)call->in[0].shape[!t->trans_a];
}

const clvi_op_class clvi_op_matmul = {
    .name = "matmul", .attr_size = sizeof(clvi_matmul_attr), .n_in = 2,
    .infer = infer, .backward = backward, .flops = flops,
};

clv_node clv_matmul(clv_graph *g, clv_node a, bool trans_a, clv_node b, bool trans_b)
{
    return clvi_op2(g, "matmul", &(clvi_matmul_attr) { .trans_a = trans_a, .trans_b = trans_b }, a, b);
}

clv_node clv_linear(clv_graph *g, clv_node x, clv_node w, clv_node bias)
{
    const clv_node y = clv_matmul(g, x, false, w, true);
    return clvi_node_none(bias) ? y : clv_add_row(g, y, bias);
}
