/* uvit.c: a vision transformer that generates: Bao et al. 2023, "All are Worth Words: A ViT Backbone for Diffusion
 * Models", arXiv:2209.12152. The time is a token like any patch, and blocks of the first half are read again by those
 * of the second (long skip connections). Names are those of the published code.
 *
 * Beside the paper: positions are the fixed sines and cosines of MoCo v3's ViT, the time goes through two linear layers
 * as in DiT (Peebles and Xie 2023, arXiv:2212.09748), the last layer starts at zero, and no convolution follows it.
 *
 * As a backbone for features it is told that there is no noise, and ends in the middle. */
#include "backbones/backbone.h"
#include "core/checked.h"
#include "tensor/op.h"

#include <math.h>
#include <stdio.h>

enum { MAX_DEPTH = 63, HALF = CLVI_TIME_VALUES / 2 };

/* Frequencies from 1000 down by powers: Vaswani et al. 2017, arXiv:1706.03762, section 3.5, of a time 0 to 1000. */
void clvi_time_values(double noise, float *out)
{
    for (int k = 0; k < HALF; k++) {
        const double angle = 1000 * noise * pow(10000, -(double)k / HALF);
        out[k] = (float)cos(angle);
        out[HALF + k] = (float)sin(angle);
    }
}

int64_t clvi_patch_place(int64_t patch, int64_t width, int64_t channels, int64_t y, int64_t x, int64_t c)
{
    const int64_t square = y / patch * (width / patch) + x / patch;
    return ((square * patch + y % patch) * patch + x % patch) * channels + c;
}

/* What clvi_time_values gives for pictures without noise. */
static clv_node no_noise(clv_graph *g, int64_t n)
{
    const int64_t shape[2] = { n, HALF };
    return clv_concat(g, (clv_node[]) { clvi_fill(g, 2, shape, 1), clvi_fill(g, 2, shape, 0) }, 2, 1);
}

/* The time's token before those of the patches, plus positions. */
static clvi_tokens embed(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images,
                         clv_node time, const int64_t shape[4])
{
    const int64_t d = p->width, n = shape[0], columns = shape[3] / p->patch;
    const int64_t patches = shape[2] / p->patch * columns, tokens = patches + 1;
    const clvi_conv_rows projection = {
        .channels = d, .kernel = p->patch, .stride = p->patch, .groups = 1, .kind = CLV_PARAM_TRAINABLE,
        .weight = clvi_init_glorot(shape[1] * p->patch * p->patch, d),
    };
    const clv_init sincos = { CLV_INIT_SINCOS_2D, 0, columns };
    clv_node t = clvi_layer_rows(g, prefix, "time_embed.0", time, d, clvi_init_glorot(CLVI_TIME_VALUES, d));
    t = clvi_layer_rows(g, prefix, "time_embed.2", clv_gelu(g, t), d, clvi_init_glorot(d, d));
    const clv_node rows = clvi_layer_conv_rows(g, prefix, "patch_embed.proj", images, &projection);
    const clv_node both[2] = { t, clv_reshape(g, rows, 2, (int64_t[]) { n, patches * d }) };
    const clv_node position = clvi_layer_parameter(g, prefix, "pos_embed", CLV_PARAM_BUFFER, 3,
                                                   (int64_t[]) { 1, tokens, d }, sincos);
    const clv_node x = clv_add_row(g, clv_concat(g, both, 2, 1),
                                   clv_reshape(g, position, 1, (int64_t[]) { tokens * d }));
    return (clvi_tokens){ clv_reshape(g, x, 2, (int64_t[]) { n * tokens, d }), n, tokens };
}

/* The blocks of the first half, each of whose results is kept, and the one in the middle. */
static void first_half(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clvi_tokens *s,
                       clv_node kept[MAX_DEPTH / 2])
{
    char name[CLVI_NAME_SIZE];
    for (int64_t i = 0; i < p->depth / 2; i++) {
        snprintf(name, sizeof name, "%sin_blocks.%d.", prefix, (int)i);
        kept[i] = s->rows = clvi_layer_vit_block(g, p, name, s, i);
    }
    snprintf(name, sizeof name, "%smid_block.", prefix);
    s->rows = clvi_layer_vit_block(g, p, name, s, p->depth / 2);
}

/* The blocks of the second half, each with what its partner in the first has left. */
static void second_half(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clvi_tokens *s,
                        const clv_node kept[MAX_DEPTH / 2])
{
    const int64_t half = p->depth / 2;
    for (int64_t i = 0; i < half; i++) {
        char name[CLVI_NAME_SIZE];
        snprintf(name, sizeof name, "%sout_blocks.%d.", prefix, (int)i);
        const clv_node both = clv_concat(g, (clv_node[]) { s->rows, kept[half - 1 - i] }, 2, 1);
        s->rows = clvi_layer_rows(g, name, "skip_linear", both, p->width, clvi_init_glorot(2 * p->width, p->width));
        s->rows = clvi_layer_vit_block(g, p, name, s, half + 1 + i);
    }
}

/* Rows without those of the time's token: [samples,patches values]. */
static clv_node patches_of(clv_graph *g, clv_node rows, const clvi_tokens *s, int64_t values)
{
    const clv_node all = clv_reshape(g, rows, 2, (int64_t[]) { s->samples, s->tokens * values });
    return clv_slice(g, all, 1, values, (s->tokens - 1) * values);
}

static clv_node pooled(clv_graph *g, const clvi_backbone_params *p, const clvi_tokens *s)
{
    const clv_node patches = patches_of(g, s->rows, s, p->width);
    return clv_reduce(g, clv_reshape(g, patches, 3, (int64_t[]) { s->samples, s->tokens - 1, p->width }), 1, true);
}

static bool fits(clv_graph *g, const clvi_backbone_params *p, const int64_t shape[4])
{
    if (p->depth % 2 == 0) {
        clvi_graph_fail(g, CLV_ERR_INVALID, "uvit: depth %" PRId64 " has no block in the middle: it must be odd",
                        p->depth);
        return false;
    }
    return clvi_vit_fits(g, p, shape);
}

static clv_node build(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images)
{
    int64_t shape[CLV_MAX_DIMS];
    clv_node kept[MAX_DEPTH / 2];
    if (clv_node_shape(g, images, shape) != 4 || !fits(g, p, shape)) return CLV_NONE;
    clvi_tokens s = embed(g, p, prefix, images, no_noise(g, shape[0]), shape);
    first_half(g, p, prefix, &s, kept);
    return pooled(g, p, &s);
}

static void generate(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images, clv_node time,
                     clvi_generated *out)
{
    const clv_init zero = { CLV_INIT_CONSTANT, 0, 0 };
    int64_t shape[CLV_MAX_DIMS];
    clv_node kept[MAX_DEPTH / 2];
    *out = (clvi_generated){ CLV_NONE, CLV_NONE, p->patch };
    if (clv_node_shape(g, images, shape) != 4 || !fits(g, p, shape)) return;
    clvi_tokens s = embed(g, p, prefix, images, time, shape);
    first_half(g, p, prefix, &s, kept);
    out->features = pooled(g, p, &s);
    second_half(g, p, prefix, &s, kept);
    const int64_t values = p->patch * p->patch * shape[1];
    const clv_node rows = clvi_layer_norm_rows(g, prefix, "norm", s.rows);
    out->velocity = patches_of(g, clvi_layer_rows(g, prefix, "decoder_pred", rows, values, zero), &s, values);
}

static const clvi_option options[] = {
    CLVI_OPTION_I64(clvi_backbone_params, width, "width", "128", 4, 8192, "values of a token", NULL),
    CLVI_OPTION_I64(clvi_backbone_params, depth, "depth", "5", 1, MAX_DEPTH, "blocks, an odd number", NULL),
    CLVI_OPTION_I64(clvi_backbone_params, heads, "heads", "4", 1, 256, "heads of attention", NULL),
    CLVI_OPTION_I64(clvi_backbone_params, patch, "patch", "4", 1, 256, "side of a patch in pixels", NULL),
    CLVI_OPTIONS_DROP_PATH, CLVI_OPTION_END,
};

extern const clvi_backbone_class clvi_backbone_uvit;
const clvi_backbone_class clvi_backbone_uvit = {
    .info = { "uvit", "U-ViT, which generates pictures; 128 features of its middle", "arXiv:2209.12152",
              (int)CLVI_COUNT(options) - 1 },
    .options = options, .build = build, .generate = generate,
};
