/* circle.c: circle loss: similarities are pulled towards their optimum the harder the farther they are from it. Sun et
 * al. 2020, arXiv:2002.10857, eq. 6 (pairwise, classwise) with the margins of eq. 8: O_p = 1 + m, O_n = -m,
 * Delta_p = 1 - m, Delta_n = m.
 *
 * pairwise:  L = log(1 + sum_n e^{gamma a_n (s_n - m)} sum_p e^{-gamma a_p (s_p - 1 + m)}) over the pairs with
 *            different labels (n) and with the same (p),   a_p = sg(max(0, 1 + m - s_p)), a_n = sg(max(0, s_n + m))
 * classwise: L = mean_i CE(l_i, y_i) with l = gamma a (s - Delta) for the cosines of rows with classes */
#include "losses/loss.h"

typedef struct circle_params {
    int    variant, pairs;
    double m, gamma;
    bool   normalize;
    double norm_eps;
} circle_params;

static const clvi_option circle_options[] = {
    CLVI_OPTION_CHOICE(circle_params, variant, "variant", "pairwise", "pairwise|classwise",
                       "similarities of the rows with each other, or with classes"),
    CLVI_OPTION_F64(circle_params, m, "m", "0.25", 0, 2, "how far from the optimum is good enough", "m"),
    CLVI_OPTION_F64(circle_params, gamma, "gamma", "256", 1e-4, 1e6, "scale", "gamma"),
    CLVI_OPTION_CHOICE(circle_params, pairs, "pairs", "upper", "upper|ordered",
                       "pairwise: each pair once, or both ways"),
    CLVI_OPTION_BOOL(circle_params, normalize, "normalize", "true", "pairwise: scale rows to unit length first"),
    CLVI_OPTION_F64(circle_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1, "rows are divided by max(norm, this)",
                    NULL),
    CLVI_OPTION_END
};

/* gamma a_p (s - 1 + m) with a_p = sg(max(0, 1 + m - s)). */
static clv_node positive_logits(clv_graph *g, clv_node s, const circle_params *p)
{
    const clv_node pace = clv_stop_gradient(g, clv_relu(g, clv_scale(g, s, -1, 1 + p->m)));
    return clv_mul(g, pace, clv_scale(g, s, p->gamma, p->gamma * (p->m - 1)));
}

/* gamma a_n (s - m) with a_n = sg(max(0, s + m)). */
static clv_node negative_logits(clv_graph *g, clv_node s, const circle_params *p)
{
    const clv_node pace = clv_stop_gradient(g, clv_relu(g, clv_scale(g, s, 1, p->m)));
    return clv_mul(g, pace, clv_scale(g, s, p->gamma, -p->gamma * p->m));
}

/* LSE over the marked entries: rows first, then over them; how many there are goes to *count. */
static clv_node over_pairs(clv_graph *g, clv_node logits, clv_node mask, clv_node *count)
{
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    (void)clv_node_shape(g, logits, shape);
    *count = clv_reduce(g, clv_mask(g, clvi_fill(g, 2, shape, 1), mask), -1, false);
    const clv_node rows = clv_log_sum_exp_rows(g, logits, mask);
    return clv_log_sum_exp_rows(g, clv_reshape(g, rows, 2, (int64_t[]) { 1, shape[0] }), CLV_NONE);
}

static clv_node pairwise(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const circle_params *p = params;
    const bool upper = p->pairs == 0;
    const clv_node f = clvi_unit_rows(g, in[0], p->normalize, p->norm_eps);
    const clv_node s = clv_gram(g, f, false);
    const clv_node same = clv_label_pairs(g, in[1], true, upper), other = clv_label_pairs(g, in[1], false, upper);
    const clv_node positives = over_pairs(g, clv_scale(g, positive_logits(g, s, p), -1, 0), same, &out[0]);
    const clv_node negatives = over_pairs(g, negative_logits(g, s, p), other, &out[1]);
    return clvi_scalar(g, clv_softplus(g, clv_add(g, positives, negatives)));
}

static clv_node classwise(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const circle_params *p = params;
    const clv_node target = positive_logits(g, clv_pick(g, in[0], in[1]), p);
    out[0] = clv_put(g, negative_logits(g, in[0], p), in[1], target);
    out[1] = clv_softmax_xent(g, out[0], in[1], CLV_NONE);
    return clvi_labelled_mean(g, out[1], in[1], clvi_node_length(g, in[0], 1));
}

static const clvi_loss_variant circle_variants[] = {
    { "pairwise",
      .in  = { { "features", "B,D", CLVI_PORT_GRAD, "embeddings" },
               { "labels", "B", CLVI_PORT_INDEX, "class of each row; negative: the row is in no pair" } },
      .out = { { "n_pos", "", CLVI_PORT_FLOAT, "number of pairs with the same label" },
               { "n_neg", "", CLVI_PORT_FLOAT, "number of pairs with different labels" } },
      .build = pairwise },
    { "classwise",
      .in  = { { "cosine", "B,C", CLVI_PORT_GRAD, "similarity of each row with each class" },
               { "labels", "B", CLVI_PORT_INDEX, "class of each row; negative: the row is left out" } },
      .out = { { "logits", "B,C", CLVI_PORT_FLOAT, "gamma a (s - Delta)" },
               { "per_row", "B", CLVI_PORT_FLOAT, "loss of each row; 0 when it is left out" } },
      .build = classwise },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_circle = {
    .name = "circle",
    .summary = "similarities weighted by their distance from the optimum",
    .source = "Sun et al. 2020, arXiv:2002.10857, eq. 6 and 8",
    .formula =
        "sg: constant, no gradient.\n"
        "* pairwise: s_ij = <f_i,f_j> with f = n(features) if normalize, over pairs i < j (upper) or all i != j "
        "(ordered);\n"
        "  a_p = sg(max(0, 1 + m - s_p)) for pairs with the same label, a_n = sg(max(0, s_n + m)) for those with "
        "different ones;\n"
        "  L = softplus( LSE_n(gamma a_n (s_n - m)) + LSE_p(-gamma a_p (s_p - 1 + m)) ).\n"
        "* classwise: l_ic = gamma a_ic (cosine_ic - Delta_ic); for the target a = sg(max(0, 1 + m - cosine)), "
        "Delta = 1 - m; for\n"
        "  the others a = sg(max(0, cosine + m)), Delta = m; L = mean_i CE(l_i, labels_i) over the rows with a "
        "label >= 0.",
    .published =
        "* faces: gamma 256, m 0.25\n"
        "* persons: gamma 128, m 0.25\n"
        "* fine-grained retrieval: gamma 80, m 0.4, batches of 16 classes with 5 images each",
    .params_size = sizeof(circle_params), .options = circle_options, .variants = circle_variants,
};
