/* eval.h: protocols of `cleave eval`: what each measures on rows that cmd_eval.c fetched, and how results are printed. */
#ifndef CLV_CLI_EVAL_H
#define CLV_CLI_EVAL_H

#include "cli/cli.h"

enum { CLI_EVAL_FIGURES = 6 };

/* Rows and labels of one side. */
typedef struct cli_rows {
    clv_dataset *ds;
    float       *data;
    int64_t     *labels;
    clv_view     view;
} cli_rows;

typedef struct cli_eval {
    clv_context    *ctx;
    clv_knn_desc    knn;
    uint64_t        seed;
    const char     *features;        /* "backbone, query encoder" */
    const cli_rows *bank, *query;    /* the same rows: leave-one-out */
} cli_eval;

typedef struct cli_outcome {
    int  count;
    struct {
        char   name[24];
        double value;                /* percent; angles: degrees; frechet: a distance */
    } figure[CLI_EVAL_FIGURES];
    char how[256];                   /* the whole protocol */
} cli_outcome;

typedef struct cli_protocol {
    const char *name, *title;        /* as typed; as printed */
    bool        bank;                /* it looks at rows beside those of the split that is judged */
    bool        apart;               /* which must be others: no leave-one-out */
    bool        alone;               /* not one of "all": it judges pictures by the encoder, or takes many classes */
    bool        text;                /* of words, not of rows: cli_eval_tagging instead of `measure`; not among `all` */
    double      share;               /* of the training rows; 0: all */
    clv_status (*measure)(const cli_eval *e, const struct cli_protocol *protocol, cli_outcome *out);
} cli_protocol;

/* Ends with a NULL name; several may have one name. */
extern const cli_protocol cli_protocols[];
extern const char *const cli_eval_distances[3];

typedef enum cli_eval_form { CLI_EVAL_LINE, CLI_EVAL_TABLE, CLI_EVAL_JSON } cli_eval_form;
/* Tags the words of `data` with a tagger's run, and prints the figures of all spans and of each type; an exit status. */
int cli_eval_tagging(cli *c, const clv_tagger_desc *desc, const char *data, cli_eval_form form);
/* To standard output; a table's head goes before its `first`. */
void cli_eval_print(const cli_protocol *protocol, const cli_outcome *outcome, cli_eval_form form, bool first);

#endif
