/* test_recompute.c: a backward pass that computes values again instead of keeping them gives the same bits for less
 * memory. */
#include "core/rng.h"
#include "tensor/graph.h"
#include "tests/support/test.h"
#include <cleave/backbone.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, CLASSES = 5 };

typedef struct net {
    clv_params *params;
    clv_graph  *g;
    clv_node    loss, images;
    float      *pixels;
    int64_t     targets[BATCH];
} net;

typedef struct net_case {
    const char *backbone, *splits;
    int64_t     size;
    bool        reference;
} net_case;

static const net_case cases[] = {
    { "resnet8", "1", 12, false }, { "resnet8", "2", 12, false }, { "resnet8", "2", 8, true },
    { "resnet20", "1", 32, false }, { "resnet50", "1", 32, false },
};

static void build(test_env *t, const net_case *c, bool recompute, net *n)
{
    const clv_option options[] = { { "stem", "cifar" }, { "width", "16" }, { "bn-splits", c->splits } };
    const clv_option dim[] = { { "dim", "5" } };
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_node features, logits;
    const int64_t batch = BATCH;
    memset(n, 0, sizeof *n);
    assert_ok(clv_params_create(t->ctx, CLV_F32, &n->params));
    desc.params = n->params;
    desc.training = true;
    desc.reference = c->reference;
    desc.recompute = recompute;
    assert_ok(clv_graph_create(t->ctx, &desc, &n->g));
    n->images = clv_input_image(n->g, "images", BATCH, 3, c->size, c->size);
    const clv_node targets = clv_input(n->g, "targets", CLV_I64, 1, &batch);
    assert_ok(clv_backbone_node(n->g, c->backbone, options, 3, "", n->images, &features));
    assert_ok(clv_head_node(n->g, "linear", dim, 1, "", features, &logits));
    n->loss = clv_reduce(n->g, clv_softmax_xent(n->g, logits, targets, CLV_NONE), -1, true);
    clv_graph_output(n->g, n->loss);
    assert_ok(clv_graph_backward(n->g, n->loss));
    assert_ok(clv_graph_finish(n->g));
    assert_ok(clv_params_init(n->params, 1));
    const int64_t count = BATCH * 3 * c->size * c->size;
    n->pixels = malloc((size_t)count * sizeof *n->pixels);
    clvi_rng rng = clvi_rng_make(7, CLVI_RNG_TEST, 0, 0, 0);
    for (int64_t i = 0; i < count; i++) n->pixels[i] = (float)clvi_rng_normal(&rng);
    for (int64_t i = 0; i < BATCH; i++) n->targets[i] = i % CLASSES;
    const clv_view x = clv_view_nhwc(n->pixels, CLV_F32, BATCH, 3, c->size, c->size);
    const clv_view y = clv_view_1d(n->targets, CLV_I64, BATCH);
    assert_ok(clv_graph_bind(n->g, n->images, &x));
    assert_ok(clv_graph_bind(n->g, targets, &y));
}

static void release(net *n)
{
    clv_graph_destroy(n->g);
    clv_params_destroy(n->params);
    free(n->pixels);
}

static int count_steps(const clv_graph *g, const char *op)
{
    int count = 0;
    for (int32_t i = 0; i < g->n_steps; i++) count += strcmp(g->steps[i].call.op, op) == 0;
    return count;
}

static void assert_same_values(const clv_params *a, const clv_params *b)
{
    assert_int_equal(clv_params_count(a), clv_params_count(b));
    for (int64_t i = 0; i < clv_params_count(a); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(a, i, &info));
        clv_view x = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape), y = x;
        const size_t bytes = (size_t)clv_view_count(&x) * sizeof(float);
        x.data = malloc(bytes);
        y.data = malloc(bytes);
        for (int part = 0; part < (info.kind == CLV_PARAM_TRAINABLE ? 2 : 1); part++) {
            assert_ok(clv_params_read(a, i, part ? CLV_PARAM_GRADIENT : CLV_PARAM_VALUE, &x));
            assert_ok(clv_params_read(b, i, part ? CLV_PARAM_GRADIENT : CLV_PARAM_VALUE, &y));
            if (memcmp(x.data, y.data, bytes) != 0) fail_msg("%s differs", info.name);
        }
        free(x.data);
        free(y.data);
    }
}

/* Loss, gradients, and running statistics, which move once a step, after two steps with an update between them. */
static void all_bits_are_those_of_the_plain_pass(void **state)
{
    test_env *t = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        net n[2];
        clv_view loss[2];
        for (int k = 0; k < 2; k++) {
            build(t, &cases[i], k == 1, &n[k]);
            assert_ok(clv_graph_run(n[k].g));
            assert_ok(clv_params_sgd(n[k].params, &(clv_sgd){ .lr = 0.1 }));
            assert_ok(clv_graph_run(n[k].g));
            assert_ok(clv_graph_read(n[k].g, n[k].loss, &loss[k]));
        }
        assert_memory_equal(loss[0].data, loss[1].data, sizeof(float));
        assert_same_values(n[0].params, n[1].params);
        for (int k = 0; k < 2; k++) release(&n[k]);
    }
}

static void less_memory_is_planned_and_taken(void **state)
{
    test_env *t = *state;
    net n[2];
    clv_graph_memory_t told[2];
    for (int k = 0; k < 2; k++) {
        build(t, &cases[3], k == 1, &n[k]);
        assert_ok(clv_graph_memory(n[k].g, &told[k]));
        const long before = t->heap.live_bytes;
        assert_ok(clv_graph_run(n[k].g));
        assert_int_equal(t->heap.live_bytes - before, told[k].activations + told[k].gradients);
    }
    const double kept[2] = { (double)(told[0].activations - told[0].scratch),      /* Winograd's, as large as that */
                             (double)(told[1].activations - told[1].scratch) };
    assert_true(kept[1] < 0.6 * kept[0]);
    assert_true(count_steps(n[1].g, "conv2d") > count_steps(n[0].g, "conv2d"));
    for (int k = 0; k < 2; k++) release(&n[k]);
}

/* A chain without a value of several readers is kept at every fourth convolution, so nothing is computed three times. */
static void a_long_chain_is_computed_twice_at_most(void **state)
{
    test_env *t = *state;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.training = desc.recompute = true;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    clv_node x = clv_input_image(g, "x", 2, 4, 6, 6);
    for (int i = 0; i < 9; i++) {
        const char name[] = { 'a' + (char)i, 0 };
        x = clv_relu(g, clv_conv2d(g, x, clv_parameter(g, name, CLV_PARAM_TRAINABLE, 4, (int64_t[]){ 4, 4, 3, 3 },
                                                       (clv_init){ CLV_INIT_KAIMING_NORMAL, 0, 36 }), 1, 1));
    }
    assert_ok(clv_graph_backward(g, clv_reduce(g, x, -1, true)));
    assert_ok(clv_graph_finish(g));
    assert_true(count_steps(g, "conv2d") > 9 && count_steps(g, "conv2d") <= 18);
    clv_graph_destroy(g);
}

static clv_status build_small(clv_context *ctx, void *arg)
{
    (void)arg;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.training = desc.recompute = true;
    clv_status st = clv_graph_create(ctx, &desc, &g);
    if (st != CLV_OK) return st;
    const clv_node x = clv_input_image(g, "x", 2, 2, 4, 4);
    const clv_node w = clv_parameter(g, "w", CLV_PARAM_TRAINABLE, 4, (int64_t[]){ 2, 2, 3, 3 },
                                     (clv_init){ CLV_INIT_KAIMING_NORMAL, 0, 18 });
    const clv_node y = clv_relu(g, clv_conv2d(g, clv_relu(g, clv_conv2d(g, x, w, 1, 1)), w, 1, 1));
    st = clv_graph_backward(g, clv_reduce(g, y, -1, true));
    clv_graph_destroy(g);
    return st;
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    test_each_allocation_fails(*state, build_small, NULL);
}

TEST_MAIN(TEST(all_bits_are_those_of_the_plain_pass), TEST(less_memory_is_planned_and_taken),
          TEST(a_long_chain_is_computed_twice_at_most), TEST(running_out_of_memory_leaves_nothing_behind))
