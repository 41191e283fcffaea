/* n_pair.c: multi-class N-pair loss: each anchor picks its positive among those of the batch, by inner product. Sohn
 * 2016, Improved deep metric learning with multi-class N-pair loss objective, NIPS.
 *
 *   L = mean_i CE(l_i., target of i) + reg,   l_ij = <anchor_i, positive_j>
 *   reg = l2_reg/4 (mean_i |anchor_i|^2 + mean_i |positive_i|^2)
 *
 * The target of row i is i, or with labels uniform over the positives with its label. */
#include "losses/loss.h"

typedef struct n_pair_params {
    double l2_reg;
} n_pair_params;

static const clvi_option n_pair_options[] = {
    CLVI_OPTION_F64(n_pair_params, l2_reg, "l2-reg", "0.002", 0, 1e6, "weight of the mean squared lengths", NULL),
    CLVI_OPTION_END
};

/* Mean of l_ij over the other j with the label of i, and i itself. */
static clv_node mean_over_same(clv_graph *g, clv_node logits, clv_node own, clv_node labels)
{
    const int64_t N = clvi_node_length(g, logits, 0);
    const clv_node same = clv_label_pairs(g, labels, true, false);
    const clv_node marks = clv_mask(g, clvi_fill(g, 2, (int64_t[]) { N, N }, 1), same);
    const clv_node sum = clv_add(g, own, clv_row_dot(g, logits, marks));
    return clv_div(g, sum, clv_scale(g, clv_reduce(g, marks, 1, false), 1, 1));
}

static clv_node n_pair(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const n_pair_params *p = params;
    const clv_node self = clv_iota(g, CLV_I64, clvi_node_length(g, in[0], 0), 0, 1);
    const clv_node length = clv_add(g, clv_reduce(g, clv_row_dot(g, in[0], in[0]), -1, true),
                                    clv_reduce(g, clv_row_dot(g, in[1], in[1]), -1, true));
    out[0] = clv_matmul(g, in[0], false, in[1], true);
    out[1] = clv_softmax_xent(g, out[0], self, CLV_NONE);
    if (!clvi_node_none(in[2])) {
        const clv_node own = clv_pick(g, out[0], self);
        out[1] = clv_add(g, out[1], clv_sub(g, own, mean_over_same(g, out[0], own, in[2])));
    }
    out[2] = clv_scale(g, length, p->l2_reg / 4, 0);
    return clv_add(g, clv_reduce(g, out[1], -1, true), out[2]);
}

static const clvi_loss_variant n_pair_variants[] = {
    { .in  = { { "anchor", "N,D", CLVI_PORT_GRAD, "one sample of each pair" },
               { "positive", "N,D", CLVI_PORT_GRAD, "the other; row i belongs to anchor i" },
               { "labels", "N", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL,
                 "class of each pair: pairs of one class share the target; negative: a class of its own" } },
      .out = { { "logits", "N,N", CLVI_PORT_FLOAT, "<anchor_i,positive_j>" },
               { "per_row", "N", CLVI_PORT_FLOAT, "loss of each anchor, without the regulariser" },
               { "reg", "", CLVI_PORT_FLOAT, "the regulariser" } },
      .build = n_pair },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_n_pair = {
    .name = "n_pair",
    .summary = "each anchor picks its positive among all of the batch, by inner product",
    .source = "Sohn 2016, NIPS",
    .formula =
        "* l_ij = <anchor_i, positive_j>, L = mean_i CE(l_i., target of i) + reg\n"
        "* The target of row i is column i. With labels it is uniform over the columns with the label of i:\n"
        "  per_row_i = LSE_j l_ij - mean over j with the label of i of l_ij.\n"
        "* reg = l2-reg/4 (mean_i |anchor_i|^2 + mean_i |positive_i|^2)\n"
        "Rows are not normalised: their lengths are what the softmax is sharpened with, and what the regulariser "
        "holds down.",
    .published =
        "l2-reg 0.002 (the default of TensorFlow's npairs_loss)",
    .params_size = sizeof(n_pair_params), .options = n_pair_options, .variants = n_pair_variants,
};
