/* barlow_twins.c: the cross-correlation of two views' features should be the identity. Zbontar et al. 2021,
 * arXiv:2103.03230, eq. 1 and 2.
 *
 *   Z = columns (z - mean)/sqrt(var + bn_eps) with biased var,   c = Z1^T Z2 / N
 *   L = scale ( sum_d (c_dd - 1)^2 + lambd sum_{d != e} c_de^2 )
 *
 * With fewer rows than columns c is never made: sum_de c_de^2 = <Z1 Z1^T, Z2 Z2^T> / N^2, and c_dd is a column
 * product. */
#include "losses/loss.h"

typedef struct barlow_twins_params {
    double lambd, scale, bn_eps;
} barlow_twins_params;

static const clvi_option barlow_twins_options[] = {
    CLVI_OPTION_F64(barlow_twins_params, lambd, "lambd", "0.0051", 0, 1e6, "weight of the off-diagonal entries",
                    "lambda"),
    CLVI_OPTION_F64(barlow_twins_params, scale, "scale", "1", 0, 1e6, "multiplies the loss", NULL),
    CLVI_OPTION_F64(barlow_twins_params, bn_eps, "bn-eps", "1e-5", 1e-30, 1, "added to the variance of each column",
                    NULL),
    CLVI_OPTION_END
};

/* Sum of the squares of all entries of a^T b. */
static clv_node sum_squared_products(clv_graph *g, clv_node a, clv_node b)
{
    if (clvi_node_length(g, a, 0) >= clvi_node_length(g, a, 1))
        return clvi_sum_squares(g, clv_matmul(g, a, true, b, false));
    return clv_reduce(g, clv_row_dot(g, clv_gram(g, a, false), clv_gram(g, b, false)), -1, false);
}

static clv_node barlow_twins(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const barlow_twins_params *p = params;
    const int64_t N = clvi_node_length(g, in[0], 0);
    if (N == 0) return clv_reduce(g, in[0], -1, false);
    const double per_row = 1 / (double)N;
    const clv_node a = clv_standardize_columns(g, in[0], p->bn_eps, false);
    const clv_node b = clv_standardize_columns(g, in[1], p->bn_eps, false);
    const clv_node diagonal = clv_scale(g, clv_column_dot(g, a, b), per_row, 0);
    const clv_node missing = clv_scale(g, diagonal, 1, -1);
    const clv_node all = clv_scale(g, sum_squared_products(g, a, b), per_row * per_row, 0);
    out[0] = clv_scale(g, clv_matmul(g, a, true, b, false), per_row, 0);
    out[1] = clv_reduce(g, clv_mul(g, missing, missing), -1, false);
    out[2] = clv_sub(g, all, clv_reduce(g, clv_mul(g, diagonal, diagonal), -1, false));
    return clv_scale(g, clv_add(g, out[1], clv_scale(g, out[2], p->lambd, 0)), p->scale, 0);
}

static const clvi_loss_variant barlow_twins_variants[] = {
    { .in  = { { "z1", "N,D", CLVI_PORT_GRAD, "features of one view" },
               { "z2", "N,D", CLVI_PORT_GRAD, "features of the other view, row by row the same samples" } },
      .out = { { "cross_correlation", "D,D", CLVI_PORT_FLOAT, "c" },
               { "on_diag", "", CLVI_PORT_FLOAT, "sum of (c_dd - 1)^2" },
               { "off_diag", "", CLVI_PORT_FLOAT, "sum of the other c_de^2" } },
      .build = barlow_twins },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_barlow_twins = {
    .name = "barlow_twins",
    .summary = "features of two views agree, and no two features say the same",
    .source = "Zbontar et al. 2021, arXiv:2103.03230, eq. 1 and 2",
    .formula =
        "Columns are standardised over the batch with the biased variance, Z = (z - mean)/sqrt(var + bn-eps), and\n"
        "c = Z1^T Z2 / N.\n"
        "L = scale ( sum_d (c_dd - 1)^2 + lambd sum_{d != e} c_de^2 )",
    .published =
        "lambd 0.0051, scale 1 (the published code)",
    .params_size = sizeof(barlow_twins_params), .options = barlow_twins_options, .variants = barlow_twins_variants,
};
