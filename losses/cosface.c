/* cosface.c: CosFace: a softmax over directions in which each row's cosine with its own class is made m smaller. Wang
 * et al. 2018, arXiv:1801.09414, eq. 4.
 *
 *   L = mean_i CE(s [cos theta_ic, the target's: cos theta - m], y_i),   cos theta_ic = <n(x_i), n(w_c)> */
#include "losses/loss.h"

typedef struct cosface_params {
    double s, m, cos_clamp, norm_eps;
} cosface_params;

static const clvi_option cosface_options[] = {
    CLVI_OPTION_F64(cosface_params, s, "s", "64", 1e-4, 1e6, "multiplies the cosines", "s"),
    CLVI_OPTION_F64(cosface_params, m, "m", "0.35", 0, 2, "taken from the target's cosine", "m"),
    CLVI_OPTION_F64(cosface_params, cos_clamp, "cos-clamp", "0", 0, 0.5,
                    "above 0: target cosines are clamped to this far from -1 and 1", NULL),
    CLVI_OPTION_F64(cosface_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1, "rows are divided by max(norm, this)",
                    NULL),
    CLVI_OPTION_END
};

static clv_node cosface(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const cosface_params *p = params;
    const clv_target_margin_desc margin = { .mode = CLV_MARGIN_COSINE, .scale = p->s, .margin = p->m,
                                            .margins = CLV_NONE, .clamp = p->cos_clamp };
    const clv_node cosines = clvi_cosine_logits(g, clv_l2norm_rows(g, in[0], p->norm_eps), in[1], p->s, p->norm_eps);
    out[0] = clv_target_margin(g, cosines, in[2], &margin);
    out[1] = clv_softmax_xent(g, out[0], in[2], CLV_NONE);
    return clvi_labelled_mean(g, out[1], in[2], clvi_node_length(g, in[1], 0));
}

static const clvi_loss_variant cosface_variants[] = {
    { .in  = { { "features", "B,D", CLVI_PORT_GRAD, "embeddings" },
               { "weight", "C,D", CLVI_PORT_GRAD, "a direction for each class" },
               { "labels", "B", CLVI_PORT_INDEX, "class of each row; negative: the row is left out" } },
      .out = { { "logits", "B,C", CLVI_PORT_FLOAT, "s times the cosines, the target's with its margin" },
               { "per_row", "B", CLVI_PORT_FLOAT, "loss of each row; 0 when it is left out" } },
      .build = cosface },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_cosface = {
    .name = "cosface",
    .summary = "softmax over directions with a margin on the target's cosine",
    .source = "Wang et al. 2018, arXiv:1801.09414, eq. 4",
    .formula =
        "With cos theta_ic = <n(features_i), n(weight_c)> and n(x) = x / max(|x|, norm-eps):\n"
        "L = mean_i CE(s [cos theta_ic, the target's replaced by cos theta - m], labels_i) over the rows with a "
        "label >= 0\n"
        "If cos-clamp is e > 0, the target's cosine is first clamped to [-1 + e, 1 - e]; no gradient goes through "
        "where that acts.",
    .published =
        "s 64, m 0.4 (insightface)",
    .params_size = sizeof(cosface_params), .options = cosface_options, .variants = cosface_variants,
};
