/* cmd_train.c: cleave train: settings from defaults, a recipe, the environment and flags; progress while it runs. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

/* The command's flags: one for each option of a run and each alias, then the two of its own. Filled before parsing. */
static cli_flag flags[CLI_MAX_FLAGS];
static char alias_help[32][64];
static int option_flags, dry_run_flag;

static const char *placeholder(const clv_option_info *o)
{
    switch (o->type) {
    case CLV_OPTION_BOOL: return NULL;
    case CLV_OPTION_F64: return "X";
    case CLV_OPTION_I64: return "N";
    case CLV_OPTION_CHOICE: return o->choices;
    default: return "TEXT";
    }
}

static void __attribute__((constructor)) make_flags(void)
{
    const clv_option_info *o;
    const char *alias, *name;
    int n = 0;
    for (int i = 0; (o = clv_train_option_at(i)) && n < CLI_MAX_FLAGS - 16; i++)
        flags[n++] = (cli_flag){ o->name, o->flag, placeholder(o), o->help };
    for (int i = 0; i < 32 && clv_train_alias_at(i, &alias, &name) && n < CLI_MAX_FLAGS - 2; i++) {
        snprintf(alias_help[i], sizeof alias_help[i], "same as --%s", name);
        flags[n++] = (cli_flag){ alias, 0, "X", alias_help[i] };
    }
    option_flags = n;
    dry_run_flag = n;
    flags[n++] = (cli_flag){ "dry-run", 0, NULL, "say what would be done and how much memory it takes, and end" };
    flags[n] = (cli_flag){ NULL, 0, NULL, NULL };
}

/* Of moco's main_moco.py and main_lincls.py, torchrun and Lightning. */
static const cli_elsewhere elsewhere[] = {
    { "gpu", "--device cuda:0" }, { "gpus", "--device cuda, and mpirun -n N for several" },
    { "devices", "--device cuda, and mpirun -n N for several" }, { "accelerator", "--device cpu or --device cuda" },
    { "world-size", "mpirun -n N cleave train" }, { "rank", "the launcher's: mpirun, torchrun or srun" },
    { "dist-url", "the launcher's: mpirun, torchrun or srun" },
    { "dist-backend", "MPI between processors and NCCL between GPUs, without a flag" },
    { "multiprocessing-distributed", "mpirun -n N cleave train" }, { "start-epoch", "--resume, which knows the epoch" },
    { "pretrained", "--weights FILE" }, { "evaluate", "cleave eval" }, { "fp16", "--precision bf16" },
    { "amp", "--precision bf16" }, { "queue-size", "--moco-k" }, { "data-dir", "DATA, without a flag" },
    { "save-dir", "--results-dir" }, { "output-dir", "--results-dir" },
    { NULL, NULL },
};

static bool is_recipe(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"));
}

/* runs/NAME, the name being the recipe's. */
static clv_status default_results(clv_config *config, const char *recipe)
{
    char now[2], path[512], name[256] = "train";
    if (clv_config_get(config, "results-dir", now, sizeof now) != CLV_OK || now[0]) return CLV_OK;   /* given: longer */
    if (recipe) {
        const char *slash = strrchr(recipe, '/');
        snprintf(name, sizeof name, "%s", slash ? slash + 1 : recipe);
        name[strcspn(name, ".")] = 0;
    }
    snprintf(path, sizeof path, "runs/%s", name);
    return clv_config_set(config, "results-dir", path);
}

static clv_status configure(clv_config *config, const cli_args *args)
{
    const char *recipe = NULL;
    clv_status st = CLV_OK;
    for (int i = 0; i < args->positional_count && st == CLV_OK; i++)
        if (is_recipe(args->positional[i])) st = clv_config_load(config, recipe = args->positional[i]);
    if (st == CLV_OK) st = clv_config_env(config);
    for (int i = 0; i < args->positional_count && st == CLV_OK; i++)
        if (!is_recipe(args->positional[i])) st = clv_config_set(config, "data", args->positional[i]);
    for (int i = 0; i < option_flags && st == CLV_OK; i++)
        if (args->value[i]) st = clv_config_set(config, flags[i].name, args->value[i]);
    return st == CLV_OK ? default_results(config, recipe) : st;
}

/* ---- progress ---- */

typedef struct display {
    bool    terminal, drawn;
    double  begin;              /* of this process's training */
    int64_t first_step;         /* total_step when it began; -1: not begun */
    int64_t print_freq;
} display;

static void clear_line(display *d)
{
    if (d->drawn) fputs("\r\033[K", stderr);
    d->drawn = false;
}

static void draw_bar(display *d, const clv_progress *p)
{
    char left[32], bar[25];
    const int64_t total = p->epochs * p->steps_per_epoch;
    const double seconds = (cli_now() - d->begin) / (double)(p->total_step - d->first_step);
    cli_duration(seconds * (double)(total - p->total_step), left);
    const int filled = (int)(24 * p->step / p->steps_per_epoch);
    memset(bar, '.', 24);
    memset(bar, '=', (size_t)filled);
    bar[24] = 0;
    fprintf(stderr,
            "\r\033[Kepoch %lld/%lld [%s] %lld/%lld  %.0f %s/s  data %2.0f%%  loss %.4f", (long long)p->epoch,
            (long long)p->epochs, bar, (long long)p->step, (long long)p->steps_per_epoch, p->images_per_second,
            p->unit, p->mean_seconds_step > 0 ? 100 * p->mean_seconds_data / p->mean_seconds_step : 0.0, p->loss_mean);
    if (p->has_scores) fprintf(stderr, "  pretext@1 %.1f", p->pretext_top1_mean);
    fprintf(stderr, "  ETA %s", left);
    fflush(stderr);
    d->drawn = true;
}

/* MoCo's console line; pretext accuracy is called so, and health follows. What a method does not have is not there. */
static void print_step(const clv_progress *p)
{
    fprintf(stderr, "Epoch: [%lld][%lld/%lld]  Time %6.3f (%6.3f)  Data %6.3f (%6.3f)  LR %.4g  Loss %.4e (%.4e)",
            (long long)p->epoch, (long long)p->step, (long long)p->steps_per_epoch, p->seconds_step,
            p->mean_seconds_step, p->seconds_data, p->mean_seconds_data, p->lr, p->loss, p->loss_mean);
    if (p->has_scores) fprintf(stderr, "  pretext@1 %6.2f (%6.2f)", p->pretext_top1, p->pretext_top1_mean);
    fprintf(stderr, "  std %.3f  rank %.1f  align %.3f  unif %.3f", p->health.std, p->health.effective_rank,
            p->health.alignment, p->health.uniformity);
    if (p->has_scores)
        fprintf(stderr, "  pos %.3f/%.4f  neg %.3f/%.4f", p->scores.positive_mean, p->scores.positive_variance,
                p->scores.negative_mean, p->scores.negative_variance);
    if (p->has_bank) fprintf(stderr, "  queue %.0f%% age %.1f", 100 * p->queue_fill, p->queue_age);
    for (int i = 0; i < p->metric_count; i++) fprintf(stderr, "  %s %.4g", p->metrics[i].name, p->metrics[i].value);
    fputc('\n', stderr);
}

static void print_epoch(const clv_progress *p)
{
    fprintf(stderr, "Epoch: [%lld/%lld]  Loss %.4f", (long long)p->epoch, (long long)p->epochs, p->loss_mean);
    if (p->has_scores) fprintf(stderr, "  pretext@1 %.2f", p->pretext_top1_mean);
    fprintf(stderr, "  %.0f %s/s  std %.3f  rank %.1f", p->images_per_second, p->unit, p->health.std,
            p->health.effective_rank);
    if (p->knn_top1 >= 0)
        fprintf(stderr, "  kNN top-1 %.2f (best %.2f; %s)", p->knn_top1, p->knn_best, p->knn_protocol);
    if (p->val_top1 >= 0) fprintf(stderr, "  held-out acc@1 %.2f acc@5 %.2f", p->val_top1, p->val_top5);
    if (p->has_spans)
        fprintf(stderr, "  span F1 %.2f (precision %.2f, recall %.2f; %s)", p->spans.f1, p->spans.precision,
                p->spans.recall, p->spans_protocol);
    fputc('\n', stderr);
}

static bool show(const clv_progress *p, void *user)
{
    display *d = user;
    if (p->kind == CLV_PROGRESS_STEP && d->first_step < 0) {
        d->first_step = p->total_step - 1;
        d->begin = cli_now() - p->seconds_step;
    }
    if (p->kind == CLV_PROGRESS_STEP && d->terminal) draw_bar(d, p);
    else if (p->kind == CLV_PROGRESS_STEP) {
        if ((p->step - 1) % d->print_freq == 0 || p->step == p->steps_per_epoch) print_step(p);
    } else {
        clear_line(d);
        if (p->kind == CLV_PROGRESS_EPOCH) print_epoch(p);
        else fprintf(stderr, "%s\n", p->note);
    }
    return !cli_stop_requested();
}

/* ---- the command ---- */

static int train(cli *c, const clv_config *config, bool dry_run)
{
    char results[1024] = "", freq[32] = "10";
    clv_status st = clv_config_get(config, "results-dir", results, sizeof results);
    if (st == CLV_OK) st = clv_config_get(config, "print-freq", freq, sizeof freq);
    display d = { .terminal = c->terminal, .first_step = -1, .print_freq = atoll(freq) };
    clv_trainer *trainer = NULL;
    if (st == CLV_OK) st = clv_trainer_create(c->ctx, config, show, &d, &trainer);
    if (st == CLV_OK && dry_run) st = clv_trainer_describe(trainer, cli_print_line, NULL);
    else if (st == CLV_OK) st = clv_trainer_run(trainer);
    clear_line(&d);
    const bool speaks = clv_trainer_rank(trainer) == 0;                      /* of several processes the first does */
    if (st == CLV_STOPPED && speaks) fprintf(stderr, "stopped; '--resume auto' goes on from %s/last.h5\n", results);
    const bool built = trainer != NULL;
    clv_trainer_destroy(trainer);
    if (st != CLV_OK) {
        const int status = cli_fail(st);
        return st == CLV_ERR_INVALID && !built ? CLI_USAGE : status;         /* settings that do not go together */
    }
    if (!dry_run && speaks) printf("%s\n", results);
    return CLI_OK;
}

/* A second one would be taken for the first: "--schedule 120 160" is how others write lists. */
static int check_data(const cli_args *args)
{
    const char *data = NULL;
    for (int i = 0; i < args->positional_count; i++) {
        if (is_recipe(args->positional[i])) continue;
        if (data)
            return cli_usage(&cli_command_train, "train: '%s' and '%s': there is one DATA; lists have commas, "
                             "--schedule 120,160", data, args->positional[i]);
        data = args->positional[i];
    }
    return -1;
}

static int run(cli *c, const cli_args *args)
{
    const int usage = check_data(args);
    if (usage >= 0) return usage;
    clv_config *config = NULL;
    clv_status st = clv_config_create(c->ctx, &config);
    if (st == CLV_OK) st = configure(config, args);
    if (st != CLV_OK) {
        clv_config_destroy(config);
        cli_fail(st);
        return st == CLV_ERR_INVALID || st == CLV_ERR_FORMAT ? CLI_USAGE : CLI_FAILED;
    }
    cli_catch_signals();
    const int status = train(c, config, args->value[dry_run_flag] && strcmp(args->value[dry_run_flag], "false") != 0);
    clv_config_destroy(config);
    return status;
}

static void more_help(FILE *out)
{
    const clv_option_info *o;
    fputs("\nKeys of a recipe and CLEAVE_<KEY> variables are these flags' names; default < recipe < environment < "
          "flag.\ndefaults:\n",
          out);
    for (int i = 0; (o = clv_train_option_at(i)); i++)
        if (o->def && o->def[0]) fprintf(out, "  %-20s %s\n", o->name, o->def);
}

const cli_command cli_command_train = {
    .name = "train", .usage = "cleave train [RECIPE.yaml] [DATA] [flags]", .summary = "train an encoder",
    .example = "  cleave train recipes/moco-glyphs.yaml\n"
               "  cleave train recipes/moco-cifar10.yaml cifar10.h5 --results-dir runs/cifar --resume auto",
    .flags = flags, .run = run, .more_help = more_help, .elsewhere = elsewhere,
};
