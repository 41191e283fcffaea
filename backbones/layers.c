/* layers.c: convolution, batch norm and linear layer with the parameters PyTorch would give them. */
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
