/* network.c: settings to backbone and head. */
#include "train/step/network.h"
#include "train/step/method.h"
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

static bool backbone_has(const char *arch, const char *name)
{
    const clv_option_info *o;
    for (int i = 0; (o = clv_backbone_option_at(arch, i)); i++)
        if (!strcmp(o->name, name)) return true;
    return false;
}

static bool has_option(const char *head, const char *name)
{
    const clv_option_info *o;
    for (int i = 0; (o = clv_head_option_at(head, i)); i++)
        if (!strcmp(o->name, name)) return true;
    return false;
}

bool clvi_network_has_batch_norm(const clvi_settings *s)
{
    const clvi_method_class *method = NULL;
    const bool known = clvi_method_find(s->method, &method) == CLV_OK;
    if (known && method->text) return false;
    if (!known || !clv_backbone_find(s->arch)) return true;
    const char *head = clvi_method_head(method, s);
    return backbone_has(s->arch, "bn-splits") || (head && has_option(head, "bn-splits"))
           || (method->predictor && has_option(method->predictor, "bn-splits"));
}

bool clvi_network_draws(const clvi_settings *s)
{
    return s->drop_path > 0 || s->dropout > 0;
}

/* Is the linear head what the backbone ends in anyway? */
static bool embeds(const clvi_settings *s)
{
    const clvi_method_class *method = NULL;
    if (clvi_method_find(s->method, &method) != CLV_OK || method->text) return false;
    const char *head = clvi_method_head(method, s);
    return head && strcmp(head, "linear") == 0 && backbone_has(s->arch, "dim");
}

/* A head with those of the given settings that it has an option for. */
static clv_status head_node(clv_graph *g, const char *head, int64_t dim, int64_t hidden, int64_t layers,
                            int64_t groups, const char *prefix, clv_node x, clv_node *out)
{
    const struct {
        const char *name;
        int64_t     value;
    } given[] = { { "dim", dim }, { "hidden", hidden }, { "layers", layers }, { "bn-splits", groups } };
    char text[CLVI_COUNT(given)][24];
    clv_option options[CLVI_COUNT(given)];
    int n = 0;
    for (size_t i = 0; i < CLVI_COUNT(given); i++) {
        if (!given[i].value || !has_option(head, given[i].name)) continue;
        snprintf(text[n], sizeof text[n], "%" PRId64, given[i].value);
        options[n] = (clv_option){ given[i].name, text[n] };
        n++;
    }
    return clv_head_node(g, head, options, n, prefix, x, out);
}

/* What settings say of the backbone, as its options. */
typedef struct backbone_options {
    clv_option at[12];
    int        n;
    char       width[24], depth[24], patch[24], dim[24], seed[24], drop_path[32], dropout[32], block[24], splits[24];
} backbone_options;

static clv_status read_options(const clvi_settings *s, int64_t groups, backbone_options *o)
{
    snprintf(o->width, sizeof o->width, "%" PRId64, s->width);
    snprintf(o->depth, sizeof o->depth, "%" PRId64, s->depth);
    snprintf(o->patch, sizeof o->patch, "%" PRId64, s->patch);
    snprintf(o->seed, sizeof o->seed, "%" PRId64, s->seed);
    snprintf(o->dim, sizeof o->dim, "%" PRId64, s->moco_dim);
    snprintf(o->block, sizeof o->block, "%" PRId64, s->drop_block);
    snprintf(o->dropout, sizeof o->dropout, "%.17g", s->dropout);
    snprintf(o->drop_path, sizeof o->drop_path, "%.17g", s->drop_path);
    snprintf(o->splits, sizeof o->splits, "%" PRId64, groups);
    o->n = 0;
    if (backbone_has(s->arch, "bn-splits")) o->at[o->n++] = (clv_option){ "bn-splits", o->splits };
    CLV_TRY(pass_on(s->arch, s->zero_init_residual, "zero-init-residual", "true", o->at, &o->n));
    CLV_TRY(pass_on(s->arch, s->stem, "stem", stems[s->stem], o->at, &o->n));
    CLV_TRY(pass_on(s->arch, s->width, "width", o->width, o->at, &o->n));
    CLV_TRY(pass_on(s->arch, s->depth, "depth", o->depth, o->at, &o->n));
    CLV_TRY(pass_on(s->arch, s->patch, "patch", o->patch, o->at, &o->n));
    CLV_TRY(pass_on(s->arch, !s->stop_grad_conv1, "stop-grad-conv1", "false", o->at, &o->n));
    CLV_TRY(pass_on(s->arch, s->drop_path > 0, "drop-path", o->drop_path, o->at, &o->n));
    CLV_TRY(pass_on(s->arch, s->dropout > 0, "dropout", o->dropout, o->at, &o->n));
    CLV_TRY(pass_on(s->arch, s->drop_block, "drop-block", o->block, o->at, &o->n));
    CLV_TRY(pass_on(s->arch, embeds(s), "dim", o->dim, o->at, &o->n));
    return pass_on(s->arch, clvi_network_draws(s), "seed", o->seed, o->at, &o->n);
}

clv_status clvi_network_backbone(clv_graph *g, const clvi_settings *s, int64_t groups, clv_node images,
                                 clv_node *features)
{
    backbone_options o;
    CLV_TRY(read_options(s, groups, &o));
    return clv_backbone_node(g, s->arch, o.at, o.n, "", images, features);
}

clv_status clvi_network_generator(clv_graph *g, const clvi_settings *s, int64_t groups, clv_node images, clv_node time,
                                  clvi_generated *out)
{
    backbone_options o;
    CLV_TRY(read_options(s, groups, &o));
    return clvi_backbone_generator(g, s->arch, o.at, o.n, "", images, time, out);
}

clv_status clvi_network_nodes(clv_graph *g, const clvi_settings *s, int64_t groups, clv_node images,
                              clv_node *features, clv_node *embedding)
{
    const clvi_method_class *method = NULL;
    CLV_TRY(clvi_method_find(s->method, &method));
    CLV_TRY(clvi_network_backbone(g, s, groups, images, features));
    const char *head = clvi_method_head(method, s);
    if (head && !embeds(s))
        return head_node(g, head, s->moco_dim, s->moco_mlp_dim, s->proj_layers, groups, "", *features, embedding);
    *embedding = *features;
    return CLV_OK;
}

clv_node clvi_classifier_node(clv_graph *g, clv_node x, int64_t classes, bool margin, bool probe, clv_node *weight)
{
    int64_t in[CLV_MAX_DIMS] = { 0 };
    if (clv_node_shape(g, x, in) < 0) return CLV_NONE;
    const int64_t shape[2] = { classes, in[1] };
    const clv_init fan = { CLV_INIT_UNIFORM_FAN, 0.0, in[1] }, small = { CLV_INIT_NORMAL, 0.01, 0 };
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 };
    const clv_node w = clv_parameter(g, "classifier.weight", CLV_PARAM_TRAINABLE, 2, shape, probe ? small : fan);
    if (weight) *weight = w;
    if (margin) return clv_matmul(g, clv_l2norm_rows(g, x, 1e-12), false, clv_l2norm_rows(g, w, 1e-12), true);
    return clv_linear(g, x, w, clv_parameter(g, "classifier.bias", CLV_PARAM_TRAINABLE, 1, &classes,
                                             probe ? zero : fan));
}

clv_status clvi_predictor_node(clv_graph *g, const clvi_settings *s, int64_t groups, const char *head,
                               clv_node embedding, clv_node *out)
{
    return head_node(g, head, s->moco_dim, s->pred_dim, 0, groups, "predictor.", embedding, out);
}
