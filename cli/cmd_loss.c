/* cmd_loss.c: cleave loss: what losses there are, one in detail, comparing a loss with golden vectors, evaluating it on
 * inputs from a file, and measuring it. */
#include "cli/cli.h"

#include <string.h>

enum { DTYPE, REFERENCE, DEVICE, OUTPUT, BATCH, DIM, BANK, CLASSES, OPTIONS, REPEAT };

static const cli_flag flags[] = {
    { "dtype", 0, "T", "check, run: float64 (default), float32 or bf16" },
    { "reference", 0, NULL, "check, run: the plain C kernels instead of the fast ones" },
    { "device", 0, "NAME", "check: cpu (default), cuda or cuda:N" },
    { "output", 'o', "FILE", "run: where the results go" },
    { "batch", 0, "B", "bench: rows of a batch (default 256)" },
    { "dim", 0, "D", "bench: features of a row (default 128)" },
    { "bank", 0, "K", "bench: rows of a bank, or of negatives (default 4096)" },
    { "classes", 0, "C", "bench: classes (default 10)" },
    { "options", 0, "LIST", "bench: options of the loss, NAME=VALUE,..." },
    { "repeat", 0, "N", "bench: how often it is measured (default 21)" },
    { NULL, 0, NULL, NULL },
};

static void list(void)
{
    clv_class_info info;
    for (int i = 0; clv_loss_info_at(i, &info); i++) printf("%-20s %s\n", info.name, info.summary);
}

static void print_port(const char *kind, const clv_loss_port *p)
{
    printf("  %-8s %-18s [%s] %s%s%s%s%s  %s\n", kind, p->name, p->shape,
           p->dtype == CLV_F32 ? "float" : clv_dtype_name(p->dtype), p->optional ? ", optional" : "",
           p->variant ? ", variant " : "", p->variant ? p->variant : "", p->differentiable ? ", differentiable" : "",
           p->help ? p->help : "");
}

/* The loss of that name, or -1 after telling what there is. */
static int find_loss(const char *name)
{
    const char *names[256] = { NULL };
    clv_class_info info;
    const int loss = clv_loss_find(name);
    if (loss >= 0) return loss;
    for (int i = 0; i < 255 && clv_loss_info_at(i, &info); i++) names[i] = info.name;
    const char *near = clv_nearest_name(name, names);
    if (near) cli_usage(&cli_command_loss, "loss: no loss '%s'; did you mean '%s'?", name, near);
    else cli_usage(&cli_command_loss, "loss: no loss '%s'; 'cleave loss list' tells what there is", name);
    return -1;
}

static void print_lines(const char *title, const char *lines)
{
    if (!lines) return;
    puts(title);
    while (*lines) {
        const int n = (int)strcspn(lines, "\n");
        printf("  %.*s\n", n, lines);
        lines += n + (lines[n] == '\n');
    }
}

static void print_option(const clv_option_info *o)
{
    printf("  %-19s default %-10s %s", o->name, o->def, o->help);
    if (o->choices) printf(" (%s)", o->choices);
    if (o->type == CLV_OPTION_F64 || o->type == CLV_OPTION_I64) printf(" [%.16g, %.16g]", o->min, o->max);
    if (o->symbol) printf(" (%s in the paper)", o->symbol);
    putchar('\n');
}

static int show_one(const char *name)
{
    const int loss = find_loss(name);
    clv_class_info info;
    clv_option_info o;
    clv_loss_port port;
    if (!clv_loss_info_at(loss, &info)) return CLI_USAGE;
    printf("%s: %s\nsource: %s\n", info.name, info.summary, info.source);
    print_lines("formula:", clv_loss_formula(loss));
    print_lines("published settings:", clv_loss_published(loss));
    puts("options:");
    for (int i = 0; clv_loss_option_at(loss, i, &o); i++) print_option(&o);
    puts("inputs and outputs:");
    for (int i = 0; clv_loss_input_at(loss, i, &port); i++) print_port("input", &port);
    for (int i = 0; clv_loss_output_at(loss, i, &port); i++) print_port("output", &port);
    return CLI_OK;
}

static void print_result(const clv_loss_check_result *r, void *user)
{
    static const char *const verdicts[] = { "passed", "FAILED", "not compared" };
    int64_t *compared = user;
    char name[256], note[512];
    cli_printable(r->name, name, sizeof name);
    cli_printable(r->note, note, sizeof note);
    printf("%-56s ", name);
    if (r->tolerance > 0) printf("error %.2e  tolerance %.2e  ", r->error, r->tolerance);
    printf("%s%s%s\n", verdicts[r->verdict], note[0] ? ": " : "", note);
    *compared += r->verdict != CLV_CHECK_NOT_COMPARED;
}

/* False: it is none, and the usage was told. */
static bool read_dtype(const cli_args *args, clv_dtype *out)
{
    static const struct { const char *name; clv_dtype dtype; } names[] = {
        { "float64", CLV_F64 }, { "float32", CLV_F32 }, { "bf16", CLV_BF16 }, { "bfloat16", CLV_BF16 },
    };
    const char *text = args->value[DTYPE];
    *out = CLV_F64;
    if (!text) return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(text, names[i].name)) {
            *out = names[i].dtype;
            return true;
        }
    cli_usage(&cli_command_loss, "--dtype: expected float64, float32 or bf16, got '%s'", text);
    return false;
}

static bool wants_reference(const cli_args *args)
{
    return args->value[REFERENCE] && strcmp(args->value[REFERENCE], "false") != 0;
}

static int check(cli *c, const cli_args *args)
{
    clv_dtype dtype;
    int64_t failed = 0, compared = 0;
    bool all_read = true;
    if (!read_dtype(args, &dtype)) return CLI_USAGE;
    if (args->positional_count < 2) return cli_usage(&cli_command_loss, "loss check: expected FILE.h5");
    const int status = cli_device(c, &cli_command_loss, args->value[DEVICE]);
    if (status != CLI_OK) return status;
    for (int i = 1; i < args->positional_count; i++) {
        int64_t here = 0;
        const clv_status st = clv_loss_check(c->ctx, args->positional[i], dtype, wants_reference(args), print_result,
                                             &compared, &here);
        if (st != CLV_OK) cli_fail(st);
        all_read = all_read && st == CLV_OK;
        failed += here;
    }
    printf("%lld compared, %lld failed\n", (long long)compared, (long long)failed);
    if (all_read && compared == 0) fprintf(stderr, "cleave: nothing was compared\n");
    return all_read && compared && !failed ? CLI_OK : CLI_FAILED;
}

static void print_case(const char *name, double value, const char *note, void *user)
{
    char clean[256], left_out[512];
    (void)user;
    printf("%-40s %.17g%s%s\n", cli_printable(name, clean, sizeof clean), value, note[0] ? "  " : "",
           cli_printable(note, left_out, sizeof left_out));
}

/* cleave loss run NAME IN -o OUT */
static int run_file(cli *c, const cli_args *args)
{
    clv_dtype dtype;
    if (!read_dtype(args, &dtype)) return CLI_USAGE;
    if (args->positional_count != 3 || !args->value[OUTPUT])
        return cli_usage(&cli_command_loss, "loss run: expected NAME IN.h5 -o OUT.h5");
    const clv_status st = clv_loss_run(c->ctx, args->positional[1], args->positional[2], args->value[OUTPUT], dtype,
                                       wants_reference(args), print_case, NULL);
    return st == CLV_OK ? CLI_OK : cli_fail(st);
}

static bool size_of(const cli_args *args, int flag, long long usual, int64_t *out)
{
    long long n = usual;
    if (args->value[flag] && !cli_integer(flags[flag].name, args->value[flag], 1, 1 << 24, &n)) return false;
    *out = n;
    return true;
}

static int bench(cli *c, const cli_args *args)
{
    cli_loss_bench b = { .options = args->value[OPTIONS] };
    if (args->positional_count != 2) return cli_usage(&cli_command_loss, "loss bench: expected NAME");
    b.loss = args->positional[1];
    if (!size_of(args, BATCH, 256, &b.batch) || !size_of(args, DIM, 128, &b.dim) ||
        !size_of(args, BANK, 4096, &b.bank) || !size_of(args, CLASSES, 10, &b.classes) ||
        !size_of(args, REPEAT, 21, &b.repeat))
        return CLI_USAGE;
    return find_loss(b.loss) < 0 ? CLI_USAGE : cli_bench_loss(c, &b);
}

/* The flags each verb takes, one bit each. */
static unsigned flags_of(const char *verb)
{
    if (!strcmp(verb, "check")) return 1u << DTYPE | 1u << REFERENCE | 1u << DEVICE;
    if (!strcmp(verb, "run")) return 1u << DTYPE | 1u << REFERENCE | 1u << OUTPUT;
    if (!strcmp(verb, "bench")) return ~0u << BATCH;
    return 0;
}

static int run(cli *c, const cli_args *args)
{
    const char *verb = args->positional_count ? args->positional[0] : "";
    for (int i = 0; flags[i].name; i++)
        if (args->value[i] && !(flags_of(verb) >> i & 1))
            return cli_usage(&cli_command_loss, "--%s does not act with 'loss %s'", flags[i].name, verb);
    if (!strcmp(verb, "check")) return check(c, args);
    if (!strcmp(verb, "run")) return run_file(c, args);
    if (!strcmp(verb, "bench")) return bench(c, args);
    if (!strcmp(verb, "list") && args->positional_count == 1) {
        list();
        return CLI_OK;
    }
    if (!strcmp(verb, "show") && args->positional_count == 2) return show_one(args->positional[1]);
    return cli_usage(&cli_command_loss, "loss: expected 'list', 'show NAME', 'check FILE.h5...', "
                     "'run NAME IN.h5 -o OUT.h5' or 'bench NAME'");
}

const cli_command cli_command_loss = {
    .name = "loss",
    .usage = "cleave loss list | show NAME | check FILE.h5... | run NAME IN.h5 -o OUT.h5 | bench NAME [flags]",
    .summary = "list and describe losses, compare them with golden vectors, evaluate and measure them",
    .example = "  cleave loss show moco_queue\n  cleave loss check tests/golden/losses/moco_queue.h5 --dtype float32\n"
               "  cleave loss run dice batch.h5 -o results.h5\n"
               "  cleave loss bench moco_queue --batch 256 --bank 65536 --options temperature=0.2",
    .flags = flags, .run = run,
};
