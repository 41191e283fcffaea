/* tensorboard.h: a run for TensorBoard: scalars under the names they have in metrics.jsonl, histograms of scores, weights and
 * gradients, the views of a batch, and features with thumbnails for the projector. The setting `tensorboard` asks for it. */
#ifndef CLVI_TRAIN_TENSORBOARD_H
#define CLVI_TRAIN_TENSORBOARD_H

#include <cleave/data.h>
#include "train/step/method.h"

#include <cleave/train.h>

typedef struct clvi_tensorboard clvi_tensorboard;

clv_status clvi_tensorboard_open(clv_context *ctx, const char *directory, int64_t step,
                                 clvi_tensorboard **out) CLV_NODISCARD;
void clvi_tensorboard_close(clvi_tensorboard *tb);      /* NULL is accepted, as by the others, which then do nothing */

/* A logged step: scalars; of the first of an epoch also the views of up to eight images (`views` of them, normalised;
 * they lie on the host or on the context's device). */
clv_status clvi_tensorboard_step(clvi_tensorboard *tb, const clv_progress *p, double grad_norm, const clv_view *view,
                                 int views) CLV_NODISCARD;
/* The end of an epoch: what was measured, and histograms. */
clv_status clvi_tensorboard_epoch(clvi_tensorboard *tb, const clv_progress *p, double grad_norm,
                                  clv_params *params) CLV_NODISCARD;
/* Features [n,D] of the images ids [n] of a data set, with thumbnails, for the projector. Replaces the ones before. */
clv_status clvi_tensorboard_projector(clvi_tensorboard *tb, const clv_view *features, const int64_t *ids,
                                      const int64_t *labels, const clv_dataset *ds) CLV_NODISCARD;

#endif
