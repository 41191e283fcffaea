/* resnet.c: residual networks. He et al. 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385:
 * table 1 for the ImageNet family, section 4.2 for the CIFAR family. Blocks, strides (in the bottleneck's 3x3) and
 * names are torchvision's, so weights go both ways by name. The CIFAR family uses projection shortcuts (option B)
 * where the paper pads with zeros: a shortcut with weights has a torchvision name. */
#include "backbones/backbone.h"

#include <stdio.h>

typedef struct resnet_family {
    int64_t blocks[4];      /* per stage; 0 ends */
    bool    bottleneck;     /* 1x1, 3x3, 1x1 with four times the channels */
} resnet_family;

enum { STEM_IMAGENET, STEM_CIFAR, STEM_STRIDED };

static clv_node shortcut(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x, int64_t channels,
                         int64_t stride)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    if (stride == 1 && in[1] == channels) return x;
    const clv_node y = clvi_layer_conv(g, prefix, "downsample.0", x, channels, 1, stride);
    return clvi_layer_batch_norm(g, prefix, "downsample.1", y, p->bn_splits, 1.0);
}

static clv_node basic_block(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x,
                            int64_t channels, int64_t stride)
{
    clv_node y = clvi_layer_conv(g, prefix, "conv1", x, channels, 3, stride);
    y = clv_relu(g, clvi_layer_batch_norm(g, prefix, "bn1", y, p->bn_splits, 1.0));
    y = clvi_layer_conv(g, prefix, "conv2", y, channels, 3, 1);
    y = clvi_layer_batch_norm(g, prefix, "bn2", y, p->bn_splits, p->zero_init_residual ? 0.0 : 1.0);
    return clv_relu(g, clv_add(g, y, shortcut(g, p, prefix, x, channels, stride)));
}

static clv_node bottleneck_block(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x,
                                 int64_t channels, int64_t stride)
{
    clv_node y = clvi_layer_conv(g, prefix, "conv1", x, channels, 1, 1);
    y = clv_relu(g, clvi_layer_batch_norm(g, prefix, "bn1", y, p->bn_splits, 1.0));
    y = clvi_layer_conv(g, prefix, "conv2", y, channels, 3, stride);
    y = clv_relu(g, clvi_layer_batch_norm(g, prefix, "bn2", y, p->bn_splits, 1.0));
    y = clvi_layer_conv(g, prefix, "conv3", y, 4 * channels, 1, 1);
    y = clvi_layer_batch_norm(g, prefix, "bn3", y, p->bn_splits, p->zero_init_residual ? 0.0 : 1.0);
    return clv_relu(g, clv_add(g, y, shortcut(g, p, prefix, x, 4 * channels, stride)));
}

/* imagenet: 7x7 stride 2 and a pool; cifar: 3x3 stride 1, no pool (the MoCo demo's); strided: 3x3 stride 2, no pool. */
static clv_node stem(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x)
{
    const int64_t kernel = p->stem == STEM_IMAGENET ? 7 : 3, stride = p->stem == STEM_CIFAR ? 1 : 2;
    clv_node y = clvi_layer_conv(g, prefix, "conv1", x, p->width, kernel, stride);
    y = clv_relu(g, clvi_layer_batch_norm(g, prefix, "bn1", y, p->bn_splits, 1.0));
    return p->stem == STEM_IMAGENET ? clv_max_pool2d(g, y, 3, 2, 1) : y;
}

static clv_node resnet(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images,
                       const resnet_family *family)
{
    clv_node x = stem(g, p, prefix, images);
    for (int stage = 0; stage < 4 && family->blocks[stage]; stage++) {
        for (int64_t block = 0; block < family->blocks[stage]; block++) {
            char name[CLVI_NAME_SIZE];
            snprintf(name, sizeof name, "%slayer%d.%d.", prefix, stage + 1, (int)block);
            const int64_t channels = p->width << stage, stride = stage > 0 && block == 0 ? 2 : 1;
            x = (family->bottleneck ? bottleneck_block : basic_block)(g, p, name, x, channels, stride);
        }
    }
    return clv_global_avg_pool(g, x);
}

#define RESNET_OPTIONS(STEM, WIDTH)                                                                                    \
    CLVI_OPTION_CHOICE(clvi_backbone_params, stem, "stem", STEM, "imagenet|cifar|strided",                             \
                       "first layer: 7x7/2 and max-pool, 3x3/1, or 3x3/2"),                                            \
    CLVI_OPTION_BOOL(clvi_backbone_params, zero_init_residual, "zero-init-residual", "false",                          \
                     "start each block's last batch-norm scale at zero"),                                              \
    CLVI_OPTION_I64(clvi_backbone_params, bn_splits, "bn-splits", "1", 1, 4096,                                        \
                    "groups of split batch norm (the batch size must be a multiple)", NULL),                           \
    CLVI_OPTION_I64(clvi_backbone_params, width, "width", WIDTH, 1, 4096, "channels of the first stage", NULL),        \
    CLVI_OPTION_END

static const clvi_option imagenet_options[] = { RESNET_OPTIONS("imagenet", "64") };
static const clvi_option cifar_options[] = { RESNET_OPTIONS("cifar", "16") };

#define RESNET(NAME, SUMMARY, WHERE, OPTIONS, BOTTLENECK, ...)                                                         \
    static clv_node NAME##_build(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images)    \
    {                                                                                                                  \
        static const resnet_family family = { { __VA_ARGS__ }, BOTTLENECK };                                           \
        return resnet(g, p, prefix, images, &family);                                                                  \
    }                                                                                                                  \
    extern const clvi_backbone_class clvi_backbone_##NAME;                                                             \
    const clvi_backbone_class clvi_backbone_##NAME = {                                                                 \
        .info = { #NAME, SUMMARY, "arXiv:1512.03385, " WHERE, (int)(sizeof OPTIONS / sizeof OPTIONS[0]) - 1 },         \
        .options = OPTIONS, .build = NAME##_build,                                                                     \
    };

RESNET(resnet18, "18 layers of basic blocks, 512 features", "table 1", imagenet_options, false, 2, 2, 2, 2)
RESNET(resnet34, "34 layers of basic blocks, 512 features", "table 1", imagenet_options, false, 3, 4, 6, 3)
RESNET(resnet50, "50 layers of bottleneck blocks, 2048 features", "table 1", imagenet_options, true, 3, 4, 6, 3)
RESNET(resnet8, "8 layers for 32x32 images, 64 features", "section 4.2, n = 1", cifar_options, false, 1, 1, 1, 0)
RESNET(resnet20, "20 layers for 32x32 images, 64 features", "section 4.2, n = 3", cifar_options, false, 3, 3, 3, 0)
RESNET(resnet32, "32 layers for 32x32 images, 64 features", "section 4.2, n = 5", cifar_options, false, 5, 5, 5, 0)
RESNET(resnet56, "56 layers for 32x32 images, 64 features", "section 4.2, n = 9", cifar_options, false, 9, 9, 9, 0)
