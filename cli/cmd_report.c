/* cmd_report.c: cleave report: a run as one HTML file, or several beside each other. */
#include "cli/cli.h"

static const cli_flag flags[] = {
    { "output", 'o', "OUT.html", "the file to write (default: report.html in the run directory; several runs: say)" },
    { NULL, 0, NULL, NULL },
};

static int compare(cli *c, const cli_args *args)
{
    if (!args->value[0]) return cli_usage(&cli_command_report, "report: several runs need -o OUT.html");
    const clv_status st = clv_report_compare(c->ctx, (const char *const *)args->positional, args->positional_count,
                                             args->value[0]);
    if (st != CLV_OK) return cli_fail(st);
    printf("%s\n", args->value[0]);
    return CLI_OK;
}

static int run(cli *c, const cli_args *args)
{
    if (args->positional_count < 1) return cli_usage(&cli_command_report, "report: expected RUN");
    if (args->positional_count > 1) return compare(c, args);
    const clv_status st = clv_report_write(c->ctx, args->positional[0], args->value[0]);
    if (st != CLV_OK) return cli_fail(st);
    if (args->value[0]) printf("%s\n", args->value[0]);
    else printf("%s/report.html\n", args->positional[0]);
    return CLI_OK;
}

const cli_command cli_command_report = {
    .name = "report", .usage = "cleave report RUN... [-o OUT.html]",
    .summary = "write a run's report as one HTML file, or compare several",
    .example = "  cleave report runs/demo\n  cleave report runs/moco runs/moco-ft -o both.html",
    .flags = flags, .run = run,
};
