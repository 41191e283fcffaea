/* test_full_step.c: one whole step of momentum contrast on a ResNet-18: keys, loss, every gradient, running statistics,
 * the update by SGD and the key encoder's move, with the kernels that train (float32) against the plain C kernels in
 * float64. Memory the graphs plan starts as NaN, and NaN is near nothing.
 *
 * Tolerances are relative to the largest entry of each tensor. What float32 loses on the way through twenty
 * convolutions and normalisations and back is 1e-5 of a gradient's largest entry (measured: 6e-6 with AVX-512, 9e-6
 * with SSE 4.1 and one thread); five times that is allowed. A wrong group, stride or factor in one kernel shows as
 * 1e-2 and more.
 *
 * The data are such that no input of a ReLU lies within rounding of zero: there a rounding decides whether a gradient
 * passes, and entries differ by 1e-3 of the largest, whoever computes in float32. */
#include "tests/support/test.h"
#include "core/checked.h"
#include "core/rng.h"
#include "device/flat.h"
#include "tensor/graph.h"

#include <cleave/backbone.h>
#include <cleave/loss.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, SIDE = 16, DIM = 64, BANK = 256, LARGEST = 1 << 22 };

#define LOSS_TOLERANCE     2e-6
#define KEY_TOLERANCE      5e-6
#define GRADIENT_TOLERANCE 5e-5
#define RUNNING_TOLERANCE  1e-5

static const clvi_flat_sgd_args sgd = { .lr = 0.06, .momentum = 0.9, .weight_decay = 5e-4, .first = true };
static const double key_momentum = 0.99;
static const char *width;           /* of the network at hand */
static int numbers_of_images;       /* which draws they are */

/* One precision's way through the step. */
typedef struct machine {
    clv_dtype   dtype;
    clv_params *query, *key;
    clv_graph  *query_graph, *key_graph;
    clv_node    query_images, key_images, key_rows, queue, valid, keys_out, loss;
    void       *view[2], *bank, *keys, *velocity;
    double      loss_value;
} machine;

static clv_graph *new_graph(test_env *t, const machine *m, clv_params *params)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.dtype = m->dtype;
    desc.params = params;
    desc.training = true;
    desc.reference = m->dtype == CLV_F64;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    return g;
}

static clv_node network(clv_graph *g, clv_node images)
{
    const clv_option backbone[] = { { "stem", "cifar" }, { "width", width }, { "bn-splits", "2" } },
                     head[] = { { "dim", "64" } };
    clv_node features, out;
    assert_ok(clv_backbone_node(g, "resnet18", backbone, 3, "", images, &features));
    assert_ok(clv_head_node(g, "mlp", head, 1, "", features, &out));
    return out;
}

static void build(test_env *t, machine *m)
{
    assert_ok(clv_params_create(t->ctx, m->dtype, &m->query));
    clv_graph *g = m->query_graph = new_graph(t, m, m->query);
    const int64_t key_shape[2] = { BATCH, DIM }, bank_shape[2] = { BANK, DIM };
    m->query_images = clv_input_image(g, "images", BATCH, 3, SIDE, SIDE);
    const clv_node embedding = network(g, m->query_images);
    m->key_rows = clv_input(g, "key", m->dtype, 2, key_shape);
    m->queue = clv_input(g, "queue", m->dtype, 2, bank_shape);
    m->valid = clv_input(g, "valid", CLV_U8, 1, bank_shape);
    const clv_loss_value inputs[] = {
        { "query", embedding }, { "key", m->key_rows }, { "queue", m->queue }, { "queue_valid", m->valid },
    };
    const clv_option temperature = { "temperature", "0.2" };
    m->loss = clv_loss_node(g, "moco_queue", &temperature, 1, inputs, 4, NULL, 0);
    assert_ok(clv_graph_backward(g, m->loss));
    clv_graph_output(g, m->loss);
    assert_ok(clv_graph_finish(g));
    assert_ok(clv_params_clone(m->query, &m->key));
    g = m->key_graph = new_graph(t, m, m->key);
    m->key_images = clv_input_image(g, "images", BATCH, 3, SIDE, SIDE);
    m->keys_out = clv_l2norm_rows(g, network(g, m->key_images), 1e-12);
    clv_graph_output(g, m->keys_out);
    assert_ok(clv_graph_finish(g));
}

static void destroy(machine *m)
{
    clv_graph_destroy(m->query_graph);
    clv_graph_destroy(m->key_graph);
    clv_params_destroy(m->query);
    clv_params_destroy(m->key);
    free(m->view[0]);
    free(m->view[1]);
    free(m->bank);
    free(m->keys);
    free(m->velocity);
}

/* `count` numbers of float32's grid, in the machine's type; the same in both. */
static void *numbers(const machine *m, uint64_t seed, int64_t count)
{
    clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_TEST, 0, 0, 0);
    void *out = calloc((size_t)count, clv_dtype_size(m->dtype));
    assert_non_null(out);
    for (int64_t i = 0; i < count; i++) {
        const float x = (float)clvi_rng_normal(&rng);
        if (m->dtype == CLV_F32) ((float *)out)[i] = x;
        else ((double *)out)[i] = x;
    }
    return out;
}

/* Both sets of both machines from one: weights that are not the initial ones, and a key encoder that lags behind. */
static void copy_parameters(clv_params *from, clv_params *to, uint64_t seed, double noise)
{
    static float values[LARGEST];
    clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_TEST, 1, 0, 0);
    for (int64_t i = 0; i < clv_params_count(from); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(from, i, &info));
        const clv_view v = clv_view_dense(values, CLV_F32, info.ndim, info.shape);
        assert_true(clv_view_count(&v) <= LARGEST);
        assert_ok(clv_params_read(from, i, CLV_PARAM_VALUE, &v));
        for (int64_t j = 0; j < clv_view_count(&v) && info.kind == CLV_PARAM_TRAINABLE; j++)
            values[j] += (float)(noise * clvi_rng_normal(&rng));
        assert_ok(clv_params_write(to, i, &v));
    }
}

static void poison(clv_graph *g)
{
    assert_ok(clvi_graph_make_ready(g));
    memset(g->arena, 0xff, g->arena_size);
}

/* Keys, loss, gradients. */
static void run(machine *m)
{
    const clv_view query = clv_view_nhwc(m->view[0], m->dtype, BATCH, 3, SIDE, SIDE);
    const clv_view key = clv_view_nhwc(m->view[1], m->dtype, BATCH, 3, SIDE, SIDE);
    clv_view keys, bank = clv_view_2d(m->bank, m->dtype, BANK, DIM), loss;
    static uint8_t valid[BANK];
    for (int i = 0; i < BANK; i++) valid[i] = i % 7 != 3;
    const clv_view mask = clv_view_1d(valid, CLV_U8, BANK);
    poison(m->key_graph);
    assert_ok(clv_graph_bind(m->key_graph, m->key_images, &key));
    assert_ok(clv_graph_run(m->key_graph));
    assert_ok(clv_graph_read(m->key_graph, m->keys_out, &keys));
    m->keys = calloc(BATCH * DIM, clv_dtype_size(m->dtype));
    assert_non_null(m->keys);
    memcpy(m->keys, keys.data, BATCH * DIM * clv_dtype_size(m->dtype));
    keys.data = m->keys;
    poison(m->query_graph);
    assert_ok(clv_graph_bind(m->query_graph, m->query_images, &query));
    assert_ok(clv_graph_bind(m->query_graph, m->key_rows, &keys));
    assert_ok(clv_graph_bind(m->query_graph, m->queue, &bank));
    assert_ok(clv_graph_bind(m->query_graph, m->valid, &mask));
    assert_ok(clv_graph_run(m->query_graph));
    assert_ok(clv_graph_read(m->query_graph, m->loss, &loss));
    m->loss_value = m->dtype == CLV_F32 ? (double)*(const float *)loss.data : *(const double *)loss.data;
}

static void update(test_env *t, machine *m)
{
    clv_view w, g, k;
    assert_ok(clv_params_flat(m->query, CLV_PARAM_VALUE, &w));
    assert_ok(clv_params_flat(m->query, CLV_PARAM_GRADIENT, &g));
    assert_ok(clv_params_flat(m->key, CLV_PARAM_VALUE, &k));
    const size_t bytes = (size_t)clv_view_count(&w) * clv_dtype_size(w.dtype);
    m->velocity = malloc(bytes);
    assert_non_null(m->velocity);
    memset(m->velocity, 0xff, bytes);               /* the first step does not read it */
    clvi_flat_sgd(t->ctx, w.dtype, clv_view_count(&w), w.data, g.data, m->velocity, &sgd);
    clvi_flat_ema(t->ctx, k.dtype, clv_view_count(&k), k.data, w.data, key_momentum);
}

/* ---- comparing ---- */

typedef struct entries {
    double *a, *b, largest;
    int64_t count;
} entries;

static double worst;      /* relative error of the tensors compared since it was set to 0 */

static void compare(const char *what, const char *name, const entries *e, double relative, double absolute)
{
    for (int64_t i = 0; i < e->count; i++) {
        const double error = fabs(e->a[i] - e->b[i]), allowed = relative * e->largest + absolute;
        if (!(error <= allowed))
            fail_msg("%s of '%s' [%lld]: %.9g and %.9g differ by %.3g, allowed %.3g", what, name, (long long)i, e->a[i],
                     e->b[i], error, allowed);
        if (e->largest > 0) worst = fmax(worst, error / e->largest);
    }
}

static entries read_both(clv_params *fast, clv_params *exact, int64_t i, clv_param_part part,
                         const clv_param_info *info)
{
    static double a[LARGEST], b[LARGEST];
    const clv_view va = clv_view_dense(a, CLV_F64, info->ndim, info->shape),
                   vb = clv_view_dense(b, CLV_F64, info->ndim, info->shape);
    assert_ok(clv_params_read(fast, i, part, &va));
    assert_ok(clv_params_read(exact, i, part, &vb));
    entries e = { .a = a, .b = b, .count = clv_view_count(&va) };
    for (int64_t j = 0; j < e.count; j++) e.largest = fmax(e.largest, fabs(b[j]));
    return e;
}

static void compare_gradients(clv_params *fast, clv_params *exact)
{
    int64_t tensors = 0;
    for (int64_t i = 0; i < clv_params_count(exact); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(exact, i, &info));
        if (info.kind != CLV_PARAM_TRAINABLE) continue;
        const entries e = read_both(fast, exact, i, CLV_PARAM_GRADIENT, &info);
        assert_true(e.largest > 1e-6);                     /* something arrives everywhere */
        compare("gradient", info.name, &e, GRADIENT_TOLERANCE, 0);
        tensors++;
    }
    assert_int_equal(tensors, 20 * 3 + 4);                 /* 20 convolutions with batch norm, 2 linear layers */
}

/* Values after the step: a gradient off by its tolerance moves them by lr times that, and they are rounded. */
static void compare_values(const char *what, clv_params *fast, clv_params *exact, clv_params *query, double share)
{
    for (int64_t i = 0; i < clv_params_count(exact); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(exact, i, &info));
        if (info.kind == CLV_PARAM_BUFFER) {
            const entries e = read_both(fast, exact, i, CLV_PARAM_VALUE, &info);
            compare(what, info.name, &e, RUNNING_TOLERANCE, 0);
            continue;
        }
        const double gradient = read_both(query, query, i, CLV_PARAM_GRADIENT, &info).largest;
        const entries e = read_both(fast, exact, i, CLV_PARAM_VALUE, &info);
        compare(what, info.name, &e, 3e-7, share * sgd.lr * GRADIENT_TOLERANCE * gradient);
    }
}

static void compare_step(test_env *t)
{
    worst = 0;
    machine fast = { .dtype = CLV_F32 }, exact = { .dtype = CLV_F64 };
    machine *both[2] = { &fast, &exact };
    for (int i = 0; i < 2; i++) {
        machine *m = both[i];
        build(t, m);
        if (i == 0) assert_ok(clv_params_init(m->query, 3));
        copy_parameters(fast.query, m->query, 4, i == 0 ? 0.02 : 0.0);
        copy_parameters(fast.query, m->key, 5, 0.01);
        m->view[0] = numbers(m, numbers_of_images, BATCH * 3 * SIDE * SIDE);
        m->view[1] = numbers(m, numbers_of_images + 1, BATCH * 3 * SIDE * SIDE);
        m->bank = numbers(m, 12, BANK * DIM);
        for (int64_t r = 0; r < BANK * DIM; r++) {         /* rows of about unit length; an exact power of two */
            if (m->dtype == CLV_F32) ((float *)m->bank)[r] *= 0.125f;
            else ((double *)m->bank)[r] *= 0.125;
        }
    }
    for (int i = 0; i < 2; i++) run(both[i]);
    const entries keys = {
        .a = calloc(BATCH * DIM, sizeof(double)), .b = exact.keys, .largest = 1, .count = BATCH * DIM
    };
    assert_non_null(keys.a);
    for (int i = 0; i < BATCH * DIM; i++) keys.a[i] = (double)((const float *)fast.keys)[i];
    compare("key", "unit rows", &keys, KEY_TOLERANCE, 0);
    free(keys.a);
    print_message("keys: worst error %.2e\n", worst);
    assert_true(exact.loss_value > 0.5);
    assert_near(fast.loss_value, exact.loss_value, LOSS_TOLERANCE * exact.loss_value);
    worst = 0;
    compare_gradients(fast.query, exact.query);
    print_message("loss %.9g, error %.2e; gradients: worst error %.2e of the largest entry\n", exact.loss_value,
                  fabs(fast.loss_value - exact.loss_value), worst);
    for (int i = 0; i < 2; i++) update(t, both[i]);
    worst = 0;
    compare_values("query value", fast.query, exact.query, exact.query, 1.0);
    compare_values("key value", fast.key, exact.key, exact.query, 1.0 - key_momentum);
    print_message("values: worst error %.2e of the largest entry\n", worst);
    destroy(&fast);
    destroy(&exact);
}

static void a_step_in_float32_is_the_step_in_float64(void **state)
{
    width = "32";
    numbers_of_images = 10;
    compare_step(*state);
}

static void so_it_is_at_the_full_width(void **state)
{
    width = "64";
    numbers_of_images = 20;
    compare_step(*state);
}

TEST_MAIN(TEST(a_step_in_float32_is_the_step_in_float64), TEST(so_it_is_at_the_full_width))
