/* test_loss_api.c: losses by name: metadata, evaluation on raw memory, graphs, messages, memory. */
#include "tests/support/test.h"
#include <cleave/loss.h>
#include "core/context.h"
#include "losses/loss.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static clv_loss *make(test_env *t, const char *name, const clv_option *options, int n)
{
    clv_loss *loss = NULL;
    assert_ok(clv_loss_create(t->ctx, name, options, n, &loss));
    return loss;
}

static clv_loss_tensor f32(const char *name, const float *data, int64_t rows, int64_t cols)
{
    return (clv_loss_tensor) { name, clv_view_2d((void *)(uintptr_t)data, CLV_F32, rows, cols) };
}

/* ---- metadata ---- */

static void choices_of(const clvi_loss_class *cls, char *text, size_t size)
{
    text[0] = 0;
    for (const clvi_loss_variant *v = cls->variants; v->build; v++)
        snprintf(text + strlen(text), size - strlen(text), "%s%s", v == cls->variants ? "" : "|", v->name);
}

static void every_loss_describes_itself(void **state)
{
    (void)state;
    clv_class_info info;
    clv_option_info option;
    clv_loss_port port;
    assert_true(clv_loss_count() >= 2);
    for (int i = 0; i < clv_loss_count(); i++) {
        assert_true(clv_loss_info_at(i, &info));
        assert_int_equal(clv_loss_find(info.name), i);
        assert_true(info.summary[0] && info.source[0]);
        for (int j = 0; j < info.option_count; j++) {
            assert_true(clv_loss_option_at(i, j, &option));
            assert_true(option.help[0]);
        }
        assert_false(clv_loss_option_at(i, info.option_count, &option));
        int inputs = 0, outputs = 0, gradients = 0;
        for (; clv_loss_input_at(i, inputs, &port); inputs++) {
            assert_true(port.help[0]);
            gradients += port.differentiable;
        }
        for (; clv_loss_output_at(i, outputs, &port); outputs++) assert_false(port.differentiable);
        assert_true(inputs >= 1 && outputs >= 1 && gradients >= 1);
    }
    assert_false(clv_loss_info_at(clv_loss_count(), &info));
    assert_false(clv_loss_info_at(-1, &info));
    assert_int_equal(clv_loss_find("no-such"), -1);
    assert_int_equal(clv_loss_find("info-nce"), clv_loss_find("info_nce"));
}

static void the_option_variant_lists_the_variant_table(void **state)
{
    (void)state;
    clv_class_info info;
    for (int i = 0; clv_loss_info_at(i, &info); i++) {
        const clvi_loss_class *cls = NULL;
        char choices[256];
        assert_ok(clvi_loss_class_find(info.name, &cls));
        assert_true(cls->params_size <= CLVI_LOSS_MAX_PARAMS);
        const clvi_option *option = clvi_option_find(cls->options, "variant");
        if (!option) {
            assert_null(cls->variants[0].name);
            assert_null(cls->variants[1].build);
            continue;
        }
        choices_of(cls, choices, sizeof choices);
        assert_string_equal(choices, option->info.choices);
    }
}

/* ---- values by hand ---- */

static const float eye[] = { 1, 0, 0, 1 };

static void two_orthogonal_pairs_give_the_value_worked_out_by_hand(void **state)
{
    test_env *t = *state;
    const clv_option options[] = { { "temperature", "0.5" } };
    clv_loss *loss = make(t, "info_nce", options, 1);
    float grad[4], per_row[2], logits[4];
    double value;
    const clv_loss_tensor in[] = { f32("query", eye, 2, 2), f32("key", eye, 2, 2) };
    const clv_loss_tensor grads[] = { f32("query", grad, 2, 2) };
    const clv_loss_tensor outs[] = { { "per_row", clv_view_1d(per_row, CLV_F32, 2) }, f32("logits", logits, 2, 2) };
    assert_ok(clv_loss_eval(loss, in, 2, grads, 1, outs, 2, &value));
    const double want = log1p(exp(-2.0)), p = 1 / (1 + exp(2.0));   /* probability of the wrong key */
    assert_near(value, want, 1e-6);
    assert_near(per_row[1], want, 1e-6);
    assert_near(logits[0], 2, 1e-6);
    assert_near(logits[1], 0, 0);
    /* Along the sphere only: d/dq_0 = (1/2)(1/t) p (k_1 - k_0), less its part along q_0. */
    assert_near(grad[0], 0, 1e-6);
    assert_near(grad[1], p, 1e-6);
    clv_loss_destroy(loss);
}

/* Gradients are made in the caller's memory, also where that changes from call to call; but not over what is still
 * read. */
static void a_gradient_may_take_the_place_of_its_input(void **state)
{
    test_env *t = *state;
    float z[2][12], apart[2][12], other[2][12], strided[24];
    for (int i = 0; i < 24; i++) z[i / 12][i % 12] = (float)(i * 7 % 11) - 4;
    clv_loss *loss = make(t, "nt_xent", NULL, 0);
    const clv_loss_tensor in[] = { f32("z1", z[0], 4, 3), f32("z2", z[1], 4, 3) };
    const clv_loss_tensor first[] = { f32("z1", apart[0], 4, 3), f32("z2", apart[1], 4, 3) };
    clv_loss_tensor second[] = { f32("z1", other[0], 4, 3), f32("z2", strided, 4, 3) };
    const clv_loss_tensor in_place[] = { f32("z1", z[0], 4, 3), f32("z2", z[1], 4, 3) };
    second[1].view.stride[0] = 6, second[1].view.stride[1] = 2;
    assert_ok(clv_loss_eval(loss, in, 2, first, 2, NULL, 0, NULL));
    assert_ok(clv_loss_eval(loss, in, 2, second, 2, NULL, 0, NULL));
    assert_memory_equal(other[0], apart[0], sizeof apart[0]);
    for (int i = 0; i < 12; i++) assert_near(strided[2 * i], apart[1][i], 0);
    assert_ok(clv_loss_eval(loss, in, 2, in_place, 2, NULL, 0, NULL));
    assert_memory_equal(z, apart, sizeof apart);
    clv_loss_destroy(loss);
}

static void a_queue_row_counts_when_valid_and_of_another_sample(void **state)
{
    test_env *t = *state;
    const clv_option options[] = { { "temperature", "1" } };
    clv_loss *loss = make(t, "moco_queue", options, 1);
    const float q[] = { 1, 0 }, queue[] = { 1, 0, 1, 0, 1, 0 };
    uint8_t valid[] = { 1, 0, 1 };
    int64_t ids[] = { 7 }, queue_ids[] = { 5, 6, 7 };
    float logits[4], prob[1];
    double value;
    const clv_loss_tensor in[] = {
        f32("query", q, 1, 2), f32("key", q, 1, 2), f32("queue", queue, 3, 2),
        { "queue_valid", clv_view_1d(valid, CLV_U8, 3) }, { "ids", clv_view_1d(ids, CLV_I64, 1) },
        { "queue_ids", clv_view_1d(queue_ids, CLV_I64, 3) },
    };
    const clv_loss_tensor outs[] = { f32("logits", logits, 1, 4), { "prob_pos", clv_view_1d(prob, CLV_F32, 1) } };
    assert_ok(clv_loss_eval(loss, in, 6, NULL, 0, outs, 2, &value));   /* positive and row 0 */
    assert_near(value, log(2), 1e-6);
    assert_near(prob[0], 0.5, 1e-6);
    const float want[] = { 1, 1, 0, 0 };
    assert_memory_equal(logits, want, sizeof want);
    ids[0] = -1;                                                       /* no id: nothing is its own */
    assert_ok(clv_loss_eval(loss, in, 6, NULL, 0, outs, 2, &value));
    assert_near(value, log(3), 1e-6);
    assert_ok(clv_loss_eval(loss, in, 3, NULL, 0, outs, 2, &value));
    assert_near(value, log(4), 1e-6);
    memset(valid, 0, sizeof valid);
    assert_ok(clv_loss_eval(loss, in, 4, NULL, 0, outs, 2, &value));   /* nothing left but the positive: exactly 0 */
    assert_near(value, 0, 0);
    assert_near(prob[0], 1, 0);
    clv_loss_destroy(loss);
}

/* ---- memory of any kind ---- */

static void strides_and_types_do_not_change_the_result(void **state)
{
    test_env *t = *state;
    clv_loss *loss = make(t, "info_nce", NULL, 0);
    const float q[] = { 0.5f, -1, 2, 0.25f, 1, 1.5f }, k[] = { 1, 1, -1, 2, 0.5f, 0.25f };   /* exact in bfloat16 */
    float grad[6], transposed[6], spread[12] = { 0 };
    uint16_t bf16[6];
    double value, other, wide[6];
    for (int i = 0; i < 6; i++) {
        uint32_t bits;
        memcpy(&bits, &q[i], sizeof bits);
        bf16[i] = (uint16_t)(bits >> 16);
        transposed[i % 3 * 2 + i / 3] = q[i];
        wide[i] = k[i];
    }
    clv_loss_tensor in[] = { f32("query", q, 2, 3), f32("key", k, 2, 3) };
    clv_loss_tensor grads[] = { f32("query", grad, 2, 3) };
    assert_ok(clv_loss_eval(loss, in, 2, grads, 1, NULL, 0, &value));
    in[0] = f32("query", transposed, 2, 3);
    in[0].view.stride[0] = 1;
    in[0].view.stride[1] = 2;
    grads[0] = f32("query", spread, 2, 3);
    grads[0].view.stride[0] = 6;
    grads[0].view.stride[1] = 2;
    assert_ok(clv_loss_eval(loss, in, 2, grads, 1, NULL, 0, &other));
    assert_near(other, value, 0);
    for (int i = 0; i < 6; i++) assert_near(spread[2 * i], grad[i], 0);
    assert_near(spread[1], 0, 0);
    in[0] = (clv_loss_tensor) { "query", clv_view_2d(bf16, CLV_BF16, 2, 3) };
    assert_ok(clv_loss_eval(loss, in, 2, grads, 1, NULL, 0, &other));
    assert_near(other, value, 0);
    in[1] = (clv_loss_tensor) { "key", clv_view_2d(wide, CLV_F64, 2, 3) };
    assert_ok(clv_loss_eval(loss, in, 2, grads, 1, NULL, 0, &other));   /* float64 throughout */
    assert_near(other, value, 1e-6);
    assert_true(other != value);
    clv_loss_destroy(loss);
}

/* Rows that are exact in bfloat16, as are the queries: the stored type must not show, logits included. */
static void a_bfloat16_queue_is_used_as_it_is(void **state)
{
    test_env *t = *state;
    const clv_option options[] = { { "temperature", "1" }, { "normalize", "false" } };
    clv_loss *loss = make(t, "moco_queue", options, 2);
    const float q[] = { 0.5f, -1, 2, 0.25f, 1, 1.5f };
    const uint16_t half[] = { 0x3f80, 0xbf00, 0x4000, 0x0000, 0x3f00, 0xbf80 };
    const float queue[] = { 1, -0.5f, 2, 0, 0.5f, -1 };
    float grad[2][6], logits[2][6];
    double value[2];
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        const clv_loss_tensor in[] = {
            f32("query", q, 2, 3), f32("key", q, 2, 3),
            { "queue", i ? clv_view_2d((void *)half, CLV_BF16, 2, 3) : clv_view_2d((void *)queue, CLV_F32, 2, 3) },
        };
        const clv_loss_tensor grads[] = { f32("query", grad[i], 2, 3) }, out[] = { f32("logits", logits[i], 2, 3) };
        assert_ok(clv_loss_eval(loss, in, 3, grads, 1, out, 1, &value[i]));
        assert_ok(clv_loss_memory(loss, in, 3, &bytes[i]));
    }
    assert_near(value[1], value[0], 1e-6);
    for (int i = 0; i < 6; i++) {
        assert_near(grad[1][i], grad[0][i], 2e-2);   /* weights may be rounded to 8 bits */
        assert_near(logits[1][i], logits[0][i], 1e-6);
    }
    assert_true(bytes[1] <= bytes[0]);
    clv_loss_destroy(loss);
}

static void further_calls_allocate_nothing(void **state)
{
    test_env *t = *state;
    static const char *const names[] = { "info_nce", "moco_queue" };
    float x[60], grad[15], per_row[5];
    for (int i = 0; i < 60; i++) x[i] = (float)cos(i);
    for (int l = 0; l < 2; l++) {
        clv_loss *loss = make(t, names[l], NULL, 0);
        clv_loss_tensor in[] = { f32("query", x, 5, 3), f32("key", x + 15, 5, 3), f32("queue", x + 30, 10, 3) };
        in[1].view.stride[1] = 0;   /* staged */
        const clv_loss_tensor grads[] = { f32("query", grad, 5, 3) };
        const clv_loss_tensor outs[] = { { "per_row", clv_view_1d(per_row, CLV_F32, 5) } };
        double first, again;
        assert_ok(clv_loss_eval(loss, in, 2 + l, grads, 1, outs, 1, &first));
        const uint64_t count = clvi_alloc_count();
        for (int i = 0; i < 3; i++) assert_ok(clv_loss_eval(loss, in, 2 + l, grads, 1, outs, 1, &again));
        assert_true(clvi_alloc_count() == count);
        assert_near(again, first, 0);
        clv_loss_destroy(loss);
    }
}

static void memory_is_told_beforehand_and_does_not_grow_with_batch_times_queue(void **state)
{
    test_env *t = *state;
    clv_loss *loss = make(t, "moco_queue", NULL, 0);
    const int64_t B = 256, K = 65536, D = 128;
    const clv_loss_tensor in[] = { f32("query", NULL, B, D), f32("key", NULL, B, D), f32("queue", NULL, K, D) };
    size_t bytes = 0;
    assert_ok(clv_loss_memory(loss, in, 3, &bytes));
    assert_true(bytes > (size_t)(B * D) * sizeof(float));
    assert_true(bytes < (size_t)(B * K) * sizeof(float) / 8);
    assert_fails(clv_loss_memory(loss, in, 2, &bytes), CLV_ERR_INVALID, "'queue' is missing");
    clv_loss_destroy(loss);
}

static void the_memory_told_is_the_memory_taken(void **state)
{
    test_env *t = *state;
    clv_loss *loss = make(t, "info_nce", NULL, 0);
    static float x[256 * 64], y[256 * 64], gx[256 * 64], gy[256 * 64];
    for (int i = 0; i < 256 * 64; i++) x[i] = (float)sin(i), y[i] = (float)cos(3 * i);
    const clv_loss_tensor in[] = { f32("query", x, 256, 64), f32("key", y, 256, 64) };
    const clv_loss_tensor grads[] = { f32("query", gx, 256, 64), f32("key", gy, 256, 64) };
    size_t bytes = 0;
    assert_ok(clv_loss_memory(loss, in, 2, &bytes));
    const long before = t->heap.live_bytes;
    assert_ok(clv_loss_eval(loss, in, 2, grads, 2, NULL, 0, NULL));
    const long taken = t->heap.live_bytes - before;
    assert_true(taken >= (long)bytes);
    assert_true(taken - (long)bytes < 400000);   /* the graph's own description */
    clv_loss_destroy(loss);
}

static clv_status create_and_evaluate(clv_context *ctx, void *arg)
{
    (void)arg;
    clv_loss *loss = NULL;
    float grad[4];
    double value;
    clv_loss_tensor in[] = { f32("query", eye, 2, 2), f32("key", eye, 2, 2) };
    const clv_loss_tensor grads[] = { f32("query", grad, 2, 2) };
    in[0].view.stride[0] = 1;
    clv_status st = clv_loss_create(ctx, "info_nce", NULL, 0, &loss);
    if (st == CLV_OK) st = clv_loss_eval(loss, in, 2, grads, 1, NULL, 0, &value);
    clv_loss_destroy(loss);
    return st;
}

static void each_refused_allocation_is_survived(void **state)
{
    test_each_allocation_fails(*state, create_and_evaluate, NULL);
}

/* ---- messages ---- */

static void wrong_calls_are_told_what_is_wrong(void **state)
{
    test_env *t = *state;
    clv_loss *loss = NULL;
    const clv_option typo[] = { { "temprature", "1" } }, cold[] = { { "temperature", "0" } };
    const clv_option variant[] = { { "variant", "x" } };
    assert_fails(clv_loss_create(t->ctx, "infonce", NULL, 0, &loss), CLV_ERR_INVALID, "did you mean 'info_nce'");
    assert_fails(clv_loss_create(t->ctx, "info_nce", typo, 1, &loss), CLV_ERR_INVALID, "did you mean 'temperature'");
    assert_fails(clv_loss_create(t->ctx, "info_nce", cold, 1, &loss), CLV_ERR_INVALID, "temperature");
    assert_fails(clv_loss_create(t->ctx, "info_nce", variant, 1, &loss), CLV_ERR_INVALID, "in_batch|moco_v3|explicit");
    assert_null(loss);

    loss = make(t, "info_nce", NULL, 0);
    float x[8] = { 0 };
    double value;
    clv_loss_tensor in[] = { f32("query", x, 2, 2), f32("key", x, 2, 2), f32("kye", x, 2, 2) };
    assert_fails(clv_loss_eval(loss, in, 1, NULL, 0, NULL, 0, &value), CLV_ERR_INVALID,
                 "info_nce: input 'key' is missing");
    assert_fails(clv_loss_eval(loss, in, 3, NULL, 0, NULL, 0, &value), CLV_ERR_INVALID, "did you mean 'key'");
    in[2].name = "query";
    assert_fails(clv_loss_eval(loss, in, 3, NULL, 0, NULL, 0, &value), CLV_ERR_INVALID, "'query' is given twice");
    in[1] = f32("key", x, 2, 3);
    assert_fails(clv_loss_eval(loss, in, 2, NULL, 0, NULL, 0, &value), CLV_ERR_SHAPE,
                 "info_nce: 'key' must be [B,D], got [2,3]: dimension 1 should be 2");
    in[1] = (clv_loss_tensor) { "key", clv_view_1d(x, CLV_F32, 4) };
    assert_fails(clv_loss_eval(loss, in, 2, NULL, 0, NULL, 0, &value), CLV_ERR_SHAPE, "must be [B,D], got [4]");
    in[1] = (clv_loss_tensor) { "key", clv_view_2d(x, CLV_I32, 2, 2) };
    assert_fails(clv_loss_eval(loss, in, 2, NULL, 0, NULL, 0, &value), CLV_ERR_SHAPE,
                 "must be floating point, is int32");
    in[1] = f32("key", NULL, 2, 2);
    assert_fails(clv_loss_eval(loss, in, 2, NULL, 0, NULL, 0, &value), CLV_ERR_INVALID, "'key' is NULL");
    in[1] = f32("key", x, 2, 2);
    const clv_loss_tensor wide[] = { f32("query", x, 2, 3) }, none[] = { f32("logit", x, 2, 2) };
    assert_fails(clv_loss_eval(loss, in, 2, wide, 1, NULL, 0, &value), CLV_ERR_SHAPE, "gradient of 'query'");
    assert_fails(clv_loss_eval(loss, in, 2, NULL, 0, none, 1, &value), CLV_ERR_INVALID,
                 "no output 'logit'; did you mean 'logits'");
    clv_loss_destroy(loss);

    loss = make(t, "moco_queue", NULL, 0);
    const clv_loss_tensor queue[] = { f32("query", x, 2, 2), f32("key", x, 2, 2), f32("queue", x, 1, 2),
                                      { "ids", clv_view_1d((int64_t[]) { 1, 2 }, CLV_I64, 2) } };
    const clv_loss_tensor key[] = { f32("key", x, 2, 2) };
    assert_fails(clv_loss_eval(loss, queue, 3, key, 1, NULL, 0, &value), CLV_ERR_INVALID, "'key' is a constant");
    assert_fails(clv_loss_eval(loss, queue, 4, NULL, 0, NULL, 0, &value), CLV_ERR_INVALID, "come together");
    clv_loss_destroy(loss);
}

static void moco_v3_wants_the_keys_of_its_rank(void **state)
{
    test_env *t = *state;
    const clv_option options[] = { { "variant", "moco_v3" }, { "rank", "2" } };
    clv_loss *loss = make(t, "info_nce", options, 2);
    float x[16] = { 1 };
    double value;
    const clv_loss_tensor in[] = { f32("q1", x, 2, 2), f32("q2", x, 2, 2), f32("k1", x, 4, 2), f32("k2", x, 4, 2) };
    assert_fails(clv_loss_eval(loss, in, 4, NULL, 0, NULL, 0, &value), CLV_ERR_SHAPE, "needs at least 6 keys, got 4");
    clv_loss_destroy(loss);
}

/* ---- in a graph ---- */

static void a_loss_in_a_graph_equals_the_loss_on_memory(void **state)
{
    test_env *t = *state;
    float x[60], grad[15], value_f32;
    for (int i = 0; i < 60; i++) x[i] = (float)cos(i * i);
    const clv_option options[] = { { "temperature", "0.2" } };
    const clv_loss_tensor in[] = { f32("query", x, 5, 3), f32("key", x + 15, 5, 3), f32("queue", x + 30, 10, 3) };
    const clv_loss_tensor grads[] = { f32("query", grad, 5, 3) };
    double value;
    clv_loss *loss = make(t, "moco_queue", options, 1);
    assert_ok(clv_loss_eval(loss, in, 3, grads, 1, NULL, 0, &value));
    clv_loss_destroy(loss);

    clv_graph *g = NULL;
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node q = clv_input(g, "q", CLV_F32, 2, (int64_t[]) { 5, 3 });
    const clv_node k = clv_input(g, "k", CLV_F32, 2, (int64_t[]) { 5, 3 });
    const clv_node bank = clv_input(g, "bank", CLV_F32, 2, (int64_t[]) { 10, 3 });
    const clv_loss_value values[] = { { "key", k }, { "queue", bank }, { "query", q }, { "queue_valid", CLV_NONE } };
    clv_loss_value outs[] = { { .name = "prob_pos" } };
    const clv_node node = clv_loss_node(g, "moco_queue", options, 1, values, 4, outs, 1);
    clv_graph_output(g, node);
    clv_graph_output(g, outs[0].node);
    assert_ok(clv_graph_backward(g, node));
    const clv_node dq = clv_graph_gradient(g, q);
    clv_graph_output(g, dq);
    assert_int_equal(clv_graph_gradient(g, k).id, CLV_NONE.id);
    assert_int_equal(clv_graph_gradient(g, bank).id, CLV_NONE.id);
    assert_ok(clv_graph_finish(g));
    for (int i = 0; i < 3; i++)
        assert_ok(clv_graph_bind(g, i == 0 ? q : i == 1 ? k : bank, &in[i].view));
    assert_ok(clv_graph_run(g));
    clv_view view;
    assert_ok(clv_graph_read(g, node, &view));
    memcpy(&value_f32, view.data, sizeof value_f32);
    assert_near(value_f32, value, 0);
    assert_ok(clv_graph_read(g, dq, &view));
    assert_memory_equal(view.data, grad, sizeof grad);
    assert_ok(clv_graph_read(g, outs[0].node, &view));
    assert_int_equal(view.shape[0], 5);
    clv_graph_destroy(g);
}

static void a_graph_keeps_the_loss_s_first_error(void **state)
{
    test_env *t = *state;
    clv_graph *g = NULL;
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    const clv_node q = clv_input(g, "q", CLV_F32, 2, (int64_t[]) { 5, 3 });
    const clv_node k = clv_input(g, "k", CLV_F32, 2, (int64_t[]) { 4, 3 });
    const clv_loss_value values[] = { { "query", q }, { "key", k } };
    const clv_node node = clv_loss_node(g, "info_nce", NULL, 0, values, 2, NULL, 0);
    assert_int_equal(node.id, CLV_NONE.id);
    assert_fails(clv_graph_finish(g), CLV_ERR_SHAPE,
                 "info_nce: 'key' must be [B,D], got [4,3]: dimension 0 should be 5");
    clv_graph_destroy(g);
}

TEST_MAIN(TEST(every_loss_describes_itself), TEST(the_option_variant_lists_the_variant_table),
          TEST(two_orthogonal_pairs_give_the_value_worked_out_by_hand),
          TEST(a_gradient_may_take_the_place_of_its_input),
          TEST(a_queue_row_counts_when_valid_and_of_another_sample),
          TEST(strides_and_types_do_not_change_the_result),
          TEST(a_bfloat16_queue_is_used_as_it_is), TEST(further_calls_allocate_nothing),
          TEST(memory_is_told_beforehand_and_does_not_grow_with_batch_times_queue),
          TEST(the_memory_told_is_the_memory_taken), TEST(each_refused_allocation_is_survived),
          TEST(wrong_calls_are_told_what_is_wrong), TEST(moco_v3_wants_the_keys_of_its_rank),
          TEST(a_loss_in_a_graph_equals_the_loss_on_memory), TEST(a_graph_keeps_the_loss_s_first_error))
