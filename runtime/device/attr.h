/* attr.h: every operation: its inputs, outputs and attributes. A backward operation has the attributes of its forward
 * one. "?" marks an input that may be absent. "workspace" is a u8 value whose bytes only the kernel that wrote it
 * understands: shape [1], `bytes` set by prepare; forward and backward kernels of one library go together.
 *
 *   conv2d                  x [N,C,H,W], w [O,C/groups,kh,kw]                -> y
 *   conv2d_norm             x, w, gamma? [O], beta? [O], mean [O], var [O], sum? (like y)
 *                           -> y = relu?(gamma (conv2d - mean) / sqrt(var + eps) + beta + sum)
 *   conv2d_bwd_data         dy, w                                            -> dx
 *   conv2d_bwd_weights      x, dy                                            -> dw
 *   batch_norm              x, gamma?, beta?, running_mean, running_var, sum? (like x)
 *                           -> y, mean [G,C], var [G,C] (biased), workspace
 *                           (the running ones are updated in place when training; x is [N,C,H,W] or [N,C]; `again`:
 *                           mean [G,C] and var [G,C] as computed before come in their place, and are not computed;
 *                           when not training nobody reads mean and var)
 *   batch_norm_bwd          dy, x, gamma?, mean, var, workspace, dy2? (to be added to dy)
 *                           -> dx, dgamma, dbeta, and with `sum` and `relu`: dsum
 *                           (when not training, mean and var are the running ones, [C], and constant)
 *   batch_norm_pair         x, gamma?, beta?, running_mean, running_var, and five more of another: x2, gamma2?, ...
 *                           -> y = relu?(both batch norms, added), mean [2G,C], var [2G,C] (its own, then the
 *                           other's), workspace
 *                           (training only; on a device, and in plain C)
 *   batch_norm_pair_bwd     dy, x, gamma?, x2, gamma2?, mean, var, workspace, dy2? (to be added to dy)
 *                           -> dx, dgamma, dbeta, dx2, dgamma2, dbeta2
 *   relu                    x -> y                    relu_bwd               dy, y -> dx
 *   prelu                   x [N,C,...], slope [C] -> y
 *   prelu_bwd               dy, x, slope -> dx, dslope
 *   max_pool2d              x -> y, workspace         max_pool2d_bwd         dy, workspace -> dx
 *   avg_pool2d              x -> y                    avg_pool2d_bwd         dy -> dx
 *   add, sub, mul           a, b -> y (equal shapes)
 *   div                     a, b -> y (equal shapes; 0 where b is 0)
 *   sqrt, sqrt_bwd          x -> y, (dy, y) -> dx     abs, softplus, clamp   x -> y; their _bwd: (dy, x) -> dx
 *   add_row                 x [N,D], row [D] -> y     scale                  x -> y
 *   add_column              x [N,D], column [N] -> y
 *   scale_rows              x [N,D], s [N] -> y       row_dot                a, b [N,D] -> [N]
 *   matmul                  a, b -> y
 *   l2norm_rows             x [N,D] -> y, norm [N]    l2norm_rows_bwd        dy, y, norm -> dx
 *   batched_row_dot         a [N,D], b [N,M,D] -> [N,M]
 *   batched_row_dot_bwd_a   dy [N,M], b -> da         batched_row_dot_bwd_b  dy, a -> db
 *   reduce                  x -> y                    reduce_bwd             dy -> dx (broadcast)
 *   layer_norm              x [N,D], gamma [D], beta [D] -> y, mean [N], scale [N] (1/sqrt(variance + eps))
 *   layer_norm_bwd          dy, x, gamma, mean, scale -> dx, dgamma, dbeta
 *   gelu                    x -> y                    gelu_bwd               dy, x -> dx
 *   attention               qkv [N T,3 H d] -> y [N T,H d], lse [N,H,T]      attention_bwd  dy, qkv, y, lse -> dqkv
 *   pixel_rows              x [N,C,H,W] -> y [N H W,C]                       row_pixels     x [N H W,C] -> y [N,C,H,W]
 *   drop_path               x [N,D], count [1] -> y, keep [N] (0 or 1/(1-rate); count goes up by 1)
 *   block_mask              count [1] -> y [N,C,H,W] (0, else elements of a sample over those left; count goes up by 1)
 *   concat                  x... -> y                 slice, slice_bwd       x -> y, dy -> dx (zeros elsewhere)
 *   reshape, identity       x -> y (same elements; no kernel: the plan lets y share x's memory)
 *   fill                    -> y (a constant)
 *   softmax_xent            logits [N,C], targets i64 [N], mask? u8 [N,C]    -> per_row [N], lse [N]
 *   softmax_xent_bwd        dper_row?, logits, targets, mask?, lse, dlse?    -> dlogits
 *   bank_nce                q [B,D], key [B,D], bank [K,D] (also bfloat16), valid? u8 [K], ids? i64 [B],
 *                           bank_ids? i64 [K], and when rows are mixed: lambda? [1 or K, 1 or D], index? i64 [K],
 *                           step? i64 [1]
 *                           -> per_row [B], prob_pos [B], dq [B,D] (d per_row_b / d q_b), prob_neg [B] (1 - prob_pos),
 *                           and when `top` is not 0: the two of bank_topk
 *   bank_topk               q [B,D], bank [K,D], valid?, ids?, bank_ids? as for bank_nce
 *                           -> slots i64 [B,T], scores [B,T], T = min(top, K): the rows with the largest <q_b,n_j> that
 *                           count, largest first, ties to the lower slot; past the last: slot -1, score 0
 *   topk_same               slots i64 [B,T], ids i64 [B], bank_ids i64 [K] -> [B]: share of the listed rows with b's id
 *   mix_rows                bank [K,D], slots i64 [B,T], j i64 [B,S], a [B,S], i? i64 [B,S], q? [B,D] (one of i, q)
 *                           -> [B,S,D]: n(a x + (1-a) y), y the row at rank j of the list, x the one at rank i, or q
 *   mix_nce                 q [B,D], lse [B], bank [K,D], slots i64 [B,T], i?, j? i64 [B,S], a? [B,S], j'? i64 [B,P], b? [B,P]
 *                           (together; without them drawn as by mochi_draw), step? i64 [1]
 *                           -> more [B], dq [B,D] (d more_b / d q_b), share [B]
 *   mochi_draw              slots i64 [B,T], step? i64 [1] -> i, j i64 [B,S], a [B,S], j' i64 [B,P], b [B,P]
 *   beta_draw               step? i64 [1] -> [rows,cols]    permutation            step? i64 [1] -> i64 [length]
 *   lerp                    a? [N,D], b? [N,D], lambda [1 or N, 1 or D], index? i64 [N] -> [N,D]: lambda a + (1-lambda) b
 *   row_stats               x [N,C] -> mean [N], var [N] (unbiased), exp_mean [N] (mean of e^{factor x}, saturating)
 *   log_sum_exp_rows        x [N,C], mask? u8 [N,C] -> y [N] (-inf over nothing)
 *   log_sum_exp_rows_bwd    dy, x, mask?, y -> dx
 *   pick                    x [N,C], index i64 [N] -> y [N] (0 where the index is negative)
 *   put                     x [N,C], index i64 [N], value? [N] -> y: x with value_i (absent: 0) at index_i
 *   gather_rows             table [M,D], index i64 [N] -> y [N,D] (0 where the index is negative)
 *   gather_rows_bwd         dy, index -> dtable
 *   label_pairs             labels i64 [N] -> u8 [N,N]
 *   center_columns          x [N,D] -> y              column_dot             a, b [N,D] -> [D]
 *   standardize_columns     x [N,D] -> y, scale [D]   scale_columns          x [N,D], s [D] -> y
 *   standardize_columns_bwd dy, y, scale -> dx
 *   pair_nce                x [M,D], labels i64 [L], L divides M             -> per_anchor [A], positives [A], lse [A]
 *   pair_nce_bwd            dper_anchor, x, labels, lse                      -> dx
 *   bank_lse                q [B,D], bank [K,D], valid? u8 [K], start? [B]
 *                           -> y [B], dq [B,D] (d y_b / d q_b), dstart [B], exponents [B,K]
 *   pair_dist               x [N,D] -> y [N,N]        pair_dist_bwd          dy, x -> dx
 *   transpose               x [N,M,...] -> y [M,N,...]
 *   symmetric               x [N,N] -> y (the same elements; no kernel)      add_transpose   x [N,N] -> x + x^T
 *   class_pair_sums         x [N,D], labels i64 [N] -> same, different, n_same, n_different (scalars), norm [N], total [D]
 *   class_pair_sums_bwd     dsame?, ddifferent?, x, labels, norm, total -> dx
 *   box_filter              x, mask u8 -> keep u8, q1, q3, low, high, number kept (scalars)
 *   target_margin           logits [N,C], labels i64 [N], margins? [N] -> y [N,C], cosine [N]
 *   target_margin_bwd       dy, labels, margins?, cosine -> dlogits, dmargins
 *   hardest_pairs           distances [N,N], labels i64 [N] -> positive i64 [N], negative i64 [N], valid u8 [N]
 *   triplet_sum             distances [N,N], labels i64 [N] -> sum, active, triplets (scalars), dsum/ddistances
 *   iota                    -> y i64 or u8 [N]: first + i step
 *   mask                    x [N,C], mask u8 [N,C] or [C] -> y (0 where the mask is 0)
 *   ids_differ              a i64 [N], b i64 [M] -> u8 [N,M]: a_i < 0 or a_i != b_j
 *   one_hot                 labels i64 [N] -> y [N,classes] (a negative label: a row of zeros; 1 class: [label > 0])
 *   ignore_label            labels i64 [N] -> y: -1 where it is `label`
 *   hard_negatives          scores [N], labels i64 [N], mask? u8 [N] -> keep u8 [N], number i64 []
 *   mask_rows               x [N,C], mask u8 [N] -> y (rows of 0 where the mask is 0)
 *   overlap                 w, y -> R = 1 - (top + smooth) / (bottom + smooth)   overlap_bwd  dR, w, y -> dw
 *   self_adjust             x [N,C] -> w = (1-p)^alpha p, p                      self_adjust_bwd  dw, x -> dx
 *   sigmoid_xent            x, y -> softplus(x) - y x                            sigmoid_xent_bwd  dc, x, y -> dx
 *   focal                   c -> (1 - e^-c)^gamma c                              focal_bwd  dy, c -> dc
 *   widen                   x bfloat16 -> y (of the graph's type)
 *   reorder                 x -> y (same elements, another layout)
 */
#ifndef CLVI_DEVICE_ATTR_H
#define CLVI_DEVICE_ATTR_H

#include <stdbool.h>
#include <stdint.h>

/* conv2d, conv2d_bwd_data, conv2d_bwd_weights: x [N,C,H,W], w [O,C/groups,kh,kw]. */
typedef struct clvi_conv2d_attr {
    int64_t stride[2], pad[2];     /* height, width */
    int64_t in_size[2];            /* height and width of x, for conv2d_bwd_data */
    int64_t kernel[2];             /* height and width of w, for conv2d_bwd_weights */
    int64_t groups;                /* the channels of x and of y are cut into this many runs; each sees its own */
} clvi_conv2d_attr;

/* conv2d_norm: a convolution, the batch norm (in evaluation) behind it, and what may follow. The convolution comes first,
 * so that its code can be used. */
typedef struct clvi_conv2d_norm_attr {
    clvi_conv2d_attr conv;
    double eps;
    bool   relu;
} clvi_conv2d_norm_attr;

/* batch_norm, batch_norm_bwd, batch_norm_pair, batch_norm_pair_bwd. */
typedef struct clvi_batch_norm_attr {
    int64_t groups;    /* split batch norm: the batch is cut into this many equal runs of samples */
    double  eps;
    double  momentum;  /* weight of the new sample, as in PyTorch (0.1) */
    bool    training;  /* batch statistics, and running ones updated; else running statistics are used */
    bool    relu;      /* fused */
    bool    sum;       /* fused: there is an input that is added before the ReLU */
    bool    again;     /* training: the same result and workspace once more, from statistics that are there already */
} clvi_batch_norm_attr;

/* On the host there are fast kernels for `sum` and dy2 where channels are a multiple of this. */
enum { CLVI_BATCH_NORM_BLOCK = 16 };

/* What is added has a gradient of its own: with a ReLU between it and y. */
static inline bool clvi_batch_norm_gives_sum(const clvi_batch_norm_attr *attr)
{
    return attr->sum && attr->relu;
}

/* max_pool2d, max_pool2d_bwd, avg_pool2d, avg_pool2d_bwd (padding not counted in the average). */
typedef struct clvi_pool2d_attr {
    int64_t kernel[2], stride[2], pad[2];
    int64_t in_size[2];            /* height and width of x */
} clvi_pool2d_attr;

/* layer_norm. */
typedef struct clvi_layer_norm_attr {
    double eps;
} clvi_layer_norm_attr;

/* attention, attention_bwd: a row of qkv is the queries, keys, values of all heads, one after another; `tokens` rows
 * belong to one sample. */
typedef struct clvi_attention_attr {
    int64_t tokens, heads;
} clvi_attention_attr;

/* row_pixels: the picture the rows are of. */
typedef struct clvi_pixels_attr {
    int64_t height, width;
} clvi_pixels_attr;

/* drop_path. */
typedef struct clvi_drop_path_attr {
    double   rate;
    uint64_t seed;
    uint32_t stream;               /* paths of different streams are dropped independently */
    uint64_t first;                /* number of the first row: a batch may be computed in pieces, */
    const int64_t *piece;          /* and how many came before may lie on the device (NULL: it is in `first`) */
} clvi_drop_path_attr;

/* block_mask: squares of `block` pixels that begin where they fit, gamma a place. The rate rises over the first `ramp`
 * runs; each channel has a stream of its own. */
typedef struct clvi_block_mask_attr {
    clvi_drop_path_attr path;      /* `first`: of the samples */
    double   ramp;
    int64_t  block;
    int64_t  shape[4];
} clvi_block_mask_attr;

#ifdef __CUDACC__
#define CLVI_ATTR_HD static __host__ __device__ inline
#else
#define CLVI_ATTR_HD static inline
#endif

/* rate / block^2 for each place a square may begin at, as often as there are fewer of these than pixels. */
CLVI_ATTR_HD double clvi_block_mask_gamma(const clvi_block_mask_attr *a, double run)
{
    const double risen = a->ramp > 0 && run + 1 < a->ramp ? a->path.rate * (run + 1) / a->ramp : a->path.rate;
    const double pixels = (double)(a->shape[2] * a->shape[3]), area = (double)(a->block * a->block);
    return risen / area * pixels / (double)((a->shape[2] - a->block + 1) * (a->shape[3] - a->block + 1));
}

CLVI_ATTR_HD uint32_t clvi_block_mask_stream(const clvi_block_mask_attr *a, int64_t channel)
{
    return (a->path.stream << 16) + (uint32_t)channel;
}

/* add: y = a + b, optionally relu(a + b). */
typedef struct clvi_add_attr {
    bool relu;
} clvi_add_attr;

/* matmul: y = op(a) op(b), [M,K] x [K,N] after the transpositions. */
typedef struct clvi_matmul_attr {
    bool trans_a, trans_b;
} clvi_matmul_attr;

/* scale: y = factor * x + offset. */
typedef struct clvi_scale_attr {
    double factor, offset;
} clvi_scale_attr;

/* clamp, clamp_bwd: y = min(max(x, low), high). */
typedef struct clvi_clamp_attr {
    double low, high;
} clvi_clamp_attr;

/* l2norm_rows, l2norm_rows_bwd: y = x / max(|x|, eps). */
typedef struct clvi_l2norm_attr {
    double eps;
} clvi_l2norm_attr;

/* class_pair_sums, class_pair_sums_bwd. */
typedef struct clvi_class_pairs_attr {
    bool   unit;                   /* rows count as divided by max(their norm, eps) */
    double eps;
} clvi_class_pairs_attr;

/* reduce: sum or mean over one axis, or over everything (axis -1, result a scalar). */
typedef struct clvi_reduce_attr {
    int     axis;
    bool    mean;
    int     ndim;                  /* shape of x, for reduce_bwd */
    int64_t shape[6];
} clvi_reduce_attr;

/* reshape, fill: the shape of the result. */
typedef struct clvi_shape_attr {
    int     ndim;
    int64_t shape[6];
    double  value;                 /* fill */
    int     dtype;                 /* fill: clv_dtype */
} clvi_shape_attr;

/* concat along an axis (2 to 8 inputs); slice [begin, begin + length) of an axis. */
typedef struct clvi_concat_attr {
    int axis;
} clvi_concat_attr;
typedef struct clvi_slice_attr {
    int     axis;
    int64_t begin, length;
    int64_t full;      /* slice_bwd: length of the whole axis */
} clvi_slice_attr;

/* widen. */
typedef struct clvi_widen_attr {
    int dtype;                     /* clv_dtype of y */
} clvi_widen_attr;

/* iota. */
typedef struct clvi_iota_attr {
    int     dtype;                 /* clv_dtype */
    int64_t length, first, step;
} clvi_iota_attr;

/* label_pairs: i != j with labels that are equal (same) or not; upper: i < j only. */
typedef struct clvi_label_pairs_attr {
    bool same, upper;
} clvi_label_pairs_attr;

/* gather_rows_bwd: rows of the table. */
typedef struct clvi_gather_rows_attr {
    int64_t rows;
} clvi_gather_rows_attr;

/* box_filter: whiskers of `reach` times the height of the box. */
typedef struct clvi_box_filter_attr {
    double reach;
} clvi_box_filter_attr;

/* target_margin, target_margin_bwd: logits are scale times cosines. */
enum { CLVI_MARGIN_COSINE, CLVI_MARGIN_ARC, CLVI_MARGIN_EASY, CLVI_MARGIN_FALLBACK };   /* as clv_margin_mode */
typedef struct clvi_target_margin_attr {
    double scale;
    double margin;                 /* where there is no input for it */
    double clamp;                  /* above 0: cosines are clamped to [-1 + clamp, 1 - clamp] */
    int    mode;
} clvi_target_margin_attr;

/* triplet_sum. */
typedef struct clvi_triplet_sum_attr {
    double margin;
} clvi_triplet_sum_attr;

/* mochi_draw, beta_draw, permutation: which numbers of the generator. A step given as an input replaces `step`. */
typedef struct clvi_draw_attr {
    uint64_t seed;
    int64_t  step;
    uint32_t stream;               /* draws of different streams are independent; mochi_draw uses two from here on */
    int      dtype;                /* clv_dtype of real numbers */
    int64_t  rows, cols;           /* mochi_draw: pairs and query mixes of a row; permutation: length in rows */
    double   alpha, offset;        /* beta_draw: offset + Beta(alpha, alpha), 1 at a step below 0 */
} clvi_draw_attr;

/* bank_nce: InfoNCE of queries against their key and a bank, in one walk over the bank. With `mix` row j of the bank is
 * read as l_j n_j + (1 - l_j) n_{i_j}, n_j itself where there is no row i_j; with `unit` that is over max(its length,
 * eps). l and i are inputs, or drawn as beta_draw and permutation would. */
typedef struct clvi_bank_nce_attr {
    double temperature;
    bool   unit_rows;  /* all rows are known to be unit length or zero: logits lie in [-1/t, 1/t] */
    int64_t top;       /* also list this many of the largest scores; 0: do not; not of rows that are moved */
    bool   mix, unit;
    double eps;
    clvi_draw_attr lambda, index;
} clvi_bank_nce_attr;

/* standardize_columns, standardize_columns_bwd: centred columns over sqrt(variance + eps) or, unit, max(length, eps). */
typedef struct clvi_standardize_attr {
    double eps;
    bool   unit;
} clvi_standardize_attr;

/* bank_lse: y = log mean exp of similarities with a bank. */
typedef struct clvi_bank_lse_attr {
    double  temperature;
    int64_t start_count;   /* entries that `start` is the log-sum-exp of; 0: there is no start */
    bool    l2;            /* exponents are -|q - m|^2/t, else <q,m>/t */
} clvi_bank_lse_attr;

/* pair_nce, pair_nce_bwd: each of the first `anchors` rows against all other rows. */
typedef struct clvi_pair_nce_attr {
    double  temperature;
    int64_t anchors;
} clvi_pair_nce_attr;

/* one_hot, ignore_label. */
typedef struct clvi_one_hot_attr {
    int64_t classes;
    int     dtype;                 /* clv_dtype of the result */
} clvi_one_hot_attr;
typedef struct clvi_ignore_label_attr {
    int64_t label;
} clvi_ignore_label_attr;

/* hard_negatives: all positives (label > 0) and `number` = min(floor(ratio x positives), negatives) of the negatives. */
typedef struct clvi_hard_negatives_attr {
    double ratio;
    bool   official;   /* negatives strictly above a threshold among all, masked ones included (docs/losses/dice.md) */
} clvi_hard_negatives_attr;

/* overlap, overlap_bwd: which fraction (top over bottom). */
enum {
    CLVI_OVERLAP_LINEAR,           /* 2wy / (w + y) */
    CLVI_OVERLAP_SQUARE,           /* 2wy / (w^2 + y^2) */
    CLVI_OVERLAP_TVERSKY           /* wy / (wy + alpha w (1-y) + beta (1-w) y) */
};
typedef struct clvi_overlap_attr {
    int    kind;
    double smooth, alpha, beta;
} clvi_overlap_attr;

/* self_adjust: p is the softmax of a row (the logistic function of one logit), or x itself. */
typedef struct clvi_self_adjust_attr {
    double alpha;
    bool   logits;
} clvi_self_adjust_attr;

/* focal. */
typedef struct clvi_focal_attr {
    double gamma;
} clvi_focal_attr;

/* bank_topk. */
typedef struct clvi_bank_topk_attr {
    int64_t top;
} clvi_bank_topk_attr;

/* topk_same. */
typedef struct clvi_topk_same_attr {
    int dtype;                     /* clv_dtype of the result */
} clvi_topk_same_attr;

/* mix_rows, mix_nce: n(x) = x / max(|x|, eps). */
typedef struct clvi_mix_attr {
    double temperature;            /* mix_nce */
    double eps;
    bool   constant;               /* mix_nce: no gradient through the query inside a mix */
    clvi_draw_attr draw;           /* mix_nce: when no mixes are given */
} clvi_mix_attr;

/* row_stats. */
typedef struct clvi_row_stats_attr {
    double factor;
} clvi_row_stats_attr;

#endif
