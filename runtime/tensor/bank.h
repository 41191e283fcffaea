/* bank.h: builders of operations on a bank of rows that losses put together: InfoNCE with a list of the hardest rows,
 * negatives mixed from that list, and what is drawn for them. Shapes and formulas: device/attr.h. */
#ifndef CLVI_TENSOR_BANK_H
#define CLVI_TENSOR_BANK_H

#include "tensor/op.h"

typedef struct clvi_bank_nce_out {
    clv_node per_row, prob_pos, prob_neg;   /* [B]; prob_neg = 1 - prob_pos without its rounding */
    clv_node slots, scores;                 /* [B,T] as clv_bank_topk gives them; CLV_NONE when top is 0 */
} clvi_bank_nce_out;

/* Rows of a bank moved while they are read, so that no moved bank is ever held: with `mix` as by clvi_lerp(g, bank,
 * bank, lambda, index), with `unit` then divided by max(length, eps). A lambda [1 or K, 1 or D] or index [K] that is
 * CLV_NONE is drawn as clvi_beta_draw and clvi_permutation do it. */
typedef struct clvi_bank_move {
    bool           mix, unit;
    double         eps;
    clv_node       lambda, index, step;         /* step: int64 [1], of the draws, or CLV_NONE */
    clvi_draw_attr lambda_draw, index_draw;
} clvi_bank_move;

/* clv_bank_nce against rows that are moved (NULL: they are not), or listing the `top` largest scores of each query on
 * the way. */
clvi_bank_nce_out clvi_bank_nce(clv_graph *g, const clv_bank_nce_desc *desc, const clvi_bank_move *move, int64_t top);

/* Share of the rows in a list that carry the query's id; 0 for an empty list. Not differentiable. */
clv_node clvi_topk_same(clv_graph *g, clv_node slots, clv_node ids, clv_node bank_ids, clv_dtype real);

/* Rows mixed from a list of hard ones, as MoCHi does (Kalantidis et al. 2020, arXiv:2010.01028, sections 4.1 and 4.2):
 *   pair c of query b        h  = n(a r_i + (1-a) r_j),   r_x the bank row at rank x of the query's list
 *   query mix c of query b   h' = n(b q + (1-b) r_j')
 * A mix of a rank that the list does not have is left out. */
typedef struct clvi_mixes {
    clv_node i, j, a;      /* [B,S] */
    clv_node j_q, b;       /* [B,P] */
} clvi_mixes;

/* Draws for one optimiser step: a pure function of (seed, step, row, stream). `step_input`: int64 [1], replaces `step`;
 * CLV_NONE: there is none. */
typedef struct clvi_draw {
    uint64_t seed;
    int64_t  step;
    clv_node step_input;
    uint32_t stream;
} clvi_draw;

/* By how much the log-sum-exp `lse` [B] of each query's logits grows when <q,h>/t of its mixes join: [B],
 * differentiable in query and lse. Mixes are constants; with `constant` false the gradient goes through the q inside a query mix. No
 * mixed row is ever held. */
typedef struct clvi_mix_nce_desc {
    clv_node   query, lse, bank, slots;
    double     temperature, eps;
    bool       constant;
    int64_t    pairs, queries;   /* what clvi_mochi_draw would draw, when `mixes` is NULL: nothing of it is held */
    clvi_draw  draw;
} clvi_mix_nce_desc;
clv_node clvi_mix_nce(clv_graph *g, const clvi_mix_nce_desc *desc, const clvi_mixes *mixes);

/* The mixes themselves, [B,S,D] and [B,P,D]; zeros where left out. For looking at: not differentiable. */
clv_node clvi_mix_pairs(clv_graph *g, clv_node bank, clv_node slots, const clvi_mixes *mixes, double eps);
clv_node clvi_mix_queries(clv_graph *g, clv_node bank, clv_node slots, const clvi_mixes *mixes, clv_node query,
                          double eps);

/* Ranks uniform over each query's list, a in [0,1), b in [0,1/2). At a negative step all ranks are -1: no mixes.
 * Uses two streams. real: type of the coefficients. */
clvi_mixes clvi_mochi_draw(clv_graph *g, clv_node slots, int64_t pairs, int64_t queries, clv_dtype real,
                           const clvi_draw *draw);
clvi_draw_attr clvi_mochi_draw_attr(int64_t pairs, int64_t queries, clv_dtype real, const clvi_draw *draw);
/* offset + Beta(alpha, alpha), [rows,cols]. */
clv_node clvi_beta_draw(clv_graph *g, int64_t rows, int64_t cols, double alpha, double offset, clv_dtype real,
                        const clvi_draw *draw);
/* A permutation of 0..length-1, int64. */
clv_node clvi_permutation(clv_graph *g, int64_t length, const clvi_draw *draw);
/* The same draws, for an operation that makes them itself. */
clvi_draw_attr clvi_beta_draw_attr(int64_t rows, int64_t cols, double alpha, double offset, clv_dtype real,
                                   const clvi_draw *draw);
clvi_draw_attr clvi_permutation_attr(int64_t length, const clvi_draw *draw);

/* lambda a_n + (1 - lambda) b_n, lambda a constant [1 or N, 1 or D]; an a or b that is CLV_NONE is zero. With `index`
 * int64 [N]: the row index_n of b, and a_n itself where there is no such row; a and b are constants then. */
clv_node clvi_lerp(clv_graph *g, clv_node a, clv_node b, clv_node lambda, clv_node index);

/* Mean, unbiased variance (0 for fewer than two columns) and mean of e^{factor x}, no larger than the largest number of
 * the type, of each row. Not differentiable. */
void clvi_row_stats(clv_graph *g, clv_node x, double factor, clv_node *mean, clv_node *var, clv_node *exp_mean);

/* ---- shape rules ---- */

/* q [B,D] and bank [K,D] at the inputs given; valid, ids and bank_ids at input `valid` and the two after it. */
clv_status clvi_bank_check(const clvi_op_call *call, int q, int bank, int valid) CLV_NODISCARD;
/* One int64, or nothing. */
clv_status clvi_op_check_step(const clvi_op_call *call, int input) CLV_NODISCARD;
/* Adds the two outputs of a list. */
clv_status clvi_bank_out_topk(clvi_op_call *call, int q, int bank, int64_t top) CLV_NODISCARD;

#endif
