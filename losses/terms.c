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

clv_node clvi_off_diagonal(clv_graph *g, int64_t n)
{
    const clv_node i = clv_iota(g, CLV_I64, n, 0, 1);
    return clv_ids_differ(g, i, i);
}

clv_node clvi_pair_logits(clv_graph *g, clv_node x, double temperature)
{
    const clv_node scores = clv_scale(g, clv_gram(g, x, false), 1 / temperature, 0);
    return clv_mask(g, scores, clvi_off_diagonal(g, clvi_node_length(g, x, 0)));
}

clv_node clvi_sum_squares(clv_graph *g, clv_node x)
{
    return clv_reduce(g, clv_row_dot(g, x, x), -1, false);
}

clv_node clvi_off_diagonal_squares(clv_graph *g, clv_node x)
{
    const bool wide = clvi_node_length(g, x, 0) < clvi_node_length(g, x, 1);
    const clv_node all = clvi_sum_squares(g, clv_gram(g, x, !wide)), diagonal = clv_column_dot(g, x, x);
    return clv_sub(g, all, clv_reduce(g, clv_mul(g, diagonal, diagonal), -1, false));
}

clv_node clvi_labelled_mean(clv_graph *g, clv_node per_row, clv_node labels, int64_t classes)
{
    const int64_t rows = clvi_node_length(g, per_row, 0);
    const clv_node one = clvi_fill(g, 2, (int64_t[]) { classes, 1 }, 1);
    const clv_node known = clv_reshape(g, clv_gather_rows(g, one, labels), 1, &rows);
    const clv_node sum = clv_reduce(g, clv_mul(g, per_row, known), -1, false);
    return clv_div(g, sum, clv_reduce(g, known, -1, false));
}

/* The scale goes to the features: they are fewer than the logits. */
clv_node clvi_cosine_logits(clv_graph *g, clv_node unit_x, clv_node weight, double scale, double eps)
{
    return clv_matmul(g, clv_scale(g, unit_x, scale, 0), false, clv_l2norm_rows(g, weight, eps), true);
}

clv_node clvi_scalar(clv_graph *g, clv_node x)
{
    return clv_reshape(g, x, 0, NULL);
}
