/* barlow.c: the features of two views agree, and no two features say the same. Zbontar et al. 2021, arXiv:2103.03230,
 * algorithm 1. The views go through the network one after the other, as in the authors' code: batch norm sees each
 * alone. */
#include "train/step/method.h"

static const clvi_takes takes[] = {
    { "barlow_twins", NULL, { { "z1", "z1" }, { "z2", "z2" } } },
    { "vicreg", NULL, { { "x", "z1" }, { "y", "z2" } } },
    { .loss = NULL }
};

static clv_status build(clvi_method *m)
{
    clvi_method_give(m, "z1", clvi_method_rows(m, clvi_method_embed(m, 0, NULL)));
    clvi_method_give(m, "z2", clvi_method_rows(m, clvi_method_embed(m, 1, NULL)));
    return CLV_OK;
}

extern const clvi_method_class clvi_method_barlow;
const clvi_method_class clvi_method_barlow = {
    .info = { "barlow", "redundancy reduction: Barlow Twins", "arXiv:2103.03230, algorithm 1", 0 },
    .views = 2, .takes = takes, .head = "barlow_projector", .build = build, .queues = true,
};
