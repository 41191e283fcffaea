/* backbone.h: what a backbone and a head are; each is one file and one line in registry.def. */
#ifndef CLVI_BACKBONES_BACKBONE_H
#define CLVI_BACKBONES_BACKBONE_H

#include <cleave/backbone.h>
#include "core/option.h"

/* The options of all families; each has some of them. */
typedef struct clvi_backbone_params {
    int     stem;           /* index into the family's choices */
    bool    zero_init_residual;
    int64_t bn_splits;
    int64_t width;          /* channels of the first stage, or of a token */
    int64_t depth, heads, patch;
    bool    stop_grad_conv1;
    double  layer_scale;
    double  drop_path;      /* of the last block; 0 for the first, rising linearly */
    double  dropout;        /* share of the values */
    int64_t dim;            /* of an embedding */
    int64_t drop_block;     /* side of the squares dropped */
    int64_t seed;           /* of what is dropped */
} clvi_backbone_params;

/* What a backbone that generates pictures makes of noisy ones. */
typedef struct clvi_generated {
    clv_node features;      /* [N,F] as those of a backbone, of a block in its middle */
    clv_node velocity;      /* [N,H W C] how the pictures change with time: a value a pixel and channel, where
                             * clvi_patch_place says */
    int64_t  patch;         /* side of the squares that the velocity is cut into */
} clvi_generated;

typedef struct clvi_backbone_class {
    clv_class_info info;
    const clvi_option *options;   /* over clvi_backbone_params */
    clv_node (*build)(clv_graph *g, const clvi_backbone_params *params, const char *prefix, clv_node images);
    /* The same network to its end; NULL: it has features only. time: [N,CLVI_TIME_VALUES]. */
    void (*generate)(clv_graph *g, const clvi_backbone_params *params, const char *prefix, clv_node images,
                     clv_node time, clvi_generated *out);
} clvi_backbone_class;

/* Appends a backbone as clv_backbone_node does, for pictures with noise: `time` [N,CLVI_TIME_VALUES] holds the row
 * that clvi_time_values gives for each. Errors: CLV_ERR_INVALID, also for a backbone that generates nothing. */
clv_status clvi_backbone_generator(clv_graph *g, const char *name, const clv_option *options, int option_count,
                                   const char *prefix, clv_node images, clv_node time, clvi_generated *out)
    CLV_NODISCARD;
/* How a generator is told the share of noise in a picture, 0 (none) to 1: half of the values cosines, half sines. */
#define CLVI_TIME_VALUES 64
void clvi_time_values(double noise, float *out);
/* Where in a row of velocities of pictures `width` pixels wide the value of pixel (y, x) in channel c stands: patch
 * after patch, row by row; in a patch row by row, channels together. */
int64_t clvi_patch_place(int64_t patch, int64_t width, int64_t channels, int64_t y, int64_t x, int64_t c);

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


/* The option of all networks and heads with batch norm; PARAMS is the type of their parameters. */
#define CLVI_OPTION_BN_SPLITS(PARAMS)                                                                                  \
    CLVI_OPTION_I64(PARAMS, bn_splits, "bn-splits", "1", 1, 4096,                                                      \
                    "groups of split batch norm (the batch size must be a multiple)", NULL)

/* What networks of tokens are made of. Rows are tokens or pixels, columns channels; biases start at 0. */
#define CLVI_LAYER_NORM_EPS 1e-6
clv_node clvi_layer_parameter(clv_graph *g, const char *prefix, const char *name, clv_param_kind kind, int ndim,
                              const int64_t *shape, clv_init init);
clv_node clvi_layer_norm_rows(clv_graph *g, const char *prefix, const char *name, clv_node x);
clv_node clvi_layer_rows(clv_graph *g, const char *prefix, const char *name, clv_node x, int64_t out_features,
                         clv_init weight);
/* Convolution with bias of a picture [N,C,H,W], pixels of the result as rows [N H' W',out]. */
typedef struct clvi_conv_rows {
    int64_t        channels, kernel, stride, pad, groups;
    clv_param_kind kind;    /* a buffer: not trained */
    clv_init       weight;
} clvi_conv_rows;
clv_node clvi_layer_conv_rows(clv_graph *g, const char *prefix, const char *name, clv_node x,
                              const clvi_conv_rows *conv);
/* What vision transformers are made of (vit.c). The tokens of a batch: each sample's are consecutive rows. */
typedef struct clvi_tokens {
    clv_node rows;              /* [samples tokens,width] */
    int64_t  samples, tokens;
} clvi_tokens;
/* Glorot and Bengio 2010: U(-v, v) with v = sqrt(6 / (inputs + outputs)). */
clv_init clvi_init_glorot(int64_t inputs, int64_t outputs);
/* Block `index` of p->depth: rows of the same shape. */
clv_node clvi_layer_vit_block(clv_graph *g, const clvi_backbone_params *p, const char *prefix, const clvi_tokens *s,
                              int64_t index);
/* Whether pictures [N,C,H,W] can be cut into patches, and tokens into heads; otherwise the graph has failed. */
bool clvi_vit_fits(clv_graph *g, const clvi_backbone_params *p, const int64_t shape[4]);
/* x, or while training at a rate above 0, x with whole samples dropped; x has the rows of `samples` samples. `block` of
 * `blocks` says which share of the rate; `path` numbers the network's paths. */
clv_node clvi_layer_drop_path(clv_graph *g, const clvi_backbone_params *p, const char *prefix, const char *name,
                              clv_node x, int64_t samples, int64_t block, int64_t blocks, int64_t path);
/* x, or while training at a dropout above 0, x with that share of its values dropped. */
clv_node clvi_layer_dropout(clv_graph *g, const clvi_backbone_params *p, const char *prefix, const char *name,
                            clv_node x, int64_t path);
#define CLVI_OPTIONS_DROP_PATH                                                                                         \
    CLVI_OPTION_F64(clvi_backbone_params, drop_path, "drop-path", "0", 0, 0.99,                                        \
                    "stochastic depth: how often the last block drops a sample; rises linearly from 0", NULL),         \
    CLVI_OPTION_I64(clvi_backbone_params, seed, "seed", "0", 0, 9e15, "of the random numbers of drop-path", NULL)

#define CLVI_NAME_SIZE 128

#endif
