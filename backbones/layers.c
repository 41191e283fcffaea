/* layers.c: convolution, norms and linear layers with the parameters PyTorch would give them. */
#include "backbones/backbone.h"

#include <stdio.h>

static clv_node parameter(clv_graph *g, const char *prefix, const char *layer, const char *leaf, clv_param_kind kind,
                          int ndim, const int64_t *shape, clv_init init)
{
    char name[CLVI_NAME_SIZE];
    snprintf(name, sizeof name, "%s%s.%s", prefix, layer, leaf);
    return clv_parameter(g, name, kind, ndim, shape, init);
}

clv_node clvi_layer_conv(clv_graph *g, const char *prefix, const char *name, clv_node x, int64_t out_channels,
                         int64_t kernel, int64_t stride, int64_t pad)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const int64_t shape[4] = { out_channels, in[1], kernel, kernel };
    /* He et al. 2015 with fan out, as torchvision's ResNets start. */
    const clv_init init = { CLV_INIT_KAIMING_NORMAL, 0.0, out_channels * kernel * kernel };
    const clv_node w = parameter(g, prefix, name, "weight", CLV_PARAM_TRAINABLE, 4, shape, init);
    return clv_conv2d(g, x, w, stride, pad);
}

clv_node clvi_layer_batch_norm(clv_graph *g, const char *prefix, const char *name, clv_node x, int64_t splits,
                               double gamma)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 }, one = { CLV_INIT_CONSTANT, 1.0, 0 };
    const clv_init scale = { CLV_INIT_CONSTANT, gamma, 0 };
    const clv_batch_norm_desc desc = {
        .gamma = parameter(g, prefix, name, "weight", CLV_PARAM_TRAINABLE, 1, &in[1], scale),
        .beta = parameter(g, prefix, name, "bias", CLV_PARAM_TRAINABLE, 1, &in[1], zero),
        .running_mean = parameter(g, prefix, name, "running_mean", CLV_PARAM_BUFFER, 1, &in[1], zero),
        .running_var = parameter(g, prefix, name, "running_var", CLV_PARAM_BUFFER, 1, &in[1], one),
        .groups = clv_graph_training(g) ? splits : 1,
        .eps = 1e-5,
        .momentum = 0.1,
    };
    return clv_batch_norm(g, x, &desc);
}

clv_node clvi_layer_linear(clv_graph *g, const char *prefix, const char *name, clv_node x, int64_t out_features)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const int64_t shape[2] = { out_features, in[1] };
    const clv_init init = { CLV_INIT_UNIFORM_FAN, 0.0, in[1] };
    const clv_node w = parameter(g, prefix, name, "weight", CLV_PARAM_TRAINABLE, 2, shape, init);
    const clv_node b = parameter(g, prefix, name, "bias", CLV_PARAM_TRAINABLE, 1, shape, init);
    return clv_linear(g, x, w, b);
}

/* ---- rows ---- */

clv_node clvi_layer_parameter(clv_graph *g, const char *prefix, const char *name, clv_param_kind kind, int ndim,
                              const int64_t *shape, clv_init init)
{
    char full[CLVI_NAME_SIZE];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return clv_parameter(g, full, kind, ndim, shape, init);
}

clv_node clvi_layer_norm_rows(clv_graph *g, const char *prefix, const char *name, clv_node x)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 }, one = { CLV_INIT_CONSTANT, 1.0, 0 };
    const clv_node gamma = parameter(g, prefix, name, "weight", CLV_PARAM_TRAINABLE, 1, &in[1], one);
    const clv_node beta = parameter(g, prefix, name, "bias", CLV_PARAM_TRAINABLE, 1, &in[1], zero);
    return clv_layer_norm(g, x, gamma, beta, CLVI_LAYER_NORM_EPS);
}

clv_node clvi_layer_rows(clv_graph *g, const char *prefix, const char *name, clv_node x, int64_t out_features,
                         clv_init weight)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const int64_t shape[2] = { out_features, in[1] };
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 };
    const clv_node w = parameter(g, prefix, name, "weight", CLV_PARAM_TRAINABLE, 2, shape, weight);
    const clv_node b = parameter(g, prefix, name, "bias", CLV_PARAM_TRAINABLE, 1, shape, zero);
    return clv_linear(g, x, w, b);
}

clv_node clvi_layer_conv_rows(clv_graph *g, const char *prefix, const char *name, clv_node x,
                              const clvi_conv_rows *conv)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const int64_t shape[4] = { conv->channels, in[1] / conv->groups, conv->kernel, conv->kernel };
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 };
    const clv_node w = parameter(g, prefix, name, "weight", conv->kind, 4, shape, conv->weight);
    const clv_node b = parameter(g, prefix, name, "bias", conv->kind, 1, shape, zero);
    return clv_add_row(g, clv_pixel_rows(g, clv_conv2d_groups(g, x, w, conv->stride, conv->pad, conv->groups)), b);
}

clv_node clvi_layer_drop_path(clv_graph *g, const clvi_backbone_params *p, const char *prefix, const char *name,
                              clv_node x, int64_t samples, int64_t block, int64_t blocks, int64_t path)
{
    int64_t in[CLV_MAX_DIMS] = { 0 }, one = 1;
    if (p->drop_path <= 0 || block == 0 || clv_node_shape(g, x, in) < 0) return x;
    const double rate = p->drop_path * (double)block / (double)(blocks - 1);
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 };
    const clv_node count = parameter(g, prefix, name, "count", CLV_PARAM_BUFFER, 1, &one, zero);
    const int64_t whole[2] = { samples, in[0] / samples * in[1] };
    const clv_node y = clv_drop_path(g, clv_reshape(g, x, 2, whole), count, rate, (uint64_t)p->seed, (uint32_t)path);
    return clv_reshape(g, y, 2, in);
}

/* Srivastava et al. 2014: paths of one value each. */
clv_node clvi_layer_dropout(clv_graph *g, const clvi_backbone_params *p, const char *prefix, const char *name,
                            clv_node x, int64_t path)
{
    int64_t in[CLV_MAX_DIMS] = { 0 }, one = 1, each[2] = { 1, 1 };
    const int ndim = clv_node_shape(g, x, in);
    if (p->dropout <= 0 || ndim < 0) return x;
    for (int i = 0; i < ndim; i++) each[0] *= in[i];
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 };
    const clv_node count = parameter(g, prefix, name, "count", CLV_PARAM_BUFFER, 1, &one, zero);
    x = clv_drop_path(g, clv_reshape(g, x, 2, each), count, p->dropout, (uint64_t)p->seed, (uint32_t)path);
    return clv_reshape(g, x, ndim, in);
}
