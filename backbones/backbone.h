/* backbone.h: what a backbone and a head are; each is one file and one line in registry.def. */
#ifndef CLVI_BACKBONES_BACKBONE_H
#define CLVI_BACKBONES_BACKBONE_H

#include <cleave/backbone.h>
#include "core/option.h"

/* Options every backbone has; a family puts this first in its params. */
typedef struct clvi_backbone_params {
    int     stem;           /* index into the family's choices */
    bool    zero_init_residual;
    int64_t bn_splits;
    int64_t width;          /* channels of the first stage */
} clvi_backbone_params;

typedef struct clvi_backbone_class {
    clv_class_info info;
    const clvi_option *options;   /* over clvi_backbone_params */
    clv_node (*build)(clv_graph *g, const clvi_backbone_params *params, const char *prefix, clv_node images);
} clvi_backbone_class;

typedef struct clvi_head_params {
    int64_t dim, hidden, layers, bn_splits;
} clvi_head_params;

typedef struct clvi_head_class {
    clv_class_info info;
    const clvi_option *options;   /* over clvi_head_params */
    clv_node (*build)(clv_graph *g, const clvi_head_params *params, const char *prefix, clv_node features);
} clvi_head_class;

/* Layers with parameters, named "<prefix><name>.weight" and so on; batch norm splits only while training. */
clv_node clvi_layer_conv(clv_graph *g, const char *prefix, const char *name, clv_node x, int64_t out_channels,
                         int64_t kernel, int64_t stride, int64_t pad);
clv_node clvi_layer_batch_norm(clv_graph *g, const char *prefix, const char *name, clv_node x, int64_t splits,
                               double gamma);
clv_node clvi_layer_linear(clv_graph *g, const char *prefix, const char *name, clv_node x, int64_t out_features);

#define CLVI_NAME_SIZE 128

#endif
