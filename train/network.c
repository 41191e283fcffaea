/* network.c: settings to backbone and head. */
#include "train/network.h"
#include "core/checked.h"

#include <cleave/backbone.h>
#include <stdio.h>
#include <string.h>

static const char *const stems[] = {       /* as in the option table */
    NULL, "imagenet", "cifar", "strided", "supcontrast", "lightly", "solo-learn",
};

/* A setting that was made goes to the backbone; one it does not have cannot act. */
static clv_status pass_on(const char *arch, bool made, const char *name, const char *value, clv_option *options, int *n)
{
    if (!made || !clv_backbone_find(arch)) return CLV_OK;
    const clv_option_info *o;
    for (int i = 0; (o = clv_backbone_option_at(arch, i)); i++) {
        if (strcmp(o->name, name) != 0) continue;
        options[(*n)++] = (clv_option){ name, value };
        return CLV_OK;
    }
    return clvi_fail(CLV_ERR_INVALID, "%s cannot act: the backbone %s has no such option", name, arch);
}

clv_status clvi_network_nodes(clv_graph *g, const clvi_settings *s, clv_node images, clv_node *features,
                              clv_node *embedding)
{
    char width[24], splits[24], dim[24], hidden[24];
    snprintf(width, sizeof width, "%" PRId64, s->width);
    snprintf(splits, sizeof splits, "%" PRId64, s->bn_splits);
    snprintf(dim, sizeof dim, "%" PRId64, s->moco_dim);
    snprintf(hidden, sizeof hidden, "%" PRId64, s->moco_mlp_dim);
    clv_option options[4];
    int n = 0;
    CLV_TRY(pass_on(s->arch, s->bn_splits > 1, "bn-splits", splits, options, &n));
    CLV_TRY(pass_on(s->arch, s->zero_init_residual, "zero-init-residual", "true", options, &n));
    CLV_TRY(pass_on(s->arch, s->stem, "stem", stems[s->stem], options, &n));
    CLV_TRY(pass_on(s->arch, s->width, "width", width, options, &n));
    CLV_TRY(clv_backbone_node(g, s->arch, options, n, "", images, features));
    const clv_option head[2] = { { "dim", dim }, { "hidden", hidden } };
    return clv_head_node(g, s->mlp ? "mlp" : "linear", head, s->mlp ? 2 : 1, "", *features, embedding);
}
