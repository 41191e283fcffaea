/* sgd.c: stochastic gradient descent with momentum and weight decay in PyTorch's form (Sutskever et al. 2013):
 * d = g + wd w;  v = mu v + d (first step: v = d);  w -= lr v, or lr (d + mu v) with Nesterov. */
#include "core/checked.h"
#include "device/flat.h"
#include "train/optimizer.h"

static void step_range(clvi_optimizer *o, const clv_view *w, const clv_view *g, int64_t begin, int64_t end, double lr)
{
    const size_t at = (size_t)begin * clv_dtype_size(w->dtype);
    const clvi_flat_sgd_args args = {
        .lr = lr, .momentum = o->momentum, .weight_decay = o->weight_decay, .nesterov = o->nesterov,
        .first = o->steps == 0,
    };
    clvi_flat_sgd(o->ctx, w->dtype, end - begin, (char *)w->data + at, (char *)g->data + at,
                  (char *)o->state[0] + at, &args);
}

static void sgd_step(clvi_optimizer *o, double lr)
{
    clv_view w, g;
    if (clv_params_flat(o->params, CLV_PARAM_VALUE, &w) || clv_params_flat(o->params, CLV_PARAM_GRADIENT, &g)) return;
    const int64_t all = clv_view_count(&w), held_from = CLVI_MIN(o->held_from, all);
    step_range(o, &w, &g, 0, held_from, lr);
    if (held_from < all) step_range(o, &w, &g, held_from, all, o->held_lr);
    o->steps++;
}

extern const clvi_optimizer_class clvi_optimizer_sgd;
const clvi_optimizer_class clvi_optimizer_sgd = {
    .info = { "sgd", "stochastic gradient descent with momentum and weight decay", "Sutskever et al. 2013", 0 },
    .states = 1, .state_name = { "momentum" }, .step = sgd_step,
};
