/* cmd_devices.c: cleave devices: what computation can run on here, and why something is not there. */
#include "cli/cli.h"

static const cli_flag flags[] = { { NULL, 0, NULL, NULL } };

static int run(cli *c, const cli_args *args)
{
    if (args->positional_count) return cli_usage(&cli_command_devices, "devices: takes no arguments");
    clv_device_info info;
    for (int i = 0; clv_device_at(c->ctx, i, &info); i++)
        printf("%-8s %s%s%s\n", info.name, info.available ? "" : "not available: ", info.description,
               info.available && i == 0 ? " (default)" : "");
    return CLI_OK;
}

const cli_command cli_command_devices = {
    .name = "devices",
    .usage = "cleave devices",
    .summary = "list the devices that can compute",
    .example = "  cleave devices",
    .flags = flags,
    .run = run,
};
