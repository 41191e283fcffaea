/* vicreg.c: two views agree, every feature varies, no two features covary. Bardes et al. 2022, arXiv:2105.04906,
 * algorithm 1. The views go through the network one after the other, as in the authors' code: batch norm sees each
 * alone. */
#include "train/step/method.h"

static const clvi_takes takes[] = {
    { "vicreg", NULL, { { "x", "x" }, { "y", "y" } } },
    { "barlow_twins", NULL, { { "z1", "x" }, { "z2", "y" } } },
    { .loss = NULL }
};

static clv_status build(clvi_method *m)
{
    clvi_method_give(m, "x", clvi_method_rows(m, clvi_method_embed(m, 0, NULL)));
    clvi_method_give(m, "y", clvi_method_rows(m, clvi_method_embed(m, 1, NULL)));
    return CLV_OK;
}

extern const clvi_method_class clvi_method_vicreg;
const clvi_method_class clvi_method_vicreg = {
    .info = { "vicreg", "variance, invariance, covariance", "arXiv:2105.04906, algorithm 1", 0 },
    .views = 2, .takes = takes, .head = "vicreg_projector", .build = build, .queues = true,
};
