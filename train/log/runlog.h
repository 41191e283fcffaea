/* runlog.h: metrics.jsonl (a line for every logged step and every epoch) and log.csv (a line an epoch) of a run.
 * Names of metrics have slashes so that viewers fold them: train/loss, val/knn_top1, health/std. docs/formats.md
 * lists them. */
#ifndef CLVI_TRAIN_RUNLOG_H
#define CLVI_TRAIN_RUNLOG_H

#include <cleave/train.h>
#include "core/context.h"

typedef struct clvi_runlog clvi_runlog;

/* Opens both files in the run directory. Lines of steps after `total_step`, and of epochs after `epochs` whole ones,
 * are dropped: they belong to work that a resumed run does again. 0, 0 starts anew. */
clv_status clvi_runlog_open(clv_context *ctx, const char *directory, int64_t total_step, int64_t epochs,
                            clvi_runlog **out) CLV_NODISCARD;
void clvi_runlog_close(clvi_runlog *log);

/* The numbers of a line by name, in the order of the file. */
void clvi_runlog_each(const clv_progress *p, double grad_norm,
                      void (*fn)(const char *name, double value, void *user), void *user);
/* Appends one line (an EPOCH also to log.csv) and flushes. Allocates nothing. NULL: does nothing. */
clv_status clvi_runlog_write(clvi_runlog *log, const clv_progress *p, double grad_norm) CLV_NODISCARD;

#endif
