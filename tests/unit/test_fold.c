/* test_fold.c: a network that is only looked at gives the same with batch norms folded into convolutions as without. */
#include "core/rng.h"
#include "tensor/graph.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 3, MAX_NAME = 32 };

typedef struct net_case {
    int64_t channels, width, size, stride;
    bool    affine, relu;
    enum { NO_SUM, SHORTCUT, PROJECTION, SHARED } sum;   /* SHARED: what is added is read again afterwards */
} net_case;

static const net_case cases[] = {
    { 3, 16, 9, 1, true, true, NO_SUM },       { 3, 8, 12, 2, true, false, NO_SUM },
    { 16, 16, 8, 1, true, true, SHORTCUT },    { 20, 20, 7, 1, false, true, SHORTCUT },
    { 5, 24, 9, 2, true, true, PROJECTION },   { 16, 16, 8, 1, true, false, SHARED },
    { 64, 64, 32, 1, true, true, SHORTCUT },   { 64, 64, 32, 1, true, true, SHARED },
};

typedef struct net {
    clv_graph *g;
    clv_node   x, y, inner[8];
    int        n_inner;
    float     *pixels;
} net;

static clv_node vector(clv_graph *g, const char *layer, const char *name, clv_param_kind kind, int64_t channels)
{
    char full[2 * MAX_NAME];
    snprintf(full, sizeof full, "%s.%s", layer, name);
    return clv_parameter(g, full, kind, 1, &channels, (clv_init){ CLV_INIT_CONSTANT, 1, 1 });
}

static clv_node conv_norm(net *n, const char *layer, clv_node x, int64_t channels, int64_t kernel, int64_t stride,
                          bool affine)
{
    clv_graph *g = n->g;
    int64_t in[CLV_MAX_DIMS];
    char name[2 * MAX_NAME];
    assert_int_equal(clv_node_shape(g, x, in), 4);
    snprintf(name, sizeof name, "%s.weight", layer);
    const clv_node w = clv_parameter(g, name, CLV_PARAM_TRAINABLE, 4, (int64_t[]){ channels, in[1], kernel, kernel },
                                     (clv_init){ CLV_INIT_KAIMING_NORMAL, 0, channels * kernel * kernel });
    const clv_node y = clv_conv2d(g, x, w, stride, kernel / 2);
    n->inner[n->n_inner++] = y;
    clv_batch_norm_desc desc = { .groups = 1, .eps = 1e-5, .momentum = 0.1 };
    desc.gamma = affine ? vector(g, layer, "gamma", CLV_PARAM_TRAINABLE, channels) : CLV_NONE;
    desc.beta = affine ? vector(g, layer, "beta", CLV_PARAM_TRAINABLE, channels) : CLV_NONE;
    desc.running_mean = vector(g, layer, "mean", CLV_PARAM_BUFFER, channels);
    desc.running_var = vector(g, layer, "var", CLV_PARAM_BUFFER, channels);
    return clv_batch_norm(g, y, &desc);
}

static void build(test_env *t, const net_case *c, const clv_graph_desc *desc, clv_params *params, bool keep_all, net *n)
{
    clv_graph_desc d = *desc;
    d.params = params;
    *n = (net){ .n_inner = 0 };
    assert_ok(clv_graph_create(t->ctx, &d, &n->g));
    n->x = clv_input_image(n->g, "x", BATCH, c->channels, c->size, c->size);
    clv_node first = clv_relu(n->g, conv_norm(n, "a", n->x, c->channels, 3, 1, true));
    clv_node y = conv_norm(n, "b", first, c->width, 3, c->stride, c->affine);
    n->inner[n->n_inner++] = y;
    if (c->sum) y = clv_add(n->g, y, c->sum == PROJECTION ? conv_norm(n, "c", first, c->width, 1, c->stride, true) : first);
    if (c->sum && c->relu) n->inner[n->n_inner++] = y;
    if (c->relu) y = clv_relu(n->g, y);
    if (c->sum == SHARED) y = clv_add(n->g, clv_scale(n->g, first, 0.5, 0), y);
    n->y = y;
    for (int i = 0; keep_all && i < n->n_inner; i++) clv_graph_output(n->g, n->inner[i]);
    clv_graph_output(n->g, y);
    assert_ok(clv_graph_finish(n->g));
}

/* Every parameter and buffer away from its first value; variances positive. */
static void stir(clv_params *params, uint64_t seed)
{
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(params, i, &info));
        clv_view view = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        const int64_t count = clv_view_count(&view);
        float *data = malloc((size_t)count * sizeof *data);
        clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_TEST, 0, (uint64_t)i, 0);
        const bool positive = strstr(info.name, "var") != NULL;
        const double spread = info.ndim == 4 ? 0.1 : 1;
        for (int64_t k = 0; k < count; k++)
            data[k] = (float)(positive ? clvi_rng_uniform(&rng, 0.1, 2) : spread * clvi_rng_normal(&rng));
        view.data = data;
        assert_ok(clv_params_write(params, i, &view));
        free(data);
    }
}

static void run(net *n, const net_case *c, clv_view *out)
{
    const int64_t count = BATCH * c->channels * c->size * c->size;
    clvi_rng rng = clvi_rng_make(3, CLVI_RNG_TEST, 0, 0, 0);
    if (!n->pixels) n->pixels = malloc((size_t)count * sizeof *n->pixels);
    for (int64_t i = 0; i < count; i++) n->pixels[i] = (float)clvi_rng_normal(&rng);
    const clv_view x = clv_view_nhwc(n->pixels, CLV_F32, BATCH, c->channels, c->size, c->size);
    assert_ok(clv_graph_bind(n->g, n->x, &x));
    assert_ok(clv_graph_run(n->g));
    assert_ok(clv_graph_read(n->g, n->y, out));
}

static void release(net *n)
{
    clv_graph_destroy(n->g);
    free(n->pixels);
}

static int count_steps(const clv_graph *g, const char *op)
{
    int count = 0;
    for (int32_t i = 0; i < g->n_steps; i++) count += strcmp(g->steps[i].call.op, op) == 0;
    return count;
}

static void assert_same(const clv_view *a, const clv_view *b)
{
    const float *x = a->data, *y = b->data;
    float largest = 0;
    for (int64_t i = 0; i < clv_view_count(a); i++) largest = fmaxf(largest, fabsf(y[i]));
    assert_true(largest > 0.1f);
    for (int64_t i = 0; i < clv_view_count(a); i++) assert_near(x[i], y[i], 5e-6 * largest);
}

static void check_case(test_env *t, const net_case *c, bool reference)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_params *params = NULL;
    net folded, plain;
    clv_view a, b;
    assert_ok(clv_params_create(t->ctx, CLV_F32, &params));
    build(t, c, &desc, params, true, &plain);
    desc.reference = reference;
    build(t, c, &desc, params, false, &folded);
    assert_int_equal(count_steps(folded.g, "batch_norm"), 0);
    assert_int_equal(count_steps(folded.g, "conv2d"), 0);
    assert_int_equal(count_steps(folded.g, "add"), c->sum == SHARED);
    assert_int_equal(count_steps(folded.g, "relu"), 0);
    assert_int_equal(count_steps(plain.g, "conv2d_norm"), 0);
    for (uint64_t seed = 1; seed <= 2; seed++) {      /* what is folded follows the parameters */
        stir(params, seed);
        run(&folded, c, &a);
        run(&plain, c, &b);
        assert_same(&a, &b);
    }
    release(&folded);
    release(&plain);
    clv_params_destroy(params);
}

static void folding_changes_results_by_rounding_only(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_case(*state, &cases[i], false);
}

static void the_reference_folds_to_the_same(void **state)
{
    for (size_t i = 0; i < 6; i++) check_case(*state, &cases[i], true);
}

static void only_networks_that_are_looked_at_are_folded(void **state)
{
    test_env *t = *state;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    net n;
    desc.training = true;                              /* batch statistics */
    build(t, &cases[2], &desc, NULL, false, &n);
    assert_int_equal(count_steps(n.g, "conv2d_norm"), 0);
    assert_int_equal(count_steps(n.g, "batch_norm"), 2);
    release(&n);

    desc.training = false;                             /* a gradient through fixed statistics needs what lies between */
    assert_ok(clv_graph_create(t->ctx, &desc, &n.g));
    n.n_inner = 0;
    n.x = clv_input_image(n.g, "x", BATCH, 4, 6, 6);
    const clv_node y = conv_norm(&n, "a", n.x, 4, 3, 1, true);
    assert_ok(clv_graph_backward(n.g, clv_reduce(n.g, y, -1, true)));
    assert_ok(clv_graph_finish(n.g));
    assert_int_equal(count_steps(n.g, "conv2d_norm"), 0);
    clv_graph_destroy(n.g);
}

/* Of the convolution that adds: does its result lie where what it adds lay? */
static bool grows_in_place(test_env *t, const net_case *c)
{
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    int found = 0;
    bool same = false;
    net n;
    build(t, c, &desc, NULL, false, &n);
    for (int32_t i = 0; i < n.g->n_steps; i++) {
        const clvi_step *s = &n.g->steps[i];
        if (strcmp(s->call.op, "conv2d_norm") != 0 || s->in[6] < 0) continue;
        same = clvi_graph_storage(n.g, s->in[6]) == clvi_graph_storage(n.g, s->out[0]);
        found++;
    }
    assert_int_equal(found, 1);
    release(&n);
    return same;
}

static void a_sum_grows_in_place_unless_its_operand_is_read_again(void **state)
{
    assert_true(grows_in_place(*state, &cases[4]));     /* a projection nobody else reads */
    assert_false(grows_in_place(*state, &cases[2]));    /* the convolution itself reads it */
    assert_false(grows_in_place(*state, &cases[5]));    /* it is read later */
}

TEST_MAIN(TEST(folding_changes_results_by_rounding_only), TEST(the_reference_folds_to_the_same),
          TEST(only_networks_that_are_looked_at_are_folded), TEST(a_sum_grows_in_place_unless_its_operand_is_read_again))
