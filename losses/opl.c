/* opl.c: orthogonal projection loss: features of one class point the same way, those of different classes are
 * orthogonal. Ranasinghe et al. 2021, arXiv:2103.14021.
 *
 *   L_opl = (1 - s) + gamma d,   s = mean of <f_i,f_j> over pairs with the same label,   f = n(features)
 *   d over pairs with different labels:   none          mean of <f_i,f_j>      the released root code
 *                                         abs_of_mean   |mean of <f_i,f_j>|    the paper
 *                                         mean_of_abs   mean of |<f_i,f_j>|    the released CIFAR code
 *   L = L_opl, or with logits mean_i CE(logits_i, y_i) + opl_lambda L_opl
 *
 * Sums over pairs come from class sums, in O(B D); only mean_of_abs needs the B x B inner products. */
#include "losses/loss.h"

enum { NONE, ABS_OF_MEAN, MEAN_OF_ABS };

typedef struct opl_params {
    double gamma, opl_lambda;
    int    neg_mode;
    bool   normalize;
    double norm_eps, den_eps;
} opl_params;

static const clvi_option opl_options[] = {
    CLVI_OPTION_F64(opl_params, gamma, "gamma", "0.5", 0, 1e6, "weight of the pairs with different labels", "gamma"),
    CLVI_OPTION_CHOICE(opl_params, neg_mode, "neg-mode", "none", "none|abs_of_mean|mean_of_abs",
                       "absolute value of similarities of different classes: none, of their mean, of each"),
    CLVI_OPTION_F64(opl_params, opl_lambda, "opl-lambda", "1", 0, 1e6, "weight beside the cross entropy of the logits",
                    "lambda"),
    CLVI_OPTION_BOOL(opl_params, normalize, "normalize", "true", "scale rows to unit length first"),
    CLVI_OPTION_F64(opl_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1, "rows are divided by max(norm, this)", NULL),
    CLVI_OPTION_F64(opl_params, den_eps, "den-eps", "1e-6", 0, 1, "added to the number of pairs", NULL),
    CLVI_OPTION_END
};

/* Sum of |<f_i,f_j>| over ordered pairs with different labels. */
static clv_node sum_of_abs(clv_graph *g, clv_node f, clv_node labels)
{
    const clv_node all = clv_abs(g, clv_gram(g, f, false));
    return clv_reduce(g, clv_mask(g, all, clv_label_pairs(g, labels, false, false)), -1, false);
}

static clv_node opl(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const opl_params *p = params;
    const clv_node labels = in[1];
    clv_pair_sums sums;
    clv_class_pair_sums(g, in[0], labels, p->normalize, p->norm_eps, &sums);
    if (p->neg_mode == MEAN_OF_ABS)
        sums.different = sum_of_abs(g, clvi_unit_rows(g, in[0], p->normalize, p->norm_eps), labels);
    const clv_node s = clv_div(g, sums.same, clv_scale(g, sums.n_same, 1, p->den_eps));
    clv_node d = clv_div(g, sums.different, clv_scale(g, sums.n_different, 1, p->den_eps));
    if (p->neg_mode == ABS_OF_MEAN) d = clv_abs(g, d);
    /* 1 - s, but 0 for an empty batch */
    const double one = clvi_node_length(g, in[0], 0) > 0;
    out[0] = clv_add(g, clv_scale(g, s, -1, one), clv_scale(g, d, p->gamma, 0));
    out[2] = s;
    out[3] = d;
    out[4] = sums.n_same;
    out[5] = sums.n_different;
    if (clvi_node_none(in[2])) return out[0];
    out[1] = clvi_labelled_mean(g, clv_softmax_xent(g, in[2], labels, CLV_NONE), labels, clvi_node_length(g, in[2], 1));
    return clv_add(g, out[1], clv_scale(g, out[0], p->opl_lambda, 0));
}

static const clvi_loss_variant opl_variants[] = {
    { .in  = { { "features", "B,D", CLVI_PORT_GRAD, "features of the last layer but one" },
               { "labels", "B", CLVI_PORT_INDEX, "class of each row; negative: the row is left out" },
               { "logits", "B,C", CLVI_PORT_GRAD | CLVI_PORT_OPTIONAL, "adds their cross entropy" } },
      .out = { { "loss_opl", "", CLVI_PORT_FLOAT, "(1 - s) + gamma d" },
               { "loss_ce", "", CLVI_PORT_FLOAT, "cross entropy of the logits; 0 without them" },
               { "pos_mean", "", CLVI_PORT_FLOAT, "s" },
               { "neg_term", "", CLVI_PORT_FLOAT, "d" },
               { "n_pos", "", CLVI_PORT_FLOAT, "number of ordered pairs with the same label" },
               { "n_neg", "", CLVI_PORT_FLOAT, "number of ordered pairs with different labels" } },
      .build = opl },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_opl = {
    .name = "opl",
    .summary = "features of one class aligned, of different classes orthogonal; alone or beside a cross entropy",
    .source = "Ranasinghe et al. 2021, arXiv:2103.14021",
    .formula =
        "With f_i = n(features_i) if normalize, n(x) = x / max(|x|, norm-eps), and all pairs ordered, i != j:\n"
        "* s = sum over pairs with the same label of <f_i,f_j> / (n_pos + den-eps)\n"
        "* d, over pairs with different labels:\n"
        "  * none: sum of <f_i,f_j> / (n_neg + den-eps)\n"
        "  * abs_of_mean: the absolute value of that\n"
        "  * mean_of_abs: sum of |<f_i,f_j>| / (n_neg + den-eps)\n"
        "* L_opl = (1 - s) + gamma d\n"
        "* L = L_opl, or with logits mean_i CE(logits_i, labels_i) + opl-lambda L_opl",
    .published =
        "* beside a cross entropy: neg-mode none, gamma 0.5, opl-lambda 1 (the published loss.py)\n"
        "* neg-mode mean_of_abs, gamma 2 (its CIFAR code)",
    .params_size = sizeof(opl_params), .options = opl_options, .variants = opl_variants,
};
