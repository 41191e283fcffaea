/* cmd_pack.c: cleave pack: any readable images into one HDF5 file. */
#include "cli/cli.h"

#include <string.h>

enum { OUTPUT, SIZE, QUALITY, FORMAT, SHARDS, JOBS, VERIFY, SKIP_BAD, EXIF, RESTART };

static const cli_flag flags[] = {
    { "output", 'o', "OUT.h5", "the file to write" },
    { "size", 0, "N", "raw: shorter side to N, then the centre NxN; jpeg: shorter side to at most N" },
    { "quality", 0, "Q", "JPEG quality, 1 to 100 (default 95)" },
    { "format", 0, "F",
      "raw (decoded, all of one size), jpeg (encoded anew) or original (default: original for folders, else raw)" },
    { "shards", 0, "N", "write N files OUT-00000-of-N.h5 ... beside OUT.h5, which names them and opens as one data set" },
    { "jobs", 'j', "N", "threads (default: one per core)" },
    { "verify", 0, NULL, "original: decode every image first (default; --no-verify leaves it out)" },
    { "skip-bad", 0, NULL,
      "leave out images that cannot be decoded; they are listed in the file's attribute 'skipped'" },
    { "exif-orientation", 0, NULL, "turn pictures as their EXIF tag asks" },
    { "restart", 0, NULL, "throw away what an interrupted pack left, instead of going on with it" },
    { NULL, 0, NULL, NULL },
};

typedef struct pack_display {
    cli_progress progress;
    int64_t      bad;
} pack_display;

static bool show(const clv_pack_progress *p, void *user)
{
    pack_display *d = user;
    if (p->bad_message) {
        fprintf(stderr, "%sbad image: %s\n", d->progress.terminal ? "\r\033[K" : "", p->bad_message);
        d->bad++;
    }
    if (p->note) fprintf(stderr, "%s%s\n", d->progress.terminal ? "\r\033[K" : "", p->note);
    cli_progress_show(&d->progress, p->done, p->total, p->split);
    return !cli_stop_requested();
}

static bool given(const cli_args *args, int flag, bool otherwise)
{
    return args->value[flag] ? strcmp(args->value[flag], "false") != 0 : otherwise;
}

static int choose_format(const cli *c, const cli_args *args, clv_pack_desc *desc)
{
    static const char *const names[] = { "raw", "jpeg", "original" };
    const char *name = args->value[FORMAT];
    for (int i = 0; name && i < 3; i++)
        if (!strcmp(name, names[i])) {
            desc->format = (clv_pack_format)i;
            return CLI_OK;
        }
    if (name) return cli_usage(NULL, "--format: expected raw, jpeg or original, got '%s'", name);
    if (args->value[QUALITY]) {
        desc->format = CLV_PACK_JPEG;
        return CLI_OK;
    }
    clv_dataset *ds = NULL;
    clv_dataset_info info = { .raw = true };
    if (clv_dataset_open(c->ctx, desc->sources[0], NULL, &ds) == CLV_OK) clv_dataset_describe(ds, &info);
    desc->format = info.raw || desc->size || desc->source_count > 1 ? CLV_PACK_RAW : CLV_PACK_ORIGINAL;
    clv_dataset_destroy(ds);
    return CLI_OK;
}

static int run(cli *c, const cli_args *args)
{
    clv_pack_desc desc = CLV_PACK_DESC_INIT;
    long long number = 0;
    if (args->positional_count < 1) return cli_usage(&cli_command_pack, "pack: no SOURCE given");
    if (!args->value[OUTPUT]) return cli_usage(&cli_command_pack, "pack: no output given (-o OUT.h5)");
    desc.sources = (const char *const *)args->positional;
    desc.source_count = args->positional_count;
    desc.output = args->value[OUTPUT];
    if (args->value[SIZE]) {
        if (!cli_integer("size", args->value[SIZE], 1, 65500, &number)) return CLI_USAGE;
        desc.size = number;
    }
    if (args->value[QUALITY]) {
        if (!cli_integer("quality", args->value[QUALITY], 1, 100, &number)) return CLI_USAGE;
        desc.quality = (int)number;
    }
    desc.jobs = clv_context_threads(c->ctx);
    if (args->value[JOBS]) {
        if (!cli_integer("jobs", args->value[JOBS], 1, 1024, &number)) return CLI_USAGE;
        desc.jobs = (int)number;
    }
    if (args->value[SHARDS]) {
        if (!cli_integer("shards", args->value[SHARDS], 1, CLV_PACK_MAX_SHARDS, &number)) return CLI_USAGE;
        desc.shards = (int)number;
    }
    desc.restart = given(args, RESTART, false);
    desc.verify = given(args, VERIFY, true);
    desc.skip_bad = given(args, SKIP_BAD, false);
    desc.exif_orientation = given(args, EXIF, false);
    if (choose_format(c, args, &desc) != CLI_OK) return CLI_USAGE;
    if (args->value[QUALITY] && desc.format != CLV_PACK_JPEG)
        return cli_usage(&cli_command_pack, "--quality acts with --format jpeg only");
    cli_catch_signals();
    pack_display d = { cli_progress_begin(c, "pack"), 0 };
    const clv_status st = clv_pack(c->ctx, &desc, show, &d);
    cli_progress_end(&d.progress);
    if (st != CLV_OK) return cli_fail(st);
    if (d.bad) fprintf(stderr, "%lld images left out\n", (long long)d.bad);
    printf("%s\n", desc.output);
    return CLI_OK;
}

const cli_command cli_command_pack = {
    .name = "pack", .usage = "cleave pack SOURCE... -o OUT.h5 [flags]", .summary = "pack images into one HDF5 file",
    .example = "  cleave pack photos/ -o photos.h5 --size 256 --format jpeg --quality 90 -j 8\n"
               "  cleave pack part1.h5 part2.h5 -o all.h5",
    .flags = flags, .run = run,
};
