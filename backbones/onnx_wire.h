/* onnx_wire.h: an ONNX model on its way into memory: its parts (onnx_wire.c) and the operations (onnx_ops.c). Numbers
 * of fields are those of onnx.proto. */
#ifndef CLVI_BACKBONES_ONNX_WIRE_H
#define CLVI_BACKBONES_ONNX_WIRE_H

#include "tensor/graph.h"

enum { CLVI_ONNX_FLOAT = 1, CLVI_ONNX_INT64 = 7 };           /* TensorProto.DataType */
#define CLVI_ONNX_NAME 256                                   /* room for a value's name */

typedef struct clvi_onnx {
    clv_context     *ctx;
    const clv_graph *g;
    const char      *out_name;
    int32_t          out;           /* value of that name */
    int32_t          images;
    uint8_t         *bytes;
    size_t           size, room;
    bool            *needed;        /* of each value */
    bool             failed;        /* memory ran out: what follows does nothing */
    int              constants, temporaries;    /* made so far */
} clvi_onnx;

/* Fields, and messages in messages: begin returns what end wants. */
void clvi_onnx_int(clvi_onnx *w, int field, int64_t v);
void clvi_onnx_bytes(clvi_onnx *w, int field, const void *bytes, size_t n);
void clvi_onnx_text(clvi_onnx *w, int field, const char *text);
size_t clvi_onnx_begin(clvi_onnx *w, int field);
void clvi_onnx_end(clvi_onnx *w, size_t from);

/* Name of a value of the graph, into `text`; returns it. */
const char *clvi_onnx_name(const clvi_onnx *w, int32_t v, char text[CLVI_ONNX_NAME]);
/* An initializer, and one of one dimension with a name of its own, which goes to `name`. */
void clvi_onnx_tensor(clvi_onnx *w, const char *name, int type, int ndim, const int64_t *shape, const void *data,
                      size_t size);
void clvi_onnx_constant(clvi_onnx *w, int type, int64_t count, const void *data, char name[CLVI_ONNX_NAME]);

/* A node: begun here, then its inputs and outputs, then attributes, then clvi_onnx_end. */
size_t clvi_onnx_node(clvi_onnx *w, const char *op);
void clvi_onnx_in(clvi_onnx *w, int32_t v);
void clvi_onnx_out(clvi_onnx *w, int32_t v);
void clvi_onnx_ints_attr(clvi_onnx *w, const char *name, int n, const int64_t *v);
void clvi_onnx_int_attr(clvi_onnx *w, const char *name, int64_t v);
void clvi_onnx_float_attr(clvi_onnx *w, const char *name, double v);

/* One operation of the graph. CLV_ERR_UNSUPPORTED when it has no counterpart. */
clv_status clvi_onnx_operation(clvi_onnx *w, const clvi_node *n) CLV_NODISCARD;

#endif
