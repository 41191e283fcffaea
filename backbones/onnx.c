/* onnx.c: a graph as an ONNX model: which of its values are needed, the model around them. */
#include "backbones/onnx.h"
#include "backbones/onnx_wire.h"
#include "core/checked.h"
#include "core/file.h"

#include <string.h>

#define OPSET      17
#define IR_VERSION 8              /* the one of opset 17 */

/* Marks what `out` needs, from the back: a node comes after what it reads. */
static void mark(clvi_onnx *w)
{
    w->needed[w->out] = true;
    for (int32_t i = w->g->n_nodes - 1; i >= 0; i--) {
        const clvi_node *n = &w->g->nodes[i];
        bool wanted = false;
        for (int o = 0; o < n->n_out; o++) wanted = wanted || (n->out[o] >= 0 && w->needed[n->out[o]]);
        for (int k = 0; wanted && k < n->n_in; k++)
            if (n->in[k] >= 0) w->needed[n->in[k]] = true;
    }
}

static clv_status write_nodes(clvi_onnx *w)
{
    for (int32_t i = 0; i < w->g->n_nodes; i++) {
        const clvi_node *n = &w->g->nodes[i];
        if (!w->needed[n->out[0]]) continue;
        CLV_TRY(clvi_onnx_operation(w, n));
    }
    return CLV_OK;
}

static clv_status write_parameters(clvi_onnx *w)
{
    for (int32_t v = 0; v < w->g->n_values; v++) {
        const clvi_value *value = &w->g->values[v];
        char name[CLVI_ONNX_NAME];
        if (value->kind != CLVI_VALUE_PARAM || !w->needed[v]) continue;
        clv_view view = clv_view_dense(NULL, CLV_F32, value->desc.ndim, value->desc.shape);
        const size_t count = (size_t)clv_view_count(&view);
        view.data = clvi_calloc(w->ctx, count, sizeof(float));
        if (!view.data) return CLV_ERR_NOMEM;
        const clv_status st = clv_params_read(w->g->params, value->param, CLV_PARAM_VALUE, &view);
        if (st == CLV_OK)
            clvi_onnx_tensor(w, clvi_onnx_name(w, v, name), CLVI_ONNX_FLOAT, view.ndim, view.shape, view.data,
                             count * sizeof(float));
        clvi_free(w->ctx, view.data);
        CLV_TRY(st);
    }
    return CLV_OK;
}

/* ValueInfoProto: the first dimension is "batch". */
static void declare(clvi_onnx *w, int field, int32_t v)
{
    char name[CLVI_ONNX_NAME];
    const clvi_desc *desc = &w->g->values[v].desc;
    const size_t info = clvi_onnx_begin(w, field);
    clvi_onnx_text(w, 1, clvi_onnx_name(w, v, name));
    const size_t type = clvi_onnx_begin(w, 2), of_tensor = clvi_onnx_begin(w, 1);
    clvi_onnx_int(w, 1, CLVI_ONNX_FLOAT);
    const size_t shape = clvi_onnx_begin(w, 2);
    for (int d = 0; d < desc->ndim; d++) {
        const size_t dim = clvi_onnx_begin(w, 1);
        if (d == 0) clvi_onnx_text(w, 2, "batch");
        else clvi_onnx_int(w, 1, desc->shape[d]);
        clvi_onnx_end(w, dim);
    }
    clvi_onnx_end(w, shape);
    clvi_onnx_end(w, of_tensor);
    clvi_onnx_end(w, type);
    clvi_onnx_end(w, info);
}

static clv_status write_model(clvi_onnx *w)
{
    clvi_onnx_int(w, 1, IR_VERSION);
    clvi_onnx_text(w, 2, "cleave");
    clvi_onnx_text(w, 3, clv_version());
    const size_t graph = clvi_onnx_begin(w, 7);
    CLV_TRY(write_nodes(w));
    clvi_onnx_text(w, 2, "encoder");
    CLV_TRY(write_parameters(w));
    declare(w, 11, w->images);
    declare(w, 12, w->out);
    clvi_onnx_end(w, graph);
    const size_t opset = clvi_onnx_begin(w, 8);
    clvi_onnx_text(w, 1, "");
    clvi_onnx_int(w, 2, OPSET);
    clvi_onnx_end(w, opset);
    CLV_CHECK(!w->failed, CLV_ERR_NOMEM, "the ONNX model needs more memory than there is, or than the format allows");
    return CLV_OK;
}

clv_status clvi_onnx_write(const clv_graph *g, clv_node images, clv_node out, const char *name, const char *path)
{
    clvi_onnx w = { .ctx = g->ctx, .g = g, .out_name = name, .out = clvi_graph_peek(g, out),
                    .images = clvi_graph_peek(g, images) };
    CLV_CHECK(w.out >= 0 && w.images >= 0 && !g->finished && !g->training, CLV_ERR_INTERNAL,
              "onnx: not a graph that can be written");
    w.needed = clvi_calloc(w.ctx, (size_t)g->n_values, sizeof *w.needed);
    if (!w.needed) return CLV_ERR_NOMEM;
    mark(&w);
    clv_status st = write_model(&w);
    if (st == CLV_OK) st = clvi_file_write(path, w.bytes, w.size);
    clvi_free(w.ctx, w.bytes);
    clvi_free(w.ctx, w.needed);
    return st;
}
