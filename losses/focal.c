/* focal.c: cross entropy that counts less the surer it is. Lin et al. 2017, arXiv:1708.02002, eq. 5.
 *
 *   L_i = -a (1-p)^gamma log p,   p the probability of the item's own class
 *
 * softmax: p from a softmax over classes, a = alpha[class]; the mean is over items that are not ignored
 * sigmoid: every entry is a yes or no of its own, a = alpha for yes and 1 - alpha for no */
#include "losses/loss.h"

enum { REDUCE_MEAN, REDUCE_SUM };

typedef struct focal_params {
    int     variant, reduction;
    double  gamma, alpha;
    int64_t ignore_index;
} focal_params;

static const clvi_option focal_options[] = {
    CLVI_OPTION_CHOICE(focal_params, variant, "variant", "softmax", "softmax|sigmoid",
                       "one class of many, or a yes or no for each"),
    CLVI_OPTION_F64(focal_params, gamma, "gamma", "2", 0, 100, "how much sure items lose weight; 0: cross entropy",
                    "gamma"),
    CLVI_OPTION_F64(focal_params, alpha, "alpha", "0.25", -1, 1, "sigmoid: weight of yes; negative: no weights",
                    "alpha"),
    CLVI_OPTION_I64(focal_params, ignore_index, "ignore-index", "-100", -2147483648.0, 2147483647.0,
                    "softmax: items with this label are left out, as are negative ones", NULL),
    CLVI_OPTION_CHOICE(focal_params, reduction, "reduction", "mean", "mean|sum", "of the items' losses"),
    CLVI_OPTION_END
};

/* (1-p)^gamma c of a cross entropy c = -log p. */
static clv_node focus(clv_graph *g, clv_node cross_entropy, double gamma)
{
    return clvi_op1(g, "focal", &(clvi_focal_attr) { .gamma = gamma }, cross_entropy);
}

static clv_node softmax(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const focal_params *p = params;
    const int64_t N = clvi_node_length(g, in[0], 0), C = clvi_node_length(g, in[0], 1);
    const clv_node labels = clv_ignore_label(g, in[1], p->ignore_index);
    const clv_node one = clvi_fill(g, 2, (int64_t[]) { C, 1 }, 1);
    const clv_node known = clv_reshape(g, clv_gather_rows(g, one, labels), 1, &N);
    out[0] = focus(g, clv_softmax_xent(g, in[0], labels, CLV_NONE), p->gamma);
    if (!clvi_node_none(in[2])) {
        const clv_node alpha = clv_reshape(g, in[2], 2, (int64_t[]) { C, 1 });
        out[0] = clv_mul(g, out[0], clv_reshape(g, clv_gather_rows(g, alpha, labels), 1, &N));
    }
    const clv_node sum = clv_reduce(g, out[0], -1, false);
    return p->reduction == REDUCE_MEAN ? clv_div(g, sum, clv_reduce(g, known, -1, false)) : sum;
}

static clv_node sigmoid(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const focal_params *p = params;
    const int64_t shape[] = { clvi_node_length(g, in[0], 0), clvi_node_length(g, in[0], 1) };
    const clv_node flat = clv_reshape(g, in[1], 1, (int64_t[]) { shape[0] * shape[1] });
    const clv_node yes = clv_reshape(g, clv_one_hot(g, flat, 1), 2, shape);
    out[0] = focus(g, clv_sigmoid_xent(g, in[0], yes), p->gamma);
    if (p->alpha >= 0) out[0] = clv_mul(g, out[0], clv_scale(g, yes, 2 * p->alpha - 1, 1 - p->alpha));
    return clv_reduce(g, out[0], -1, p->reduction == REDUCE_MEAN);
}

static const clvi_loss_variant focal_variants[] = {
    { "softmax",
      .in  = { { "logits", "N,C", CLVI_PORT_GRAD, "logits of each item" },
               { "targets", "N", CLVI_PORT_INDEX, "class of each item" },
               { "alpha", "C", CLVI_PORT_FLOAT | CLVI_PORT_OPTIONAL, "weight of each class" } },
      .out = { { "per_element", "N", CLVI_PORT_FLOAT, "loss of each item; 0 where ignored" } },
      .build = softmax },
    { "sigmoid",
      .in  = { { "logits", "N,C", CLVI_PORT_GRAD, "a logit for each item and class" },
               { "targets", "N,C", CLVI_PORT_INDEX, "yes where above 0" } },
      .out = { { "per_element", "N,C", CLVI_PORT_FLOAT, "loss of each entry" } },
      .build = sigmoid },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_focal = {
    .name = "focal",
    .summary = "cross entropy that counts less the surer it is",
    .source = "Lin et al. 2017, arXiv:1708.02002, eq. 5",
    .formula =
        "With p the probability of an item's own class:\n"
        "L_i = -a (1-p)^gamma log p\n"
        "* softmax: p from a softmax over C logits, a = alpha[class] if the input alpha is given, else 1. The mean "
        "is over the\n"
        "  items that are not ignored; it is not divided by the sum of the weights.\n"
        "* sigmoid: each of the N C entries is a yes or no of its own; p is the probability of the right answer, a "
        "is the\n"
        "  option alpha for yes and 1 - alpha for no, or 1 if alpha is negative. The mean is over all entries.",
    .published =
        "gamma 2, alpha 0.25, sigmoid (the paper, RetinaNet)",
    .params_size = sizeof(focal_params), .options = focal_options, .variants = focal_variants,
};
