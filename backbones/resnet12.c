/* resnet12.c: the network of few-shot learning: Lee et al. 2019, "Meta-Learning with Differentiable Convex
 * Optimization", arXiv:1904.03758, section 4.1 and the authors' code, as Tian et al. 2020, arXiv:2003.11539, train it
 * with all base classes: four blocks of three 3x3 convolutions with batch norm and leaky ReLUs, a projection as
 * shortcut, max-pooling; behind the first two values are dropped, behind the last two squares (DropBlock). The features
 * are means over places. Names are those of the code, so weights go both ways. */
#include "backbones/backbone.h"
#include "tensor/op.h"

#include <stdio.h>

#define SLOPE 0.1               /* of the leaky ReLUs below 0 */
#define RAMP  40000             /* batches until DropBlock has its whole rate */

static clv_node norm(clv_graph *g, const clvi_backbone_params *p, const char *prefix, const char *name, clv_node x)
{
    return clvi_layer_batch_norm(g, prefix, name, x, p->bn_splits, 1.0);
}

static clv_node leaky_relu(clv_graph *g, clv_node x)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    return clv_prelu(g, x, clvi_fill(g, 1, &in[1], SLOPE));
}

static clv_node drop_squares(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x, int stage)
{
    int64_t in[CLV_MAX_DIMS] = { 0 }, one = 1;
    if (p->dropout <= 0 || clv_node_shape(g, x, in) < 0) return x;
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 };
    const clv_node count = clvi_layer_parameter(g, prefix, "drop.count", CLV_PARAM_BUFFER, 1, &one, zero);
    const clvi_block_mask_attr attr = {
        .path = { .rate = p->dropout, .seed = (uint64_t)p->seed, .stream = (uint32_t)stage },
        .ramp = RAMP, .block = p->drop_block < in[2] ? p->drop_block : in[2],
    };
    return clvi_drop_block(g, x, count, &attr);
}

static clv_node block(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x, int64_t channels,
                      int stage)
{
    static const char *const names[3][2] = { { "conv1", "bn1" }, { "conv2", "bn2" }, { "conv3", "bn3" } };
    clv_node y = x;
    for (int i = 0; i < 3; i++) {
        y = norm(g, p, prefix, names[i][1], clvi_layer_conv(g, prefix, names[i][0], y, channels, 3, 1, 1));
        if (i < 2) y = leaky_relu(g, y);
    }
    const clv_node shortcut = clvi_layer_conv(g, prefix, "downsample.0", x, channels, 1, 1, 0);
    y = leaky_relu(g, clv_add(g, y, norm(g, p, prefix, "downsample.1", shortcut)));
    y = clv_max_pool2d(g, y, 2, 2, 0);
    return stage < 2 ? clvi_layer_dropout(g, p, prefix, "drop", y, stage) : drop_squares(g, p, prefix, y, stage);
}

static clv_node build(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images)
{
    const int64_t channels[4] = { p->width, 5 * p->width / 2, 5 * p->width, 10 * p->width };
    clv_node x = images;
    for (int stage = 0; stage < 4; stage++) {
        char name[CLVI_NAME_SIZE];
        snprintf(name, sizeof name, "%slayer%d.0.", prefix, stage + 1);
        x = block(g, p, name, x, channels[stage], stage);
    }
    return clv_global_avg_pool(g, x);
}

static const clvi_option options[] = {
    CLVI_OPTION_F64(clvi_backbone_params, dropout, "dropout", "0", 0, 0.99,
                    "share of the values dropped behind each block, while training", NULL),
    CLVI_OPTION_I64(clvi_backbone_params, drop_block, "drop-block", "5", 1, 64,
                    "side of the squares that the last two blocks drop", NULL),
    CLVI_OPTION_I64(clvi_backbone_params, seed, "seed", "0", 0, 9e15, "of the random numbers of dropout", NULL),
    CLVI_OPTION_BN_SPLITS(clvi_backbone_params),
    CLVI_OPTION_I64(clvi_backbone_params, width, "width", "64", 2, 4096, "channels of the first stage", NULL),
    CLVI_OPTION_END
};

extern const clvi_backbone_class clvi_backbone_resnet12;
const clvi_backbone_class clvi_backbone_resnet12 = {
    .info = { "resnet12", "four blocks of three layers for few-shot learning, 640 features",
              "arXiv:1904.03758, section 4.1, authors' code", (int)(sizeof options / sizeof options[0]) - 1 },
    .options = options, .build = build,
};
