/* lars.c: SGD with momentum and a rate of its own for every tensor, trust |w| / |gradient|: You et al. 2017,
 * arXiv:1708.03888. Three forms of it are published with recipes, and their learning rates do not carry over:
 *   lars_moco_v3     d = g + wd w; q = trust |w| / |d|;  v = mu v + q d;  w -= lr v
 *   lars_simclr      the same q;  v = mu v + lr q d;  w -= v: a new learning rate does not act on old momentum
 *   lars_solo_learn  q = trust |w| / (|g| + wd |w| + eps), the paper's, with clip-lr min(q / lr, 1);  v = mu v + q d;
 *                    w -= lr v
 * A tensor or gradient of norm 0 has q = 1; solo-learn's then has no weight decay either. */
#include "device/flat.h"
#include "train/optimizers/optimizer.h"

static clvi_flat_sgd_args arguments(const clvi_optimizer *o, const clvi_update *u)
{
    return (clvi_flat_sgd_args){
        .lr = u->lr, .momentum = o->settings->momentum, .weight_decay = u->weight_decay,
        .nesterov = o->settings->nesterov, .first = o->steps == 0, .followers = u->followers,
    };
}

/* |w|^2 and |g + wd w|^2 */
static void measure(clvi_optimizer *o, const clvi_update *u, double *sum)
{
    if (u->adapt) clvi_flat_norms2(o->ctx, u->dtype, u->n, u->w, u->g, u->weight_decay, sum);
}

/* |w|^2 and |g|^2 */
static void measure_solo_learn(clvi_optimizer *o, const clvi_update *u, double *sum)
{
    if (u->adapt) clvi_flat_norms2(o->ctx, u->dtype, u->n, u->w, u->g, 0, sum);
}

/* trust |w| / |g + wd w|, or 1. */
static clvi_flat_rate rate(const clvi_optimizer *o, const clvi_update *u)
{
    return (clvi_flat_rate){ .trust = o->settings->trust_coefficient, .factor = 1,
                             .squares = u->adapt ? u->squares : NULL };
}

static void update_moco_v3(clvi_optimizer *o, const clvi_update *u)
{
    const clvi_flat_sgd_args args = arguments(o, u);
    const clvi_flat_rate q = rate(o, u);
    clvi_flat_lars(o->ctx, u->dtype, u->n, u->w, u->g, u->state[0], &args, &q);
}

static void update_simclr(clvi_optimizer *o, const clvi_update *u)
{
    clvi_flat_sgd_args args = arguments(o, u);
    clvi_flat_rate q = rate(o, u);
    args.lr = 1;
    q.factor = u->lr;
    clvi_flat_lars(o->ctx, u->dtype, u->n, u->w, u->g, u->state[0], &args, &q);
}

static void update_solo_learn(clvi_optimizer *o, const clvi_update *u)
{
    const clvi_flat_sgd_args args = arguments(o, u);
    clvi_flat_rate q = rate(o, u);
    q.decay = u->weight_decay;
    q.eps = o->eps;
    q.clip = o->settings->clip_lr ? u->lr : 0;
    q.drops = true;
    clvi_flat_lars(o->ctx, u->dtype, u->n, u->w, u->g, u->state[0], &args, &q);
}

static const char *const uses[] = { "momentum", "nesterov", "trust-coefficient", NULL };
static const char *const uses_solo_learn[] = {
    "momentum", "nesterov", "trust-coefficient", "clip-lr", "eps", "exclude-bias-n-norm-wd", "exclude-bias-n-norm-lars",
    NULL,
};

extern const clvi_optimizer_class clvi_optimizer_lars_moco_v3;
const clvi_optimizer_class clvi_optimizer_lars_moco_v3 = {
    .info = { "lars_moco_v3", "layer-wise adaptive rates as in MoCo v3", "arXiv:1708.03888; arXiv:2104.02057", 0 },
    .states = 1, .state_name = { "momentum" }, .uses = uses, .adapts = true,
    .no_decay = CLVI_EXCLUDES_ALWAYS, .no_adapt = CLVI_EXCLUDES_ALWAYS, .measure = measure,
    .update = update_moco_v3,
};

extern const clvi_optimizer_class clvi_optimizer_lars_simclr;
const clvi_optimizer_class clvi_optimizer_lars_simclr = {
    .info = { "lars_simclr", "layer-wise adaptive rates as in SimCLR", "arXiv:1708.03888; arXiv:2002.05709", 0 },
    .states = 1, .state_name = { "momentum" }, .uses = uses, .adapts = true,
    .no_decay = CLVI_EXCLUDES_ALWAYS, .no_adapt = CLVI_EXCLUDES_ALWAYS, .measure = measure,
    .update = update_simclr,
};

extern const clvi_optimizer_class clvi_optimizer_lars_solo_learn;
const clvi_optimizer_class clvi_optimizer_lars_solo_learn = {
    .info = { "lars_solo_learn", "layer-wise adaptive rates as in solo-learn", "arXiv:1708.03888, eq. 6", 0 },
    .states = 1, .state_name = { "momentum" }, .uses = uses_solo_learn, .adapts = true,
    .no_decay = CLVI_EXCLUDES_IF_TOLD, .no_adapt = CLVI_EXCLUDES_IF_TOLD, .eps = 1e-8,
    .measure = measure_solo_learn, .update = update_solo_learn,
};
