/* op_bank_nce.c: InfoNCE of queries against their key and a bank; the kernels walk the bank in tiles. The forward
 * operation makes the gradient of each query too (it is a by-product of the walk), so backward only scales it. On
 * request the same walk lists the largest scores. */
#include "tensor/bank.h"

enum { Q, KEY, BANK, VALID, IDS, BANK_IDS, LAMBDA, INDEX, STEP, INPUTS };
enum { PER_ROW, PROB_POS, DQ, PROB_NEG, TOP, TOP_SCORE };

static clv_status check_side(const clvi_op_call *call, int input, clv_dtype type, int64_t length, const char *name)
{
    if (!clvi_op_has(call, input)) return CLV_OK;
    const clvi_desc *d = &call->in[input];
    char text[CLVI_SHAPE_TEXT];
    CLV_CHECK(d->dtype == type && d->ndim == 1 && d->shape[0] == length, CLV_ERR_SHAPE,
              "%s: %s must be %s [%" PRId64 "], is %s %s", call->op, name, clv_dtype_name(type), length,
              clv_dtype_name(d->dtype), clvi_shape_text(text, d->ndim, d->shape));
    return CLV_OK;
}

clv_status clvi_bank_check(const clvi_op_call *call, int q, int bank, int valid)
{
    const clvi_desc *query = &call->in[q], *rows = &call->in[bank];
    CLV_TRY(clvi_op_want(call, q, 2));
    if (rows->dtype != CLV_BF16) CLV_TRY(clvi_op_want_float(call, bank));
    CLV_TRY(clvi_op_want_dims(call, bank, 2));
    CLV_CHECK(rows->shape[1] == query->shape[1], CLV_ERR_SHAPE,
              "%s: rows of the bank have %" PRId64 " values, queries have %" PRId64, call->op, rows->shape[1],
              query->shape[1]);
    CLV_TRY(check_side(call, valid, CLV_U8, rows->shape[0], "valid"));
    CLV_TRY(check_side(call, valid + 1, CLV_I64, query->shape[0], "ids"));
    CLV_TRY(check_side(call, valid + 2, CLV_I64, rows->shape[0], "bank_ids"));
    CLV_CHECK(clvi_op_has(call, valid + 1) == clvi_op_has(call, valid + 2), CLV_ERR_INVALID,
              "%s: ids and bank_ids come together", call->op);
    return CLV_OK;
}

clv_status clvi_bank_out_topk(clvi_op_call *call, int q, int bank, int64_t top)
{
    CLV_CHECK(top >= 1, CLV_ERR_INVALID, "%s: top is %" PRId64 ", want at least 1", call->op, top);
    const int64_t keys = call->in[bank].shape[0];
    const int64_t shape[2] = { call->in[q].shape[0], top < keys ? top : keys };
    clvi_op_out(call, CLV_I64, 2, shape);
    clvi_op_out(call, call->in[q].dtype, 2, shape);
    return CLV_OK;
}

/* What says how rows are mixed: an input or, for what is not given, a draw. */
static clv_status check_mix(const clvi_op_call *call)
{
    const clvi_bank_nce_attr *a = call->attr;
    const clvi_desc *rows = &call->in[BANK], *lambda = &call->in[LAMBDA];
    const bool given = clvi_op_has(call, LAMBDA);
    CLV_TRY(clvi_op_check_step(call, STEP));
    CLV_TRY(check_side(call, INDEX, CLV_I64, rows->shape[0], "index"));
    if (given) CLV_TRY(clvi_op_want(call, LAMBDA, 2));
    const int64_t n = given ? lambda->shape[0] : a->lambda.rows, d = given ? lambda->shape[1] : a->lambda.cols;
    CLV_CHECK((n == 1 || n == rows->shape[0]) && (d == 1 || d == rows->shape[1]), CLV_ERR_SHAPE,
              "bank_nce: lambda must be [1 or %" PRId64 ",1 or %" PRId64 "], is [%" PRId64 ",%" PRId64 "]",
              rows->shape[0], rows->shape[1], n, d);
    CLV_CHECK(given || a->lambda.alpha > 0, CLV_ERR_INVALID, "bank_nce: alpha is %g, want more than 0",
              a->lambda.alpha);
    return CLV_OK;
}

static clv_status infer(clvi_op_call *call)
{
    const clvi_bank_nce_attr *a = call->attr;
    const clvi_desc *q = &call->in[Q];
    CLV_TRY(clvi_bank_check(call, Q, BANK, VALID));
    CLV_TRY(clvi_op_want(call, KEY, 2));
    CLV_TRY(clvi_op_want_same_shape(call, Q, KEY));
    CLV_CHECK(a->temperature > 0, CLV_ERR_INVALID, "bank_nce: temperature is %g, want more than 0", a->temperature);
    CLV_CHECK(!a->top || !(a->mix || a->unit), CLV_ERR_INVALID, "bank_nce: moved rows cannot be listed");
    if (a->mix) CLV_TRY(check_mix(call));
    clvi_op_out(call, q->dtype, 1, q->shape);
    clvi_op_out(call, q->dtype, 1, q->shape);
    clvi_op_out_like(call, Q);
    clvi_op_out(call, q->dtype, 1, q->shape);
    return a->top ? clvi_bank_out_topk(call, Q, BANK, a->top) : CLV_OK;
}

/* d per_row_b / d k_b = (prob_pos_b - 1) q_b / t. The bank is a constant; probabilities and lists are for looking at,
 * not for training. */
static void backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr, const clv_node *grad_out,
                     const bool *need, clv_node *grad_in)
{
    const clv_node dy = grad_out[PER_ROW];
    if (clvi_node_none(dy)) return;
    if (need[Q]) grad_in[Q] = clv_scale_rows(g, out[DQ], dy);
    if (!need[KEY]) return;
    const double t = ((const clvi_bank_nce_attr *)attr)->temperature;
    grad_in[KEY] = clv_scale_rows(g, in[Q], clv_scale(g, clv_mul(g, out[PROB_NEG], dy), -1 / t, 0));
}

/* A product for the scores and one for the gradient. */
static double flops(const clvi_op_call *call)
{
    const double products = call->wanted[DQ] ? 2 : 1;
    return products * 2 * (double)call->in[Q].shape[0] * (double)call->in[Q].shape[1] * (double)call->in[BANK].shape[0];
}

const clvi_op_class clvi_op_bank_nce = {
    .name = "bank_nce", .attr_size = sizeof(clvi_bank_nce_attr), .n_in = INPUTS,
    .optional = 1u << VALID | 1u << IDS | 1u << BANK_IDS | 1u << LAMBDA | 1u << INDEX | 1u << STEP, .infer = infer, .backward = backward, .flops = flops,
};

clvi_bank_nce_out clvi_bank_nce(clv_graph *g, const clv_bank_nce_desc *desc, const clvi_bank_move *move, int64_t top)
{
    clvi_bank_nce_attr attr = { .temperature = desc->temperature, .unit_rows = desc->unit_rows, .top = top };
    clv_node in[INPUTS] = { desc->query, desc->key, desc->bank, desc->valid, desc->ids, desc->bank_ids,
                            CLV_NONE, CLV_NONE, CLV_NONE };
    if (move) attr.unit = move->unit, attr.eps = move->eps;
    if (move && move->mix) {
        attr.mix = true;
        attr.lambda = move->lambda_draw, attr.index = move->index_draw;
        in[LAMBDA] = move->lambda, in[INDEX] = move->index, in[STEP] = move->step;
    }
    clv_node out[6];
    const clv_node per_row = clvi_op(g, "bank_nce", &attr, in, INPUTS, out, 6);
    return (clvi_bank_nce_out) { per_row, out[PROB_POS], out[PROB_NEG], out[TOP], out[TOP_SCORE] };
}

clv_node clv_bank_nce(clv_graph *g, const clv_bank_nce_desc *desc, clv_node *prob_pos)
{
    const clvi_bank_nce_out out = clvi_bank_nce(g, desc, NULL, 0);
    if (prob_pos) *prob_pos = out.prob_pos;
    return out.per_row;
}
