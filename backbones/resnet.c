/* resnet.c: residual networks. He et al. 2016, "Deep Residual Learning for Image Recognition", arXiv:1512.03385:
 * table 1 for the ImageNet family, section 4.2 for the CIFAR family; wide ones by Zagoruyko and Komodakis 2016,
 * arXiv:1605.07146. Blocks, strides (in the bottleneck's 3x3) and names are torchvision's, so weights go both ways by
 * name. The CIFAR family uses projection shortcuts (option B) where the paper pads with zeros: a shortcut with weights
 * has a torchvision name. */
#include "backbones/backbone.h"

#include <stdio.h>

typedef struct resnet_family {
    int64_t blocks[4];      /* per stage; 0 ends */
    int64_t bottleneck;     /* 0: two 3x3; else 1x1, 3x3, 1x1, the first two this many times as wide as the stage */
} resnet_family;

/* The first layer. Four are in use for CIFAR; three of them are the same layer under the names of those who use it. */
static const struct {
    int64_t kernel, stride, pad;
    bool    pool;
} stems[] = {               /* in the order of STEMS */
    { 7, 2, 3, true },      /* imagenet */
    { 3, 1, 1, false },     /* cifar: the demo of MoCo */
    { 3, 2, 1, false },     /* strided */
    { 3, 1, 1, false },     /* supcontrast */
    { 3, 1, 1, false },     /* lightly */
    { 3, 1, 2, false },     /* solo-learn: maps of 34x34 */
};
#define STEMS "imagenet|cifar|strided|supcontrast|lightly|solo-learn"

static clv_node shortcut(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x, int64_t channels,
                         int64_t stride)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    if (stride == 1 && in[1] == channels) return x;
    const clv_node y = clvi_layer_conv(g, prefix, "downsample.0", x, channels, 1, stride, 0);
    return clvi_layer_batch_norm(g, prefix, "downsample.1", y, p->bn_splits, 1.0);
}

static clv_node basic_block(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x,
                            int64_t channels, int64_t stride)
{
    clv_node y = clvi_layer_conv(g, prefix, "conv1", x, channels, 3, stride, 1);
    y = clv_relu(g, clvi_layer_batch_norm(g, prefix, "bn1", y, p->bn_splits, 1.0));
    y = clvi_layer_conv(g, prefix, "conv2", y, channels, 3, 1, 1);
    y = clvi_layer_batch_norm(g, prefix, "bn2", y, p->bn_splits, p->zero_init_residual ? 0.0 : 1.0);
    return clv_relu(g, clv_add(g, y, shortcut(g, p, prefix, x, channels, stride)));
}

static clv_node bottleneck_block(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x,
                                 int64_t channels, int64_t inner, int64_t stride)
{
    clv_node y = clvi_layer_conv(g, prefix, "conv1", x, inner, 1, 1, 0);
    y = clv_relu(g, clvi_layer_batch_norm(g, prefix, "bn1", y, p->bn_splits, 1.0));
    y = clvi_layer_conv(g, prefix, "conv2", y, inner, 3, stride, 1);
    y = clv_relu(g, clvi_layer_batch_norm(g, prefix, "bn2", y, p->bn_splits, 1.0));
    y = clvi_layer_conv(g, prefix, "conv3", y, 4 * channels, 1, 1, 0);
    y = clvi_layer_batch_norm(g, prefix, "bn3", y, p->bn_splits, p->zero_init_residual ? 0.0 : 1.0);
    return clv_relu(g, clv_add(g, y, shortcut(g, p, prefix, x, 4 * channels, stride)));
}

static clv_node stem(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node x)
{
    clv_node y = clvi_layer_conv(g, prefix, "conv1", x, p->width, stems[p->stem].kernel, stems[p->stem].stride,
                                 stems[p->stem].pad);
    y = clv_relu(g, clvi_layer_batch_norm(g, prefix, "bn1", y, p->bn_splits, 1.0));
    return stems[p->stem].pool ? clv_max_pool2d(g, y, 3, 2, 1) : y;
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
            x = family->bottleneck ? bottleneck_block(g, p, name, x, channels, family->bottleneck * channels, stride)
                                   : basic_block(g, p, name, x, channels, stride);
        }
    }
    return clv_global_avg_pool(g, x);
}

#define RESNET_OPTIONS(STEM, WIDTH)                                                                                    \
    CLVI_OPTION_CHOICE(clvi_backbone_params, stem, "stem", STEM, STEMS,                                                \
                       "first layer: 7x7/2 and max-pool, 3x3/1, 3x3/2, or another's 3x3/1"),                           \
    CLVI_OPTION_BOOL(clvi_backbone_params, zero_init_residual, "zero-init-residual", "false",                          \
                     "start each block's last batch-norm scale at zero"),                                              \
    CLVI_OPTION_BN_SPLITS(clvi_backbone_params),                                                                       \
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
        .info = { #NAME, SUMMARY, WHERE, (int)(sizeof OPTIONS / sizeof OPTIONS[0]) - 1 },                              \
        .options = OPTIONS, .build = NAME##_build,                                                                     \
    };

#define TABLE   "arXiv:1512.03385, table 1"
#define SECTION "arXiv:1512.03385, section 4.2, n = "
#define WIDE    "arXiv:1605.07146, as torchvision has them"

RESNET(resnet18, "18 layers of basic blocks, 512 features", TABLE, imagenet_options, 0, 2, 2, 2, 2)
RESNET(resnet34, "34 layers of basic blocks, 512 features", TABLE, imagenet_options, 0, 3, 4, 6, 3)
RESNET(resnet50, "50 layers of bottleneck blocks, 2048 features", TABLE, imagenet_options, 1, 3, 4, 6, 3)
RESNET(resnet101, "101 layers of bottleneck blocks, 2048 features", TABLE, imagenet_options, 1, 3, 4, 23, 3)
RESNET(resnet152, "152 layers of bottleneck blocks, 2048 features", TABLE, imagenet_options, 1, 3, 8, 36, 3)
RESNET(wide_resnet50_2, "resnet50 with bottlenecks twice as wide", WIDE, imagenet_options, 2, 3, 4, 6, 3)
RESNET(wide_resnet101_2, "resnet101 with bottlenecks twice as wide", WIDE, imagenet_options, 2, 3, 4, 23, 3)
RESNET(resnet8, "8 layers for 32x32 images, 64 features", SECTION "1", cifar_options, 0, 1, 1, 1, 0)
RESNET(resnet20, "20 layers for 32x32 images, 64 features", SECTION "3", cifar_options, 0, 3, 3, 3, 0)
RESNET(resnet32, "32 layers for 32x32 images, 64 features", SECTION "5", cifar_options, 0, 5, 5, 5, 0)
RESNET(resnet56, "56 layers for 32x32 images, 64 features", SECTION "9", cifar_options, 0, 9, 9, 9, 0)
RESNET(resnet110, "110 layers for 32x32 images, 64 features", SECTION "18", cifar_options, 0, 18, 18, 18, 0)
