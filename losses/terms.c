/* terms.c: pieces that many formulas share. */
#include "losses/loss.h"

clv_node clvi_unit_rows(clv_graph *g, clv_node x, bool normalize, double eps)
{
    return normalize ? clv_l2norm_rows(g, x, eps) : x;
}

int64_t clvi_node_length(const clv_graph *g, clv_node x, int axis)
{
    int64_t shape[CLV_MAX_DIMS];
    const int ndim = clv_node_shape(g, x, shape);
    return axis < ndim ? shape[axis] : 0;
}
