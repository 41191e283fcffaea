/* mse.c: mean squared error of a prediction, what flow matching and diffusion models minimise (Lipman et al. 2023,
 * arXiv:2210.02747, eq. 9, whose norm is a mean here).
 *
 *   per_row_b = mean over everything but the batch of (prediction_b - target_b)^2,   L = mean_b per_row_b */
#include "losses/loss.h"
#include "core/checked.h"

static const clvi_option mse_options[] = { CLVI_OPTION_END };

static clv_node flatten(clv_graph *g, clv_node x)
{
    int64_t shape[CLV_MAX_DIMS] = { 0 }, length = 1;
    const int ndim = clv_node_shape(g, x, shape);
    for (int i = 1; i < ndim; i++) length *= shape[i];
    return clv_reshape(g, x, 2, (int64_t[]) { shape[0], length });
}

static clv_node mse(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const clv_node error = clv_sub(g, flatten(g, in[0]), flatten(g, clv_stop_gradient(g, in[1])));
    const double length = (double)CLVI_MAX(clvi_node_length(g, error, 1), INT64_C(1));
    (void)params;
    out[0] = clv_scale(g, clv_row_dot(g, error, error), 1 / length, 0);
    return clv_reduce(g, out[0], -1, true);
}

static const clvi_loss_variant mse_variants[] = {
    { .in  = { { "prediction", "B,...", CLVI_PORT_GRAD, "what the network says" },
               { "target", "B,...", CLVI_PORT_FLOAT, "what it should say, of as many values a row" } },
      .out = { { "per_row", "B", CLVI_PORT_FLOAT, "mean squared error of each row" } },
      .build = mse },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_mse = {
    .name = "mse",
    .summary = "mean squared error of a prediction (flow matching, diffusion)",
    .source = "Lipman et al. 2023, arXiv:2210.02747, eq. 9",
    .formula = "per_row_b = mean over everything but the batch of (prediction_b - target_b)^2; L = mean_b per_row_b. "
               "The target is a\nconstant.",
    .options = mse_options, .variants = mse_variants,
};
