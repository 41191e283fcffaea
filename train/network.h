/* network.h: backbone and head of a run as graph nodes: the training graphs, the key encoder and the encoder that
 * embeds are all built by this one function. */
#ifndef CLVI_TRAIN_NETWORK_H
#define CLVI_TRAIN_NETWORK_H

#include <cleave/graph.h>
#include "train/config.h"

/* features: pooled [N,F]; embedding: the head's output [N,D], not normalised. */
clv_status clvi_network_nodes(clv_graph *g, const clvi_settings *settings, clv_node images, clv_node *features,
                              clv_node *embedding) CLV_NODISCARD;

#endif
