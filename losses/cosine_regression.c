/* cosine_regression.c: a predictor regresses the other view's features, which are constant; no negatives.
 *
 *   cos12_i = <n(p1_i), n(z2_i)>,   cos21_i = <n(p2_i), n(z1_i)>,   z1, z2 constant
 *
 * byol:    L = mean_i ( |n(p1_i) - n(z2_i)|^2 + |n(p2_i) - n(z1_i)|^2 ) = mean_i ( 4 - 2 cos12_i - 2 cos21_i ).
 *          Grill et al. 2020, arXiv:2006.07733, eq. 2, symmetrised.
 * simsiam: L = -mean_i ( cos12_i + cos21_i ) / 2. Chen and He 2021, arXiv:2011.10566, eq. 1 and 2. */
#include "losses/loss.h"

typedef struct cosine_regression_params {
    int    variant;
    double norm_eps;
} cosine_regression_params;

static const clvi_option cosine_regression_options[] = {
    CLVI_OPTION_CHOICE(cosine_regression_params, variant, "variant", "byol", "byol|simsiam",
                       "squared distance of unit rows, or negative cosine"),
    CLVI_OPTION_F64(cosine_regression_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1,
                    "rows are divided by max(norm, this)", NULL),
    CLVI_OPTION_END
};

static clv_node cosine(clv_graph *g, clv_node p, clv_node z, double eps)
{
    return clv_row_dot(g, clv_l2norm_rows(g, p, eps), clv_stop_gradient(g, clv_l2norm_rows(g, z, eps)));
}

/* cos12 + cos21 of each row. */
static clv_node cosines(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const cosine_regression_params *p = params;
    out[0] = cosine(g, in[0], in[3], p->norm_eps);
    out[1] = cosine(g, in[1], in[2], p->norm_eps);
    return clv_add(g, out[0], out[1]);
}

static clv_node byol(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    return clv_reduce(g, clv_scale(g, cosines(g, in, params, out), -2, 4), -1, true);
}

static clv_node simsiam(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    return clv_scale(g, clv_reduce(g, cosines(g, in, params, out), -1, true), -0.5, 0);
}

#define PORTS                                                                                                          \
    .in  = { { "p1", "B,D", CLVI_PORT_GRAD, "predictions from view 1" },                                               \
             { "p2", "B,D", CLVI_PORT_GRAD, "predictions from view 2" },                                               \
             { "z1", "B,D", CLVI_PORT_FLOAT, "targets of view 1 (byol: of the momentum encoder)" },                    \
             { "z2", "B,D", CLVI_PORT_FLOAT, "targets of view 2" } },                                                  \
    .out = { { "cos12", "B", CLVI_PORT_FLOAT, "cosine of p1 and z2" },                                                 \
             { "cos21", "B", CLVI_PORT_FLOAT, "cosine of p2 and z1" } }

static const clvi_loss_variant cosine_regression_variants[] = {
    { "byol", PORTS, .build = byol },
    { "simsiam", PORTS, .build = simsiam },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_cosine_regression = {
    .name = "cosine_regression",
    .summary = "regress the other view's features up to scale, without negatives (BYOL, SimSiam)",
    .source = "Grill et al. 2020, arXiv:2006.07733, eq. 2; Chen and He 2021, arXiv:2011.10566, eq. 1 and 2",
    .formula =
        "With n(x) = x / max(|x|, norm-eps), z1 and z2 constant, cos12_i = <n(p1_i), n(z2_i)> and cos21_i = "
        "<n(p2_i), n(z1_i)>:\n"
        "* byol: L = mean_i ( |n(p1_i) - n(z2_i)|^2 + |n(p2_i) - n(z1_i)|^2 ) = mean_i ( 4 - 2 cos12_i - 2 cos21_i "
        ").\n"
        "* simsiam: L = -( mean_i cos12_i + mean_i cos21_i ) / 2.",
    .params_size = sizeof(cosine_regression_params), .options = cosine_regression_options,
    .variants = cosine_regression_variants,
};
