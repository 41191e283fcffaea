/* heads.c: what follows the pooled features: projectors and predictors, all of linear layers with ReLUs between them.
 * They differ in how many layers, which have a bias, and where batch norm stands; each as its paper's authors have it.
 * Layers are numbered as in PyTorch's nn.Sequential, where batch norms and ReLUs count, too: "fc.0.weight",
 * "fc.1.running_mean", "fc.3.weight". */
#include "backbones/backbone.h"

#include <stdio.h>

enum { BN_NONE, BN, BN_PLAIN };      /* plain: without scale and shift */

typedef struct mlp_form {
    int  layers;                     /* unless the option says so */
    bool bias, last_bias;            /* of the hidden layers, of the last */
    int  bn, last_bn;                /* after each hidden layer, after the last */
} mlp_form;

static clv_node parameter(clv_graph *g, const char *prefix, int at, const char *leaf, clv_param_kind kind, int ndim,
                          const int64_t *shape, clv_init init)
{
    char name[CLVI_NAME_SIZE];
    snprintf(name, sizeof name, "%sfc.%d.%s", prefix, at, leaf);
    return clv_parameter(g, name, kind, ndim, shape, init);
}

static clv_node linear(clv_graph *g, const char *prefix, int at, clv_node x, int64_t out, bool bias)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const int64_t shape[2] = { out, in[1] };
    const clv_init init = { CLV_INIT_UNIFORM_FAN, 0.0, in[1] };
    const clv_node w = parameter(g, prefix, at, "weight", CLV_PARAM_TRAINABLE, 2, shape, init);
    return clv_linear(g, x, w, bias ? parameter(g, prefix, at, "bias", CLV_PARAM_TRAINABLE, 1, shape, init) : CLV_NONE);
}

static clv_node batch_norm(clv_graph *g, const clvi_head_params *p, const char *prefix, int at, clv_node x, int kind)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 }, one = { CLV_INIT_CONSTANT, 1.0, 0 };
    const clv_batch_norm_desc desc = {
        .gamma = kind == BN ? parameter(g, prefix, at, "weight", CLV_PARAM_TRAINABLE, 1, &in[1], one) : CLV_NONE,
        .beta = kind == BN ? parameter(g, prefix, at, "bias", CLV_PARAM_TRAINABLE, 1, &in[1], zero) : CLV_NONE,
        .running_mean = parameter(g, prefix, at, "running_mean", CLV_PARAM_BUFFER, 1, &in[1], zero),
        .running_var = parameter(g, prefix, at, "running_var", CLV_PARAM_BUFFER, 1, &in[1], one),
        .groups = clv_graph_training(g) ? p->bn_splits : 1,
        .eps = 1e-5,
        .momentum = 0.1,
    };
    return clv_batch_norm(g, x, &desc);
}

static clv_node mlp(clv_graph *g, const clvi_head_params *p, const char *prefix, clv_node x, const mlp_form *form)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const int64_t layers = p->layers ? p->layers : form->layers, hidden = p->hidden ? p->hidden : in[1];
    int at = 0;
    for (int64_t i = 1; i < layers; i++) {
        x = linear(g, prefix, at++, x, hidden, form->bias);
        if (form->bn) x = batch_norm(g, p, prefix, at++, x, form->bn);
        x = clv_relu(g, x);
        at++;
    }
    x = linear(g, prefix, at++, x, p->dim, form->last_bias);
    return form->last_bn ? batch_norm(g, p, prefix, at, x, form->last_bn) : x;
}

#define HEAD_DIM CLVI_OPTION_I64(clvi_head_params, dim, "dim", "128", 1, 65536, "size of the embedding", "D")
#define HEAD_HIDDEN                                                                                                    \
    CLVI_OPTION_I64(clvi_head_params, hidden, "hidden", "0", 0, 65536, "size of hidden layers; 0: the input's", NULL)
#define HEAD_SPLITS                                                                                                    \
    CLVI_OPTION_BN_SPLITS(clvi_head_params)
#define HEAD_LAYERS(N)                                                                                                 \
    CLVI_OPTION_I64(clvi_head_params, layers, "layers", N, 1, 16, "linear layers", NULL)

static const clvi_option linear_options[] = { HEAD_DIM, CLVI_OPTION_END };
static const clvi_option mlp_options[] = { HEAD_DIM, HEAD_HIDDEN, CLVI_OPTION_END };
static const clvi_option layers_2[] = { HEAD_DIM, HEAD_HIDDEN, HEAD_SPLITS, HEAD_LAYERS("2"), CLVI_OPTION_END };
static const clvi_option layers_3[] = { HEAD_DIM, HEAD_HIDDEN, HEAD_SPLITS, HEAD_LAYERS("3"), CLVI_OPTION_END };

static clv_node linear_build(clv_graph *g, const clvi_head_params *p, const char *prefix, clv_node features)
{
    return clvi_layer_linear(g, prefix, "fc", features, p->dim);
}

extern const clvi_head_class clvi_head_linear;
const clvi_head_class clvi_head_linear = {
    .info = { "linear", "one linear layer", "MoCo v1, arXiv:1911.05722, section 3.3", 1 },
    .options = linear_options, .build = linear_build,
};

#define MLP(NAME, SUMMARY, SOURCE, OPTIONS, ...)                                                                       \
    static clv_node NAME##_build(clv_graph *g, const clvi_head_params *p, const char *prefix, clv_node features)      \
    {                                                                                                                  \
        static const mlp_form form = { __VA_ARGS__ };                                                                  \
        return mlp(g, p, prefix, features, &form);                                                                     \
    }                                                                                                                  \
    extern const clvi_head_class clvi_head_##NAME;                                                                     \
    const clvi_head_class clvi_head_##NAME = {                                                                         \
        .info = { #NAME, SUMMARY, SOURCE, (int)(sizeof OPTIONS / sizeof OPTIONS[0]) - 1 },                             \
        .options = OPTIONS, .build = NAME##_build,                                                                     \
    };

MLP(mlp, "linear, ReLU, linear; no batch norm", "MoCo v2, arXiv:2003.04297, section 2; SupCon's, arXiv:2004.11362",
    mlp_options, 2, true, true, BN_NONE, BN_NONE)
MLP(simclr_projector, "two layers without bias, batch norm after each", "arXiv:2002.05709, section 4.2, authors' code",
    layers_2, 2, false, false, BN, BN)
MLP(barlow_projector, "three layers without bias, batch norm between", "arXiv:2103.03230, section 2.2, authors' code",
    layers_3, 3, false, false, BN, BN_NONE)
MLP(vicreg_projector, "three layers, batch norm between; the last has no bias",
    "arXiv:2105.04906, section 4.2, authors' code", layers_3, 3, true, false, BN, BN_NONE)
MLP(simsiam_projector, "three layers without bias, batch norm after each, the last without scale and shift",
    "arXiv:2011.10566, section 2, authors' code", layers_3, 3, false, false, BN, BN_PLAIN)
MLP(simsiam_predictor, "two layers, batch norm between; the first has no bias",
    "arXiv:2011.10566, section 2, authors' code", layers_2, 2, false, true, BN, BN_NONE)
MLP(byol_mlp, "projector and predictor: two layers, batch norm between; the last has no bias",
    "arXiv:2006.07733, section 3.3, authors' code", layers_2, 2, true, false, BN, BN_NONE)
MLP(mocov3_projector, "two layers without bias, batch norm after each, the last without scale and shift",
    "arXiv:2104.02057, section 4.1, authors' code (ResNet-50)", layers_2, 2, false, false, BN, BN_PLAIN)
MLP(mocov3_predictor, "two layers without bias, batch norm between", "arXiv:2104.02057, authors' code (ResNet-50)",
    layers_2, 2, false, false, BN, BN_NONE)
