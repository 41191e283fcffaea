/* checkpoint.h: a run at one moment, in one sealed HDF5 file: configuration, position, method (parameters, optimiser,
 * bank), the epoch's sums, the best figure. Nothing in it depends on when or where it was written: two runs with one
 * seed give the same bytes. Layout: docs/formats.md. */
#ifndef CLVI_TRAIN_CHECKPOINT_H
#define CLVI_TRAIN_CHECKPOINT_H

#include "core/h5.h"
#include "train/config/config.h"

#define CLVI_CHECKPOINT_FORMAT "cleave-checkpoint-1"

/* Where the run is, and what it has summed up so far in this epoch. */
typedef struct clvi_position {
    int64_t epoch, step, total;    /* the next step; total counts optimiser steps */
    int64_t skipped;               /* steps of the epoch that were left out: not finite */
    double  loss_sum;              /* of this epoch's steps */
    double  top1_sum;              /* pretext top-1, of this epoch's logged steps */
    int64_t top1_count;
    int64_t positive_histogram[CLV_SCORE_BINS], negative_histogram[CLV_SCORE_BINS];
    double  best;                  /* figure that best.h5 is chosen by, percent: kNN accuracy, or a tagger's span F1; -1:
                                    * not measured yet */
} clvi_position;

typedef struct clvi_checkpoint {
    clv_context *ctx;
    clvi_h5     *h5;
    char         path[CLVI_PATH_SIZE];
    int64_t      channels;          /* of the images */
    char        *eval_aug;          /* resolved evaluation chain */
} clvi_checkpoint;

/* Opens a checkpoint, or the best (else the last) of a run directory, and fills `config` with its configuration. */
clv_status clvi_checkpoint_open(clv_context *ctx, const char *path, clv_config *config,
                                clvi_checkpoint **out) CLV_NODISCARD;
void clvi_checkpoint_close(clvi_checkpoint *file);
clv_status clvi_checkpoint_position(clvi_checkpoint *file, clvi_position *out) CLV_NODISCARD;

/* A new checkpoint up to the method's part; the caller adds that and commits (clvi_h5_commit) or gives up. */
clv_status clvi_checkpoint_begin(const clv_config *config, const char *path, const clvi_position *position,
                                 int64_t channels, const char *eval_aug, clvi_h5 **out) CLV_NODISCARD;

#endif
