/* graph.h: networks and losses as a static graph: build once, finish, run many times.
 *
 * Building: every clv_* builder appends to the graph and returns a handle; none returns an error. The graph keeps the
 * first error and clv_graph_finish reports it. Finishing infers nothing late: shapes are checked as nodes are added;
 * it fuses, chooses kernels and layouts, and plans memory. A run allocates nothing, checks no shape and takes no lock.
 *
 * Threads: one thread at a time per graph; different graphs are independent, also when they share parameters, as long
 * as no run writes a parameter set another run is using. */
#ifndef CLEAVE_GRAPH_H
#define CLEAVE_GRAPH_H

#include <cleave/base.h>
#include <cleave/view.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clv_graph clv_graph;
typedef struct clv_params clv_params;

/* A value of one graph. Handles are small and copied freely. */
typedef struct clv_node {
    int32_t id;
} clv_node;

/* "No value", for optional inputs. */
#define CLV_NONE ((clv_node){ -1 })

/* ---- parameters: named tensors in one flat arena, shared by the graphs that use them ---- */

typedef enum clv_param_kind { CLV_PARAM_TRAINABLE, CLV_PARAM_BUFFER } clv_param_kind;

/* How a parameter starts. fan is what the formula divides by. */
typedef enum clv_init_kind {
    CLV_INIT_CONSTANT,        /* value */
    CLV_INIT_KAIMING_NORMAL,  /* N(0, 2 / fan): He et al. 2015, arXiv:1502.01852, eq. 14 (fan out) */
    CLV_INIT_UNIFORM_FAN,     /* U(-1/sqrt(fan), 1/sqrt(fan)): what PyTorch gives linear layers, weight and bias */
    CLV_INIT_UNIFORM,         /* U(-value, value) */
    CLV_INIT_NORMAL,          /* N(0, value^2) */
    CLV_INIT_SINCOS_2D        /* position embedding [1,1+P,D] of P pieces of a picture, `fan` of them in a row; the
                               * first token's is 0: Chen et al. 2021, arXiv:2104.02057; D a multiple of 4. With angles
                               * r / 10000^(4k/D) of the row r, then of the column, k = 0 to D/4 - 1: sines, cosines,
                               * sines, cosines */
} clv_init_kind;

typedef struct clv_init {
    clv_init_kind kind;
    double        value;
    int64_t       fan;
} clv_init;

typedef struct clv_param_info {
    const char    *name;      /* torchvision's: "layer1.0.conv1.weight"; owned by the set */
    clv_param_kind kind;
    int            ndim;
    int64_t        shape[CLV_MAX_DIMS];
} clv_param_info;

typedef enum clv_param_part { CLV_PARAM_VALUE, CLV_PARAM_GRADIENT } clv_param_part;

/* An empty set. dtype is CLV_F32 or CLV_F64. Graphs add parameters while they are built; the first graph that finishes
 * fixes the memory layout, and afterwards no new name can be added. */
CLV_API clv_status clv_params_create(clv_context *ctx, clv_dtype dtype, clv_params **out) CLV_NODISCARD;
/* Same names and layouts, own memory, values copied. `src` must be laid out (a graph has finished). */
CLV_API clv_status clv_params_clone(const clv_params *src, clv_params **out) CLV_NODISCARD;
/* NULL is accepted. Graphs that use the set must be destroyed first. */
CLV_API void clv_params_destroy(clv_params *params);

/* Number of parameters and buffers. */
CLV_API int64_t clv_params_count(const clv_params *params);
/* Index of a name, or -1. */
CLV_API int64_t clv_params_find(const clv_params *params, const char *name);
CLV_API clv_status clv_params_info(const clv_params *params, int64_t index, clv_param_info *out) CLV_NODISCARD;
/* Fills every value from its clv_init; draws depend on (seed, index) only. */
CLV_API clv_status clv_params_init(clv_params *params, uint64_t seed) CLV_NODISCARD;
/* Copies one parameter or gradient out of, or a parameter into, the arena; plain order (weights OIHW) whatever the
 * arena's layout. Types convert. Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID (index; not laid out yet). */
CLV_API clv_status clv_params_read(const clv_params *params, int64_t index, clv_param_part part, const clv_view *dst)
    CLV_NODISCARD;
CLV_API clv_status clv_params_write(clv_params *params, int64_t index, const clv_view *src) CLV_NODISCARD;
/* The whole trainable arena as one dense vector, padding included (padding is zero and stays zero under any
 * elementwise update): one pass updates all. Buffers are not in it. Borrowed. */
CLV_API clv_status clv_params_flat(clv_params *params, clv_param_part part, clv_view *out) CLV_NODISCARD;

/* One step of stochastic gradient descent on all trainable parameters, as PyTorch defines it:
 *   d = g + weight_decay p;   v = momentum v + d;   p -= lr (nesterov ? d + momentum v : v)
 * and in the same pass over memory, if there is a follower, k = follow k + (1 - follow) p of its parameters k.
 * Errors: CLV_ERR_INVALID (not laid out yet; a velocity missing), CLV_ERR_SHAPE (the velocity is not one vector of the
 * parameters' type and clv_params_flat's length; a follower of another layout). */
typedef struct clv_sgd {
    double      lr, momentum, weight_decay;
    bool        nesterov;
    clv_view    velocity;     /* v: yours, zeros at first; not needed with momentum 0 */
    clv_params *follower;     /* a clone (clv_params_clone) of the set, or NULL */
    double      follow;
} clv_sgd;
CLV_API clv_status clv_params_sgd(clv_params *params, const clv_sgd *sgd) CLV_NODISCARD;
/* k = momentum k + (1 - momentum) q of all trainable parameters. Errors: CLV_ERR_SHAPE (k is no clone of q). */
CLV_API clv_status clv_params_follow(clv_params *k, clv_params *q, double momentum) CLV_NODISCARD;

/* ---- graphs ---- */

/* In what precision a float32 graph computes. */
typedef enum clv_precision {
    CLV_PRECISION_FULL,       /* in its type */
    CLV_PRECISION_TF32,       /* values are float32; convolutions and products of matrices round their operands to TF32,
                               * which has 10 bits of mantissa, and add up in float32; on GPUs only */
    CLV_PRECISION_BF16,       /* convolutions, and what lies between them, read and write bfloat16 and add up in float32;
                               * parameters, gradients, statistics of batch norm, heads and losses stay float32 */
    CLV_PRECISION_AUTO        /* BF16 where the processor has instructions for it, and on a GPU, else FULL */
} clv_precision;

/* What `wanted` means on this machine's processor: FULL or BF16. Errors: CLV_ERR_UNSUPPORTED (TF32; BF16 on a processor
 * without AVX512-BF16 or AMX, or where CLEAVE_CPU_ISA rules it out), CLV_ERR_INVALID. Thread-safe. */
CLV_API clv_status clv_precision_resolve(clv_precision wanted, clv_precision *out) CLV_NODISCARD;

typedef struct clv_graph_desc {
    size_t      struct_size;  /* CLV_GRAPH_DESC_INIT */
    clv_dtype   dtype;        /* of parameters and computation: CLV_F32 or CLV_F64 */
    clv_params *params;       /* borrowed; NULL: the graph has its own */
    bool        training;     /* batch norm uses batch statistics and updates the running ones */
    bool        reference;    /* only the plain C kernels */
    bool        recompute;    /* the backward pass computes convolutions, batch norms and relus between values with more
                               * than one reader again instead of keeping them: less memory, the same bits, slower */
    clv_precision precision;  /* the results of graphs that share parameters may differ in it */
} clv_graph_desc;

#define CLV_GRAPH_DESC_INIT { .struct_size = sizeof(clv_graph_desc), .dtype = CLV_F32 }

/* An empty graph. Errors: CLV_ERR_INVALID (desc's size or type; another type than the parameters'; bfloat16 or
 * TF32 precision with float64), CLV_ERR_UNSUPPORTED (on the processor as clv_precision_resolve says, but `reference`
 * computes in bfloat16 anywhere), CLV_ERR_NOMEM. */
CLV_API clv_status clv_graph_create(clv_context *ctx, const clv_graph_desc *desc, clv_graph **out) CLV_NODISCARD;
/* NULL is accepted. A parameter set of the caller's stays. */
CLV_API void clv_graph_destroy(clv_graph *graph);

/* A value the caller supplies before each run with clv_graph_bind. Floats have the graph's type, or are bfloat16 for
 * clv_bank_nce and clv_widen. Images: clv_input_image, bound as N,H,W,C. */
CLV_API clv_node clv_input(clv_graph *g, const char *name, clv_dtype dtype, int ndim, const int64_t *shape);
CLV_API clv_node clv_input_image(clv_graph *g, const char *name, int64_t n, int64_t c, int64_t h, int64_t w);
/* A parameter by name; a name that exists must have the same shape and kind. */
CLV_API clv_node clv_parameter(clv_graph *g, const char *name, clv_param_kind kind, int ndim, const int64_t *shape,
                               clv_init init);
CLV_API bool clv_graph_training(const clv_graph *g);
/* The set the graph uses: the one it was given or its own. Borrowed. */
CLV_API clv_params *clv_graph_params(clv_graph *g);
/* Shape of a value; ndim -1 when the graph already has an error. */
CLV_API int clv_node_shape(const clv_graph *g, clv_node x, int64_t shape[CLV_MAX_DIMS]);
CLV_API clv_dtype clv_node_dtype(const clv_graph *g, clv_node x);

/* Operations. Shapes in comments; all differentiable in their float inputs unless said. */
CLV_API clv_node clv_conv2d(clv_graph *g, clv_node x /*[N,C,H,W]*/, clv_node w /*[O,C,kh,kw]*/, int64_t stride, int64_t pad);
/* The channels cut into groups, each convolved alone. groups must divide C and O; groups = C = O: depthwise. */
CLV_API clv_node clv_conv2d_groups(clv_graph *g, clv_node x /*[N,C,H,W]*/, clv_node w /*[O,C/groups,kh,kw]*/,
                                   int64_t stride, int64_t pad, int64_t groups);
typedef struct clv_batch_norm_desc {
    clv_node gamma, beta;                  /* [C]; CLV_NONE: 1 and 0 */
    clv_node running_mean, running_var;    /* [C] buffers, updated by each training run */
    int64_t  groups;                       /* split batch norm; 1: plain. Must divide N when training */
    double   eps, momentum;                /* PyTorch: 1e-5, 0.1 */
} clv_batch_norm_desc;
CLV_API clv_node clv_batch_norm(clv_graph *g, clv_node x /*[N,C,H,W] or [N,C]*/, const clv_batch_norm_desc *desc);
/* Each row minus its mean, over sqrt(biased variance + eps), times gamma plus beta: Ba et al. 2016,
 * arXiv:1607.06450. */
CLV_API clv_node clv_layer_norm(clv_graph *g, clv_node x /*[N,D]*/, clv_node gamma /*[D]*/, clv_node beta /*[D]*/,
                                double eps);
CLV_API clv_node clv_relu(clv_graph *g, clv_node x);
/* x where it is above 0, else the slope of its channel times x: He et al. 2015, arXiv:1502.01852, eq. 1. */
CLV_API clv_node clv_prelu(clv_graph *g, clv_node x /*[N,C,H,W] or [N,C]*/, clv_node slope /*[C]*/);
/* x times the normal distribution function of x, by erf: Hendrycks and Gimpel 2016, arXiv:1606.08415. */
CLV_API clv_node clv_gelu(clv_graph *g, clv_node x);
/* softmax(q k^T / sqrt(d)) v for every head of every sample: Vaswani et al. 2017, arXiv:1706.03762, eq. 1. A row of qkv
 * holds the queries of all heads, the keys of all heads, the values of all heads of one token; `tokens` rows are one
 * sample. Memory grows with the number of tokens, not its square: backward computes the products again.
 * CLV_ERR_SHAPE unless tokens divides the rows and 3 heads the columns. */
CLV_API clv_node clv_attention(clv_graph *g, clv_node qkv /*[N T,3 H d]*/, int64_t tokens,
                               int64_t heads);                                               /* [N T,H d] */
/* Pixels as rows of channels, the last two axes first: [N H W,C]; and back. */
CLV_API clv_node clv_pixel_rows(clv_graph *g, clv_node x /*[N,C,H,W]*/);
CLV_API clv_node clv_row_pixels(clv_graph *g, clv_node x /*[N H W,C]*/, int64_t height, int64_t width);
/* Stochastic depth (Huang et al. 2016, arXiv:1603.09382): while training, each row is set to 0 with probability `rate`
 * and divided by 1 - rate otherwise; in a graph that does not train, x itself. Which rows: a pure function of (seed,
 * stream, count, row), count being a buffer [1] that every run raises by 1. CLV_ERR_INVALID unless 0 <= rate < 1. */
CLV_API clv_node clv_drop_path(clv_graph *g, clv_node x /*[N,D]*/, clv_node count, double rate, uint64_t seed,
                               uint32_t stream);
CLV_API clv_node clv_max_pool2d(clv_graph *g, clv_node x, int64_t kernel, int64_t stride, int64_t pad);
CLV_API clv_node clv_avg_pool2d(clv_graph *g, clv_node x, int64_t kernel, int64_t stride, int64_t pad);
CLV_API clv_node clv_global_avg_pool(clv_graph *g, clv_node x /*[N,C,H,W]*/);                /* [N,C] */
CLV_API clv_node clv_add(clv_graph *g, clv_node a, clv_node b);                              /* equal shapes */
CLV_API clv_node clv_sub(clv_graph *g, clv_node a, clv_node b);
CLV_API clv_node clv_mul(clv_graph *g, clv_node a, clv_node b);
CLV_API clv_node clv_div(clv_graph *g, clv_node a, clv_node b);                              /* 0 where b is 0 */
CLV_API clv_node clv_sqrt(clv_graph *g, clv_node x);                                         /* gradient 0 at 0 */
CLV_API clv_node clv_abs(clv_graph *g, clv_node x);                                          /* gradient 0 at 0 */
CLV_API clv_node clv_softplus(clv_graph *g, clv_node x);                                     /* log(1 + e^x) */
CLV_API clv_node clv_clamp(clv_graph *g, clv_node x, double low, double high);               /* gradient 0 outside */
CLV_API clv_node clv_add_column(clv_graph *g, clv_node x /*[N,D]*/, clv_node column /*[N]*/);
CLV_API clv_node clv_add_row(clv_graph *g, clv_node x /*[N,D]*/, clv_node row /*[D]*/);
CLV_API clv_node clv_scale(clv_graph *g, clv_node x, double factor, double offset);          /* factor x + offset */
CLV_API clv_node clv_matmul(clv_graph *g, clv_node a, bool trans_a, clv_node b, bool trans_b); /* [M,K][K,N] */
CLV_API clv_node clv_linear(clv_graph *g, clv_node x /*[N,D]*/, clv_node w /*[O,D]*/, clv_node bias /*[O] or none*/);
CLV_API clv_node clv_l2norm_rows(clv_graph *g, clv_node x /*[N,D]*/, double eps);            /* zero rows: zero, zero gradient */
CLV_API clv_node clv_scale_rows(clv_graph *g, clv_node x /*[N,D]*/, clv_node s /*[N]*/);      /* row n times s[n] */
CLV_API clv_node clv_row_dot(clv_graph *g, clv_node a /*[N,D]*/, clv_node b /*[N,D]*/);      /* [N] */
CLV_API clv_node clv_batched_row_dot(clv_graph *g, clv_node a /*[N,D]*/, clv_node b /*[N,M,D]*/); /* [N,M] */
CLV_API clv_node clv_reduce(clv_graph *g, clv_node x, int axis /* -1: all */, bool mean);
CLV_API clv_node clv_concat(clv_graph *g, const clv_node *x, int count, int axis);
CLV_API clv_node clv_slice(clv_graph *g, clv_node x, int axis, int64_t begin, int64_t length);
CLV_API clv_node clv_reshape(clv_graph *g, clv_node x, int ndim, const int64_t *shape);
CLV_API clv_node clv_stop_gradient(clv_graph *g, clv_node x);
/* per-row log-sum-exp minus the target's logit; [N]. mask u8 [N,C] (or none) leaves entries with 0 out; a row whose only
 * entry is its target gives exactly 0. targets: i64 [N]; < 0 ignores the row (0, no gradient). */
CLV_API clv_node clv_softmax_xent(clv_graph *g, clv_node logits /*[N,C]*/, clv_node targets, clv_node mask);
/* The same, and through lse the log-sum-exp of each row ([N], differentiable; 0 for an ignored row). */
CLV_API clv_node clv_softmax_xent_lse(clv_graph *g, clv_node logits /*[N,C]*/, clv_node targets, clv_node mask,
                                      clv_node *lse);
/* log sum_j e^{x_ij} of each row; [N]. mask u8 [N,C] (or none) leaves entries with 0 out; -inf where nothing is
 * left. */
CLV_API clv_node clv_log_sum_exp_rows(clv_graph *g, clv_node x /*[N,C]*/, clv_node mask);
/* x[i, index_i] of each row; [N]. A negative index gives 0. CLV_ERR_INVALID at the run for one beyond the columns. */
CLV_API clv_node clv_pick(clv_graph *g, clv_node x /*[N,C]*/, clv_node index /*i64 [N]*/);
/* x with value_i at [i, index_i] (0 for no value); rows with a negative index stay as they are. */
CLV_API clv_node clv_put(clv_graph *g, clv_node x /*[N,C]*/, clv_node index /*i64 [N]*/,
                         clv_node value /*[N] or none*/);
/* Rows of the table by index; [N,D]. A negative index gives zeros. */
CLV_API clv_node clv_gather_rows(clv_graph *g, clv_node table /*[M,D]*/, clv_node index /*i64 [N]*/);
/* uint8 [N,N]: 1 where rows i != j (upper: i < j) have the same label (or, not same, different ones); rows with a
 * negative label are in no pair. Not differentiable. */
CLV_API clv_node clv_label_pairs(clv_graph *g, clv_node labels /*i64 [N]*/, bool same, bool upper);
/* Inner products <x_i,x_j> summed over all ordered pairs i != j of rows with the same label and with different ones,
 * and the numbers of those pairs, which are not differentiable; all scalars. By class sums: time grows with N D, memory
 * with N + D. Rows with a negative label take no part. unit: of rows divided by max(their norm, eps); else eps is not
 * used. */
typedef struct clv_pair_sums {
    clv_node same, different, n_same, n_different;
} clv_pair_sums;
CLV_API void clv_class_pair_sums(clv_graph *g, clv_node x /*[N,D]*/, clv_node labels /*i64 [N]*/, bool unit, double eps,
                                 clv_pair_sums *out);
/* Box and whiskers: uint8 of x's shape, 1 for the entries with mask 1 that lie in [low, high] = [q1 - reach (q3 - q1),
 * q3 + reach (q3 - q1)]; q1 and q3 are the entries floor(P/4) and floor(3P/4) of the P masked ones in ascending order.
 * `box` (may be NULL) receives the bounds and the number kept, scalars, 0 for P = 0. Not differentiable. */
typedef struct clv_box {
    clv_node q1, q3, low, high, kept;
} clv_box;
CLV_API clv_node clv_box_filter(clv_graph *g, clv_node x, clv_node mask, double reach, clv_box *box);
/* Logits that are scale times cosines, the entry of each row's label made harder: scale times what `mode` says. Rows
 * with a negative label stay as they are; CLV_ERR_INVALID at the run for a label beyond the columns. Sources: Wang et al.
 * 2018, arXiv:1801.09414, eq. 4; Deng et al. 2019, arXiv:1801.07698, eq. 3. */
typedef enum clv_margin_mode {
    CLV_MARGIN_COSINE,      /* cos(theta) - m */
    CLV_MARGIN_ARC,         /* cos(theta + m) */
    CLV_MARGIN_EASY,        /* cos(theta + m) where cos(theta) > 0, else cos(theta) */
    CLV_MARGIN_FALLBACK     /* cos(theta + m) where theta + m < pi, else cos(theta) - m sin(m) */
} clv_margin_mode;
typedef struct clv_target_margin_desc {
    clv_margin_mode mode;
    double   scale;         /* above 0 */
    double   margin;        /* m, where there are no margins */
    clv_node margins;       /* [N] or CLV_NONE */
    double   clamp;         /* above 0: cosines are clamped to [-1 + clamp, 1 - clamp]; no gradient where that acts */
} clv_target_margin_desc;
CLV_API clv_node clv_target_margin(clv_graph *g, clv_node logits /*[N,C]*/, clv_node labels /*i64 [N]*/,
                                   const clv_target_margin_desc *desc);
/* For each row the farthest other row with its label and the nearest with another one (int64 [N]; the lower index of
 * equals); valid (uint8 [N]) says whether there are both, else both are -1. Rows with a negative label take no part.
 * Not differentiable. */
CLV_API void clv_hardest_pairs(clv_graph *g, clv_node distances /*[N,N]*/, clv_node labels /*i64 [N]*/,
                               clv_node *positive, clv_node *negative, clv_node *valid);
/* Sum over all triplets (a, p, n), p != a with a's label, n with another one, of max(0, d_ap - d_an + margin); scalar.
 * `active` receives how many are above 0, `triplets` how many there are; neither is differentiable. */
CLV_API clv_node clv_triplet_sum(clv_graph *g, clv_node distances /*[N,N]*/, clv_node labels /*i64 [N]*/, double margin,
                                 clv_node *active, clv_node *triplets);
/* InfoNCE of queries against their key and a bank of negatives, in one walk over the bank: extra memory grows with B D,
 * never with B K.
 *   per_row_b = log(e^{<q_b,k_b>/t} + sum_j e^{<q_b,n_j>/t}) - <q_b,k_b>/t   over the bank rows n_j that count for b */
typedef struct clv_bank_nce_desc {
    clv_node query;              /* [B,D]; query and key are what receives a gradient */
    clv_node key;                /* [B,D]; row b is the positive of query b */
    clv_node bank;               /* [K,D]; K may be 0. A constant. Also bfloat16: nearly twice as fast where the processor
                                  * has AVX512-BF16; the gradient's weights are then rounded to it, logits are not */
    clv_node valid;              /* uint8 [K] or CLV_NONE: rows with 0 do not count, whatever they hold */
    clv_node ids, bank_ids;      /* int64 [B] and [K], or both CLV_NONE: a bank row with the query's id does not count
                                  * for it; a negative id is nobody's */
    double   temperature;        /* t > 0 */
    bool     unit_rows;          /* a promise that all rows have length 1 or 0: a little faster */
} clv_bank_nce_desc;
#define CLV_BANK_NCE_DESC_INIT                                                                                         \
    { .query = { -1 }, .key = { -1 }, .bank = { -1 }, .valid = { -1 }, .ids = { -1 }, .bank_ids = { -1 },              \
      .temperature = 0.07 }
/* Returns per_row [B], and through prob_pos (may be NULL) the probability of the positive, e^{-per_row} [B], which is
 * not differentiable. A query for which no bank row counts has per_row exactly 0, prob_pos 1 and no gradient.
 * Errors (by clv_graph_finish): CLV_ERR_SHAPE; CLV_ERR_INVALID for a temperature that is not positive, or one of ids
 * and bank_ids alone. Source: He et al. 2020, arXiv:1911.05722, eq. 1. */
CLV_API clv_node clv_bank_nce(clv_graph *g, const clv_bank_nce_desc *desc, clv_node *prob_pos);
/* Every anchor, one of the first `anchors` rows of x, picks its positives, the other rows with its label, out of all
 * other rows, in two walks over the pairs: extra memory grows with M, never with M M.
 *   per_anchor_a = log sum_{j != a} e^{<x_a,x_j>/t} - mean over the positives j of <x_a,x_j>/t       [anchors]
 * labels: int64 [L] where L divides M; row i has the label i mod L, so views may be stacked. `positives` (may be NULL)
 * receives how many positives each anchor has, not differentiable. An anchor without any has per_anchor exactly 0 and
 * no gradient. Errors (by clv_graph_finish): CLV_ERR_SHAPE; CLV_ERR_INVALID for a temperature that is not positive.
 * Source: Khosla et al. 2020, arXiv:2004.11362, eq. 2. */
CLV_API clv_node clv_pair_nce(clv_graph *g, clv_node x /*[M,D]*/, clv_node labels, int64_t anchors, double temperature,
                              clv_node *positives);
/* Columns minus their mean over the rows; and that divided by sqrt(variance + eps), with the biased variance, or, if
 * `unit`, by max(length, eps): a constant column becomes zeros and passes no gradient. */
CLV_API clv_node clv_center_columns(clv_graph *g, clv_node x /*[N,D]*/);
CLV_API clv_node clv_standardize_columns(clv_graph *g, clv_node x /*[N,D]*/, double eps, bool unit);
CLV_API clv_node clv_scale_columns(clv_graph *g, clv_node x /*[N,D]*/, clv_node s /*[D]*/);  /* column d times s[d] */
CLV_API clv_node clv_column_dot(clv_graph *g, clv_node a /*[N,D]*/, clv_node b /*[N,D]*/);   /* [D] */
/* The logarithm of the mean of exponentials over a bank, in one walk: extra memory grows with B D, never with B K.
 *   y_b = log mean_j e^{e_bj},   e_bj = <q_b,m_j>/t or, l2, -|q_b - m_j|^2/t   over the bank rows m_j that count */
typedef struct clv_bank_lse_desc {
    clv_node query;              /* [B,D]; receives a gradient */
    clv_node bank;               /* [K,D]; K may be 0. A constant */
    clv_node valid;              /* uint8 [K] or CLV_NONE: rows with 0 do not count, whatever they hold */
    clv_node start;              /* [B] or CLV_NONE: log-sum-exp of exponents that belong to the mean beside the bank's;
                                  * receives a gradient */
    int64_t  start_count;        /* how many each of them stands for */
    double   temperature;        /* t > 0 */
    bool     l2;
} clv_bank_lse_desc;
#define CLV_BANK_LSE_DESC_INIT                                                                                         \
    { .query = { -1 }, .bank = { -1 }, .valid = { -1 }, .start = { -1 }, .temperature = 1 }
/* Returns y [B], 0 with no gradient where there is nothing to take the mean of, and through `exponents` (may be NULL)
 * e [B,K], 0 where a row does not count: asking for it costs B K values. Errors (by clv_graph_finish): CLV_ERR_SHAPE;
 * CLV_ERR_INVALID for a temperature that is not positive, or one of start and start_count alone. */
CLV_API clv_node clv_bank_lse(clv_graph *g, const clv_bank_lse_desc *desc, clv_node *exponents);
CLV_API clv_node clv_pair_dist(clv_graph *g, clv_node x /*[N,D]*/);            /* |x_i - x_j|^2, [N,N] */
CLV_API clv_node clv_transpose(clv_graph *g, clv_node x /*[N,M,...]*/);                      /* [M,N,...] */
/* Inner products of all rows, x x^T, or of all columns, x^T x. */
CLV_API clv_node clv_gram(clv_graph *g, clv_node x /*[N,D]*/, bool columns);
/* The rows of a bank most similar to each query, exactly, in one walk over the bank. */
typedef struct clv_bank_topk_desc {
    clv_node query;              /* [B,D] */
    clv_node bank;               /* [K,D]; K may be 0 */
    clv_node valid, ids, bank_ids;   /* which rows count for a query, as for clv_bank_nce */
    int64_t  top;                /* how many; at least 1 */
} clv_bank_topk_desc;
#define CLV_BANK_TOPK_DESC_INIT                                                                                        \
    { .query = { -1 }, .bank = { -1 }, .valid = { -1 }, .ids = { -1 }, .bank_ids = { -1 }, .top = 1 }
/* Returns int64 [B,T], T = min(top, K): the slots of the bank with the largest <q_b,n_j>, largest first, equal ones in
 * the order of the bank; and through `scores` (may be NULL) those products [B,T]. Where fewer than T rows count, the
 * rest is slot -1, score 0. Not differentiable. Extra memory: about 16 B T bytes; for 512 queries or more, where the
 * processor multiplies bfloat16 itself, half as much as the bank and the queries besides.
 * Errors (by clv_graph_finish): CLV_ERR_SHAPE; CLV_ERR_INVALID for top below 1, or one of ids and bank_ids alone. */
CLV_API clv_node clv_bank_topk(clv_graph *g, const clv_bank_topk_desc *desc, clv_node *scores);
/* first, first + step, ...: int64 or uint8 [length]. A constant. */
CLV_API clv_node clv_iota(clv_graph *g, clv_dtype dtype, int64_t length, int64_t first, int64_t step);
/* x where the mask is 1, else 0. mask: uint8 [N,C], or [C] for all rows. */
CLV_API clv_node clv_mask(clv_graph *g, clv_node x /*[N,C]*/, clv_node mask);
/* Rows where the mask is 1, rows of 0 elsewhere. mask: uint8 [N]. */
CLV_API clv_node clv_mask_rows(clv_graph *g, clv_node x /*[N,C]*/, clv_node mask);
/* [N,classes] of the graph's type: 1 where the label is the class; a negative label gives zeros. One class: label > 0. */
CLV_API clv_node clv_one_hot(clv_graph *g, clv_node labels /*i64 [N]*/, int64_t classes);
/* The labels, -1 where they equal `label`. */
CLV_API clv_node clv_ignore_label(clv_graph *g, clv_node labels /*i64 [N]*/, int64_t label);
/* softplus(x) - y x: cross entropy of a logit against a probability y, which is a constant. Elementwise. */
CLV_API clv_node clv_sigmoid_xent(clv_graph *g, clv_node x, clv_node y);
/* bfloat16 values in the graph's type. A constant. */
CLV_API clv_node clv_widen(clv_graph *g, clv_node x);
/* uint8 [N,M]: 1 where a_i and b_j are different ids; a negative a_i differs from all. Not differentiable. */
CLV_API clv_node clv_ids_differ(clv_graph *g, clv_node a /*i64 [N]*/, clv_node b /*i64 [M]*/);

/* ---- gradients, finishing, running ---- */

/* Appends the backward pass of a scalar. Gradients of all trainable parameters it reaches go to the set's gradient
 * arena (the others are zeroed) at every run. At most once. */
CLV_API clv_status clv_graph_backward(clv_graph *g, clv_node loss) CLV_NODISCARD;
/* After clv_graph_backward: the gradient of the loss with respect to a float input or any other value; CLV_NONE when the
 * loss does not depend on it. */
CLV_API clv_node clv_graph_gradient(clv_graph *g, clv_node x);
/* Keeps a value so that it can be read after a run. Call before finish; for what goes into a relu, before backward: it may
 * be fused away then. */
CLV_API void clv_graph_output(clv_graph *g, clv_node x);

/* Fuses, chooses kernels and layouts, plans memory. Once. Errors: the first one of building; CLV_ERR_UNSUPPORTED, naming
 * the operation, if no kernel does it; CLV_ERR_INVALID (finished already), CLV_ERR_NOMEM. */
CLV_API clv_status clv_graph_finish(clv_graph *g) CLV_NODISCARD;

/* Where an input's data is: host memory, the input's shape and type, dense (images: N,H,W,C). The pointer is kept until
 * it is bound anew. */
CLV_API clv_status clv_graph_bind(clv_graph *g, clv_node input, const clv_view *view) CLV_NODISCARD;
CLV_API clv_status clv_graph_run(clv_graph *g) CLV_NODISCARD;
/* From now on each run of every graph of `ctx` looks at the result of each operation and ends at the first that has a NaN:
 * CLV_ERR_NUMERIC, with the operation's name and what of its operands is not finite. Slow: on a device each result is
 * copied to the host. Not while a graph of the context runs in another thread. */
CLV_API clv_status clv_context_detect_anomaly(clv_context *ctx, bool on) CLV_NODISCARD;
/* A dense view of an output, valid until the next run. (4-d values kept in another layout are converted when kept.) */
CLV_API clv_status clv_graph_read(clv_graph *g, clv_node output, clv_view *view) CLV_NODISCARD;

typedef struct clv_graph_memory {
    size_t parameters, gradients, activations;             /* bytes; activations: the planned arena, scratch included */
    size_t scratch;                                        /* the most one operation needs beside its results */
    size_t unplanned;                                      /* what the activations would take without sharing */
} clv_graph_memory_t;
/* After finish; nothing has been allocated for running until the first clv_graph_run. */
CLV_API clv_status clv_graph_memory(const clv_graph *g, clv_graph_memory_t *out) CLV_NODISCARD;

/* The plan as text, a line an operation: kernel, shapes, layouts, place in the arena, FLOPs. */
CLV_API clv_status clv_graph_print(const clv_graph *g, void (*line)(const char *text, void *user), void *user) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
