/* cmd_report.c: cleave report: a run as one HTML file. */
#include "cli/cli.h"

static const cli_flag flags[] = {
    { "output", 'o', "OUT.html", "the file to write (default: report.html in the run directory)" },
    { NULL, 0, NULL, NULL },
};

static int run(cli *c, const cli_args *args)
{
    if (args->positional_count != 1) return cli_usage(&cli_command_report, "report: expected RUN");
    const clv_status st = clv_report_write(c->ctx, args->positional[0], args->value[0]);
    if (st != CLV_OK) return cli_fail(st);
    if (args->value[0]) printf("%s\n", args->value[0]);
    else printf("%s/report.html\n", args->positional[0]);
    return CLI_OK;
}

const cli_command cli_command_report = {
    .name = "report", .usage = "cleave report RUN [-o OUT.html]", .summary = "write a run's report as one HTML file",
    .example = "  cleave report runs/demo", .flags = flags, .run = run,
};
