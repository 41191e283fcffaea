/* cmd_embed.c: cleave embed: features of a data set from a trained encoder. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { OUTPUT, SPLIT, LAYER, KEY, EMA, BATCH, DEVICE, CLI_NETWORK_INDICES };

static const cli_flag flags[] = {
    { "output", 'o', "OUT", "features.h5 or .safetensors (features, labels, ids), or .npy (features)" },
    { "split", 0, "NAME", "split of the data set (default: train where there is one)" },
    { "layer", 0, "L", "backbone (pooled features; default) or embedding (the head's output)" },
    { "key", 0, NULL, "the momentum encoder instead of the query encoder" },
    { "ema", 0, NULL, "the average of the weights (ema-decay) instead of the last ones" },
    { "batch-size", 'b', "N", "images at a time (default 256)" },
    CLI_DEVICE_FLAG,
    CLI_NETWORK_FLAGS,
    { NULL, 0, NULL, NULL },
};

static bool show(int64_t done, int64_t total, void *user)
{
    cli_progress_show(user, done, total, NULL);
    return !cli_stop_requested();
}

static clv_status save(cli *c, const cli_args *args, const char *network, const clv_dataset *ds,
                       const clv_view *features)
{
    const int64_t n = features->shape[0];
    clv_dataset_info info;
    clv_dataset_describe(ds, &info);
    int64_t *columns = malloc(2 * (size_t)(n > 0 ? n : 1) * sizeof *columns);
    if (!columns) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        columns[i] = clv_dataset_label(ds, i);
        columns[n + i] = i;
    }
    const clv_option attributes[] = {
        { args->value[WEIGHTS] ? "weights" : "checkpoint",
          args->value[WEIGHTS] ? args->value[WEIGHTS] : args->positional[0] },
        { "data", info.path }, { "split", info.split },
        { "layer", args->value[LAYER] ? args->value[LAYER] : "backbone" }, { "network", network },
    };
    const clv_status st = clv_features_save(c->ctx, args->value[OUTPUT], features, info.has_labels ? columns : NULL,
                                            columns + n, attributes, 5);
    free(columns);
    return st;
}

static clv_status embed(cli *c, const cli_args *args, const clv_encoder_desc *desc)
{
    clv_encoder *encoder = NULL;
    clv_dataset *ds = NULL;
    float *rows = NULL;
    clv_status st = clv_encoder_open(c->ctx, desc, &encoder);
    const char *data = args->positional[args->positional_count - 1];
    if (st == CLV_OK) st = clv_dataset_open(c->ctx, data, args->value[SPLIT], &ds);
    if (st == CLV_OK) {
        clv_dataset_info info;
        clv_dataset_describe(ds, &info);
        const int64_t dim = clv_encoder_dim(encoder);
        rows = calloc((size_t)(info.count * dim > 0 ? info.count * dim : 1), sizeof *rows);
        const clv_view features = clv_view_2d(rows, CLV_F32, info.count, dim);
        cli_progress progress = cli_progress_begin(c, "embed");
        st = rows ? clv_encoder_embed(encoder, ds, 0, info.count, &features, show, &progress) : CLV_ERR_NOMEM;
        cli_progress_end(&progress);
        if (st == CLV_OK) st = save(c, args, desc->ema ? "ema" : desc->key ? "key" : "query", ds, &features);
    }
    free(rows);
    clv_dataset_destroy(ds);
    clv_encoder_destroy(encoder);
    return st;
}

static int run(cli *c, const cli_args *args)
{
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    const char *layer = args->value[LAYER] ? args->value[LAYER] : "backbone";
    long long batch = 0;
    const bool weights = args->value[WEIGHTS] != NULL;
    if (args->positional_count != 2 - weights)
        return cli_usage(&cli_command_embed, weights ? "embed: expected DATA and --weights FILE"
                                                     : "embed: expected RUN and DATA, or DATA and --weights FILE");
    if (!args->value[OUTPUT]) return cli_usage(&cli_command_embed, "embed: no output given (-o OUT)");
    if (strcmp(layer, "backbone") != 0 && strcmp(layer, "embedding") != 0)
        return cli_usage(&cli_command_embed, "--layer: expected backbone or embedding, got '%s'", layer);
    if (args->value[BATCH]) {
        if (!cli_integer("batch-size", args->value[BATCH], 1, 65536, &batch)) return CLI_USAGE;
        desc.batch_size = batch;
    }
    desc.key = args->value[KEY] && strcmp(args->value[KEY], "false") != 0;
    desc.ema = args->value[EMA] && strcmp(args->value[EMA], "false") != 0;
    desc.layer = strcmp(layer, "backbone") ? CLV_LAYER_EMBEDDING : CLV_LAYER_BACKBONE;
    clv_config *config = NULL;
    int status = cli_device(c, &cli_command_embed, args->value[DEVICE]);
    if (status != CLI_OK) return status;
    status = cli_network(c, &cli_command_embed, args, WEIGHTS, weights ? NULL : args->positional[0], &desc, &config);
    if (status != CLI_OK) return status;
    cli_catch_signals();
    const clv_status st = embed(c, args, &desc);
    clv_config_destroy(config);
    if (st != CLV_OK) return cli_fail(st);
    printf("%s\n", args->value[OUTPUT]);
    return CLI_OK;
}

const cli_command cli_command_embed = {
    .name = "embed",
    .usage = "cleave embed RUN|CHECKPOINT DATA -o OUT [flags]  |  cleave embed DATA --weights FILE -o OUT",
    .summary = "write features of a data set",
    .example = "  cleave embed runs/demo recipes/data/glyphs.h5 --split test -o features.h5\n"
               "  cleave embed photos/ --weights resnet50.safetensors -o features.npy",
    .flags = flags,
    .run = run,
};
