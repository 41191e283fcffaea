/* adamw.c: Adam with decoupled weight decay in PyTorch's form: Loshchilov and Hutter 2019, arXiv:1711.05101,
 * algorithm 2, the decay being lr wd w. The two averages are corrected for having begun at zero. */
#include "device/flat.h"
#include "train/optimizers/optimizer.h"

#include <math.h>

static void update(clvi_optimizer *o, const clvi_update *u)
{
    const double beta1 = o->settings->beta1, beta2 = o->settings->beta2, t = (double)(o->steps + 1);
    const clvi_flat_adam_args args = {
        .lr = u->lr, .beta1 = beta1, .beta2 = beta2, .eps = o->eps, .weight_decay = u->weight_decay,
        .correction1 = 1 - pow(beta1, t), .correction2 = 1 - pow(beta2, t),
        .followers = u->followers,
    };
    clvi_flat_adamw(o->ctx, u->dtype, u->n, u->w, u->g, u->state[0], u->state[1], &args);
}

static const char *const uses[] = { "beta1", "beta2", "eps", "exclude-bias-n-norm-wd", NULL };

extern const clvi_optimizer_class clvi_optimizer_adamw;
const clvi_optimizer_class clvi_optimizer_adamw = {
    .info = { "adamw", "Adam with decoupled weight decay", "arXiv:1711.05101, algorithm 2", 0 },
    .states = 2, .state_name = { "exp_avg", "exp_avg_sq" }, .uses = uses,
    .no_decay = CLVI_EXCLUDES_IF_TOLD, .eps = 1e-8, .update = update,
};
