/* recompute.c: memory for time (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174):
 * the backward pass computes convolutions, batch norms, relus and prelus again instead of keeping what they gave.
 * Values with several readers are kept, in a residual network the inputs of its blocks; so is every fourth convolution's
 * result where there are no such values. A repeated batch norm takes the statistics the first one made, so all bits are
 * the same. */
#include "tensor/graph.h"
#include <string.h>

#define MAX_CONVOLUTIONS 3      /* in a chain computed again */

static bool is(const clvi_node *node, const char *op)
{
    return strcmp(node->cls->name, op) == 0;
}

static bool can_repeat(const clvi_node *node)
{
    const clvi_batch_norm_attr *norm = is(node, "batch_norm") ? node->attr : NULL;
    if (norm) return norm->training && !norm->sum;
    return is(node, "conv2d") || is(node, "relu") || is(node, "prelu");
}

clv_status clvi_recompute_plan(clv_graph *g, int32_t loss, clvi_recompute *out)
{
    int32_t *uses = clvi_graph_count_uses(g, loss), *depth = clvi_calloc(g->ctx, (size_t)g->n_nodes, sizeof *depth);
    out->redo = clvi_calloc(g->ctx, (size_t)g->n_nodes, sizeof *out->redo);
    out->again = clvi_calloc(g->ctx, (size_t)g->n_values, sizeof *out->again);
    const bool ok = uses && depth && out->redo && out->again;
    for (int32_t i = 0; ok && i < g->n_values; i++) out->again[i] = -1;
    for (int32_t i = 0; ok && i < g->n_nodes; i++) {
        const clvi_node *node = &g->nodes[i];
        if (node->fused || !can_repeat(node) || uses[node->out[0]] != 1) continue;
        const int32_t from = g->values[node->in[0]].node;
        depth[i] = (from >= 0 && out->redo[from] ? depth[from] : 0) + is(node, "conv2d");
        out->redo[i] = depth[i] <= MAX_CONVOLUTIONS;
    }
    clvi_free(g->ctx, uses);
    clvi_free(g->ctx, depth);
    return ok ? CLV_OK : CLV_ERR_NOMEM;
}

void clvi_recompute_free(clv_graph *g, clvi_recompute *r)
{
    clvi_free(g->ctx, r->redo);
    clvi_free(g->ctx, r->again);
}

static clv_node handle_of(const clv_graph *g, int32_t value)
{
    return value < 0 ? CLV_NONE : clvi_graph_handle(g, value);
}

/* Appends node i once more; what it reads may have to be computed again, too. */
static void repeat(clv_graph *g, clvi_recompute *r, int32_t i)
{
    const clvi_node node = g->nodes[i];   /* a copy: building moves the array */
    clv_node in[CLVI_MAX_IN], out[CLVI_MAX_OUT];
    clvi_batch_norm_attr norm;
    const void *attr = node.attr;
    const bool normalises = is(&node, "batch_norm");
    for (int k = 0; k < node.n_in; k++)
        in[k] = handle_of(g, node.in[k] < 0 ? -1 : clvi_recompute_value(g, r, node.in[k]));
    if (normalises) {
        norm = *(const clvi_batch_norm_attr *)node.attr;
        norm.again = true;
        attr = &norm;
        in[3] = handle_of(g, node.out[1]);
        in[4] = handle_of(g, node.out[2]);
    }
    (void)clvi_op(g, node.cls->name, attr, in, node.n_in, out, node.n_out);
    if (g->status != CLV_OK) return;
    g->nodes[g->n_nodes - 1].again = true;
    for (int k = 0; k < node.n_out; k++)
        if (!normalises || k == 0 || k == 3) r->again[node.out[k]] = clvi_graph_peek(g, out[k]);
}

/* Statistics, and a workspace that holds nothing, stay as they are. */
static bool keeps(const clvi_node *norm, int32_t value)
{
    const clvi_batch_norm_attr *attr = norm->attr;
    return value == norm->out[1] || value == norm->out[2] || (value == norm->out[3] && !attr->relu);
}

int32_t clvi_recompute_value(clv_graph *g, clvi_recompute *r, int32_t value)
{
    const int32_t node = g->values[value].node;
    if (node < 0 || !r->redo[node]) return value;
    if (is(&g->nodes[node], "batch_norm") && keeps(&g->nodes[node], value)) return value;
    if (r->again[value] < 0) repeat(g, r, node);
    return r->again[value] < 0 ? value : r->again[value];
}
