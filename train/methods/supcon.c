/* supcon.c: views of one class pick each other out of the batch. Khosla et al. 2020, arXiv:2004.11362, section 3. Both
 * views are one batch to the network, as in the authors' code: batch norm sees them together. Losses of one set of rows
 * get both views' embeddings, one below the other. */
#include "train/step/method.h"

static const clvi_takes takes[] = {
    { "supcon", NULL, { { "features", "views" }, { "labels", "labels" } } },
    { "triplet", "batch_hard", { { "features", "rows" }, { "labels", "row_labels" } } },
    { "triplet", "batch_hard_soft", { { "features", "rows" }, { "labels", "row_labels" } } },
    { "triplet", "batch_all", { { "features", "rows" }, { "labels", "row_labels" } } },
    { "circle", "pairwise", { { "features", "rows" }, { "labels", "row_labels" } } },
    { "n_pair", NULL, { { "anchor", "z1" }, { "positive", "z2" }, { "labels", "labels" } } },
    { .loss = NULL }
};

static clv_status build(clvi_method *m)
{
    clv_graph *g = m->graph;
    clv_node z[2];
    clvi_method_embed_jointly(m, z);
    for (int v = 0; v < 2; v++) z[v] = clvi_method_rows(m, z[v]);
    if (clvi_objective_reads(&m->objective, "views")) {
        const int64_t apart[3] = { m->batch, 1, m->dim };
        const clv_node side[2] = { clv_reshape(g, z[0], 3, apart), clv_reshape(g, z[1], 3, apart) };
        clvi_method_give(m, "views", clv_concat(g, side, 2, 1));
    }
    clvi_method_give(m, "z1", z[0]);
    clvi_method_give(m, "z2", z[1]);
    if (clvi_objective_reads(&m->objective, "labels")) (void)clvi_method_give_labels(m, "labels", 1);
    if (clvi_objective_reads(&m->objective, "rows")) {
        clvi_method_give(m, "rows", clv_concat(g, z, 2, 0));
        (void)clvi_method_give_labels(m, "row_labels", 2);
    }
    return CLV_OK;
}

extern const clvi_method_class clvi_method_supcon;
const clvi_method_class clvi_method_supcon = {
    .info = { "supcon", "views of one class pick each other out of the batch", "arXiv:2004.11362, section 3", 0 },
    .views = 2, .labels = true, .takes = takes, .head = "mlp", .build = build, .queues = true,
};
