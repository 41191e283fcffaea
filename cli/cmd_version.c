/* cmd_version.c: cleave version. */
#include "cli/cli.h"

static const cli_flag flags[] = { { NULL, 0, NULL, NULL } };

static int run(cli *c, const cli_args *args)
{
    (void)c;
    if (args->positional_count) return cli_usage(&cli_command_version, "version: takes no arguments");
    printf("cleave %s\n", clv_version());
    return CLI_OK;
}

const cli_command cli_command_version = {
    .name = "version", .usage = "cleave version", .summary = "print the version", .example = "  cleave version",
    .flags = flags, .run = run,
};
