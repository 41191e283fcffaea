/* encoder.h: an encoder over parameters that somebody else owns: the trainer looks at its own network through one. */
#ifndef CLVI_TRAIN_ENCODER_H
#define CLVI_TRAIN_ENCODER_H

#include <cleave/augment.h>
#include <cleave/graph.h>
#include "train/config/config.h"

/* A classifier's scores of each class: of a set of parameters that has one (clvi_encoder_over only). */
enum { CLVI_LAYER_SCORES = CLV_LAYER_EMBEDDING + 1 };

/* `params` are borrowed and may go on changing between calls. eval_aug: a chain or preset. */
clv_status clvi_encoder_over(const clv_config *config, clv_params *params, int64_t channels, const char *eval_aug,
                             int layer, int64_t batch_size, clv_encoder **out) CLV_NODISCARD;

/* What an encoder is made of: borrowed. eval_aug: its evaluation chain, resolved. */
typedef struct clvi_encoder_parts {
    clv_context      *ctx;
    const clv_config *config;
    clv_params       *params;
    clv_layer         layer;
    int64_t           channels, height, width;      /* of the images its network takes */
    const char       *eval_aug;
} clvi_encoder_parts;
clvi_encoder_parts clvi_encoder_look(const clv_encoder *e);

/* The evaluation chain of a configuration: its own, or the one that goes with the training preset. */
const char *clvi_eval_chain(const clvi_settings *settings);
/* The training chain: its own, or the MoCo version's. */
const char *clvi_train_chain(const clvi_settings *settings);
/* A chain with the settings' size (and, for training, crop) put in. */
clv_status clvi_chain_create(clv_context *ctx, const char *chain, const clvi_settings *settings, bool training,
                             clv_augment **out) CLV_NODISCARD;

/* Features of images ids[0..count) (ids NULL: first, first + 1, ...). */
clv_status clvi_encoder_embed_ids(clv_encoder *e, const clv_dataset *ds, const int64_t *ids, int64_t first,
                                  int64_t count, const clv_view *features, bool (*progress)(int64_t, int64_t, void *),
                                  void *user) CLV_NODISCARD;

#endif
