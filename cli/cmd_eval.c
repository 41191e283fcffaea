/* cmd_eval.c: cleave eval knn: nearest neighbours on features or on pixels. Every figure is printed with its
 * protocol. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { BANK_SPLIT, SPLIT, VAL_DATA, K, T, DISTANCE, VOTE, LAYER, KEY, UNTRAINED, PIXELS, BATCH, CLI_NETWORK_INDICES };

static const cli_flag flags[] = {
    { "bank-split", 0, "NAME", "split that is searched (default: train where there is one)" },
    { "split", 0, "NAME", "split that is classified (default: test or val where there is one, else leave-one-out)" },
    { "val-data", 0, "PATH", "data set the queries come from (default: the same)" },
    { "knn-k", 'k', "N", "neighbours (default 200)" },
    { "knn-t", 0, "X", "temperature of the weights (default 0.1)" },
    { "distance", 0, "D", "cosine (default), centred-cosine (each row minus its mean) or l2" },
    { "vote", 0, "V", "exponential (default) or majority (the only one for l2)" },
    { "layer", 0, "L", "backbone (pooled features; default) or embedding (the head's output)" },
    { "key", 0, NULL, "the momentum encoder instead of the query encoder" },
    { "untrained", 0, NULL, "the same network before training" },
    { "pixels", 0, NULL, "raw pixels instead of an encoder (then DATA is the only argument)" },
    { "batch-size", 'b', "N", "images at a time (default 256)" },
    CLI_NETWORK_FLAGS,
    { NULL, 0, NULL, NULL },
};

/* Rows and labels of one side. */
typedef struct rows {
    clv_dataset *ds;
    float       *data;
    int64_t     *labels;
    clv_view     view;
} rows;

static bool is_on(const cli_args *args, int flag)
{
    return args->value[flag] && strcmp(args->value[flag], "false") != 0;
}

static bool show(int64_t done, int64_t total, void *user)
{
    cli_progress_show(user, done, total, NULL);
    return !cli_stop_requested();
}

static clv_status fill(cli *c, clv_encoder *encoder, rows *r)
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

static void release(rows *r)
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

static clv_status evaluate(cli *c, const cli_args *args, clv_knn_desc *desc, clv_encoder *encoder, const char *data,
                           rows *bank, rows *query, clv_knn_result *result)
{
    const char *other = args->value[VAL_DATA] ? args->value[VAL_DATA] : data;
    const char *split = args->value[SPLIT] ? args->value[SPLIT] : held_out(c, other);
    clv_status st = clv_dataset_open(c->ctx, data, args->value[BANK_SPLIT], &bank->ds);
    if (st == CLV_OK) st = fill(c, encoder, bank);
    desc->leave_one_out = !split && !args->value[VAL_DATA];
    if (st == CLV_OK && desc->leave_one_out)
        return clv_knn_classify(c->ctx, desc, &bank->view, bank->labels, &bank->view, bank->labels, NULL, result);
    if (st == CLV_OK) st = clv_dataset_open(c->ctx, other, split, &query->ds);
    if (st == CLV_OK) st = fill(c, encoder, query);
    if (st == CLV_OK)
        st = clv_knn_classify(c->ctx, desc, &bank->view, bank->labels, &query->view, query->labels, NULL, result);
    return st;
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

static const char *const distances[] = { "cosine", "centred-cosine", "l2" };
static const char *const votes[] = { "exponential", "majority" };

static int read_flags(const cli_args *args, clv_knn_desc *knn, clv_encoder_desc *enc)
{
    static const char *const layers[] = { "backbone", "embedding" };
    long long n = 0;
    int choice = 0;
    if (args->value[K] && !cli_integer("knn-k", args->value[K], 1, 1000000, &n)) return CLI_USAGE;
    if (args->value[K]) knn->k = n;
    if (args->value[T] && !cli_number("knn-t", args->value[T], 1e-4, 1e4, &knn->temperature)) return CLI_USAGE;
    if (args->value[BATCH] && !cli_integer("batch-size", args->value[BATCH], 1, 65536, &n)) return CLI_USAGE;
    if (args->value[BATCH]) enc->batch_size = n;
    if (args->value[DISTANCE]) {
        if (choose("distance", args->value[DISTANCE], distances, 3, &choice)) return CLI_USAGE;
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
    enc->untrained = is_on(args, UNTRAINED);
    if (is_on(args, PIXELS)
        && (args->value[LAYER] || enc->key || enc->untrained || args->value[BATCH] || args->value[WEIGHTS]))
        return cli_usage(&cli_command_eval,
                         "--pixels uses no encoder: --layer, --key, --untrained, --batch-size, --weights cannot act");
    return CLI_OK;
}

static void print_result(const clv_knn_result *r, const clv_knn_desc *knn, const clv_encoder_desc *enc, bool pixels)
{
    char weights[48] = "majority vote";
    if (knn->vote == CLV_KNN_EXPONENTIAL) snprintf(weights, sizeof weights, "T=%g", knn->temperature);
    const char *layer = pixels ? "pixels" : enc->layer == CLV_LAYER_BACKBONE ? "backbone" : "embedding";
    const char *network = pixels           ? ""
                          : enc->untrained ? ", untrained network"
                          : enc->weights   ? ", weights from a file"
                          : enc->key       ? ", key encoder"
                                           : ", query encoder";
    printf("kNN top-1 %.2f  top-5 %.2f  (k=%lld, %s, %s, %s%s; bank %lld, %s %lld)\n", r->top1, r->top5,
           (long long)r->k, weights, distances[knn->distance], layer, network, (long long)r->bank,
           knn->leave_one_out ? "leave-one-out" : "queries", (long long)r->queries);
}

static int run(cli *c, const cli_args *args)
{
    clv_knn_desc knn = CLV_KNN_DESC_INIT;
    clv_encoder_desc enc = CLV_ENCODER_DESC_INIT;
    if (args->positional_count < 1 || strcmp(args->positional[0], "knn") != 0)
        return cli_usage(&cli_command_eval, "eval: expected 'knn'");
    const bool pixels = is_on(args, PIXELS), weights = args->value[WEIGHTS] != NULL;
    if (args->positional_count != (pixels || weights ? 2 : 3))
        return cli_usage(&cli_command_eval, pixels    ? "eval knn --pixels: expected DATA"
                                            : weights ? "eval knn --weights FILE: expected DATA"
                                                      : "eval knn: expected RUN and DATA");
    if (read_flags(args, &knn, &enc) != CLI_OK) return CLI_USAGE;
    clv_config *config = NULL;
    const int status = cli_network(c, &cli_command_eval, args, WEIGHTS,
                                   pixels || weights ? NULL : args->positional[1], &enc, &config);
    if (status != CLI_OK) return status;
    cli_catch_signals();
    clv_encoder *encoder = NULL;
    rows bank = { .ds = NULL }, query = { .ds = NULL };
    clv_knn_result result;
    clv_status st = CLV_OK;
    if (!pixels) st = clv_encoder_open(c->ctx, &enc, &encoder);
    const char *data = args->positional[args->positional_count - 1];
    if (st == CLV_OK) st = evaluate(c, args, &knn, encoder, data, &bank, &query, &result);
    release(&query);
    release(&bank);
    clv_encoder_destroy(encoder);
    clv_config_destroy(config);
    if (st != CLV_OK) return cli_fail(st);
    print_result(&result, &knn, &enc, pixels);
    return CLI_OK;
}

const cli_command cli_command_eval = {
    .name = "eval", .usage = "cleave eval knn RUN|CHECKPOINT DATA [flags]  |  cleave eval knn --weights FILE DATA  |  "
             "cleave eval knn --pixels DATA [flags]",
    .summary = "evaluate an encoder",
    .example = "  cleave eval knn runs/demo recipes/data/glyphs.h5\n"
               "  cleave eval knn --pixels recipes/data/glyphs.h5 --distance centred-cosine -k 20 --knn-t 0.07",
    .flags = flags, .run = run,
};
