/* cmd_export.c: cleave export: a trained network as safetensors or ONNX. */
#include "cli/cli.h"

#include <string.h>

enum { OUTPUT, LAYER, KEY, EMA, CLI_NETWORK_INDICES };

static const cli_flag flags[] = {
    { "output", 'o', "OUT", "model.safetensors (torchvision's names) or model.onnx" },
    { "layer", 0, "L", "backbone (without the head; default) or embedding (with it)" },
    { "key", 0, NULL, "the momentum encoder instead of the query encoder" },
    { "ema", 0, NULL, "the average of the weights (ema-decay) instead of the last ones" },
    CLI_NETWORK_FLAGS,
    { NULL, 0, NULL, NULL },
};

static bool ends(const char *text, const char *end)
{
    const size_t n = strlen(text), length = strlen(end);
    return n > length && !strcmp(text + n - length, end);
}

static clv_status save(cli *c, clv_encoder_desc *desc, const char *path)
{
    clv_encoder *encoder = NULL;
    desc->batch_size = 1;
    clv_status st = clv_encoder_open(c->ctx, desc, &encoder);
    if (st == CLV_OK) st = clv_encoder_save(encoder, path);
    clv_encoder_destroy(encoder);
    return st;
}

static int run(cli *c, const cli_args *args)
{
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    clv_config *config = NULL;
    const char *layer = args->value[LAYER] ? args->value[LAYER] : "backbone", *out = args->value[OUTPUT];
    const bool weights = args->value[WEIGHTS] != NULL;
    if (args->positional_count != !weights)
        return cli_usage(&cli_command_export, "export: expected RUN or CHECKPOINT, or --weights FILE");
    if (!out || (!ends(out, ".safetensors") && !ends(out, ".onnx")))
        return cli_usage(&cli_command_export, "export: expected -o OUT, a name that ends in .safetensors or .onnx");
    if (strcmp(layer, "backbone") != 0 && strcmp(layer, "embedding") != 0)
        return cli_usage(&cli_command_export, "--layer: expected backbone or embedding, got '%s'", layer);
    desc.layer = strcmp(layer, "backbone") ? CLV_LAYER_EMBEDDING : CLV_LAYER_BACKBONE;
    desc.key = args->value[KEY] && strcmp(args->value[KEY], "false") != 0;
    desc.ema = args->value[EMA] && strcmp(args->value[EMA], "false") != 0;
    const int status = cli_network(c, &cli_command_export, args, WEIGHTS, weights ? NULL : args->positional[0], &desc,
                                   &config);
    if (status != CLI_OK) return status;
    const clv_status st = save(c, &desc, out);
    clv_config_destroy(config);
    if (st != CLV_OK) return cli_fail(st);
    printf("%s\n", out);
    return CLI_OK;
}

const cli_command cli_command_export = {
    .name = "export",
    .usage = "cleave export RUN|CHECKPOINT -o OUT [flags]  |  cleave export --weights FILE -o OUT",
    .summary = "write a network for PyTorch or ONNX",
    .example = "  cleave export runs/demo -o demo.safetensors\n"
               "  cleave export --weights resnet50.pth -o resnet50.onnx",
    .flags = flags,
    .run = run,
};
