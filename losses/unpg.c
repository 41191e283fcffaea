/* unpg.c: unified negative pair generation: a margin softmax whose every row also meets the similarities of all pairs
 * of the batch with different labels, outliers left out. Jung et al. 2022, arXiv:2203.11593.
 *
 *   c_ic = <n(x_i), n(w_c)>, the target's: cosface c - m; arcface cos(theta + m); magface cos(theta + m_i) where c > 0
 *   negatives = <n(x_i), n(x_j)> for i < j with different labels, within the box and whiskers of their quartiles
 *   loss_ce = mean_i CE(s [c_i | negatives], y_i),   loss = loss_ce, magface: + lambda_g loss_g
 *
 * The negatives are the same for each row, so they enter as one number, E = LSE(s negatives):
 *   -log(e^{l_iy} / (e^{LSE_i} + e^E)) = CE(l_i, y_i) + softplus(E - LSE_i).
 *
 * MagFace: Meng et al. 2021, arXiv:2103.06627: m_i grows with r_i = |x_i| clamped to [l_a, u_a], and
 *   loss_g = mean_i (r_i/u_a^2 + 1/r_i). */
#include "losses/loss.h"

enum { COSFACE, ARCFACE, MAGFACE };

typedef struct unpg_params {
    int    head, margin_mode;
    double s, m, wisk, l_a, u_a, l_margin, u_margin, lambda_g, norm_eps;
} unpg_params;

static const clvi_option unpg_options[] = {
    CLVI_OPTION_CHOICE(unpg_params, head, "head", "cosface", "cosface|arcface|magface", "margin of the target"),
    CLVI_OPTION_F64(unpg_params, s, "s", "64", 1e-4, 1e6, "multiplies the similarities", "s"),
    CLVI_OPTION_F64(unpg_params, m, "m", "0.5", 0, 3.1415926535897931, "cosface, arcface: the margin", "m"),
    CLVI_OPTION_CHOICE(unpg_params, margin_mode, "margin-mode", "plain", "plain|easy|fallback",
                       "arcface: which angles get the margin: all, those below 90 degrees, those below pi - m"),
    CLVI_OPTION_F64(unpg_params, wisk, "wisk", "1.5", 0, 1e6, "length of the whiskers in heights of the box", "w"),
    CLVI_OPTION_F64(unpg_params, l_a, "l-a", "10", 1e-6, 1e6, "magface: the least norm", "l_a"),
    CLVI_OPTION_F64(unpg_params, u_a, "u-a", "110", 1e-6, 1e6, "magface: the largest norm", "u_a"),
    CLVI_OPTION_F64(unpg_params, l_margin, "l-margin", "0.45", 0, 3.1415926535897931, "magface: margin at l-a", "l_m"),
    CLVI_OPTION_F64(unpg_params, u_margin, "u-margin", "0.8", 0, 3.1415926535897931, "magface: margin at u-a", "u_m"),
    CLVI_OPTION_F64(unpg_params, lambda_g, "lambda-g", "35", 0, 1e6, "magface: weight of the norm's own loss",
                    "lambda_g"),
    CLVI_OPTION_F64(unpg_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1, "rows are divided by max(norm, this)", NULL),
    CLVI_OPTION_END
};

/* |x_i| within [l_a, u_a]: the gradient reaches the norm there only. */
static clv_node clamped_norms(clv_graph *g, clv_node x, const unpg_params *p)
{
    return clv_clamp(g, clv_sqrt(g, clv_row_dot(g, x, x)), p->l_a, p->u_a);
}

static clv_node margins_of(clv_graph *g, clv_node norms, const unpg_params *p)
{
    const double slope = p->u_a > p->l_a ? (p->u_margin - p->l_margin) / (p->u_a - p->l_a) : 0;
    return clv_scale(g, norms, slope, p->l_margin - slope * p->l_a);
}

static clv_node norm_loss(clv_graph *g, clv_node norms, clv_node labels, int64_t classes, const unpg_params *p)
{
    const int64_t B = clvi_node_length(g, norms, 0);
    const clv_node inverse = clv_div(g, clvi_fill(g, 1, &B, 1), norms);
    const clv_node each = clv_add(g, clv_scale(g, norms, 1 / (p->u_a * p->u_a), 0), inverse);
    return clvi_labelled_mean(g, each, labels, classes);
}

/* LSE of s times the similarities of pairs that are no outliers, [1]. */
static clv_node shared_negatives(clv_graph *g, clv_node x, clv_node labels, const unpg_params *p, clv_node *out)
{
    clv_box box;
    const clv_node similarities = clv_gram(g, x, false);
    const clv_node other = clv_label_pairs(g, labels, false, true);
    out[0] = clv_box_filter(g, clv_stop_gradient(g, similarities), other, p->wisk, &box);
    out[1] = box.q1, out[2] = box.q3, out[3] = box.low, out[4] = box.high, out[5] = box.kept;
    const clv_node rows = clv_log_sum_exp_rows(g, clv_scale(g, similarities, p->s, 0), out[0]);
    return clv_log_sum_exp_rows(g, clv_reshape(g, rows, 2, (int64_t[]) { 1, clvi_node_length(g, x, 0) }), CLV_NONE);
}

/* softplus(E - lse_i) */
static clv_node cost_of_negatives(clv_graph *g, clv_node negatives, clv_node lse)
{
    const int64_t B = clvi_node_length(g, lse, 0);
    const clv_node row = clv_scale(g, clv_reshape(g, lse, 2, (int64_t[]) { 1, B }), -1, 0);
    return clv_reshape(g, clv_softplus(g, clv_add_column(g, row, negatives)), 1, &B);
}

static clv_node unpg(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    static const clv_margin_mode modes[] = { CLV_MARGIN_ARC, CLV_MARGIN_EASY, CLV_MARGIN_FALLBACK };
    const unpg_params *p = params;
    const int64_t classes = clvi_node_length(g, in[1], 0);
    const clv_node x = clv_l2norm_rows(g, in[0], p->norm_eps), labels = in[2];
    clv_target_margin_desc margin = { .scale = p->s, .margin = p->m, .margins = CLV_NONE };
    clv_node norms = CLV_NONE, lse;
    margin.mode = p->head == COSFACE ? CLV_MARGIN_COSINE : p->head == ARCFACE ? modes[p->margin_mode] : CLV_MARGIN_EASY;
    if (p->head == MAGFACE) {
        if (p->u_a < p->l_a) clvi_graph_fail(g, CLV_ERR_INVALID, "unpg: l-a is %g, above u-a, %g", p->l_a, p->u_a);
        norms = clamped_norms(g, in[0], p);
        margin.margins = margins_of(g, norms, p);
    }
    const clv_node logits = clv_target_margin(g, clvi_cosine_logits(g, x, in[1], p->s, p->norm_eps), labels, &margin);
    const clv_node negatives = shared_negatives(g, x, labels, p, &out[3]);
    const clv_node per_row = clv_softmax_xent_lse(g, logits, labels, CLV_NONE, &lse);
    out[0] = clv_scale(g, logits, 1 / p->s, 0);
    out[1] = clvi_labelled_mean(g, clv_add(g, per_row, cost_of_negatives(g, negatives, lse)), labels, classes);
    if (p->head != MAGFACE) return out[1];
    out[2] = norm_loss(g, norms, labels, classes, p);
    return clv_add(g, out[1], clv_scale(g, out[2], p->lambda_g, 0));
}

static const clvi_loss_variant unpg_variants[] = {
    { .in  = { { "features", "B,D", CLVI_PORT_GRAD, "embeddings" },
               { "weight", "C,D", CLVI_PORT_GRAD, "a direction for each class" },
               { "labels", "B", CLVI_PORT_INDEX, "class of each row; negative: the row is left out" } },
      .out = { { "cosine", "B,C", CLVI_PORT_FLOAT, "cosines, the target's with its margin" },
               { "loss_ce", "", CLVI_PORT_FLOAT, "the cross entropy" },
               { "loss_g", "", CLVI_PORT_FLOAT, "magface: the norm's own loss; else 0" },
               { "pair_keep", "B,B", CLVI_PORT_MASK, "1: rows i < j are a negative pair that is no outlier" },
               { "q1", "", CLVI_PORT_FLOAT, "lower quartile of the negative pairs" },
               { "q3", "", CLVI_PORT_FLOAT, "upper quartile" },
               { "lo", "", CLVI_PORT_FLOAT, "end of the lower whisker" },
               { "hi", "", CLVI_PORT_FLOAT, "end of the upper whisker" },
               { "n_keep", "", CLVI_PORT_FLOAT, "number of negative pairs that are no outliers" } },
      .build = unpg },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_unpg = {
    .name = "unpg",
    .summary = "margin softmax with the negative pairs of the batch as further negatives of every row",
    .source = "Jung et al. 2022, arXiv:2203.11593; magface: arXiv:2103.06627",
    .formula =
        "With x_i = n(features_i), w_c = n(weight_c) and c_ic = <x_i,w_c>, the target's entry replaced by\n"
        "* cosface: c - m\n"
        "* arcface: cos(theta + m) = c cos m - sqrt(1 - c^2) sin m (margin-mode: see arcface)\n"
        "* magface: cos(theta + m_i) if c > 0, else c, with r_i = |features_i| clamped to [l-a, u-a] and\n"
        "  m_i = l-margin + (u-margin - l-margin) (r_i - l-a)/(u-a - l-a); and loss_g = mean_i (r_i/u-a^2 + "
        "1/r_i). The gradient\n"
        "  reaches the norm through both, for norms within [l-a, u-a].\n"
        "Negatives are the similarities <x_i,x_j> of the P pairs i < j with different labels. With v these in "
        "ascending order,\n"
        "q1 = v[floor(P/4)], q3 = v[floor(3P/4)] (no interpolation), kept are those within\n"
        "[q1 - wisk (q3 - q1), q3 + wisk (q3 - q1)], bounds included; no gradient goes through the bounds.\n"
        "loss_ce = mean_i CE(s [c_i | kept negatives], labels_i), the kept negatives being the same for every "
        "row;\n"
        "loss = loss_ce, for magface + lambda-g loss_g.",
    .published =
        "s 64, wisk 1.5; arcface and cosface m 0.5",
    .params_size = sizeof(unpg_params), .options = unpg_options, .variants = unpg_variants,
};
