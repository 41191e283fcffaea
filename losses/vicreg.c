/* vicreg.c: variance, invariance, covariance. Bardes et al. 2022, arXiv:2105.04906, eq. 1 to 6.
 *
 *   invariance = mean over all N D entries of (x - y)^2
 *   variance   = ( mean_d max(0, gamma - std_d(x)) + the same of y ) / 2,   std_d = sqrt(unbiased var_d + eps)
 *   covariance = ( sum of squared off-diagonal entries of Cov(x) ) / D + the same of y,   Cov = Xc^T Xc / (N - 1)
 *   L = sim_coeff invariance + std_coeff variance + cov_coeff covariance
 *
 * With fewer rows than columns Cov is never made: the sum of all its squares is that of Xc Xc^T. */
#include "losses/loss.h"
#include "core/checked.h"

typedef struct vicreg_params {
    double sim_coeff, std_coeff, cov_coeff, gamma, eps;
} vicreg_params;

static const clvi_option vicreg_options[] = {
    CLVI_OPTION_F64(vicreg_params, sim_coeff, "sim-coeff", "25", 0, 1e9, "weight of the invariance", "lambda"),
    CLVI_OPTION_F64(vicreg_params, std_coeff, "std-coeff", "25", 0, 1e9, "weight of the variance", "mu"),
    CLVI_OPTION_F64(vicreg_params, cov_coeff, "cov-coeff", "1", 0, 1e9, "weight of the covariance", "nu"),
    CLVI_OPTION_F64(vicreg_params, gamma, "gamma", "1", 0, 1e6, "standard deviation that is enough", "gamma"),
    CLVI_OPTION_F64(vicreg_params, eps, "eps", "1e-4", 1e-30, 1, "added to the variance of each column", "epsilon"),
    CLVI_OPTION_END
};

/* What one view contributes to variance and covariance. */
static void spread(clv_graph *g, clv_node x, const vicreg_params *p, clv_node *variance, clv_node *covariance)
{
    const int64_t N = clvi_node_length(g, x, 0), D = clvi_node_length(g, x, 1);
    const double divisor = (double)CLVI_MAX(N - 1, 1);
    const clv_node centred = clv_center_columns(g, x);
    const clv_node var = clv_scale(g, clv_column_dot(g, centred, centred), 1 / divisor, 0);
    const clv_node std = clv_sqrt(g, clv_scale(g, var, 1, p->eps));
    *variance = clv_reduce(g, clv_relu(g, clv_scale(g, std, -1, p->gamma)), -1, true);

    *covariance = clv_scale(g, clvi_off_diagonal_squares(g, centred),
                            1 / (divisor * divisor * (double)CLVI_MAX(D, 1)), 0);
}

static clv_node vicreg(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const vicreg_params *p = params;
    clv_node var_x, var_y, cov_x, cov_y;
    if (clvi_node_length(g, in[0], 0) == 0) return clv_reduce(g, in[0], -1, false);
    const clv_node gap = clv_sub(g, in[0], in[1]);
    spread(g, in[0], p, &var_x, &cov_x);
    spread(g, in[1], p, &var_y, &cov_y);
    out[0] = clv_reduce(g, clv_mul(g, gap, gap), -1, true);
    out[1] = clv_scale(g, clv_add(g, var_x, var_y), 0.5, 0);
    out[2] = clv_add(g, cov_x, cov_y);
    const clv_node similar = clv_scale(g, out[0], p->sim_coeff, 0), wide = clv_scale(g, out[1], p->std_coeff, 0);
    return clv_add(g, clv_add(g, similar, wide), clv_scale(g, out[2], p->cov_coeff, 0));
}

static const clvi_loss_variant vicreg_variants[] = {
    { .in  = { { "x", "N,D", CLVI_PORT_GRAD, "features of one view" },
               { "y", "N,D", CLVI_PORT_GRAD, "features of the other view, row by row the same samples" } },
      .out = { { "invariance", "", CLVI_PORT_FLOAT, "mean squared difference" },
               { "variance", "", CLVI_PORT_FLOAT, "mean lack of standard deviation" },
               { "covariance", "", CLVI_PORT_FLOAT, "squared covariances of different columns over D" } },
      .build = vicreg },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_vicreg = {
    .name = "vicreg",
    .summary = "views agree, every feature varies, no two features covary",
    .source = "Bardes et al. 2022, arXiv:2105.04906, eq. 1 to 6",
    .formula =
        "* invariance: the mean over all N D entries of (x - y)^2.\n"
        "* variance: ( mean_d max(0, gamma - std_d(x)) + mean_d max(0, gamma - std_d(y)) ) / 2, where std_d is\n"
        "  sqrt(var_d + eps) with the unbiased variance of column d.\n"
        "* covariance: the sum of the squared off-diagonal entries of Cov(x), divided by D, plus the same of y, "
        "where\n"
        "  Cov(x) = Xc^T Xc / (N - 1) and Xc has centred columns.\n"
        "L = sim-coeff invariance + std-coeff variance + cov-coeff covariance",
    .published =
        "sim-coeff 25, std-coeff 25, cov-coeff 1, gamma 1, eps 1e-4",
    .params_size = sizeof(vicreg_params), .options = vicreg_options, .variants = vicreg_variants,
};
