/* test_cpu_kernels.c: every kernel of the names "cpu" and "blas" gives what the reference kernel gives, on every
 * instruction set, for awkward shapes, in place where it says so, and with the same bits for any number of threads. */
#include "core/checked.h"
#include "device/device.h"
#include "tensor/op.h"
#include "tests/support/calls.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Copies a value into another strided layout. */
static void relayout(const clvi_desc *from, const void *src, const clvi_desc *to, void *dst)
{
    assert_true(from->layout == CLVI_LAYOUT_STRIDED && to->layout == CLVI_LAYOUT_STRIDED);
    const size_t size = clv_dtype_size(from->dtype);
    for (int64_t i = 0; i < clvi_desc_count(from); i++) {
        int64_t a = 0, b = 0, rest = i;
        for (int d = from->ndim - 1; d >= 0; rest /= from->shape[d--]) {
            a += rest % from->shape[d] * from->stride[d];
            b += rest % from->shape[d] * to->stride[d];
        }
        memcpy((char *)dst + b * (int64_t)size, (const char *)src + a * (int64_t)size, size);
    }
}

/* A kernel that asked for an input in another layout gets it so. */
static void give_layouts(const test_call *t, clvi_op_call *c, void *copy[CLVI_MAX_IN])
{
    for (int i = 0; i < c->n_in; i++) {
        copy[i] = NULL;
        if (c->in[i].dtype == CLV_DTYPE_COUNT || clvi_desc_same_layout(&c->in[i], &t->call.in[i])) continue;
        copy[i] = test_call_block(c->in[i].bytes);
        relayout(&t->call.in[i], t->call.in_data[i], &c->in[i], copy[i]);
        c->in_data[i] = copy[i];
    }
}

/* Runs a kernel on the case's inputs into new, poisoned outputs (0xff bytes are NaN in every float type). */
static void run_kernel(const test_call *t, const clvi_kernel *k, clv_context *ctx, void *out[CLVI_MAX_OUT],
                       bool in_place)
{
    clvi_op_call c = t->call;
    c.ctx = ctx;
    if (k->prepare) assert_ok(k->prepare(&c));
    void *shared[CLVI_MAX_OUT] = { NULL }, *copy[CLVI_MAX_IN];
    give_layouts(t, &c, copy);
    for (int i = 0; i < c.n_out; i++) {
        out[i] = test_call_block(c.out[i].bytes);
        memset(out[i], 0xff, c.out[i].bytes);
        c.out_data[i] = out[i];
        if (!in_place || !k->in_place[i]) continue;
        const int from = k->in_place[i] - 1;
        assert_int_equal(c.in[from].bytes, c.out[i].bytes);
        shared[i] = test_call_block(c.in[from].bytes);
        memcpy(shared[i], c.in_data[from], c.in[from].bytes);
        c.in_data[from] = c.out_data[i] = shared[i];
    }
    c.scratch = test_call_block(c.scratch_size);
    memset(c.scratch, 0xff, c.scratch_size);
    assert_ok(k->run(&c));
    if (k->release) k->release(&c);
    free(c.scratch);
    for (int i = 0; i < c.n_in; i++) free(copy[i]);
    for (int i = 0; i < c.n_out; i++) {
        if (!clvi_desc_same_layout(&c.out[i], &t->call.out[i])) {
            void *dense = test_call_block(c.out[i].bytes);
            relayout(&c.out[i], out[i], &t->call.out[i], dense);
            free(out[i]);
            out[i] = dense;
        }
        if (!shared[i]) continue;
        memcpy(out[i], shared[i], c.out[i].bytes);
        free(shared[i]);
    }
}

static void free_outputs(const test_call *t, void *out[CLVI_MAX_OUT])
{
    for (int i = 0; i < t->call.n_out; i++) free(out[i]);
}

typedef void (*case_fn)(test_env *env, const clvi_kernel *k, test_call *t, int variant);

static bool is_mine(const clvi_kernel *k)
{
    return strcmp(k->name, "cpu") == 0 || strcmp(k->name, "blas") == 0;
}

/* Calls fn for every kernel, type, shape and variant it accepts. */
static void for_each_case(test_env *env, case_fn fn)
{
    static const clv_dtype types[] = { CLV_F32, CLV_F64 };
    for (int i = 0; clvi_kernel_at(i); i++) {
        const clvi_kernel *k = clvi_kernel_at(i);
        if (!is_mine(k)) continue;
        int ran = 0;
        for (size_t n = 0; n < 2 * (size_t)test_call_n_sizes * TEST_CALL_VARIANTS; n++) {
            test_call t;
            const int variant = (int)(n % TEST_CALL_VARIANTS);
            const test_sizes s = test_call_sizes[n / TEST_CALL_VARIANTS % (size_t)test_call_n_sizes];
            if (s.a * s.b * s.c > 500000 && strcmp(k->op, "matmul") != 0) continue;   /* only its depth matters */
            const clv_dtype type = types[n / TEST_CALL_VARIANTS / (size_t)test_call_n_sizes];
            if (!test_call_make(&t, env->ctx, k->op, type, s, variant))
                fail_msg("no test case for the operation %s", k->op);
            if (k->accepts && !k->accepts(&t.call)) continue;
            test_call_fill(&t);
            fn(env, k, &t, variant);
            test_call_free(&t);
            ran++;
        }
        if (ran < 8) fail_msg("%s/%s ran %d cases only", k->name, k->op, ran);
    }
}

/* ---- tests ---- */

static void compare_with_reference(test_env *env, const clvi_kernel *k, test_call *t, int variant)
{
    void *got[CLVI_MAX_OUT], *want[CLVI_MAX_OUT];
    const clvi_kernel *reference = clvi_kernel_find(&t->call, true);
    assert_non_null(reference);
    run_kernel(t, reference, env->ctx, want, false);
    run_kernel(t, k, env->ctx, got, false);
    test_call_check_close(t, got, want, variant);
    free_outputs(t, got);
    free_outputs(t, want);
}

static void every_kernel_agrees_with_the_reference(void **state)
{
    for_each_case(*state, compare_with_reference);
}

static void compare_thread_counts(test_env *env, const clvi_kernel *k, test_call *t, int variant)
{
    void *one[CLVI_MAX_OUT], *more[CLVI_MAX_OUT];
    clv_context *alone = test_context(env, 1), *three = test_context(env, 3);
    run_kernel(t, k, alone, one, false);
    run_kernel(t, k, three, more, false);
    for (int o = 0; o < t->call.n_out; o++)
        if (memcmp(one[o], more[o], t->call.out[o].bytes) != 0)
            fail_msg("%s/%s, variant %d: one thread and three differ", k->name, k->op, variant);
    free_outputs(t, one);
    free_outputs(t, more);
    clv_context_destroy(alone);
    clv_context_destroy(three);
}

static void thread_count_changes_no_bit(void **state)
{
    for_each_case(*state, compare_thread_counts);
}

static void compare_in_place(test_env *env, const clvi_kernel *k, test_call *t, int variant)
{
    if (!k->in_place[0]) return;
    void *apart[CLVI_MAX_OUT], *together[CLVI_MAX_OUT];
    run_kernel(t, k, env->ctx, apart, false);
    run_kernel(t, k, env->ctx, together, true);
    for (int o = 0; o < t->call.n_out; o++)
        if (memcmp(apart[o], together[o], t->call.out[o].bytes) != 0)
            fail_msg("%s/%s, variant %d: in place differs", k->name, k->op, variant);
    free_outputs(t, apart);
    free_outputs(t, together);
}

static void working_in_place_changes_nothing(void **state)
{
    for_each_case(*state, compare_in_place);
}

static const clvi_kernel *find_cpu(const clvi_op_call *call)
{
    const clvi_kernel *k = clvi_kernel_next(call, "cpu", NULL);
    assert_non_null(k);
    return k;
}

static void elementwise_kernels_take_an_opaque_layout_as_flat_memory(void **state)
{
    test_env *env = *state;
    test_call t;
    static const char *const ops[] = { "relu", "relu_bwd", "add", "sub", "mul", "scale" };
    for (size_t i = 0; i < CLVI_COUNT(ops); i++) {
        assert_true(test_call_make(&t, env->ctx, ops[i], CLV_F32, (test_sizes){ 2, 3, 5 }, 0));
        clvi_desc *x = &t.call.in[0];
        x->layout = CLVI_LAYOUT_OPAQUE;      /* 3 channels padded to 16 */
        x->bytes = 2 * 16 * 5 * sizeof(float);
        x->opaque_size = 4;
        memcpy(x->opaque, "abcd", 4);
        clvi_op_call c = t.call;
        const clvi_kernel *k = find_cpu(&c);
        assert_ok(k->prepare(&c));
        for (int j = 0; j < c.n_in; j++) assert_true(clvi_desc_same_layout(&c.in[j], x));
        assert_true(clvi_desc_same_layout(&c.out[0], x));
        float in[2][160] = { { 0 }, { 0 } }, out[160];
        for (int j = 0; j < 160; j += 3) in[0][j] = (float)(j % 7 - 3), in[1][j] = (float)(j % 5 - 2);
        memset(out, 0xff, sizeof out);
        c.in_data[0] = in[0], c.in_data[1] = in[1], c.out_data[0] = out;
        c.wanted[0] = true;
        assert_ok(k->run(&c));
        for (int j = 0; j < 160; j++)
            if (j % 3) assert_true(out[j] == 0);
        if (strcmp(ops[i], "sub") == 0) assert_true(out[9] == in[0][9] - in[1][9]);
    }
}

static void scale_with_an_offset_keeps_padding_zero_by_asking_for_dense_values(void **state)
{
    test_env *env = *state;
    test_call t;
    assert_true(test_call_make(&t, env->ctx, "scale", CLV_F32, (test_sizes){ 2, 3, 5 }, 1));
    t.call.in[0].layout = CLVI_LAYOUT_OPAQUE;
    t.call.in[0].bytes = 640;
    const clvi_kernel *k = find_cpu(&t.call);
    assert_ok(k->prepare(&t.call));
    assert_true(clvi_desc_is_dense(&t.call.in[0]));
    assert_true(clvi_desc_is_dense(&t.call.out[0]));
}

static void elementwise_kernels_keep_a_permuted_layout_and_refuse_gaps(void **state)
{
    test_env *env = *state;
    test_call t;
    assert_true(test_call_make(&t, env->ctx, "add", CLV_F32, (test_sizes){ 4, 3, 5 }, 0));
    clvi_desc *x = &t.call.in[0];
    x->stride[0] = 15, x->stride[1] = 1, x->stride[2] = 3;
    const clvi_desc permuted = *x;
    const clvi_kernel *k = find_cpu(&t.call);
    assert_ok(k->prepare(&t.call));
    for (int i = 0; i < 2; i++) assert_true(clvi_desc_same_layout(&t.call.in[i], &permuted));
    assert_true(clvi_desc_same_layout(&t.call.out[0], &permuted));
    x->stride[0] = 16;
    assert_ok(k->prepare(&t.call));
    assert_true(clvi_desc_is_dense(x));
    x->stride[0] = 0;
    assert_ok(k->prepare(&t.call));
    assert_true(clvi_desc_is_dense(x));
}

static void nan_goes_through_relu_and_softmax(void **state)
{
    test_env *env = *state;
    test_call t;
    static const char *const ops[] = { "relu", "add", "softmax_xent", "l2norm_rows" };
    for (size_t i = 0; i < CLVI_COUNT(ops); i++) {
        assert_true(test_call_make(&t, env->ctx, ops[i], CLV_F32, (test_sizes){ 1, 40, 1 }, 2));
        test_call_fill(&t);
        ((float *)t.call.in_data[0])[21] = NAN;
        if (t.call.in[1].dtype == CLV_I64) ((int64_t *)t.call.in_data[1])[0] = 3;
        void *out[CLVI_MAX_OUT];
        run_kernel(&t, find_cpu(&t.call), env->ctx, out, false);
        const int64_t at = t.call.out[0].shape[1] > 1 ? 21 : 0;
        if (!isnan(((float *)out[0])[at])) fail_msg("%s hides a NaN", ops[i]);
        free_outputs(&t, out);
        test_call_free(&t);
    }
}

/* Rows that overflowed, or are no numbers, still make the pairs that the reference makes of them. */
static void hardest_pairs_of_distances_that_are_not_finite(void **state)
{
    static const float strange[] = { NAN, INFINITY, -INFINITY };
    test_env *env = *state;
    for (size_t i = 0; i < CLVI_COUNT(strange); i++)
        for (int64_t row = 0; row < 40; row += 13) {
            test_call t;
            void *want[CLVI_MAX_OUT], *got[CLVI_MAX_OUT];
            assert_true(test_call_make(&t, env->ctx, "hardest_pairs", CLV_F32, (test_sizes){ 40, 1, 1 }, 0));
            test_call_fill(&t);
            for (int64_t k = 0; k < 40; k++) ((float *)t.call.in_data[0])[row * 40 + k] = strange[i];
            for (int64_t k = 0; k < 40; k++) ((float *)t.call.in_data[0])[k * 40 + row] = strange[i];
            assert_string_equal(find_cpu(&t.call)->name, "cpu");
            run_kernel(&t, clvi_kernel_find(&t.call, true), env->ctx, want, false);
            run_kernel(&t, find_cpu(&t.call), env->ctx, got, false);
            for (int o = 0; o < 2; o++) assert_memory_equal(got[o], want[o], 40 * sizeof(int64_t));
            assert_memory_equal(got[2], want[2], 40);
            free_outputs(&t, want);
            free_outputs(&t, got);
            test_call_free(&t);
        }
}

static void softmax_target_out_of_range_is_refused(void **state)
{
    test_env *env = *state;
    test_call t;
    assert_true(test_call_make(&t, env->ctx, "softmax_xent", CLV_F32, (test_sizes){ 3, 4, 1 }, 0));
    test_call_fill(&t);
    ((int64_t *)t.call.in_data[1])[2] = 4;
    float out[2][3];
    t.call.out_data[0] = out[0], t.call.out_data[1] = out[1];
    assert_fails(find_cpu(&t.call)->run(&t.call), CLV_ERR_INVALID, "target of row 2 is 4, want less than 4");
    const clvi_kernel *reference = clvi_kernel_find(&t.call, true);
    assert_fails(reference->run(&t.call), CLV_ERR_INVALID, "target of row 2 is 4, want less than 4");
    test_call_free(&t);
}

static void every_operation_has_a_reference_kernel_for_both_types(void **state)
{
    test_env *env = *state;
    static const clv_dtype types[] = { CLV_F32, CLV_F64 };
    for (int i = 0; clvi_op_class_at(i); i++) {
        if (clvi_op_class_at(i)->alias) continue;
        for (int f = 0; f < 2; f++) {
            clvi_op_call call = { .ctx = env->ctx, .op = clvi_op_class_at(i)->name, .n_in = 1, .n_out = 1 };
            call.in[0] = (clvi_desc){ .dtype = types[f], .ndim = 1, .shape = { 3 } };
            clvi_desc_make_dense(&call.in[0]);
            call.out[0] = call.in[0];
            if (!clvi_kernel_find(&call, true))
                fail_msg("%s has no reference kernel for %s", call.op, clv_dtype_name(types[f]));
        }
    }
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_operation_has_a_reference_kernel_for_both_types),
        TEST(every_kernel_agrees_with_the_reference),
        TEST(thread_count_changes_no_bit),
        TEST(working_in_place_changes_nothing),
        TEST(elementwise_kernels_take_an_opaque_layout_as_flat_memory),
        TEST(scale_with_an_offset_keeps_padding_zero_by_asking_for_dense_values),
        TEST(elementwise_kernels_keep_a_permuted_layout_and_refuse_gaps),
        TEST(nan_goes_through_relu_and_softmax),
        TEST(hardest_pairs_of_distances_that_are_not_finite),
        TEST(softmax_target_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa(run_all);
}
