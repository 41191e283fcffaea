/* plan.c: from nodes to steps: which kernel does each, in which layouts, and where values must be reordered. */
#include "tensor/graph.h"
#include <string.h>

int32_t clvi_graph_shown(const clv_graph *g, int32_t value)
{
    while (value >= 0 && (clvi_graph_halved(g, value) || !clvi_desc_is_dense(&g->values[value].desc)))
        value = g->values[value].conversion;
    return value;
}

int32_t clvi_graph_root(const clv_graph *g, int32_t value)
{
    while (g->values[value].alias >= 0) value = g->values[value].alias;
    return value;
}

/* ---- layouts ---- */

static clv_status append_step(clv_graph *g, const clvi_step *step)
{
    if (!clvi_graph_grow(g, (void **)&g->steps, g->n_steps, &g->cap_steps, sizeof *g->steps))
        return clvi_graph_status(g);
    g->steps[g->n_steps++] = *step;
    return CLV_OK;
}

/* A new value with the elements of `value` in the layout and type of `want`. */
static clv_status append_reorder(clv_graph *g, int32_t value, const clvi_desc *want, int32_t *out)
{
    clvi_step step = { .in = { value }, .call = { .ctx = g->ctx, .op = "reorder", .n_in = 1, .n_out = 1 } };
    clvi_op_call *call = &step.call;
    call->in[0] = call->out[0] = g->values[value].desc;
    call->out[0].dtype = want->dtype;
    clvi_desc_copy_layout(&call->out[0], want);
    call->wanted[0] = call->in_fixed[0] = true;
    step.kernel = clvi_kernel_find(call, g->reference);
    /* Parameters laid out by another graph may be in a layout that plain C does not know. */
    if (!step.kernel) step.kernel = clvi_kernel_find(call, false);
    CLV_CHECK(step.kernel, CLV_ERR_UNSUPPORTED, "reorder: no kernel converts between the two layouts of a value");
    step.out[0] = *out = clvi_graph_add_value(g, &call->out[0]);
    if (*out < 0) return clvi_graph_status(g);
    g->values[*out].by = step.kernel;
    if (step.kernel->prepare) CLV_TRY(step.kernel->prepare(call));
    const clv_status st = append_step(g, &step);
    if (st != CLV_OK && step.kernel->release) step.kernel->release(call);
    return st;
}

/* The value itself when it has the layout and type of `want`, else a copy that has; one copy serves everybody. A
 * parameter that nobody has laid out takes the layout, and so does a value without elements. */
static clv_status with_layout(clv_graph *g, int32_t value, const clvi_desc *want, int32_t *out)
{
    clvi_value *v = &g->values[value];
    if ((v->desc.layout == CLVI_LAYOUT_ANY || v->desc.bytes == 0) && v->desc.dtype == want->dtype)
        clvi_desc_copy_layout(&v->desc, want);
    for (*out = value; *out >= 0; *out = g->values[*out].conversion)
        if (clvi_desc_same_layout(&g->values[*out].desc, want)) return CLV_OK;
    CLV_TRY(append_reorder(g, value, want, out));
    g->values[*out].conversion = g->values[value].conversion;
    g->values[value].conversion = *out;
    return CLV_OK;
}

static clv_status as_dense(clv_graph *g, int32_t value, clv_dtype type, int32_t *out)
{
    clvi_desc dense = g->values[value].desc;
    dense.dtype = type;
    clvi_desc_make_dense(&dense);
    return with_layout(g, value, &dense, out);
}

/* ---- kernels ---- */

static clvi_gradient *gradient_at(const clv_graph *g, int32_t value)
{
    for (int32_t i = 0; i < g->n_gradients; i++)
        if (g->gradients[i].value == value) return &g->gradients[i];
    return NULL;
}

static int32_t param_value(const clv_graph *g, int64_t param)
{
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == CLVI_VALUE_PARAM && g->values[i].param == param) return i;
    return -1;
}

/* Layout of the parameter whose gradient the value is, or NULL. */
static const clvi_desc *hint(const clv_graph *g, int32_t value)
{
    const clvi_gradient *gradient = gradient_at(g, value);
    if (!gradient) return NULL;
    const clvi_desc *desc = &g->values[param_value(g, gradient->param)].desc;
    return desc->layout == CLVI_LAYOUT_ANY ? NULL : desc;
}

static void fill_call(const clv_graph *g, const clvi_node *node, bool half, clvi_op_call *call)
{
    *call = (clvi_op_call) { .ctx = g->ctx, .op = node->cls->name, .attr = node->attr,
                             .tf32 = g->precision == CLV_PRECISION_TF32, .n_in = node->n_in, .n_out = node->n_out };
    for (int i = 0; i < node->n_in; i++) {
        call->in[i].dtype = CLV_DTYPE_COUNT;
        if (node->in[i] < 0) continue;
        const clvi_value *v = &g->values[node->in[i]];
        call->in[i] = v->desc;
        call->in_fixed[i] = g->values[clvi_graph_root(g, node->in[i])].kind != CLVI_VALUE_COMPUTED &&
                            v->desc.layout != CLVI_LAYOUT_ANY;
    }
    for (int i = 0; i < node->n_out; i++) {
        call->out[i] = g->values[node->out[i]].desc;
        call->wanted[i] = g->values[node->out[i]].used;
        call->out_hint[i] = hint(g, node->out[i]);
    }
    clvi_graph_set_types(g, node, half, call);
}

/* Whoever reads a workspace must be of the library that wrote it. NULL: any kernel will do. */
static const char *wanted_name(const clv_graph *g, const clvi_node *node)
{
    if (g->reference) return "reference";
    for (int i = 0; i < node->n_in; i++) {
        const clvi_value *v = node->in[i] < 0 ? NULL : &g->values[node->in[i]];
        if (!v || v->node < 0) continue;
        const clvi_node *from = &g->nodes[v->node];
        const int workspace = from->cls->workspace;
        if (workspace && from->out[workspace - 1] == node->in[i]) return v->by ? v->by->name : NULL;
    }
    return NULL;
}

static void all_dense(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i].dtype != CLV_DTYPE_COUNT) clvi_desc_make_dense(&call->in[i]);
}

/* Takes the best kernel that can be prepared; in bfloat16 only one made for it, which plain C is not. */
static clv_status choose_kernel(const clv_graph *g, const clvi_node *node, bool half, clvi_step *step)
{
    const char *name = wanted_name(g, node);
    fill_call(g, node, half, &step->call);
    const clvi_kernel *kernel = NULL;
    while ((kernel = clvi_kernel_next(&step->call, name, kernel))) {
        if (half && !g->reference && strcmp(kernel->name, "reference") == 0) break;
        step->kernel = kernel;
        if (!kernel->prepare) {
            all_dense(&step->call);
            return CLV_OK;
        }
        const clv_status st = kernel->prepare(&step->call);
        if (st != CLV_ERR_UNSUPPORTED) return st;
        fill_call(g, node, half, &step->call);
    }
    char text[CLVI_SHAPE_TEXT];
    const clvi_desc *x = step->call.n_in ? &step->call.in[0] : &step->call.out[0];
    return clvi_fail(CLV_ERR_UNSUPPORTED, "%s: there is no %s%skernel for %s %s", node->cls->name, name ? name : "",
                     name ? " " : "", clv_dtype_name(x->dtype), clvi_shape_text(text, x->ndim, x->shape));
}

/* A parameter that is read in bfloat16 stays float32 itself, in the layout the float32 kernel likes: the one its
 * gradient comes in, and that of every graph of the set, whatever its precision. */
static clv_status lay_out_masters(clv_graph *g, const clvi_node *node)
{
    bool any = false;
    for (int i = 0; i < node->n_in; i++)
        any |= node->in[i] >= 0 && node->cls->half.in >> i & 1 && g->values[node->in[i]].desc.layout == CLVI_LAYOUT_ANY;
    if (!any) return CLV_OK;
    clvi_step full = { 0 };
    CLV_TRY(choose_kernel(g, node, false, &full));
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] >= 0 && g->values[node->in[i]].desc.layout == CLVI_LAYOUT_ANY)
            clvi_desc_copy_layout(&g->values[node->in[i]].desc, &full.call.in[i]);
    if (full.kernel->release) full.kernel->release(&full.call);
    return CLV_OK;
}

/* Gives the step its inputs in the layouts its kernel asked for. */
static clv_status settle_inputs(clv_graph *g, const clvi_node *node, clvi_step *step)
{
    for (int i = 0; i < node->n_in; i++) {
        step->in[i] = -1;
        if (node->in[i] < 0) continue;
        clvi_desc *want = &step->call.in[i];
        if (want->layout == CLVI_LAYOUT_ANY) clvi_desc_make_dense(want);
        CLV_TRY(with_layout(g, node->in[i], want, &step->in[i]));
        const clvi_value *v = &g->values[node->in[i]];
        CLV_CHECK(step->in[i] == node->in[i] || v->kind != CLVI_VALUE_PARAM || !node->cls->effect ||
                  clvi_params_at(g->params, v->param)->kind != CLV_PARAM_BUFFER, CLV_ERR_INTERNAL,
                  "%s: a buffer that is updated in place cannot be reordered", node->cls->name);
        *want = g->values[step->in[i]].desc;
    }
    return CLV_OK;
}

/* Nothing to compute: only kernels that sum over empty values need to know of them. */
static bool gives_nothing(const clv_graph *g, const clvi_node *node)
{
    for (int i = 0; i < node->n_out; i++)
        if (clvi_desc_count(&g->values[node->out[i]].desc) > 0) return false;
    return true;
}

static clv_status plan_step(clv_graph *g, const clvi_node *node)
{
    if (gives_nothing(g, node)) return CLV_OK;
    clvi_step step = { 0 };
    bool half = clvi_graph_halves(g, node);
    clv_status st = choose_kernel(g, node, half, &step);
    if (half && st == CLV_ERR_UNSUPPORTED) {
        half = false;
        st = choose_kernel(g, node, half, &step);
    }
    if (st != CLV_OK) return st;
    if (half) st = lay_out_masters(g, node);
    if (st == CLV_OK) st = settle_inputs(g, node, &step);
    for (int i = 0; i < node->n_out; i++) {
        step.out[i] = node->out[i];
        step.call.out_hint[i] = NULL;   /* points into an array that grows */
        g->values[node->out[i]].desc = step.call.out[i];
        g->values[node->out[i]].by = step.kernel;
    }
    if (node->cls->flops) step.flops = node->cls->flops(&step.call);
    if (st == CLV_OK) st = append_step(g, &step);
    if (st != CLV_OK && step.kernel->release) step.kernel->release(&step.call);
    return st;
}

static clv_status plan_alias(clv_graph *g, const clvi_node *node)
{
    int32_t from = node->in[0];
    const bool keeps_layout = strcmp(node->cls->name, "identity") == 0 &&
                              g->values[from].desc.layout != CLVI_LAYOUT_ANY;
    const clv_dtype type = g->values[from].desc.dtype;
    if (!keeps_layout) CLV_TRY(as_dense(g, from, type, &from));
    clvi_value *out = &g->values[node->out[0]];
    out->desc.dtype = type;
    clvi_desc_make_dense(&out->desc);
    if (keeps_layout) clvi_desc_copy_layout(&out->desc, &g->values[from].desc);
    out->alias = from;
    out->by = g->values[from].by;
    return CLV_OK;
}

/* ---- what is wanted of a value after it is computed ---- */

/* Somebody else has a claim to the memory, so that it cannot be the place of this gradient. */
static bool claimed(const clv_graph *g, int32_t value)
{
    const int32_t root = clvi_graph_root(g, value);
    if (g->values[root].kind != CLVI_VALUE_COMPUTED) return true;
    for (int32_t i = 0; i < g->n_gradients; i++)
        if (g->gradients[i].settled && clvi_graph_root(g, g->gradients[i].value) == root) return true;
    return false;
}

static clv_status settle_gradient(clv_graph *g, clvi_gradient *gradient)
{
    clvi_desc *param = &g->values[param_value(g, gradient->param)].desc;
    if (param->layout == CLVI_LAYOUT_ANY) clvi_desc_make_dense(param);
    const clvi_desc want = *param;   /* a copy: reordering moves the array */
    int32_t value;
    CLV_TRY(with_layout(g, gradient->value, &want, &value));
    if (claimed(g, value)) CLV_TRY(append_reorder(g, value, &want, &value));
    gradient->value = value;
    gradient->settled = true;
    return CLV_OK;
}

static clv_status settle_value(clv_graph *g, int32_t value)
{
    for (int32_t i = 0; i < g->n_gradients; i++)
        if (g->gradients[i].value == value && !g->gradients[i].settled) CLV_TRY(settle_gradient(g, &g->gradients[i]));
    const clv_dtype type = g->values[value].desc.dtype;
    int32_t dense;
    if (!g->values[value].keep) return CLV_OK;
    return as_dense(g, value, clvi_graph_halved(g, value) ? g->dtype : type, &dense);
}

clv_status clvi_graph_choose(clv_graph *g)
{
    for (int32_t i = 0; i < g->n_values; i++) {   /* another graph may have laid the set out since */
        clvi_value *v = &g->values[i];
        if (v->kind == CLVI_VALUE_PARAM) v->desc = clvi_params_at(g->params, v->param)->desc;
    }
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const clvi_node *node = &g->nodes[i];
        if (g->differentiated && i == g->forward_nodes) g->forward_steps = g->n_steps;
        if (!node->live) continue;
        CLV_TRY(node->cls->alias ? plan_alias(g, node) : plan_step(g, node));
        for (int k = 0; k < node->n_out; k++) CLV_TRY(settle_value(g, node->out[k]));
    }
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind != CLVI_VALUE_COMPUTED) CLV_TRY(settle_value(g, i));
    if (!g->differentiated) g->forward_steps = g->n_steps;
    return CLV_OK;
}

/* ---- finishing ---- */

static clv_status list_gradients(clv_graph *g)
{
    if (!g->differentiated) return CLV_OK;
    const int64_t count = clv_params_count(g->params);
    g->gradients = clvi_calloc(g->ctx, (size_t)count, sizeof *g->gradients);
    if (!g->gradients) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        if (clvi_params_at(g->params, i)->kind != CLV_PARAM_TRAINABLE) continue;
        const int32_t value = param_value(g, i);
        g->gradients[g->n_gradients++] = (clvi_gradient) {
            .param = i, .value = value >= 0 && value < g->n_grad ? g->grad[value] : -1,
        };
    }
    return CLV_OK;
}

/* The layouts this graph chose become those of the set, unless it had them already. */
static clv_status lay_out_params(clv_graph *g)
{
    for (int32_t i = 0; i < g->n_values && !clvi_params_laid_out(g->params); i++) {
        const clvi_value *v = &g->values[i];
        if (v->kind == CLVI_VALUE_PARAM && v->desc.layout != CLVI_LAYOUT_ANY)
            clvi_desc_copy_layout(&clvi_params_at(g->params, v->param)->desc, &v->desc);
    }
    return clvi_params_lay_out(g->params);
}

static clv_status finish(clv_graph *g)
{
    CLV_TRY(clvi_graph_fuse(g, -1));
    if (g->differentiated) {
        CLV_TRY(clvi_graph_fuse_gradients(g));
    } else {
        CLV_TRY(clvi_graph_fold(g));
        CLV_TRY(clvi_graph_fuse_sums(g, -1));
    }
    CLV_TRY(list_gradients(g));
    clvi_graph_mark_live(g);
    CLV_TRY(clvi_graph_choose(g));
    CLV_TRY(clvi_graph_place(g));
    return lay_out_params(g);
}

clv_status clv_graph_finish(clv_graph *g)
{
    CLV_CHECK(g, CLV_ERR_INVALID, "clv_graph_finish: graph is NULL");
    CLV_TRY(clvi_graph_status(g));
    CLV_CHECK(!g->finished, CLV_ERR_INVALID, "clv_graph_finish: the graph is finished already");
    const clv_status st = finish(g);
    if (st != CLV_OK) clvi_graph_fail(g, st, "%s", clv_error_message());
    else g->finished = true;
    return st;
}
