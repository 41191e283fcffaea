/* op_bank_lse.c: the logarithm of the mean of exponentials of similarities with all rows of a bank; the kernels walk
 * the bank and keep no matrix unless the exponents are asked for. The forward operation makes the gradient of each
 * query, too (it is a by-product of the walk), so backward only scales it. */
#include "tensor/op.h"

enum { Q, BANK, VALID, START, INPUTS };

static clv_status infer(clvi_op_call *call)
{
    const clvi_bank_lse_attr *a = call->attr;
    const clvi_desc *q = &call->in[Q], *bank = &call->in[BANK];
    CLV_TRY(clvi_op_want(call, Q, 2));
    CLV_TRY(clvi_op_want(call, BANK, 2));
    CLV_CHECK(bank->shape[1] == q->shape[1], CLV_ERR_SHAPE,
              "bank_lse: rows of the bank have %" PRId64 " values, queries have %" PRId64, bank->shape[1], q->shape[1]);
    if (clvi_op_has(call, VALID)) {
        const clvi_desc *valid = &call->in[VALID];
        CLV_CHECK(valid->dtype == CLV_U8 && valid->ndim == 1 && valid->shape[0] == bank->shape[0], CLV_ERR_SHAPE,
                  "bank_lse: valid must be uint8 [%" PRId64 "], is %s", bank->shape[0], clv_dtype_name(valid->dtype));
    }
    if (clvi_op_has(call, START)) {
        CLV_TRY(clvi_op_want(call, START, 1));
        CLV_CHECK(call->in[START].shape[0] == q->shape[0], CLV_ERR_SHAPE,
                  "bank_lse: start has %" PRId64 " values for %" PRId64 " queries", call->in[START].shape[0],
                  q->shape[0]);
    }
    CLV_CHECK(clvi_op_has(call, START) == (a->start_count > 0), CLV_ERR_INVALID,
              "bank_lse: start and how many entries it stands for come together");
    CLV_CHECK(a->temperature > 0, CLV_ERR_INVALID, "bank_lse: temperature is %g, want more than 0", a->temperature);
    clvi_op_out(call, q->dtype, 1, q->shape);
    clvi_op_out_like(call, Q);
    clvi_op_out(call, q->dtype, 1, q->shape);
    clvi_op_out(call, q->dtype, 2, (int64_t[]) { q->shape[0], bank->shape[0] });
    return CLV_OK;
}

/* The bank is a constant; the exponents are for looking at. */
static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    (void)in, (void)attr;
    if (clvi_node_none(grad_out[0])) return;
    if (need[Q]) grad_in[Q] = clv_scale_rows(g, out[1], grad_out[0]);
    if (need[START]) grad_in[START] = clv_mul(g, out[2], grad_out[0]);
}

/* A walk for the exponents and one for the gradient. */
static double flops(const clvi_op_call *call)
{
    const double walks = call->wanted[1] ? 2 : 1;
    return walks * 2 * (double)call->in[Q].shape[0] * (double)clvi_desc_count(&call->in[BANK]);
}

const clvi_op_class clvi_op_bank_lse = {
    .name = "bank_lse", .attr_size = sizeof(clvi_bank_lse_attr), .n_in = INPUTS,
    .optional = 1u << VALID | 1u << START, .infer = infer, .backward = backward, .flops = flops,
};

clv_node clv_bank_lse(clv_graph *g, const clv_bank_lse_desc *desc, clv_node *exponents)
{
    const clvi_bank_lse_attr attr = { .temperature = desc->temperature, .start_count = desc->start_count,
                                      .l2 = desc->l2 };
    const clv_node in[INPUTS] = { desc->query, desc->bank, desc->valid, desc->start };
    clv_node out[4] = { CLV_NONE, CLV_NONE, CLV_NONE, CLV_NONE };
    const clv_node y = clvi_op(g, "bank_lse", &attr, in, INPUTS, out, 4);
    if (exponents) *exponents = out[3];
    return y;
}
