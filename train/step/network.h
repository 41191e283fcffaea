/* network.h: backbone and head of a run as graph nodes: the training graphs, the key encoder and the encoder that
 * embeds are all built by this one function. */
#ifndef CLVI_TRAIN_NETWORK_H
#define CLVI_TRAIN_NETWORK_H

#include <cleave/graph.h>
#include "backbones/backbone.h"
#include "train/config/config.h"

/* features: pooled [N,F]; embedding: the output [N,D] of the method's head, not normalised; without a head the
 * features. groups: of batch norm. */
clv_status clvi_network_nodes(clv_graph *g, const clvi_settings *settings, int64_t groups, clv_node images,
                              clv_node *features, clv_node *embedding) CLV_NODISCARD;
/* The backbone alone. */
clv_status clvi_network_backbone(clv_graph *g, const clvi_settings *settings, int64_t groups, clv_node images,
                                 clv_node *features) CLV_NODISCARD;
/* The backbone as a generator (backbones/backbone.h). */
clv_status clvi_network_generator(clv_graph *g, const clvi_settings *settings, int64_t groups, clv_node images,
                                  clv_node time, clvi_generated *out) CLV_NODISCARD;
/* Scores [N,classes] of a linear classifier "classifier.weight", "classifier.bias" on x [N,D]; `margin`: cosines with
 * directions of classes, and no bias. `probe`: weights begin near 0 (std 0.01) and biases at 0, as MoCo's linear probe
 * has it, else as PyTorch's layers do. *weight (may be NULL) receives [classes,D]. */
clv_node clvi_classifier_node(clv_graph *g, clv_node x, int64_t classes, bool margin, bool probe, clv_node *weight);
/* A predictor on top of an embedding, of the embedding's size. */
clv_status clvi_predictor_node(clv_graph *g, const clvi_settings *settings, int64_t groups, const char *head,
                               clv_node embedding, clv_node *out) CLV_NODISCARD;
/* Whether the network draws random numbers while training: what it drops. */
bool clvi_network_draws(const clvi_settings *settings);
/* Whether backbone, head or predictor has batch norm. */
bool clvi_network_has_batch_norm(const clvi_settings *settings);

#endif
