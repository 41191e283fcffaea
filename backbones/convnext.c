/* convnext.c: Liu et al. 2022, "A ConvNet for the 2020s", arXiv:2201.03545. Blocks of a depthwise 7x7 convolution,
 * layer norm, and two linear layers with GELU between, scaled by column and added to what came in (figure 4, section
 * 2.6). Names and first values are torchvision's; the norm after pooling, which there belongs to the classifier, is the
 * last layer of the features, as in the paper's code. */
#include "backbones/backbone.h"

#include <stdio.h>

static const int64_t blocks_of[4] = { 3, 3, 9, 3 };
#define BLOCKS 18

/* A batch of maps as rows of channels. */
typedef struct maps {
    clv_node rows;              /* [samples height width, channels] */
    int64_t  samples, height, width;
} maps;

/* torchvision truncates at 100 standard deviations: that is the normal distribution. */
static const clv_init start = { CLV_INIT_NORMAL, 0.02, 0 };

static clv_node picture(clv_graph *g, const maps *m)
{
    return clv_row_pixels(g, m->rows, m->height, m->width);
}

static clv_node block(clv_graph *g, const clvi_backbone_params *p, const char *prefix, const maps *m, int64_t channels,
                      int64_t index)
{
    const clvi_conv_rows neighbours = { .channels = channels, .kernel = 7, .stride = 1, .pad = 3, .groups = channels,
                                        .kind = CLV_PARAM_TRAINABLE, .weight = start };
    clv_node y = clvi_layer_conv_rows(g, prefix, "block.0", picture(g, m), &neighbours);
    y = clvi_layer_norm_rows(g, prefix, "block.2", y);
    y = clv_gelu(g, clvi_layer_rows(g, prefix, "block.3", y, 4 * channels, start));
    y = clvi_layer_rows(g, prefix, "block.5", y, channels, start);
    const clv_init scale_start = { CLV_INIT_CONSTANT, p->layer_scale, 0 };
    const clv_node scale = clvi_layer_parameter(g, prefix, "layer_scale", CLV_PARAM_TRAINABLE, 3,
                                                (int64_t[]) { channels, 1, 1 }, scale_start);
    y = clv_scale_columns(g, y, clv_reshape(g, scale, 1, &channels));
    y = clvi_layer_drop_path(g, p, prefix, "stochastic_depth", y, m->samples, index, BLOCKS, index);
    return clv_add(g, m->rows, y);
}

/* A convolution whose pieces do not overlap: maps become `kernel` times smaller. */
static maps patchify(clv_graph *g, const char *prefix, const char *name, clv_node x, int64_t channels, int64_t kernel)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    const clvi_conv_rows conv = { .channels = channels, .kernel = kernel, .stride = kernel, .groups = 1,
                                  .kind = CLV_PARAM_TRAINABLE, .weight = start };
    const clv_node rows = clvi_layer_conv_rows(g, prefix, name, x, &conv);
    (void)clv_node_shape(g, x, in);
    return (maps){ rows, in[0], in[2] / kernel, in[3] / kernel };
}

static clv_node build(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images)
{
    char name[CLVI_NAME_SIZE];
    maps m = patchify(g, prefix, "features.0.0", images, p->width, 4);
    m.rows = clvi_layer_norm_rows(g, prefix, "features.0.1", m.rows);
    for (int64_t stage = 0, index = 0; stage < 4; stage++) {
        if (stage > 0) {
            snprintf(name, sizeof name, "%sfeatures.%d.", prefix, 2 * (int)stage);
            m.rows = clvi_layer_norm_rows(g, name, "0", m.rows);
            m = patchify(g, name, "1", picture(g, &m), p->width << stage, 2);
        }
        for (int64_t i = 0; i < blocks_of[stage]; i++) {
            snprintf(name, sizeof name, "%sfeatures.%d.%d.", prefix, 2 * (int)stage + 1, (int)i);
            m.rows = block(g, p, name, &m, p->width << stage, index++);
        }
    }
    const int64_t pixels[3] = { m.samples, m.height * m.width, p->width << 3 };
    return clvi_layer_norm_rows(g, prefix, "classifier.0", clv_reduce(g, clv_reshape(g, m.rows, 3, pixels), 1, true));
}

static const clvi_option options[] = {
    CLVI_OPTION_I64(clvi_backbone_params, width, "width", "96", 1, 4096, "channels of the first stage", NULL),
    CLVI_OPTION_F64(clvi_backbone_params, layer_scale, "layer-scale", "1e-6", 0, 1,
                    "what the factors of a block's columns start at", NULL),
    CLVI_OPTIONS_DROP_PATH, CLVI_OPTION_END,
};

extern const clvi_backbone_class clvi_backbone_convnext_tiny;
const clvi_backbone_class clvi_backbone_convnext_tiny = {
    .info = { "convnext_tiny", "ConvNeXt-T, 768 features", "arXiv:2201.03545, section 3 and figure 4",
              (int)(sizeof options / sizeof options[0]) - 1 },
    .options = options, .build = build,
};
