/* test_network.c: a step of a whole network on a device gives the host's numbers: loss, every gradient, running
 * statistics. On a device that has cuDNN in strict float32 or TF32, in the emulator by the direct kernels. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include "tensor/graph.h"
#include <cleave/backbone.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 4

typedef struct network {
    clv_params *params;
    clv_graph  *graph;
    clv_node    images, loss;
} network;

/* What a ResNet for ImageNet begins with, narrow: a strided convolution, batch norm, ReLU, maximum pooling; then the
 * mean of each channel. */
static clv_node stem(clv_graph *g, clv_node images)
{
    const int64_t shape[4] = { 12, 3, 7, 7 }, channels = 12;
    const clv_node weight = clv_parameter(g, "conv1.weight", CLV_PARAM_TRAINABLE, 4, shape,
                                          (clv_init) { .kind = CLV_INIT_KAIMING_NORMAL, .fan = 147 });
    clv_batch_norm_desc bn = { .groups = 2, .eps = 1e-5, .momentum = 0.1 };
    bn.gamma = clv_parameter(g, "bn1.weight", CLV_PARAM_TRAINABLE, 1, &channels, (clv_init) { .value = 1 });
    bn.beta = clv_parameter(g, "bn1.bias", CLV_PARAM_TRAINABLE, 1, &channels, (clv_init) { .value = 0.1 });
    bn.running_mean = clv_parameter(g, "bn1.running_mean", CLV_PARAM_BUFFER, 1, &channels, (clv_init) { .value = 0 });
    bn.running_var = clv_parameter(g, "bn1.running_var", CLV_PARAM_BUFFER, 1, &channels, (clv_init) { .value = 1 });
    const clv_node x = clv_relu(g, clv_batch_norm(g, clv_conv2d(g, images, weight, 2, 3), &bn));
    return clv_global_avg_pool(g, clv_max_pool2d(g, x, 3, 2, 1));
}

/* arch NULL: the stem alone. Width NULL: the default. */
static network make_network_that(bool recomputes, clv_context *ctx, const char *arch, const char *width, int64_t size,
                                 clv_precision precision)
{
    const clv_option options[] = { { "width", width } };
    network n = { 0 };
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_node features;
    assert_ok(clv_params_create(ctx, CLV_F32, &n.params));
    desc.params = n.params;
    desc.training = true;
    desc.precision = precision;
    desc.recompute = recomputes;
    desc.reference = precision == CLV_PRECISION_BF16 && !ctx->device;      /* the processor may not have it */
    assert_ok(clv_graph_create(ctx, &desc, &n.graph));
    n.images = clv_input_image(n.graph, "images", BATCH, 3, size, size);
    if (arch) assert_ok(clv_backbone_node(n.graph, arch, options, width != NULL, "", n.images, &features));
    else features = stem(n.graph, n.images);
    const clv_node unit = clv_l2norm_rows(n.graph, features, 1e-12);
    const clv_node pairs = clv_gram(n.graph, unit, false);
    n.loss = clv_reduce(n.graph, clv_mul(n.graph, pairs, pairs), -1, true);
    assert_ok(clv_graph_backward(n.graph, n.loss));
    clv_graph_output(n.graph, n.loss);
    assert_ok(clv_graph_finish(n.graph));
    assert_ok(clv_params_init(n.params, 7));
    return n;
}

static network make_network(clv_context *ctx, const char *arch, const char *width, int64_t size,
                            clv_precision precision)
{
    return make_network_that(false, ctx, arch, width, size, precision);
}

static double run_network(network *n, const float *pixels, int64_t size)
{
    const clv_view images = clv_view_nhwc((void *)(uintptr_t)pixels, CLV_F32, BATCH, 3, size, size);
    clv_view loss;
    assert_ok(clv_graph_bind(n->graph, n->images, &images));
    assert_ok(clv_graph_run(n->graph));
    assert_ok(clv_graph_read(n->graph, n->loss, &loss));
    return *(const float *)loss.data;
}

static void free_network(network *n)
{
    clv_graph_destroy(n->graph);
    clv_params_destroy(n->params);
}

/* Largest difference of a part of two sets, relative to the largest entry of the tensor. */
static void compare_parameter(const network *a, const network *b, int64_t i, clv_param_part part, double tolerance)
{
    clv_param_info info;
    assert_ok(clv_params_info(a->params, i, &info));
    if (part == CLV_PARAM_GRADIENT && info.kind != CLV_PARAM_TRAINABLE) return;
    clv_view va = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape), vb = va;
    const int64_t count = clv_view_count(&va);
    float *x = va.data = calloc((size_t)count, sizeof *x), *y = vb.data = calloc((size_t)count, sizeof *y);
    assert_ok(clv_params_read(a->params, i, part, &va));
    assert_ok(clv_params_read(b->params, i, part, &vb));
    double largest = 1e-6, difference = 0;
    for (int64_t k = 0; k < count; k++) {
        largest = fmax(largest, fabs((double)x[k]));
        const double apart = fabs((double)x[k] - y[k]);
        difference = isnan(apart) ? INFINITY : fmax(difference, apart);
    }
    if (difference > tolerance * largest)
        fail_msg("%s, %s: %g apart, the largest entry is %g", info.name, part == CLV_PARAM_VALUE ? "value" : "gradient",
                 difference, largest);
    free(x);
    free(y);
}

static int steps_in_bfloat16(const clv_graph *g)
{
    int count = 0;
    for (int32_t i = 0; i < g->n_steps; i++) count += g->steps[i].call.in[0].dtype == CLV_BF16;
    return count;
}

static int steps_of(const clv_graph *g, const char *op)
{
    int count = 0;
    for (int32_t i = 0; i < g->n_steps; i++) count += strcmp(g->steps[i].call.op, op) == 0;
    return count;
}

static int projections_of(const network *n)
{
    int count = 0;
    for (int64_t i = 0; i < clv_params_count(n->params); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(n->params, i, &info));
        count += strstr(info.name, "downsample.1.weight") != NULL;
    }
    return count;
}

/* A device's batch norms take whatever a block ends with: no sum of two values, or of two gradients, is a step of its
 * own, nor is a ReLU's gradient, and with a projection there is one batch norm less. */
static void blocks_end_in_one_operation(const network *n)
{
    const clv_graph *g = n->graph;
    assert_true(projections_of(n) > 0);
    assert_int_equal(steps_of(g, "batch_norm_pair"), projections_of(n));
    assert_int_equal(steps_of(g, "batch_norm_pair_bwd"), projections_of(n));
    assert_int_equal(steps_of(g, "relu_bwd"), 0);
    for (int32_t i = 0; i < g->n_steps; i++)
        if (g->steps[i].call.in[0].ndim == 4) assert_string_not_equal(g->steps[i].call.op, "add");
}

static float *make_pixels(int64_t size)
{
    const int64_t count = BATCH * 3 * size * size;
    float *pixels = malloc((size_t)count * sizeof *pixels);
    assert_non_null(pixels);
    for (int64_t i = 0; i < count; i++) pixels[i] = (float)((i * 7919 + i / 13) % 257) / 128.0f - 1;
    return pixels;
}

static void a_step_equals_the_hosts(test_env *t, const char *arch, const char *width, int64_t size,
                                    clv_precision precision)
{
    clv_context *device = test_device_context(t);
    network host = make_network(t->ctx, arch, width, size, precision),
            other = make_network(device, arch, width, size, precision);
    float *pixels = make_pixels(size);
    const double want = run_network(&host, pixels, size), got = run_network(&other, pixels, size);
    /* bfloat16 rounds at the same places in both, but where sums differ in the last bit it rounds another way. */
    const bool half = precision == CLV_PRECISION_BF16;
    assert_int_equal(steps_in_bfloat16(other.graph) > 5, half);
    if (arch) blocks_end_in_one_operation(&other);
    assert_near(got, want, (half ? 1e-3 : 1e-5) * fabs(want));
    for (int64_t i = 0; i < clv_params_count(host.params); i++) {
        compare_parameter(&host, &other, i, CLV_PARAM_VALUE, half ? 2e-3 : 1e-5);
        compare_parameter(&host, &other, i, CLV_PARAM_GRADIENT, half ? 3e-2 : 2e-4);
    }
    free(pixels);
    free_network(&host);
    free_network(&other);
    clv_context_destroy(device);
}

static void a_step_of_a_cifar_resnet(void **state)
{
    a_step_equals_the_hosts(*state, "resnet8", NULL, 8, CLV_PRECISION_FULL);
}

static void a_step_of_a_stem_with_pooling(void **state)
{
    a_step_equals_the_hosts(*state, NULL, NULL, 17, CLV_PRECISION_FULL);
}

/* The host computes by its plain kernels, for which the same is joined. */
static void a_step_in_bfloat16(void **state)
{
    a_step_equals_the_hosts(*state, "resnet8", "6", 8, CLV_PRECISION_BF16);
    a_step_equals_the_hosts(*state, NULL, NULL, 17, CLV_PRECISION_BF16);
}

/* How far gradient i is from the exact one, as a share of its length. */
static double error_of(const network *n, const network *exact, int64_t i)
{
    clv_param_info info;
    assert_ok(clv_params_info(exact->params, i, &info));
    if (info.kind != CLV_PARAM_TRAINABLE) return 0;
    clv_view a = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape), b = a;
    const int64_t count = clv_view_count(&a);
    float *x = a.data = calloc((size_t)count, sizeof *x), *y = b.data = calloc((size_t)count, sizeof *y);
    assert_ok(clv_params_read(n->params, i, CLV_PARAM_GRADIENT, &a));
    assert_ok(clv_params_read(exact->params, i, CLV_PARAM_GRADIENT, &b));
    double apart = 0, length = 0;
    for (int64_t k = 0; k < count; k++) {
        apart += pow((double)x[k] - y[k], 2);
        length += pow(y[k], 2);
    }
    free(x);
    free(y);
    assert_true(isfinite(apart) && length > 0);
    return sqrt(apart / length);
}

/* The host's fast kernels write the result of a projection's batch norm, and round it: the device may
 * be as far from float32 as twice what the host is where that is farthest. */
static void a_step_in_bfloat16_is_as_near_to_float32_as_the_hosts(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    network exact = make_network(t->ctx, "resnet8", NULL, 16, CLV_PRECISION_FULL),
            host = make_network(t->ctx, "resnet8", NULL, 16, CLV_PRECISION_BF16),
            other = make_network(device, "resnet8", NULL, 16, CLV_PRECISION_BF16);
    float *pixels = make_pixels(16);
    const double truth = run_network(&exact, pixels, 16);
    assert_near(run_network(&host, pixels, 16), truth, 1e-2 * fabs(truth));
    assert_near(run_network(&other, pixels, 16), truth, 1e-2 * fabs(truth));
    double hosts = 0, devices = 0;
    for (int64_t i = 0; i < clv_params_count(exact.params); i++) {
        hosts = fmax(hosts, error_of(&host, &exact, i));
        devices = fmax(devices, error_of(&other, &exact, i));
    }
    assert_true(hosts > 0);
    if (devices > 2 * hosts) fail_msg("a gradient is off by %g of its length, on the host by %g at most", devices, hosts);
    free(pixels);
    free_network(&exact);
    free_network(&host);
    free_network(&other);
    clv_context_destroy(device);
}

/* Most of the error of a gradient is from ReLUs that fall the other way. Roundings are an eighth of bfloat16's, so as many
 * fall as an eighth, and the root of that, a third, is left of the error; half may be. And it is not float32 under
 * another name. */
static void a_step_in_tf32_is_nearer_to_float32_than_in_bfloat16(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    network exact = make_network(t->ctx, "resnet8", NULL, 16, CLV_PRECISION_FULL),
            tf32 = make_network(device, "resnet8", NULL, 16, CLV_PRECISION_TF32),
            half = make_network(device, "resnet8", NULL, 16, CLV_PRECISION_BF16);
    float *pixels = make_pixels(16);
    const double truth = run_network(&exact, pixels, 16);
    assert_near(run_network(&tf32, pixels, 16), truth, 1e-3 * fabs(truth));
    assert_near(run_network(&half, pixels, 16), truth, 1e-2 * fabs(truth));
    assert_int_equal(steps_in_bfloat16(tf32.graph), 0);
    double most = 0, halves = 0;
    for (int64_t i = 0; i < clv_params_count(exact.params); i++) {
        compare_parameter(&exact, &tf32, i, CLV_PARAM_VALUE, 1e-3);
        most = fmax(most, error_of(&tf32, &exact, i));
        halves = fmax(halves, error_of(&half, &exact, i));
    }
    if (!(most > 1e-4 && most < halves / 2))
        fail_msg("a gradient is off by %g of its length, in bfloat16 by %g at most", most, halves);
    free(pixels);
    free_network(&exact);
    free_network(&tf32);
    free_network(&half);
    clv_context_destroy(device);
}

static void float64_graphs_are_not_narrowed(void **state)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    clv_context *device = test_device_context(*state);
    desc.precision = CLV_PRECISION_TF32;
    desc.dtype = CLV_F64;
    assert_fails(clv_graph_create(device, &desc, &g), CLV_ERR_INVALID,
                 "precision tf32 narrows a float32 graph, this one is float64");
    clv_context_destroy(device);
}

static int batch_norms_again(const clv_graph *g)
{
    int count = 0;
    for (int32_t i = 0; i < g->n_steps; i++) {
        const clvi_op_call *call = &g->steps[i].call;
        count += strcmp(call->op, "batch_norm") == 0 && ((const clvi_batch_norm_attr *)call->attr)->again;
    }
    return count;
}

/* Two steps: what the first does to running statistics is read by the second. */
static void a_step_that_computes_again_has_the_bits_of_one_that_keeps(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const clv_precision precision = bf16 ? CLV_PRECISION_BF16 : CLV_PRECISION_FULL;
        const char *arch = bf16 ? "resnet8" : NULL;
        network keeps = make_network_that(false, device, arch, NULL, 17, precision),
                again = make_network_that(true, device, arch, NULL, 17, precision);
        float *pixels = make_pixels(17);
        assert_int_equal(batch_norms_again(keeps.graph), 0);
        assert_true(batch_norms_again(again.graph) > 0);
        for (int step = 0; step < 2; step++)
            assert_true(run_network(&again, pixels, 17) == run_network(&keeps, pixels, 17));
        for (int64_t i = 0; i < clv_params_count(keeps.params); i++) {
            compare_parameter(&keeps, &again, i, CLV_PARAM_VALUE, 0);
            compare_parameter(&keeps, &again, i, CLV_PARAM_GRADIENT, 0);
        }
        free(pixels);
        free_network(&keeps);
        free_network(&again);
    }
    clv_context_destroy(device);
}

/* Millions of weights: hours in the emulator. */
static void a_step_of_resnet18(void **state)
{
    if (!test_device_is_emulated()) a_step_equals_the_hosts(*state, "resnet18", NULL, 64, CLV_PRECISION_FULL);
}

/* The features of a network in evaluation, with its first running statistics, to `out`; batch norms are folded. */
static int64_t look(clv_context *ctx, const float *pixels, int64_t size, clv_precision precision, float *out)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    clv_node features;
    clv_view view;
    desc.precision = precision;
    assert_ok(clv_graph_create(ctx, &desc, &g));
    const clv_node images = clv_input_image(g, "images", BATCH, 3, size, size);
    assert_ok(clv_backbone_node(g, "resnet8", NULL, 0, "", images, &features));
    clv_graph_output(g, features);
    assert_ok(clv_graph_finish(g));
    assert_ok(clv_params_init(clv_graph_params(g), 7));
    for (int32_t i = 0; i < g->n_steps; i++) assert_string_not_equal(g->steps[i].call.op, "batch_norm");
    const clv_view x = clv_view_nhwc((void *)(uintptr_t)pixels, CLV_F32, BATCH, 3, size, size);
    assert_ok(clv_graph_bind(g, images, &x));
    assert_ok(clv_graph_run(g));
    assert_ok(clv_graph_read(g, features, &view));
    const int64_t count = clv_view_count(&view);
    memcpy(out, view.data, (size_t)count * sizeof *out);
    assert_int_equal(steps_in_bfloat16(g) > 5, precision == CLV_PRECISION_BF16);
    clv_graph_destroy(g);
    return count;
}

static void a_network_that_is_looked_at_is_folded(void **state)
{
    enum { SIZE = 8 };
    static float pixels[BATCH * 3 * SIZE * SIZE], want[BATCH * 64], got[BATCH * 64];
    clv_context *device = test_device_context(*state);
    for (int i = 0; i < BATCH * 3 * SIZE * SIZE; i++) pixels[i] = (float)((i * 7919 + i / 13) % 257) / 128.0f - 1;
    const int64_t count = look(((test_env *)*state)->ctx, pixels, SIZE, CLV_PRECISION_FULL, want);
    assert_in_range(count, BATCH, BATCH * 64);
    static const double tolerance[] = {
        [CLV_PRECISION_FULL] = 1e-5, [CLV_PRECISION_TF32] = 2e-2 / 8, [CLV_PRECISION_BF16] = 2e-2 };
    for (int p = CLV_PRECISION_FULL; p <= CLV_PRECISION_BF16; p++) {
        assert_int_equal(look(device, pixels, SIZE, (clv_precision)p, got), count);
        float largest = 0;
        for (int64_t i = 0; i < count; i++) largest = fmaxf(largest, fabsf(want[i]));
        assert_true(largest > 0.01f);
        for (int64_t i = 0; i < count; i++) assert_near(got[i], want[i], tolerance[p] * largest);
    }
    clv_context_destroy(device);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(a_step_of_a_cifar_resnet),
        TEST(a_step_of_a_stem_with_pooling),
        TEST(a_step_in_bfloat16), TEST(a_step_in_bfloat16_is_as_near_to_float32_as_the_hosts),
        TEST(a_step_in_tf32_is_nearer_to_float32_than_in_bfloat16), TEST(float64_graphs_are_not_narrowed),
        TEST(a_step_that_computes_again_has_the_bits_of_one_that_keeps),
        TEST(a_network_that_is_looked_at_is_folded),
        TEST(a_step_of_resnet18),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
