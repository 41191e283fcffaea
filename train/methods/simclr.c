/* simclr.c: two views of each image pick each other out of all views of the batch. Chen et al. 2020, arXiv:2002.05709,
 * algorithm 1. Both views are one batch to the network, as in the authors' code: batch norm sees them together. */
#include "train/step/method.h"

static const clvi_takes takes[] = {
    { "nt_xent", NULL, { { "z1", "z1" }, { "z2", "z2" } } },
    { "info_nce", "in_batch", { { "query", "z1" }, { "key", "z2" } } },
    { "n_pair", NULL, { { "anchor", "z1" }, { "positive", "z2" } } },
    { .loss = NULL }
};

static clv_status build(clvi_method *m)
{
    clv_node z[2];
    clvi_method_embed_jointly(m, z);
    clvi_method_give(m, "z1", clvi_method_rows(m, z[0]));
    clvi_method_give(m, "z2", clvi_method_rows(m, z[1]));
    return CLV_OK;
}

extern const clvi_method_class clvi_method_simclr;
const clvi_method_class clvi_method_simclr = {
    .info = { "simclr", "two views pick each other out of the batch", "arXiv:2002.05709, algorithm 1", 0 },
    .views = 2, .takes = takes, .head = "simclr_projector", .build = build, .queues = true,
};
