/* test_graph.c: building, differentiating, finishing and running graphs. */
#include "tests/support/test.h"
#include "core/context.h"
#include <cleave/graph.h>
#include <string.h>

static clv_graph *make_graph(test_env *t, clv_params *params, bool training)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = params;
    desc.training = training;
    clv_graph *g = NULL;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    return g;
}

static clv_node vector(clv_graph *g, const char *name, int64_t n)
{
    return clv_input(g, name, CLV_F32, 1, &n);
}

static clv_node matrix(clv_graph *g, const char *name, int64_t rows, int64_t cols)
{
    return clv_input(g, name, CLV_F32, 2, (int64_t[]) { rows, cols });
}

static clv_node weight(clv_graph *g, const char *name, int64_t rows, int64_t cols)
{
    const clv_init init = { .kind = CLV_INIT_UNIFORM_FAN, .fan = cols };
    return clv_parameter(g, name, CLV_PARAM_TRAINABLE, 2, (int64_t[]) { rows, cols }, init);
}

static void bind(clv_graph *g, clv_node x, const void *data)
{
    int64_t shape[CLV_MAX_DIMS];
    const int ndim = clv_node_shape(g, x, shape);
    const clv_view view = clv_view_dense((void *)(uintptr_t)data, clv_node_dtype(g, x), ndim, shape);
    assert_ok(clv_graph_bind(g, x, &view));
}

static const float *values_of(clv_graph *g, clv_node x)
{
    clv_view view;
    assert_ok(clv_graph_read(g, x, &view));
    return view.data;
}

/* ---- values ---- */

static void a_graph_computes_what_was_written_down(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, false);
    clv_node a = vector(g, "a", 3), b = vector(g, "b", 3);
    clv_node y = clv_scale(g, clv_mul(g, clv_add(g, a, b), clv_sub(g, a, b)), 2.0, 1.0);
    clv_graph_output(g, y);
    assert_ok(clv_graph_finish(g));
    const float va[] = { 1, 2, 3 }, vb[] = { 3, -1, 0 };
    bind(g, a, va);
    bind(g, b, vb);
    assert_ok(clv_graph_run(g));
    const float *v = values_of(g, y);
    for (int i = 0; i < 3; i++) assert_near(v[i], 2 * (va[i] * va[i] - vb[i] * vb[i]) + 1, 1e-6);
    clv_graph_destroy(g);
}

static void binding_other_memory_changes_what_the_next_run_sees(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, false);
    clv_node a = vector(g, "a", 2);
    clv_node y = clv_reshape(g, clv_scale(g, a, 3, 0), 2, (int64_t[]) { 2, 1 });
    clv_node alias = clv_reshape(g, a, 2, (int64_t[]) { 1, 2 });
    clv_graph_output(g, y);
    clv_graph_output(g, alias);
    assert_ok(clv_graph_finish(g));
    const float first[] = { 1, 2 }, second[] = { 5, 7 };
    bind(g, a, first);
    assert_ok(clv_graph_run(g));
    assert_near(values_of(g, y)[1], 6, 0);
    bind(g, a, second);
    assert_ok(clv_graph_run(g));
    assert_near(values_of(g, y)[1], 21, 0);
    assert_ptr_equal(values_of(g, alias), second);
    clv_graph_destroy(g);
}

static void a_value_used_twice_gets_the_sum_of_its_gradients(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, false);
    clv_node a = vector(g, "a", 2);
    clv_node loss = clv_reduce(g, clv_add(g, clv_mul(g, a, a), clv_scale(g, a, 4, 0)), -1, false);
    assert_ok(clv_graph_backward(g, loss));
    clv_node grad = clv_graph_gradient(g, a);
    clv_graph_output(g, grad);
    clv_graph_output(g, loss);
    assert_ok(clv_graph_finish(g));
    const float va[] = { 3, -2 };
    bind(g, a, va);
    assert_ok(clv_graph_run(g));
    assert_near(values_of(g, loss)[0], 9 + 12 + 4 - 8, 1e-6);
    assert_near(values_of(g, grad)[0], 2 * 3 + 4, 1e-6);
    assert_near(values_of(g, grad)[1], 2 * -2 + 4, 1e-6);
    clv_graph_destroy(g);
}

static void no_gradient_passes_stop_gradient(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, false);
    clv_node a = vector(g, "a", 2), b = vector(g, "b", 2), unused = vector(g, "unused", 2);
    clv_node loss = clv_reduce(g, clv_mul(g, a, clv_stop_gradient(g, clv_mul(g, a, b))), -1, false);
    assert_ok(clv_graph_backward(g, loss));
    clv_node grad = clv_graph_gradient(g, a);
    assert_int_equal(clv_graph_gradient(g, b).id, CLV_NONE.id);
    assert_int_equal(clv_graph_gradient(g, unused).id, CLV_NONE.id);
    clv_graph_output(g, grad);
    assert_ok(clv_graph_finish(g));
    const float va[] = { 3, -2 }, vb[] = { 5, 7 };
    bind(g, a, va);
    bind(g, b, vb);
    assert_ok(clv_graph_run(g));   /* `unused` need not be bound: nothing reads it */
    assert_near(values_of(g, grad)[0], 15, 1e-6);
    assert_near(values_of(g, grad)[1], -14, 1e-6);
    clv_graph_destroy(g);
}

static void gradients_of_parameters_land_in_the_set(void **state)
{
    test_env *t = *state;
    clv_params *p = NULL;
    assert_ok(clv_params_create(t->ctx, CLV_F32, &p));
    clv_graph *g = make_graph(t, p, true);
    clv_node x = matrix(g, "x", 2, 3), w = weight(g, "w", 4, 3), idle = weight(g, "idle", 2, 2);
    (void)idle;
    clv_node loss = clv_reduce(g, clv_linear(g, x, w, CLV_NONE), -1, false);
    assert_ok(clv_graph_backward(g, loss));
    assert_ok(clv_graph_finish(g));
    assert_ok(clv_params_init(p, 1));
    clv_view flat;
    assert_ok(clv_params_flat(p, CLV_PARAM_GRADIENT, &flat));
    memset(flat.data, 0x55, (size_t)clv_view_count(&flat) * 4);   /* what a run does not write it must clear */
    const float vx[] = { 1, 2, 3, 10, 20, 30 };
    bind(g, x, vx);
    assert_ok(clv_graph_run(g));
    float gw[12], gi[4];
    const clv_view dw = clv_view_2d(gw, CLV_F32, 4, 3), di = clv_view_2d(gi, CLV_F32, 2, 2);
    assert_ok(clv_params_read(p, clv_params_find(p, "w"), CLV_PARAM_GRADIENT, &dw));
    assert_ok(clv_params_read(p, clv_params_find(p, "idle"), CLV_PARAM_GRADIENT, &di));
    for (int i = 0; i < 12; i++) assert_near(gw[i], 11 * (i % 3 + 1), 1e-5);
    for (int i = 0; i < 4; i++) assert_near(gi[i], 0, 0);
    clv_graph_destroy(g);
    clv_params_destroy(p);
}

static void one_gradient_for_two_parameters_reaches_both(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, true);
    clv_params *p = clv_graph_params(g);
    clv_node a = weight(g, "a", 2, 2), b = weight(g, "b", 2, 2), x = matrix(g, "x", 2, 2);
    clv_node loss = clv_reduce(g, clv_mul(g, clv_add(g, a, b), x), -1, false);
    assert_ok(clv_graph_backward(g, loss));
    assert_ok(clv_graph_finish(g));
    const float vx[] = { 1, 2, 3, 4 };
    bind(g, x, vx);
    assert_ok(clv_graph_run(g));
    for (int k = 0; k < 2; k++) {
        float got[4];
        const clv_view view = clv_view_2d(got, CLV_F32, 2, 2);
        assert_ok(clv_params_read(p, k, CLV_PARAM_GRADIENT, &view));
        assert_memory_equal(got, vx, sizeof got);
    }
    clv_graph_destroy(g);
}

/* ---- fusion ---- */

static void count_lines_with(const char *text, void *user)
{
    int *counts = user;
    if (strstr(text, " relu ")) counts[0]++;
    if (strstr(text, " relu_bwd ")) counts[1]++;
}

static void a_relu_joins_the_add_before_it_unless_the_sum_is_wanted(void **state)
{
    test_env *t = *state;
    for (int wanted = 0; wanted < 2; wanted++) {
        clv_graph *g = make_graph(t, NULL, false);
        clv_node a = vector(g, "a", 4), b = vector(g, "b", 4);
        clv_node sum = clv_add(g, a, b), y = clv_relu(g, sum);
        if (wanted) clv_graph_output(g, sum);
        clv_graph_output(g, y);
        assert_ok(clv_graph_backward(g, clv_reduce(g, y, -1, false)));
        clv_node da = clv_graph_gradient(g, a);
        clv_graph_output(g, da);
        assert_ok(clv_graph_finish(g));
        int counts[2] = { 0, 0 };
        assert_ok(clv_graph_print(g, count_lines_with, counts));
        assert_int_equal(counts[0], wanted);
        assert_int_equal(counts[1], 1);
        const float va[] = { 1, 1, -5, -5 }, vb[] = { 2, -2, 6, 1 };
        bind(g, a, va);
        bind(g, b, vb);
        assert_ok(clv_graph_run(g));
        const float y_want[] = { 3, 0, 1, 0 }, da_want[] = { 1, 0, 1, 0 };
        assert_memory_equal(values_of(g, y), y_want, sizeof y_want);
        assert_memory_equal(values_of(g, da), da_want, sizeof da_want);
        clv_graph_destroy(g);
    }
}

static void asking_for_a_value_that_was_fused_away_is_refused(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, false);
    clv_node a = vector(g, "a", 4), sum = clv_add(g, a, a);
    assert_ok(clv_graph_backward(g, clv_reduce(g, clv_relu(g, sum), -1, false)));
    clv_graph_output(g, sum);
    assert_fails(clv_graph_finish(g), CLV_ERR_INVALID,
                 "clv_graph_output: the value was fused into the relu after it; keep it with clv_graph_output before");
    clv_graph_destroy(g);
}

/* ---- errors ---- */

static void the_first_error_is_kept_and_told_by_finish(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, false);
    clv_node a = vector(g, "a", 8);
    clv_node bad = clv_l2norm_rows(g, a, 1e-12);
    assert_int_equal(bad.id, CLV_NONE.id);
    clv_node more = clv_add(g, bad, a);
    int64_t shape[CLV_MAX_DIMS];
    assert_int_equal(clv_node_shape(g, more, shape), -1);
    assert_fails(clv_graph_finish(g), CLV_ERR_SHAPE, "l2norm_rows: expected 2 dimensions, got 1");
    assert_fails(clv_graph_run(g), CLV_ERR_SHAPE, "l2norm_rows: expected 2 dimensions, got 1");
    clv_graph_destroy(g);
}

static void shape_errors_say_what_was_expected_and_found(void **state)
{
    test_env *t = *state;
    static const char *const want[] = {
        "conv2d: weight expects 64 input channels, x has 3", "add: shapes differ: [2] and [3]",
        "matmul: [2,3] times [2,3]: the inner lengths differ", "reduce: there is no axis 2 in 2 dimensions",
        "reshape: [2,3] has another number of elements than [7]",
        "slice: 2 values from 2 do not lie within axis 1 of length 3",
        "concat: input 1 is float32 [2], input 0 float32 [2,3]; only axis 0 may differ",
        "softmax_xent: targets must be int64 [2], are float32 [2]", "max_pool2d: a window of 9 does not fit 8 pixels",
        "batch_norm: gamma must be [3], is [2]", "clv_input: 'i' is float64, but the graph computes in float32",
        "add: a value is not of this graph", "add: a value is missing", "clv_input: dimension 0 is -1",
        "clv_input: there is an input 'v' already", "concat: 1 inputs, want 2 to 8",
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        clv_graph *g = make_graph(t, NULL, true), *other = make_graph(t, NULL, true);
        clv_node image = clv_input_image(g, "image", 2, 3, 8, 8), v = vector(g, "v", 2), u = vector(g, "u", 3);
        clv_node m = matrix(g, "m", 2, 3);
        const clv_init zero = { 0 };
        clv_node w = clv_parameter(g, "w", CLV_PARAM_TRAINABLE, 4, (int64_t[]) { 8, 64, 3, 3 }, zero);
        clv_node mean = clv_parameter(g, "mean", CLV_PARAM_BUFFER, 1, (int64_t[]) { 3 }, zero);
        const clv_batch_norm_desc bn = { v, CLV_NONE, mean, mean, 1, 1e-5, 0.1 };
        switch (i) {
        case 0: (void)clv_conv2d(g, image, w, 1, 1); break;
        case 1: (void)clv_add(g, v, u); break;
        case 2: (void)clv_matmul(g, m, false, m, false); break;
        case 3: (void)clv_reduce(g, m, 2, false); break;
        case 4: (void)clv_reshape(g, m, 1, (int64_t[]) { 7 }); break;
        case 5: (void)clv_slice(g, m, 1, 2, 2); break;
        case 6: (void)clv_concat(g, (clv_node[]) { m, v }, 2, 0); break;
        case 7: (void)clv_softmax_xent(g, m, v, CLV_NONE); break;
        case 8: (void)clv_max_pool2d(g, image, 9, 1, 0); break;
        case 9: (void)clv_batch_norm(g, image, &bn); break;
        case 10: (void)clv_input(g, "i", CLV_F64, 1, (int64_t[]) { 1 }); break;
        case 11: (void)clv_add(g, v, vector(other, "x", 2)); break;
        case 12: (void)clv_add(g, v, CLV_NONE); break;
        case 13: (void)vector(g, "n", -1); break;
        case 14: (void)vector(g, "v", 2); break;
        case 15: (void)clv_concat(g, &v, 1, 0); break;
        }
        const clv_status st = clv_graph_finish(g);
        assert_true(st == CLV_ERR_SHAPE || st == CLV_ERR_INVALID);
        if (!strstr(clv_error_message(), want[i])) fail_msg("want '%s', got '%s'", want[i], clv_error_message());
        clv_graph_destroy(other);
        clv_graph_destroy(g);
    }
}

static void calls_out_of_order_are_refused(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, false);
    clv_node a = vector(g, "a", 2), y = clv_scale(g, a, 2, 0);
    clv_graph_output(g, y);
    clv_graph_memory_t memory;
    float data[4] = { 1, 2, 3, 4 };
    clv_view view = clv_view_1d(data, CLV_F32, 2), out;
    assert_fails(clv_graph_run(g), CLV_ERR_INVALID, "clv_graph_run: finish the graph first");
    assert_fails(clv_graph_bind(g, a, &view), CLV_ERR_INVALID, "clv_graph_bind: finish the graph first");
    assert_fails(clv_graph_memory(g, &memory), CLV_ERR_INVALID, "clv_graph_memory: finish the graph first");
    assert_fails(clv_graph_print(g, count_lines_with, NULL), CLV_ERR_INVALID,
                 "clv_graph_print: finish the graph first");
    assert_fails(clv_graph_backward(g, a), CLV_ERR_SHAPE, "the loss must be one floating-point number, is float32 [2]");
    assert_ok(clv_graph_finish(g));
    assert_fails(clv_graph_finish(g), CLV_ERR_INVALID, "clv_graph_finish: the graph is finished already");
    assert_fails(clv_graph_backward(g, a), CLV_ERR_INVALID, "clv_graph_backward: the graph is finished");
    assert_fails(clv_graph_run(g), CLV_ERR_INVALID, "clv_graph_run: input 'a' is not bound");
    assert_fails(clv_graph_read(g, y, &out), CLV_ERR_INVALID, "clv_graph_read: run the graph first");
    assert_ok(clv_graph_bind(g, a, &view));
    assert_ok(clv_graph_run(g));
    assert_fails(clv_graph_read(g, a, &out), CLV_ERR_INVALID, "clv_graph_read: the value was not kept");
    (void)clv_scale(g, a, 2, 0);
    assert_fails(clv_graph_run(g), CLV_ERR_INVALID, "scale: the graph is finished; nothing can be added");
    clv_graph_destroy(g);
}

static void memory_that_does_not_fit_an_input_is_refused(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, false), *other = make_graph(t, NULL, false);
    clv_node a = matrix(g, "a", 2, 3), image = clv_input_image(g, "image", 1, 3, 2, 2), y = clv_scale(g, a, 2, 0);
    clv_node foreign = vector(other, "b", 1);
    clv_graph_output(g, y);
    clv_graph_output(g, clv_relu(g, image));
    assert_ok(clv_graph_finish(g));
    _Alignas(16) float data[13] = { 0 };
    clv_view view = clv_view_2d(data, CLV_F32, 2, 3);
    assert_fails(clv_graph_bind(g, y, &view), CLV_ERR_INVALID, "clv_graph_bind: the value is not an input");
    assert_fails(clv_graph_bind(g, foreign, &view), CLV_ERR_INVALID, "clv_graph_bind: the value is not of this graph");
    assert_fails(clv_graph_bind(g, (clv_node) { 0 }, &view), CLV_ERR_INVALID, "the value is not of this graph");
    view = clv_view_2d(data, CLV_F32, 3, 2);
    assert_fails(clv_graph_bind(g, a, &view), CLV_ERR_SHAPE, "clv_graph_bind: 'a' is [3,2], want [2,3]");
    view = clv_view_1d(data, CLV_F32, 6);
    assert_fails(clv_graph_bind(g, a, &view), CLV_ERR_SHAPE, "clv_graph_bind: 'a' is [6], want [2,3]");
    view = clv_view_2d(data, CLV_I32, 2, 3);
    assert_fails(clv_graph_bind(g, a, &view), CLV_ERR_SHAPE, "clv_graph_bind: 'a' is int32, want float32");
    view = clv_view_2d(data, CLV_F32, 2, 3);
    view.stride[0] = 4;
    assert_fails(clv_graph_bind(g, a, &view), CLV_ERR_SHAPE, "clv_graph_bind: 'a' must be dense");
    view = clv_view_2d(NULL, CLV_F32, 2, 3);
    assert_fails(clv_graph_bind(g, a, &view), CLV_ERR_INVALID, "must be in host memory and not NULL");
    view = clv_view_2d((char *)data + 1, CLV_F32, 2, 3);
    assert_fails(clv_graph_bind(g, a, &view), CLV_ERR_INVALID, "'a' is not aligned to its elements");
    view = clv_view_dense(data, CLV_F32, 4, (int64_t[]) { 1, 3, 2, 2 });
    assert_fails(clv_graph_bind(g, image, &view), CLV_ERR_SHAPE,
                 "'image' must be dense, its elements in the order N,H,W,C");
    view = clv_view_nhwc(data, CLV_F32, 1, 3, 2, 2);
    assert_ok(clv_graph_bind(g, image, &view));
    clv_graph_destroy(other);
    clv_graph_destroy(g);
}

static void a_graph_of_another_type_than_its_parameters_is_refused(void **state)
{
    test_env *t = *state;
    clv_params *p = NULL;
    assert_ok(clv_params_create(t->ctx, CLV_F64, &p));
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = p;
    clv_graph *g = NULL;
    assert_fails(clv_graph_create(t->ctx, &desc, &g), CLV_ERR_INVALID,
                 "clv_graph_create: the graph computes in float32, but its parameters are float64");
    assert_null(g);
    clv_params_destroy(p);
}

/* ---- images, and memory ---- */

static void images_come_in_nhwc_order_and_outputs_are_read_in_the_order_of_their_shape(void **state)
{
    test_env *t = *state;
    clv_graph *g = make_graph(t, NULL, false);
    clv_node image = clv_input_image(g, "image", 1, 2, 2, 2), y = clv_scale(g, image, 10, 0);
    clv_graph_output(g, y);
    clv_graph_output(g, image);
    assert_ok(clv_graph_finish(g));
    const float pixels[] = { 1, -1, 2, -2, 3, -3, 4, -4 };
    const clv_view view = clv_view_nhwc((void *)(uintptr_t)pixels, CLV_F32, 1, 2, 2, 2);
    assert_ok(clv_graph_bind(g, image, &view));
    assert_ok(clv_graph_run(g));
    const float want[] = { 10, 20, 30, 40, -10, -20, -30, -40 };
    assert_memory_equal(values_of(g, y), want, sizeof want);
    for (int i = 0; i < 8; i++) assert_near(values_of(g, image)[i], want[i] / 10, 0);
    clv_graph_destroy(g);
}

static void values_without_elements_are_values(void **state)
{
    test_env *t = *state;
    for (int reference = 0; reference < 2; reference++) {
        clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
        desc.reference = reference;
        clv_graph *g = NULL;
        assert_ok(clv_graph_create(t->ctx, &desc, &g));
        clv_node a = matrix(g, "a", 2, 0), b = matrix(g, "b", 0, 3), c = matrix(g, "c", 2, 3);
        clv_node none = clv_relu(g, clv_matmul(g, b, false, b, true));                     /* [0,0] */
        clv_node y = clv_add(g, clv_matmul(g, a, false, b, false), c);                     /* c */
        clv_node joined = clv_concat(g, (clv_node[]) { b, c }, 2, 0);                      /* c */
        clv_node sum = clv_reduce(g, clv_mul(g, b, b), -1, false);                         /* 0 */
        clv_graph_output(g, none);
        clv_graph_output(g, y);
        clv_graph_output(g, joined);
        clv_graph_output(g, sum);
        assert_ok(clv_graph_backward(g, clv_add(g, sum, clv_reduce(g, y, -1, false))));
        clv_node da = clv_graph_gradient(g, a), dc = clv_graph_gradient(g, c);
        clv_graph_output(g, da);
        clv_graph_output(g, dc);
        assert_ok(clv_graph_finish(g));
        const float data[6] = { 1, 2, 3, 4, 5, 6 };
        bind(g, a, NULL);
        bind(g, b, data);
        bind(g, c, data);
        assert_ok(clv_graph_run(g));
        assert_memory_equal(values_of(g, y), data, sizeof data);
        assert_memory_equal(values_of(g, joined), data, sizeof data);
        assert_near(values_of(g, sum)[0], 0, 0);
        assert_near(values_of(g, dc)[5], 1, 0);
        clv_view view;
        assert_ok(clv_graph_read(g, none, &view));
        assert_int_equal(clv_view_count(&view), 0);
        clv_graph_destroy(g);
    }
}

static clv_status build_and_run(clv_context *ctx, void *arg)
{
    (void)arg;
    const float x[6] = { 1, 2, 3, 4, 5, 6 };
    const int64_t targets[2] = { 1, 0 };
    clv_graph *g = NULL;
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.training = true;
    clv_status st = clv_graph_create(ctx, &desc, &g);
    if (st != CLV_OK) return st;
    clv_node in = matrix(g, "x", 2, 3), labels = clv_input(g, "t", CLV_I64, 1, (int64_t[]) { 2 });
    clv_node h = clv_relu(g, clv_linear(g, in, weight(g, "w1", 4, 3), CLV_NONE));
    clv_node logits = clv_linear(g, h, weight(g, "w2", 2, 4), CLV_NONE);
    clv_node loss = clv_reduce(g, clv_softmax_xent(g, logits, labels, CLV_NONE), -1, true);
    st = clv_graph_backward(g, loss);
    if (st == CLV_OK) st = clv_graph_finish(g);
    const clv_view vx = clv_view_2d((void *)(uintptr_t)x, CLV_F32, 2, 3);
    const clv_view vt = clv_view_1d((void *)(uintptr_t)targets, CLV_I64, 2);
    if (st == CLV_OK) st = clv_graph_bind(g, in, &vx);
    if (st == CLV_OK) st = clv_graph_bind(g, labels, &vt);
    if (st == CLV_OK) st = clv_params_init(clv_graph_params(g), 3);
    if (st == CLV_OK) st = clv_graph_run(g);
    clv_graph_destroy(g);
    return st;
}

static void every_refused_allocation_is_reported_and_leaks_nothing(void **state)
{
    test_each_allocation_fails(*state, build_and_run, NULL);
}

TEST_MAIN(
    TEST(a_graph_computes_what_was_written_down),
    TEST(binding_other_memory_changes_what_the_next_run_sees),
    TEST(a_value_used_twice_gets_the_sum_of_its_gradients),
    TEST(no_gradient_passes_stop_gradient),
    TEST(gradients_of_parameters_land_in_the_set),
    TEST(one_gradient_for_two_parameters_reaches_both),
    TEST(a_relu_joins_the_add_before_it_unless_the_sum_is_wanted),
    TEST(asking_for_a_value_that_was_fused_away_is_refused),
    TEST(the_first_error_is_kept_and_told_by_finish),
    TEST(shape_errors_say_what_was_expected_and_found),
    TEST(calls_out_of_order_are_refused),
    TEST(memory_that_does_not_fit_an_input_is_refused),
    TEST(a_graph_of_another_type_than_its_parameters_is_refused),
    TEST(images_come_in_nhwc_order_and_outputs_are_read_in_the_order_of_their_shape),
    TEST(values_without_elements_are_values),
    TEST(every_refused_allocation_is_reported_and_leaks_nothing),
)
