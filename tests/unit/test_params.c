/* test_params.c: sets of parameters: names, first values, layouts, clones, flat arenas. */
#include "tests/support/test.h"
#include "core/context.h"
#include "core/rng.h"
#include "tensor/params.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OUT 37
#define IN  21   /* neither is a multiple of 16: a blocked layout has padding */

static const clv_init he = { .kind = CLV_INIT_KAIMING_NORMAL, .fan = OUT * 9 };
static const clv_init fan4 = { .kind = CLV_INIT_UNIFORM_FAN, .fan = 4 };
static const clv_init half = { .kind = CLV_INIT_CONSTANT, .value = 0.5 };

static clv_params *make_set(test_env *t, clv_dtype dtype)
{
    clv_params *p = NULL;
    assert_ok(clv_params_create(t->ctx, dtype, &p));
    return p;
}

/* A convolution, so that its kernel may ask for a layout of its own; a vector and a buffer beside it. */
static clv_graph *finish_conv_with(test_env *t, clv_params *p, clv_dtype dtype, bool reference, bool training,
                                   clv_node *input)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.dtype = dtype;
    desc.params = p;
    desc.reference = reference;
    desc.training = training;
    clv_graph *g = NULL;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node x = *input = clv_input(g, "x", dtype, 4, (int64_t[]) { 2, IN, 8, 8 });
    const clv_node w = clv_parameter(g, "w", CLV_PARAM_TRAINABLE, 4, (int64_t[]) { OUT, IN, 3, 3 }, he);
    (void)clv_parameter(g, "v", CLV_PARAM_TRAINABLE, 1, (int64_t[]) { 5 }, fan4);
    (void)clv_parameter(g, "b", CLV_PARAM_BUFFER, 2, (int64_t[]) { 3, 2 }, half);
    const clv_node y = clv_conv2d(g, x, w, 1, 1);
    clv_graph_output(g, y);
    if (training) assert_ok(clv_graph_backward(g, clv_reduce(g, clv_mul(g, y, y), -1, true)));
    assert_ok(clv_graph_finish(g));
    return g;
}

static clv_graph *finish_conv(test_env *t, clv_params *p, clv_dtype dtype, bool reference, bool training)
{
    clv_node input;
    return finish_conv_with(t, p, dtype, reference, training, &input);
}

static void read_all(const clv_params *p, const char *name, clv_param_part part, double *out)
{
    clv_param_info info;
    const int64_t index = clv_params_find(p, name);
    assert_ok(clv_params_info(p, index, &info));
    const clv_view view = clv_view_dense(out, CLV_F64, info.ndim, info.shape);
    assert_ok(clv_params_read(p, index, part, &view));
}

static void parameters_are_found_by_name_in_the_order_they_came(void **state)
{
    test_env *t = *state;
    clv_params *p = make_set(t, CLV_F32);
    clv_graph *g = finish_conv(t, p, CLV_F32, false, false);
    clv_param_info info;
    assert_int_equal(clv_params_count(p), 3);
    assert_int_equal(clv_params_find(p, "w"), 0);
    assert_int_equal(clv_params_find(p, "b"), 2);
    assert_int_equal(clv_params_find(p, "nothing"), -1);
    assert_ok(clv_params_info(p, 2, &info));
    assert_string_equal(info.name, "b");
    assert_int_equal(info.kind, CLV_PARAM_BUFFER);
    assert_int_equal(info.ndim, 2);
    assert_int_equal(info.shape[1], 2);
    assert_true(clvi_params_at(p, 0)->offset < clvi_params_at(p, 1)->offset);
    clv_graph_destroy(g);
    clv_params_destroy(p);
}

static void first_values_follow_their_formula(void **state)
{
    test_env *t = *state;
    static double w[OUT * IN * 9], v[5], b[6];
    clv_params *p = make_set(t, CLV_F64);
    clv_graph *g = finish_conv(t, p, CLV_F64, true, false);
    assert_ok(clv_params_init(p, 42));
    read_all(p, "w", CLV_PARAM_VALUE, w);
    read_all(p, "v", CLV_PARAM_VALUE, v);
    read_all(p, "b", CLV_PARAM_VALUE, b);
    const int n = OUT * IN * 9;
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++) {
        mean += w[i] / n;
        square += w[i] * w[i] / n;
    }
    const double variance = 2.0 / (OUT * 9);
    assert_near(mean, 0, 4 * sqrt(variance / n));
    assert_near(square / variance, 1, 4 * sqrt(2.0 / n));
    for (int i = 0; i < 5; i++) assert_true(fabs(v[i]) <= 0.5 && v[i] != v[(i + 1) % 5]);
    for (int i = 0; i < 6; i++) assert_near(b[i], 0.5, 0);
    clvi_rng rng = clvi_rng_make(42, CLVI_RNG_INIT, 0, 0, 0);   /* plain order, one stream a parameter */
    for (int i = 0; i < 100; i++) assert_near(w[i], sqrt(variance) * clvi_rng_normal(&rng), 1e-15);
    clv_graph_destroy(g);
    clv_params_destroy(p);
}

/* Positions of a grid of two rows of three, two angles each, a hundredfold apart. */
static void uniform_normal_and_position_values_follow_theirs(void **state)
{
    test_env *t = *state;
    static double u[1000], n[1000], e[7 * 8];
    clv_params *p = NULL;
    int64_t index;
    assert_ok(clv_params_create(t->ctx, CLV_F64, &p));
    const int64_t many[] = { 1000 }, grid[] = { 1, 7, 8 };
    const clv_init uniform = { CLV_INIT_UNIFORM, 0.25, 0 }, normal = { CLV_INIT_NORMAL, 0.02, 0 };
    const clv_init sincos = { CLV_INIT_SINCOS_2D, 0, 3 };
    assert_ok(clvi_params_add(p, "u", CLV_PARAM_TRAINABLE, 1, many, uniform, &index));
    assert_ok(clvi_params_add(p, "n", CLV_PARAM_TRAINABLE, 1, many, normal, &index));
    assert_ok(clvi_params_add(p, "e", CLV_PARAM_BUFFER, 3, grid, sincos, &index));
    assert_ok(clvi_params_lay_out(p));
    assert_ok(clv_params_init(p, 1));
    read_all(p, "u", CLV_PARAM_VALUE, u);
    read_all(p, "n", CLV_PARAM_VALUE, n);
    read_all(p, "e", CLV_PARAM_VALUE, e);
    double square[2] = { 0, 0 };
    for (int i = 0; i < 1000; i++) {
        assert_true(fabs(u[i]) <= 0.25);
        square[0] += u[i] * u[i] / 1000, square[1] += n[i] * n[i] / 1000;
    }
    assert_near(square[0], 0.0625 / 3, 4 * 0.0625 * sqrt(4.0 / 45 / 1000));
    assert_near(square[1] / 0.0004, 1, 4 * sqrt(2.0 / 1000));
    for (int token = 0; token < 7; token++) {
        const double row = (token - 1) / 3, column = (token - 1) % 3;
        const double want[8] = { sin(row), sin(row / 100), cos(row), cos(row / 100),
                                 sin(column), sin(column / 100), cos(column), cos(column / 100) };
        for (int k = 0; k < 8; k++) assert_near(e[token * 8 + k], token == 0 ? 0 : want[k], 1e-15);
    }
    clv_params_destroy(p);
}

static void first_values_do_not_depend_on_the_layout(void **state)
{
    test_env *t = *state;
    static double fast[OUT * IN * 9], plain[OUT * IN * 9];
    for (int reference = 0; reference < 2; reference++) {
        clv_params *p = make_set(t, CLV_F32);
        clv_graph *g = finish_conv(t, p, CLV_F32, reference, false);
        assert_ok(clv_params_init(p, 7));
        read_all(p, "w", CLV_PARAM_VALUE, reference ? plain : fast);
        clv_graph_destroy(g);
        clv_params_destroy(p);
    }
    assert_memory_equal(fast, plain, sizeof fast);
}

static void what_is_written_is_read_back_whatever_the_layout(void **state)
{
    test_env *t = *state;
    static float in[OUT * IN * 9], out[OUT * IN * 9];
    for (int i = 0; i < OUT * IN * 9; i++) in[i] = (float)i - 1000.5f;
    for (int reference = 0; reference < 2; reference++) {
        clv_params *p = make_set(t, CLV_F32);
        clv_graph *g = finish_conv(t, p, CLV_F32, reference, false);
        const int64_t shape[] = { OUT, IN, 3, 3 };
        const clv_view src = clv_view_dense(in, CLV_F32, 4, shape), dst = clv_view_dense(out, CLV_F32, 4, shape);
        assert_ok(clv_params_write(p, 0, &src));
        memset(out, 0, sizeof out);
        assert_ok(clv_params_read(p, 0, CLV_PARAM_VALUE, &dst));
        assert_memory_equal(in, out, sizeof in);

        void *arena = clvi_calloc(t->ctx, 1, clvi_params_arena_size(p));
        assert_non_null(arena);
        assert_ok(clvi_params_write_arena(p, 0, arena, &src));
        memset(out, 0, sizeof out);
        assert_ok(clvi_params_read_arena(p, 0, arena, &dst));
        assert_memory_equal(in, out, sizeof in);
        assert_memory_equal(arena, clvi_params_data(p, 0, CLV_PARAM_VALUE), clvi_params_at(p, 0)->desc.bytes);
        clvi_free(t->ctx, arena);
        clv_graph_destroy(g);
        clv_params_destroy(p);
    }
}

static double sum_of_squares(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

static void the_flat_vector_holds_every_trainable_value_and_zeros(void **state)
{
    test_env *t = *state;
    static double w[OUT * IN * 9], v[5];
    static float x[2 * IN * 64];
    clv_params *p = make_set(t, CLV_F32);
    clv_node input;
    clv_graph *g = finish_conv_with(t, p, CLV_F32, false, true, &input);
    assert_ok(clv_params_init(p, 3));
    for (int i = 0; i < 2 * IN * 64; i++) x[i] = (float)(i % 13) - 6;
    const clv_view view = clv_view_dense(x, CLV_F32, 4, (int64_t[]) { 2, IN, 8, 8 });
    assert_ok(clv_graph_bind(g, input, &view));
    assert_ok(clv_graph_run(g));
    for (int part = 0; part < 2; part++) {
        clv_view flat;
        assert_ok(clv_params_flat(p, (clv_param_part)part, &flat));
        assert_int_equal(flat.ndim, 1);
        assert_int_equal((size_t)flat.shape[0] * 4, clvi_params_arena_size(p));
        double sum = 0;
        for (int64_t i = 0; i < flat.shape[0]; i++) sum += (double)((float *)flat.data)[i] * ((float *)flat.data)[i];
        read_all(p, "w", (clv_param_part)part, w);
        read_all(p, "v", (clv_param_part)part, v);
        const double want = sum_of_squares(w, OUT * IN * 9) + sum_of_squares(v, 5);
        assert_true(want > 0);
        assert_near(sum / want, 1, 1e-12);
    }
    clv_graph_destroy(g);
    clv_params_destroy(p);
}

static void a_clone_has_equal_values_and_its_own_memory(void **state)
{
    test_env *t = *state;
    clv_params *p = make_set(t, CLV_F32), *clone = NULL;
    assert_fails(clv_params_clone(p, &clone), CLV_ERR_INVALID, "the parameters are not laid out yet");
    clv_graph *g = finish_conv(t, p, CLV_F32, false, false);
    assert_ok(clv_params_init(p, 5));
    assert_ok(clv_params_clone(p, &clone));
    double before[5], after[5];
    read_all(p, "v", CLV_PARAM_VALUE, before);
    assert_ok(clv_params_init(p, 6));
    read_all(clone, "v", CLV_PARAM_VALUE, after);
    assert_memory_equal(before, after, sizeof before);
    read_all(p, "v", CLV_PARAM_VALUE, after);
    assert_memory_not_equal(before, after, sizeof before);
    clv_graph_destroy(g);
    clv_params_destroy(p);   /* the clone keeps the table of names */
    assert_int_equal(clv_params_find(clone, "w"), 0);
    clv_params_destroy(clone);
}

static void misuse_is_refused_with_a_message(void **state)
{
    test_env *t = *state;
    clv_params *p = NULL;
    assert_fails(clv_params_create(t->ctx, CLV_U8, &p), CLV_ERR_INVALID,
                 "clv_params_create: dtype must be float32 or float64, is uint8");
    p = make_set(t, CLV_F32);
    int64_t index;
    const int64_t shape[] = { 2, 3 };
    clv_view flat;
    assert_fails(clv_params_init(p, 0), CLV_ERR_INVALID, "clv_params_init: the parameters are not laid out yet");
    assert_fails(clv_params_flat(p, CLV_PARAM_VALUE, &flat), CLV_ERR_INVALID, "not laid out yet");
    assert_fails(clvi_params_add(p, "", CLV_PARAM_BUFFER, 2, shape, half, &index), CLV_ERR_INVALID, "needs a name");
    const clv_init no_fan = { .kind = CLV_INIT_UNIFORM_FAN };
    assert_fails(clvi_params_add(p, "a", CLV_PARAM_TRAINABLE, 2, shape, no_fan, &index), CLV_ERR_INVALID,
                 "'a' has an initial fan of 0");
    const clv_init sincos = { CLV_INIT_SINCOS_2D, 0, 1 };
    assert_fails(clvi_params_add(p, "a", CLV_PARAM_BUFFER, 2, shape, sincos, &index), CLV_ERR_SHAPE,
                 "'a' is a position embedding: its last extent must be a multiple of 4");
    assert_ok(clvi_params_add(p, "a", CLV_PARAM_TRAINABLE, 2, shape, half, &index));
    assert_fails(clvi_params_add(p, "a", CLV_PARAM_BUFFER, 2, shape, half, &index), CLV_ERR_INVALID,
                 "'a' exists and is trainable");
    assert_fails(clvi_params_add(p, "a", CLV_PARAM_TRAINABLE, 1, shape, half, &index), CLV_ERR_SHAPE,
                 "'a' exists with another shape");
    assert_ok(clvi_params_lay_out(p));
    float data[6] = { 0 };
    clv_view view = clv_view_2d(data, CLV_F32, 3, 2);
    assert_fails(clv_params_write(p, 0, &view), CLV_ERR_SHAPE, "the view's shape is not that of 'a'");
    assert_fails(clv_params_write(p, 1, &view), CLV_ERR_INVALID, "there is no parameter 1; the set has 1");
    view = clv_view_2d(data, CLV_F32, 2, 3);
    assert_fails(clv_params_read(p, 0, CLV_PARAM_GRADIENT, &view), CLV_ERR_INVALID,
                 "'a' has no gradient yet; run a graph with a backward pass first");
    clv_params_destroy(p);
}

/* w = 1, g = 0.5, v = 2, k = 3: v = 0.9 2 + (0.5 + 0.1) = 2.4, w = 1 - 0.25 2.4 = 0.4, k = 0.75 3 + 0.25 0.4 = 2.35. */
static void one_step_updates_a_set_its_velocity_and_its_follower(void **state)
{
    test_env *t = *state;
    clv_params *p = make_set(t, CLV_F64), *follower = NULL, *other = make_set(t, CLV_F64);
    clv_graph *g = finish_conv(t, p, CLV_F64, true, true), *g2 = finish_conv(t, other, CLV_F64, true, false);
    clv_view w, dw, k, v;
    clv_sgd sgd = { .lr = 0.25, .momentum = 0.9, .weight_decay = 0.1, .follow = 0.75 };
    assert_ok(clv_params_clone(p, &follower));
    assert_ok(clv_params_flat(p, CLV_PARAM_VALUE, &w));
    assert_ok(clv_params_flat(p, CLV_PARAM_GRADIENT, &dw));
    assert_ok(clv_params_flat(follower, CLV_PARAM_VALUE, &k));
    const int64_t n = clv_view_count(&w);
    v = clv_view_1d(malloc((size_t)n * sizeof(double)), CLV_F64, n);
    const clv_view *all[] = { &w, &dw, &v, &k };
    const double start[] = { 1, 0.5, 2, 3 }, end[] = { 0.4, 0.5, 2.4, 2.35 };
    for (int a = 0; a < 4; a++)
        for (int64_t i = 0; i < n; i++) ((double *)all[a]->data)[i] = start[a];
    assert_fails(clv_params_sgd(p, &sgd), CLV_ERR_INVALID, "needs a velocity");
    sgd.velocity = clv_view_1d(v.data, CLV_F64, n - 1);
    assert_fails(clv_params_sgd(p, &sgd), CLV_ERR_SHAPE, "velocity must be dense float64");
    sgd.velocity = v;
    sgd.follower = other;
    assert_fails(clv_params_sgd(p, &sgd), CLV_ERR_SHAPE, "no clone");
    assert_fails(clv_params_follow(other, p, 0.5), CLV_ERR_SHAPE, "no clone");
    assert_fails(clv_params_follow(NULL, p, 0.5), CLV_ERR_INVALID, "NULL");
    sgd.follower = follower;
    assert_ok(clv_params_sgd(p, &sgd));
    for (int a = 0; a < 4; a++)
        for (int64_t i = 0; i < n; i++) assert_near(((double *)all[a]->data)[i], end[a], 1e-15);
    assert_ok(clv_params_follow(follower, p, 0.5));
    for (int64_t i = 0; i < n; i++) assert_near(((double *)k.data)[i], (2.35 + 0.4) / 2, 1e-15);
    free(v.data);
    clv_graph_destroy(g);
    clv_graph_destroy(g2);
    clv_params_destroy(follower);
    clv_params_destroy(other);
    clv_params_destroy(p);
}

TEST_MAIN(TEST(one_step_updates_a_set_its_velocity_and_its_follower), 
    TEST(parameters_are_found_by_name_in_the_order_they_came),
    TEST(first_values_follow_their_formula),
    TEST(uniform_normal_and_position_values_follow_theirs),
    TEST(first_values_do_not_depend_on_the_layout),
    TEST(what_is_written_is_read_back_whatever_the_layout),
    TEST(the_flat_vector_holds_every_trainable_value_and_zeros),
    TEST(a_clone_has_equal_values_and_its_own_memory),
    TEST(misuse_is_refused_with_a_message),
)
