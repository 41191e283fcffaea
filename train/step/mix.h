/* mix.h: mixing the images of a batch with one another, and their labels with them, for classifiers: MixUp (Zhang et al.
 * 2018, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899), as timm's Mixup does it by batches: one draw a
 * batch, and image i meets image N - 1 - i. */
#ifndef CLVI_TRAIN_MIX_H
#define CLVI_TRAIN_MIX_H

#include <cleave/view.h>
#include "device/rows.h"
#include "train/config/config.h"

bool clvi_mix_wanted(const clvi_settings *s);

/* What happens to one batch of images of this size: a function of (seed, epoch, step) alone. The share of a box is what
 * it covers of the image, not what was drawn. */
clvi_mix clvi_mix_draw(const clvi_settings *s, uint32_t epoch, uint64_t step, int64_t height, int64_t width);

/* Mixes float32 images [N,C,H,W] (by shape; NHWC in memory) in place: with one another, or, for a share of a batch, with
 * the share that lies as far from the end of the batch as this one from its beginning: [N,H,W,C] as it was. */
void clvi_mix_images(const clvi_mix *m, clv_view *images, const float *others);

/* The labels' shares: out [n, classes] float32. A label of -1 has no share, so its row adds up to less than 1. */
void clvi_mix_targets(const clvi_mix *m, const int64_t *labels, int64_t n, int64_t classes, float *out);

#endif
