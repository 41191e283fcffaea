/* fold.c: networks that are only looked at: batch norm in evaluation mode is a fixed scale and offset of each channel, so
 * the convolution before it can do its work, and that of the addition and relu behind it. */
#include "tensor/graph.h"
#include <string.h>

static bool is(const clvi_node *node, const char *op)
{
    return !node->fused && strcmp(node->cls->name, op) == 0;
}

/* `from` is done by `node` now, and its result exists no more. */
static void absorb(clv_graph *g, clvi_node *from, clvi_node *node, void *attr)
{
    clvi_value *between = &g->values[from->out[0]];
    between->node = -1;
    between->fused = from->fused = true;
    clvi_free(g->ctx, node->attr);
    node->attr = attr;
    node->cls = clvi_op_class_find("conv2d_norm");
    node->n_in = 7;
    node->n_out = 1;
}

static clv_status fold_norm(clv_graph *g, clvi_node *norm, const int32_t *uses)
{
    const clvi_batch_norm_attr old = *(const clvi_batch_norm_attr *)norm->attr;
    clvi_node *conv = clvi_graph_sole_source(g, norm, 0, "conv2d", uses);
    if (!conv || ((const clvi_conv2d_attr *)conv->attr)->groups != 1) return CLV_OK;   /* no fast kernel for those */
    if (old.training || uses[norm->out[1]] || uses[norm->out[2]] || uses[norm->out[3]]) return CLV_OK;
    clvi_conv2d_norm_attr *attr = clvi_calloc(g->ctx, 1, sizeof *attr);
    if (!attr) return CLV_ERR_NOMEM;
    *attr = (clvi_conv2d_norm_attr) { .conv = *(const clvi_conv2d_attr *)conv->attr, .eps = old.eps, .relu = old.relu };
    memmove(&norm->in[2], &norm->in[1], 4 * sizeof norm->in[0]);
    norm->in[0] = conv->in[0];
    norm->in[1] = conv->in[1];
    norm->in[6] = -1;
    for (int i = 1; i < 4; i++) g->values[norm->out[i]].node = -1;
    absorb(g, conv, norm, attr);
    return CLV_OK;
}

static clv_status fold_sum(clv_graph *g, clvi_node *sum, const int32_t *uses)
{
    for (int k = 0; k < 2; k++) {
        clvi_node *conv = clvi_graph_sole_source(g, sum, k, "conv2d_norm", uses);
        const clvi_conv2d_norm_attr *old = conv ? conv->attr : NULL;
        if (!conv || old->relu || conv->in[6] >= 0) continue;
        clvi_conv2d_norm_attr *attr = clvi_calloc(g->ctx, 1, sizeof *attr);
        if (!attr) return CLV_ERR_NOMEM;
        *attr = *old;
        attr->relu = ((const clvi_add_attr *)sum->attr)->relu;
        const int32_t other = sum->in[1 - k];
        memcpy(sum->in, conv->in, 6 * sizeof sum->in[0]);
        sum->in[6] = other;
        absorb(g, conv, sum, attr);
        return CLV_OK;
    }
    return CLV_OK;
}

clv_status clvi_graph_fold(clv_graph *g)
{
    clv_status st = CLV_OK;
    if (g->precision == CLV_PRECISION_BF16 && !g->ctx->device) return CLV_OK;     /* oneDNN has no fast kernel for it */
    int32_t *uses = clvi_graph_count_uses(g, -1);
    if (!uses) return CLV_ERR_NOMEM;
    for (int32_t i = 0; i < g->n_nodes && st == CLV_OK; i++)
        if (is(&g->nodes[i], "batch_norm")) st = fold_norm(g, &g->nodes[i], uses);
    for (int32_t i = 0; i < g->n_nodes && st == CLV_OK; i++)
        if (is(&g->nodes[i], "add")) st = fold_sum(g, &g->nodes[i], uses);
    clvi_free(g->ctx, uses);
    return st;
}
