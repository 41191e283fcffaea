/* op_bank_topk.c: the rows of a bank most similar to each query, and what can be said of such a list. Not
 * differentiable. */
#include "tensor/bank.h"

/* ---- bank_topk ---- */

enum { Q, BANK, VALID, IDS, BANK_IDS, INPUTS };

static clv_status topk_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_bank_check(call, Q, BANK, VALID));
    return clvi_bank_out_topk(call, Q, BANK, ((const clvi_bank_topk_attr *)call->attr)->top);
}

static double topk_flops(const clvi_op_call *call)
{
    return 2 * (double)call->in[Q].shape[0] * (double)clvi_desc_count(&call->in[BANK]);
}

const clvi_op_class clvi_op_bank_topk = {
    .name = "bank_topk", .attr_size = sizeof(clvi_bank_topk_attr), .n_in = INPUTS,
    .optional = 1u << VALID | 1u << IDS | 1u << BANK_IDS, .infer = topk_infer, .flops = topk_flops,
};

clv_node clv_bank_topk(clv_graph *g, const clv_bank_topk_desc *desc, clv_node *scores)
{
    const clvi_bank_topk_attr attr = { .top = desc->top };
    const clv_node in[INPUTS] = { desc->query, desc->bank, desc->valid, desc->ids, desc->bank_ids };
    clv_node out[2];
    const clv_node slots = clvi_op(g, "bank_topk", &attr, in, INPUTS, out, 2);
    if (scores) *scores = out[1];
    return slots;
}

/* ---- topk_same: slots [B,T], ids [B], bank_ids [K] ---- */

static clv_status same_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want_dims(call, 0, 2));
    for (int i = 0; i < 3; i++) {
        if (i > 0) CLV_TRY(clvi_op_want_dims(call, i, 1));
        CLV_CHECK(call->in[i].dtype == CLV_I64, CLV_ERR_SHAPE, "topk_same: input %d must be int64, is %s", i,
                  clv_dtype_name(call->in[i].dtype));
    }
    CLV_CHECK(call->in[1].shape[0] == call->in[0].shape[0], CLV_ERR_SHAPE,
              "topk_same: %" PRId64 " ids for %" PRId64 " lists", call->in[1].shape[0], call->in[0].shape[0]);
    clvi_op_out(call, (clv_dtype)((const clvi_topk_same_attr *)call->attr)->dtype, 1, call->in[0].shape);
    return CLV_OK;
}

const clvi_op_class clvi_op_topk_same = {
    .name = "topk_same", .attr_size = sizeof(clvi_topk_same_attr), .n_in = 3, .infer = same_infer,
};

clv_node clvi_topk_same(clv_graph *g, clv_node slots, clv_node ids, clv_node bank_ids, clv_dtype real)
{
    const clvi_topk_same_attr attr = { (int)real };
    return clvi_op(g, "topk_same", &attr, (clv_node[]) { slots, ids, bank_ids }, 3, NULL, 0);
}
