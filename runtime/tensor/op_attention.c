/* op_attention.c: scaled dot-product attention of several heads (Vaswani et al. 2017, arXiv:1706.03762, section
 * 3.2). */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_attention_attr *a = call->attr;
    CLV_TRY(clvi_op_want(call, 0, 2));
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    CLV_CHECK(a->tokens >= 1 && a->heads >= 1, CLV_ERR_INVALID,
              "attention: %" PRId64 " tokens and %" PRId64 " heads, want at least 1", a->tokens, a->heads);
    CLV_CHECK(rows % a->tokens == 0, CLV_ERR_SHAPE,
              "attention: %" PRId64 " rows are not samples of %" PRId64 " tokens", rows, a->tokens);
    CLV_CHECK(cols % (3 * a->heads) == 0, CLV_ERR_SHAPE,
              "attention: %" PRId64 " columns are not queries, keys and values of %" PRId64 " heads", cols, a->heads);
    clvi_op_out(call, call->in[0].dtype, 2, (int64_t[]) { rows, cols / 3 });
    clvi_op_out(call, call->in[0].dtype, 3, (int64_t[]) { rows / a->tokens, a->heads, a->tokens });
    return CLV_OK;
}

static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)need;
    if (clvi_node_none(grad_out[0])) return;
    const clv_node args[] = { grad_out[0], in[0], out[0], out[1] };
    grad_in[0] = clvi_op(g, "attention_bwd", attr, args, 4, NULL, 0);
}

/* Two products of [T,d] by [d,T] size a head. */
static double flops(const clvi_op_call *call)
{
    const clvi_attention_attr *a = call->attr;
    return 4.0 * (double)clvi_desc_count(&call->out[0]) * (double)a->tokens;
}

const clvi_op_class clvi_op_attention = {
    .name = "attention", .attr_size = sizeof(clvi_attention_attr), .n_in = 1,
    .infer = infer, .backward = backward, .flops = flops,
};

/* dy, qkv, y, lse -> dqkv */
static clv_status bwd_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_same_shape(call, 0, 2));
    clvi_op_out_like(call, 1);
    return CLV_OK;
}

/* One product is computed again, four are new. */
static double bwd_flops(const clvi_op_call *call)
{
    const clvi_attention_attr *a = call->attr;
    return 10.0 * (double)clvi_desc_count(&call->in[0]) * (double)a->tokens;
}

const clvi_op_class clvi_op_attention_bwd = {
    .name = "attention_bwd", .attr_size = sizeof(clvi_attention_attr), .n_in = 4, .infer = bwd_infer,
    .flops = bwd_flops,
};

clv_node clv_attention(clv_graph *g, clv_node qkv, int64_t tokens, int64_t heads)
{
    return clvi_op1(g, "attention", &(clvi_attention_attr) { .tokens = tokens, .heads = heads }, qkv);
}
