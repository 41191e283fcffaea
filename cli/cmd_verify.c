/* cmd_verify.c: cleave verify: a run beside the published trajectory of its recipe. */
#include "cli/cli.h"

#include <string.h>

enum { LOSS, ACCURACY };
static const cli_flag flags[] = {
    { "loss-tolerance", 0, "X", "share by which a loss may differ, either way (default 0.05)" },
    { "accuracy-tolerance", 0, "X", "percentage points by which an accuracy may be lower (default 3)" },
    { NULL, 0, NULL, NULL },
};

/* Settings that do not decide what a run comes to, or are meant to differ. */
static bool is_beside(const char *name)
{
    static const char *const beside[] = {
        "data", "split", "val-data", "val-split", "workers", "prefetch", "aug-device", "weights", "seed", "print-freq",
        "save-freq", "save-steps", "profile", "results-dir", "resume", "device", "cudnn-benchmark", "recompute",
        "stop-epoch", "micro-batch-size", "stop-on-collapse", "on-nan", "knn-freq", "val-freq", "published",
        "tensorboard", "detect-anomaly",
    };
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++)
        if (!strcmp(beside[i], name)) return true;
    return false;
}

/* Says what the run has otherwise than the recipe. */
static void print_differences(const clv_config *run, const clv_config *recipe)
{
    const clv_option_info *o;
    for (int i = 0; (o = clv_train_option_at(i)); i++) {
        char here[4096] = "", there[4096] = "";
        if (is_beside(o->name) || clv_config_get(run, o->name, here, sizeof here) != CLV_OK ||
            clv_config_get(recipe, o->name, there, sizeof there) != CLV_OK || !strcmp(here, there))
            continue;
        printf("not as in the recipe: %s %s (%s)\n", o->name, here[0] ? here : "-", there[0] ? there : "-");
    }
}

static clv_status read_recipe(cli *c, const char *run, const char *recipe, char *published, size_t size)
{
    char path[4096];
    clv_config *of_run = NULL, *of_recipe = NULL;
    snprintf(path, sizeof path, "%s/config.yaml", run);
    clv_status st = clv_config_create(c->ctx, &of_run);
    if (st == CLV_OK) st = clv_config_create(c->ctx, &of_recipe);
    if (st == CLV_OK) st = clv_config_load(of_run, path);
    if (st == CLV_OK) st = clv_config_load(of_recipe, recipe);
    if (st == CLV_OK) st = clv_config_get(of_recipe, "published", published, size);
    if (st == CLV_OK) print_differences(of_run, of_recipe);
    clv_config_destroy(of_recipe);
    clv_config_destroy(of_run);
    return st;
}

static void print_course(const char *run, const clv_course *course)
{
    printf("%-14s %6s %11s %10s %11s\n", "metric", "epoch", "published", "this run", "difference");
    for (int i = 0; i < course->count; i++) {
        const clv_course_row *r = &course->row[i];
        printf("%-14s %6lld %10.4g%s %10.4g %+11.4g%s\n", r->metric, (long long)r->epoch, r->published,
               r->between ? "~" : " ", r->found, r->found - r->published, r->within ? "" : "  off");
    }
    printf("%s: %s course after %lld of %lld epochs\n", run, course->on_course ? "on" : "off",
           (long long)course->epochs, (long long)course->horizon);
}

static int run(cli *c, const cli_args *args)
{
    char published[4096] = "";
    clv_course_desc desc = CLV_COURSE_DESC_INIT;
    clv_course course;
    if (args->positional_count < 1 || args->positional_count > 2)
        return cli_usage(&cli_command_verify, "verify: expected RUN, and perhaps RECIPE.yaml");
    if (args->value[LOSS] && !cli_number("loss-tolerance", args->value[LOSS], 0, 100, &desc.loss)) return CLI_USAGE;
    if (args->value[ACCURACY] && !cli_number("accuracy-tolerance", args->value[ACCURACY], 0, 100, &desc.accuracy))
        return CLI_USAGE;
    if (args->positional_count == 2) {
        const clv_status st = read_recipe(c, args->positional[0], args->positional[1], published, sizeof published);
        if (st != CLV_OK) return cli_fail(st);
        desc.published = published;
    }
    const clv_status st = clv_course_measure(c->ctx, args->positional[0], &desc, &course);
    if (st != CLV_OK) return cli_fail(st);
    print_course(args->positional[0], &course);
    return course.on_course ? CLI_OK : CLI_FAILED;
}

const cli_command cli_command_verify = {
    .name = "verify", .usage = "cleave verify RUN [RECIPE.yaml] [flags]",
    .summary = "compare a run with the published trajectory of its recipe",
    .example = "  cleave verify runs/moco-cifar10\n  cleave verify runs/moco-cifar10 recipes/moco-cifar10.yaml",
    .flags = flags, .run = run,
};
