/* fuse.c: what is cheaper as one operation: a relu after a batch norm or an add is done by the kernel before it, an add
 * after a batch norm by the batch norm, two batch norms that are added by one, and the sum of two gradients before the
 * gradient of either by that. And what need not run at all. */
#include "tensor/graph.h"
#include <string.h>

static bool is(const clvi_node *node, const char *op)
{
    return !node->fused && strcmp(node->cls->name, op) == 0;
}

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
        if (is(&g->nodes[i], "relu")) fuse_relu(g, &g->nodes[i], uses);
    clvi_free(g->ctx, uses);
    g->fused = true;
    return CLV_OK;
}

clvi_node *clvi_graph_sole_source(clv_graph *g, const clvi_node *node, int k, const char *op, const int32_t *uses)
{
    const int32_t value = node->in[k];
    if (value < 0 || uses[value] != 1 || g->values[value].node < 0) return NULL;
    clvi_node *from = &g->nodes[g->values[value].node];
    return is(from, op) && from->out[0] == value ? from : NULL;
}

/* Are its kernels a device's or the plain ones? The host's fast ones know fewer joined operations. */
static bool joins_all(const clv_graph *g)
{
    return g->ctx->device || g->reference;
}

/* Has the batch norm of x a kernel that adds something as well? One with a sum has also one that adds two gradients. */
static bool joins(const clv_graph *g, int32_t x)
{
    const clvi_desc *desc = &g->values[x].desc;
    return joins_all(g) || (desc->ndim == 4 && desc->shape[1] % CLVI_BATCH_NORM_BLOCK == 0);
}

/* The operand of the add that is a batch norm's result and nothing else's; of two, the one computed later. -1: none. */
static int norm_operand(clv_graph *g, const clvi_node *sum, const int32_t *uses)
{
    int found = -1;
    for (int k = 0; k < 2; k++) {
        const clvi_node *norm = clvi_graph_sole_source(g, sum, k, "batch_norm", uses);
        const clvi_batch_norm_attr *attr = norm ? norm->attr : NULL;
        if (!norm || attr->relu || attr->sum || !joins(g, norm->in[0])) continue;
        if (found < 0 || g->values[sum->in[k]].node > g->values[sum->in[found]].node) found = k;
    }
    return found;
}

/* The add becomes the batch norm: where it stands, all operands are there. */
static clv_status fuse_sum(clv_graph *g, clvi_node *sum, const int32_t *uses)
{
    const int k = norm_operand(g, sum, uses);
    if (k < 0) return CLV_OK;
    clvi_value *between = &g->values[sum->in[k]];
    clvi_node *norm = &g->nodes[between->node];
    clvi_batch_norm_attr *attr = clvi_calloc(g->ctx, 1, sizeof *attr);
    if (!attr) return CLV_ERR_NOMEM;
    *attr = *(const clvi_batch_norm_attr *)norm->attr;
    attr->sum = true;
    attr->relu = ((const clvi_add_attr *)sum->attr)->relu;
    const int32_t other = sum->in[1 - k], result = sum->out[0];
    clvi_free(g->ctx, sum->attr);
    *sum = *norm;
    sum->attr = attr;
    sum->in[5] = other;
    sum->out[0] = result;
    for (int i = 0; i < sum->n_out; i++) g->values[sum->out[i]].node = (int32_t)(sum - g->nodes);
    between->node = -1;
    between->fused = norm->fused = true;
    return CLV_OK;
}

/* May one kernel do both batch norms? Of the other nothing but the sum is wanted. */
static bool makes_pair(const clvi_batch_norm_attr *a, const clvi_batch_norm_attr *other)
{
    return a->sum && !other->sum && !other->relu && a->training && other->training && a->groups == other->groups &&
           a->eps == other->eps && a->momentum == other->momentum;
}

/* What is added to the batch norm is another one's result, as at the end of a block with a projection: it is not
 * written. The statistics of the other lie behind its own. */
static void fuse_pair(clv_graph *g, clvi_node *norm, const int32_t *uses)
{
    clvi_batch_norm_attr *attr = norm->attr;
    clvi_node *other = attr->sum ? clvi_graph_sole_source(g, norm, 5, "batch_norm", uses) : NULL;
    if (!other || !makes_pair(attr, other->attr)) return;
    attr->sum = false;
    memcpy(&norm->in[5], other->in, 5 * sizeof norm->in[0]);
    norm->cls = clvi_op_class_find("batch_norm_pair");
    norm->n_in = 10;
    for (int i = 0; i < other->n_out; i++) {
        g->values[other->out[i]].node = -1;
        g->values[other->out[i]].fused = true;
    }
    for (int i = 1; i < 3; i++) {
        clvi_desc *statistics = &g->values[norm->out[i]].desc;
        statistics->shape[0] = 2 * attr->groups;
        clvi_desc_make_dense(statistics);
    }
    other->fused = true;
}

clv_status clvi_graph_fuse_sums(clv_graph *g, int32_t loss)
{
    clv_status st = CLV_OK;
    int32_t *uses = clvi_graph_count_uses(g, loss);
    if (!uses) return CLV_ERR_NOMEM;
    for (int32_t i = 0; i < g->n_nodes && st == CLV_OK; i++)
        if (is(&g->nodes[i], "add")) st = fuse_sum(g, &g->nodes[i], uses);
    for (int32_t i = 0; i < g->n_nodes && st == CLV_OK && joins_all(g); i++)
        if (is(&g->nodes[i], "batch_norm")) fuse_pair(g, &g->nodes[i], uses);
    clvi_free(g->ctx, uses);
    return st;
}

/* Which input of a batch norm's gradient is added to dy; -1: none. */
static int second_gradient(const clv_graph *g, const clvi_node *node)
{
    if (is(node, "batch_norm_pair_bwd")) return 8;
    if (!is(node, "batch_norm_bwd")) return -1;
    return joins_all(g) || ((const clvi_batch_norm_attr *)node->attr)->sum ? 6 : -1;
}

clv_status clvi_graph_fuse_gradients(clv_graph *g)
{
    int32_t *uses = clvi_graph_count_uses(g, -1);
    if (!uses) return CLV_ERR_NOMEM;
    for (int32_t i = g->forward_nodes; i < g->n_nodes; i++) {
        clvi_node *norm = &g->nodes[i];
        const int second = second_gradient(g, norm);
        if (second < 0) continue;
        clvi_node *sum = clvi_graph_sole_source(g, norm, 0, "add", uses);
        if (!sum || ((const clvi_add_attr *)sum->attr)->relu) continue;
        clvi_value *between = &g->values[norm->in[0]];
        norm->in[0] = sum->in[0];
        norm->in[second] = sum->in[1];
        between->node = -1;
        between->fused = sum->fused = true;
    }
    clvi_free(g->ctx, uses);
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
