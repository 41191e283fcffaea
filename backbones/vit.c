/* vit.c: vision transformers. Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", arXiv:2010.11929, with what
 * Chen et al. 2021, "An Empirical Study of Training Self-Supervised Vision Transformers", arXiv:2104.02057 (MoCo v3),
 * changed: the projection of patches stays as it was drawn, positions are fixed sines and cosines in two dimensions,
 * ViT-S has 12 heads. First values are those of MoCo v3's published code, names those of timm. */
#include "backbones/backbone.h"
#include "core/checked.h"
#include "tensor/op.h"

#include <math.h>
#include <stdio.h>

clv_init clvi_init_glorot(int64_t inputs, int64_t outputs)
{
    return (clv_init){ CLV_INIT_UNIFORM, sqrt(6.0 / (double)(inputs + outputs)), 0 };
}

/* x + attention(norm(x)), x + mlp(norm(x)). Queries, keys and values start as three matrices would. */
clv_node clvi_layer_vit_block(clv_graph *g, const clvi_backbone_params *p, const char *prefix, const clvi_tokens *s,
                              int64_t index)
{
    const int64_t d = p->width;
    clv_node y = clvi_layer_rows(g, prefix, "attn.qkv", clvi_layer_norm_rows(g, prefix, "norm1", s->rows), 3 * d,
                                 clvi_init_glorot(d, d));
    y = clvi_layer_rows(g, prefix, "attn.proj", clv_attention(g, y, s->tokens, p->heads), d, clvi_init_glorot(d, d));
    y = clvi_layer_drop_path(g, p, prefix, "drop_path1", y, s->samples, index, p->depth, 2 * index);
    const clv_node x = clv_add(g, s->rows, y);
    y = clvi_layer_rows(g, prefix, "mlp.fc1", clvi_layer_norm_rows(g, prefix, "norm2", x), 4 * d, clvi_init_glorot(d, 4 * d));
    y = clvi_layer_rows(g, prefix, "mlp.fc2", clv_gelu(g, y), d, clvi_init_glorot(4 * d, d));
    return clv_add(g, x, clvi_layer_drop_path(g, p, prefix, "drop_path2", y, s->samples, index, p->depth,
                                              2 * index + 1));
}

/* Patches, the class token before them, plus positions. */
static clvi_tokens embed(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images,
                         const int64_t shape[4])
{
    const int64_t d = p->width, n = shape[0], columns = shape[3] / p->patch;
    const int64_t patches = shape[2] / p->patch * columns, tokens = patches + 1;
    const clvi_conv_rows projection = {
        .channels = d, .kernel = p->patch, .stride = p->patch, .groups = 1,
        .kind = p->stop_grad_conv1 ? CLV_PARAM_BUFFER : CLV_PARAM_TRAINABLE,
        .weight = clvi_init_glorot(shape[1] * p->patch * p->patch, d),
    };
    const clv_init nearly_zero = { CLV_INIT_NORMAL, 1e-6, 0 }, sincos = { CLV_INIT_SINCOS_2D, 0, columns };
    const clv_node token = clvi_layer_parameter(g, prefix, "cls_token", CLV_PARAM_TRAINABLE, 3,
                                                (int64_t[]) { 1, 1, d }, nearly_zero);
    const clv_node position = clvi_layer_parameter(g, prefix, "pos_embed", CLV_PARAM_BUFFER, 3,
                                                   (int64_t[]) { 1, tokens, d }, sincos);
    const clv_node patch_rows = clvi_layer_conv_rows(g, prefix, "patch_embed.proj", images, &projection);
    const clv_node class_rows = clv_add_row(g, clvi_fill(g, 2, (int64_t[]) { n, d }, 0), clv_reshape(g, token, 1, &d));
    const clv_node both[2] = { class_rows, clv_reshape(g, patch_rows, 2, (int64_t[]) { n, patches * d }) };
    const clv_node positions = clv_reshape(g, position, 1, (int64_t[]) { tokens * d });
    const clv_node x = clv_add_row(g, clv_concat(g, both, 2, 1), positions);
    return (clvi_tokens){ clv_reshape(g, x, 2, (int64_t[]) { n * tokens, d }), n, tokens };
}

bool clvi_vit_fits(clv_graph *g, const clvi_backbone_params *p, const int64_t shape[4])
{
    if (shape[2] % p->patch != 0 || shape[3] % p->patch != 0)
        clvi_graph_fail(g, CLV_ERR_SHAPE, "vit: pictures of %" PRId64 "x%" PRId64 " pixels cannot be cut into patches "
                        "of %" PRId64 "x%" PRId64, shape[2], shape[3], p->patch, p->patch);
    else if (p->width % p->heads != 0 || p->width % 4 != 0)
        clvi_graph_fail(g, CLV_ERR_INVALID, "vit: width %" PRId64 " must be a multiple of 4 and of its %" PRId64
                        " heads", p->width, p->heads);
    else return true;
    return false;
}

static clv_node build(clv_graph *g, const clvi_backbone_params *p, const char *prefix, clv_node images)
{
    int64_t shape[CLV_MAX_DIMS];
    if (clv_node_shape(g, images, shape) != 4 || !clvi_vit_fits(g, p, shape)) return CLV_NONE;
    clvi_tokens s = embed(g, p, prefix, images, shape);
    for (int64_t i = 0; i < p->depth; i++) {
        char name[CLVI_NAME_SIZE];
        snprintf(name, sizeof name, "%sblocks.%d.", prefix, (int)i);
        s.rows = clvi_layer_vit_block(g, p, name, &s, i);
    }
    const clv_node samples = clv_reshape(g, s.rows, 2, (int64_t[]) { s.samples, s.tokens * p->width });
    return clvi_layer_norm_rows(g, prefix, "norm", clv_slice(g, samples, 1, 0, p->width));     /* the class token's */
}

#define VIT(NAME, SUMMARY, WIDTH)                                                                                      \
    static const clvi_option NAME##_options[] = {                                                                      \
        CLVI_OPTION_I64(clvi_backbone_params, width, "width", WIDTH, 4, 8192, "values of a token", NULL),              \
        CLVI_OPTION_I64(clvi_backbone_params, depth, "depth", "12", 1, 256, "blocks", NULL),                           \
        CLVI_OPTION_I64(clvi_backbone_params, heads, "heads", "12", 1, 256, "heads of attention", NULL),               \
        CLVI_OPTION_I64(clvi_backbone_params, patch, "patch", "16", 1, 256, "side of a patch in pixels", NULL),        \
        CLVI_OPTION_BOOL(clvi_backbone_params, stop_grad_conv1, "stop-grad-conv1", "true",                             \
                         "leave the projection of patches as it was drawn"),                                           \
        CLVI_OPTIONS_DROP_PATH, CLVI_OPTION_END,                                                                       \
    };                                                                                                                 \
    extern const clvi_backbone_class clvi_backbone_##NAME;                                                             \
    const clvi_backbone_class clvi_backbone_##NAME = {                                                                 \
        .info = { #NAME, SUMMARY, "arXiv:2104.02057", (int)CLVI_COUNT(NAME##_options) - 1 },    \
        .options = NAME##_options, .build = build,                                                                     \
    };

VIT(vit_small, "ViT-S/16 as in MoCo v3, 384 features", "384")
VIT(vit_base, "ViT-B/16 as in MoCo v3, 768 features", "768")
