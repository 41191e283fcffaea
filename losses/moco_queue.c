/* moco_queue.c: InfoNCE whose negatives are a bank of earlier keys. He et al. 2020, arXiv:1911.05722, eq. 1.
 *
 *   L = mean_b ( LSE([<q_b,k_b>, <q_b,queue_j>]/t) - <q_b,k_b>/t ),   q = n(query), k = sg(n(key))
 *
 * The queue is the one before this batch is pushed; key and queue are constants. The queue is walked in tiles: memory
 * does not grow with B K unless `logits` is asked for. */
#include "losses/loss.h"

typedef struct moco_queue_params {
    double temperature;
    bool   normalize;
    double norm_eps;
} moco_queue_params;

static const clvi_option moco_queue_options[] = {
    CLVI_OPTION_F64(moco_queue_params, temperature, "temperature", "0.07", 1e-4, 1e4, "divides the similarities", "t"),
    CLVI_OPTION_BOOL(moco_queue_params, normalize, "normalize", "true",
                     "scale query and key rows to unit length first; queue rows are used as they are"),
    CLVI_OPTION_F64(moco_queue_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1, "rows are divided by max(norm, this)",
                    NULL),
    CLVI_OPTION_END
};

/* [<q,k> | <q,queue_j>]/t, 0 where a queue row does not count. */
static clv_node all_logits(clv_graph *g, clv_node q, clv_node k, const clv_node *in, double t)
{
    const clv_node positive = clv_reshape(g, clv_row_dot(g, q, k), 2, (int64_t[]) { clvi_node_length(g, q, 0), 1 });
    const clv_node queue = clv_node_dtype(g, in[2]) == CLV_BF16 ? clv_widen(g, in[2]) : in[2];
    clv_node negative = clv_matmul(g, q, false, queue, true);
    if (!clvi_node_none(in[3])) negative = clv_mask(g, negative, in[3]);
    if (!clvi_node_none(in[4])) negative = clv_mask(g, negative, clv_ids_differ(g, in[4], in[5]));
    return clv_scale(g, clv_concat(g, (clv_node[]) { positive, negative }, 2, 1), 1 / t, 0);
}

static clv_node moco_queue(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const moco_queue_params *p = params;
    const clv_node q = clvi_unit_rows(g, in[0], p->normalize, p->norm_eps);
    const clv_node k = clv_stop_gradient(g, clvi_unit_rows(g, in[1], p->normalize, p->norm_eps));
    const clv_node bank = clv_stop_gradient(g, in[2]);
    if (clvi_node_none(in[4]) != clvi_node_none(in[5]))
        clvi_graph_fail(g, CLV_ERR_INVALID, "moco_queue: 'ids' and 'queue_ids' come together");
    const clv_bank_nce_desc nce = { .query = q, .key = k, .bank = bank, .valid = in[3], .ids = in[4], .bank_ids = in[5],
                                    .temperature = p->temperature };
    out[0] = all_logits(g, q, k, in, p->temperature);
    out[1] = clv_bank_nce(g, &nce, &out[2]);
    return clv_reduce(g, out[1], -1, true);
}

static const clvi_loss_variant moco_queue_variants[] = {
    { .in  = { { "query", "B,D", CLVI_PORT_GRAD, "features of the query encoder" },
               { "key", "B,D", CLVI_PORT_FLOAT, "features of the key encoder; row i is the positive of query i" },
               { "queue", "K,D", CLVI_PORT_FLOAT | CLVI_PORT_STORED, "keys of earlier batches" },
               { "queue_valid", "K", CLVI_PORT_MASK | CLVI_PORT_OPTIONAL, "1: the row counts; 0: left out" },
               { "ids", "B", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL, "sample of each query; < 0: none" },
               { "queue_ids", "K", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL,
                 "sample of each queue row: rows of a query's own sample are left out" } },
      .out = { { "logits", "B,1+K", CLVI_PORT_FLOAT, "[positive, queue]/t, 0 where left out" },
               { "per_row", "B", CLVI_PORT_FLOAT, "loss of each query" },
               { "prob_pos", "B", CLVI_PORT_FLOAT, "probability of the positive, exp(-per_row)" } },
      .build = moco_queue },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_moco_queue = {
    .name = "moco_queue",
    .summary = "InfoNCE against a bank of earlier keys",
    .source = "He et al. 2020, arXiv:1911.05722, eq. 1",
    .formula =
        "With n(x) = x / max(|x|, norm-eps), q = n(query) and k = sg(n(key)) if normalize (sg: constant), t the "
        "temperature:\n"
        "L = mean_b ( LSE([<q_b,k_b>, <q_b,queue_j> for all j that count]/t) - <q_b,k_b>/t )\n"
        "A queue row j counts for query b when queue_valid_j is 1 (or not given) and queue_ids_j is not ids_b (or "
        "ids are not\n"
        "given, or ids_b < 0). Only query has a gradient.",
    .published =
        "* MoCo v1: bank of 65536, temperature 0.07, key encoder momentum 0.999, batch 256\n"
        "* MoCo v2: the same with temperature 0.2\n"
        "* MoCo on CIFAR-10: bank of 4096, temperature 0.1, key encoder momentum 0.99, batch 512",
    .params_size = sizeof(moco_queue_params), .options = moco_queue_options, .variants = moco_queue_variants,
};
