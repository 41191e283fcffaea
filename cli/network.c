/* network.c: where an encoder comes from, and where it computes. */
#include "cli/cli.h"

int cli_device(cli *c, const cli_command *command, const char *name)
{
    const clv_status st = name ? clv_context_use(c->ctx, name) : CLV_OK;
    if (st == CLV_ERR_INVALID) return cli_usage(command, "--device: %s", clv_error_message());
    return st == CLV_OK ? CLI_OK : cli_fail(st);
}

int cli_network(cli *c, const cli_command *command, const cli_args *args, int first, const char *checkpoint,
                clv_encoder_desc *desc, clv_config **config)
{
    desc->checkpoint = checkpoint;
    desc->weights = args->value[first];
    for (int i = first + 1; i < first + CLI_NETWORK_COUNT; i++)
        if (args->value[i] && !desc->weights)
            return cli_usage(command, "--%s acts with --weights only: a run knows its own", command->flags[i].name);
    if (!desc->weights) return CLI_OK;
    clv_status st = clv_config_create(c->ctx, config);
    for (int i = first + 1; st == CLV_OK && i < first + CLI_NETWORK_COUNT; i++)
        if (args->value[i]) st = clv_config_set(*config, command->flags[i].name, args->value[i]);
    desc->config = *config;
    if (st == CLV_OK) return CLI_OK;
    clv_config_destroy(*config);
    *config = NULL;
    (void)cli_fail(st);
    return CLI_USAGE;
}
