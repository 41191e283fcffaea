/* dispersive.c: features of a batch spread out, without positives. Wang and He 2025, arXiv:2506.09027, table 1.
 *
 *   z flattened to [B,D]; d_ij = |z_i - z_j|^2, over D if divide_by_dim; for infonce_cos d_ij = -<n(z_i), n(z_j)>
 *   infonce_l2, infonce_cos:  L = log mean_ij e^{-d_ij/tau}
 *   hinge:                    L = mean_ij max(0, margin - d_ij)^2
 *   covariance:               L = sum of squared off-diagonal entries of Zn^T Zn, Zn = centred columns of unit length
 *
 * Means run over all pairs, i = j included if include_diagonal. The loss is `weight` times L. */
#include "losses/loss.h"
#include "core/checked.h"
#include <math.h>

typedef struct dispersive_params {
    int    variant;
    double tau, margin;
    bool   divide_by_dim, include_diagonal;
    double weight, norm_eps;
} dispersive_params;

static const clvi_option dispersive_options[] = {
    CLVI_OPTION_CHOICE(dispersive_params, variant, "variant", "infonce_l2", "infonce_l2|infonce_cos|hinge|covariance",
                       "what keeps rows apart"),
    CLVI_OPTION_F64(dispersive_params, tau, "tau", "1", 1e-4, 1e4, "infonce: divides the distances", "tau"),
    CLVI_OPTION_F64(dispersive_params, margin, "margin", "1", 0, 1e9, "hinge: squared distance that is enough",
                    "epsilon"),
    CLVI_OPTION_BOOL(dispersive_params, divide_by_dim, "divide-by-dim", "true",
                     "infonce_l2, hinge: squared distances over D"),
    CLVI_OPTION_BOOL(dispersive_params, include_diagonal, "include-diagonal", "true",
                     "the mean counts every row's distance to itself"),
    CLVI_OPTION_F64(dispersive_params, weight, "weight", "1", 0, 1e9, "multiplies the loss", "lambda"),
    CLVI_OPTION_F64(dispersive_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1,
                    "infonce_cos, covariance: rows or columns are divided by max(norm, this)", NULL),
    CLVI_OPTION_END
};

static clv_node flatten(clv_graph *g, clv_node z)
{
    int64_t shape[CLV_MAX_DIMS], width = 1;
    const int ndim = clv_node_shape(g, z, shape);
    for (int i = 1; i < ndim; i++) width *= shape[i];
    return ndim < 1 ? z : clv_reshape(g, z, 2, (int64_t[]) { shape[0], width });
}

static clv_node l2_distances(clv_graph *g, clv_node z, const dispersive_params *p)
{
    const double dim = (double)CLVI_MAX(clvi_node_length(g, z, 1), 1);
    const clv_node d = clv_pair_dist(g, z);
    return p->divide_by_dim ? clv_scale(g, d, 1 / dim, 0) : d;
}

static int64_t count_pairs(const dispersive_params *p, int64_t B)
{
    return p->include_diagonal ? B * B : B * (B - 1);
}

/* No pair: 0, and no gradient. */
static clv_node nothing(clv_graph *g, clv_node z)
{
    return clv_scale(g, clv_reduce(g, z, -1, false), 0, 0);
}

static clv_node infonce(clv_graph *g, clv_node z, clv_node distance, const dispersive_params *p)
{
    const int64_t B = clvi_node_length(g, z, 0), pairs = count_pairs(p, B);
    if (pairs == 0) return nothing(g, z);
    const int64_t all[] = { 1, B * B };
    const clv_node exponents = clv_reshape(g, clv_scale(g, distance, -1 / p->tau, 0), 2, all);
    const clv_node others = p->include_diagonal ? CLV_NONE : clv_reshape(g, clvi_off_diagonal(g, B), 2, all);
    const clv_node lse = clv_log_sum_exp_rows(g, exponents, others);
    return clv_scale(g, clv_reduce(g, lse, -1, false), p->weight, -p->weight * log((double)pairs));
}

static clv_node infonce_l2(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const clv_node z = flatten(g, in[0]);
    out[0] = l2_distances(g, z, params);
    return infonce(g, z, out[0], params);
}

static clv_node infonce_cos(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const dispersive_params *p = params;
    const clv_node z = flatten(g, in[0]);
    out[0] = clv_scale(g, clv_gram(g, clv_l2norm_rows(g, z, p->norm_eps), false), -1, 0);
    return infonce(g, z, out[0], p);
}

static clv_node hinge(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const dispersive_params *p = params;
    const clv_node z = flatten(g, in[0]);
    const int64_t B = clvi_node_length(g, z, 0), pairs = count_pairs(p, B);
    out[0] = l2_distances(g, z, p);
    if (pairs == 0) return nothing(g, z);
    clv_node lack = clv_relu(g, clv_scale(g, out[0], -1, p->margin));
    if (!p->include_diagonal) lack = clv_mask(g, lack, clvi_off_diagonal(g, B));
    return clv_scale(g, clvi_sum_squares(g, lack), p->weight / (double)pairs, 0);
}

static clv_node covariance(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const dispersive_params *p = params;
    const clv_node columns = clv_standardize_columns(g, flatten(g, in[0]), p->norm_eps, true);
    out[0] = clv_gram(g, columns, true);
    return clv_scale(g, clvi_off_diagonal_squares(g, columns), p->weight, 0);
}

#define INPUT .in = { { "z", "B,...", CLVI_PORT_GRAD, "features; all dimensions but the first are one" } }
#define DISTANCE(help) .out = { { "distance", "B,B", CLVI_PORT_FLOAT, help } }

static const clvi_loss_variant dispersive_variants[] = {
    { "infonce_l2", INPUT, DISTANCE("squared distances d_ij"), .build = infonce_l2 },
    { "infonce_cos", INPUT, DISTANCE("negative cosines d_ij"), .build = infonce_cos },
    { "hinge", INPUT, DISTANCE("squared distances d_ij"), .build = hinge },
    { "covariance", INPUT, .out = { { "corr", "D,D", CLVI_PORT_FLOAT, "correlations of the flattened columns" } },
      .build = covariance },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_dispersive = {
    .name = "dispersive",
    .summary = "features of a batch spread out, without positives (a regulariser of generative models)",
    .source = "Wang and He 2025, arXiv:2506.09027, table 1",
    .formula =
        "z is flattened to [B,D]: everything but the batch is one dimension. n(x) = x / max(|x|, norm-eps).\n"
        "* infonce_l2: d_ij = |z_i - z_j|^2, divided by D if divide-by-dim; L = log mean_ij exp(-d_ij/tau).\n"
        "* infonce_cos: the same with d_ij = -<n(z_i), n(z_j)>.\n"
        "* hinge: L = mean_ij max(0, margin - d_ij)^2 with the squared distances of infonce_l2.\n"
        "* covariance: columns are centred over the batch and divided by max(length, norm-eps); L = the sum of the "
        "squared\n"
        "  off-diagonal entries of Zn^T Zn, not averaged.\n"
        "Means run over all B^2 ordered pairs if include-diagonal, else over the B (B - 1) pairs of different "
        "rows. The loss is\n"
        "weight times L.",
    .published =
        "infonce_l2, tau 1, divided by the dimension, with the diagonal (the published code)",
    .params_size = sizeof(dispersive_params), .options = dispersive_options, .variants = dispersive_variants,
};
