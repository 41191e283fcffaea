/* iresnet.c: the residual networks of face recognition, for pictures of 112x112 pixels: Deng et al. 2019, "ArcFace",
 * arXiv:1801.07698, section 3.1: a first layer of 3x3 without pooling, blocks of norm, convolution, norm, PReLU,
 * strided convolution, norm, and at the end norm, dropout, a linear layer on all places, norm. Blocks a stage and names
 * are those of the authors' PyTorch code, so weights go both ways by name. The authors keep the last norm's scale at 1;
 * here it is trained, without which a loss that reads lengths (MagFace, arXiv:2103.06627) could not change them. */
#include "backbones/backbone.h"

#include <stdio.h>

static clv_node norm(clv_graph *g, const clvi_backbone_params *p, const char *prefix, const char *name, clv_node x)
{
    return clvi_layer_batch_norm(g, prefix, name, x, p->bn_splits, 1.0);
}

static clv_node prelu(clv_graph *g, const char *prefix, clv_node x)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const clv_init quarter = { CLV_INIT_CONSTANT, 0.25, 0 };
    return clv_prelu(g, x, clvi_layer_parameter(g, prefix, "prelu.weight", CLV_PARAM_TRAINABLE, 1, &in[1], quarter));
}

static clv_node block(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x, int64_t channels,
                      int64_t stride)
{
    clv_node y = clvi_layer_conv(g, prefix, "conv1", norm(g, p, prefix, "bn1", x), channels, 3, 1, 1);
    y = prelu(g, prefix, norm(g, p, prefix, "bn2", y));
    y = norm(g, p, prefix, "bn3", clvi_layer_conv(g, prefix, "conv2", y, channels, 3, stride, 1));
    if (stride == 1) return clv_add(g, y, x);
    const clv_node shortcut = clvi_layer_conv(g, prefix, "downsample.0", x, channels, 1, stride, 0);
    return clv_add(g, y, norm(g, p, prefix, "downsample.1", shortcut));
}

/* [N, C H W] to the embedding. */
static clv_node embed(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    x = norm(g, p, prefix, "bn2", x);
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    x = clv_reshape(g, x, 2, (int64_t[]){ in[0], in[1] * in[2] * in[3] });
    x = clvi_layer_dropout(g, p, prefix, "dropout", x, 0);
    return norm(g, p, prefix, "features", clvi_layer_linear(g, prefix, "fc", x, p->dim));
}

static clv_node iresnet(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images,
                        const int64_t blocks[4])
{
    clv_node x = clvi_layer_conv(g, prefix, "conv1", images, p->width, 3, 1, 1);
    x = prelu(g, prefix, norm(g, p, prefix, "bn1", x));
    for (int stage = 0; stage < 4; stage++) {
        for (int64_t i = 0; i < blocks[stage]; i++) {
            char name[CLVI_NAME_SIZE];
            snprintf(name, sizeof name, "%slayer%d.%d.", prefix, stage + 1, (int)i);
            x = block(g, p, name, x, p->width << stage, i == 0 ? 2 : 1);
        }
    }
    return embed(g, p, prefix, x);
}

static const clvi_option options[] = {
    CLVI_OPTION_I64(clvi_backbone_params, dim, "dim", "512", 1, 65536, "size of the embedding", NULL),
    CLVI_OPTION_F64(clvi_backbone_params, dropout, "dropout", "0", 0, 0.99,
                    "share of the values dropped before the linear layer, while training", NULL),
    CLVI_OPTION_I64(clvi_backbone_params, seed, "seed", "0", 0, 9e15, "of the random numbers of dropout", NULL),
    CLVI_OPTION_BN_SPLITS(clvi_backbone_params),
    CLVI_OPTION_I64(clvi_backbone_params, width, "width", "64", 1, 4096, "channels of the first stage", NULL),
    CLVI_OPTION_END
};

#define IRESNET(NAME, SUMMARY, ...)                                                                                    \
    static clv_node NAME##_build(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images)    \
    {                                                                                                                  \
        return iresnet(g, p, prefix, images, (const int64_t[4]){ __VA_ARGS__ });                                       \
    }                                                                                                                  \
    extern const clvi_backbone_class clvi_backbone_##NAME;                                                             \
    const clvi_backbone_class clvi_backbone_##NAME = {                                                                 \
        .info = { #NAME, SUMMARY, "arXiv:1801.07698, section 3.1, authors' code",                                      \
                  (int)(sizeof options / sizeof options[0]) - 1 },                                                     \
        .options = options, .build = NAME##_build,                                                                     \
    };

IRESNET(iresnet18, "for faces: 8 blocks, an embedding of 512", 2, 2, 2, 2)
IRESNET(iresnet34, "for faces: 16 blocks, an embedding of 512", 3, 4, 6, 3)
IRESNET(iresnet50, "for faces: 24 blocks, an embedding of 512", 3, 4, 14, 3)
IRESNET(iresnet100, "for faces: 49 blocks, an embedding of 512", 3, 13, 30, 3)
