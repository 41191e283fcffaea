/* test_bank_losses.c: losses that read a bank: the memory they take, what they draw, and what they say of bad input. */
#include "core/rng.h"
#include "tests/support/test.h"
#include <cleave/loss.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB 1048576

static clv_loss *make(clv_context *ctx, const char *name, const clv_option *options, int n)
{
    clv_loss *loss = NULL;
    assert_ok(clv_loss_create(ctx, name, options, n, &loss));
    return loss;
}

/* ---- memory ---- */

static int64_t length_of(char letter, int64_t keys)
{
    return letter == 'K' ? keys : letter == 'B' ? 256 : 128;
}

/* An input without data, for asking. */
static clv_loss_tensor tensor_of(const clv_loss_port *port, int64_t keys, clv_dtype bank)
{
    const char *comma = strchr(port->shape, ',');
    const int64_t rows = length_of(port->shape[0], keys);
    const clv_dtype type = port->shape[0] == 'K' ? bank : port->dtype;
    if (!comma) return (clv_loss_tensor) { port->name, clv_view_1d(NULL, port->dtype, rows) };
    return (clv_loss_tensor) { port->name, clv_view_2d(NULL, type, rows, length_of(comma[1], keys)) };
}

/* Features [B,D] are wanted even where one may also project them. */
static bool is_wanted(const clv_loss_port *port)
{
    return !port->optional || strcmp(port->name, "z") == 0;
}

/* Bytes for a batch of 256, 128 values and a bank of `keys`; 0: the loss has no bank. */
static size_t memory_with(test_env *t, int index, const char *name, const clv_option *options, int n_options,
                          int64_t keys, clv_dtype bank)
{
    clv_loss_tensor in[8];
    clv_loss_port port;
    size_t bytes = 0;
    int n = 0, banks = 0;
    for (int i = 0; clv_loss_input_at(index, i, &port); i++) {
        banks += strncmp(port.shape, "K,", 2) == 0;
        if (is_wanted(&port) && n < 8) in[n++] = tensor_of(&port, keys, bank);
    }
    if (!banks) return 0;
    clv_loss *loss = make(t->ctx, name, options, n_options);
    assert_ok(clv_loss_memory(loss, in, n, &bytes));
    clv_loss_destroy(loss);
    return bytes;
}

static size_t memory_of(test_env *t, int index, const char *name, int64_t keys, clv_dtype bank)
{
    return memory_with(t, index, name, NULL, 0, keys, bank);
}

static void no_bank_makes_a_loss_take_more_than_eight_mebibytes(void **state)
{
    test_env *t = *state;
    clv_class_info info;
    int found = 0;
    for (int i = 0; clv_loss_info_at(i, &info); i++) {
        const size_t small = memory_of(t, i, info.name, 65536, CLV_F32);
        if (!small) continue;
        found++;
        const size_t large = memory_of(t, i, info.name, 1048576, CLV_F32);
        if (large > 8 * MIB || large != small) fail_msg("%s takes %zu and %zu bytes", info.name, small, large);
        assert_true(memory_of(t, i, info.name, 4096, CLV_F32) <= small);
    }
    assert_true(found >= 4);
}

/* Neither the moved queue nor what is drawn to move it is ever held. */
static void feature_transform_takes_as_much_whatever_it_moves(void **state)
{
    static const char *const targets[] = { "none", "pos", "neg", "posneg" }, *const renorms[] = { "none", "both" };
    static const char *const levels[] = { "batch", "sample", "dim" };
    test_env *t = *state;
    const int index = clv_loss_find("feature_transform");
    for (int i = 0; i < 4 * 2 * 3; i++) {
        const clv_option o[] = { { "target", targets[i / 6] }, { "renorm", renorms[i / 3 % 2] },
                                 { "level", levels[i % 3] } };
        const size_t small = memory_with(t, index, "feature_transform", o, 3, 65536, CLV_F32);
        assert_in_range(small, 1, 8 * MIB);
        assert_int_equal(memory_with(t, index, "feature_transform", o, 3, 1048576, CLV_F32), small);
    }
}

static void moco_queue_takes_two_mebibytes_whatever_the_bank_is_stored_in(void **state)
{
    test_env *t = *state;
    static const clv_dtype types[] = { CLV_F32, CLV_BF16 };
    for (int i = 0; i < 2; i++)
        for (int64_t keys = 4096; keys <= 1048576; keys *= 16)
            assert_in_range(memory_of(t, clv_loss_find("moco_queue"), "moco_queue", keys, types[i]), 1, 2 * MIB);
}

/* ---- MoCHi: evaluation ---- */

enum { B = 3, D = 20, K = 40, S = 7, P = 5 };

typedef struct example {
    float query[B * D], key[B * D], queue[K * D];
    clv_loss_tensor in[8];
} example;

static void fill(float *x, int64_t n, uint64_t stream)
{
    clvi_rng rng = clvi_rng_make(3, CLVI_RNG_TEST, 0, stream, 0);
    for (int64_t i = 0; i < n; i++) x[i] = (float)clvi_rng_uniform(&rng, -1, 1);
}

static void make_example(example *e)
{
    fill(e->query, B * D, 0), fill(e->key, B * D, 1), fill(e->queue, K * D, 2);
    e->in[0] = (clv_loss_tensor) { "query", clv_view_2d(e->query, CLV_F32, B, D) };
    e->in[1] = (clv_loss_tensor) { "key", clv_view_2d(e->key, CLV_F32, B, D) };
    e->in[2] = (clv_loss_tensor) { "queue", clv_view_2d(e->queue, CLV_F32, K, D) };
}

typedef struct result {
    double value;
    float  grad[B * D], synth[B * S * D], synth_prime[B * P * D];
} result;

/* The mixes are an output only when `looking`: they are drawn twice then, once for the loss and once for the eyes. */
static void evaluate(test_env *t, const char *step, bool reference, bool looking, result *r)
{
    const clv_option options[] = { { "N", "16" }, { "s", "7" }, { "s-prime", "5" }, { "step", step } };
    example e;
    make_example(&e);
    clv_loss *loss = make(t->ctx, "mochi", options, 4);
    clv_loss_set_reference(loss, reference);
    const clv_loss_tensor grad[] = { { "query", clv_view_2d(r->grad, CLV_F32, B, D) } };
    const clv_loss_tensor out[] = { { "synth", clv_view_dense(r->synth, CLV_F32, 3, (int64_t[]) { B, S, D }) },
                                    { "synth_prime",
                                      clv_view_dense(r->synth_prime, CLV_F32, 3, (int64_t[]) { B, P, D }) } };
    assert_ok(clv_loss_eval(loss, e.in, 3, grad, 1, out, looking ? 2 : 0, &r->value));
    clv_loss_destroy(loss);
}

/* The loss by its formula, from the mixes that the outputs show. */
static double composed(const example *e, const result *r)
{
    double sum = 0;
    for (int b = 0; b < B; b++) {
        const float *q = e->query + b * D, *k = e->key + b * D;
        double qq = 0, kk = 0, qk = 0, all = 0;
        for (int d = 0; d < D; d++) qq += (double)q[d] * q[d], kk += (double)k[d] * k[d], qk += (double)q[d] * k[d];
        const double positive = qk / sqrt(qq * kk) / 0.2;
        for (int j = 0; j < K + S + P; j++) {
            const float *n = j < K ? e->queue + j * D : j < K + S ? r->synth + (b * S + j - K) * D
                             : r->synth_prime + (b * P + j - K - S) * D;
            double dot = 0;
            for (int d = 0; d < D; d++) dot += (double)q[d] * n[d];
            all += exp(dot / sqrt(qq) / 0.2 - positive);
        }
        sum += log1p(all);
    }
    return sum / B;
}

static void the_mixes_shown_are_the_mixes_used(void **state)
{
    test_env *t = *state;
    example e;
    result seen, unseen, plain;
    make_example(&e);
    evaluate(t, "5", false, true, &seen);
    evaluate(t, "5", false, false, &unseen);
    evaluate(t, "5", true, false, &plain);
    assert_true(seen.value == unseen.value);
    assert_memory_equal(seen.grad, unseen.grad, sizeof seen.grad);
    assert_near(seen.value, composed(&e, &seen), 1e-5);
    assert_near(seen.value, plain.value, 1e-5);
    for (int i = 0; i < B * D; i++) assert_near(seen.grad[i], plain.grad[i], 1e-5);
}

static void every_step_draws_anew_and_a_negative_one_nothing(void **state)
{
    test_env *t = *state;
    result five, six, none;
    evaluate(t, "5", false, false, &five);
    evaluate(t, "6", false, false, &six);
    evaluate(t, "-1", false, true, &none);
    assert_true(five.value != six.value);
    assert_true(none.value < five.value && none.value < six.value);
    for (int i = 0; i < B * S * D; i++) assert_true(none.synth[i] == 0);
}

static void threads_do_not_change_a_bit(void **state)
{
    test_env *t = *state;
    result two, other;
    evaluate(t, "5", false, true, &two);
    for (int threads = 1; threads <= 3; threads += 2) {
        test_env alone = { .ctx = test_context(t, threads) };
        evaluate(&alone, "5", false, true, &other);
        assert_true(other.value == two.value);
        assert_memory_equal(&other.grad, &two.grad, sizeof two.grad);
        clv_context_destroy(alone.ctx);
    }
}

/* A pair of opposite rows cancels: logit 0. */
static void mixes_that_cancel_count_as_zero(void **state)
{
    test_env *t = *state;
    const clv_option options[] = { { "temperature", "1" }, { "N", "2" } };
    float q[] = { 1, 0 }, queue[] = { 0.5f, 0.5f, -0.5f, -0.5f }, alpha[] = { 0.5f }, beta[] = { 0.25f }, grad[2];
    int64_t i[] = { 0 }, j[] = { 1 };
    double value;
    const clv_loss_tensor in[] = {
        { "query", clv_view_2d(q, CLV_F32, 1, 2) }, { "key", clv_view_2d(q, CLV_F32, 1, 2) },
        { "queue", clv_view_2d(queue, CLV_F32, 2, 2) }, { "idx_i", clv_view_2d(i, CLV_I64, 1, 1) },
        { "idx_j", clv_view_2d(j, CLV_I64, 1, 1) }, { "alpha", clv_view_2d(alpha, CLV_F32, 1, 1) },
        { "idx_q", clv_view_2d(j, CLV_I64, 1, 0) }, { "beta", clv_view_2d(beta, CLV_F32, 1, 0) },
    };
    const clv_loss_tensor grads[] = { { "query", clv_view_2d(grad, CLV_F32, 1, 2) } };
    clv_loss *loss = make(t->ctx, "mochi", options, 2);
    assert_ok(clv_loss_eval(loss, in, 8, grads, 1, NULL, 0, &value));
    assert_near(value, log(1 + (exp(0.5) + exp(-0.5) + 1) / exp(1)), 1e-6);
    assert_true(isfinite(grad[0]) && isfinite(grad[1]));
    clv_loss_destroy(loss);
}

/* ---- feature_transform ---- */

/* Value and gradient, with the moved queue in `shown` unless NULL. */
static void transform(clv_context *ctx, const example *e, const char *target, const char *level, float *shown,
                      double *value, float *grad)
{
    const clv_option options[] = { { "target", target }, { "level", level }, { "seed", "3" },
                                   { "renorm", strcmp(target, "none") == 0 ? "none" : "neg" } };
    const clv_loss_tensor in[] = { { "q", e->in[0].view }, { "k", e->in[1].view }, { "queue", e->in[2].view } };
    const clv_loss_tensor grads[] = { { "q", clv_view_2d(grad, CLV_F32, B, D) } };
    const clv_loss_tensor out[] = { { "queue_hat", clv_view_2d(shown, CLV_F32, K, D) } };
    clv_loss *loss = make(ctx, "feature_transform", options, 4);
    assert_ok(clv_loss_eval(loss, in, 3, grads, 1, out, shown != NULL, value));
    clv_loss_destroy(loss);
}

static void the_moved_queue_shown_is_the_one_used(void **state)
{
    static const char *const levels[] = { "batch", "sample", "dim" };
    test_env *t = *state;
    example e, moved;
    make_example(&e), make_example(&moved);
    for (int i = 0; i < 3; i++) {
        double seen, unseen, again;
        float grad[3][B * D];
        transform(t->ctx, &e, "neg", levels[i], moved.queue, &seen, grad[0]);
        transform(t->ctx, &e, "neg", levels[i], NULL, &unseen, grad[1]);
        transform(t->ctx, &moved, "none", levels[i], NULL, &again, grad[2]);
        assert_true(seen == unseen);
        assert_memory_equal(grad[0], grad[1], sizeof grad[0]);
        assert_near(again, seen, 1e-6 * seen);
        for (int k = 0; k < B * D; k++) assert_near(grad[2][k], grad[0][k], 1e-6);
        for (int threads = 1; threads <= 3; threads += 2) {
            clv_context *ctx = test_context(t, threads);
            transform(ctx, &e, "neg", levels[i], NULL, &again, grad[2]);
            assert_true(again == seen);
            assert_memory_equal(grad[2], grad[0], sizeof grad[0]);
            clv_context_destroy(ctx);
        }
    }
}

/* ---- MoCHi and feature_transform: bad input ---- */

static void a_list_longer_than_the_bank_is_the_whole_bank(void **state)
{
    test_env *t = *state;
    example e;
    make_example(&e);
    clv_loss *loss = make(t->ctx, "mochi", NULL, 0);    /* N 1024 */
    int64_t shape[CLV_MAX_DIMS];
    int ndim;
    double value;
    assert_ok(clv_loss_output_shape(loss, e.in, 3, "topk_idx", &ndim, shape));
    assert_true(ndim == 2 && shape[0] == B && shape[1] == K);
    assert_ok(clv_loss_eval(loss, e.in, 3, NULL, 0, NULL, 0, &value));
    assert_true(isfinite(value));
    e.in[2].view.shape[0] = 0;                          /* no bank at all: only the positive */
    assert_ok(clv_loss_eval(loss, e.in, 3, NULL, 0, NULL, 0, &value));
    assert_near(value, 0, 0);
    clv_loss_destroy(loss);
}

static void mixes_must_be_whole_and_of_one_length(void **state)
{
    test_env *t = *state;
    example e;
    static int64_t ranks[B * S];
    static float weights[B * S];
    make_example(&e);
    clv_loss *loss = make(t->ctx, "mochi", NULL, 0);
    e.in[3] = (clv_loss_tensor) { "idx_i", clv_view_2d(ranks, CLV_I64, B, S) };
    e.in[4] = (clv_loss_tensor) { "idx_j", clv_view_2d(ranks, CLV_I64, B, S) };
    assert_fails(clv_loss_eval(loss, e.in, 5, NULL, 0, NULL, 0, NULL), CLV_ERR_INVALID,
                 "mochi: 'idx_i', 'idx_j', 'alpha', 'idx_q' and 'beta' come together, or none of them");
    e.in[5] = (clv_loss_tensor) { "alpha", clv_view_2d(weights, CLV_F32, B, S - 1) };
    e.in[6] = (clv_loss_tensor) { "idx_q", clv_view_2d(ranks, CLV_I64, B, P) };
    e.in[7] = (clv_loss_tensor) { "beta", clv_view_2d(weights, CLV_F32, B, P) };
    assert_fails(clv_loss_eval(loss, e.in, 8, NULL, 0, NULL, 0, NULL), CLV_ERR_SHAPE, "'alpha'");
    e.in[5].view = clv_view_2d(weights, CLV_F32, B, S);
    e.in[4].view = clv_view_2d(weights, CLV_F32, B, S);
    assert_fails(clv_loss_eval(loss, e.in, 8, NULL, 0, NULL, 0, NULL), CLV_ERR_SHAPE,
                 "mochi: 'idx_j' must be int64, is float32");
    clv_loss_destroy(loss);
}

static void options_out_of_range_are_named(void **state)
{
    test_env *t = *state;
    clv_loss *loss = NULL;
    const clv_option bad[] = { { "N", "0" }, { "s", "-1" }, { "s-prime", "65537" }, { "temperature", "0" } };
    for (int i = 0; i < 4; i++) {
        assert_fails(clv_loss_create(t->ctx, "mochi", &bad[i], 1, &loss), CLV_ERR_INVALID, bad[i].name);
        assert_null(loss);
    }
    const clv_option alpha = { "alpha-neg", "0" };
    assert_fails(clv_loss_create(t->ctx, "feature_transform", &alpha, 1, &loss), CLV_ERR_INVALID, "alpha-neg");
}

static void the_oracle_needs_labels(void **state)
{
    test_env *t = *state;
    const clv_option oracle = { "oracle", "true" };
    example e;
    make_example(&e);
    clv_loss *loss = make(t->ctx, "mochi", &oracle, 1);
    assert_fails(clv_loss_eval(loss, e.in, 3, NULL, 0, NULL, 0, NULL), CLV_ERR_INVALID,
                 "the oracle needs 'labels' and 'queue_labels'");
    clv_loss_destroy(loss);
}

TEST_MAIN(TEST(no_bank_makes_a_loss_take_more_than_eight_mebibytes),
          TEST(feature_transform_takes_as_much_whatever_it_moves),
          TEST(moco_queue_takes_two_mebibytes_whatever_the_bank_is_stored_in),
          TEST(the_mixes_shown_are_the_mixes_used), TEST(every_step_draws_anew_and_a_negative_one_nothing),
          TEST(threads_do_not_change_a_bit), TEST(mixes_that_cancel_count_as_zero),
          TEST(the_moved_queue_shown_is_the_one_used),
          TEST(a_list_longer_than_the_bank_is_the_whole_bank), TEST(mixes_must_be_whole_and_of_one_length),
          TEST(options_out_of_range_are_named), TEST(the_oracle_needs_labels))
