/* cmd_eval.c: cleave eval: fetches features or pixels and has protocols judge them. Every figure is printed with its
 * protocol. */
#include "cli/eval.h"

#include <stdlib.h>
#include <string.h>

enum {
    BANK_SPLIT, SPLIT, VAL_DATA, K, T, DISTANCE, VOTE, SEED, JSON, LAYER, KEY, EMA, UNTRAINED, PIXELS, BATCH, DEVICE,
    CLI_NETWORK_INDICES
};

#define PROTOCOLS "knn, linear, low-shot, retrieval, clustering, verification, angles, few-shot, frechet, tagging or all"

static const cli_flag flags[] = {
    { "bank-split", 0, "NAME", "split that is searched, or trained on (default: train where there is one)" },
    { "split", 0, "NAME", "split that is judged (default: test or val where there is one, else leave-one-out)" },
    { "val-data", 0, "PATH", "data set the queries come from (default: the same)" },
    { "knn-k", 'k', "N", "neighbours (default 200)" },
    { "knn-t", 0, "X", "temperature of the weights (default 0.1)" },
    { "distance", 0, "D", "cosine (default), centred-cosine (each row minus its mean) or l2" },
    { "vote", 0, "V", "exponential (default) or majority (the only one for l2)" },
    { "seed", 0, "N", "seed of what is drawn: subsets, starts of k-means, pairs (default 0)" },
    { "json", 0, NULL, "a JSON object a line instead" },
    { "layer", 0, "L", "backbone (pooled features; default) or embedding (the head's output)" },
    { "key", 0, NULL, "the momentum encoder instead of the query encoder" },
    { "ema", 0, NULL, "the average of the weights (ema-decay) instead of the last ones" },
    { "untrained", 0, NULL, "the same network before training" },
    { "pixels", 0, NULL, "raw pixels instead of an encoder (then DATA is the only argument)" },
    { "batch-size", 'b', "N", "images, or words, at a time (default 256)" },
    CLI_DEVICE_FLAG,
    CLI_NETWORK_FLAGS,
    { NULL, 0, NULL, NULL },
};

static bool is_on(const cli_args *args, int flag)
{
    return args->value[flag] && strcmp(args->value[flag], "false") != 0;
}

static bool show(int64_t done, int64_t total, void *user)
{
    cli_progress_show(user, done, total, NULL);
    return !cli_stop_requested();
}

static clv_status fill(cli *c, clv_encoder *encoder, cli_rows *r)
{
    clv_dataset_info info;
    clv_dataset_describe(r->ds, &info);
    const int64_t dim = encoder ? clv_encoder_dim(encoder) : info.height * info.width * info.channels;
    r->data = calloc((size_t)(info.count * dim > 0 ? info.count * dim : 1), sizeof *r->data);
    r->labels = calloc((size_t)(info.count > 0 ? info.count : 1), sizeof *r->labels);
    if (!r->data || !r->labels) return CLV_ERR_NOMEM;
    r->view = clv_view_2d(r->data, CLV_F32, info.count, dim);
    for (int64_t i = 0; i < info.count; i++) r->labels[i] = clv_dataset_label(r->ds, i);
    if (!encoder) return clv_pixel_features(c->ctx, r->ds, 0, info.count, &r->view);
    cli_progress progress = cli_progress_begin(c, "embed");
    const clv_status st = clv_encoder_embed(encoder, r->ds, 0, info.count, &r->view, show, &progress);
    cli_progress_end(&progress);
    return st;
}

static void release(cli_rows *r)
{
    free(r->data);
    free(r->labels);
    clv_dataset_destroy(r->ds);
}

/* The split to classify when none is named; NULL: the bank itself. */
static const char *held_out(cli *c, const char *data)
{
    static clv_dataset_splits splits;
    return clv_dataset_list_splits(c->ctx, data, &splits) == CLV_OK ? clv_dataset_held_out(&splits) : NULL;
}

/* Opens and fetches what the wanted protocols look at. */
static clv_status fetch(cli *c, const cli_args *args, clv_encoder *encoder, const char *data, bool needs_bank,
                        cli_rows *bank, cli_rows *query)
{
    const char *other = args->value[VAL_DATA] ? args->value[VAL_DATA] : data;
    const char *split = args->value[SPLIT] ? args->value[SPLIT] : held_out(c, other);
    const bool apart = split || args->value[VAL_DATA];
    clv_status st = CLV_OK;
    if (needs_bank || !apart) {
        st = clv_dataset_open(c->ctx, data, args->value[BANK_SPLIT], &bank->ds);
        if (st == CLV_OK) st = fill(c, encoder, bank);
    }
    if (st != CLV_OK || !apart) return st;
    st = clv_dataset_open(c->ctx, other, split, &query->ds);
    return st == CLV_OK ? fill(c, encoder, query) : st;
}

static int choose(const char *flag, const char *text, const char *const *names, int count, int *out)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(text, names[i])) {
            *out = i;
            return CLI_OK;
        }
    return cli_usage(&cli_command_eval, "--%s: '%s' is none of its values", flag, text);
}

static const char *const votes[] = { "exponential", "majority" };

static bool is_wanted(const cli_protocol *protocol, const char *name)
{
    return (!strcmp(name, "all") && !protocol->alone && !protocol->text) || !strcmp(name, protocol->name);
}

static bool is_text(const char *name)
{
    const cli_protocol *p = cli_protocols;
    while (p->name && strcmp(p->name, name) != 0) p++;
    return p->text;
}

/* A flag that cannot act is a mistake. */
static int check_flags(const cli_args *args, const char *name)
{
    static const struct {
        int         flag;
        const char *acts[6];
    } flag_acts[] = {
        { BANK_SPLIT, { "knn", "linear", "low-shot", "retrieval", "frechet" } },
        { K, { "knn" } }, { T, { "knn" } }, { VOTE, { "knn" } },
        { DISTANCE, { "knn", "retrieval", "verification" } },
        { SEED, { "linear", "low-shot", "clustering", "verification", "few-shot" } },
    };
    for (int i = 0; is_text(name) && flags[i].name; i++)
        if (args->value[i] && i != JSON && i != BATCH && i != EMA && i != DEVICE)
            return cli_usage(&cli_command_eval, "eval %s: --%s cannot act", name, flags[i].name);
    for (size_t i = 0; i < sizeof flag_acts / sizeof *flag_acts; i++) {
        bool acts = !strcmp(name, "all");
        for (int j = 0; !acts && flag_acts[i].acts[j]; j++) acts = !strcmp(name, flag_acts[i].acts[j]);
        if (args->value[flag_acts[i].flag] && !acts)
            return cli_usage(&cli_command_eval, "eval %s: --%s cannot act", name, flags[flag_acts[i].flag].name);
    }
    return CLI_OK;
}

static int read_flags(const cli_args *args, clv_knn_desc *knn, uint64_t *seed, clv_encoder_desc *enc)
{
    static const char *const layers[] = { "backbone", "embedding" };
    long long n = 0;
    int choice = 0;
    if (args->value[K] && !cli_integer("knn-k", args->value[K], 1, 1000000, &n)) return CLI_USAGE;
    if (args->value[K]) knn->k = n;
    if (args->value[T] && !cli_number("knn-t", args->value[T], 1e-4, 1e4, &knn->temperature)) return CLI_USAGE;
    if (args->value[SEED] && !cli_integer("seed", args->value[SEED], 0, INT64_MAX, &n)) return CLI_USAGE;
    if (args->value[SEED]) *seed = (uint64_t)n;
    if (args->value[BATCH] && !cli_integer("batch-size", args->value[BATCH], 1, 65536, &n)) return CLI_USAGE;
    if (args->value[BATCH]) enc->batch_size = n;
    if (args->value[DISTANCE]) {
        if (choose("distance", args->value[DISTANCE], cli_eval_distances, 3, &choice)) return CLI_USAGE;
        knn->distance = (clv_knn_distance)choice;
    }
    if (knn->distance == CLV_KNN_L2) knn->vote = CLV_KNN_MAJORITY;
    if (args->value[VOTE]) {
        if (choose("vote", args->value[VOTE], votes, 2, &choice)) return CLI_USAGE;
        knn->vote = (clv_knn_vote)choice;
    }
    if (knn->distance == CLV_KNN_L2 && knn->vote != CLV_KNN_MAJORITY)
        return cli_usage(&cli_command_eval, "--distance l2 has no exponential vote");
    choice = 0;
    if (args->value[LAYER] && choose("layer", args->value[LAYER], layers, 2, &choice)) return CLI_USAGE;
    enc->layer = (clv_layer)choice;
    enc->key = is_on(args, KEY);
    enc->ema = is_on(args, EMA);
    enc->untrained = is_on(args, UNTRAINED);
    if (is_on(args, PIXELS)
        && (args->value[LAYER] || enc->key || enc->ema || enc->untrained || args->value[BATCH] || args->value[WEIGHTS]))
        return cli_usage(&cli_command_eval,
                         "--pixels uses no encoder: --layer, --key, --ema, --untrained, --batch-size, --weights cannot "
                         "act");
    return CLI_OK;
}

static void describe_features(const clv_encoder_desc *enc, bool pixels, char out[64])
{
    if (pixels) {
        snprintf(out, 64, "pixels");
        return;
    }
    snprintf(out, 64, "%s, %s", enc->layer == CLV_LAYER_BACKBONE ? "backbone" : "embedding",
             enc->untrained ? "untrained network"
             : enc->weights ? "weights from a file"
             : enc->ema     ? "averaged query encoder"
             : enc->key     ? "key encoder"
                            : "query encoder");
}

static int judge(const cli_args *args, const cli_eval *e, const char *name)
{
    const cli_eval_form form = is_on(args, JSON)      ? CLI_EVAL_JSON
                               : !strcmp(name, "all") ? CLI_EVAL_TABLE
                                                      : CLI_EVAL_LINE;
    for (const cli_protocol *p = cli_protocols; p->name; p++) {
        cli_outcome outcome = { .count = 0 };
        if (!is_wanted(p, name)) continue;
        if (cli_stop_requested()) return CLI_STOPPED;
        const clv_status st = p->measure(e, p, &outcome);
        if (st != CLV_OK) return cli_fail(st);
        cli_eval_print(p, &outcome, form, p == cli_protocols);
    }
    return CLI_OK;
}

static int unknown_protocol(const char *name)
{
    const char *known[16] = { "all" };
    for (int i = 0; i < 14 && cli_protocols[i].name; i++) known[i + 1] = cli_protocols[i].name;
    const char *near = clv_nearest_name(name, known);
    if (near) return cli_usage(&cli_command_eval, "eval: there is no '%s'; did you mean '%s'?", name, near);
    return cli_usage(&cli_command_eval, "eval: there is no '%s'; expected " PROTOCOLS, name);
}

/* What the protocols of a name need; false: there is none. */
static bool find(const char *name, bool *bank, bool *apart)
{
    bool found = false;
    for (const cli_protocol *p = cli_protocols; p->name; p++) {
        if (!is_wanted(p, name)) continue;
        found = true;
        *bank |= p->bank;
        *apart |= p->apart;
    }
    return found;
}

/* The set can be read, and no split of it is held out. */
static bool is_whole(cli *c, const char *data)
{
    clv_dataset_splits splits;
    return clv_dataset_list_splits(c->ctx, data, &splits) == CLV_OK && !clv_dataset_held_out(&splits);
}

/* The positional arguments: PROTOCOL, then RUN unless it is said by a flag, then DATA. */
static int check_words(cli *c, const cli_args *args, bool *bank)
{
    const bool pixels = is_on(args, PIXELS), weights = args->value[WEIGHTS] != NULL;
    bool apart = false;
    if (args->positional_count < 1) return cli_usage(&cli_command_eval, "eval: expected " PROTOCOLS);
    const char *name = args->positional[0];
    if (!find(name, bank, &apart)) return unknown_protocol(name);
    if (args->positional_count != (pixels || weights ? 2 : 3))
        return cli_usage(&cli_command_eval, "eval %s%s: expected %s", name,
                         pixels    ? " --pixels"
                         : weights ? " --weights FILE"
                                   : "",
                         pixels || weights ? "DATA" : "RUN and DATA");
    if (check_flags(args, name) != CLI_OK) return CLI_USAGE;
    const char *data = args->positional[args->positional_count - 1];
    if (apart && !args->value[SPLIT] && !args->value[VAL_DATA] && is_whole(c, data))
        return cli_usage(&cli_command_eval,
                         "eval %s: nothing is held out to test on; name it with --split or --val-data", name);
    return CLI_OK;
}

static int tag(cli *c, const cli_args *args, const clv_encoder_desc *enc)
{
    clv_tagger_desc desc = CLV_TAGGER_DESC_INIT;
    desc.checkpoint = args->positional[1];
    desc.batch_size = enc->batch_size;
    desc.ema = enc->ema;
    return cli_eval_tagging(c, &desc, args->positional[2], is_on(args, JSON) ? CLI_EVAL_JSON : CLI_EVAL_LINE);
}

static int run(cli *c, const cli_args *args)
{
    clv_encoder_desc enc = CLV_ENCODER_DESC_INIT;
    cli_eval e = { .ctx = c->ctx, .knn = CLV_KNN_DESC_INIT };
    bool needs_bank = false;
    if (check_words(c, args, &needs_bank) != CLI_OK || read_flags(args, &e.knn, &e.seed, &enc) != CLI_OK)
        return CLI_USAGE;
    int status = cli_device(c, &cli_command_eval, args->value[DEVICE]);
    if (status != CLI_OK) return status;
    if (is_text(args->positional[0])) return tag(c, args, &enc);
    const bool pixels = is_on(args, PIXELS);
    clv_config *config = NULL;
    status = cli_network(c, &cli_command_eval, args, WEIGHTS,
                         pixels || args->value[WEIGHTS] ? NULL : args->positional[1], &enc, &config);
    if (status != CLI_OK) return status;
    cli_catch_signals();
    clv_encoder *encoder = NULL;
    cli_rows bank = { .ds = NULL }, query = { .ds = NULL };
    char features[64];
    clv_status st = CLV_OK;
    if (!pixels) st = clv_encoder_open(c->ctx, &enc, &encoder);
    if (st == CLV_OK)
        st = fetch(c, args, encoder, args->positional[args->positional_count - 1], needs_bank, &bank, &query);
    describe_features(&enc, pixels, features);
    e.features = features;
    e.bank = &bank;
    e.query = query.ds ? &query : &bank;
    status = st == CLV_OK ? judge(args, &e, args->positional[0]) : cli_fail(st);
    release(&query);
    release(&bank);
    clv_encoder_destroy(encoder);
    clv_config_destroy(config);
    return status;
}

const cli_command cli_command_eval = {
    .name = "eval",
    .usage = "cleave eval PROTOCOL RUN|CHECKPOINT DATA [flags]  |  cleave eval PROTOCOL --weights FILE DATA  |  "
             "cleave eval PROTOCOL --pixels DATA [flags]\n"
             "PROTOCOL: " PROTOCOLS,
    .summary = "evaluate an encoder or a tagger",
    .example = "  cleave eval knn runs/demo recipes/data/glyphs.h5\n"
               "  cleave eval knn --pixels recipes/data/glyphs.h5 --distance centred-cosine -k 20 --knn-t 0.07\n"
               "  cleave eval all runs/demo recipes/data/glyphs.h5\n"
               "  cleave eval tagging runs/tagger wnut17/dev.conll",
    .flags = flags,
    .run = run,
};
