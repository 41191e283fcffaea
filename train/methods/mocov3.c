/* mocov3.c: MoCo v3: predictions from one view pick the momentum encoder's key of the other view out of the batch's
 * keys, in both directions; no bank. Chen et al. 2021, arXiv:2104.02057, algorithm 1. The views go through either
 * network one after the other, as in the authors' code: batch norm sees each alone. */
#include "train/step/method.h"

#include <string.h>

static const clvi_takes takes[] = {
    { "info_nce", "moco_v3", { { "q1", "q1" }, { "q2", "q2" }, { "k1", "k1" }, { "k2", "k2" } } },
    { .loss = NULL }
};

static clv_status build(clvi_method *m)
{
    const clv_node z1 = clvi_method_embed(m, 0, NULL), z2 = clvi_method_embed(m, 1, NULL);
    clvi_method_give(m, "q1", clvi_method_rows(m, clvi_method_predict(m, z1)));
    clvi_method_give(m, "q2", clvi_method_rows(m, clvi_method_predict(m, z2)));
    (void)clvi_method_give_target(m, "k1", 0);
    (void)clvi_method_give_target(m, "k2", 1);
    return CLV_OK;
}

/* The authors' vision transformers have a predictor of the projector's form: batch norm after its last layer, too. */
static const char *choose_predictor(const clvi_settings *s)
{
    return !strncmp(s->arch, "vit", 3) ? "mocov3_projector" : "mocov3_predictor";
}

static const char *const uses[] = { "moco-m", "moco-m-cos", "bn-buffers", "shuffle-bn", NULL };

extern const clvi_method_class clvi_method_mocov3;
const clvi_method_class clvi_method_mocov3 = {
    .info = { "mocov3", "momentum contrast within the batch, with a predictor", "arXiv:2104.02057, algorithm 1",
              0 },
    .views = 2, .teacher = true, .takes = takes, .uses = uses, .head = "mocov3_projector",
    .predictor = "mocov3_predictor", .choose_predictor = choose_predictor, .build = build, .queues = true,
};
