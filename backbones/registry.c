/* registry.c: backbones and heads by name. */
#include "backbones/backbone.h"
#include "core/checked.h"

#include <stdio.h>

#define CLV_BACKBONE(name) extern const clvi_backbone_class clvi_backbone_##name;
#define CLV_HEAD(name) extern const clvi_head_class clvi_head_##name;
#include "backbones/registry.def"
#undef CLV_BACKBONE
#undef CLV_HEAD

static const clvi_backbone_class *const backbones[] = {
#define CLV_BACKBONE(name) &clvi_backbone_##name,
#define CLV_HEAD(name)
#include "backbones/registry.def"
#undef CLV_BACKBONE
#undef CLV_HEAD
    NULL
};

static const clvi_head_class *const heads[] = {
#define CLV_BACKBONE(name)
#define CLV_HEAD(name) &clvi_head_##name,
#include "backbones/registry.def"
#undef CLV_BACKBONE
#undef CLV_HEAD
    NULL
};

static const clvi_backbone_class *find_backbone(const char *name)
{
    for (int i = 0; name && backbones[i]; i++)
        if (clvi_name_equal(backbones[i]->info.name, name)) return backbones[i];
    return NULL;
}

static const clvi_head_class *find_head(const char *name)
{
    for (int i = 0; name && heads[i]; i++)
        if (clvi_name_equal(heads[i]->info.name, name)) return heads[i];
    return NULL;
}

const clv_class_info *clv_backbone_info_at(int index)
{
    return index >= 0 && index < (int)CLVI_COUNT(backbones) - 1 ? &backbones[index]->info : NULL;
}

const clv_class_info *clv_backbone_find(const char *name)
{
    const clvi_backbone_class *b = find_backbone(name);
    return b ? &b->info : NULL;
}

const clv_option_info *clv_backbone_option_at(const char *name, int index)
{
    const clvi_backbone_class *b = find_backbone(name);
    return b && index >= 0 && index < b->info.option_count ? &b->options[index].info : NULL;
}

const clv_class_info *clv_head_info_at(int index)
{
    return index >= 0 && index < (int)CLVI_COUNT(heads) - 1 ? &heads[index]->info : NULL;
}

const clv_class_info *clv_head_find(const char *name)
{
    const clvi_head_class *h = find_head(name);
    return h ? &h->info : NULL;
}

const clv_option_info *clv_head_option_at(const char *name, int index)
{
    const clvi_head_class *h = find_head(name);
    return h && index >= 0 && index < h->info.option_count ? &h->options[index].info : NULL;
}

static clv_status unknown(const char *kind, const char *name, const char *const *known)
{
    const char *near = name ? clv_nearest_name(name, known) : NULL;
    return clvi_fail(CLV_ERR_INVALID, "unknown %s '%s'%s%s%s", kind, name ? name : "", near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

static clv_status known_backbone(const char *name, const clv_option *options, int option_count,
                                 clvi_backbone_params *params, const clvi_backbone_class **out)
{
    *out = find_backbone(name);
    if (!*out) {
        const char *known[CLVI_COUNT(backbones)] = { NULL };
        for (int i = 0; backbones[i]; i++) known[i] = backbones[i]->info.name;
        return unknown("backbone", name, known);
    }
    return clvi_options_parse((*out)->options, params, "backbone", options, option_count);
}

clv_status clv_backbone_node(clv_graph *g, const char *name, const clv_option *options, int option_count,
                             const char *prefix, clv_node images, clv_node *features)
{
    CLV_CHECK(g && features, CLV_ERR_INVALID, "clv_backbone_node: graph and features must not be NULL");
    const clvi_backbone_class *b = NULL;
    clvi_backbone_params params;
    CLV_TRY(known_backbone(name, options, option_count, &params, &b));
    *features = b->build(g, &params, prefix ? prefix : "", images);
    return CLV_OK;
}

/* Names of the backbones that generate. */
static void list_generators(char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; backbones[i] && used < size; i++) {
        if (!backbones[i]->generate) continue;
        const int n = snprintf(text + used, size - used, "%s%s", used ? ", " : "", backbones[i]->info.name);
        used += n > 0 ? (size_t)n : 0;
    }
}

clv_status clvi_backbone_generator(clv_graph *g, const char *name, const clv_option *options, int option_count,
                                   const char *prefix, clv_node images, clv_node time, clvi_generated *out)
{
    const clvi_backbone_class *b = NULL;
    clvi_backbone_params params;
    char generators[256];
    CLV_TRY(known_backbone(name, options, option_count, &params, &b));
    list_generators(generators, sizeof generators);
    CLV_CHECK(b->generate, CLV_ERR_INVALID, "the backbone %s gives features, it does not generate pictures; expected %s",
              b->info.name, generators);
    b->generate(g, &params, prefix ? prefix : "", images, time, out);
    return CLV_OK;
}

clv_status clv_head_node(clv_graph *g, const char *name, const clv_option *options, int option_count,
                         const char *prefix, clv_node features, clv_node *out)
{
    CLV_CHECK(g && out, CLV_ERR_INVALID, "clv_head_node: graph and out must not be NULL");
    const clvi_head_class *h = find_head(name);
    if (!h) {
        const char *known[CLVI_COUNT(heads)] = { NULL };
        for (int i = 0; heads[i]; i++) known[i] = heads[i]->info.name;
        return unknown("head", name, known);
    }
    clvi_head_params params = { .layers = 0 };         /* a head without the option */
    CLV_TRY(clvi_options_parse(h->options, &params, "head", options, option_count));
    *out = h->build(g, &params, prefix ? prefix : "", features);
    return CLV_OK;
}
