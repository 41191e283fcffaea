/* onnx_ops.c: the graph's operations as ONNX's: github.com/onnx/onnx, docs/Operators.md. */
#include "backbones/onnx_wire.h"
#include "core/checked.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- operations that are one of ONNX's ---- */

static const int64_t *shape_of(const clvi_onnx *w, int32_t v)
{
    return w->g->values[v].desc.shape;
}

static void plain(clvi_onnx *w, const clvi_node *n, const char *op)
{
    const size_t at = clvi_onnx_node(w, op);
    for (int i = 0; i < n->n_in; i++) clvi_onnx_in(w, n->in[i]);
    clvi_onnx_out(w, n->out[0]);
    clvi_onnx_end(w, at);
}

static void relu(clvi_onnx *w, const clvi_node *n) { plain(w, n, "Relu"); }
static void add(clvi_onnx *w, const clvi_node *n) { plain(w, n, "Add"); }

static void pads(clvi_onnx *w, const int64_t pad[2])
{
    clvi_onnx_ints_attr(w, "pads", 4, (int64_t[]) { pad[0], pad[1], pad[0], pad[1] });
}

static void conv2d(clvi_onnx *w, const clvi_node *n)
{
    const clvi_conv2d_attr *a = n->attr;
    const size_t at = clvi_onnx_node(w, "Conv");
    clvi_onnx_in(w, n->in[0]);
    clvi_onnx_in(w, n->in[1]);
    clvi_onnx_out(w, n->out[0]);
    clvi_onnx_ints_attr(w, "strides", 2, a->stride);
    pads(w, a->pad);
    clvi_onnx_int_attr(w, "group", shape_of(w, n->in[0])[1] / shape_of(w, n->in[1])[1]);
    clvi_onnx_end(w, at);
}

static void pool(clvi_onnx *w, const clvi_node *n, const char *op)
{
    const clvi_pool2d_attr *a = n->attr;
    const size_t at = clvi_onnx_node(w, op);
    clvi_onnx_in(w, n->in[0]);
    clvi_onnx_out(w, n->out[0]);
    clvi_onnx_ints_attr(w, "kernel_shape", 2, a->kernel);
    clvi_onnx_ints_attr(w, "strides", 2, a->stride);
    pads(w, a->pad);
    clvi_onnx_end(w, at);
}

static void max_pool2d(clvi_onnx *w, const clvi_node *n) { pool(w, n, "MaxPool"); }

static void avg_pool2d(clvi_onnx *w, const clvi_node *n)
{
    const clvi_pool2d_attr *a = n->attr;
    const int64_t *x = shape_of(w, n->in[0]);
    if (a->kernel[0] == x[2] && a->kernel[1] == x[3] && !a->pad[0] && !a->pad[1]) plain(w, n, "GlobalAveragePool");
    else pool(w, n, "AveragePool");
}

/* Scale and shift that are not there are constants in ONNX. */
static void batch_norm(clvi_onnx *w, const clvi_node *n)
{
    const clvi_batch_norm_attr *a = n->attr;
    char name[2][CLVI_ONNX_NAME];
    const int64_t channels = shape_of(w, n->in[0])[1];
    for (int i = 0; i < 2; i++) {
        if (n->in[1 + i] >= 0) {
            clvi_onnx_name(w, n->in[1 + i], name[i]);
            continue;
        }
        float *values = clvi_calloc(w->ctx, (size_t)channels, sizeof *values);
        w->failed = w->failed || !values;
        if (!values) return;
        for (int64_t c = 0; c < channels; c++) values[c] = i == 0 ? 1.0f : 0.0f;
        clvi_onnx_constant(w, CLVI_ONNX_FLOAT, channels, values, name[i]);
        clvi_free(w->ctx, values);
    }
    const size_t at = clvi_onnx_node(w, "BatchNormalization");
    clvi_onnx_in(w, n->in[0]);
    clvi_onnx_text(w, 1, name[0]);
    clvi_onnx_text(w, 1, name[1]);
    clvi_onnx_in(w, n->in[3]);
    clvi_onnx_in(w, n->in[4]);
    clvi_onnx_out(w, n->out[0]);
    clvi_onnx_float_attr(w, "epsilon", a->eps);
    clvi_onnx_end(w, at);
}

/* The first dimension grows with the batch, whatever else is in it. */
static void reshape(clvi_onnx *w, const clvi_node *n)
{
    const clvi_shape_attr *a = n->attr;
    char name[CLVI_ONNX_NAME];
    int64_t shape[CLV_MAX_DIMS];
    memcpy(shape, a->shape, sizeof shape);
    shape[0] = -1;
    clvi_onnx_constant(w, CLVI_ONNX_INT64, a->ndim, shape, name);
    const size_t at = clvi_onnx_node(w, "Reshape");
    clvi_onnx_in(w, n->in[0]);
    clvi_onnx_text(w, 1, name);
    clvi_onnx_out(w, n->out[0]);
    clvi_onnx_end(w, at);
}

static void matmul(clvi_onnx *w, const clvi_node *n)
{
    const clvi_matmul_attr *a = n->attr;
    const size_t at = clvi_onnx_node(w, "Gemm");
    clvi_onnx_in(w, n->in[0]);
    clvi_onnx_in(w, n->in[1]);
    clvi_onnx_out(w, n->out[0]);
    clvi_onnx_int_attr(w, "transA", a->trans_a);
    clvi_onnx_int_attr(w, "transB", a->trans_b);
    clvi_onnx_end(w, at);
}

/* ---- operations that are several of ONNX's: the values between have names of their own ---- */

/* A node of named inputs, ended by NULL, and one output; attributes may follow, then clvi_onnx_end. */
static size_t named(clvi_onnx *w, const char *op, const char *out, ...) __attribute__((sentinel));
static size_t named(clvi_onnx *w, const char *op, const char *out, ...)
{
    const size_t at = clvi_onnx_node(w, op);
    va_list inputs;
    va_start(inputs, out);
    for (const char *name; (name = va_arg(inputs, const char *));) clvi_onnx_text(w, 1, name);
    va_end(inputs);
    clvi_onnx_text(w, 2, out);
    return at;
}

static const char *temporary(clvi_onnx *w, char name[CLVI_ONNX_NAME])
{
    snprintf(name, CLVI_ONNX_NAME, "temporary%d", w->temporaries++);
    return name;
}

static void reshape_named(clvi_onnx *w, const char *from, const char *to, int ndim, const int64_t *shape)
{
    char name[CLVI_ONNX_NAME];
    clvi_onnx_constant(w, CLVI_ONNX_INT64, ndim, shape, name);
    clvi_onnx_end(w, named(w, "Reshape", to, from, name, NULL));
}

static void transpose_named(clvi_onnx *w, const char *from, const char *to, int ndim, const int64_t *order)
{
    const size_t at = named(w, "Transpose", to, from, NULL);
    clvi_onnx_ints_attr(w, "perm", ndim, order);
    clvi_onnx_end(w, at);
}

/* A slope a channel: [C] becomes [C,1,1]. */
static void prelu(clvi_onnx *w, const clvi_node *n)
{
    char slope[CLVI_ONNX_NAME], t[CLVI_ONNX_NAME], x[CLVI_ONNX_NAME], y[CLVI_ONNX_NAME];
    const int64_t shape[] = { shape_of(w, n->in[1])[0], 1, 1 };
    const int ndim = w->g->values[n->in[0]].desc.ndim - 1;
    reshape_named(w, clvi_onnx_name(w, n->in[1], slope), temporary(w, t), ndim, shape);
    clvi_onnx_name(w, n->in[0], x);
    clvi_onnx_end(w, named(w, "PRelu", clvi_onnx_name(w, n->out[0], y), x, t, NULL));
}

static void layer_norm(clvi_onnx *w, const clvi_node *n)
{
    const clvi_layer_norm_attr *a = n->attr;
    const size_t at = clvi_onnx_node(w, "LayerNormalization");
    for (int i = 0; i < 3; i++) clvi_onnx_in(w, n->in[i]);
    clvi_onnx_out(w, n->out[0]);
    clvi_onnx_int_attr(w, "axis", -1);
    clvi_onnx_float_attr(w, "epsilon", a->eps);
    clvi_onnx_end(w, at);
}

/* x (1 + erf(x / sqrt 2)) / 2 */
static void gelu(clvi_onnx *w, const clvi_node *n)
{
    const float numbers[] = { 0.70710678118654752f, 1.0f, 0.5f };
    char c[3][CLVI_ONNX_NAME], t[4][CLVI_ONNX_NAME], x[CLVI_ONNX_NAME], y[CLVI_ONNX_NAME];
    for (int i = 0; i < 3; i++) clvi_onnx_constant(w, CLVI_ONNX_FLOAT, 1, &numbers[i], c[i]);
    for (int i = 0; i < 4; i++) temporary(w, t[i]);
    clvi_onnx_name(w, n->in[0], x);
    clvi_onnx_end(w, named(w, "Mul", t[0], x, c[0], NULL));
    clvi_onnx_end(w, named(w, "Erf", t[1], t[0], NULL));
    clvi_onnx_end(w, named(w, "Add", t[2], t[1], c[1], NULL));
    clvi_onnx_end(w, named(w, "Mul", t[3], t[2], x, NULL));
    clvi_onnx_end(w, named(w, "Mul", clvi_onnx_name(w, n->out[0], y), t[3], c[2], NULL));
}

/* Queries, keys and values, [N,H,T,d] each, of rows [N T, 3 H d]. */
static void attention_parts(clvi_onnx *w, const clvi_node *n, int64_t size, char part[3][CLVI_ONNX_NAME])
{
    const clvi_attention_attr *a = n->attr;
    char x[CLVI_ONNX_NAME], t[2][CLVI_ONNX_NAME];
    temporary(w, t[0]);
    temporary(w, t[1]);
    reshape_named(w, clvi_onnx_name(w, n->in[0], x), t[0], 5, (int64_t[]) { -1, a->tokens, 3, a->heads, size });
    transpose_named(w, t[0], t[1], 5, (int64_t[]) { 2, 0, 3, 1, 4 });
    for (int64_t i = 0; i < 3; i++) {
        char index[CLVI_ONNX_NAME], slice[CLVI_ONNX_NAME];
        clvi_onnx_constant(w, CLVI_ONNX_INT64, 1, &i, index);
        const size_t at = named(w, "Gather", temporary(w, slice), t[1], index, NULL);
        clvi_onnx_int_attr(w, "axis", 0);
        clvi_onnx_end(w, at);
        reshape_named(w, slice, temporary(w, part[i]), 4, (int64_t[]) { -1, a->heads, a->tokens, size });
    }
}

static void attention(clvi_onnx *w, const clvi_node *n)
{
    const clvi_attention_attr *a = n->attr;
    const int64_t columns = shape_of(w, n->out[0])[1], size = columns / a->heads;
    const float scale = (float)(1.0 / sqrt((double)size));
    char part[3][CLVI_ONNX_NAME], t[6][CLVI_ONNX_NAME], factor[CLVI_ONNX_NAME], y[CLVI_ONNX_NAME];
    attention_parts(w, n, size, part);
    for (int i = 0; i < 6; i++) temporary(w, t[i]);
    clvi_onnx_constant(w, CLVI_ONNX_FLOAT, 1, &scale, factor);
    transpose_named(w, part[1], t[0], 4, (int64_t[]) { 0, 1, 3, 2 });
    clvi_onnx_end(w, named(w, "MatMul", t[1], part[0], t[0], NULL));
    clvi_onnx_end(w, named(w, "Mul", t[2], t[1], factor, NULL));
    const size_t at = named(w, "Softmax", t[3], t[2], NULL);
    clvi_onnx_int_attr(w, "axis", -1);
    clvi_onnx_end(w, at);
    clvi_onnx_end(w, named(w, "MatMul", t[4], t[3], part[2], NULL));
    transpose_named(w, t[4], t[5], 4, (int64_t[]) { 0, 2, 1, 3 });
    reshape_named(w, t[5], clvi_onnx_name(w, n->out[0], y), 2, (int64_t[]) { -1, columns });
}

static void pixel_rows(clvi_onnx *w, const clvi_node *n)
{
    char x[CLVI_ONNX_NAME], t[CLVI_ONNX_NAME], y[CLVI_ONNX_NAME];
    transpose_named(w, clvi_onnx_name(w, n->in[0], x), temporary(w, t), 4, (int64_t[]) { 0, 2, 3, 1 });
    reshape_named(w, t, clvi_onnx_name(w, n->out[0], y), 2, (int64_t[]) { -1, shape_of(w, n->out[0])[1] });
}

static void row_pixels(clvi_onnx *w, const clvi_node *n)
{
    char x[CLVI_ONNX_NAME], t[CLVI_ONNX_NAME], y[CLVI_ONNX_NAME];
    const int64_t *s = shape_of(w, n->out[0]);
    reshape_named(w, clvi_onnx_name(w, n->in[0], x), temporary(w, t), 4, (int64_t[]) { -1, s[2], s[3], s[1] });
    transpose_named(w, t, clvi_onnx_name(w, n->out[0], y), 4, (int64_t[]) { 0, 3, 1, 2 });
}

static void scale_columns(clvi_onnx *w, const clvi_node *n) { plain(w, n, "Mul"); }

static void concat(clvi_onnx *w, const clvi_node *n)
{
    const clvi_concat_attr *a = n->attr;
    const size_t at = clvi_onnx_node(w, "Concat");
    for (int i = 0; i < n->n_in; i++) clvi_onnx_in(w, n->in[i]);
    clvi_onnx_out(w, n->out[0]);
    clvi_onnx_int_attr(w, "axis", a->axis);
    clvi_onnx_end(w, at);
}

static void slice(clvi_onnx *w, const clvi_node *n)
{
    const clvi_slice_attr *a = n->attr;
    const int64_t numbers[] = { a->begin, a->begin + a->length, a->axis };
    char c[3][CLVI_ONNX_NAME], x[CLVI_ONNX_NAME], y[CLVI_ONNX_NAME];
    for (int i = 0; i < 3; i++) clvi_onnx_constant(w, CLVI_ONNX_INT64, 1, &numbers[i], c[i]);
    clvi_onnx_name(w, n->in[0], x);
    clvi_onnx_end(w, named(w, "Slice", clvi_onnx_name(w, n->out[0], y), x, c[0], c[1], c[2], NULL));
}

/* Means over an axis; sums are refused before. */
static void reduce(clvi_onnx *w, const clvi_node *n)
{
    const clvi_reduce_attr *a = n->attr;
    const int64_t axis = a->axis;
    const size_t at = clvi_onnx_node(w, "ReduceMean");
    clvi_onnx_in(w, n->in[0]);
    clvi_onnx_out(w, n->out[0]);
    clvi_onnx_ints_attr(w, "axes", 1, &axis);
    clvi_onnx_int_attr(w, "keepdims", 0);
    clvi_onnx_end(w, at);
}

/* A vector of one number. */
static void fill_vector(clvi_onnx *w, const clvi_node *n)
{
    const clvi_shape_attr *a = n->attr;
    char constant[CLVI_ONNX_NAME], y[CLVI_ONNX_NAME];
    float *values = clvi_calloc(w->ctx, (size_t)a->shape[0], sizeof *values);
    w->failed = w->failed || !values;
    if (!values) return;
    for (int64_t i = 0; i < a->shape[0]; i++) values[i] = (float)a->value;
    clvi_onnx_constant(w, CLVI_ONNX_FLOAT, a->shape[0], values, constant);
    clvi_free(w->ctx, values);
    clvi_onnx_end(w, named(w, "Identity", clvi_onnx_name(w, n->out[0], y), constant, NULL));
}

/* Rows of one number, as many as there are images. */
static void fill(clvi_onnx *w, const clvi_node *n)
{
    if (((const clvi_shape_attr *)n->attr)->ndim == 1) {
        fill_vector(w, n);
        return;
    }
    const clvi_shape_attr *a = n->attr;
    const float value = (float)a->value;
    const int64_t first = 0, last = 1, axis = 0;
    char c[5][CLVI_ONNX_NAME], t[3][CLVI_ONNX_NAME], x[CLVI_ONNX_NAME], y[CLVI_ONNX_NAME];
    clvi_onnx_constant(w, CLVI_ONNX_INT64, 1, &first, c[0]);
    clvi_onnx_constant(w, CLVI_ONNX_INT64, 1, &last, c[1]);
    clvi_onnx_constant(w, CLVI_ONNX_INT64, 1, &axis, c[2]);
    clvi_onnx_constant(w, CLVI_ONNX_INT64, a->ndim - 1, a->shape + 1, c[3]);
    clvi_onnx_constant(w, CLVI_ONNX_FLOAT, 1, &value, c[4]);
    for (int i = 0; i < 3; i++) temporary(w, t[i]);
    clvi_onnx_end(w, named(w, "Shape", t[0], clvi_onnx_name(w, w->images, x), NULL));
    clvi_onnx_end(w, named(w, "Slice", t[1], t[0], c[0], c[1], c[2], NULL));
    const size_t at = named(w, "Concat", t[2], t[1], c[3], NULL);
    clvi_onnx_int_attr(w, "axis", 0);
    clvi_onnx_end(w, at);
    clvi_onnx_end(w, named(w, "Expand", clvi_onnx_name(w, n->out[0], y), c[4], t[2], NULL));
}

static bool can_reduce(const clvi_node *n)
{
    const clvi_reduce_attr *a = n->attr;
    return a->mean && a->axis > 0;
}

/* Filled rows are those of a batch of one image. */
static bool can_fill(const clvi_node *n)
{
    const clvi_shape_attr *a = n->attr;
    return (a->ndim == 1 || (a->ndim > 1 && a->shape[0] == 1)) && a->dtype == CLV_F32;
}

static const struct {
    const char *op;
    void (*write)(clvi_onnx *w, const clvi_node *n);
    bool (*can)(const clvi_node *n);      /* NULL: always */
} operations[] = {
    { "conv2d", conv2d, NULL },         { "batch_norm", batch_norm, NULL }, { "relu", relu, NULL },
    { "add", add, NULL },               { "max_pool2d", max_pool2d, NULL }, { "avg_pool2d", avg_pool2d, NULL },
    { "reshape", reshape, NULL },       { "matmul", matmul, NULL },         { "add_row", add, NULL },
    { "layer_norm", layer_norm, NULL }, { "gelu", gelu, NULL },             { "attention", attention, NULL },
    { "pixel_rows", pixel_rows, NULL }, { "row_pixels", row_pixels, NULL }, { "scale_columns", scale_columns, NULL },
    { "concat", concat, NULL },         { "slice", slice, NULL },           { "reduce", reduce, can_reduce },
    { "fill", fill, can_fill },         { "prelu", prelu, NULL },
};

clv_status clvi_onnx_operation(clvi_onnx *w, const clvi_node *n)
{
    size_t k = 0;
    while (k < CLVI_COUNT(operations) && strcmp(operations[k].op, n->cls->name) != 0) k++;
    CLV_CHECK(k < CLVI_COUNT(operations) && (!operations[k].can || operations[k].can(n)), CLV_ERR_UNSUPPORTED,
              "the operation %s is not exported to ONNX", n->cls->name);
    operations[k].write(w, n);
    return CLV_OK;
}
