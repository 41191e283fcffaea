/* repulsor.c: features pushed away from a bank of earlier ones, without positives. A reconstruction of the bank loss of
 * Zhang et al. 2025, arXiv:2512.08648, whose code is not public.
 *
 *   z = x w^T + b if x is given;   h = n(z) if normalize, else z
 *   e_bj = -dist(h_b, m_j)/tau over the rows m_j of the bank that count, and over the batch if include_batch (h_b too)
 *   dist: l2 |h - m|^2, over D if divide_by_dim;   cos -<h,m>
 *   global: L = LSE_bj e_bj - log(B M);   per_query: L = mean_b ( LSE_j e_bj - log M );   M = entries of a row
 *
 * The bank is a constant, the batch is not. The bank is walked: memory does not grow with B K unless `exponents` is
 * asked for. The loss is `weight` times L. */
#include "losses/loss.h"
#include "core/checked.h"
#include <math.h>

typedef struct repulsor_params {
    int    distance, reduction;
    double tau;
    bool   normalize, include_batch, divide_by_dim;
    double weight, norm_eps;
} repulsor_params;

enum { L2, COS };
enum { GLOBAL, PER_QUERY };
enum { Z, X, W, B_, BANK, VALID };

static const clvi_option repulsor_options[] = {
    CLVI_OPTION_CHOICE(repulsor_params, distance, "distance", "l2", "l2|cos", "squared distance, or negative cosine"),
    CLVI_OPTION_F64(repulsor_params, tau, "tau", "1", 1e-4, 1e4, "divides the distances", "tau"),
    CLVI_OPTION_BOOL(repulsor_params, normalize, "normalize", "true",
                     "scale rows to unit length first; bank rows are used as they are"),
    CLVI_OPTION_BOOL(repulsor_params, include_batch, "include-batch", "false",
                     "rows of the batch repel each other, too"),
    CLVI_OPTION_CHOICE(repulsor_params, reduction, "reduction", "global", "global|per_query",
                       "logarithm of the mean over all pairs, or mean of the rows' logarithms"),
    CLVI_OPTION_BOOL(repulsor_params, divide_by_dim, "divide-by-dim", "false", "l2: squared distances over D"),
    CLVI_OPTION_F64(repulsor_params, weight, "weight", "1", 0, 1e9, "multiplies the loss", "lambda"),
    CLVI_OPTION_F64(repulsor_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1, "rows are divided by max(norm, this)",
                    NULL),
    CLVI_OPTION_END
};

static clv_node features(clv_graph *g, const clv_node *in)
{
    const bool projects = !clvi_node_none(in[X]) && !clvi_node_none(in[W]) && clvi_node_none(in[Z]);
    const bool given = !clvi_node_none(in[Z]) && clvi_node_none(in[X]) && clvi_node_none(in[W]) &&
                       clvi_node_none(in[B_]);
    if (!projects && !given)
        clvi_graph_fail(g, CLV_ERR_INVALID, "repulsor: want 'z', or 'x' with 'w' and perhaps 'b'");
    return projects ? clv_linear(g, in[X], in[W], in[B_]) : in[Z];
}

/* Exponents of the batch among itself. */
static clv_node batch_exponents(clv_graph *g, clv_node h, const repulsor_params *p, double t)
{
    return p->distance == L2 ? clv_scale(g, clv_pair_dist(g, h), -1 / t, 0)
                             : clv_scale(g, clv_gram(g, h, false), 1 / t, 0);
}

static clv_node repulsor(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const repulsor_params *p = params;
    const clv_node h = clvi_unit_rows(g, features(g, in), p->normalize, p->norm_eps);
    const int64_t B = clvi_node_length(g, h, 0), D = clvi_node_length(g, h, 1);
    clv_bank_lse_desc desc = CLV_BANK_LSE_DESC_INIT;
    desc.query = h;
    desc.bank = clv_stop_gradient(g, in[BANK]);
    desc.valid = in[VALID];
    desc.l2 = p->distance == L2;
    desc.temperature = p->tau * (desc.l2 && p->divide_by_dim ? (double)CLVI_MAX(D, 1) : 1);
    clv_node among = CLV_NONE;
    if (p->include_batch && B > 0) {
        among = batch_exponents(g, h, p, desc.temperature);
        desc.start = clv_log_sum_exp_rows(g, among, CLV_NONE);
        desc.start_count = B;
    }
    out[1] = clv_bank_lse(g, &desc, &out[0]);
    if (!clvi_node_none(among)) out[0] = clv_concat(g, (clv_node[]) { out[0], among }, 2, 1);
    out[2] = h;
    if (p->reduction == PER_QUERY || B == 0) return clv_scale(g, clv_reduce(g, out[1], -1, true), p->weight, 0);
    const clv_node all = clv_log_sum_exp_rows(g, clv_reshape(g, out[1], 2, (int64_t[]) { 1, B }), CLV_NONE);
    return clv_scale(g, clv_reduce(g, all, -1, false), p->weight, -p->weight * log((double)B));
}

static const clvi_loss_variant repulsor_variants[] = {
    { .in  = { [Z] = { "z", "B,D", CLVI_PORT_GRAD | CLVI_PORT_OPTIONAL, "features; or give x and w" },
               [X] = { "x", "B,E", CLVI_PORT_GRAD | CLVI_PORT_OPTIONAL, "features before the projection" },
               [W] = { "w", "D,E", CLVI_PORT_GRAD | CLVI_PORT_OPTIONAL, "weights of the projection, z = x w^T + b" },
               [B_] = { "b", "D", CLVI_PORT_GRAD | CLVI_PORT_OPTIONAL, "its bias" },
               [BANK] = { "bank", "K,D", CLVI_PORT_FLOAT, "features of earlier batches" },
               [VALID] = { "bank_valid", "K", CLVI_PORT_MASK | CLVI_PORT_OPTIONAL,
                           "1: the row counts; 0: left out" } },
      .out = { { "exponents", "B,J", CLVI_PORT_FLOAT,
                 "e_bj: J is K, and B more for the batch if included; 0 where left out" },
               { "per_row", "B", CLVI_PORT_FLOAT, "logarithm of each row's mean" },
               { "projected", "B,D", CLVI_PORT_FLOAT, "h: what to push into the bank" } },
      .build = repulsor },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_repulsor = {
    .name = "repulsor",
    .summary = "features pushed away from a bank of earlier ones, without positives (generative models)",
    .source = "a reconstruction after Zhang et al. 2025, arXiv:2512.08648",
    .formula =
        "z is given, or z = x w^T + b; h = n(z) = z / max(|z|, norm-eps) if normalize, else z.\n"
        "e_bj = -dist(h_b, m_j)/tau, over the bank rows m_j that count and, if include-batch, over all rows h_j of "
        "the batch,\n"
        "h_b included. M is the number of these entries.\n"
        "* distance=l2: |h - m|^2, divided by D if divide-by-dim. cos: -<h, m>.\n"
        "* reduction=global: L = LSE_bj e_bj - log(B M). per_query: L = mean_b ( LSE_j e_bj - log M ).\n"
        "LSE is the logarithm of the sum of exponentials, evaluated with the largest entry subtracted. The loss is "
        "weight times\n"
        "L. The bank is a constant; between rows of the batch gradients reach both.",
    .params_size = sizeof(repulsor_params), .options = repulsor_options, .variants = repulsor_variants,
};
