/* mochi.c: InfoNCE against a bank and against harder negatives mixed from it: MoCHi(N, s, s').
 * Kalantidis et al. 2020, arXiv:2010.01028, sections 4.1 and 4.2.
 *
 *   L = mean_b ( LSE([<q_b,k_b>, <q_b,queue_j>, <q_b,h_bc>, <q_b,h'_bc>]/t) - <q_b,k_b>/t )
 *   q = n(query), k = sg(n(key))
 *   h_bc  = n( alpha_bc r_b(i_bc) + (1 - alpha_bc) r_b(j_bc) ),  alpha in (0,1)      s of them
 *   h'_bc = n( beta_bc q_b + (1 - beta_bc) r_b(j'_bc) ),         beta in (0,1/2)     s' of them
 *   r_b(x): the queue row at rank x (0: the most similar to q_b) among the N hardest that count for b
 *
 * The queue is walked once, for the sum and the ranking; a mix is made, used and forgotten. */
#include "losses/loss.h"
#include "tensor/bank.h"

typedef struct mochi_params {
    double  temperature;
    bool    normalize;
    double  norm_eps;
    int64_t hardest, pairs, queries;
    bool    stop_grad_synthetic, oracle;
    double  epoch, warmup_epochs;
    int64_t seed, step;
} mochi_params;

static const clvi_option mochi_options[] = {
    CLVI_OPTION_F64(mochi_params, temperature, "temperature", "0.2", 1e-4, 1e4, "divides the similarities", "t"),
    CLVI_OPTION_BOOL(mochi_params, normalize, "normalize", "true",
                     "scale query and key rows to unit length first; queue rows are used as they are"),
    CLVI_OPTION_F64(mochi_params, norm_eps, "norm-eps", "1e-12", 1e-30, 1,
                    "rows and mixes are divided by max(norm, this)", NULL),
    CLVI_OPTION_I64(mochi_params, hardest, "N", "1024", 1, 1048576, "how many of the hardest negatives are mixed",
                    "N"),
    CLVI_OPTION_I64(mochi_params, pairs, "s", "512", 0, 65536, "pairs mixed per query, when none are given", "s"),
    CLVI_OPTION_I64(mochi_params, queries, "s-prime", "256", 0, 65536,
                    "negatives mixed with the query itself, when none are given", "s'"),
    CLVI_OPTION_BOOL(mochi_params, stop_grad_synthetic, "stop-grad-synthetic", "true",
                     "no gradient through the query inside a mix"),
    CLVI_OPTION_BOOL(mochi_params, oracle, "oracle", "false",
                     "leave queue rows of the query's own class out, of the ranking and of the sum"),
    CLVI_OPTION_F64(mochi_params, epoch, "epoch", "0", 0, 1e9, "the current epoch", NULL),
    CLVI_OPTION_F64(mochi_params, warmup_epochs, "warmup-epochs", "0", 0, 1e9,
                    "no mixes before this epoch (10 in a public configuration for ImageNet-100)", NULL),
    CLVI_OPTION_I64(mochi_params, seed, "seed", "0", 0, 9007199254740992, "seed of the draws", NULL),
    CLVI_OPTION_I64(mochi_params, step, "step", "0", -1, 9007199254740992,
                    "number of the optimiser step, for the draws; -1: no mixes", NULL),
    CLVI_OPTION_END
};

enum { QUERY, KEY, QUEUE, VALID, LABELS, QUEUE_LABELS, IDX_I, IDX_J, ALPHA, IDX_Q, BETA, STEP };
enum { LOGITS, PER_ROW, TOPK_IDX, SYNTH, SYNTH_PRIME, NEGATIVE_KEEP, FALSE_NEGATIVES };

static void check_inputs(clv_graph *g, const mochi_params *p, const clv_node *in)
{
    if (clvi_node_none(in[LABELS]) != clvi_node_none(in[QUEUE_LABELS]))
        clvi_graph_fail(g, CLV_ERR_INVALID, "mochi: 'labels' and 'queue_labels' come together");
    if (p->oracle && clvi_node_none(in[LABELS]))
        clvi_graph_fail(g, CLV_ERR_INVALID, "mochi: the oracle needs 'labels' and 'queue_labels'");
    for (int i = IDX_J; i <= BETA; i++)
        if (clvi_node_none(in[i]) != clvi_node_none(in[IDX_I]))
            clvi_graph_fail(g, CLV_ERR_INVALID,
                            "mochi: 'idx_i', 'idx_j', 'alpha', 'idx_q' and 'beta' come together, or none of them");
}

static clvi_draw draw_of(const mochi_params *p, const clv_node *in)
{
    return (clvi_draw) { .seed = (uint64_t)p->seed, .step = p->step, .step_input = in[STEP] };
}

/* Which rows to mix and how: as given, else drawn for this step. */
static clvi_mixes choose_mixes(clv_graph *g, const mochi_params *p, const clv_node *in, clv_node slots)
{
    if (!clvi_node_none(in[IDX_I])) return (clvi_mixes) { in[IDX_I], in[IDX_J], in[ALPHA], in[IDX_Q], in[BETA] };
    const clvi_draw draw = draw_of(p, in);
    return clvi_mochi_draw(g, slots, p->pairs, p->queries, clv_node_dtype(g, in[QUERY]), &draw);
}

/* [<q,k> | <q,queue_j> | <q,h> | <q,h'>]/t, 0 where left out. */
static clv_node all_logits(clv_graph *g, clv_node q, clv_node k, const clv_bank_nce_desc *nce, const clv_node *synth,
                           bool mixing)
{
    const clv_node positive = clv_reshape(g, clv_row_dot(g, q, k), 2, (int64_t[]) { clvi_node_length(g, q, 0), 1 });
    clv_node negative = clv_matmul(g, q, false, nce->bank, true);
    if (!clvi_node_none(nce->valid)) negative = clv_mask(g, negative, nce->valid);
    if (!clvi_node_none(nce->ids)) negative = clv_mask(g, negative, clv_ids_differ(g, nce->ids, nce->bank_ids));
    clv_node parts[4] = { positive, negative };
    for (int i = 0; mixing && i < 2; i++) parts[2 + i] = clv_batched_row_dot(g, q, synth[i]);
    return clv_scale(g, clv_concat(g, parts, mixing ? 4 : 2, 1), 1 / nce->temperature, 0);
}

/* Share of the N hardest, ranked without the oracle, that are of the query's class. */
static clv_node false_negatives(clv_graph *g, const mochi_params *p, const clv_node *in, const clv_bank_nce_desc *nce,
                                clv_node slots)
{
    if (clvi_node_none(in[LABELS])) return CLV_NONE;
    clv_bank_topk_desc topk = CLV_BANK_TOPK_DESC_INIT;
    topk.query = nce->query, topk.bank = nce->bank, topk.valid = nce->valid, topk.top = p->hardest;
    if (p->oracle) slots = clv_bank_topk(g, &topk, NULL);
    return clvi_topk_same(g, slots, in[LABELS], in[QUEUE_LABELS], clv_node_dtype(g, in[QUERY]));
}

static clv_node mochi(clv_graph *g, const clv_node *in, const void *params, clv_node *out)
{
    const mochi_params *p = params;
    check_inputs(g, p, in);
    const clv_node q = clvi_unit_rows(g, in[QUERY], p->normalize, p->norm_eps);
    const clv_node k = clv_stop_gradient(g, clvi_unit_rows(g, in[KEY], p->normalize, p->norm_eps));
    clv_bank_nce_desc nce = CLV_BANK_NCE_DESC_INIT;
    nce.query = q, nce.key = k, nce.bank = clv_stop_gradient(g, in[QUEUE]), nce.valid = in[VALID];
    if (p->oracle) nce.ids = in[LABELS], nce.bank_ids = in[QUEUE_LABELS];
    nce.temperature = p->temperature;
    const clvi_bank_nce_out plain = clvi_bank_nce(g, &nce, NULL, p->hardest);
    const clvi_mixes mixes = choose_mixes(g, p, in, plain.slots);    /* drawn ones only for looking at */
    const bool mixing = p->epoch >= p->warmup_epochs;

    const clv_node lse = clv_add(g, plain.per_row, clv_scale(g, clv_row_dot(g, q, k), 1 / p->temperature, 0));
    const clvi_mix_nce_desc mix = {
        .query = q, .lse = lse, .bank = nce.bank, .slots = plain.slots, .temperature = p->temperature,
        .eps = p->norm_eps, .constant = p->stop_grad_synthetic, .pairs = p->pairs, .queries = p->queries,
        .draw = draw_of(p, in),
    };
    const clv_node more = clvi_mix_nce(g, &mix, clvi_node_none(in[IDX_I]) ? NULL : &mixes);
    out[PER_ROW] = mixing ? clv_add(g, plain.per_row, more) : plain.per_row;

    out[TOPK_IDX] = plain.slots;
    out[SYNTH] = clvi_mix_pairs(g, nce.bank, plain.slots, &mixes, p->norm_eps);
    out[SYNTH_PRIME] = clvi_mix_queries(g, nce.bank, plain.slots, &mixes, q, p->norm_eps);
    out[LOGITS] = all_logits(g, q, k, &nce, &out[SYNTH], mixing);
    if (p->oracle) out[NEGATIVE_KEEP] = clv_ids_differ(g, in[LABELS], in[QUEUE_LABELS]);
    out[FALSE_NEGATIVES] = false_negatives(g, p, in, &nce, plain.slots);
    return clv_reduce(g, out[PER_ROW], -1, true);
}

static const clvi_loss_variant mochi_variants[] = {
    { .in  = { { "query", "B,D", CLVI_PORT_GRAD, "features of the query encoder" },
               { "key", "B,D", CLVI_PORT_FLOAT, "features of the key encoder; row i is the positive of query i" },
               { "queue", "K,D", CLVI_PORT_FLOAT, "keys of earlier batches" },
               { "queue_valid", "K", CLVI_PORT_MASK | CLVI_PORT_OPTIONAL, "1: the row counts; 0: left out" },
               { "labels", "B", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL, "class of each query; < 0: none" },
               { "queue_labels", "K", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL, "class of each queue row" },
               { "idx_i", "B,S", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL,
                 "ranks of the first rows of the pairs; a mix of a rank that does not exist is left out" },
               { "idx_j", "B,S", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL, "ranks of their second rows" },
               { "alpha", "B,S", CLVI_PORT_FLOAT | CLVI_PORT_OPTIONAL, "weights of their first rows" },
               { "idx_q", "B,P", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL, "ranks of the rows mixed with the query" },
               { "beta", "B,P", CLVI_PORT_FLOAT | CLVI_PORT_OPTIONAL, "weights of the query" },
               { "step", "1", CLVI_PORT_INDEX | CLVI_PORT_OPTIONAL, "replaces the option of that name" } },
      .out = { { "logits", "B,L", CLVI_PORT_FLOAT,
                 "[positive, queue, pairs, query mixes]/t, 0 where left out; L = 1+K+S+P, during the warm-up 1+K" },
               { "per_row", "B", CLVI_PORT_FLOAT, "loss of each query" },
               { "topk_idx", "B,T", CLVI_PORT_INDEX,
                 "the T = min(N,K) hardest queue rows, hardest first; -1 where fewer count" },
               { "synth", "B,S,D", CLVI_PORT_FLOAT, "the mixed pairs (also during the warm-up), 0 where left out" },
               { "synth_prime", "B,P,D", CLVI_PORT_FLOAT, "the mixes with the query, 0 where left out" },
               { "negative_keep", "B,K", CLVI_PORT_MASK, "what the oracle keeps; 0 without oracle" },
               { "topn_false_negative_rate", "B", CLVI_PORT_FLOAT,
                 "share of the T hardest, ranked without the oracle, of the query's class; 0 without labels" } },
      .build = mochi },
    { .build = NULL }
};

const clvi_loss_class clvi_loss_mochi = {
    .name = "mochi",
    .summary = "InfoNCE against a bank and harder negatives mixed from it",
    .source = "Kalantidis et al. 2020, arXiv:2010.01028, sections 4.1 and 4.2",
    .formula =
        "With n(x) = x / max(|x|, norm-eps), q = n(query) and k = sg(n(key)) if normalize (sg: constant), t the "
        "temperature:\n"
        "L = mean_b ( LSE([<q_b,k_b>, <q_b,queue_j>, <q_b,h_bc>, <q_b,h'_bc>]/t) - <q_b,k_b>/t )\n"
        "over the queue rows j that count and the mixes of query b:\n"
        "* h_bc = n(alpha_bc r_b(idx_i_bc) + (1 - alpha_bc) r_b(idx_j_bc)), S of them, constants;\n"
        "* h'_bc = n(beta_bc q_b + (1 - beta_bc) r_b(idx_q_bc)), P of them, constants too if stop-grad-synthetic, "
        "else the\n"
        "  gradient also flows through the q_b inside.\n"
        "r_b(x) is the queue row at rank x, 0 being the hardest, among the T = min(N,K) rows that count with the "
        "largest\n"
        "<q_b,queue_j>; equal ones rank by slot. A queue row counts for query b when queue_valid_j is 1 (or not "
        "given) and, with\n"
        "the oracle, queue_labels_j is not labels_b (a negative label is nobody's). Only query has a gradient.\n"
        "Ranks and weights are inputs, or, when none of the five is given, drawn for each query from the "
        "counter-based\n"
        "generator, a pure function of (seed, step, row): ranks uniform over the query's list, with repetition and "
        "also\n"
        "twice the same row; alpha uniform in [0,1), beta in [0,1/2). While epoch < warmup-epochs, or at a "
        "negative step,\n"
        "nothing is mixed and the loss is that of moco_queue.",
    .published =
        "N 1024, s 1024, s-prime 128, temperature 0.2, warmup-epochs 10, bank 16384 (a public reimplementation, "
        "ImageNet-100)",
    .params_size = sizeof(mochi_params), .options = mochi_options, .variants = mochi_variants,
};
