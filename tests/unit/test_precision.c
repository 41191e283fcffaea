/* test_precision.c: which values of a graph are bfloat16, what stays float32, and what the two have to do with each
 * other. Runs with bfloat16 instructions and without: there only the reference kernels compute in it. */
#include "core/checked.h"
#include "tensor/graph.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 8, SIDE = 12, CHANNELS = 16, CLASSES = 5, PIXELS = N * 3 * SIDE * SIDE };

static bool fast_half(void)
{
    return clvi_cpu_isa() == CLVI_ISA_AVX512_BF16;
}

/* ---- a small network ---- */

typedef struct net {
    clv_graph *g;
    clv_node   images, labels, stem, pooled, loss;
} net;

static clv_node parameter(clv_graph *g, const char *name, const char *leaf, clv_param_kind kind, int ndim,
                          const int64_t *shape, clv_init init)
{
    char full[64];
    (void)snprintf(full, sizeof full, "%s.%s", name, leaf);
    return clv_parameter(g, full, kind, ndim, shape, init);
}

static clv_node conv_norm(clv_graph *g, const char *name, clv_node x, int64_t in, int64_t out)
{
    const clv_init zero = { CLV_INIT_CONSTANT, 0, 0 }, one = { CLV_INIT_CONSTANT, 1, 0 };
    const clv_init he = { CLV_INIT_KAIMING_NORMAL, 0, 9 * out };
    const clv_node w = parameter(g, name, "weight", CLV_PARAM_TRAINABLE, 4, (int64_t[]){ out, in, 3, 3 }, he);
    const clv_batch_norm_desc norm = {
        parameter(g, name, "gamma", CLV_PARAM_TRAINABLE, 1, &out, one),
        parameter(g, name, "beta", CLV_PARAM_TRAINABLE, 1, &out, zero),
        parameter(g, name, "mean", CLV_PARAM_BUFFER, 1, &out, zero),
        parameter(g, name, "var", CLV_PARAM_BUFFER, 1, &out, one), 1, 1e-5, 0.1,
    };
    return clv_batch_norm(g, clv_conv2d(g, x, w, 1, 1), &norm);
}

/* conv, a residual block, pooling, a linear layer, cross entropy; kept on the way: the stem and the pooled features. */
static net build(test_env *t, clv_params *params, clv_precision precision, bool reference)
{
    net n = { 0 };
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = params;
    desc.training = true;
    desc.precision = precision;
    desc.reference = reference;
    assert_ok(clv_graph_create(t->ctx, &desc, &n.g));
    clv_graph *g = n.g;
    n.images = clv_input_image(g, "images", N, 3, SIDE, SIDE);
    n.labels = clv_input(g, "labels", CLV_I64, 1, (int64_t[]){ N });
    n.stem = clv_relu(g, conv_norm(g, "stem", n.images, 3, CHANNELS));
    clv_node x = clv_max_pool2d(g, n.stem, 3, 2, 1);
    const clv_node y = clv_relu(g, conv_norm(g, "a", x, CHANNELS, CHANNELS));
    x = clv_relu(g, clv_add(g, conv_norm(g, "b", y, CHANNELS, CHANNELS), x));
    n.pooled = clv_global_avg_pool(g, x);
    const clv_init fan = { CLV_INIT_UNIFORM_FAN, 0, CHANNELS };
    const int64_t shape[] = { CLASSES, CHANNELS };
    const clv_node w = parameter(g, "fc", "weight", CLV_PARAM_TRAINABLE, 2, shape, fan);
    const clv_node bias = parameter(g, "fc", "bias", CLV_PARAM_TRAINABLE, 1, shape, fan);
    const clv_node logits = clv_linear(g, n.pooled, w, bias);
    n.loss = clv_reduce(g, clv_softmax_xent(g, logits, n.labels, CLV_NONE), -1, true);
    clv_graph_output(g, n.stem);
    clv_graph_output(g, n.pooled);
    clv_graph_output(g, n.loss);
    assert_ok(clv_graph_backward(g, n.loss));
    assert_ok(clv_graph_finish(g));
    return n;
}

/* Draws the parameters, runs once on the same batch as everybody, and copies the gradients, all in plain order, to
 * grads[]; returns the loss. */
static double step(const net *n, float *grads, int64_t *count)
{
    static float pixels[PIXELS];
    static int64_t labels[N];
    uint64_t s = 1;
    for (int i = 0; i < PIXELS; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        pixels[i] = (float)((double)(s >> 40) / (double)(1 << 23) - 1);
    }
    for (int i = 0; i < N; i++) labels[i] = i % CLASSES;
    const clv_view x = clv_view_nhwc(pixels, CLV_F32, N, 3, SIDE, SIDE), y = clv_view_1d(labels, CLV_I64, N);
    clv_params *params = clv_graph_params(n->g);
    clv_view loss;
    assert_ok(clv_params_init(params, 3));
    assert_ok(clv_graph_bind(n->g, n->images, &x));
    assert_ok(clv_graph_bind(n->g, n->labels, &y));
    assert_ok(clv_graph_run(n->g));
    assert_ok(clv_graph_read(n->g, n->loss, &loss));
    *count = 0;
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(params, i, &info));
        if (info.kind != CLV_PARAM_TRAINABLE) continue;
        const clv_view view = clv_view_dense(grads + *count, CLV_F32, info.ndim, info.shape);
        assert_ok(clv_params_read(params, i, CLV_PARAM_GRADIENT, &view));
        *count += clv_view_count(&view);
    }
    return (double)*(const float *)loss.data;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / norm);
}

/* ---- which values ---- */

/* The plan's lines, for looking things up in. */
typedef struct text {
    char   plan[65536];
    size_t used;
} text;

static void keep_line(const char *line, void *user)
{
    text *t = user;
    const size_t n = strlen(line);
    assert_true(t->used + n + 2 < sizeof t->plan);
    memcpy(t->plan + t->used, line, n);
    t->used += n;
    t->plan[t->used++] = '\n';
}

static void only_convolutions_and_what_lies_between_compute_in_bfloat16(void **state)
{
    test_env *t = *state;
    static const char *const narrow[] = { "conv2d", "conv2d_bwd_data", "conv2d_bwd_weights", "batch_norm",
                                          "batch_norm_bwd", "relu", "relu_bwd", "add", "max_pool2d", "max_pool2d_bwd" };
    const net n = build(t, NULL, CLV_PRECISION_BF16, !fast_half());
    int halves = 0;
    for (int32_t i = 0; i < n.g->n_steps; i++) {
        const clvi_op_call *call = &n.g->steps[i].call;
        bool may = strcmp(call->op, "reorder") == 0, any = false;
        for (size_t k = 0; k < CLVI_COUNT(narrow); k++) may = may || strcmp(call->op, narrow[k]) == 0;
        for (int k = 0; k < call->n_in; k++) any = any || call->in[k].dtype == CLV_BF16;
        for (int k = 0; k < call->n_out; k++) any = any || call->out[k].dtype == CLV_BF16;
        if (any && !may) fail_msg("%s computes in bfloat16", call->op);
        if (strncmp(call->op, "conv2d", 6) == 0) assert_true(any);
        halves += any;
    }
    assert_true(halves > 20);
    clv_graph_destroy(n.g);
}

/* Grouped convolution is plain C's and the CPU's own, which know float32 only. */
static void what_no_fast_kernel_does_in_bfloat16_stays_float32(void **state)
{
    test_env *t = *state;
    if (!fast_half()) skip();
    const clv_init he = { CLV_INIT_KAIMING_NORMAL, 0, 9 };
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    int grouped = 0, half = 0;
    desc.precision = CLV_PRECISION_BF16;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node x = clv_input_image(g, "x", 2, 8, 6, 6);
    const clv_node a = clv_parameter(g, "a", CLV_PARAM_TRAINABLE, 4, (int64_t[]){ 8, 8, 3, 3 }, he);
    const clv_node b = clv_parameter(g, "b", CLV_PARAM_TRAINABLE, 4, (int64_t[]){ 8, 1, 3, 3 }, he);
    clv_node y = clv_conv2d(g, clv_conv2d_groups(g, clv_conv2d(g, x, a, 1, 1), b, 1, 1, 8), a, 1, 1);
    y = clv_reduce(g, clv_mul(g, y, y), -1, true);
    assert_ok(clv_graph_backward(g, y));
    assert_ok(clv_graph_finish(g));
    for (int32_t i = 0; i < g->n_steps; i++) {
        const clvi_op_call *call = &g->steps[i].call;
        if (strncmp(call->op, "conv2d", 6) != 0) continue;
        const bool groups = ((const clvi_conv2d_attr *)call->attr)->groups > 1;
        assert_int_equal(call->in[0].dtype, groups ? CLV_F32 : CLV_BF16);
        groups ? grouped++ : half++;
    }
    assert_int_equal(grouped, 3);
    assert_int_equal(half, 5);      /* nobody asked for the gradient of the image */
    clv_graph_destroy(g);
}

static void the_plan_tells_types(void **state)
{
    test_env *t = *state;
    static text told;
    told.used = 0;
    const net n = build(t, NULL, CLV_PRECISION_BF16, true);
    assert_ok(clv_graph_print(n.g, keep_line, &told));
    told.plan[told.used] = 0;
    assert_non_null(strstr(told.plan, "bfloat16[8,16,12,12]"));
    clv_graph_destroy(n.g);
}

static void kept_values_are_read_in_float32(void **state)
{
    test_env *t = *state;
    const net n = build(t, NULL, CLV_PRECISION_BF16, !fast_half());
    static float grads[65536];
    int64_t count;
    (void)step(&n, grads, &count);
    clv_view stem, pooled;
    assert_ok(clv_graph_read(n.g, n.stem, &stem));
    assert_ok(clv_graph_read(n.g, n.pooled, &pooled));
    assert_int_equal(stem.dtype, CLV_F32);
    assert_int_equal(pooled.dtype, CLV_F32);
    const float *x = stem.data;
    for (int i = 0; i < N * CHANNELS * SIDE * SIDE; i++) {       /* widened, so its lower half is 0 */
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        assert_int_equal(bits & 0xffff, 0);
    }
    clv_graph_destroy(n.g);
}

static void activations_take_half_the_memory(void **state)
{
    test_env *t = *state;
    if (!fast_half()) skip();
    clv_graph_memory_t full, half;
    const net a = build(t, NULL, CLV_PRECISION_FULL, false), b = build(t, NULL, CLV_PRECISION_BF16, false);
    assert_ok(clv_graph_memory(a.g, &full));
    assert_ok(clv_graph_memory(b.g, &half));
    assert_true(half.activations < 0.7 * (double)full.activations);
    assert_int_equal(half.parameters, full.parameters);
    assert_int_equal(half.gradients, full.gradients);
    clv_graph_destroy(a.g);
    clv_graph_destroy(b.g);
}

/* ---- what it computes ---- */

static void a_step_is_near_the_one_in_float32(void **state)
{
    test_env *t = *state;
    static float full[65536], half[65536];
    int64_t count, same;
    const net a = build(t, NULL, CLV_PRECISION_FULL, true);
    const double exact = step(&a, full, &count);
    for (int reference = 0; reference < 2; reference++) {
        if (!reference && !fast_half()) continue;
        const net b = build(t, NULL, CLV_PRECISION_BF16, reference);
        assert_near(step(&b, half, &same), exact, 0.01 * exact);
        assert_int_equal(same, count);
        const double d = distance(half, full, count);
        assert_true(d < 0.08 && d > 1e-4);      /* it is not float32 under another name */
        clv_graph_destroy(b.g);
    }
    clv_graph_destroy(a.g);
}

static void two_steps_give_the_same_bits(void **state)
{
    test_env *t = *state;
    static float first[65536], second[65536];
    int64_t count;
    const net a = build(t, NULL, CLV_PRECISION_BF16, !fast_half()), b = build(t, NULL, CLV_PRECISION_BF16, !fast_half());
    assert_true(step(&a, first, &count) == step(&b, second, &count));
    assert_memory_equal(first, second, (size_t)count * sizeof *first);
    clv_graph_destroy(a.g);
    clv_graph_destroy(b.g);
}

/* Whichever comes first lays the parameters out; the other one works with that. */
static void graphs_of_both_precisions_share_parameters(void **state)
{
    test_env *t = *state;
    const bool reference = !fast_half();
    static float grads[3][65536];
    int64_t count;
    for (int first = 0; first < 2; first++) {
        clv_params *params = NULL;
        assert_ok(clv_params_create(t->ctx, CLV_F32, &params));
        net n[2];
        n[first] = build(t, params, first ? CLV_PRECISION_BF16 : CLV_PRECISION_FULL, reference);
        n[!first] = build(t, params, first ? CLV_PRECISION_FULL : CLV_PRECISION_BF16, reference);
        const net alone = build(t, NULL, CLV_PRECISION_FULL, reference);
        const double full = step(&n[0], grads[0], &count);
        assert_near(step(&n[1], grads[1], &count), full, 0.01 * full);
        assert_true(distance(grads[1], grads[0], count) < 0.08);
        assert_near(step(&alone, grads[2], &count), full, 1e-5 * full);
        assert_true(distance(grads[2], grads[0], count) < 1e-4);
        for (int i = 0; i < 2; i++) clv_graph_destroy(n[i].g);
        clv_graph_destroy(alone.g);
        clv_params_destroy(params);
    }
}

/* ---- who may have it ---- */

static void auto_takes_what_the_processor_has(void **state)
{
    (void)state;
    clv_precision p;
    assert_ok(clv_precision_resolve(CLV_PRECISION_FULL, &p));
    assert_int_equal(p, CLV_PRECISION_FULL);
    assert_ok(clv_precision_resolve(CLV_PRECISION_AUTO, &p));
    assert_int_equal(p, fast_half() ? CLV_PRECISION_BF16 : CLV_PRECISION_FULL);
    assert_fails(clv_precision_resolve((clv_precision)7, &p), CLV_ERR_INVALID, "no precision 7");
    assert_fails(clv_precision_resolve(CLV_PRECISION_AUTO, NULL), CLV_ERR_INVALID, "out is NULL");
}

static void a_processor_without_it_is_told_why(void **state)
{
    test_env *t = *state;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.precision = CLV_PRECISION_BF16;
    if (fast_half()) {
        assert_ok(clv_graph_create(t->ctx, &desc, &g));
    } else {
        assert_fails(clv_graph_create(t->ctx, &desc, &g), CLV_ERR_UNSUPPORTED, "AVX512-BF16 or AMX");
        if (strcmp(getenv("CLEAVE_CPU_ISA"), "avx512_bf16") != 0)
            assert_non_null(strstr(clv_error_message(), "as CLEAVE_CPU_ISA says: "));
        desc.reference = true;
        assert_ok(clv_graph_create(t->ctx, &desc, &g));
    }
    clv_graph_destroy(g);
}

/* Neither the processor nor plain C has it. */
static void tf32_is_for_gpus_and_the_error_says_what_is_for_others(void **state)
{
    test_env *t = *state;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    clv_precision p;
    assert_fails(clv_precision_resolve(CLV_PRECISION_TF32, &p), CLV_ERR_UNSUPPORTED,
                 "precision tf32 needs an NVIDIA GPU (device cuda), the processor has no TF32; fp32 runs everywhere");
    desc.precision = CLV_PRECISION_TF32;
    for (int reference = 0; reference < 2; reference++) {
        desc.reference = reference;
        assert_fails(clv_graph_create(t->ctx, &desc, &g), CLV_ERR_UNSUPPORTED, "needs an NVIDIA GPU");
        assert_null(g);
    }
}

static void float64_graphs_are_not_narrowed(void **state)
{
    test_env *t = *state;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.dtype = CLV_F64;
    desc.reference = true;
    desc.precision = CLV_PRECISION_BF16;
    assert_fails(clv_graph_create(t->ctx, &desc, &g), CLV_ERR_INVALID, "narrows a float32 graph, this one is float64");
    desc.precision = CLV_PRECISION_AUTO;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    assert_int_equal(g->precision, CLV_PRECISION_FULL);
    clv_graph_destroy(g);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_convolutions_and_what_lies_between_compute_in_bfloat16),
        TEST(what_no_fast_kernel_does_in_bfloat16_stays_float32), TEST(the_plan_tells_types),
        TEST(kept_values_are_read_in_float32), TEST(activations_take_half_the_memory),
        TEST(a_step_is_near_the_one_in_float32), TEST(two_steps_give_the_same_bits),
        TEST(graphs_of_both_precisions_share_parameters), TEST(auto_takes_what_the_processor_has),
        TEST(a_processor_without_it_is_told_why),
        TEST(tf32_is_for_gpus_and_the_error_says_what_is_for_others), TEST(float64_graphs_are_not_narrowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa_and_bf16(run_all);
}
