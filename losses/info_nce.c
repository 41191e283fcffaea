/* info_nce.c: InfoNCE: pick the positive out of the candidates.
 *
 *   L = mean_b ( LSE_j l_bj - l_b,positive ),   l = <q, k> / t,   LSE_j l_j = log sum_j exp(l_j)
 *
 * in_batch: the other keys of the batch are the negatives. van den Oord et al. 2018, arXiv:1807.03748, eq. 4.
 * moco_v3:  two views, keys of all ranks, constant keys, and 2t before the mean. Chen et al. 2021, arXiv:2104.02057,
 *           algorithm 1.
 * explicit: every query brings its own negatives, some of which may be masked. */
#include "losses/loss.h"

typedef struct info_nce_params {
    int     variant;
    double  temperature;
    bool    normalize, symmetric;
    double  norm_eps;
    int64_t rank;
} info_nce_params;

static const clvi_option info_nce_options[] = {
    CLVI_OPTION_CHOICE(info_nce_params, variant, "variant", "in_batch", "in_batch|moco_v3|explicit",
                       "where the negatives come from"),
    CLVI_OPTION_F64(info_nce_params, temperature, "temperature", "0.07", 1e-4, 1e4, "divides the similarities", "t"),
    CLVI_OPTION_BOOL(info_nce_params, normalize, "normalize", "true",
                     "scale rows to unit length first (moco_v3 always does)"),
    CLVI_OPTION_F64(info_nce_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1, "rows are divided by max(norm, this)",
                    NULL),
    CLVI_OPTION_BOOL(info_nce_params, symmetric, "symmetric", "false",
                     "in_batch: average with the loss of keys choosing queries"),
    CLVI_OPTION_I64(info_nce_params, rank, "rank", "0", 0, 1048576, "moco_v3: which N of the M keys are this rank's",
                    NULL),
    CLVI_OPTION_END
};

static clv_node similarities(clv_graph *g, clv_node a, clv_node b, double t)
{
    return clv_scale(g, clv_matmul(g, a, false, b, true), 1 / t, 0);
}

static clv_node in_batch(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const info_nce_params *p = params;
    const clv_node q = clvi_unit_rows(g, in[0], p->normalize, p->norm_eps);
    const clv_node k = clvi_unit_rows(g, in[1], p->normalize, p->norm_eps);
    const clv_node own = clv_iota(g, CLV_I64, clvi_node_length(g, q, 0), 0, 1);
    const clv_node logits = similarities(g, q, k, p->temperature);
    const clv_node per_row = clv_softmax_xent(g, logits, own, CLV_NONE);
    out[0] = logits;
    out[1] = per_row;
    const clv_node loss = clv_reduce(g, per_row, -1, true);
    if (!p->symmetric) return loss;
    const clv_node per_column = clv_softmax_xent(g, similarities(g, k, q, p->temperature), own, CLV_NONE);
    return clv_scale(g, clv_add(g, loss, clv_reduce(g, per_column, -1, true)), 0.5, 0);
}

static clv_node moco_v3(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const info_nce_params *p = params;
    const clv_node q1 = clv_l2norm_rows(g, in[0], p->norm_eps), q2 = clv_l2norm_rows(g, in[1], p->norm_eps);
    const clv_node k1 = clv_stop_gradient(g, clv_l2norm_rows(g, in[2], p->norm_eps));
    const clv_node k2 = clv_stop_gradient(g, clv_l2norm_rows(g, in[3], p->norm_eps));
    const int64_t N = clvi_node_length(g, q1, 0), M = clvi_node_length(g, k1, 0);
    if (M / (p->rank + 1) < N)
        clvi_graph_fail(g, CLV_ERR_SHAPE, "info_nce: rank %" PRId64 " of batches of %" PRId64 " needs at least %" PRId64
                        " keys, got %" PRId64, p->rank, N, N * (p->rank + 1), M);
    const clv_node own = clv_iota(g, CLV_I64, N, N * p->rank, 1);
    out[0] = similarities(g, q1, k2, p->temperature);
    out[1] = similarities(g, q2, k1, p->temperature);
    const clv_node a = clv_reduce(g, clv_softmax_xent(g, out[0], own, CLV_NONE), -1, true);
    const clv_node b = clv_reduce(g, clv_softmax_xent(g, out[1], own, CLV_NONE), -1, true);
    return clv_scale(g, clv_add(g, a, b), 2 * p->temperature, 0);
}

static clv_node explicit_negatives(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const info_nce_params *p = params;
    const int64_t B = clvi_node_length(g, in[2], 0), M = clvi_node_length(g, in[2], 1);
    const int64_t D = clvi_node_length(g, in[2], 2);
    const clv_node q = clvi_unit_rows(g, in[0], p->normalize, p->norm_eps);
    const clv_node k = clvi_unit_rows(g, in[1], p->normalize, p->norm_eps);
    const clv_node flat = clv_reshape(g, in[2], 2, (int64_t[]) { B * M, D });
    const clv_node n = clv_reshape(g, clvi_unit_rows(g, flat, p->normalize, p->norm_eps), 3, (int64_t[]) { B, M, D });

    const clv_node positive = clv_reshape(g, clv_row_dot(g, q, k), 2, (int64_t[]) { B, 1 });
    clv_node logits = clv_concat(g, (clv_node[]) { positive, clv_batched_row_dot(g, q, n) }, 2, 1);
    logits = clv_scale(g, logits, 1 / p->temperature, 0);
    clv_node mask = in[3];
    if (!clvi_node_none(mask)) {
        const clv_node one = clv_reshape(g, clv_iota(g, CLV_U8, B, 1, 0), 2, (int64_t[]) { B, 1 });
        mask = clv_concat(g, (clv_node[]) { one, mask }, 2, 1);
    }
    out[0] = !clvi_node_none(mask) ? clv_mask(g, logits, mask) : logits;
    out[1] = clv_softmax_xent(g, logits, clv_iota(g, CLV_I64, B, 0, 0), mask);
    return clv_reduce(g, out[1], -1, true);
}

static const clvi_loss_variant info_nce_variants[] = {
    { "in_batch",
      .in  = { { "query", "B,D", CLVI_PORT_GRAD, "one view of each sample" },
               { "key", "B,D", CLVI_PORT_GRAD, "the other view; row i is the positive of query i" } },
      .out = { { "logits", "B,B", CLVI_PORT_FLOAT, "<q_i,k_j>/t" },
               { "per_row", "B", CLVI_PORT_FLOAT, "loss of each query (the row part if symmetric)" } },
      .build = in_batch },
    { "moco_v3",
      .in  = { { "q1", "N,D", CLVI_PORT_GRAD, "predictions of view 1" },
               { "q2", "N,D", CLVI_PORT_GRAD, "predictions of view 2" },
               { "k1", "M,D", CLVI_PORT_FLOAT, "momentum keys of view 1 of all ranks, rank after rank" },
               { "k2", "M,D", CLVI_PORT_FLOAT, "momentum keys of view 2 of all ranks" } },
      .out = { { "logits_q1k2", "N,M", CLVI_PORT_FLOAT, "<q1_i,k2_j>/t" },
               { "logits_q2k1", "N,M", CLVI_PORT_FLOAT, "<q2_i,k1_j>/t" } },
      .build = moco_v3 },
    { "explicit",
      .in  = { { "query", "B,D", CLVI_PORT_GRAD, "queries" },
               { "positive", "B,D", CLVI_PORT_GRAD, "the positive of each query" },
               { "negatives", "B,M,D", CLVI_PORT_GRAD, "the negatives of each query" },
               { "negative_mask", "B,M", CLVI_PORT_MASK | CLVI_PORT_OPTIONAL, "1: counts; 0: left out" } },
      .out = { { "logits", "B,1+M", CLVI_PORT_FLOAT, "[positive, negatives]/t, 0 where left out" },
               { "per_row", "B", CLVI_PORT_FLOAT, "loss of each query; 0 when all its negatives are left out" } },
      .build = explicit_negatives },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_info_nce = {
    .name = "info_nce",
    .summary = "cross entropy of picking the positive among candidates",
    .source = "van den Oord et al. 2018, arXiv:1807.03748, eq. 4; moco_v3: arXiv:2104.02057, algorithm 1",
    .formula =
        "With n(x) = x / max(|x|, norm-eps), q = n(query) and k = n(key) if normalize, and t the temperature:\n"
        "* in_batch: l_ij = <q_i, k_j>/t and L = mean_i ( LSE_j l_ij - l_ii ). If symmetric, L is the mean of this "
        "and the\n"
        "  same with queries and keys exchanged.\n"
        "* moco_v3: all rows normalised, k1 and k2 constant, y_i = i + N rank:\n"
        "  L = 2t [ mean_i CE(<q1_i, k2_.>/t, y_i) + mean_i CE(<q2_i, k1_.>/t, y_i) ].\n"
        "* explicit: L = mean_b ( LSE(positive, unmasked negatives of b) - positive ), similarities divided by t.\n"
        "LSE is the logarithm of the sum of exponentials, evaluated with the largest entry subtracted; CE(l, y) = "
        "LSE_c l_c -\n"
        "l_y.",
    .published =
        "moco_v3: temperature 1 for ResNet-50, 0.2 for ViT; batch 4096, key encoder momentum 0.99 rising to 1",
    .params_size = sizeof(info_nce_params), .options = info_nce_options, .variants = info_nce_variants,
};
