/* sgd.c: stochastic gradient descent with momentum and weight decay in PyTorch's form (Sutskever et al. 2013):
 * d = g + wd w;  v = mu v + d (first step: v = d);  w -= lr v, or lr (d + mu v) with Nesterov. */
#include "device/cpu/flat.h"
#include "train/optimizer.h"

static void sgd_step(clvi_optimizer *o, double lr)
{
    clv_view w, g;
    if (clv_params_flat(o->params, CLV_PARAM_VALUE, &w) || clv_params_flat(o->params, CLV_PARAM_GRADIENT, &g)) return;
    const clvi_flat_sgd_args args = {
        .lr = lr, .momentum = o->momentum, .weight_decay = o->weight_decay, .nesterov = o->nesterov,
        .first = o->steps == 0,
    };
    clvi_flat_sgd(o->ctx, w.dtype, clv_view_count(&w), w.data, g.data, o->state[0], &args);
    o->steps++;
}

extern const clvi_optimizer_class clvi_optimizer_sgd;
const clvi_optimizer_class clvi_optimizer_sgd = {
    .info = { "sgd", "stochastic gradient descent with momentum and weight decay", "Sutskever et al. 2013", 0 },
    .states = 1, .state_name = { "momentum" }, .step = sgd_step,
};
