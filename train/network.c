/* network.c: settings to backbone and head. */
#include "train/network.h"
#include "core/checked.h"

#include <stdio.h>
#include <cleave/backbone.h>

static const char *const stems[] = { NULL, "imagenet", "cifar", "strided" };

clv_status clvi_network_nodes(clv_graph *g, const clvi_settings *s, clv_node images, clv_node *features,
                              clv_node *embedding)
{
    char width[24], splits[24], dim[24], hidden[24];
    snprintf(width, sizeof width, "%" PRId64, s->width);
    snprintf(splits, sizeof splits, "%" PRId64, s->bn_splits);
    snprintf(dim, sizeof dim, "%" PRId64, s->moco_dim);
    snprintf(hidden, sizeof hidden, "%" PRId64, s->moco_mlp_dim);
    clv_option options[4] = {
        { "bn-splits", splits },
        { "zero-init-residual", s->zero_init_residual ? "true" : "false" },
    };
    int n = 2;
    if (s->stem) options[n++] = (clv_option){ "stem", stems[s->stem] };
    if (s->width) options[n++] = (clv_option){ "width", width };
    CLV_TRY(clv_backbone_node(g, s->arch, options, n, "", images, features));
    const clv_option head[2] = { { "dim", dim }, { "hidden", hidden } };
    return clv_head_node(g, s->mlp ? "mlp" : "linear", head, s->mlp ? 2 : 1, "", *features, embedding);
}
