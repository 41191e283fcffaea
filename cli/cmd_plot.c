/* cmd_plot.c: cleave plot: single figures of runs, as SVG. */
#include "cli/cli.h"

#include <string.h>

enum { OUTPUT, EPOCH };
static const cli_flag flags[] = {
    { "output", 'o', "OUT.svg", "the file to write (default: scores.svg in the first run directory)" },
    { "epoch", 0, "N", "the epoch to look at (default: the last)" },
    { NULL, 0, NULL, NULL },
};

static int run(cli *c, const cli_args *args)
{
    long long epoch = 0;
    char path[4096];
    if (args->positional_count < 2) return cli_usage(&cli_command_plot, "plot: expected scores, and RUN");
    if (strcmp(args->positional[0], "scores") != 0)
        return cli_usage(&cli_command_plot, "plot: there is no figure '%s'; there is scores", args->positional[0]);
    if (args->value[EPOCH] && !cli_integer("epoch", args->value[EPOCH], 1, 1LL << 31, &epoch)) return CLI_USAGE;
    snprintf(path, sizeof path, "%s/scores.svg", args->positional[1]);
    const char *output = args->value[OUTPUT] ? args->value[OUTPUT] : path;
    const clv_status st = clv_plot_scores(c->ctx, (const char *const *)args->positional + 1, args->positional_count - 1,
                                          epoch, output);
    if (st != CLV_OK) return cli_fail(st);
    printf("%s\n", output);
    return CLI_OK;
}

const cli_command cli_command_plot = {
    .name = "plot", .usage = "cleave plot scores RUN... [-o OUT.svg] [flags]",
    .summary = "draw how scores of positives and negatives are distributed",
    .example = "  cleave plot scores runs/moco runs/moco-ft -o scores.svg", .flags = flags, .run = run,
};
