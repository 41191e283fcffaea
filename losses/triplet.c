/* triplet.c: triplet loss: an anchor is nearer to its positive than to its negative, by a margin.
 *
 * explicit:        mean_i max(0, d(a,p) - d(a,n) + margin), d(u,v) = |u - v + dist_eps|; with `swap` the nearer of
 *                  d(a,n) and d(p,n). Schroff et al. 2015, arXiv:1503.03832; swap: Balntas et al. 2016, BMVC.
 * batch_hard:      of each row the farthest positive and the nearest negative in the batch, mean over the rows that
 *                  have both. Hermans et al. 2017, arXiv:1703.07737, eq. 5.
 * batch_hard_soft: softplus(d+ - d-) in place of the hinge.
 * batch_all:       all triplets of the batch, averaged over those above 0. Hermans et al. 2017, eq. 6 and section 2. */
#include "losses/loss.h"

typedef struct triplet_params {
    int    variant;
    double margin;
    bool   swap, squared;
    double dist_eps;
} triplet_params;

static const clvi_option triplet_options[] = {
    CLVI_OPTION_CHOICE(triplet_params, variant, "variant", "explicit", "explicit|batch_hard|batch_hard_soft|batch_all",
                       "where the triplets come from"),
    CLVI_OPTION_F64(triplet_params, margin, "margin", "0.2", 0, 1e6,
                    "how much nearer the positive must be (not for batch_hard_soft)", "alpha"),
    CLVI_OPTION_BOOL(triplet_params, swap, "swap", "false",
                     "explicit: take the nearer of anchor and positive to the negative"),
    CLVI_OPTION_BOOL(triplet_params, squared, "squared", "false", "batch_*: squared distances"),
    CLVI_OPTION_F64(triplet_params, dist_eps, "dist-eps", "1e-6", 0, 1, "explicit: added to each component of u - v",
                    NULL),
    CLVI_OPTION_END
};

static clv_node distance(clv_graph *g, clv_node u, clv_node v, double eps)
{
    const clv_node gap = clv_scale(g, clv_sub(g, u, v), 1, eps);
    return clv_sqrt(g, clv_row_dot(g, gap, gap));
}

static clv_node explicit_triplets(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const triplet_params *p = params;
    out[1] = distance(g, in[0], in[1], p->dist_eps);
    out[2] = distance(g, in[0], in[2], p->dist_eps);
    if (p->swap)   /* min(a, b) = a - max(0, a - b) */
        out[2] = clv_sub(g, out[2], clv_relu(g, clv_sub(g, out[2], distance(g, in[1], in[2], p->dist_eps))));
    out[0] = clv_relu(g, clv_scale(g, clv_sub(g, out[1], out[2]), 1, p->margin));
    return clv_reduce(g, out[0], -1, true);
}


static clv_node hardest(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const triplet_params *p = params;
    const bool soft = p->variant == 2;
    const int64_t B = clvi_node_length(g, in[0], 0), row[] = { 1, B };
    const clv_node d = clv_pair_dist(g, in[0]);         /* squares have the same order: roots are for the pairs taken */
    clv_hardest_pairs(g, d, in[1], &out[2], &out[3], &out[1]);
    const clv_node far = clv_pick(g, d, out[2]), near = clv_pick(g, d, out[3]);
    const clv_node gap = p->squared ? clv_sub(g, far, near) : clv_sub(g, clv_sqrt(g, far), clv_sqrt(g, near));
    const clv_node each = soft ? clv_softplus(g, gap) : clv_relu(g, clv_scale(g, gap, 1, p->margin));
    out[0] = clv_reshape(g, clv_mask(g, clv_reshape(g, each, 2, row), out[1]), 1, &B);
    const clv_node valid = clv_mask(g, clvi_fill(g, 2, row, 1), out[1]);
    return clv_div(g, clv_reduce(g, out[0], -1, false), clv_reduce(g, valid, -1, false));
}

static clv_node all_triplets(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const triplet_params *p = params;
    const clv_node squares = clv_pair_dist(g, in[0]), d = p->squared ? squares : clv_sqrt(g, squares);
    const clv_node sum = clv_triplet_sum(g, d, in[1], p->margin, &out[0], &out[1]);
    return clv_div(g, sum, clv_scale(g, out[0], 1, 1e-16));
}

#define BATCH_IN                                                                                                       \
    { { "features", "B,D", CLVI_PORT_GRAD, "embeddings" },                                                             \
      { "labels", "B", CLVI_PORT_INDEX, "class of each row; negative: the row is left out" } }
#define HARD_OUT                                                                                                       \
    { { "per_row", "B", CLVI_PORT_FLOAT, "loss of each anchor; 0 when it is not valid" },                              \
      { "valid", "B", CLVI_PORT_MASK, "1: the anchor has a positive and a negative" },                                 \
      { "hardest_pos", "B", CLVI_PORT_INDEX, "its farthest positive, -1 when it is not valid" },                       \
      { "hardest_neg", "B", CLVI_PORT_INDEX, "its nearest negative, -1 when it is not valid" } }

static const clvi_loss_variant triplet_variants[] = {
    { "explicit",
      .in  = { { "anchor", "B,D", CLVI_PORT_GRAD, "anchors" },
               { "positive", "B,D", CLVI_PORT_GRAD, "the positive of each anchor" },
               { "negative", "B,D", CLVI_PORT_GRAD, "the negative of each anchor" } },
      .out = { { "per_row", "B", CLVI_PORT_FLOAT, "loss of each triplet" },
               { "d_ap", "B", CLVI_PORT_FLOAT, "distance of anchor and positive" },
               { "d_an", "B", CLVI_PORT_FLOAT, "distance to the negative, after the swap" } },
      .build = explicit_triplets },
    { "batch_hard", .in = BATCH_IN, .out = HARD_OUT, .build = hardest },
    { "batch_hard_soft", .in = BATCH_IN, .out = HARD_OUT, .build = hardest },
    { "batch_all", .in = BATCH_IN,
      .out = { { "n_active", "", CLVI_PORT_FLOAT, "number of triplets above 0" },
               { "n_valid", "", CLVI_PORT_FLOAT, "number of triplets" } },
      .build = all_triplets },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_triplet = {
    .name = "triplet",
    .summary = "the positive is nearer than the negative, by a margin",
    .source = "Schroff et al. 2015, arXiv:1503.03832; batch_*: Hermans et al. 2017, arXiv:1703.07737, eq. 5 and 6",
    .formula =
        "* explicit: d(u,v) = |u - v + dist-eps| (added to each component); with swap d_an = min(d(a,n), d(p,n));\n"
        "  L = mean max(0, d_ap - d_an + margin).\n"
        "* batch_hard: distances between rows, squared if squared. Each row with at least one positive (same "
        "label, another row)\n"
        "  and one negative takes its farthest positive and its nearest negative, the lower index of equals;\n"
        "  L = mean over these rows of max(0, d+ - d- + margin).\n"
        "* batch_hard_soft: softplus(d+ - d-) instead, without a margin.\n"
        "* batch_all: over all (a,p,n), the sum of max(0, d_ap - d_an + margin) divided by (the number of those "
        "above 0 + 1e-16).",
    .published =
        "explicit: margin 0.2, squared distances of unit rows (Schroff et al.)",
    .params_size = sizeof(triplet_params), .options = triplet_options, .variants = triplet_variants,
};
