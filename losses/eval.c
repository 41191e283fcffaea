/* eval.c: a loss on the caller's own memory. A plan is a graph made for one signature (types, shapes, names asked for)
 * with staging memory for what is not dense or of another type; it is kept until a call with another signature. */
#include "losses/loss.h"
#include "core/checked.h"
#include "tensor/graph.h"
#include <stdio.h>
#include <string.h>

/* What one call looks like, apart from the addresses. Compared as bytes: always start from a zeroed one. */
typedef struct signature {
    clv_dtype dtype;                                /* of the computation */
    bool      reference;
    bool      given[CLVI_LOSS_MAX_IN], staged[CLVI_LOSS_MAX_IN], grad[CLVI_LOSS_MAX_IN], out[CLVI_LOSS_MAX_OUT];
    clv_dtype type[CLVI_LOSS_MAX_IN];               /* of the graph's input */
    int       ndim[CLVI_LOSS_MAX_IN];
    int64_t   shape[CLVI_LOSS_MAX_IN][CLV_MAX_DIMS];
} signature;

typedef struct plan {
    signature  sig;
    clv_graph *graph;
    clv_node   in[CLVI_LOSS_MAX_IN], grad[CLVI_LOSS_MAX_IN], out[CLVI_LOSS_MAX_OUT], value;
    clv_view   stage[CLVI_LOSS_MAX_IN];             /* dense, of sig.type; data NULL until memory is needed */
} plan;

struct clv_loss {
    clv_context             *ctx;
    const clvi_loss_class   *cls;
    const clvi_loss_variant *variant;
    bool                     reference;
    plan                    *plan;                  /* NULL before the first call */
    _Alignas(16) char        params[CLVI_LOSS_MAX_PARAMS];
};

/* The caller's views in table order; NULL where there is none. */
typedef struct call {
    const clv_view *in[CLVI_LOSS_MAX_IN], *grad[CLVI_LOSS_MAX_IN], *out[CLVI_LOSS_MAX_OUT];
} call;

clv_status clv_loss_create(clv_context *ctx, const char *name, const clv_option *options, int n_options, clv_loss **out)
{
    CLV_CHECK(ctx && name && out && (options || n_options == 0), CLV_ERR_INVALID,
              "clv_loss_create: an argument is NULL");
    *out = NULL;
    const clvi_loss_class *cls = NULL;
    CLV_TRY(clvi_loss_class_find(name, &cls));
    clv_loss *loss = clvi_calloc(ctx, 1, sizeof *loss);
    if (!loss) return CLV_ERR_NOMEM;
    loss->ctx = ctx;
    loss->cls = cls;
    const clv_status st = clvi_loss_parse(cls, options, n_options, loss->params);
    if (st != CLV_OK) {
        clv_loss_destroy(loss);
        return st;
    }
    loss->variant = clvi_loss_variant_of(cls, loss->params);
    *out = loss;
    return CLV_OK;
}

static void plan_destroy(clv_context *ctx, plan *p)
{
    if (!p) return;
    clv_graph_destroy(p->graph);
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++) clvi_free(ctx, p->stage[i].data);
    clvi_free(ctx, p);
}

void clv_loss_destroy(clv_loss *loss)
{
    if (!loss) return;
    plan_destroy(loss->ctx, loss->plan);
    clvi_free(loss->ctx, loss);
}

void clv_loss_set_reference(clv_loss *loss, bool reference)
{
    loss->reference = reference;
}

/* ---- reading the call ---- */

static bool is_float(clv_dtype t)
{
    return t == CLV_F32 || t == CLV_F64 || t == CLV_BF16;
}

static bool is_integer(clv_dtype t)
{
    return t == CLV_U8 || t == CLV_I32 || t == CLV_I64;
}

static clv_status sort_by_name(const clv_loss *loss, const clvi_loss_port *ports, int max, const char *what,
                               const clv_loss_tensor *tensors, int n, const clv_view **sorted)
{
    CLV_CHECK(tensors || n == 0, CLV_ERR_INVALID, "%s: %ss are NULL", loss->cls->name, what);
    for (int i = 0; i < n; i++) {
        const int port = clvi_loss_port_find(ports, max, tensors[i].name);
        if (port < 0) return clvi_loss_unknown_port(loss->cls, ports, max, what, tensors[i].name);
        CLV_CHECK(!sorted[port], CLV_ERR_INVALID, "%s: %s '%s' is given twice", loss->cls->name, what, tensors[i].name);
        sorted[port] = &tensors[i].view;
    }
    return CLV_OK;
}

/* `what` is "", "gradient of " or "output ". */
static clv_status check_view(const clv_loss *loss, const clvi_loss_port *port, const char *what, const clv_view *view,
                             bool needs_data, clvi_loss_letters *letters)
{
    const char *name = loss->cls->name;
    const bool right = clvi_loss_port_is_float(port) ? is_float(view->dtype)
                       : clvi_loss_port_dtype(port) == CLV_U8 ? view->dtype == CLV_U8 : is_integer(view->dtype);
    CLV_CHECK(right, CLV_ERR_SHAPE, "%s: %s'%s' must be %s, is %s", name, what, port->name,
              clvi_loss_port_is_float(port) ? "floating point" : clv_dtype_name(clvi_loss_port_dtype(port)),
              clv_dtype_name(view->dtype));
    const int64_t count = clv_view_count(view);
    CLV_CHECK(count >= 0, CLV_ERR_SHAPE, "%s: %s'%s' has an impossible shape", name, what, port->name);
    CLV_CHECK(view->device == 0, CLV_ERR_UNSUPPORTED, "%s: %s'%s' must be in host memory, not on device %d", name, what,
              port->name, (int)view->device);
    CLV_CHECK(view->data || count == 0 || !needs_data, CLV_ERR_INVALID, "%s: %s'%s' is NULL", name, what, port->name);
    return clvi_loss_shape_match(loss->cls, port, what, view->ndim, view->shape, letters);
}

static clv_status check_call(const clv_loss *loss, const call *c, bool needs_data)
{
    const clvi_loss_variant *v = loss->variant;
    clvi_loss_letters letters;
    clvi_loss_letters_init(&letters);
    for (int i = 0; i < clvi_loss_port_count(v->in, CLVI_LOSS_MAX_IN); i++) {
        CLV_CHECK(c->in[i] || clvi_loss_port_is_optional(&v->in[i]), CLV_ERR_INVALID, "%s: input '%s' is missing",
                  loss->cls->name, v->in[i].name);
        if (c->in[i]) CLV_TRY(check_view(loss, &v->in[i], "", c->in[i], needs_data, &letters));
    }
    for (int i = 0; i < clvi_loss_port_count(v->in, CLVI_LOSS_MAX_IN); i++) {
        if (!c->grad[i]) continue;
        CLV_CHECK(clvi_loss_port_has_grad(&v->in[i]), CLV_ERR_INVALID,
                  "%s: '%s' is a constant of this loss: no gradient",
                  loss->cls->name, v->in[i].name);
        CLV_CHECK(c->in[i], CLV_ERR_INVALID, "%s: gradient of '%s' asked for, but no such input given", loss->cls->name,
                  v->in[i].name);
        CLV_TRY(check_view(loss, &v->in[i], "gradient of ", c->grad[i], needs_data, &letters));
    }
    for (int i = 0; i < clvi_loss_port_count(v->out, CLVI_LOSS_MAX_OUT); i++)
        if (c->out[i]) CLV_TRY(check_view(loss, &v->out[i], "output ", c->out[i], needs_data, &letters));
    return CLV_OK;
}

/* What a view becomes in a graph that computes in `real`. */
static clv_dtype graph_dtype(const clvi_loss_port *port, const clv_view *view, clv_dtype real)
{
    if (clvi_loss_port_is_stored(port) && view->dtype == CLV_BF16) return CLV_BF16;
    return clvi_loss_port_is_float(port) ? real : clvi_loss_port_dtype(port);
}

static void sign(const clv_loss *loss, const call *c, signature *sig)
{
    memset(sig, 0, sizeof *sig);
    sig->reference = loss->reference;
    sig->dtype = CLV_F32;
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++)
        if (c->in[i] && c->in[i]->dtype == CLV_F64) sig->dtype = CLV_F64;
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++) {
        sig->given[i] = c->in[i] != NULL;
        sig->grad[i] = c->grad[i] != NULL;
        if (!c->in[i]) continue;
        sig->type[i] = graph_dtype(&loss->variant->in[i], c->in[i], sig->dtype);
        /* A view without elements may have no address; a graph wants one. */
        sig->staged[i] = !clv_view_is_dense(c->in[i]) || clv_view_count(c->in[i]) == 0 ||
                         c->in[i]->dtype != sig->type[i];
        sig->ndim[i] = c->in[i]->ndim;
        memcpy(sig->shape[i], c->in[i]->shape, (size_t)c->in[i]->ndim * sizeof(int64_t));
    }
    for (int i = 0; i < CLVI_LOSS_MAX_OUT; i++) sig->out[i] = c->out[i] != NULL;
}

/* ---- planning ---- */

static void keep(clv_graph *g, clv_node x)
{
    if (!clvi_node_none(x)) clv_graph_output(g, x);
}

static clv_status plan_graph(const clv_loss *loss, plan *p)
{
    const signature *sig = &p->sig;
    clv_graph *g = p->graph;
    bool differentiate = false;
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++) {
        const clvi_loss_port *port = &loss->variant->in[i];
        p->in[i] = sig->given[i] ? clv_input(g, port->name, sig->type[i], sig->ndim[i], sig->shape[i]) : CLV_NONE;
        differentiate = differentiate || sig->grad[i];
    }
    for (int i = 0; i < CLVI_LOSS_MAX_OUT; i++) p->out[i] = CLV_NONE;
    p->value = loss->variant->build(g, p->in, loss->params, p->out);
    keep(g, p->value);
    for (int i = 0; i < CLVI_LOSS_MAX_OUT; i++)
        if (sig->out[i]) keep(g, p->out[i]);
    if (differentiate) CLV_TRY(clv_graph_backward(g, p->value));
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++) {
        p->grad[i] = sig->grad[i] ? clv_graph_gradient(g, p->in[i]) : CLV_NONE;
        keep(g, p->grad[i]);
    }
    return clv_graph_finish(g);
}

static clv_status plan_create(const clv_loss *loss, const signature *sig, plan **out)
{
    plan *p = clvi_calloc(loss->ctx, 1, sizeof *p);
    if (!p) return CLV_ERR_NOMEM;
    p->sig = *sig;
    const clv_graph_desc desc = { .struct_size = sizeof desc, .dtype = sig->dtype, .reference = sig->reference };
    clv_status st = clv_graph_create(loss->ctx, &desc, &p->graph);
    if (st == CLV_OK) st = plan_graph(loss, p);
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++)
        if (sig->staged[i])
            p->stage[i] = clv_view_dense(NULL, sig->type[i], sig->ndim[i], sig->shape[i]);
    if (st != CLV_OK) {
        plan_destroy(loss->ctx, p);
        return st;
    }
    *out = p;
    return CLV_OK;
}

static size_t stage_bytes(const clv_view *stage)
{
    return (size_t)clv_view_count(stage) * clv_dtype_size(stage->dtype);
}

static clv_status plan_allocate(const clv_loss *loss, plan *p)
{
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++) {
        if (!p->sig.staged[i]) continue;
        p->stage[i].data = clvi_calloc(loss->ctx, stage_bytes(&p->stage[i]), 1);
        if (!p->stage[i].data) return CLV_ERR_NOMEM;
    }
    return CLV_OK;
}

/* ---- running ---- */

static clv_status bind_inputs(plan *p, const call *c)
{
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++) {
        if (!p->sig.given[i]) continue;
        if (p->sig.staged[i]) CLV_TRY(clv_view_copy(&p->stage[i], c->in[i]));
        CLV_TRY(clv_graph_bind(p->graph, p->in[i], p->sig.staged[i] ? &p->stage[i] : c->in[i]));
    }
    return CLV_OK;
}

static bool meet(const clv_view *a, const clv_view *b)
{
    const char *x = a->data, *y = b->data;
    return x < y + stage_bytes(b) && y < x + stage_bytes(a);
}

/* Can gradient i be computed in the caller's memory? Not if a kernel would then write what it still has to read. */
static bool fits_caller(const plan *p, const call *c, int i)
{
    const clv_view *grad = c->grad[i];
    if (grad->dtype != p->sig.dtype || !clv_view_is_dense(grad) || clv_view_count(grad) == 0 ||
        (uintptr_t)grad->data % clv_dtype_size(grad->dtype) != 0)
        return false;
    for (int k = 0; k < CLVI_LOSS_MAX_IN; k++) {
        if (p->sig.given[k] && !p->sig.staged[k] && meet(grad, c->in[k])) return false;
        if (k != i && c->grad[k] && clv_view_is_dense(c->grad[k]) && meet(grad, c->grad[k])) return false;
    }
    return true;
}

static clv_status bind_gradients(plan *p, const call *c)
{
    CLV_TRY(clvi_graph_make_ready(p->graph));
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++)
        if (c->grad[i] && !clvi_node_none(p->grad[i]))
            clvi_graph_divert(p->graph, p->grad[i], fits_caller(p, c, i) ? c->grad[i]->data : NULL);
    return CLV_OK;
}

/* Copies a kept value to the caller, unless it was made there; a value the loss does not depend on is zero. */
static clv_status fetch(plan *p, clv_node node, const clv_view *dst)
{
    static double zero;
    clv_view src;
    if (clv_view_count(dst) == 0) return CLV_OK;
    if (clvi_node_none(node)) {
        src = *dst;
        src.data = &zero;
        memset(src.stride, 0, sizeof src.stride);
    } else {
        CLV_TRY(clv_graph_read(p->graph, node, &src));
    }
    return src.data == dst->data ? CLV_OK : clv_view_copy(dst, &src);
}

static clv_status fetch_all(plan *p, const call *c, double *value)
{
    for (int i = 0; i < CLVI_LOSS_MAX_IN; i++)
        if (c->grad[i]) CLV_TRY(fetch(p, p->grad[i], c->grad[i]));
    for (int i = 0; i < CLVI_LOSS_MAX_OUT; i++)
        if (c->out[i]) CLV_TRY(fetch(p, p->out[i], c->out[i]));
    const clv_view scalar = clv_view_dense(value, CLV_F64, 0, NULL);
    return value ? fetch(p, p->value, &scalar) : CLV_OK;
}

/* The plan for this call: the one there is, or a new one in its place. */
static clv_status make_plan(clv_loss *loss, const call *c)
{
    signature sig;
    plan *fresh = NULL;
    sign(loss, c, &sig);
    /* Padding is zero like all else.  NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    if (loss->plan && memcmp(&loss->plan->sig, &sig, sizeof sig) == 0) return CLV_OK;
    CLV_TRY(plan_create(loss, &sig, &fresh));
    const clv_status st = plan_allocate(loss, fresh);
    if (st != CLV_OK) {
        plan_destroy(loss->ctx, fresh);
        return st;
    }
    plan_destroy(loss->ctx, loss->plan);
    loss->plan = fresh;
    return CLV_OK;
}

clv_status clv_loss_eval(clv_loss *loss, const clv_loss_tensor *inputs, int n_inputs, const clv_loss_tensor *grads,
                         int n_grads, const clv_loss_tensor *outputs, int n_outputs, double *value)
{
    CLV_CHECK(loss, CLV_ERR_INVALID, "clv_loss_eval: loss is NULL");
    const clvi_loss_variant *v = loss->variant;
    call c = { 0 };
    CLV_TRY(sort_by_name(loss, v->in, CLVI_LOSS_MAX_IN, "input", inputs, n_inputs, c.in));
    CLV_TRY(sort_by_name(loss, v->in, CLVI_LOSS_MAX_IN, "gradient", grads, n_grads, c.grad));
    CLV_TRY(sort_by_name(loss, v->out, CLVI_LOSS_MAX_OUT, "output", outputs, n_outputs, c.out));
    CLV_TRY(check_call(loss, &c, true));
    CLV_TRY(make_plan(loss, &c));
    CLV_TRY(bind_inputs(loss->plan, &c));
    CLV_TRY(bind_gradients(loss->plan, &c));
    CLV_TRY(clv_graph_run(loss->plan->graph));
    return fetch_all(loss->plan, &c, value);
}

clv_status clv_loss_memory(clv_loss *loss, const clv_loss_tensor *inputs, int n_inputs, size_t *bytes)
{
    CLV_CHECK(loss && bytes, CLV_ERR_INVALID, "clv_loss_memory: an argument is NULL");
    const clvi_loss_variant *v = loss->variant;
    call c = { 0 };
    signature sig;
    plan *p = NULL;
    clv_graph_memory_t memory;
    CLV_TRY(sort_by_name(loss, v->in, CLVI_LOSS_MAX_IN, "input", inputs, n_inputs, c.in));
    for (int i = 0; i < clvi_loss_port_count(v->in, CLVI_LOSS_MAX_IN); i++)
        if (c.in[i] && clvi_loss_port_has_grad(&v->in[i])) c.grad[i] = c.in[i];
    CLV_TRY(check_call(loss, &c, false));
    sign(loss, &c, &sig);
    CLV_TRY(plan_create(loss, &sig, &p));
    const clv_status st = clv_graph_memory(p->graph, &memory);
    if (st == CLV_OK) {
        *bytes = memory.parameters + memory.gradients + memory.activations;
        for (int i = 0; i < CLVI_LOSS_MAX_IN; i++)
            if (sig.staged[i]) *bytes += stage_bytes(&p->stage[i]);
    }
    plan_destroy(loss->ctx, p);
    return st;
}

static clv_status output_shape(const clv_loss *loss, const call *c, int port, int *ndim, int64_t shape[CLV_MAX_DIMS])
{
    signature sig;
    plan *p = NULL;
    sign(loss, c, &sig);
    CLV_TRY(plan_create(loss, &sig, &p));
    if (!clvi_node_none(p->out[port])) {
        *ndim = clv_node_shape(p->graph, p->out[port], shape);
    } else {
        clvi_loss_letters letters;
        clvi_loss_letters_init(&letters);
        for (int i = 0; i < CLVI_LOSS_MAX_IN; i++)   /* checked already; this learns the letters */
            if (c->in[i])
                (void)!clvi_loss_shape_match(loss->cls, &loss->variant->in[i], "", c->in[i]->ndim, c->in[i]->shape,
                                             &letters);
        *ndim = clvi_loss_shape_of(&loss->variant->out[port], &letters, shape);
    }
    plan_destroy(loss->ctx, p);
    return CLV_OK;
}

clv_status clv_loss_output_shape(clv_loss *loss, const clv_loss_tensor *inputs, int n_inputs, const char *output,
                                 int *ndim, int64_t shape[CLV_MAX_DIMS])
{
    CLV_CHECK(loss && ndim && shape, CLV_ERR_INVALID, "clv_loss_output_shape: an argument is NULL");
    const clvi_loss_variant *v = loss->variant;
    call c = { 0 };
    const int port = clvi_loss_port_find(v->out, CLVI_LOSS_MAX_OUT, output);
    if (port < 0) return clvi_loss_unknown_port(loss->cls, v->out, CLVI_LOSS_MAX_OUT, "output", output);
    CLV_TRY(sort_by_name(loss, v->in, CLVI_LOSS_MAX_IN, "input", inputs, n_inputs, c.in));
    CLV_TRY(check_call(loss, &c, false));
    return output_shape(loss, &c, port, ndim, shape);
}
