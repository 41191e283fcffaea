/* cmd_loss.c: cleave loss: what losses there are, one in detail, and comparing a loss with golden vectors. */
#include "cli/cli.h"

#include <string.h>

enum { DTYPE, REFERENCE };

static const cli_flag flags[] = {
    { "dtype", 0, "T", "check: float64 (default) or float32" },
    { "reference", 0, NULL, "check: the plain C kernels instead of the fast ones" },
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

static int show_one(const char *name)
{
    const int loss = clv_loss_find(name);
    clv_class_info info;
    clv_option_info o;
    clv_loss_port port;
    if (loss < 0 || !clv_loss_info_at(loss, &info))
        return cli_usage(&cli_command_loss, "loss: no loss '%s'; 'cleave loss list' tells what there is", name);
    printf("%s: %s\nsource: %s\noptions:\n", info.name, info.summary, info.source);
    for (int i = 0; clv_loss_option_at(loss, i, &o); i++) {
        printf("  %-18s default %-10s %s", o.name, o.def, o.help);
        if (o.choices) printf(" (%s)", o.choices);
        if (o.type == CLV_OPTION_F64 || o.type == CLV_OPTION_I64) printf(" [%g, %g]", o.min, o.max);
        if (o.symbol) printf(" (%s in the paper)", o.symbol);
        putchar('\n');
    }
    puts("inputs and outputs:");
    for (int i = 0; clv_loss_input_at(loss, i, &port); i++) print_port("input", &port);
    for (int i = 0; clv_loss_output_at(loss, i, &port); i++) print_port("output", &port);
    return CLI_OK;
}

static void print_result(const clv_loss_check_result *r, void *user)
{
    static const char *const verdicts[] = { "passed", "FAILED", "not compared" };
    int64_t *compared = user;
    if (r->verdict == CLV_CHECK_NOT_COMPARED) printf("%-56s %s: %s\n", r->name, verdicts[r->verdict], r->note);
    else {
        printf("%-56s error %.2e  tolerance %.2e  %s%s%s\n", r->name, r->error, r->tolerance, verdicts[r->verdict],
               r->note[0] ? ": " : "", r->note);
        ++*compared;
    }
}

static int check(cli *c, const cli_args *args)
{
    const char *dtype = args->value[DTYPE] ? args->value[DTYPE] : "float64";
    const bool reference = args->value[REFERENCE] && strcmp(args->value[REFERENCE], "false") != 0;
    if (strcmp(dtype, "float64") != 0 && strcmp(dtype, "float32") != 0)
        return cli_usage(&cli_command_loss, "--dtype: expected float64 or float32, got '%s'", dtype);
    if (args->positional_count < 2) return cli_usage(&cli_command_loss, "loss check: expected FILE.h5");
    int64_t failed = 0, compared = 0;
    for (int i = 1; i < args->positional_count; i++) {
        int64_t here = 0;
        const clv_status st = clv_loss_check(c->ctx, args->positional[i], !strcmp(dtype, "float64") ? CLV_F64 : CLV_F32,
                                             reference, print_result, &compared, &here);
        if (st != CLV_OK) return cli_fail(st);
        failed += here;
    }
    printf("%lld compared, %lld failed\n", (long long)compared, (long long)failed);
    return failed ? CLI_FAILED : CLI_OK;
}

static int run(cli *c, const cli_args *args)
{
    const char *verb = args->positional_count ? args->positional[0] : "";
    if (!strcmp(verb, "check")) return check(c, args);
    if (args->value[DTYPE] || args->value[REFERENCE])
        return cli_usage(&cli_command_loss, "--dtype and --reference act with 'loss check' only");
    if (!strcmp(verb, "list") && args->positional_count == 1) {
        list();
        return CLI_OK;
    }
    if (!strcmp(verb, "show") && args->positional_count == 2) return show_one(args->positional[1]);
    return cli_usage(&cli_command_loss, "loss: expected 'list', 'show NAME' or 'check FILE.h5...'");
}

const cli_command cli_command_loss = {
    .name = "loss", .usage = "cleave loss list | show NAME | check FILE.h5... [flags]",
    .summary = "list the losses, describe one, or compare with golden vectors",
    .example = "  cleave loss show moco_queue\n  cleave loss check tests/golden/losses/moco_queue.h5 --dtype float32",
    .flags = flags, .run = run,
};
