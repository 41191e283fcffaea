/* cmd_stats.c: cleave stats: mean and standard deviation of a data set's pixels, ready for a recipe. */
#include "cli/cli.h"

#include <string.h>

enum { SPLIT, SIZE, JOBS, EXIF };

static const cli_flag flags[] = {
    { "split", 0, "NAME", "which split (default: train, or all of a set without splits)" },
    { "size", 0, "N", "as pack: shorter side to N, then the centre NxN (default: pictures as they are)" },
    { "jobs", 'j', "N", "threads (default: one per core)" },
    { "exif-orientation", 0, NULL, "turn pictures as their EXIF tag asks" },
    { NULL, 0, NULL, NULL },
};

static bool show(const clv_pack_progress *p, void *user)
{
    cli_progress_show(user, p->done, p->total, p->split);
    return !cli_stop_requested();
}

static void print_numbers(const char *name, const double *v, int64_t n)
{
    printf("%s", name);
    for (int64_t c = 0; c < n; c++) printf("%s%.4f", c ? "," : "", v[c]);
}

static clv_status measure(cli *c, const char *path, const char *split, const clv_stats_desc *desc)
{
    clv_dataset *ds = NULL;
    clv_stats stats;
    clv_status st = clv_dataset_open(c->ctx, path, split, &ds);
    if (st != CLV_OK) return st;
    cli_progress progress = cli_progress_begin(c, "stats");
    st = clv_dataset_stats(c->ctx, ds, desc, show, &progress, &stats);
    cli_progress_end(&progress);
    if (st == CLV_OK) {
        print_numbers("normalize mean=", stats.mean, stats.channels);
        print_numbers(" std=", stats.std, stats.channels);
        printf("\nimages %lld\npixels %lld\n", (long long)stats.images, (long long)stats.pixels);
    }
    clv_dataset_destroy(ds);
    return st;
}

static int run(cli *c, const cli_args *args)
{
    clv_stats_desc desc = CLV_STATS_DESC_INIT;
    long long number = 0;
    if (args->positional_count != 1) return cli_usage(&cli_command_stats, "stats: expected one DATA");
    if (args->value[SIZE]) {
        if (!cli_integer("size", args->value[SIZE], 1, 8192, &number)) return CLI_USAGE;
        desc.size = number;
    }
    desc.jobs = clv_context_threads(c->ctx);
    if (args->value[JOBS]) {
        if (!cli_integer("jobs", args->value[JOBS], 1, 1024, &number)) return CLI_USAGE;
        desc.jobs = (int)number;
    }
    desc.exif_orientation = args->value[EXIF] && strcmp(args->value[EXIF], "false") != 0;
    cli_catch_signals();
    const clv_status st = measure(c, args->positional[0], args->value[SPLIT], &desc);
    return st == CLV_OK ? CLI_OK : cli_fail(st);
}

const cli_command cli_command_stats = {
    .name = "stats", .usage = "cleave stats DATA [flags]",
    .summary = "measure mean and standard deviation of the pixels",
    .example = "  cleave stats photos/ --split train --size 224 -j 8",
    .flags = flags, .run = run,
};
