/* cmd_inspect.c: cleave inspect: what is in a file Cleave wrote. */
#include "cli/cli.h"

#include <string.h>

enum { VERIFY };

static const cli_flag flags[] = {
    { "verify", 0, NULL, "a packed data set: compare every image with its checksum" },
    { NULL, 0, NULL, NULL },
};

static bool show(const clv_pack_progress *p, void *user)
{
    cli_progress_show(user, p->done, p->total, p->split);
    return !cli_stop_requested();
}

static clv_status verify_split(cli *c, const char *path, const char *split)
{
    clv_dataset *ds = NULL;
    clv_dataset_info info;
    clv_status st = clv_dataset_open(c->ctx, path, split, &ds);
    if (st != CLV_OK) return st;
    clv_dataset_describe(ds, &info);
    cli_progress progress = cli_progress_begin(c, "verify");
    st = clv_dataset_verify(c->ctx, ds, show, &progress);
    cli_progress_end(&progress);
    if (st == CLV_OK)
        printf("verified: %lld images%s%s\n", (long long)info.count, split ? " of " : "", split ? split : "");
    clv_dataset_destroy(ds);
    return st;
}

static clv_status verify(cli *c, const char *path)
{
    clv_dataset_splits splits = { 0 };
    clv_status st = clv_dataset_list_splits(c->ctx, path, &splits);
    if (st == CLV_OK && splits.count == 0) st = verify_split(c, path, NULL);
    for (int64_t i = 0; i < splits.count && st == CLV_OK; i++) st = verify_split(c, path, splits.name[i]);
    return st;
}

static int run(cli *c, const cli_args *args)
{
    if (args->positional_count < 1) return cli_usage(&cli_command_inspect, "inspect: expected FILE");
    const bool verified = args->value[VERIFY] && strcmp(args->value[VERIFY], "false") != 0;
    cli_catch_signals();
    for (int i = 0; i < args->positional_count; i++) {
        clv_status st = clv_inspect(c->ctx, args->positional[i], cli_print_line, NULL);
        if (st == CLV_OK && verified) st = verify(c, args->positional[i]);
        if (st != CLV_OK) return cli_fail(st);
    }
    return CLI_OK;
}

const cli_command cli_command_inspect = {
    .name = "inspect",
    .usage = "cleave inspect FILE... [flags]",
    .summary = "describe a checkpoint, data set, bank or feature file",
    .example = "  cleave inspect runs/demo/last.h5\n"
               "  cleave inspect photos.h5 --verify",
    .flags = flags,
    .run = run,
};
