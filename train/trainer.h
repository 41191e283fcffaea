/* trainer.h: the trainer's inside, shared by its parts: building (trainer.c), the loop (loop.c), and what it measures
 * and keeps along the way (monitor.c, save.c), what it refuses (guard.c) and where (rundir.c). */
#ifndef CLVI_TRAIN_TRAINER_H
#define CLVI_TRAIN_TRAINER_H

#include <cleave/augment.h>
#include "augment/on_device.h"
#include "device/backend.h"
#include "eval/meter.h"
#include "train/files/checkpoint.h"
#include "train/trained/encoder.h"
#include "train/step/method.h"
#include "train/log/runlog.h"
#include "train/config/schedule.h"
#include "train/log/tensorboard.h"

struct clv_trainer {
    clv_context      *ctx;
    clvi_comm        *comm;
    clv_config       *config;        /* own copy, resolved */
    clvi_settings    *settings;      /* of config */
    clv_progress_fn   progress;
    void             *user;
    bool              stop;          /* the callback asked for it */

    clv_dataset      *train, *val;   /* val NULL: leave-one-out on train */
    clv_dataset_info  info;          /* of train */
    clv_augment      *augment, *augment2;   /* augment2: of the second view, NULL when it is as the first */
    clvi_packer       packer;        /* of what a device makes the views of; set where ... */
    clvi_view_maker  *maker;         /* ... it does, else NULL */
    clv_view          made[CLVI_MAX_VIEWS];   /* there, of the step that was queued last */
    clv_loader       *loader;        /* NULL, as data sets and augmentation, if there is `text` */
    struct clvi_text *text;          /* the data of a method that takes words (text.c); NULL: images */
    char             *eval_aug;      /* resolved evaluation chain */
    clvi_schedule     schedule;
    clvi_method      *method;
    clvi_metrics      metrics;       /* of the last step that was logged */
    clv_encoder      *encoder;       /* of the monitor, over the method's query parameters */
    clv_encoder      *classifier;    /* the same up to the classifier's scores */
    clvi_runlog      *log;
    clvi_tensorboard *tensorboard;   /* NULL unless asked for */
    int               directory;     /* the run directory, locked; -1: not yet */

    clvi_position     at;
    int64_t           steps_per_epoch;
    int64_t          *labels, *ids;  /* of the batch on all ranks; NULL with one */
    int64_t          *kept[CLVI_SLOTS];   /* ids and labels of a batch whose step is queued; NULL: none ever was */
    bool              failed;        /* the run has ended with an error */
    double            grad_norm;     /* of the last step */
    void             *statistics[2]; /* batch norm's, of network and momentum encoder, before a step; or NULL */
    int               skipped_in_a_row;
    char              protocol[160]; /* how the monitor measures */

    /* the monitor's rows, allocated at its first use */
    int64_t           bank_count, query_count;
    int64_t          *bank_ids, *bank_labels, *query_ids, *query_labels;
    float            *bank_rows, *query_rows;
    bool              collapse_told; /* warned in this epoch */
    clvi_health_meter health;        /* made at the first logged step, as the other */
    clvi_score_meter  scores;
};

/* rundir.c. Makes the run directory, locks it against another trainer, and removes temporary files that killed ones
 * left. */
clv_status clvi_rundir_claim(clv_trainer *t) CLV_NODISCARD;
void clvi_rundir_release(clv_trainer *t);
/* Refuses to start anew over an earlier run. */
clv_status clvi_rundir_check_unused(const clv_trainer *t) CLV_NODISCARD;

/* Whether this rank speaks to the user and writes files: the first does. */
bool clvi_trainer_speaks(const clv_trainer *t);
/* Tells the user something. */
void clvi_trainer_note(clv_trainer *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* monitor.c: kNN on the features of the query encoder, or its average (ema-decay); -1 when there is nothing to measure. Also writes examples.h5. */
clv_status clvi_monitor_knn(clv_trainer *t, double *top1) CLV_NODISCARD;
/* Accuracy of the method's classifier on the held-out images; -1 and -1 when there is nothing to measure. */
clv_status clvi_monitor_classifier(clv_trainer *t, double *top1, double *top5) CLV_NODISCARD;
/* Health of features and scores of a step; warns of a collapse, or ends the run with CLV_ERR_NUMERIC if asked to. */
clv_status clvi_monitor_step(clv_trainer *t, const clvi_step_result *step, clv_progress *p) CLV_NODISCARD;
void clvi_monitor_release(clv_trainer *t);

/* guard.c: what a step that is not finite comes to. Before a step: keeps what leaving it out would give back. */
clv_status clvi_guard_begin(clv_trainer *t) CLV_NODISCARD;
/* At the end of a step that is queued: gives it back if the step is not finite. */
void clvi_guard_end(clv_trainer *t);
/* After its forward pass: CLV_ERR_NUMERIC with the first gradient that is not finite, or, as on-nan says, a note of it
 * and the position after the step. Skipping ends with CLV_ERR_NUMERIC, too, when it cannot help. */
clv_status clvi_guard_refuse(clv_trainer *t, const clvi_step_result *result) CLV_NODISCARD;
void clvi_guard_release(clv_trainer *t);
/* CLV_ERR_NUMERIC with the first parameter or running statistic, of either network, that is not finite. */
clv_status clvi_guard_check(clv_trainer *t) CLV_NODISCARD;

/* save.c: checkpoints of the run directory. A network that is not finite is not saved: CLV_ERR_NUMERIC. */
clv_status clvi_save_last(clv_trainer *t) CLV_NODISCARD;
clv_status clvi_save_best(clv_trainer *t) CLV_NODISCARD;
clv_status clvi_save_numbered(clv_trainer *t) CLV_NODISCARD;
/* Does what the option `resume` says. */
clv_status clvi_resume(clv_trainer *t) CLV_NODISCARD;

#endif
