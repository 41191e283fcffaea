/* args.c: command lines by table: --name value, --name=value, -n value, -nvalue, --switch, --no-switch; '-' and '_'
 * are the same in names; "--" ends the flags. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int cli_fail(clv_status status)
{
    if (status == CLV_STOPPED) return CLI_STOPPED;
    fprintf(stderr, "cleave: %s\n", clv_error_message());
    return CLI_FAILED;
}

int cli_usage(const cli_command *command, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("cleave: ", stderr);
    vfprintf(stderr, fmt, args);
    va_end(args);
    if (command) fprintf(stderr, "\nusage: %s\n'cleave %s --help' tells more\n", command->usage, command->name);
    else fputc('\n', stderr);
    return CLI_USAGE;
}

static bool same_name(const char *a, size_t length, const char *b)
{
    if (strlen(b) != length) return false;
    for (size_t i = 0; i < length; i++)
        if ((a[i] == '_' ? '-' : a[i]) != (b[i] == '_' ? '-' : b[i])) return false;
    return true;
}

static int find_long(const cli_command *command, const char *name, size_t length)
{
    for (int i = 0; command->flags[i].name; i++)
        if (same_name(name, length, command->flags[i].name)) return i;
    return -1;
}

static int find_letter(const cli_command *command, char letter)
{
    for (int i = 0; command->flags[i].name; i++)
        if (command->flags[i].letter == letter) return i;
    return -1;
}

static void print_flag(FILE *out, const cli_flag *f)
{
    char left[80];
    snprintf(left, sizeof left, "%c%c%s --%s%s%s", f->letter ? '-' : ' ', f->letter ? f->letter : ' ',
             f->letter ? "," : " ", f->name, f->value ? " " : "", f->value ? f->value : "");
    if (strlen(left) > 30) fprintf(out, "  %s\n  %-30s %s\n", left, "", f->help);
    else fprintf(out, "  %-30s %s\n", left, f->help);
}

void cli_help(const cli_command *command, FILE *out)
{
    static const cli_flag common[] = {
        { "threads", 0, "N", "compute threads (default: one per core)" },
        { "help", 'h', NULL, "print this" },
    };
    fprintf(out, "usage: %s\n\n%s\n\n", command->usage, command->summary);
    for (int i = 0; command->flags[i].name; i++) print_flag(out, &command->flags[i]);
    for (int i = 0; i < 2; i++) print_flag(out, &common[i]);
    if (command->more_help) command->more_help(out);
    if (command->example) fprintf(out, "\nexample:\n%s\n", command->example);
    fprintf(out, "\nexit status: 0 done, 1 failed, 2 wrong usage, 130 stopped by the user\n");
}

static int unknown_flag(const cli_command *command, const char *name, size_t length)
{
    const char *known[CLI_MAX_FLAGS + 1] = { NULL };
    char text[80];
    for (const cli_elsewhere *e = command->elsewhere; e && e->name; e++)
        if (same_name(name, length, e->name))
            return cli_usage(command, "unknown flag '--%s': here it is %s", e->name, e->here);
    for (int i = 0; i < CLI_MAX_FLAGS && command->flags[i].name; i++) known[i] = command->flags[i].name;
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    const char *near = clv_nearest_name(text, known);
    if (near) return cli_usage(command, "unknown flag '--%s'; did you mean '--%s'?", text, near);
    return cli_usage(command, "unknown flag '--%s'", text);
}

/* The state of going through argv. */
typedef struct cursor {
    int    argc, at;
    char **argv;
} cursor;

static int take_long(const cli_command *command, cursor *c, const char *text, cli_args *args, const char **threads)
{
    const char *equals = strchr(text, '=');
    const size_t length = equals ? (size_t)(equals - text) : strlen(text);
    int i = find_long(command, text, length);
    const bool negated = i < 0 && length > 3 && !strncmp(text, "no-", 3);
    if (negated) i = find_long(command, text + 3, length - 3);
    const bool is_threads = i < 0 && same_name(text, length, "threads");
    if (!is_threads && (i < 0 || (negated && command->flags[i].value))) return unknown_flag(command, text, length);
    if (!is_threads && !command->flags[i].value) {
        if (equals && negated) return cli_usage(command, "'--%s': a value after a negation", text);
        args->value[i] = equals ? equals + 1 : negated ? "false" : "true";
        return -1;
    }
    const char *value = equals ? equals + 1 : c->at < c->argc ? c->argv[c->at++] : NULL;
    if (!value) return cli_usage(command, "'--%.*s' needs a value", (int)length, text);
    if (is_threads) *threads = value;
    else args->value[i] = value;
    return -1;
}

static int take_letter(const cli_command *command, cursor *c, const char *text, cli_args *args)
{
    const int i = find_letter(command, text[0]);
    if (i < 0) return cli_usage(command, "unknown flag '-%c'", text[0]);
    if (!command->flags[i].value) {
        if (text[1]) return cli_usage(command, "'-%s': '-%c' takes no value", text, text[0]);
        args->value[i] = "true";
        return -1;
    }
    const char *value = text[1] ? text + 1 : c->at < c->argc ? c->argv[c->at++] : NULL;
    if (!value) return cli_usage(command, "'-%c' needs a value", text[0]);
    args->value[i] = value;
    return -1;
}

int cli_parse(const cli_command *command, int argc, char **argv, cli_args *args, int *threads)
{
    cursor c = { argc, 0, argv };
    const char *thread_text = getenv("CLEAVE_THREADS");
    int kept = 0;
    memset(args, 0, sizeof *args);
    args->positional = argv;
    while (c.at < c.argc) {
        char *word = c.argv[c.at++];
        int status = -1;
        if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            cli_help(command, stdout);
            return CLI_OK;
        }
        if (!strcmp(word, "--")) {
            while (c.at < c.argc) argv[kept++] = c.argv[c.at++];
        } else if (!strncmp(word, "--", 2)) status = take_long(command, &c, word + 2, args, &thread_text);
        else if (word[0] == '-' && word[1]) status = take_letter(command, &c, word + 1, args);
        else argv[kept++] = word;
        if (status >= 0) return status;
    }
    args->positional_count = kept;
    long long n = 0;
    if (thread_text && !cli_integer("threads", thread_text, 1, 4096, &n)) return CLI_USAGE;
    *threads = (int)n;
    return -1;
}

bool cli_integer(const char *name, const char *text, long long min, long long max, long long *out)
{
    char *end = NULL;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (end != text && !*end && !errno && *out >= min && *out <= max) return true;
    cli_usage(NULL, "--%s: expected a whole number from %lld to %lld, got '%s'", name, min, max, text);
    return false;
}

bool cli_number(const char *name, const char *text, double min, double max, double *out)
{
    char *end = NULL;
    *out = strtod(text, &end);
    if (end != text && !*end && isfinite(*out) && *out >= min && *out <= max) return true;
    cli_usage(NULL, "--%s: expected a number from %g to %g, got '%s'", name, min, max, text);
    return false;
}
