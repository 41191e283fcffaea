/* nt_xent.c: normalised temperature-scaled cross entropy. Chen et al. 2020 (SimCLR), arXiv:2002.05709, eq. 1.
 *
 *   z = [n(z1); n(z2)] stacked, s_ij = <z_i, z_j>/t, the partner of row i is p(i) = (i + N) mod 2N
 *   per_row_i = LSE_{j != i} s_ij - s_i,p(i),   L = mean_i per_row_i
 *
 * It is SupCon with every sample a class of its own. The pairs are walked in tiles: memory does not grow with (2N)^2
 * unless `logits` is asked for. */
#include "losses/loss.h"

typedef struct nt_xent_params {
    double temperature;
    bool   normalize;
    double norm_eps;
    int    reduction;
} nt_xent_params;

enum { MEAN_2N, SUM_VIEWS };

static const clvi_option nt_xent_options[] = {
    CLVI_OPTION_F64(nt_xent_params, temperature, "temperature", "0.1", 1e-4, 1e4, "divides the similarities", "t"),
    CLVI_OPTION_BOOL(nt_xent_params, normalize, "normalize", "true", "scale rows to unit length first"),
    CLVI_OPTION_F64(nt_xent_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1, "rows are divided by max(norm, this)",
                    NULL),
    CLVI_OPTION_CHOICE(nt_xent_params, reduction, "reduction", "mean_2n", "mean_2n|sum_views",
                       "mean over all rows, or the sum of the two views' means (twice as much)"),
    CLVI_OPTION_END
};

static clv_node nt_xent(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const nt_xent_params *p = params;
    const int64_t N = clvi_node_length(g, in[0], 0);
    const clv_node stacked = clv_concat(g, in, 2, 0);
    const clv_node z = clvi_unit_rows(g, stacked, p->normalize, p->norm_eps);
    const clv_node sample = clv_iota(g, CLV_I64, N, 0, 1);
    out[0] = clvi_pair_logits(g, z, p->temperature);
    out[1] = clv_pair_nce(g, z, sample, 2 * N, p->temperature, NULL);
    const clv_node loss = clv_reduce(g, out[1], -1, true);
    return p->reduction == SUM_VIEWS ? clv_scale(g, loss, 2, 0) : loss;
}

static const clvi_loss_variant nt_xent_variants[] = {
    { .in  = { { "z1", "N,D", CLVI_PORT_GRAD, "one view of each sample" },
               { "z2", "N,D", CLVI_PORT_GRAD, "the other view; row i is the positive of row i of z1" } },
      .out = { { "logits", "N+N,N+N", CLVI_PORT_FLOAT, "<z_i,z_j>/t of the stacked views, 0 on the diagonal" },
               { "per_row", "N+N", CLVI_PORT_FLOAT, "loss of each row, z1 first" } },
      .build = nt_xent },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_nt_xent = {
    .name = "nt_xent",
    .summary = "two views pick each other out of all views of the batch (SimCLR)",
    .source = "Chen et al. 2020, arXiv:2002.05709, eq. 1",
    .formula =
        "z = [n(z1); n(z2)], 2N rows, with n(x) = x / max(|x|, norm-eps) if normalize; s_ij = <z_i, z_j>/t with t "
        "the\n"
        "temperature; the partner of row i is p(i) = (i + N) mod 2N.\n"
        "per_row_i = LSE_{j != i} s_ij - s_i,p(i), and L = mean_i per_row_i; with reduction=sum_views twice that.",
    .published =
        "* ImageNet: temperature 0.1, batch 4096\n"
        "* CIFAR-10: temperature 0.5, batch 512",
    .params_size = sizeof(nt_xent_params), .options = nt_xent_options, .variants = nt_xent_variants,
};
