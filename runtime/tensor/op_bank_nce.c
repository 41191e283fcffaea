/* op_bank_nce.c: InfoNCE of queries against their key and a bank; the kernels walk the bank in tiles. The forward
 * operation makes the gradient of each query too (it is a by-product of the walk), so backward only scales it. */
#include "tensor/op.h"

enum { Q, KEY, BANK, VALID, IDS, BANK_IDS, INPUTS };

static clv_status check_side(const clvi_op_call *call, int input, clv_dtype type, int64_t length, const char *name)
{
    if (!clvi_op_has(call, input)) return CLV_OK;
    const clvi_desc *d = &call->in[input];
    char text[CLVI_SHAPE_TEXT];
    CLV_CHECK(d->dtype == type && d->ndim == 1 && d->shape[0] == length, CLV_ERR_SHAPE,
              "bank_nce: %s must be %s [%" PRId64 "], is %s %s", name, clv_dtype_name(type), length,
              clv_dtype_name(d->dtype), clvi_shape_text(text, d->ndim, d->shape));
    return CLV_OK;
}

static clv_status infer(clvi_op_call *call)
{
    const clvi_bank_nce_attr *a = call->attr;
    const clvi_desc *q = &call->in[Q], *bank = &call->in[BANK];
    CLV_TRY(clvi_op_want(call, Q, 2));
    CLV_TRY(clvi_op_want(call, KEY, 2));
    CLV_TRY(clvi_op_want_same_shape(call, Q, KEY));
    if (bank->dtype != CLV_BF16) CLV_TRY(clvi_op_want_float(call, BANK));
    CLV_TRY(clvi_op_want_dims(call, BANK, 2));
    CLV_CHECK(bank->shape[1] == q->shape[1], CLV_ERR_SHAPE,
              "bank_nce: rows of the bank have %" PRId64 " values, queries have %" PRId64, bank->shape[1], q->shape[1]);
    CLV_TRY(check_side(call, VALID, CLV_U8, bank->shape[0], "valid"));
    CLV_TRY(check_side(call, IDS, CLV_I64, q->shape[0], "ids"));
    CLV_TRY(check_side(call, BANK_IDS, CLV_I64, bank->shape[0], "bank_ids"));
    CLV_CHECK(clvi_op_has(call, IDS) == clvi_op_has(call, BANK_IDS), CLV_ERR_INVALID,
              "bank_nce: ids and bank_ids come together");
    CLV_CHECK(a->temperature > 0, CLV_ERR_INVALID, "bank_nce: temperature is %g, want more than 0", a->temperature);
    clvi_op_out(call, q->dtype, 1, q->shape);
    clvi_op_out(call, q->dtype, 1, q->shape);
    clvi_op_out_like(call, Q);
    return CLV_OK;
}

/* Key and bank are constants. prob_pos = e^{-per_row} is for looking at, not for training. */
static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)in, (void)attr;
    if (need[Q] && !clvi_node_none(grad_out[0])) grad_in[Q] = clv_scale_rows(g, out[2], grad_out[0]);
}

/* A product for the scores and one for the gradient. */
static double flops(const clvi_op_call *call)
{
    const double products = call->wanted[2] ? 2 : 1;
    return products * 2 * (double)call->in[Q].shape[0] * (double)call->in[Q].shape[1] * (double)call->in[BANK].shape[0];
}

const clvi_op_class clvi_op_bank_nce = {
    .name = "bank_nce", .attr_size = sizeof(clvi_bank_nce_attr), .n_in = INPUTS,
    .optional = 1u << VALID | 1u << IDS | 1u << BANK_IDS, .infer = infer, .backward = backward, .flops = flops,
};

clv_node clv_bank_nce(clv_graph *g, const clv_bank_nce_desc *desc, clv_node *prob_pos)
{
    const clvi_bank_nce_attr attr = { .temperature = desc->temperature, .unit_rows = desc->unit_rows };
    const clv_node in[INPUTS] = { desc->query, desc->key, desc->bank, desc->valid, desc->ids, desc->bank_ids };
    clv_node out[2] = { CLV_NONE, CLV_NONE };
    const clv_node per_row = clvi_op(g, "bank_nce", &attr, in, INPUTS, out, 2);
    if (prob_pos) *prob_pos = out[1];
    return per_row;
}
