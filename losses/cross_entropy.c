/* cross_entropy.c: softmax cross entropy of logits against classes, with smoothed labels, weights of classes and items
 * to leave out, or against a distribution over the classes. Label smoothing: Szegedy et al. 2016, arXiv:1512.00567,
 * section 7.
 *
 *   hard: L_i = -(1 - e) w_y log p_iy - e/C sum_c w_c log p_ic,   p_i = softmax of row i, y its class, w = 1 unless given
 *         mean: sum_i L_i / sum_i w_{y_i} over the items that count; sum: sum_i L_i
 *   soft: L_i = -sum_c w_c ((1 - e) t_ic + e/C) log p_ic;   mean: sum_i L_i / N */
#include "losses/loss.h"

typedef struct cross_entropy_params {
    double  label_smoothing;
    int64_t ignore_index;
    int     variant, reduction;
} cross_entropy_params;

enum { REDUCE_MEAN, REDUCE_SUM };

static const clvi_option cross_entropy_options[] = {
    CLVI_OPTION_CHOICE(cross_entropy_params, variant, "variant", "hard", "hard|soft",
                       "targets: a class of each item, or a weight of each class for each item"),
    CLVI_OPTION_F64(cross_entropy_params, label_smoothing, "label-smoothing", "0", 0, 1,
                    "share of the target spread over all classes", "epsilon"),
    CLVI_OPTION_I64(cross_entropy_params, ignore_index, "ignore-index", "-100", -2147483648.0, 2147483647.0,
                    "hard: items of this class are left out, as are those of negative ones", NULL),
    CLVI_OPTION_CHOICE(cross_entropy_params, reduction, "reduction", "mean", "mean|sum",
                       "over the items: mean (hard: by the weights of their classes), or sum"),
    CLVI_OPTION_END
};

/* -sum_c w_c log p_ic, 0 for items left out. */
static clv_node spread(clv_graph *g, clv_node logits, clv_node lse, clv_node weights, clv_node known)
{
    const int64_t N = clvi_node_length(g, logits, 0);
    const clv_node surprise = clv_scale(g, clv_add_column(g, logits, clv_scale(g, lse, -1, 0)), -1, 0);
    return clv_mul(g, known, clv_reshape(g, clv_matmul(g, surprise, false, weights, false), 1, &N));
}

static clv_node hard(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const cross_entropy_params *p = params;
    const int64_t N = clvi_node_length(g, in[0], 0), C = clvi_node_length(g, in[0], 1), column[] = { C, 1 };
    const clv_node labels = clv_ignore_label(g, in[1], p->ignore_index), one = clvi_fill(g, 2, column, 1);
    const clv_node weights = clvi_node_none(in[2]) ? one : clv_stop_gradient(g, clv_reshape(g, in[2], 2, column));
    const clv_node weight = clv_reshape(g, clv_gather_rows(g, weights, labels), 1, &N);
    const clv_node known = clv_reshape(g, clv_gather_rows(g, one, labels), 1, &N);
    const double e = C > 0 ? p->label_smoothing : 0;
    clv_node lse;
    out[0] = clv_mul(g, weight, clv_softmax_xent_lse(g, in[0], labels, CLV_NONE, &lse));
    if (e > 0)
        out[0] = clv_add(g, clv_scale(g, out[0], 1 - e, 0),
                         clv_scale(g, spread(g, in[0], lse, weights, known), e / (double)C, 0));
    const clv_node sum = clv_reduce(g, out[0], -1, false);
    return p->reduction == REDUCE_MEAN ? clv_div(g, sum, clv_reduce(g, weight, -1, false)) : sum;
}

static clv_node soft(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const cross_entropy_params *p = params;
    const int64_t C = clvi_node_length(g, in[0], 1);
    const double e = C > 0 ? p->label_smoothing : 0;
    const clv_node lse = clv_log_sum_exp_rows(g, in[0], CLV_NONE);
    const clv_node surprise = clv_scale(g, clv_add_column(g, in[0], clv_scale(g, lse, -1, 0)), -1, 0);
    clv_node mass = clv_stop_gradient(g, in[1]);
    if (e > 0) mass = clv_scale(g, mass, 1 - e, e / (double)C);
    if (!clvi_node_none(in[2])) mass = clv_scale_columns(g, mass, clv_stop_gradient(g, in[2]));
    out[0] = clv_row_dot(g, mass, surprise);
    return clv_reduce(g, out[0], -1, p->reduction == REDUCE_MEAN);
}

static const clvi_loss_variant cross_entropy_variants[] = {
    { "hard",
      .in  = { { "logits", "N,C", CLVI_PORT_GRAD, "logits of each item" },
               { "targets", "N", CLVI_PORT_INDEX, "class of each item" },
               { "weight", "C", CLVI_PORT_FLOAT | CLVI_PORT_OPTIONAL, "weight of each class" } },
      .out = { { "per_row", "N", CLVI_PORT_FLOAT, "loss of each item; 0 where left out" } },
      .build = hard },
    { "soft",
      .in  = { { "logits", "N,C", CLVI_PORT_GRAD, "logits of each item" },
               { "targets", "N,C", CLVI_PORT_FLOAT, "weight of each class for each item; a row's add up to 1" },
               { "weight", "C", CLVI_PORT_FLOAT | CLVI_PORT_OPTIONAL, "weight of each class" } },
      .out = { { "per_row", "N", CLVI_PORT_FLOAT, "loss of each item" } },
      .build = soft },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_cross_entropy = {
    .name = "cross_entropy",
    .summary = "softmax cross entropy, with smoothed or mixed labels and weights of classes",
    .source = "label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7",
    .formula =
        "With p_i = softmax(logits_i), e = label-smoothing, and class weights w (1 unless given):\n"
        "* hard, y_i = targets_i: L_i = -(1 - e) w_y log p_iy - (e/C) sum_c w_c log p_ic\n"
        "* hard, mean: sum_i L_i / sum_i w_{y_i} over the items that count\n"
        "* soft, t_i = targets_i: L_i = -sum_c w_c ((1 - e) t_ic + e/C) log p_ic\n"
        "* soft, mean: sum_i L_i / N\n"
        "* sum: sum_i L_i\n"
        "In hard, an item does not count when its target is ignore-index or negative.",
    .published =
        "label-smoothing 0.1 (Szegedy et al., ImageNet, section 7)",
    .params_size = sizeof(cross_entropy_params), .options = cross_entropy_options, .variants = cross_entropy_variants,
};
