/* op_mix.c: hard negatives mixed from a list of bank rows: the mixed rows (mix_rows), and what they add to a
 * log-sum-exp without ever being held (mix_nce). Kalantidis et al. 2020, arXiv:2010.01028, sections 4.1 and 4.2. */
#include "tensor/bank.h"

static clv_status want_i64(const clvi_op_call *call, int input)
{
    CLV_TRY(clvi_op_want_dims(call, input, 2));
    CLV_CHECK(call->in[input].dtype == CLV_I64, CLV_ERR_SHAPE, "%s: input %d must be int64, is %s", call->op, input,
              clv_dtype_name(call->in[input].dtype));
    return CLV_OK;
}

/* ranks i64 [B,S] and coefficients [B,S] of one kind of mix, at `ranks` and `coefficients`. */
static clv_status want_mixes(const clvi_op_call *call, int64_t batch, int ranks, int coefficients)
{
    CLV_TRY(want_i64(call, ranks));
    CLV_TRY(clvi_op_want(call, coefficients, 2));
    CLV_TRY(clvi_op_want_same_shape(call, ranks, coefficients));
    CLV_CHECK(call->in[ranks].shape[0] == batch, CLV_ERR_SHAPE, "%s: mixes for %" PRId64 " queries, lists of %" PRId64,
              call->op, call->in[ranks].shape[0], batch);
    return CLV_OK;
}

/* ---- mix_rows ---- */

enum { ROWS_BANK, ROWS_SLOTS, ROWS_J, ROWS_A, ROWS_I, ROWS_Q, ROWS_INPUTS };

static clv_status rows_infer(clvi_op_call *call)
{
    CLV_TRY(clvi_op_want(call, ROWS_BANK, 2));
    CLV_TRY(want_i64(call, ROWS_SLOTS));
    const int64_t batch = call->in[ROWS_SLOTS].shape[0], dim = call->in[ROWS_BANK].shape[1];
    CLV_TRY(want_mixes(call, batch, ROWS_J, ROWS_A));
    CLV_CHECK(clvi_op_has(call, ROWS_I) != clvi_op_has(call, ROWS_Q), CLV_ERR_INVALID,
              "mix_rows: want ranks or queries to mix with, one of the two");
    if (clvi_op_has(call, ROWS_I)) CLV_TRY(want_mixes(call, batch, ROWS_I, ROWS_A));
    if (clvi_op_has(call, ROWS_Q)) {
        CLV_TRY(clvi_op_want(call, ROWS_Q, 2));
        CLV_CHECK(call->in[ROWS_Q].shape[0] == batch && call->in[ROWS_Q].shape[1] == dim, CLV_ERR_SHAPE,
                  "mix_rows: queries must be [%" PRId64 ",%" PRId64 "]", batch, dim);
    }
    clvi_op_out(call, call->in[ROWS_BANK].dtype, 3, (int64_t[]) { batch, call->in[ROWS_J].shape[1], dim });
    return CLV_OK;
}

const clvi_op_class clvi_op_mix_rows = {
    .name = "mix_rows", .attr_size = sizeof(clvi_mix_attr), .n_in = ROWS_INPUTS,
    .optional = 1u << ROWS_I | 1u << ROWS_Q, .infer = rows_infer,
};

clv_node clvi_mix_pairs(clv_graph *g, clv_node bank, clv_node slots, const clvi_mixes *mixes, double eps)
{
    const clvi_mix_attr attr = { .eps = eps };
    const clv_node in[ROWS_INPUTS] = { bank, slots, mixes->j, mixes->a, mixes->i, CLV_NONE };
    return clvi_op(g, "mix_rows", &attr, in, ROWS_INPUTS, NULL, 0);
}

clv_node clvi_mix_queries(clv_graph *g, clv_node bank, clv_node slots, const clvi_mixes *mixes, clv_node query,
                          double eps)
{
    const clvi_mix_attr attr = { .eps = eps };
    const clv_node in[ROWS_INPUTS] = { bank, slots, mixes->j_q, mixes->b, CLV_NONE, query };
    return clvi_op(g, "mix_rows", &attr, in, ROWS_INPUTS, NULL, 0);
}

/* ---- mix_nce ---- */

enum { Q, LSE, BANK, SLOTS, I, J, A, J_Q, B, STEP, INPUTS };
enum { MORE, DQ, SHARE };

/* All that says what to mix, or nothing of it. */
static clv_status want_given(const clvi_op_call *call)
{
    for (int i = J; i <= B; i++)
        CLV_CHECK(clvi_op_has(call, i) == clvi_op_has(call, I), CLV_ERR_INVALID,
                  "mix_nce: ranks and coefficients come together");
    CLV_TRY(clvi_op_check_step(call, STEP));
    if (!clvi_op_has(call, I)) return CLV_OK;
    CLV_TRY(want_mixes(call, call->in[Q].shape[0], I, A));
    CLV_TRY(want_mixes(call, call->in[Q].shape[0], J, A));
    return want_mixes(call, call->in[Q].shape[0], J_Q, B);
}

static clv_status nce_infer(clvi_op_call *call)
{
    const clvi_mix_attr *attr = call->attr;
    const clvi_desc *q = &call->in[Q];
    CLV_TRY(clvi_op_want(call, Q, 2));
    CLV_TRY(clvi_op_want(call, LSE, 1));
    CLV_TRY(clvi_op_want(call, BANK, 2));
    CLV_TRY(want_i64(call, SLOTS));
    CLV_CHECK(call->in[BANK].shape[1] == q->shape[1], CLV_ERR_SHAPE,
              "mix_nce: rows of the bank have %" PRId64 " values, queries have %" PRId64, call->in[BANK].shape[1],
              q->shape[1]);
    CLV_CHECK(call->in[LSE].shape[0] == q->shape[0] && call->in[SLOTS].shape[0] == q->shape[0], CLV_ERR_SHAPE,
              "mix_nce: %" PRId64 " queries, but %" PRId64 " sums and %" PRId64 " lists", q->shape[0],
              call->in[LSE].shape[0], call->in[SLOTS].shape[0]);
    CLV_TRY(want_given(call));
    CLV_CHECK(attr->temperature > 0, CLV_ERR_INVALID, "mix_nce: temperature is %g, want more than 0",
              attr->temperature);
    clvi_op_out(call, q->dtype, 1, q->shape);
    clvi_op_out_like(call, Q);
    clvi_op_out(call, q->dtype, 1, q->shape);
    return CLV_OK;
}

/* more = log(1 + sum_c e^{l_c - lse}): its slope in lse is minus the mixes' share of the softmax. */
static void nce_backward(clv_graph *g, const clv_node *in, const clv_node *out, const void *attr,
                         const clv_node *grad_out, const bool *need, clv_node *grad_in)
{
    (void)in, (void)attr;
    const clv_node dy = grad_out[MORE];
    if (clvi_node_none(dy)) return;
    if (need[Q]) grad_in[Q] = clv_scale_rows(g, out[DQ], dy);
    if (need[LSE]) grad_in[LSE] = clv_scale(g, clv_mul(g, out[SHARE], dy), -1, 0);
}

/* A mixed row is made and measured once, and two rows are added up for it. */
static double nce_flops(const clvi_op_call *call)
{
    const clvi_draw_attr *draw = &((const clvi_mix_attr *)call->attr)->draw;
    const double drawn = (double)call->in[Q].shape[0] * (double)(draw->rows + draw->cols);
    const double mixes = !clvi_op_has(call, I) ? drawn
                         : (double)clvi_desc_count(&call->in[A]) + (double)clvi_desc_count(&call->in[B]);
    return mixes * (double)call->in[Q].shape[1] * (call->wanted[DQ] ? 11 : 7);
}

const clvi_op_class clvi_op_mix_nce = {
    .name = "mix_nce", .attr_size = sizeof(clvi_mix_attr), .n_in = INPUTS,
    .optional = 1u << I | 1u << J | 1u << A | 1u << J_Q | 1u << B | 1u << STEP, .infer = nce_infer,
    .backward = nce_backward, .flops = nce_flops,
};

clv_node clvi_mix_nce(clv_graph *g, const clvi_mix_nce_desc *desc, const clvi_mixes *m)
{
    const clvi_mixes none = { CLV_NONE, CLV_NONE, CLV_NONE, CLV_NONE, CLV_NONE };
    clvi_mix_attr attr = { .temperature = desc->temperature, .eps = desc->eps, .constant = desc->constant };
    if (!m) attr.draw = clvi_mochi_draw_attr(desc->pairs, desc->queries, clv_node_dtype(g, desc->query), &desc->draw);
    const clv_node step = m ? CLV_NONE : desc->draw.step_input;
    m = m ? m : &none;
    const clv_node in[INPUTS] = { desc->query, desc->lse, desc->bank, desc->slots, m->i, m->j, m->a, m->j_q, m->b,
                                  step };
    return clvi_op(g, "mix_nce", &attr, in, INPUTS, NULL, 0);
}
