/* text.h: what a run on words has in place of images, augmentation, loader and kNN monitor. */
#ifndef CLVI_TRAIN_TEXT_H
#define CLVI_TRAIN_TEXT_H

#include <cleave/text.h>
#include "core/h5.h"
#include "data/words.h"
#include "train/trainer.h"

typedef struct clvi_text clvi_text;

/* The corpora; fills in what the trainer knows of its data (info). */
clv_status clvi_text_open(clv_trainer *t) CLV_NODISCARD;
/* Once the method is there: batches of words. */
clv_status clvi_text_open_words(clv_trainer *t) CLV_NODISCARD;
void clvi_text_release(clv_trainer *t);
clvi_words *clvi_text_words(const clvi_text *text);

/* Span F1 on the corpus held out; leaves p as it is without one. */
clv_status clvi_text_measure(clv_trainer *t, clv_progress *p) CLV_NODISCARD;

/* Of a checkpoint: the tags' names, in the order of the classifier's outputs. check refuses others. */
clv_status clvi_text_write(const clvi_text *text, clvi_h5 *h5) CLV_NODISCARD;
clv_status clvi_text_check(const clv_trainer *t, clvi_h5 *h5, const char *path) CLV_NODISCARD;

#endif
