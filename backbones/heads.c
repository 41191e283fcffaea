/* heads.c: what follows the pooled features: MoCo v1's linear layer, MoCo v2's two layers with a ReLU between
 * (Chen et al. 2020, arXiv:2003.04297, section 2). */
#include "backbones/backbone.h"

static clv_node linear_build(clv_graph *g, const clvi_head_params *p, const char *prefix, clv_node features)
{
    return clvi_layer_linear(g, prefix, "fc", features, p->dim);
}

static clv_node mlp_build(clv_graph *g, const clvi_head_params *p, const char *prefix, clv_node features)
{
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, features, shape) < 0) return CLV_NONE;
    const clv_node y = clvi_layer_linear(g, prefix, "fc.0", features, p->hidden ? p->hidden : shape[1]);
    return clvi_layer_linear(g, prefix, "fc.2", clv_relu(g, y), p->dim);
}

#define HEAD_DIM CLVI_OPTION_I64(clvi_head_params, dim, "dim", "128", 1, 65536, "size of the embedding", "D")

static const clvi_option linear_options[] = { HEAD_DIM, CLVI_OPTION_END };
static const clvi_option mlp_options[] = {
    HEAD_DIM,
    CLVI_OPTION_I64(clvi_head_params, hidden, "hidden", "0", 0, 65536, "size of the hidden layer; 0: the features'",
                    NULL),
    CLVI_OPTION_END
};

extern const clvi_head_class clvi_head_linear, clvi_head_mlp;
const clvi_head_class clvi_head_linear = {
    .info = { "linear", "one linear layer", "MoCo v1, arXiv:1911.05722, section 3.3", 1 },
    .options = linear_options, .build = linear_build,
};
const clvi_head_class clvi_head_mlp = {
    .info = { "mlp", "linear, ReLU, linear; no batch norm", "MoCo v2, arXiv:2003.04297, section 2", 2 },
    .options = mlp_options, .build = mlp_build,
};
