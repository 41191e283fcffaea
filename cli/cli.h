/* cli.h: what the subcommands share. Results go to standard output, talk to standard error; exit status 0 done,
 * 1 failed, 2 wrong usage, 130 stopped by the user. */
#ifndef CLV_CLI_H
#define CLV_CLI_H

#include <cleave/cleave.h>
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_STOPPED = 130 };

typedef struct cli_flag {
    const char *name;
    char        letter;       /* or 0 */
    const char *value;        /* placeholder of its value in the help; NULL: a switch */
    const char *help;
} cli_flag;

#define CLI_MAX_FLAGS 128

/* What a command line says, by index of the command's flags. */
typedef struct cli_args {
    const char  *value[CLI_MAX_FLAGS];    /* NULL: not given; a switch: "true" or "false" */
    char       **positional;
    int          positional_count;
} cli_args;

typedef struct cli {
    clv_context *ctx;
    bool         terminal;    /* standard error is one */
} cli;

/* A flag that users of other programs type from memory, and what does the same here. */
typedef struct cli_elsewhere {
    const char *name, *here;
} cli_elsewhere;

typedef struct cli_command {
    const char     *name;
    const char     *usage;    /* "cleave pack SOURCE... -o OUT.h5" */
    const char     *summary;  /* one line */
    const char     *example;  /* lines to type */
    const cli_flag *flags;    /* ends with a NULL name */
    int (*run)(cli *c, const cli_args *args);
    void (*more_help)(FILE *out);   /* after the flags; NULL: nothing */
    const cli_elsewhere *elsewhere; /* ends with a NULL name; NULL: none */
} cli_command;

/* args.c: -1 when the command can run, else the exit status (help was printed, or the usage is wrong). `args` must
 * outlive nothing: values point into argv. threads: value of --threads, 0 if absent. */
int cli_parse(const cli_command *command, int argc, char **argv, cli_args *args, int *threads);
void cli_help(const cli_command *command, FILE *out);
/* True for a whole number in range; else says what is wrong with --NAME. */
bool cli_integer(const char *name, const char *text, long long min, long long max, long long *out);
bool cli_number(const char *name, const char *text, double min, double max, double *out);

/* Prints "cleave: MESSAGE" and returns the exit status for it. */
int cli_fail(clv_status status);
int cli_usage(const cli_command *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* progress.c: one line that is redrawn on a terminal, a line now and then elsewhere. */
typedef struct cli_progress {
    bool        terminal;
    const char *what;         /* "embed" */
    double      begin, shown;
} cli_progress;
cli_progress cli_progress_begin(const cli *c, const char *what);
void cli_progress_show(cli_progress *p, long long done, long long total, const char *extra);
void cli_progress_end(cli_progress *p);
double cli_now(void);
/* "1:02:03" */
void cli_duration(double seconds, char text[32]);

/* Text with what a terminal would obey (names from files) replaced; cut to fit. Returns out. */
const char *cli_printable(const char *text, char *out, size_t size);

/* What computes, for commands other than train, whose settings say it: a flag of their table, and what becomes of its
 * value, which may be NULL. CLI_OK, or the exit status after a message. */
#define CLI_DEVICE_FLAG { "device", 0, "NAME", "what computes: cpu (default), cuda or cuda:N (cleave devices lists them)" }
int cli_device(cli *c, const cli_command *command, const char *name);

/* network.c: where an encoder comes from: RUN|CHECKPOINT, or --weights FILE and what the file does not say. A command
 * lists the flags in its table and the indices in its enum, both under these names. */
#define CLI_NETWORK_FLAGS                                                                                              \
    { "weights", 0, "FILE", "safetensors, or what torch.save wrote, instead of a run" },                               \
    { "arch", 'a', "NAME", "backbone of --weights (default: the one whose shapes fit)" },                              \
    { "stem", 0, "NAME", "its first layers, where shapes do not tell" },                                               \
    { "width", 0, "N", "its channels of the first stage" },                                                            \
    { "eval-aug", 0, "CHAIN", "how pictures are prepared for --weights (default: eval; eval-cifar for a 3x3 stem)" },  \
    { "size", 0, "N", "side of the pictures for --weights in pixels" }
#define CLI_NETWORK_INDICES WEIGHTS, ARCH, STEM, WIDTH, EVAL_AUG, SIZE
enum { CLI_NETWORK_COUNT = 6 };
/* Fills desc; `first`: index of --weights. checkpoint: the positional argument, NULL with --weights. *config is to be
 * destroyed after the encoder was opened. CLI_OK, or the exit status after a message. */
int cli_network(cli *c, const cli_command *command, const cli_args *args, int first, const char *checkpoint,
                clv_encoder_desc *desc, clv_config **config);

/* Lines of a description, to standard output. */
void cli_print_line(const char *text, void *user);

/* loss_bench.c: measures value and gradients of a loss on random inputs, after comparing them with the plain kernels'. */
typedef struct cli_loss_bench {
    const char *loss, *options;   /* options: "temperature=0.2,variant=explicit", or NULL */
    int64_t     batch, dim, bank, classes, repeat;
} cli_loss_bench;
int cli_bench_loss(cli *c, const cli_loss_bench *bench);

/* landscapes.c: `count` computed pictures, RGB, one after another; free() them. NULL: no memory. */
#define CLI_LANDSCAPE_HEIGHT 240
#define CLI_LANDSCAPE_WIDTH  320
uint8_t *cli_landscapes(int64_t count);

/* signal.c: true once SIGINT or SIGTERM came. A second one ends the process. */
void cli_catch_signals(void);
bool cli_stop_requested(void);

extern const cli_command cli_command_pack, cli_command_stats, cli_command_sample, cli_command_train, cli_command_eval,
    cli_command_embed, cli_command_augment, cli_command_plot, cli_command_verify, cli_command_report,
    cli_command_export, cli_command_import, cli_command_inspect, cli_command_loss, cli_command_devices,
    cli_command_version;

#endif
