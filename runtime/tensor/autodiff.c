/* autodiff.c: appending the backward pass of a scalar: one walk over the nodes from last to first. */
#include "tensor/graph.h"

typedef struct walk {
    clv_graph *g;
    bool      *need;     /* of each value: a trainable parameter or an input has a part in it */
    int32_t   *grad;     /* of each value: its gradient so far, or -1 */
    clvi_recompute recompute;
} walk;

static bool is_float(const clvi_desc *desc)
{
    return desc->dtype == CLV_F32 || desc->dtype == CLV_F64;
}

static void find_needed(walk *w)
{
    clv_graph *g = w->g;
    for (int32_t i = 0; i < g->n_values; i++) {
        const clvi_value *v = &g->values[i];
        const bool trainable = v->kind == CLVI_VALUE_PARAM &&
                               clvi_params_at(g->params, v->param)->kind == CLV_PARAM_TRAINABLE;
        w->need[i] = trainable || (v->kind == CLVI_VALUE_INPUT && is_float(&v->desc));
    }
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const clvi_node *node = &g->nodes[i];
        if (node->fused || !node->cls->backward) continue;
        bool any = false;
        for (int k = 0; k < node->n_in; k++) any = any || (node->in[k] >= 0 && w->need[node->in[k]]);
        for (int k = 0; any && k < node->n_out; k++) w->need[node->out[k]] = is_float(&g->values[node->out[k]].desc);
    }
}

/* Adds one more contribution to the gradient of a value. */
static void accumulate(walk *w, int32_t value, clv_node part)
{
    clv_graph *g = w->g;
    const int32_t index = clvi_graph_value(g, part, "gradient");
    if (index < 0) return;
    if (clvi_desc_count(&g->values[index].desc) != clvi_desc_count(&g->values[value].desc)) {
        clvi_graph_fail(g, CLV_ERR_INTERNAL, "%s: a gradient has another shape than its value",
                        g->values[value].node < 0 ? "input" : g->nodes[g->values[value].node].cls->name);
        return;
    }
    if (w->grad[value] >= 0) part = clv_add(g, clvi_graph_handle(g, w->grad[value]), part);
    if (g->status == CLV_OK) w->grad[value] = clvi_graph_peek(g, part);
}

/* What a backward rule reads of the forward pass. */
static clv_node operand(walk *w, int32_t value)
{
    if (value < 0) return CLV_NONE;
    if (w->g->recompute) value = clvi_recompute_value(w->g, &w->recompute, value);
    return value < 0 ? CLV_NONE : clvi_graph_handle(w->g, value);
}

static void node_backward(walk *w, int32_t i)
{
    clv_graph *g = w->g;
    const clvi_node node = g->nodes[i];   /* a copy: building moves the array */
    clv_node in[CLVI_MAX_IN], out[CLVI_MAX_OUT], grad_out[CLVI_MAX_OUT], grad_in[CLVI_MAX_IN];
    bool need[CLVI_MAX_IN], reached = false, wanted = false;
    for (int k = 0; k < node.n_out; k++) {
        const int32_t grad = w->grad[node.out[k]];
        out[k] = CLV_NONE;
        grad_out[k] = grad >= 0 ? clvi_graph_handle(g, grad) : CLV_NONE;
        reached = reached || grad >= 0;
    }
    for (int k = 0; k < node.n_in; k++) {
        in[k] = CLV_NONE;
        need[k] = node.in[k] >= 0 && w->need[node.in[k]];
        grad_in[k] = CLV_NONE;
        wanted = wanted || need[k];
    }
    if (node.fused || !node.cls->backward || !reached || !wanted) return;
    for (int k = 0; k < node.n_in; k++) in[k] = operand(w, node.in[k]);
    for (int k = 0; k < node.n_out; k++) out[k] = operand(w, node.out[k]);
    node.cls->backward(g, in, out, node.attr, grad_out, need, grad_in);
    for (int k = 0; k < node.n_in; k++)
        if (need[k] && !clvi_node_none(grad_in[k])) accumulate(w, node.in[k], grad_in[k]);
}

static clv_status differentiate(clv_graph *g, int32_t loss)
{
    clv_status st = CLV_OK;
    walk w = { .g = g };
    const int32_t n_values = g->n_values, n_nodes = g->n_nodes;
    w.need = clvi_calloc(g->ctx, (size_t)n_values, sizeof *w.need);
    w.grad = clvi_calloc(g->ctx, (size_t)n_values, sizeof *w.grad);
    CLV_CHECK_OR_DONE(w.need && w.grad, CLV_ERR_NOMEM, "clv_graph_backward: out of memory");
    for (int32_t i = 0; i < n_values; i++) w.grad[i] = -1;
    find_needed(&w);
    if (g->recompute) CLV_TRY_OR_DONE(clvi_recompute_plan(g, loss, &w.recompute));

    const clvi_desc *desc = &g->values[loss].desc;
    const clv_node one = clvi_fill(g, desc->ndim, desc->shape, 1.0);
    w.grad[loss] = clvi_graph_peek(g, one);
    for (int32_t i = n_nodes - 1; i >= 0 && g->status == CLV_OK; i--) node_backward(&w, i);
    CLV_TRY_OR_DONE(clvi_graph_status(g));

    g->grad = w.grad;
    g->n_grad = n_values;
    g->forward_nodes = n_nodes;
    g->differentiated = true;
    w.grad = NULL;
done:
    clvi_recompute_free(g, &w.recompute);
    clvi_free(g->ctx, w.need);
    clvi_free(g->ctx, w.grad);
    return st;
}

clv_status clv_graph_backward(clv_graph *g, clv_node loss)
{
    CLV_CHECK(g, CLV_ERR_INVALID, "clv_graph_backward: graph is NULL");
    CLV_TRY(clvi_graph_status(g));
    CLV_CHECK(!g->finished, CLV_ERR_INVALID, "clv_graph_backward: the graph is finished");
    CLV_CHECK(!g->differentiated, CLV_ERR_INVALID, "clv_graph_backward: was called before; a graph has one loss");
    const int32_t value = clvi_graph_value(g, loss, "clv_graph_backward");
    if (value < 0) return clvi_graph_status(g);
    const clvi_desc *desc = &g->values[value].desc;
    char text[CLVI_SHAPE_TEXT];
    CLV_CHECK(is_float(desc) && clvi_desc_count(desc) == 1, CLV_ERR_SHAPE,
              "clv_graph_backward: the loss must be one floating-point number, is %s %s", clv_dtype_name(desc->dtype),
              clvi_shape_text(text, desc->ndim, desc->shape));
    CLV_TRY(clvi_graph_fuse(g, value));
    CLV_TRY(clvi_graph_fuse_sums(g, value));
    return differentiate(g, value);
}

clv_node clv_graph_gradient(clv_graph *g, clv_node x)
{
    if (g->status == CLV_OK && !g->differentiated)
        clvi_graph_fail(g, CLV_ERR_INVALID, "clv_graph_gradient: call clv_graph_backward first");
    const int32_t value = clvi_graph_value(g, x, "clv_graph_gradient");
    if (value < 0 || value >= g->n_grad || g->grad[value] < 0) return CLV_NONE;
    return clvi_graph_handle(g, g->grad[value]);
}
