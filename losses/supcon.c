/* supcon.c: supervised contrastive loss, the sum outside the logarithm. Khosla et al. 2020, arXiv:2004.11362, eq. 2.
 *
 *   c = the views stacked view-major (row v B + b), l_aj = <c_a, c_j>/t, P_a = other rows with the anchor's label
 *   per_anchor_a = (t/t0) ( LSE_{j != a} l_aj - mean_{j in P_a} l_aj ),   0 where P_a is empty
 *   L = mean over all anchors
 *
 * The pairs are walked in tiles: memory does not grow with (B V)^2. */
#include "losses/loss.h"
#include "core/checked.h"

typedef struct supcon_params {
    double temperature, base_temperature;
    int    contrast_mode;
    bool   normalize;
    double norm_eps;
} supcon_params;

enum { ALL, ONE };

static const clvi_option supcon_options[] = {
    CLVI_OPTION_F64(supcon_params, temperature, "temperature", "0.07", 1e-4, 1e4, "divides the similarities", "t"),
    CLVI_OPTION_F64(supcon_params, base_temperature, "base-temperature", "0.07", 1e-4, 1e4,
                    "the loss is multiplied by temperature over this", "t0"),
    CLVI_OPTION_CHOICE(supcon_params, contrast_mode, "contrast-mode", "all", "all|one",
                       "which rows are anchors: those of all views or of the first"),
    CLVI_OPTION_BOOL(supcon_params, normalize, "normalize", "true", "scale rows to unit length first"),
    CLVI_OPTION_F64(supcon_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1, "rows are divided by max(norm, this)",
                    NULL),
    CLVI_OPTION_END
};

static clv_node supcon(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const supcon_params *p = params;
    const int64_t B = clvi_node_length(g, in[0], 0), V = clvi_node_length(g, in[0], 1);
    const int64_t D = clvi_node_length(g, in[0], 2);
    const clv_node stacked = clv_reshape(g, clv_transpose(g, in[0]), 2, (int64_t[]) { V * B, D });
    const clv_node c = clvi_unit_rows(g, stacked, p->normalize, p->norm_eps);
    const int64_t anchors = p->contrast_mode == ONE ? CLVI_MIN(B, V * B) : V * B;
    const clv_node per_anchor = clv_pair_nce(g, c, in[1], anchors, p->temperature, &out[1]);
    out[0] = clv_scale(g, per_anchor, p->temperature / p->base_temperature, 0);
    return clv_reduce(g, out[0], -1, true);
}

static const clvi_loss_variant supcon_variants[] = {
    { .in  = { { "features", "B,V,D", CLVI_PORT_GRAD, "the views of each sample" },
               { "labels", "B", CLVI_PORT_INDEX, "class of each sample, any numbers" } },
      .out = { { "per_anchor", "A", CLVI_PORT_FLOAT, "loss of each anchor, view after view; 0 without a positive" },
               { "n_pos", "A", CLVI_PORT_FLOAT, "positives of each anchor" } },
      .build = supcon },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_supcon = {
    .name = "supcon",
    .summary = "rows of one class pick each other out of the batch (supervised contrastive)",
    .source = "Khosla et al. 2020, arXiv:2004.11362, eq. 2",
    .formula =
        "The views are stacked view-major, row v B + b of c is view v of sample b, normalised with n(x) = x / "
        "max(|x|, norm-eps)\n"
        "if normalize. Anchors are all B V rows (contrast-mode=all) or those of the first view (one); candidates "
        "of an\n"
        "anchor are all rows but itself; P_a are the candidates with its label. With l_aj = <c_a, c_j>/t, t the "
        "temperature and\n"
        "t0 the base temperature:\n"
        "per_anchor_a = (t/t0) ( LSE_{j != a} l_aj - mean_{j in P_a} l_aj ), or 0 if P_a is empty\n"
        "L is the mean over all anchors, those without a positive included.",
    .published =
        "temperature 0.1, base-temperature 0.07 (the published code; CIFAR, batch 1024, 1000 epochs)",
    .params_size = sizeof(supcon_params), .options = supcon_options, .variants = supcon_variants,
};
