/* cmd_inspect.c: cleave inspect: what is in a file Cleave wrote. */
#include "cli/cli.h"

static const cli_flag flags[] = { { NULL, 0, NULL, NULL } };

static int run(cli *c, const cli_args *args)
{
    if (args->positional_count < 1) return cli_usage(&cli_command_inspect, "inspect: expected FILE");
    for (int i = 0; i < args->positional_count; i++) {
        const clv_status st = clv_inspect(c->ctx, args->positional[i], cli_print_line, NULL);
        if (st != CLV_OK) return cli_fail(st);
    }
    return CLI_OK;
}

const cli_command cli_command_inspect = {
    .name = "inspect",
    .usage = "cleave inspect FILE...",
    .summary = "describe a checkpoint, data set, bank or feature file",
    .example = "  cleave inspect runs/demo/last.h5",
    .flags = flags,
    .run = run,
};
