/* onnx_wire.c: the parts of an ONNX model in protobuf's wire format (protobuf.dev, "Encoding"). A nested message is
 * written behind a length of five bytes that is filled in at its end: a varint may carry leading zeros. */
#include "backbones/onnx_wire.h"
#include "core/checked.h"

#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX INT32_MAX     /* bytes of a protobuf message */

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FLOAT = 5 };
enum { ATTRIBUTE_FLOAT = 1, ATTRIBUTE_INT = 2, ATTRIBUTE_INTS = 7 };

/* ---- protobuf ---- */

static void put(clvi_onnx *w, const void *bytes, size_t n)
{
    if (w->failed || n > MESSAGE_MAX - w->size) {
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

static void put_varint(clvi_onnx *w, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) put(w, &(uint8_t) { (uint8_t)(v | 0x80) }, 1);
    put(w, &(uint8_t) { (uint8_t)v }, 1);
}

static void put_key(clvi_onnx *w, int field, int wire)
{
    put_varint(w, (uint64_t)field << 3 | (unsigned)wire);
}

void clvi_onnx_int(clvi_onnx *w, int field, int64_t v)
{
    put_key(w, field, WIRE_VARINT);
    put_varint(w, (uint64_t)v);
}

void clvi_onnx_bytes(clvi_onnx *w, int field, const void *bytes, size_t n)
{
    put_key(w, field, WIRE_BYTES);
    put_varint(w, n);
    put(w, bytes, n);
}

void clvi_onnx_text(clvi_onnx *w, int field, const char *text)
{
    clvi_onnx_bytes(w, field, text, strlen(text));
}

size_t clvi_onnx_begin(clvi_onnx *w, int field)
{
    put_key(w, field, WIRE_BYTES);
    put(w, "\0\0\0\0\0", 5);
    return w->size;
}

void clvi_onnx_end(clvi_onnx *w, size_t from)
{
    if (w->failed) return;
    size_t n = w->size - from;
    for (int i = 0; i < 5; i++, n >>= 7) w->bytes[from - 5 + (size_t)i] = (uint8_t)((n & 0x7f) | (i < 4 ? 0x80 : 0));
}

/* ---- parts of a model: numbers are the fields of onnx.proto ---- */

const char *clvi_onnx_name(const clvi_onnx *w, int32_t v, char text[CLVI_ONNX_NAME])
{
    const clvi_value *value = &w->g->values[v];
    if (v == w->out) snprintf(text, CLVI_ONNX_NAME, "%s", w->out_name);
    else if (value->kind == CLVI_VALUE_PARAM)
        snprintf(text, CLVI_ONNX_NAME, "%s", clvi_params_at(w->g->params, value->param)->name);
    else if (value->kind == CLVI_VALUE_INPUT) snprintf(text, CLVI_ONNX_NAME, "%s", value->name);
    else snprintf(text, CLVI_ONNX_NAME, "value%d", v);
    return text;
}

void clvi_onnx_tensor(clvi_onnx *w, const char *name, int type, int ndim, const int64_t *shape, const void *data,
                      size_t size)
{
    const size_t t = clvi_onnx_begin(w, 5);                            /* GraphProto.initializer */
    for (int d = 0; d < ndim; d++) clvi_onnx_int(w, 1, shape[d]);
    clvi_onnx_int(w, 2, type);
    clvi_onnx_text(w, 8, name);
    clvi_onnx_bytes(w, 9, data, size);
    clvi_onnx_end(w, t);
}

/* A constant; its name goes to `name`. */
void clvi_onnx_constant(clvi_onnx *w, int type, int64_t count, const void *data, char name[CLVI_ONNX_NAME])
{
    snprintf(name, CLVI_ONNX_NAME, "constant%d", w->constants++);
    clvi_onnx_tensor(w, name, type, 1, &count, data, (size_t)count * (type == CLVI_ONNX_FLOAT ? 4 : 8));
}

/* A node: begin_node, inputs, output, attributes, end. */
size_t clvi_onnx_node(clvi_onnx *w, const char *op)
{
    const size_t n = clvi_onnx_begin(w, 1);
    clvi_onnx_text(w, 4, op);
    return n;
}

void clvi_onnx_in(clvi_onnx *w, int32_t v)
{
    char name[CLVI_ONNX_NAME];
    clvi_onnx_text(w, 1, clvi_onnx_name(w, v, name));
}

void clvi_onnx_out(clvi_onnx *w, int32_t v)
{
    char name[CLVI_ONNX_NAME];
    clvi_onnx_text(w, 2, clvi_onnx_name(w, v, name));
}

void clvi_onnx_ints_attr(clvi_onnx *w, const char *name, int n, const int64_t *v)
{
    const size_t a = clvi_onnx_begin(w, 5);
    clvi_onnx_text(w, 1, name);
    for (int i = 0; i < n; i++) clvi_onnx_int(w, 8, v[i]);
    clvi_onnx_int(w, 20, ATTRIBUTE_INTS);
    clvi_onnx_end(w, a);
}

void clvi_onnx_int_attr(clvi_onnx *w, const char *name, int64_t v)
{
    const size_t a = clvi_onnx_begin(w, 5);
    clvi_onnx_text(w, 1, name);
    clvi_onnx_int(w, 3, v);
    clvi_onnx_int(w, 20, ATTRIBUTE_INT);
    clvi_onnx_end(w, a);
}

void clvi_onnx_float_attr(clvi_onnx *w, const char *name, double v)
{
    const size_t a = clvi_onnx_begin(w, 5);
    const float f = (float)v;
    clvi_onnx_text(w, 1, name);
    put_key(w, 2, WIRE_FLOAT);
    put(w, &f, sizeof f);
    clvi_onnx_int(w, 20, ATTRIBUTE_FLOAT);
    clvi_onnx_end(w, a);
}
