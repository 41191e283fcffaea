/* graph.c: building a graph: values, nodes, and the first error. */
#include "tensor/graph.h"
#include "core/checked.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* A handle is tag << VALUE_BITS | value. Tags count graphs and start at 1, so a handle of zeros is of no graph. */
#define VALUE_BITS 20
#define MAX_VALUES (1 << VALUE_BITS)
#define TAGS       2047

static int32_t next_tag(void)
{
    static atomic_uint made;
    return (int32_t)(atomic_fetch_add_explicit(&made, 1, memory_order_relaxed) % TAGS) + 1;
}

static clv_status import_desc(const clv_context *ctx, clv_graph_desc *dst, const clv_graph_desc *src)
{
    CLV_CHECK(src->struct_size == sizeof *dst, CLV_ERR_INVALID,
              "clv_graph_create: struct_size is %zu, this library's is %zu; start from CLV_GRAPH_DESC_INIT",
              src->struct_size, sizeof *dst);
    *dst = *src;
    CLV_CHECK(dst->dtype == CLV_F32 || dst->dtype == CLV_F64, CLV_ERR_INVALID,
              "clv_graph_create: dtype must be float32 or float64, is %s", clv_dtype_name(dst->dtype));
    if (dst->precision == CLV_PRECISION_AUTO && dst->dtype != CLV_F32) dst->precision = CLV_PRECISION_FULL;
    /* Plain C computes bfloat16 anywhere. */
    if (!dst->reference || dst->precision != CLV_PRECISION_BF16)
        CLV_TRY(clvi_precision_settle(ctx, dst->precision, &dst->precision));
    CLV_CHECK(dst->precision == CLV_PRECISION_FULL || dst->dtype == CLV_F32, CLV_ERR_INVALID,
              "clv_graph_create: precision %s narrows a float32 graph, this one is %s",
              dst->precision == CLV_PRECISION_TF32 ? "tf32" : "bf16", clv_dtype_name(dst->dtype));
    CLV_CHECK(!dst->params || clvi_params_dtype(dst->params) == dst->dtype, CLV_ERR_INVALID,
              "clv_graph_create: the graph computes in %s, but its parameters are %s", clv_dtype_name(dst->dtype),
              clv_dtype_name(clvi_params_dtype(dst->params)));
    return CLV_OK;
}

clv_status clv_graph_create(clv_context *ctx, const clv_graph_desc *desc, clv_graph **out)
{
    CLV_CHECK(ctx && desc && out, CLV_ERR_INVALID, "clv_graph_create: an argument is NULL");
    *out = NULL;
    clv_graph_desc d;
    CLV_TRY(import_desc(ctx, &d, desc));
    clv_graph *g = clvi_calloc(ctx, 1, sizeof *g);
    if (!g) return CLV_ERR_NOMEM;
    g->ctx = ctx;
    g->dtype = d.dtype;
    g->precision = d.precision;
    g->training = d.training;
    g->reference = d.reference;
    g->recompute = d.recompute;
    g->tag = next_tag();
    g->params = d.params;
    if (!g->params) {
        g->own_params = true;
        const clv_status st = clv_params_create(ctx, d.dtype, &g->params);
        if (st != CLV_OK) {
            clv_graph_destroy(g);
            return st;
        }
    }
    *out = g;
    return CLV_OK;
}

void clv_graph_destroy(clv_graph *g)
{
    if (!g) return;
    for (int32_t i = 0; i < g->n_steps; i++)
        if (g->steps[i].kernel->release) g->steps[i].kernel->release(&g->steps[i].call);
    for (int32_t i = 0; i < g->n_nodes; i++) clvi_free(g->ctx, g->nodes[i].attr);
    for (int32_t i = 0; i < g->n_values; i++) clvi_free(g->ctx, g->values[i].name);
    clvi_free(g->ctx, g->steps);
    clvi_free(g->ctx, g->nodes);
    clvi_free(g->ctx, g->values);
    clvi_free(g->ctx, g->grad);
    clvi_free(g->ctx, g->gradients);
    clvi_graph_release_memory(g);
    clvi_free(g->ctx, g->storages);
    if (g->own_params) clv_params_destroy(g->params);
    clvi_free(g->ctx, g);
}

/* ---- errors ---- */

void clvi_graph_fail(clv_graph *g, clv_status status, const char *fmt, ...)
{
    if (g->status != CLV_OK) return;
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(g->message, sizeof g->message, fmt, args) < 0) g->message[0] = 0;
    va_end(args);
    g->status = status;
}

clv_status clvi_graph_status(const clv_graph *g)
{
    return g->status == CLV_OK ? CLV_OK : clvi_fail(g->status, "%s", g->message);
}

/* Keeps an error this thread has just seen. */
static void fail_with_last(clv_graph *g, clv_status status)
{
    clvi_graph_fail(g, status, "%s", clv_error_message());
}

bool clvi_graph_grow(clv_graph *g, void **items, int32_t count, int32_t *capacity, size_t size)
{
    if (count < *capacity) return true;
    const int32_t wanted = *capacity ? 2 * *capacity : 16;
    void *grown = clvi_realloc(g->ctx, *items, (size_t)wanted * size);
    if (!grown) {
        fail_with_last(g, CLV_ERR_NOMEM);
        return false;
    }
    *items = grown;
    *capacity = wanted;
    return true;
}

/* ---- handles and values ---- */

clv_node clvi_graph_handle(const clv_graph *g, int32_t value)
{
    return (clv_node) { g->tag << VALUE_BITS | value };
}

int32_t clvi_graph_peek(const clv_graph *g, clv_node x)
{
    const int32_t value = x.id & (MAX_VALUES - 1);
    return x.id > 0 && x.id >> VALUE_BITS == g->tag && value < g->n_values ? value : -1;
}

int32_t clvi_graph_value(clv_graph *g, clv_node x, const char *what)
{
    if (g->status != CLV_OK) return -1;
    const int32_t value = clvi_graph_peek(g, x);
    if (value < 0) {
        clvi_graph_fail(g, CLV_ERR_INVALID, x.id == CLV_NONE.id ? "%s: a value is missing (CLV_NONE)" :
                        "%s: a value is not of this graph", what);
        return -1;
    }
    if (g->values[value].fused) {
        clvi_graph_fail(g, CLV_ERR_INVALID, "%s: the value was fused into the relu after it; keep it with "
                        "clv_graph_output before clv_graph_backward", what);
        return -1;
    }
    return value;
}

int32_t clvi_graph_add_value(clv_graph *g, const clvi_desc *desc)
{
    if (g->n_values == MAX_VALUES) {
        clvi_graph_fail(g, CLV_ERR_UNSUPPORTED, "a graph holds at most %d values", MAX_VALUES);
        return -1;
    }
    if (!clvi_graph_grow(g, (void **)&g->values, g->n_values, &g->cap_values, sizeof *g->values)) return -1;
    clvi_value *v = &g->values[g->n_values];
    memset(v, 0, sizeof *v);
    v->desc = *desc;
    v->node = v->alias = v->conversion = v->storage = -1;
    v->param = -1;
    return g->n_values++;
}

/* Number of dimensions and every length in range, and the size of the value does not overflow. */
static clv_status check_shape(const char *what, int ndim, const int64_t *shape, int64_t least)
{
    CLV_CHECK(ndim >= 0 && ndim <= CLV_MAX_DIMS && (shape || ndim == 0), CLV_ERR_SHAPE,
              "%s: %d dimensions, want 0 to %d", what, ndim, CLV_MAX_DIMS);
    int64_t bytes = 8;
    for (int i = 0; i < ndim; i++)
        CLV_CHECK(shape[i] >= least && clvi_mul_i64(bytes, shape[i], &bytes), CLV_ERR_SHAPE,
                  "%s: dimension %d is %" PRId64 ", want at least %" PRId64 " and a size that fits memory", what, i,
                  shape[i], least);
    return CLV_OK;
}

/* Features may be empty (no batch, no bank); images may not. */
static int64_t least_length(int ndim)
{
    return ndim == 4 ? 1 : 0;
}

static bool may_build(clv_graph *g, const char *what)
{
    if (g->finished) clvi_graph_fail(g, CLV_ERR_INVALID, "%s: the graph is finished; nothing can be added", what);
    return g->status == CLV_OK;
}

static clv_node add_input(clv_graph *g, const char *name, const clvi_desc *desc)
{
    for (int32_t i = 0; i < g->n_values; i++) {
        if (g->values[i].kind != CLVI_VALUE_INPUT || strcmp(g->values[i].name, name) != 0) continue;
        clvi_graph_fail(g, CLV_ERR_INVALID, "clv_input: there is an input '%s' already", name);
        return CLV_NONE;
    }
    char *copy = clvi_strdup(g->ctx, name);
    const int32_t value = copy ? clvi_graph_add_value(g, desc) : -1;
    if (value < 0) {
        fail_with_last(g, CLV_ERR_NOMEM);
        clvi_free(g->ctx, copy);
        return CLV_NONE;
    }
    g->values[value].kind = CLVI_VALUE_INPUT;
    g->values[value].name = copy;
    return clvi_graph_handle(g, value);
}

static bool input_desc(clv_graph *g, const char *name, clv_dtype dtype, int ndim, const int64_t *shape, clvi_desc *desc)
{
    if (!may_build(g, "clv_input")) return false;
    if (!name || !name[0]) {
        clvi_graph_fail(g, CLV_ERR_INVALID, "clv_input: an input needs a name");
        return false;
    }
    const clv_status st = check_shape("clv_input", ndim, shape, least_length(ndim));
    if (st != CLV_OK) {
        clvi_graph_fail(g, st, "%s ('%s')", clv_error_message(), name);
        return false;
    }
    const bool is_float = dtype == CLV_F32 || dtype == CLV_F64;
    if ((unsigned)dtype >= CLV_DTYPE_COUNT || (is_float && dtype != g->dtype)) {
        clvi_graph_fail(g, CLV_ERR_SHAPE, "clv_input: '%s' is %s, but the graph computes in %s", name,
                        clv_dtype_name(dtype), clv_dtype_name(g->dtype));
        return false;
    }
    *desc = (clvi_desc) { .dtype = dtype, .ndim = ndim };
    for (int i = 0; i < ndim; i++) desc->shape[i] = shape[i];
    return true;
}

clv_node clv_input(clv_graph *g, const char *name, clv_dtype dtype, int ndim, const int64_t *shape)
{
    clvi_desc desc;
    if (!input_desc(g, name, dtype, ndim, shape, &desc)) return CLV_NONE;
    clvi_desc_make_dense(&desc);
    return add_input(g, name, &desc);
}

clv_node clv_input_image(clv_graph *g, const char *name, int64_t n, int64_t c, int64_t h, int64_t w)
{
    clvi_desc desc;
    if (!input_desc(g, name, g->dtype, 4, (int64_t[]) { n, c, h, w }, &desc)) return CLV_NONE;
    clvi_desc_make_nhwc(&desc);
    return add_input(g, name, &desc);
}

/* The value of parameter `index` in this graph, made when it is first asked for. */
static int32_t param_value(clv_graph *g, int64_t index)
{
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].param == index) return i;
    const int32_t value = clvi_graph_add_value(g, &clvi_params_at(g->params, index)->desc);
    if (value < 0) return -1;
    g->values[value].kind = CLVI_VALUE_PARAM;
    g->values[value].param = index;
    return value;
}

clv_node clv_parameter(clv_graph *g, const char *name, clv_param_kind kind, int ndim, const int64_t *shape,
                       clv_init init)
{
    if (!may_build(g, "clv_parameter")) return CLV_NONE;
    int64_t index = -1;
    clv_status st = check_shape("clv_parameter", ndim, shape, 1);
    if (st == CLV_OK) st = clvi_params_add(g->params, name, kind, ndim, shape, init, &index);
    if (st != CLV_OK) {
        fail_with_last(g, st);
        return CLV_NONE;
    }
    const int32_t value = param_value(g, index);
    return value < 0 ? CLV_NONE : clvi_graph_handle(g, value);
}

bool clv_graph_training(const clv_graph *g)
{
    return g->training;
}

clv_params *clv_graph_params(clv_graph *g)
{
    return g->params;
}

int clv_node_shape(const clv_graph *g, clv_node x, int64_t shape[CLV_MAX_DIMS])
{
    memset(shape, 0, CLV_MAX_DIMS * sizeof shape[0]);
    const int32_t value = clvi_graph_peek(g, x);
    if (g->status != CLV_OK || value < 0) return -1;
    const clvi_desc *desc = &g->values[value].desc;
    for (int i = 0; i < desc->ndim; i++) shape[i] = desc->shape[i];
    return desc->ndim;
}

clv_dtype clv_node_dtype(const clv_graph *g, clv_node x)
{
    const int32_t value = clvi_graph_peek(g, x);
    return value < 0 ? CLV_DTYPE_COUNT : g->values[value].desc.dtype;
}

void clv_graph_output(clv_graph *g, clv_node x)
{
    if (!may_build(g, "clv_graph_output")) return;
    const int32_t value = clvi_graph_value(g, x, "clv_graph_output");
    if (value >= 0) g->values[value].keep = true;
}

/* ---- nodes ---- */

/* Fills call->in from the handles; false with the error set. */
static bool gather_inputs(clv_graph *g, const clvi_op_class *cls, const clv_node *in, int n_in, clvi_op_call *call,
                          clvi_node *node)
{
    if (n_in > CLVI_MAX_IN || (cls->n_in >= 0 && n_in != cls->n_in)) {
        clvi_graph_fail(g, CLV_ERR_INVALID, "%s: %d inputs, want %d", cls->name, n_in,
                        cls->n_in >= 0 ? cls->n_in : CLVI_MAX_IN);
        return false;
    }
    node->n_in = call->n_in = n_in;
    for (int i = 0; i < n_in; i++) {
        node->in[i] = -1;
        call->in[i].dtype = CLV_DTYPE_COUNT;
        if (clvi_node_none(in[i]) && (cls->optional >> i & 1)) continue;
        node->in[i] = clvi_graph_value(g, in[i], cls->name);
        if (node->in[i] < 0) return false;
        call->in[i] = g->values[node->in[i]].desc;
    }
    return true;
}

/* Makes a value for every output the shape rule described. */
static bool add_outputs(clv_graph *g, const clvi_op_class *cls, clvi_op_call *call, clvi_node *node)
{
    node->n_out = call->n_out;
    for (int i = 0; i < call->n_out; i++) {
        clvi_desc *desc = &call->out[i];
        const clv_status st = check_shape(cls->name, desc->ndim, desc->shape, least_length(desc->ndim));
        if (st != CLV_OK) {
            fail_with_last(g, st);
            return false;
        }
        clvi_desc_make_dense(desc);
        node->out[i] = clvi_graph_add_value(g, desc);
        if (node->out[i] < 0) return false;
        g->values[node->out[i]].node = g->n_nodes;
    }
    return true;
}

static bool add_node(clv_graph *g, const clvi_op_class *cls, const void *attr, const clv_node *in, int n_in)
{
    clvi_op_call call = { .ctx = g->ctx, .op = cls->name, .attr = attr };
    clvi_node node = { .cls = cls };
    if (!gather_inputs(g, cls, in, n_in, &call, &node)) return false;
    const clv_status st = cls->infer(&call);
    if (st != CLV_OK) {
        fail_with_last(g, st);
        return false;
    }
    if (!add_outputs(g, cls, &call, &node)) return false;
    if (!clvi_graph_grow(g, (void **)&g->nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes)) return false;
    if (cls->attr_size) {
        node.attr = clvi_calloc(g->ctx, 1, cls->attr_size);
        if (!node.attr) {
            fail_with_last(g, CLV_ERR_NOMEM);
            return false;
        }
        memcpy(node.attr, attr, cls->attr_size);
    }
    g->nodes[g->n_nodes++] = node;
    return true;
}

clv_node clvi_op(clv_graph *g, const char *op, const void *attr, const clv_node *in, int n_in, clv_node *out, int n_out)
{
    for (int i = 0; i < n_out; i++) out[i] = CLV_NONE;
    if (!may_build(g, op)) return CLV_NONE;
    const clvi_op_class *cls = clvi_op_class_find(op);
    if (!cls) {
        clvi_graph_fail(g, CLV_ERR_INTERNAL, "there is no operation '%s'", op);
        return CLV_NONE;
    }
    if (!add_node(g, cls, attr, in, n_in)) return CLV_NONE;
    const clvi_node *node = &g->nodes[g->n_nodes - 1];
    for (int i = 0; i < n_out && i < node->n_out; i++) out[i] = clvi_graph_handle(g, node->out[i]);
    return clvi_graph_handle(g, node->out[0]);
}
