/* main.c: cleave COMMAND ... */
#include "cli/cli.h"

#include <string.h>
#include <unistd.h>

static const cli_command *const commands[] = {
    &cli_command_train,  &cli_command_eval,   &cli_command_embed,   &cli_command_report, &cli_command_pack,
    &cli_command_plot, &cli_command_verify, &cli_command_stats,  &cli_command_sample, &cli_command_export,
    &cli_command_import, &cli_command_augment, &cli_command_loss, &cli_command_inspect, &cli_command_devices,
    &cli_command_version,
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *out)
{
    fputs("usage: cleave COMMAND [ARGUMENTS]\n\ncontrastive representation learning\n\n", out);
    for (int i = 0; i < COMMANDS; i++) fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n'cleave COMMAND --help' tells more; 'cleave --version' prints the version\n", out);
}

static const cli_command *find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i]->name, name)) return commands[i];
    return NULL;
}

static void print_log(clv_log_level level, const char *line, void *user)
{
    (void)user;
    if (level >= CLV_LOG_INFO) fprintf(stderr, "%s%s\n", level == CLV_LOG_WARN ? "warning: " : "", line);
}

static int run(const cli_command *command, int argc, char **argv)
{
    cli_args args;
    int threads = 0;
    int status = cli_parse(command, argc, argv, &args, &threads);
    if (status >= 0) return status;
    cli c = { .ctx = NULL, .terminal = isatty(STDERR_FILENO) != 0 };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = threads;
    desc.log = print_log;
    if (clv_context_create(&desc, &c.ctx) != CLV_OK) return cli_fail(CLV_ERR_NOMEM);
    status = command->run(&c, &args);
    clv_context_destroy(c.ctx);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("cleave: cannot write to standard output\n", stderr);
        return CLI_FAILED;
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        const cli_command *command = argc > 2 ? find(argv[2]) : NULL;
        if (command) cli_help(command, stdout);
        else print_usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? CLI_USAGE : CLI_OK;
    }
    const cli_command *command = find(!strcmp(argv[1], "--version") ? "version" : argv[1]);
    if (!command) {
        fprintf(stderr, "cleave: unknown command '%s'\n", argv[1]);
        print_usage(stderr);
        return CLI_USAGE;
    }
    return run(command, argc - 2, argv + 2);
}
