/* lamb.c: Adam whose step is as long, in every tensor, as the tensor's norm times the learning rate: You et al. 2020,
 * arXiv:1904.00962, algorithm 2, phi being the identity. A tensor or a step of norm 0 takes the plain learning rate. */
#include "device/flat.h"
#include "train/optimizers/optimizer.h"

#include <math.h>

static clvi_flat_adam_args arguments(const clvi_optimizer *o, const clvi_update *u)
{
    const double beta1 = o->settings->beta1, beta2 = o->settings->beta2, t = (double)(o->steps + 1);
    return (clvi_flat_adam_args){
        .lr = u->lr, .beta1 = beta1, .beta2 = beta2, .eps = o->eps, .weight_decay = u->weight_decay,
        .correction1 = 1 - pow(beta1, t), .correction2 = 1 - pow(beta2, t),
        .followers = u->followers,
    };
}

static void measure(clvi_optimizer *o, const clvi_update *u, double *sum)
{
    const clvi_flat_adam_args args = arguments(o, u);
    clvi_flat_lamb_moments(o->ctx, u->dtype, u->n, u->w, u->g, u->state[0], u->state[1], &args, sum);
}

static void update(clvi_optimizer *o, const clvi_update *u)
{
    const clvi_flat_adam_args args = arguments(o, u);
    const clvi_flat_rate ratio = { .trust = 1, .factor = 1, .squares = u->adapt ? u->squares : NULL };
    clvi_flat_lamb(o->ctx, u->dtype, u->n, u->w, u->state[0], u->state[1], &args, &ratio);
}

static const char *const uses[] = {
    "beta1", "beta2", "eps", "exclude-bias-n-norm-wd", "exclude-bias-n-norm-lars", NULL,
};

extern const clvi_optimizer_class clvi_optimizer_lamb;
const clvi_optimizer_class clvi_optimizer_lamb = {
    .info = { "lamb", "Adam with a rate of its own for every tensor", "arXiv:1904.00962, algorithm 2", 0 },
    .states = 2, .state_name = { "exp_avg", "exp_avg_sq" }, .uses = uses, .adapts = true,
    .no_decay = CLVI_EXCLUDES_IF_TOLD, .no_adapt = CLVI_EXCLUDES_IF_TOLD, .eps = 1e-6,
    .measure = measure, .update = update,
};
