/* random_graph.c: see random_graph.h. */
#include "tests/support/random_graph.h"
#include "core/rng.h"
#include <stdio.h>

#define ROWS  4
#define COLS  6
#define STEPS 14

typedef struct maker {
    clv_graph *g;
    clvi_rng   rng;
    clv_node   matrix[STEPS + 1], image[STEPS + 1];   /* [ROWS,COLS]; [2,4,6,6] */
    int        n_matrix, n_image, n_params;
} maker;

static int below(maker *m, int n)
{
    return (int)clvi_rng_below(&m->rng, (uint64_t)n);
}

static clv_node param(maker *m, clv_param_kind kind, int ndim, const int64_t *shape, clv_init init)
{
    char name[16];
    snprintf(name, sizeof name, "p%d", m->n_params++);
    return clv_parameter(m->g, name, kind, ndim, shape, init);
}

static clv_node weights(maker *m, int ndim, const int64_t *shape)
{
    return param(m, CLV_PARAM_TRAINABLE, ndim, shape, (clv_init) { CLV_INIT_UNIFORM_FAN, 0, 6 });
}

static clv_node norm(maker *m, clv_node x, int64_t channels)
{
    const clv_init zero = { CLV_INIT_CONSTANT, 0, 0 }, one = { CLV_INIT_CONSTANT, 1, 0 };
    const clv_batch_norm_desc desc = {
        param(m, CLV_PARAM_TRAINABLE, 1, &channels, one), param(m, CLV_PARAM_TRAINABLE, 1, &channels, zero),
        param(m, CLV_PARAM_BUFFER, 1, &channels, zero), param(m, CLV_PARAM_BUFFER, 1, &channels, one), 1, 1e-2, 0.1,
    };
    return clv_batch_norm(m->g, x, &desc);
}

static clv_node next_matrix(maker *m)
{
    clv_graph *g = m->g;
    const clv_node a = m->matrix[below(m, m->n_matrix)], b = m->matrix[below(m, m->n_matrix)];
    switch (below(m, 11)) {
    case 0: return clv_add(g, a, b);
    case 1: return clv_sub(g, a, b);
    case 2: return clv_scale(g, clv_mul(g, a, b), 0.3, 0.1);
    case 3: return clv_relu(g, clv_add(g, a, b));
    case 4: return clv_scale(g, a, -0.7, 0.1);
    case 5: return clv_l2norm_rows(g, a, 1e-6);
    case 6: return clv_linear(g, a, weights(m, 2, (int64_t[]) { COLS, COLS }), weights(m, 1, (int64_t[]) { COLS }));
    case 7: return clv_slice(g, clv_concat(g, (clv_node[]) { a, b }, 2, 0), 0, 2, ROWS);
    case 8: return clv_reshape(g, clv_relu(g, clv_reshape(g, a, 1, (int64_t[]) { ROWS * COLS })), 2,
                               (int64_t[]) { ROWS, COLS });
    case 9: return clv_scale_rows(g, a, clv_row_dot(g, clv_stop_gradient(g, a), clv_l2norm_rows(g, b, 1e-6)));
    default: return clv_relu(g, norm(m, a, COLS));
    }
}

static clv_node next_image(maker *m)
{
    clv_graph *g = m->g;
    const clv_node a = m->image[below(m, m->n_image)], b = m->image[below(m, m->n_image)];
    switch (below(m, 7)) {
    case 0: return clv_relu(g, clv_add(g, a, b));
    case 1: return clv_conv2d(g, a, weights(m, 4, (int64_t[]) { 4, 4, 3, 3 }), 1, 1);
    case 2: return clv_conv2d(g, a, weights(m, 4, (int64_t[]) { 4, 4, 1, 1 }), 1, 0);
    case 3: return clv_relu(g, norm(m, a, 4));
    case 4: return norm(m, clv_add(g, a, b), 4);
    case 5: return clv_max_pool2d(g, a, 3, 1, 1);
    default: return clv_avg_pool2d(g, clv_relu(g, a), 3, 1, 1);
    }
}

/* The mean square of the last values of both kinds, so that all that leads to them matters. */
static clv_node make_loss(maker *m)
{
    clv_graph *g = m->g;
    const clv_node x = m->matrix[m->n_matrix - 1], y = clv_global_avg_pool(g, m->image[m->n_image - 1]);
    return clv_add(g, clv_reduce(g, clv_mul(g, x, x), -1, true), clv_reduce(g, clv_mul(g, y, y), -1, true));
}

static void bind(random_graph *r, clv_node input, int which, uint64_t seed)
{
    clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_TEST, 0, 1, (uint32_t)which);
    const clvi_desc *desc = &r->g->values[clvi_graph_peek(r->g, input)].desc;
    for (int64_t i = 0; i < clvi_desc_count(desc); i++) {
        const double x = clvi_rng_normal(&rng);
        if (desc->dtype == CLV_F64) r->data[which][i] = x;
        else ((float *)r->data[which])[i] = (float)x;
    }
    clv_view view = clv_view_dense(r->data[which], desc->dtype, desc->ndim, desc->shape);
    for (int i = 0; i < desc->ndim; i++) view.stride[i] = desc->stride[i];
    assert_ok(clv_graph_bind(r->g, input, &view));
}

void random_graph_make(clv_context *ctx, const clv_graph_desc *desc, uint64_t seed, random_graph *out)
{
    assert_ok(clv_graph_create(ctx, desc, &out->g));
    clv_graph *g = out->g;
    maker m = { .g = g, .rng = clvi_rng_make(seed, CLVI_RNG_TEST, 0, 0, 0) };
    out->matrix = m.matrix[m.n_matrix++] = clv_input(g, "matrix", desc->dtype, 2, (int64_t[]) { ROWS, COLS });
    out->image = m.image[m.n_image++] = clv_input_image(g, "image", 2, 4, 6, 6);
    for (int i = 0; i < STEPS; i++) {
        const bool matrix = below(&m, 2);
        const clv_node y = matrix ? next_matrix(&m) : next_image(&m);
        if (matrix) m.matrix[m.n_matrix++] = y;
        else m.image[m.n_image++] = y;
    }
    for (int i = 0; i < RANDOM_OUTPUTS; i++) {
        out->output[i] = below(&m, 2) ? m.matrix[below(&m, m.n_matrix)] : m.image[below(&m, m.n_image)];
        clv_graph_output(g, out->output[i]);
    }
    out->loss = make_loss(&m);
    clv_graph_output(g, out->loss);
    assert_ok(clv_graph_backward(g, out->loss));
    assert_ok(clv_graph_finish(g));
    assert_ok(clv_params_init(clv_graph_params(g), seed));
    bind(out, out->matrix, 0, seed);
    bind(out, out->image, 1, seed);
}

void random_graph_destroy(random_graph *r)
{
    clv_graph_destroy(r->g);
    r->g = NULL;
}
