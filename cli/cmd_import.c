/* cmd_import.c: cleave import: a file of weights as a checkpoint. */
#include "cli/cli.h"

#include <string.h>

enum { OUTPUT, KEY, ARCH, STEM, WIDTH, EVAL_AUG, SIZE };

static const cli_flag flags[] = {
    { "output", 'o', "OUT.h5", "the checkpoint" },
    { "key", 0, NULL, "of two networks in the file, the momentum encoder" },
    { "arch", 'a', "NAME", "backbone (default: the one whose shapes fit)" },
    { "stem", 0, "NAME", "its first layers, where shapes do not tell" },
    { "width", 0, "N", "its channels of the first stage" },
    { "eval-aug", 0, "CHAIN", "how pictures are prepared (default: eval; eval-cifar for a 3x3 stem)" },
    { "size", 0, "N", "side of the pictures in pixels" },
    { NULL, 0, NULL, NULL },
};

static clv_status import(cli *c, const cli_args *args, clv_config *config)
{
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    clv_encoder *encoder = NULL;
    clv_status st = CLV_OK;
    for (int i = ARCH; st == CLV_OK && i <= SIZE; i++)
        if (args->value[i]) st = clv_config_set(config, flags[i].name, args->value[i]);
    desc.weights = args->positional[0];
    desc.config = config;
    desc.key = args->value[KEY] && strcmp(args->value[KEY], "false") != 0;
    desc.batch_size = 1;
    if (st == CLV_OK) st = clv_encoder_open(c->ctx, &desc, &encoder);
    if (st == CLV_OK) st = clv_encoder_save(encoder, args->value[OUTPUT]);
    clv_encoder_destroy(encoder);
    return st;
}

static int run(cli *c, const cli_args *args)
{
    const char *out = args->value[OUTPUT];
    const size_t n = out ? strlen(out) : 0;
    if (args->positional_count != 1) return cli_usage(&cli_command_import, "import: expected FILE");
    if (n < 4 || strcmp(out + n - 3, ".h5") != 0)
        return cli_usage(&cli_command_import, "import: expected -o OUT.h5");
    clv_config *config = NULL;
    clv_status st = clv_config_create(c->ctx, &config);
    if (st == CLV_OK) st = import(c, args, config);
    clv_config_destroy(config);
    if (st != CLV_OK) return cli_fail(st);
    printf("%s\n", out);
    return CLI_OK;
}

const cli_command cli_command_import = {
    .name = "import",
    .usage = "cleave import FILE -o OUT.h5 [flags]",
    .summary = "make a checkpoint of weights from elsewhere",
    .example = "  cleave import moco_v2.pth -o moco.h5\n"
               "  cleave eval knn moco.h5 photos.h5",
    .flags = flags,
    .run = run,
};
