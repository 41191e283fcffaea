/* onnx.c: the graph's operations as ONNX's, in protobuf's wire format (protobuf.dev, "Encoding"). A nested message is
 * written behind a length of five bytes that is filled in at its end: a varint may carry leading zeros. */
#include "backbones/onnx.h"
#include "core/checked.h"
#include "core/file.h"
#include "tensor/graph.h"

#include <stdio.h>
#include <string.h>

#define OPSET      13
#define IR_VERSION 7              /* the one of opset 13 */
#define SIZE_MAX_  INT32_MAX      /* of a protobuf message */

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FLOAT = 5 };
enum { TYPE_FLOAT = 1, TYPE_INT64 = 7 };                    /* TensorProto.DataType */
enum { ATTRIBUTE_FLOAT = 1, ATTRIBUTE_INT = 2, ATTRIBUTE_INTS = 7 };

typedef struct writer {
    clv_context     *ctx;
    const clv_graph *g;
    const char      *out_name;
    int32_t          out;           /* value of that name */
    uint8_t         *bytes;
    size_t           size, room;
    bool            *needed;        /* of each value */
    bool             failed;        /* memory ran out */
    int              constants;     /* made so far */
} writer;

/* ---- protobuf ---- */

static void put(writer *w, const void *bytes, size_t n)
{
    if (w->failed || n > SIZE_MAX_ - w->size) {
        w->failed = true;
        return;
    }
    if (w->size + n > w->room) {
        const size_t wanted = CLVI_MAX(2 * w->room, w->size + n + 4096);
        uint8_t *grown = clvi_realloc(w->ctx, w->bytes, wanted);
        w->failed = !grown;
        if (!grown) return;
        w->bytes = grown;
        w->room = wanted;
    }
    memcpy(w->bytes + w->size, bytes, n);
    w->size += n;
}

static void put_varint(writer *w, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) put(w, &(uint8_t) { (uint8_t)(v | 0x80) }, 1);
    put(w, &(uint8_t) { (uint8_t)v }, 1);
}

static void put_key(writer *w, int field, int wire)
{
    put_varint(w, (uint64_t)field << 3 | (unsigned)wire);
}

static void put_int(writer *w, int field, int64_t v)
{
    put_key(w, field, WIRE_VARINT);
    put_varint(w, (uint64_t)v);
}

static void put_bytes(writer *w, int field, const void *bytes, size_t n)
{
    put_key(w, field, WIRE_BYTES);
    put_varint(w, n);
    put(w, bytes, n);
}

static void put_text(writer *w, int field, const char *text)
{
    put_bytes(w, field, text, strlen(text));
}

static size_t begin(writer *w, int field)
{
    put_key(w, field, WIRE_BYTES);
    put(w, "\0\0\0\0\0", 5);
    return w->size;
}

static void end(writer *w, size_t from)
{
    if (w->failed) return;
    size_t n = w->size - from;
    for (int i = 0; i < 5; i++, n >>= 7) w->bytes[from - 5 + (size_t)i] = (uint8_t)((n & 0x7f) | (i < 4 ? 0x80 : 0));
}

/* ---- parts of a model: numbers are the fields of onnx.proto ---- */

#define VALUE_NAME 256

static const char *value_name(const writer *w, int32_t v, char text[VALUE_NAME])
{
    const clvi_value *value = &w->g->values[v];
    if (v == w->out) snprintf(text, VALUE_NAME, "%s", w->out_name);
    else if (value->kind == CLVI_VALUE_PARAM)
        snprintf(text, VALUE_NAME, "%s", clvi_params_at(w->g->params, value->param)->name);
    else if (value->kind == CLVI_VALUE_INPUT) snprintf(text, VALUE_NAME, "%s", value->name);
    else snprintf(text, VALUE_NAME, "value%d", v);
    return text;
}

static void tensor(writer *w, const char *name, int type, int ndim, const int64_t *shape, const void *data, size_t size)
{
    const size_t t = begin(w, 5);                            /* GraphProto.initializer */
    for (int d = 0; d < ndim; d++) put_int(w, 1, shape[d]);
    put_int(w, 2, type);
    put_text(w, 8, name);
    put_bytes(w, 9, data, size);
    end(w, t);
}

/* A constant; its name goes to `name`. */
static void constant(writer *w, int type, int64_t count, const void *data, char name[VALUE_NAME])
{
    snprintf(name, VALUE_NAME, "constant%d", w->constants++);
    tensor(w, name, type, 1, &count, data, (size_t)count * (type == TYPE_FLOAT ? 4 : 8));
}

/* A node: begin_node, inputs, output, attributes, end. */
static size_t begin_node(writer *w, const char *op)
{
    const size_t n = begin(w, 1);
    put_text(w, 4, op);
    return n;
}

static void in_value(writer *w, int32_t v)
{
    char name[VALUE_NAME];
    put_text(w, 1, value_name(w, v, name));
}

static void out_value(writer *w, int32_t v)
{
    char name[VALUE_NAME];
    put_text(w, 2, value_name(w, v, name));
}

static void attribute_ints(writer *w, const char *name, int n, const int64_t *v)
{
    const size_t a = begin(w, 5);
    put_text(w, 1, name);
    for (int i = 0; i < n; i++) put_int(w, 8, v[i]);
    put_int(w, 20, ATTRIBUTE_INTS);
    end(w, a);
}

static void attribute_int(writer *w, const char *name, int64_t v)
{
    const size_t a = begin(w, 5);
    put_text(w, 1, name);
    put_int(w, 3, v);
    put_int(w, 20, ATTRIBUTE_INT);
    end(w, a);
}

static void attribute_float(writer *w, const char *name, double v)
{
    const size_t a = begin(w, 5);
    const float f = (float)v;
    put_text(w, 1, name);
    put_key(w, 2, WIRE_FLOAT);
    put(w, &f, sizeof f);
    put_int(w, 20, ATTRIBUTE_FLOAT);
    end(w, a);
}

/* ---- operations ---- */

static const int64_t *shape_of(const writer *w, int32_t v)
{
    return w->g->values[v].desc.shape;
}

static void plain(writer *w, const clvi_node *n, const char *op)
{
    const size_t at = begin_node(w, op);
    for (int i = 0; i < n->n_in; i++) in_value(w, n->in[i]);
    out_value(w, n->out[0]);
    end(w, at);
}

static void relu(writer *w, const clvi_node *n) { plain(w, n, "Relu"); }
static void add(writer *w, const clvi_node *n) { plain(w, n, "Add"); }

static void pads(writer *w, const int64_t pad[2])
{
    attribute_ints(w, "pads", 4, (int64_t[]) { pad[0], pad[1], pad[0], pad[1] });
}

static void conv2d(writer *w, const clvi_node *n)
{
    const clvi_conv2d_attr *a = n->attr;
    const size_t at = begin_node(w, "Conv");
    in_value(w, n->in[0]);
    in_value(w, n->in[1]);
    out_value(w, n->out[0]);
    attribute_ints(w, "strides", 2, a->stride);
    pads(w, a->pad);
    attribute_int(w, "group", shape_of(w, n->in[0])[1] / shape_of(w, n->in[1])[1]);
    end(w, at);
}

static void pool(writer *w, const clvi_node *n, const char *op)
{
    const clvi_pool2d_attr *a = n->attr;
    const size_t at = begin_node(w, op);
    in_value(w, n->in[0]);
    out_value(w, n->out[0]);
    attribute_ints(w, "kernel_shape", 2, a->kernel);
    attribute_ints(w, "strides", 2, a->stride);
    pads(w, a->pad);
    end(w, at);
}

static void max_pool2d(writer *w, const clvi_node *n) { pool(w, n, "MaxPool"); }

static void avg_pool2d(writer *w, const clvi_node *n)
{
    const clvi_pool2d_attr *a = n->attr;
    const int64_t *x = shape_of(w, n->in[0]);
    if (a->kernel[0] == x[2] && a->kernel[1] == x[3] && !a->pad[0] && !a->pad[1]) plain(w, n, "GlobalAveragePool");
    else pool(w, n, "AveragePool");
}

/* Scale and shift that are not there are constants in ONNX. */
static void batch_norm(writer *w, const clvi_node *n)
{
    const clvi_batch_norm_attr *a = n->attr;
    char name[2][VALUE_NAME];
    const int64_t channels = shape_of(w, n->in[0])[1];
    for (int i = 0; i < 2; i++) {
        if (n->in[1 + i] >= 0) {
            value_name(w, n->in[1 + i], name[i]);
            continue;
        }
        float *values = clvi_calloc(w->ctx, (size_t)channels, sizeof *values);
        w->failed = w->failed || !values;
        if (!values) return;
        for (int64_t c = 0; c < channels; c++) values[c] = i == 0 ? 1.0f : 0.0f;
        constant(w, TYPE_FLOAT, channels, values, name[i]);
        clvi_free(w->ctx, values);
    }
    const size_t at = begin_node(w, "BatchNormalization");
    in_value(w, n->in[0]);
    put_text(w, 1, name[0]);
    put_text(w, 1, name[1]);
    in_value(w, n->in[3]);
    in_value(w, n->in[4]);
    out_value(w, n->out[0]);
    attribute_float(w, "epsilon", a->eps);
    end(w, at);
}

/* The first dimension grows with the batch, whatever else is in it. */
static void reshape(writer *w, const clvi_node *n)
{
    const clvi_shape_attr *a = n->attr;
    char name[VALUE_NAME];
    int64_t shape[CLV_MAX_DIMS];
    memcpy(shape, a->shape, sizeof shape);
    shape[0] = -1;
    constant(w, TYPE_INT64, a->ndim, shape, name);
    const size_t at = begin_node(w, "Reshape");
    in_value(w, n->in[0]);
    put_text(w, 1, name);
    out_value(w, n->out[0]);
    end(w, at);
}

static void matmul(writer *w, const clvi_node *n)
{
    const clvi_matmul_attr *a = n->attr;
    const size_t at = begin_node(w, "Gemm");
    in_value(w, n->in[0]);
    in_value(w, n->in[1]);
    out_value(w, n->out[0]);
    attribute_int(w, "transA", a->trans_a);
    attribute_int(w, "transB", a->trans_b);
    end(w, at);
}

static const struct {
    const char *op;
    void (*write)(writer *w, const clvi_node *n);
} operations[] = {
    { "conv2d", conv2d }, { "batch_norm", batch_norm }, { "relu", relu }, { "add", add }, { "max_pool2d", max_pool2d },
    { "avg_pool2d", avg_pool2d }, { "reshape", reshape }, { "matmul", matmul }, { "add_row", add },
};

/* ---- the model ---- */

/* Marks what `out` needs, from the back: a node comes after what it reads. */
static void mark(writer *w)
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

static clv_status write_nodes(writer *w)
{
    for (int32_t i = 0; i < w->g->n_nodes; i++) {
        const clvi_node *n = &w->g->nodes[i];
        size_t k = 0;
        if (!w->needed[n->out[0]]) continue;
        while (k < CLVI_COUNT(operations) && strcmp(operations[k].op, n->cls->name) != 0) k++;
        CLV_CHECK(k < CLVI_COUNT(operations), CLV_ERR_UNSUPPORTED, "the operation %s is not exported to ONNX",
                  n->cls->name);
        operations[k].write(w, n);
    }
    return CLV_OK;
}

static clv_status write_parameters(writer *w)
{
    for (int32_t v = 0; v < w->g->n_values; v++) {
        const clvi_value *value = &w->g->values[v];
        char name[VALUE_NAME];
        if (value->kind != CLVI_VALUE_PARAM || !w->needed[v]) continue;
        clv_view view = clv_view_dense(NULL, CLV_F32, value->desc.ndim, value->desc.shape);
        const size_t count = (size_t)clv_view_count(&view);
        view.data = clvi_calloc(w->ctx, count, sizeof(float));
        if (!view.data) return CLV_ERR_NOMEM;
        const clv_status st = clv_params_read(w->g->params, value->param, CLV_PARAM_VALUE, &view);
        if (st == CLV_OK)
            tensor(w, value_name(w, v, name), TYPE_FLOAT, view.ndim, view.shape, view.data, count * sizeof(float));
        clvi_free(w->ctx, view.data);
        CLV_TRY(st);
    }
    return CLV_OK;
}

/* ValueInfoProto: the first dimension is "batch". */
static void declare(writer *w, int field, int32_t v)
{
    char name[VALUE_NAME];
    const clvi_desc *desc = &w->g->values[v].desc;
    const size_t info = begin(w, field);
    put_text(w, 1, value_name(w, v, name));
    const size_t type = begin(w, 2), of_tensor = begin(w, 1);
    put_int(w, 1, TYPE_FLOAT);
    const size_t shape = begin(w, 2);
    for (int d = 0; d < desc->ndim; d++) {
        const size_t dim = begin(w, 1);
        if (d == 0) put_text(w, 2, "batch");
        else put_int(w, 1, desc->shape[d]);
        end(w, dim);
    }
    end(w, shape);
    end(w, of_tensor);
    end(w, type);
    end(w, info);
}

static clv_status write_model(writer *w, int32_t images)
{
    put_int(w, 1, IR_VERSION);
    put_text(w, 2, "cleave");
    put_text(w, 3, clv_version());
    const size_t graph = begin(w, 7);
    CLV_TRY(write_nodes(w));
    put_text(w, 2, "encoder");
    CLV_TRY(write_parameters(w));
    declare(w, 11, images);
    declare(w, 12, w->out);
    end(w, graph);
    const size_t opset = begin(w, 8);
    put_text(w, 1, "");
    put_int(w, 2, OPSET);
    end(w, opset);
    CLV_CHECK(!w->failed, CLV_ERR_NOMEM, "the ONNX model needs more memory than there is, or than the format allows");
    return CLV_OK;
}

clv_status clvi_onnx_write(const clv_graph *g, clv_node images, clv_node out, const char *name, const char *path)
{
    writer w = { .ctx = g->ctx, .g = g, .out_name = name, .out = clvi_graph_peek(g, out) };
    const int32_t input = clvi_graph_peek(g, images);
    CLV_CHECK(w.out >= 0 && input >= 0 && !g->finished && !g->training, CLV_ERR_INTERNAL,
              "onnx: not a graph that can be written");
    w.needed = clvi_calloc(w.ctx, (size_t)g->n_values, sizeof *w.needed);
    if (!w.needed) return CLV_ERR_NOMEM;
    mark(&w);
    clv_status st = write_model(&w, input);
    if (st == CLV_OK) st = clvi_file_write(path, w.bytes, w.size);
    clvi_free(w.ctx, w.bytes);
    clvi_free(w.ctx, w.needed);
    return st;
}
