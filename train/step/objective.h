/* objective.h: the loss of a recipe: one loss or several with weights, written like a chain of augmentations,
 *
 *   loss: mochi N=1024 s=1024 s-prime=128 warmup-epochs=10
 *   loss: cross_entropy label-smoothing=0.1; opl weight=0.5 gamma=0.5
 *
 * taken apart, checked against what the method can take, appended to the method's graph, and looked at in steps that
 * are logged. */
#ifndef CLVI_TRAIN_OBJECTIVE_H
#define CLVI_TRAIN_OBJECTIVE_H

#include <cleave/loss.h>
#include <cleave/train.h>
#include "core/context.h"

#define CLVI_MAX_TERMS   4
#define CLVI_MAX_GIVEN   12       /* values a method has for its losses */
#define CLVI_MAX_METRICS 32
#define CLVI_TERM_NAME   64

/* A loss that a method can take, in one variant, and which of the method's values each port reads. */
typedef struct clvi_takes {
    const char *loss, *variant;                    /* variant NULL: the loss has none */
    struct {
        const char *port, *value;
    } reads[8];
} clvi_takes;

typedef struct clvi_term {
    char              name[CLVI_TERM_NAME];        /* of the loss; for its second term "opl2" and so on */
    double            weight;
    const clvi_takes *takes;
    int               n_options;
    clv_option        options[24];                 /* into text */
    clv_node          value, kept;                 /* once built */
    uint32_t          figures;                     /* bit p: output port p is there, and makes a metric */
} clvi_term;

/* A value the method has for its losses: computed in the graph, or an input whose memory is known. */
typedef struct clvi_given {
    const char *name;
    clv_node    node;
    clv_view    view;                              /* data NULL: computed */
} clvi_given;

typedef struct clvi_objective {
    int              n_terms;
    clvi_term        term[CLVI_MAX_TERMS];
    char             text[2048];
    size_t           used;
    struct clvi_look *look;                        /* made by clvi_objective_prepare */
} clvi_objective;

/* What a step came to beside its loss, by names with static storage or the objective's:
 * "mochi/topn_false_negative_rate". */
typedef struct clvi_metrics {
    int        count;
    clv_metric at[CLVI_MAX_METRICS];
} clvi_metrics;

/* `text` taken apart; empty: the first of `takes`, which end with loss NULL. Options are checked by their tables.
 * Errors: CLV_ERR_INVALID: an unknown loss or option (with the nearest name), one the method cannot take (with those
 * it can), a second loss of more than CLVI_MAX_TERMS. `out` need not be released. */
clv_status clvi_objective_parse(const char *text, const char *method, const clvi_takes *takes,
                                clvi_objective *out) CLV_NODISCARD;
/* Whether a term has the option, or reads the value. */
bool clvi_objective_has(const clvi_objective *o, const char *option);
bool clvi_objective_reads(const clvi_objective *o, const char *value);
bool clvi_objective_uses(const clvi_objective *o, const char *loss);
/* The value that the first term of this loss was given or has by default; NULL without term or option. */
const char *clvi_objective_option(const clvi_objective *o, const char *loss, const char *option);
/* Sets an option of every term that has it. It must not stand in the text: `why` completes "loss 'mochi': seed ...". */
clv_status clvi_objective_set(clvi_objective *o, const char *option, const char *value, const char *why) CLV_NODISCARD;

/* Takes a number out of every term that has it as an option, for the run to heed; *value is the text's or the default,
 * 0 when no term has it. */
clv_status clvi_objective_take(clvi_objective *o, const char *option, double *value) CLV_NODISCARD;

/* Appends the losses; returns their weighted sum. Values a term does not find among `given` it goes without. Auxiliary
 * outputs of the name `keep` (NULL: none) are outputs of the graph. */
clv_node clvi_objective_node(clvi_objective *o, clv_graph *g, const clvi_given *given, int n_given, const char *keep);
/* That of the first term that has it. CLV_NONE: none has. */
clv_node clvi_objective_kept(const clvi_objective *o);
/* After the graph is finished: makes what clvi_objective_look needs. `given` must stay where it is. */
clv_status clvi_objective_prepare(clvi_objective *o, clv_context *ctx, clv_graph *g, const clvi_given *given,
                                  int n_given) CLV_NODISCARD;
/* Of the step that the graph has just run: each term's value when there are several, and the auxiliary outputs of each
 * loss that are a number or one a row (their mean). Those are computed here, outside the graph: steps that are not
 * logged do not pay for them. */
clv_status clvi_objective_look(clvi_objective *o, clv_graph *g, clvi_metrics *out) CLV_NODISCARD;
void clvi_objective_release(clvi_objective *o);

#endif
