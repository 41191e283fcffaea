/* simsiam.c: a predictor on one view says what the other view's features are, which are constants; no negatives, no
 * momentum encoder. Chen and He 2021, arXiv:2011.10566, algorithm 1. The views go through the network one after the
 * other, as in the authors' code: batch norm sees each alone. With fix-pred-lr the predictor's learning rate does not
 * decay, as published for ImageNet. */
#include "train/step/method.h"
#include "train/config/schedule.h"

#define READS { { "p1", "p1" }, { "p2", "p2" }, { "z1", "z1" }, { "z2", "z2" } }

static const clvi_takes takes[] = {
    { "cosine_regression", "simsiam", READS },
    { "cosine_regression", "byol", READS },
    { .loss = NULL }
};

static clv_status build(clvi_method *m)
{
    const clv_node z1 = clvi_method_embed(m, 0, NULL), z2 = clvi_method_embed(m, 1, NULL);
    clvi_method_give(m, "p1", clvi_method_rows(m, clvi_method_predict(m, z1)));
    clvi_method_give(m, "p2", clvi_method_rows(m, clvi_method_predict(m, z2)));
    clvi_method_give(m, "z1", clvi_method_rows(m, z1));             /* constants to the loss */
    clvi_method_give(m, "z2", clvi_method_rows(m, z2));
    return CLV_OK;
}

static clv_status ready(clvi_method *m)
{
    if (!m->settings->fix_pred_lr) return CLV_OK;
    return clvi_optimizer_hold(m->optimizer, "predictor.", clvi_schedule_base(m->settings));
}

static const char *const uses[] = { "fix-pred-lr", NULL };

extern const clvi_method_class clvi_method_simsiam;
const clvi_method_class clvi_method_simsiam = {
    .info = { "simsiam", "a predictor and a stopped gradient, no negatives", "arXiv:2011.10566, algorithm 1",
              0 },
    .views = 2, .takes = takes, .uses = uses, .head = "simsiam_projector",
    .predictor = "simsiam_predictor", .build = build, .queues = true, .ready = ready,
};
