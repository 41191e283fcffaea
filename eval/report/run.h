/* run.h: what a run directory holds, as the report needs it. Every byte in it may be damaged. */
#ifndef CLVI_EVAL_REPORT_RUN_H
#define CLVI_EVAL_REPORT_RUN_H

#include <cleave/eval.h>
#include "core/context.h"

/* The numbers of a line of metrics.jsonl, by the names they have there. */
#define CLVI_RUN_METRICS(X)                                                                                            \
    X(LOSS, "train/loss") X(LR, "train/lr") X(PRETEXT, "train/pretext_top1") X(GRAD_NORM, "train/grad_norm")          \
    X(QUEUE_FILL, "train/queue_fill") X(QUEUE_AGE, "train/queue_age") X(TIME_STEP, "train/time_step")                 \
    X(TIME_DATA, "train/time_data") X(IMAGES, "train/images_per_second") X(KNN, "val/knn_top1")                       \
    X(KNN_BEST, "val/knn_best") X(ACC1, "val/acc1") X(ACC5, "val/acc5")                                                \
    X(STD, "health/std") X(RANK, "health/eff_rank") X(UNIFORMITY, "health/uniformity")                                \
    X(ALIGNMENT, "health/alignment") X(POSITIVE_MEAN, "scores/positive_mean") X(POSITIVE_VAR, "scores/positive_var")  \
    X(NEGATIVE_MEAN, "scores/negative_mean") X(NEGATIVE_VAR, "scores/negative_var")

#define CLVI_RUN_METRIC_ID(ID, NAME) CLVI_RUN_##ID,
typedef enum clvi_run_metric { CLVI_RUN_METRICS(CLVI_RUN_METRIC_ID) CLVI_RUN_METRIC_COUNT } clvi_run_metric;

typedef struct clvi_run_line {
    int64_t step;                              /* since the run's start */
    float   value[CLVI_RUN_METRIC_COUNT];      /* NaN: not there */
} clvi_run_line;

typedef struct clvi_run_epoch {
    int64_t       epoch;                       /* finished so far: 1 is the first */
    clvi_run_line line;
    bool          has_histograms;
    float         positive[CLV_SCORE_BINS], negative[CLV_SCORE_BINS];   /* shares of 1 */
} clvi_run_epoch;

typedef struct clvi_run_option {
    char *name, *value;
} clvi_run_option;

typedef struct clvi_run {
    clv_context     *ctx;
    clvi_run_option *options;                  /* config.yaml, in its order */
    int64_t          option_count;
    clvi_run_line   *steps;
    int64_t          step_count;
    clvi_run_epoch  *epochs;
    int64_t          epoch_count;
    int64_t          bad_lines;                /* of metrics.jsonl that were passed over */
    char            *protocol;                 /* of the kNN accuracy; NULL: not measured */
    char            *version;                  /* of the library that ran it; NULL: no checkpoint says */

    /* examples.h5; rows 0 without it */
    int64_t          rows, dim;
    float           *features;                 /* [rows, dim] */
    int64_t         *labels;                   /* [rows] */
    int64_t          examples, neighbours;
    int64_t         *example_ids, *example_labels;   /* [examples], of the images that are classified */
    int64_t         *neighbour_ids;            /* [examples, neighbours], of training images */
    float           *similarity;
} clvi_run;

/* Errors: CLV_ERR_IO without config.yaml or metrics.jsonl; CLV_ERR_FORMAT for a damaged file, a line of metrics.jsonl
 * excepted; CLV_ERR_NOMEM. Release the run in any case. */
clv_status clvi_run_read(clv_context *ctx, const char *directory, clvi_run *out) CLV_NODISCARD;
void clvi_run_release(clvi_run *run);

/* Index of the epoch with the highest value, or without `best` of the last that has one; -1: never measured. */
int64_t clvi_run_find_epoch(const clvi_run *run, clvi_run_metric metric, bool best);

/* Value of an option; "" when it is not there. */
const char *clvi_run_option_value(const clvi_run *run, const char *name);

#endif
