/* export.c: an encoder as a file for others: safetensors with torchvision's names, ONNX, or a checkpoint. */
#include "train/files/checkpoint.h"
#include "train/trained/encoder.h"
#include "train/step/network.h"
#include "train/files/weights.h"
#include "backbones/onnx.h"
#include "backbones/tensor_file.h"
#include "core/checked.h"
#include "tensor/graph.h"

#include <stdio.h>
#include <string.h>

/* The network in evaluation mode as a graph over the encoder's parameters, for one image; not finished. */
static clv_status build_graph(const clvi_encoder_parts *e, clv_graph **g, clv_node *images, clv_node *out)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_node features, embedding;
    desc.params = e->params;
    CLV_TRY(clv_graph_create(e->ctx, &desc, g));
    *images = clv_input_image(*g, "images", 1, e->channels, e->height, e->width);
    CLV_TRY(clvi_network_nodes(*g, &e->config->settings, 1, *images, &features, &embedding));
    *out = e->layer == CLV_LAYER_BACKBONE ? features : embedding;
    return clvi_graph_status(*g);
}

static clv_status save_onnx(const clvi_encoder_parts *e, const char *path)
{
    clv_graph *g = NULL;
    clv_node images, out;
    clv_status st = build_graph(e, &g, &images, &out);
    if (st == CLV_OK)
        st = clvi_onnx_write(g, images, out, e->layer == CLV_LAYER_BACKBONE ? "features" : "embedding", path);
    clv_graph_destroy(g);
    return st;
}

/* ---- safetensors ---- */

typedef struct table {
    const char **names;
    clv_view    *views;
    int64_t      count;
} table;

/* Parameters of the backbone come first; `all` takes the head's, too. */
static clv_status count_parameters(const clvi_encoder_parts *e, int64_t *count)
{
    *count = clv_params_count(e->params);
    if (e->layer == CLV_LAYER_EMBEDDING) return CLV_OK;
    clv_graph *g = NULL;
    clv_params *params = NULL;
    clv_node features;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(clv_params_create(e->ctx, CLV_F32, &params));
    desc.params = params;
    CLV_TRY_OR_DONE(clv_graph_create(e->ctx, &desc, &g));
    const clv_node images = clv_input_image(g, "images", 1, e->channels, e->height, e->width);
    CLV_TRY_OR_DONE(clvi_network_backbone(g, &e->config->settings, 1, images, &features));
    st = clvi_graph_status(g);
    *count = clv_params_count(params);
done:
    clv_graph_destroy(g);
    clv_params_destroy(params);
    return st;
}

static clv_status read_table(const clvi_encoder_parts *e, table *t)
{
    for (; t->count < clv_params_count(e->params); t->count++) {
        clv_param_info info;
        const int64_t i = t->count;
        CLV_TRY(clv_params_info(e->params, i, &info));
        t->names[i] = info.name;
        t->views[i] = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        t->views[i].data = clvi_calloc(e->ctx, (size_t)clv_view_count(&t->views[i]), sizeof(float));
        if (!t->views[i].data) return CLV_ERR_NOMEM;
        const clv_status st = clv_params_read(e->params, i, CLV_PARAM_VALUE, &t->views[i]);
        if (st != CLV_OK) {
            clvi_free(e->ctx, t->views[i].data);
            return st;
        }
    }
    return CLV_OK;
}

static clv_status save_safetensors(const clvi_encoder_parts *e, const char *path)
{
    const clvi_settings *s = &e->config->settings;
    char width[24], patch[24], size[24], stem[32];
    int64_t count = 0;
    table t = { 0 };
    snprintf(width, sizeof width, "%" PRId64, s->width);
    snprintf(patch, sizeof patch, "%" PRId64, s->patch);
    snprintf(size, sizeof size, "%" PRId64, e->height == e->width ? e->height : s->size);
    CLV_TRY(clv_config_get(e->config, "stem", stem, sizeof stem));
    const clv_option meta[] = {
        { "format", "pt" }, { "cleave.arch", s->arch }, { "cleave.stem", stem },
        { "cleave.width", width }, { "cleave.patch", patch }, { "cleave.size", size },
        { "cleave.eval-aug", e->eval_aug },
    };
    clv_status st = CLV_OK;
    CLV_TRY(count_parameters(e, &count));
    t.names = clvi_calloc(e->ctx, (size_t)clv_params_count(e->params), sizeof *t.names);
    t.views = clvi_calloc(e->ctx, (size_t)clv_params_count(e->params), sizeof *t.views);
    if (!t.names || !t.views) st = CLV_ERR_NOMEM;
    if (st == CLV_OK) st = read_table(e, &t);
    if (st == CLV_OK)
        st = clvi_safetensors_write(e->ctx, path, t.names, t.views, count, meta, (int)CLVI_COUNT(meta));
    for (int64_t i = 0; i < t.count; i++) clvi_free(e->ctx, t.views[i].data);
    clvi_free(e->ctx, t.names);
    clvi_free(e->ctx, t.views);
    return st;
}

/* ---- checkpoint ---- */

static clv_status save_checkpoint(const clvi_encoder_parts *e, const char *path)
{
    clvi_h5 *h5 = NULL;
    const clvi_position nowhere = { .best = -1.0 };
    CLV_TRY(clvi_checkpoint_begin(e->config, path, &nowhere, e->channels, e->eval_aug, &h5));
    clv_status st = clvi_weights_write(e->ctx, e->params, h5, "model");
    if (st == CLV_OK) st = clvi_weights_write(e->ctx, e->params, h5, "key_model");
    if (st != CLV_OK) {
        clvi_h5_close(h5);
        return st;
    }
    return clvi_h5_commit(h5);
}

clv_status clv_encoder_save(clv_encoder *encoder, const char *path)
{
    CLV_CHECK(encoder && path, CLV_ERR_INVALID, "clv_encoder_save: an argument is NULL");
    static const struct {
        const char *end;
        clv_status (*save)(const clvi_encoder_parts *e, const char *path);
    } kinds[] = { { ".safetensors", save_safetensors }, { ".onnx", save_onnx }, { ".h5", save_checkpoint } };
    const clvi_encoder_parts parts = clvi_encoder_look(encoder);
    const size_t n = strlen(path);
    for (size_t i = 0; i < CLVI_COUNT(kinds); i++) {
        const size_t length = strlen(kinds[i].end);
        if (n > length && !strcmp(path + n - length, kinds[i].end)) return kinds[i].save(&parts, path);
    }
    return clvi_fail(CLV_ERR_INVALID, "'%s': expected a name that ends in .safetensors, .onnx or .h5", path);
}
