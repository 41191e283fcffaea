/* fuse.c: what is cheaper as one operation: a relu after a batch norm or an add is done by the kernel before it. And
 * what need not run at all. */
#include "tensor/graph.h"
#include <string.h>

/* The relu flag among the attributes of an operation that has one, or NULL. */
static bool *relu_flag(const clvi_node *node)
{
    if (strcmp(node->cls->name, "batch_norm") == 0) return &((clvi_batch_norm_attr *)node->attr)->relu;
    if (strcmp(node->cls->name, "add") == 0) return &((clvi_add_attr *)node->attr)->relu;
    return NULL;
}

int32_t *clvi_graph_count_uses(const clv_graph *g, int32_t loss)
{
    int32_t *uses = clvi_calloc(g->ctx, (size_t)g->n_values, sizeof *uses);
    if (!uses) return NULL;
    for (int32_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0) uses[g->nodes[i].in[k]]++;
    for (int32_t i = 0; i < g->n_values; i++) uses[i] += g->values[i].keep || i == loss;
    return uses;
}

/* Lets the node before a relu do its work, if nobody else wants what lies between the two. */
static void fuse_relu(clv_graph *g, clvi_node *relu, const int32_t *uses)
{
    clvi_value *between = &g->values[relu->in[0]], *result = &g->values[relu->out[0]];
    if (between->node < 0 || uses[relu->in[0]] != 1) return;
    clvi_node *before = &g->nodes[between->node];
    bool *flag = relu_flag(before);
    if (!flag || *flag || before->out[0] != relu->in[0]) return;
    *flag = true;
    result->node = between->node;
    before->out[0] = relu->out[0];
    between->node = -1;
    between->fused = true;
    relu->fused = true;
}

clv_status clvi_graph_fuse(clv_graph *g, int32_t loss)
{
    if (g->fused) return CLV_OK;
    int32_t *uses = clvi_graph_count_uses(g, loss);
    if (!uses) return CLV_ERR_NOMEM;
    for (int32_t i = 0; i < g->n_nodes; i++)
        if (strcmp(g->nodes[i].cls->name, "relu") == 0) fuse_relu(g, &g->nodes[i], uses);
    clvi_free(g->ctx, uses);
    g->fused = true;
    return CLV_OK;
}

static bool must_run(const clv_graph *g, const clvi_node *node)
{
    if (node->fused) return false;
    if (node->cls->effect && g->training && !node->again) return true;
    for (int i = 0; i < node->n_out; i++)
        if (g->values[node->out[i]].used) return true;
    return false;
}

void clvi_graph_mark_live(clv_graph *g)
{
    for (int32_t i = 0; i < g->n_values; i++) g->values[i].used = g->values[i].keep;
    for (int32_t i = 0; i < g->n_gradients; i++)
        if (g->gradients[i].value >= 0) g->values[g->gradients[i].value].used = true;
    for (int32_t i = g->n_nodes - 1; i >= 0; i--) {
        clvi_node *node = &g->nodes[i];
        node->live = must_run(g, node);
        for (int k = 0; node->live && k < node->n_in; k++)
            if (node->in[k] >= 0) g->values[node->in[k]].used = true;
    }
}
