/* feature_transform.c: InfoNCE against a bank after moving the features: the positive pair apart, the negatives among
 * each other. Zhu et al. 2021, arXiv:2108.02982.
 *
 *   q^ = L q + (1-L) k,   k^ = L k + (1-L) q,   n^_j = M_j n_j + (1-M_j) n_perm(j)
 *   L  = mean_b ( LSE([<q^_b,k^_b>, <q^_b,n^_j>]/t) - <q^_b,k^_b>/t )
 *
 * k and the queue are constants; k^ holds q, so the gradient reaches q through both ends of the positive pair. L > 1
 * moves the pair apart: a harder positive. */
#include "losses/loss.h"
#include "tensor/bank.h"

enum { TARGET_NONE, TARGET_POS, TARGET_NEG, TARGET_POSNEG };      /* bit 0: the pair, bit 1: the negatives */
enum { RENORM_NONE, RENORM_POS, RENORM_NEG, RENORM_BOTH };
enum { LEVEL_BATCH, LEVEL_SAMPLE, LEVEL_DIM };

typedef struct feature_transform_params {
    double  temperature;
    bool    normalize;
    double  norm_eps;
    int     target, renorm, level;
    double  alpha_pos, alpha_neg;
    bool    extrapolate;
    double  epoch, warmup_epochs;
    int64_t seed, step;
} feature_transform_params;

static const clvi_option feature_transform_options[] = {
    CLVI_OPTION_F64(feature_transform_params, temperature, "temperature", "0.2", 1e-4, 1e4, "divides the similarities",
                    "t"),
    CLVI_OPTION_BOOL(feature_transform_params, normalize, "normalize", "true",
                     "scale q and k rows to unit length first; queue rows are used as they are"),
    CLVI_OPTION_F64(feature_transform_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1,
                    "rows are divided by max(norm, this)", NULL),
    CLVI_OPTION_CHOICE(feature_transform_params, target, "target", "posneg", "none|pos|neg|posneg", "what is moved"),
    CLVI_OPTION_CHOICE(feature_transform_params, renorm, "renorm", "none", "none|pos|neg|both",
                       "what is scaled to unit length after it is moved"),
    CLVI_OPTION_CHOICE(feature_transform_params, level, "level", "batch", "batch|sample|dim",
                       "drawn: one number, one for each row, or one for each element"),
    CLVI_OPTION_F64(feature_transform_params, alpha_pos, "alpha-pos", "2", 1e-3, 1e6,
                    "the pair's numbers follow Beta(this,this) when none are given", NULL),
    CLVI_OPTION_F64(feature_transform_params, alpha_neg, "alpha-neg", "1.6", 1e-3, 1e6,
                    "the negatives' numbers follow Beta(this,this) when none are given", NULL),
    CLVI_OPTION_BOOL(feature_transform_params, extrapolate, "extrapolate", "true",
                     "add 1 to the pair's numbers that are drawn"),
    CLVI_OPTION_F64(feature_transform_params, epoch, "epoch", "0", 0, 1e9, "the current epoch", NULL),
    CLVI_OPTION_F64(feature_transform_params, warmup_epochs, "warmup-epochs", "0", 0, 1e9,
                    "nothing is moved before this epoch", NULL),
    CLVI_OPTION_I64(feature_transform_params, seed, "seed", "0", 0, 9007199254740992, "seed of the draws", NULL),
    CLVI_OPTION_I64(feature_transform_params, step, "step", "0", -1, 9007199254740992,
                    "number of the optimiser step, for the draws; -1: nothing is moved by what is drawn", NULL),
    CLVI_OPTION_END
};

enum { Q, K, QUEUE, LAMBDA_POS, LAMBDA_NEG, PERM, VALID, STEP };
enum { LOGITS, PER_ROW, Q_HAT, K_HAT, QUEUE_HAT, SCORE_POS, SCORE_NEG_MEAN, SCORE_NEG_VAR, EXP_NEG_MEAN, EXP_POS,
       DL_DSCORE_POS, DL_DSCORE_NEG_SUM };

/* Streams of draws. */
enum { DRAW_POS, DRAW_NEG, DRAW_PERM };

static clvi_draw draw_of(const feature_transform_params *p, const clv_node *in, uint32_t stream)
{
    return (clvi_draw) { (uint64_t)p->seed, p->step, in[STEP], stream };
}

/* Whether what a bit of `target` stands for is moved. */
static bool moves(const feature_transform_params *p, int target)
{
    return p->epoch >= p->warmup_epochs && p->target & target;
}

static clv_node draw_lambda(clv_graph *g, const feature_transform_params *p, const clv_node *in, clv_node x,
                            double alpha, double offset, uint32_t stream)
{
    const clvi_draw draw = draw_of(p, in, stream);
    return clvi_beta_draw(g, p->level == LEVEL_BATCH ? 1 : clvi_node_length(g, x, 0),
                          p->level == LEVEL_DIM ? clvi_node_length(g, x, 1) : 1, alpha, offset, clv_node_dtype(g, x),
                          &draw);
}

static void move_pair(clv_graph *g, const feature_transform_params *p, const clv_node *in, clv_node *q, clv_node *k)
{
    if (!moves(p, TARGET_POS)) return;
    const clv_node lambda = !clvi_node_none(in[LAMBDA_POS]) ? clv_stop_gradient(g, in[LAMBDA_POS])
                            : draw_lambda(g, p, in, *q, p->alpha_pos, p->extrapolate, DRAW_POS);
    const clv_node q_hat = clvi_lerp(g, *q, *k, lambda, CLV_NONE);
    *k = clvi_lerp(g, *k, *q, lambda, CLV_NONE);
    *q = q_hat;
}

/* How the negatives are moved while they are read. */
static clvi_bank_move move_of(clv_graph *g, const feature_transform_params *p, const clv_node *in)
{
    const int64_t rows = clvi_node_length(g, in[QUEUE], 0), dim = clvi_node_length(g, in[QUEUE], 1);
    const clvi_draw lambda = draw_of(p, in, DRAW_NEG), index = draw_of(p, in, DRAW_PERM);
    const bool batch = p->level == LEVEL_BATCH;
    clvi_bank_move move = {
        .mix = moves(p, TARGET_NEG), .unit = p->renorm & RENORM_NEG, .eps = p->norm_eps, .lambda = in[LAMBDA_NEG],
        .index = in[PERM], .step = in[STEP], .index_draw = clvi_permutation_attr(rows, &index),
        .lambda_draw = clvi_beta_draw_attr(batch ? 1 : rows, p->level == LEVEL_DIM ? dim : 1, p->alpha_neg, 0,
                                           clv_node_dtype(g, in[QUEUE]), &lambda),
    };
    if (!clvi_node_none(move.lambda)) move.lambda = clv_stop_gradient(g, move.lambda);
    else if (batch) move.lambda = draw_lambda(g, p, in, in[QUEUE], p->alpha_neg, 0, DRAW_NEG);
    return move;
}

/* The moved queue itself, for looking at. */
static clv_node moved_queue(clv_graph *g, const feature_transform_params *p, const clv_node *in,
                            const clvi_bank_move *move)
{
    clv_node queue = clv_stop_gradient(g, in[QUEUE]);
    if (move->mix) {
        const clvi_draw draw = draw_of(p, in, DRAW_PERM);
        const clv_node lambda = !clvi_node_none(move->lambda) ? move->lambda
                                : draw_lambda(g, p, in, queue, p->alpha_neg, 0, DRAW_NEG);
        const clv_node perm = !clvi_node_none(move->index) ? move->index
                              : clvi_permutation(g, clvi_node_length(g, queue, 0), &draw);
        queue = clvi_lerp(g, queue, queue, lambda, perm);
    }
    return clvi_unit_rows(g, queue, move->unit, p->norm_eps);
}

static clv_node feature_transform(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const feature_transform_params *p = params;
    clv_node q = clvi_unit_rows(g, in[Q], p->normalize, p->norm_eps);
    clv_node k = clv_stop_gradient(g, clvi_unit_rows(g, in[K], p->normalize, p->norm_eps));
    move_pair(g, p, in, &q, &k);
    q = clvi_unit_rows(g, q, p->renorm & RENORM_POS, p->norm_eps);
    k = clvi_unit_rows(g, k, p->renorm & RENORM_POS, p->norm_eps);
    clv_bank_nce_desc nce = CLV_BANK_NCE_DESC_INIT;
    nce.query = q, nce.key = k, nce.bank = clv_stop_gradient(g, in[QUEUE]), nce.valid = in[VALID];
    nce.temperature = p->temperature;
    const clvi_bank_move move = move_of(g, p, in);
    const clvi_bank_nce_out loss = clvi_bank_nce(g, &nce, &move, 0);
    out[PER_ROW] = loss.per_row;

    const clv_node bank = moved_queue(g, p, in, &move);
    const double t = p->temperature;
    const int64_t column[2] = { clvi_node_length(g, q, 0), 1 };
    const clv_node positive = clv_reshape(g, clv_row_dot(g, q, k), 2, column);
    clv_node negative = clv_matmul(g, q, false, bank, true);
    if (!clvi_node_none(in[VALID])) negative = clv_mask(g, negative, in[VALID]);
    out[LOGITS] = clv_scale(g, clv_concat(g, (clv_node[]) { positive, negative }, 2, 1), 1 / t, 0);
    out[Q_HAT] = q;
    out[K_HAT] = k;
    out[QUEUE_HAT] = bank;
    clvi_row_stats(g, positive, 1 / t, &out[SCORE_POS], NULL, &out[EXP_POS]);
    clvi_row_stats(g, negative, 1 / t, &out[SCORE_NEG_MEAN], &out[SCORE_NEG_VAR], &out[EXP_NEG_MEAN]);
    out[DL_DSCORE_POS] = clv_scale(g, loss.prob_neg, -1 / t, 0);
    out[DL_DSCORE_NEG_SUM] = clv_scale(g, loss.prob_neg, 1 / t, 0);
    return clv_reduce(g, loss.per_row, -1, true);
}

static const clvi_loss_variant feature_transform_variants[] = {
    { .in  = { { "q", "B,D", CLVI_PORT_GRAD, "features of the query encoder" },
               { "k", "B,D", CLVI_PORT_FLOAT, "features of the key encoder; row i is the positive of query i" },
               { "queue", "K,D", CLVI_PORT_FLOAT, "keys of earlier batches" },
               { "lambda_pos", "E,F", CLVI_PORT_FLOAT | CLVI_PORT_OPTIONAL,
                 "L, with the 1 of extrapolation in it; E is 1 or B, F is 1 or D" },
               { "lambda_neg", "G,H", CLVI_PORT_FLOAT | CLVI_PORT_OPTIONAL, "M; G is 1 or K, H is 1 or D" },
               { "perm", "K", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL,
                 "row mixed into each queue row; where there is no such row, the queue row stays as it is" },
               { "queue_valid", "K", CLVI_PORT_MASK | CLVI_PORT_OPTIONAL, "1: the row counts; 0: left out" },
               { "step", "1", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL, "replaces the option of that name" } },
      .out = { { "logits", "B,1+K", CLVI_PORT_FLOAT, "[positive, queue]/t after moving, 0 where left out" },
               { "per_row", "B", CLVI_PORT_FLOAT, "loss of each query" },
               { "q_hat", "B,D", CLVI_PORT_FLOAT, "the moved queries" },
               { "k_hat", "B,D", CLVI_PORT_FLOAT, "the moved keys" },
               { "queue_hat", "K,D", CLVI_PORT_FLOAT, "the moved queue" },
               { "score_pos", "B", CLVI_PORT_FLOAT, "<q^,k^>" },
               { "score_neg_mean", "B", CLVI_PORT_FLOAT, "mean over the queue of <q^,n^_j>" },
               { "score_neg_var", "B", CLVI_PORT_FLOAT, "its variance, divisor K-1" },
               { "exp_neg_mean", "B", CLVI_PORT_FLOAT, "mean over the queue of e^{<q^,n^_j>/t}" },
               { "exp_pos", "B", CLVI_PORT_FLOAT, "e^{<q^,k^>/t}, at most the largest number of the type" },
               { "dl_dscore_pos", "B", CLVI_PORT_FLOAT,
                 "slope of each query's loss in <q^,k^>: (p-1)/t, p the probability of the positive" },
               { "dl_dscore_neg_sum", "B", CLVI_PORT_FLOAT, "sum of its slopes in the <q^,n^_j>: (1-p)/t" } },
      .build = feature_transform },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_feature_transform = {
    .name = "feature_transform",
    .summary = "InfoNCE against a bank, the positive pair moved apart and negatives mixed",
    .source = "Zhu et al. 2021, arXiv:2108.02982",
    .formula =
        "With n(x) = x / max(|x|, norm-eps), q and k scaled by n if normalize, k and the queue constants, t the "
        "temperature:\n"
        "* if target has pos: q^ = L q + (1-L) k and k^ = L k + (1-L) q, both from the original q and k; else q^ = "
        "q, k^ = k;\n"
        "* if target has neg: n^_j = M_j queue_j + (1-M_j) queue_perm(j); else n^_j = queue_j;\n"
        "* renorm pos scales q^ and k^ to unit length, neg n^, both both;\n"
        "L = mean_b ( LSE([<q^_b,k^_b>, <q^_b,n^_j> for all j that count]/t) - <q^_b,k^_b>/t )\n"
        "The moved query also meets the negatives. k^ holds q, so the gradient reaches q through both. With L = 1 "
        "+ lambda and\n"
        "unit rows of similarity s the pair's similarity falls to <q^,k^> = s - 2 lambda (1 + lambda) (1 - s).\n"
        "L and M are inputs (L with the 1 of extrapolation in it), or drawn when not given: M from "
        "Beta(alpha-neg,alpha-neg), L\n"
        "from Beta(alpha-pos,alpha-pos), plus 1 if extrapolate; a permutation likewise. Draws are a pure function "
        "of (seed,\n"
        "step, row). While epoch < warmup-epochs nothing is moved, nor by what is drawn at a negative step: ones.",
    .published =
        "* target posneg, level batch, alpha-pos 2, alpha-neg 1.6, extrapolate, renorm none, from the first epoch on "
        "(the command\n"
        "  of the published code; level dim is its option dim_mask)\n"
        "* on MoCo v2: bank of 65536, learning rate 0.03, batch 256, key encoder momentum 0.999 (ImageNet-100: "
        "0.99)",
    .params_size = sizeof(feature_transform_params), .options = feature_transform_options,
    .variants = feature_transform_variants,
};
