/* test_transformer_ops.c: layer norm, attention, grouped convolution, pixels as rows, stochastic depth: what shapes
 * they refuse, what memory attention takes, which paths are dropped. Values and gradients are looked at in
 * tests/gradient and tests/parity. */
#include "tests/support/test.h"
#include "tensor/graph.h"

#include <math.h>
#include <string.h>

#define SHAPE(...) (int)(sizeof((int64_t[]) { __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }

static clv_graph *graph(clv_context *ctx, bool training)
{
    clv_graph *g = NULL;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.training = training;
    assert_ok(clv_graph_create(ctx, &desc, &g));
    return g;
}

typedef clv_node (*builder)(clv_graph *g);

static clv_node input(clv_graph *g, const char *name, int ndim, const int64_t *shape)
{
    return clv_input(g, name, CLV_F32, ndim, shape);
}

static clv_node tokens_do_not_divide(clv_graph *g) { return clv_attention(g, input(g, "x", SHAPE(10, 12)), 4, 2); }
static clv_node heads_do_not_divide(clv_graph *g) { return clv_attention(g, input(g, "x", SHAPE(8, 12)), 4, 3); }
static clv_node no_heads(clv_graph *g) { return clv_attention(g, input(g, "x", SHAPE(8, 12)), 4, 0); }
static clv_node short_gamma(clv_graph *g)
{
    return clv_layer_norm(g, input(g, "x", SHAPE(3, 4)), input(g, "g", SHAPE(3)), input(g, "b", SHAPE(4)), 1e-6);
}
static clv_node no_eps(clv_graph *g)
{
    return clv_layer_norm(g, input(g, "x", SHAPE(3, 4)), input(g, "g", SHAPE(4)), input(g, "b", SHAPE(4)), 0);
}
static clv_node groups_do_not_divide(clv_graph *g)
{
    return clv_conv2d_groups(g, input(g, "x", SHAPE(1, 6, 5, 5)), input(g, "w", SHAPE(4, 2, 3, 3)), 1, 1, 3);
}
static clv_node channels_do_not_fit(clv_graph *g)
{
    return clv_conv2d_groups(g, input(g, "x", SHAPE(1, 6, 5, 5)), input(g, "w", SHAPE(4, 2, 3, 3)), 1, 1, 2);
}
static clv_node not_pictures(clv_graph *g) { return clv_row_pixels(g, input(g, "x", SHAPE(10, 3)), 2, 3); }
static clv_node always_dropped(clv_graph *g)
{
    return clv_drop_path(g, input(g, "x", SHAPE(4, 3)), input(g, "n", SHAPE(1)), 1.0, 0, 0);
}

static void shapes_that_do_not_fit_are_named(void **state)
{
    static const struct { builder build; clv_status status; const char *text; } cases[] = {
        { tokens_do_not_divide, CLV_ERR_SHAPE, "attention: 10 rows are not samples of 4 tokens" },
        { heads_do_not_divide, CLV_ERR_SHAPE, "attention: 12 columns are not queries, keys and values of 3 heads" },
        { no_heads, CLV_ERR_INVALID, "attention: 4 tokens and 0 heads, want at least 1" },
        { short_gamma, CLV_ERR_SHAPE, "layer_norm: gamma has 3 values, x has 4 columns" },
        { no_eps, CLV_ERR_INVALID, "layer_norm: eps is 0, want more than 0" },
        { groups_do_not_divide, CLV_ERR_INVALID, "conv2d: 3 groups do not divide 4 output channels" },
        { channels_do_not_fit, CLV_ERR_SHAPE, "conv2d: weight expects 4 input channels, x has 6" },
        { not_pictures, CLV_ERR_SHAPE, "row_pixels: 10 rows are not pictures of 2x3" },
        { always_dropped, CLV_ERR_INVALID, "drop_path: the rate is 1, want 0 or more and less than 1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clv_graph *g = graph(((test_env *)*state)->ctx, true);
        (void)cases[i].build(g);
        assert_fails(clv_graph_finish(g), cases[i].status, cases[i].text);
        clv_graph_destroy(g);
    }
}

/* Bytes of a training step of one attention over as many rows, cut into samples of some length. */
static size_t attention_bytes(clv_context *ctx, int64_t rows, int64_t tokens)
{
    clv_graph *g = graph(ctx, true);
    const int64_t shape[2] = { 64, 192 };
    const clv_node w = clv_parameter(g, "w", CLV_PARAM_TRAINABLE, 2, shape, (clv_init){ CLV_INIT_CONSTANT, 0.1, 0 });
    const clv_node y = clv_attention(g, clv_matmul(g, input(g, "x", SHAPE(rows, 64)), false, w, false), tokens, 4);
    assert_ok(clv_graph_backward(g, clv_reduce(g, y, -1, true)));
    assert_ok(clv_graph_finish(g));
    clv_graph_memory_t memory;
    assert_ok(clv_graph_memory(g, &memory));
    clv_graph_destroy(g);
    return memory.activations;
}

/* All scores of one sample of 4096 tokens and 4 heads would be 256 MiB. */
static void memory_of_attention_grows_with_the_tokens_not_their_square(void **state)
{
    clv_context *ctx = test_context(*state, 1);
    const size_t apart = attention_bytes(ctx, 4096, 64), together = attention_bytes(ctx, 4096, 4096);
    assert_true(together <= apart + 128 * 4096 * sizeof(float));
    clv_context_destroy(ctx);
}

/* ---- stochastic depth ---- */

enum { ROWS = 2000, COLUMNS = 3 };

typedef struct paths {
    clv_graph *g;
    clv_node   y[2];
    float      x[ROWS * COLUMNS];
} paths;

/* The same rows through two paths of different streams. */
static paths *two_paths(clv_context *ctx, double rate, uint64_t seed)
{
    static paths p;
    clv_node out;
    const int64_t one = 1;
    const clv_init zero = { CLV_INIT_CONSTANT, 0, 0 };
    p.g = graph(ctx, true);
    const clv_node x = input(p.g, "x", SHAPE(ROWS, COLUMNS));
    for (int i = 0; i < 2; i++) {
        const clv_node count = clv_parameter(p.g, i ? "b" : "a", CLV_PARAM_BUFFER, 1, &one, zero);
        out = p.y[i] = clv_drop_path(p.g, x, count, rate, seed, (uint32_t)i);
        clv_graph_output(p.g, out);
    }
    for (int i = 0; i < ROWS * COLUMNS; i++) p.x[i] = (float)(i + 1);
    assert_ok(clv_graph_finish(p.g));
    assert_ok(clv_params_init(clv_graph_params(p.g), 1));
    const clv_view view = clv_view_2d(p.x, CLV_F32, ROWS, COLUMNS);
    assert_ok(clv_graph_bind(p.g, x, &view));
    return &p;
}

/* Runs, and writes which rows stayed; each row must be whole, and scaled by 1/(1 - rate). */
static int run_paths(paths *p, int which, double rate, bool kept[ROWS])
{
    clv_view view;
    int number = 0;
    assert_ok(clv_graph_read(p->g, p->y[which], &view));
    for (int n = 0; n < ROWS; n++) {
        const float *y = (const float *)view.data + n * COLUMNS;
        kept[n] = y[0] != 0;
        number += kept[n];
        for (int c = 0; c < COLUMNS; c++)
            assert_near(y[c], kept[n] ? p->x[n * COLUMNS + c] / (1 - rate) : 0, 1e-6 * p->x[n * COLUMNS + c]);
    }
    return number;
}

static void paths_are_dropped_at_the_rate_and_anew_in_each_run(void **state)
{
    bool kept[4][ROWS];
    paths *p = two_paths(((test_env *)*state)->ctx, 0.3, 7);
    for (int run = 0; run < 2; run++) {
        assert_ok(clv_graph_run(p->g));
        for (int i = 0; i < 2; i++) {
            const int number = run_paths(p, i, 0.3, kept[2 * run + i]);
            assert_near(number, 0.7 * ROWS, 4 * sqrt(0.21 * ROWS));
        }
    }
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < a; b++) {
            int same = 0;
            for (int n = 0; n < ROWS; n++) same += kept[a][n] == kept[b][n];
            assert_near(same, 0.58 * ROWS, 5 * sqrt(0.58 * 0.42 * ROWS));      /* both kept or both dropped */
        }
    clv_graph_destroy(p->g);
}

static void what_is_dropped_follows_from_seed_and_count_alone(void **state)
{
    static bool first[ROWS], again[ROWS], other[ROWS];
    test_env *t = *state;
    paths *p = two_paths(t->ctx, 0.5, 7);
    for (int run = 0; run < 3; run++) assert_ok(clv_graph_run(p->g));
    (void)run_paths(p, 1, 0.5, first);
    clv_graph_destroy(p->g);

    clv_context *ctx = test_context(t, 1);
    p = two_paths(ctx, 0.5, 7);
    float two = 2;
    const int64_t one = 1;
    const clv_view view = clv_view_dense(&two, CLV_F32, 1, &one);
    assert_ok(clv_params_write(clv_graph_params(p->g), 1, &view));      /* as a checkpoint would have it */
    assert_ok(clv_graph_run(p->g));
    (void)run_paths(p, 1, 0.5, again);
    assert_memory_equal(first, again, sizeof first);
    assert_ok(clv_params_read(clv_graph_params(p->g), 1, CLV_PARAM_VALUE, &view));
    assert_true(two == 3);
    clv_graph_destroy(p->g);

    p = two_paths(ctx, 0.5, 8);
    for (int run = 0; run < 3; run++) assert_ok(clv_graph_run(p->g));
    (void)run_paths(p, 1, 0.5, other);
    assert_memory_not_equal(first, other, sizeof first);
    clv_graph_destroy(p->g);
    clv_context_destroy(ctx);
}

static void nothing_is_dropped_where_nothing_is_trained(void **state)
{
    clv_graph *g = graph(((test_env *)*state)->ctx, false);
    const clv_node x = input(g, "x", SHAPE(4, 3));
    assert_int_equal(clv_drop_path(g, x, input(g, "n", SHAPE(1)), 0.5, 0, 0).id, x.id);
    clv_graph_destroy(g);
}

TEST_MAIN(TEST(shapes_that_do_not_fit_are_named), TEST(memory_of_attention_grows_with_the_tokens_not_their_square),
          TEST(paths_are_dropped_at_the_rate_and_anew_in_each_run),
          TEST(what_is_dropped_follows_from_seed_and_count_alone), TEST(nothing_is_dropped_where_nothing_is_trained))
