/* byol.c: a predictor on one view says what the momentum encoder makes of the other. Grill et al. 2020,
 * arXiv:2006.07733, algorithm 1: both directions, the target network an average of the trained one (moco-m, raised to 1
 * along a half cosine with moco-m-cos). The views go through either network one after the other, as in the authors'
 * code: batch norm sees each alone. */
#include "train/step/method.h"

#define READS { { "p1", "p1" }, { "p2", "p2" }, { "z1", "z1" }, { "z2", "z2" } }

static const clvi_takes takes[] = {
    { "cosine_regression", "byol", READS },
    { "cosine_regression", "simsiam", READS },
    { .loss = NULL }
};

static clv_status build(clvi_method *m)
{
    const clv_node z1 = clvi_method_embed(m, 0, NULL), z2 = clvi_method_embed(m, 1, NULL);
    clvi_method_give(m, "p1", clvi_method_rows(m, clvi_method_predict(m, z1)));
    clvi_method_give(m, "p2", clvi_method_rows(m, clvi_method_predict(m, z2)));
    (void)clvi_method_give_target(m, "z1", 0);
    (void)clvi_method_give_target(m, "z2", 1);
    return CLV_OK;
}

static const char *const uses[] = { "moco-m", "moco-m-cos", "bn-buffers", "shuffle-bn", NULL };

extern const clvi_method_class clvi_method_byol;
const clvi_method_class clvi_method_byol = {
    .info = { "byol", "predicts what a momentum encoder says of the other view", "arXiv:2006.07733, algorithm 1",
              0 },
    .views = 2, .teacher = true, .takes = takes, .uses = uses, .head = "byol_mlp", .predictor = "byol_mlp",
    .build = build, .queues = true,
};
