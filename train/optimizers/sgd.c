/* sgd.c: stochastic gradient descent with momentum and weight decay in PyTorch's form (Sutskever et al. 2013):
 * d = g + wd w;  v = mu v + d (first step: v = d);  w -= lr v, or lr (d + mu v) with Nesterov. */
#include "device/flat.h"
#include "train/optimizers/optimizer.h"

static void update(clvi_optimizer *o, const clvi_update *u)
{
    const clvi_flat_sgd_args args = {
        .lr = u->lr, .momentum = o->settings->momentum, .weight_decay = u->weight_decay,
        .nesterov = o->settings->nesterov, .first = o->steps == 0, .followers = u->followers,
    };
    clvi_flat_sgd(o->ctx, u->dtype, u->n, u->w, u->g, u->state[0], &args);
}

static const char *const uses[] = { "momentum", "nesterov", "exclude-bias-n-norm-wd", NULL };

extern const clvi_optimizer_class clvi_optimizer_sgd;
const clvi_optimizer_class clvi_optimizer_sgd = {
    .info = { "sgd", "stochastic gradient descent with momentum and weight decay", "Sutskever et al. 2013", 0 },
    .states = 1, .state_name = { "momentum" }, .uses = uses, .no_decay = CLVI_EXCLUDES_IF_TOLD, .update = update,
};
