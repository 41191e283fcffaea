/* test_kernels.c: every kernel of a device gives what the CPU's reference kernel gives: for awkward shapes, in place
 * where it says so, whatever the order in which threads run. */
#include "core/bf16.h"
#include "core/checked.h"
#include "device/cuda/passes.h"
#include "tensor/op.h"
#include "tests/cuda/device.h"
#include "tests/support/calls.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EMULATED_WORK 20000     /* of a case; a device takes the large ones, too */
#define WORK          500000

typedef void (*case_fn)(test_env *env, clv_context *device, const clvi_kernel *k, test_call *t, int variant);

/* ---- running ---- */

/* Runs the reference kernel on the host into poisoned blocks. What it changes of its inputs changes nothing here. */
static void run_reference(test_env *env, const test_call *t, void *out[CLVI_MAX_OUT])
{
    clvi_op_call c = t->call;
    c.ctx = env->ctx;
    const clvi_kernel *k = clvi_kernel_find(&c, true);
    if (!k) fail_msg("%s has no reference kernel for this call", c.op);
    if (k->prepare) assert_ok(k->prepare(&c));
    for (int i = 0; i < c.n_in; i++)
        if (c.in_data[i]) c.in_data[i] = memcpy(test_call_block(c.in[i].bytes), c.in_data[i], c.in[i].bytes);
    for (int i = 0; i < c.n_out; i++) {
        c.out_data[i] = out[i] = test_call_block(c.out[i].bytes);
        memset(out[i], 0xff, c.out[i].bytes);
    }
    c.scratch = test_call_block(c.scratch_size);
    assert_ok(k->run(&c));
    if (k->release) k->release(&c);
    for (int i = 0; i < c.n_in; i++) free(c.in_data[i]);
    free(c.scratch);
}

/* A copy of `data` on the device; poison where that is NULL. */
static void *on_device(clv_context *ctx, const void *data, size_t bytes)
{
    void *memory = clvi_device_alloc(ctx, bytes);
    assert_non_null(memory);
    if (data) assert_ok(clvi_device_copy(ctx, memory, data, bytes, CLVI_COPY_TO_DEVICE));
    else assert_ok(clvi_device_fill(ctx, memory, 0xff, bytes));
    return memory;
}

/* The elements of a block of the host in another layout, in a block of their own. */
static void *in_layout(const clvi_desc *from, const void *data, const clvi_desc *to)
{
    const size_t size = clv_dtype_size(from->dtype);
    char *moved = test_call_block(to->bytes);
    for (int64_t i = 0; i < clvi_desc_count(from); i++) {
        int64_t rest = i, source = 0, target = 0;
        for (int d = from->ndim - 1; d >= 0; d--) {
            source += rest % from->shape[d] * from->stride[d];
            target += rest % from->shape[d] * to->stride[d];
            rest /= from->shape[d];
        }
        memcpy(moved + (size_t)target * size, (const char *)data + (size_t)source * size, size);
    }
    return moved;
}

/* Which input is the workspace of a batch norm with a ReLU: -1: none. */
static int norm_workspace(const test_call *t)
{
    if (strcmp(t->call.op, "batch_norm_pair_bwd") == 0 && t->attr.batch_norm.relu) return 7;
    return strcmp(t->call.op, "batch_norm_bwd") == 0 && t->attr.batch_norm.relu ? 5 : -1;
}

/* The workspace of batch norm is the kernel's own: a bit for each value, channels last, a byte for as many as 16 bytes
 * hold, where channels come in as many. */
static void *packed_workspace(const test_call *t, const unsigned char *bytes)
{
    const clvi_desc *x = &t->call.in[1];
    clvi_desc elements = *x, last;
    elements.dtype = CLV_U8;
    clvi_desc_make_dense(&elements);
    last = elements;
    if (x->ndim == 4) clvi_desc_make_nhwc(&last);
    unsigned char *moved = in_layout(&elements, bytes, &last);
    const int64_t values = 16 / (int64_t)clv_dtype_size(x->dtype), width = x->shape[1] % values == 0 ? values : 1;
    for (int64_t i = 0; i < clvi_desc_count(x) / width; i++) {
        unsigned packed = 0;
        for (int64_t v = 0; v < width; v++) packed |= (unsigned)(moved[i * width + v] != 0) << v;
        moved[i] = (unsigned char)packed;
    }
    return moved;
}

/* An input where the kernel wants it, in the layout it asked for. */
static void *input_on_device(clv_context *ctx, const test_call *t, int i, const clvi_desc *want)
{
    const clvi_desc *have = &t->call.in[i];
    const void *data = t->call.in_data[i];
    void *moved = i == norm_workspace(t) ? packed_workspace(t, data) : in_layout(have, data, want);
    void *memory = on_device(ctx, moved, want->bytes);
    free(moved);
    return memory;
}

/* A result on the host, in the layout of the call. */
static void *output_from_device(clv_context *ctx, const clvi_desc *have, const void *memory, const clvi_desc *want)
{
    void *block = test_call_block(have->bytes), *moved;
    assert_ok(clvi_device_copy(ctx, block, memory, have->bytes, CLVI_COPY_TO_HOST));
    moved = in_layout(have, block, want);
    free(block);
    return moved;
}

/* Where output i lies: an input's index if it shares that one's memory, else -1. */
static int shared_input(const clvi_op_call *c, const clvi_kernel *k, int i, bool in_place)
{
    const int input = in_place ? k->in_place[i] - 1 : -1;
    return input >= 0 && c->in_data[input] ? input : -1;
}

/* Runs a device's kernel on copies of the inputs; the results come back to blocks of the host. */
static void run_on_device(const test_call *t, const clvi_kernel *k, clv_context *ctx, void *out[CLVI_MAX_OUT],
                          bool in_place)
{
    clvi_op_call c = t->call;
    c.ctx = ctx;
    if (k->prepare) assert_ok(k->prepare(&c));
    for (int i = 0; i < c.n_in; i++)
        if (c.in[i].dtype != CLV_DTYPE_COUNT)
            c.in_data[i] = input_on_device(ctx, t, i, &c.in[i]);
    for (int i = 0; i < c.n_out; i++) {
        const int from = shared_input(&c, k, i, in_place);
        c.out_data[i] = from >= 0 ? c.in_data[from] : on_device(ctx, NULL, c.out[i].bytes);
    }
    c.scratch = on_device(ctx, NULL, c.scratch_size);
    assert_ok(k->run(&c));
    assert_ok(clvi_device_wait(ctx));
    for (int i = 0; i < c.n_out; i++) {
        out[i] = output_from_device(ctx, &c.out[i], c.out_data[i], &t->call.out[i]);
        if (shared_input(&c, k, i, in_place) < 0) clvi_device_free(ctx, c.out_data[i], c.out[i].bytes);
    }
    if (k->release) k->release(&c);
    for (int i = 0; i < c.n_in; i++) clvi_device_free(ctx, c.in_data[i], c.in[i].bytes);
    clvi_device_free(ctx, c.scratch, c.scratch_size);
}

static void free_outputs(const test_call *t, void *out[CLVI_MAX_OUT])
{
    for (int i = 0; i < t->call.n_out; i++) free(out[i]);
}

/* ---- the walk ---- */

/* Operations that mean something only with their gradient, whose workspace is their own: tests of graphs have them. */
static bool goes_in_pairs(const char *op)
{
    return strncmp(op, "max_pool2d", 10) == 0;
}

/* Calls fn for every shape and variant of one type that the kernel is the best for. Returns how many. */
static int each_case_of(test_env *env, clv_context *device, const clvi_kernel *k, clv_dtype type, case_fn fn)
{
    const int64_t most = test_device_is_emulated() || getenv("CLEAVE_TEST_SMALL") ? EMULATED_WORK : WORK;
    int ran = 0;
    for (int n = 0; n < test_call_n_sizes * TEST_CALL_VARIANTS; n++) {
        test_call t;
        const test_sizes s = test_call_sizes[n / TEST_CALL_VARIANTS];
        if (s.a * s.b * s.c > most) continue;
        if (!test_call_make(&t, device, k->op, type, s, n % TEST_CALL_VARIANTS))
            fail_msg("no test case for the operation %s", k->op);
        if (clvi_kernel_next(&t.call, NULL, NULL) != k) continue;
        test_call_fill(&t);
        fn(env, device, k, &t, n % TEST_CALL_VARIANTS);
        test_call_free(&t);
        ran++;
    }
    return ran;
}

static void for_each_case(test_env *env, case_fn fn)
{
    clv_context *device = test_device_context(env);
    const clvi_kernel *const *kernels = device->device->backend->kernels;
    for (int i = 0; kernels[i]; i++) {
        if (goes_in_pairs(kernels[i]->op)) continue;
        const int ran = each_case_of(env, device, kernels[i], CLV_F32, fn) +
                        each_case_of(env, device, kernels[i], CLV_F64, fn);
        if (ran < 8) fail_msg("%s/%s ran %d cases only", kernels[i]->name, kernels[i]->op, ran);
    }
    clv_context_destroy(device);
}

/* ---- tests ---- */

static void compare_with_reference(test_env *env, clv_context *device, const clvi_kernel *k, test_call *t, int variant)
{
    void *got[CLVI_MAX_OUT], *want[CLVI_MAX_OUT];
    run_reference(env, t, want);
    run_on_device(t, k, device, got, false);
    test_call_check_close(t, got, want, variant);
    free_outputs(t, got);
    free_outputs(t, want);
}

static void every_kernel_agrees_with_the_reference(void **state)
{
    for_each_case(*state, compare_with_reference);
}

/* A call on a bank whose rows are bfloat16, with sums relative to a shift that is known. */
static void compare_bfloat16_bank(test_env *env, clv_context *device, const char *op, clv_dtype type, int n, int variant)
{
    const int bank = strcmp(op, "bank_nce") == 0 ? 2 : 1;
    test_call t;
    assert_true(test_call_make(&t, device, op, type, test_call_sizes[n], variant));
    t.call.in[bank].dtype = CLV_BF16;
    clvi_desc_make_dense(&t.call.in[bank]);
    if (bank == 2) t.attr.bank_nce.unit_rows = true;
    const clvi_kernel *k = clvi_kernel_next(&t.call, NULL, NULL);
    assert_non_null(k);
    test_call_fill(&t);
    compare_with_reference(env, device, k, &t, variant);
    test_call_free(&t);
}

static void banks_of_bfloat16_agree_with_the_reference(void **state)
{
    clv_context *device = test_device_context(*state);
    for (int n = 0; n < test_call_n_sizes * TEST_CALL_VARIANTS; n++) {
        const test_sizes s = test_call_sizes[n / TEST_CALL_VARIANTS];
        if (s.a * s.b * s.c > EMULATED_WORK) continue;
        for (int type = 0; type < 2; type++) {
            const clv_dtype q = type ? CLV_F64 : CLV_F32;
            compare_bfloat16_bank(*state, device, "bank_nce", q, n / TEST_CALL_VARIANTS, n % TEST_CALL_VARIANTS);
            compare_bfloat16_bank(*state, device, "bank_topk", q, n / TEST_CALL_VARIANTS, n % TEST_CALL_VARIANTS);
        }
    }
    clv_context_destroy(device);
}

/* The operands that an operation narrows, narrowed. */
static void narrow(test_call *t, const clvi_half_rule *rule)
{
    for (int i = 0; i < t->call.n_in; i++)
        if (rule->in >> i & 1 && t->call.in[i].dtype != CLV_DTYPE_COUNT)
            t->call.in[i].dtype = CLV_BF16, clvi_desc_make_dense(&t->call.in[i]);
    for (int i = 0; i < t->call.n_out; i++)
        if (rule->out >> i & 1) t->call.out[i].dtype = CLV_BF16, clvi_desc_make_dense(&t->call.out[i]);
}

static void operations_on_bfloat16_agree_with_the_reference(void **state)
{
    static const char *const ops[] = { "conv2d", "conv2d_norm", "conv2d_bwd_data", "conv2d_bwd_weights", "batch_norm",
                                       "batch_norm_bwd", "batch_norm_pair", "batch_norm_pair_bwd", "relu", "relu_bwd",
                                       "prelu", "prelu_bwd", "add" };
    const int64_t most = test_device_is_emulated() || getenv("CLEAVE_TEST_SMALL") ? EMULATED_WORK : WORK;
    clv_context *device = test_device_context(*state);
    for (size_t o = 0; o < CLVI_COUNT(ops); o++) {
        int ran = 0;
        for (int n = 0; n < test_call_n_sizes * TEST_CALL_VARIANTS; n++) {
            const test_sizes s = test_call_sizes[n / TEST_CALL_VARIANTS];
            test_call t;
            if (s.a * s.b * s.c > most) continue;
            assert_true(test_call_make(&t, device, ops[o], CLV_F32, s, n % TEST_CALL_VARIANTS));
            narrow(&t, &clvi_op_class_find(ops[o])->half);
            const clvi_kernel *k = clvi_kernel_next(&t.call, NULL, NULL);
            if (!k) fail_msg("%s has no kernel for bfloat16", ops[o]);
            test_call_fill(&t);
            compare_with_reference(*state, device, k, &t, n % TEST_CALL_VARIANTS);
            test_call_free(&t);
            ran++;
        }
        if (ran < 8) fail_msg("%s ran %d cases only", ops[o], ran);
    }
    clv_context_destroy(device);
}

/* ---- TF32 ---- */

/* Squares of what two runs of a call are apart, and of one of them. */
typedef struct distance { double difference, length; } distance;

static void add_apart(const test_call *t, void *const *got, void *const *want, distance *sum)
{
    const float *a = got[0], *b = want[0];
    for (int64_t i = 0; i < clvi_desc_count(&t->call.out[0]); i++) {
        assert_true(isfinite(a[i]) && isfinite(b[i]));
        sum->difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        sum->length += (double)b[i] * b[i];
    }
}

/* All calls of an operation together: a small one may be a sum whose parts cancel. */
static void compare_in_tf32(test_env *env, clv_context *device, const char *op)
{
    distance sum = { 0, 0 };
    int ran = 0;
    for (int n = 0; n < test_call_n_sizes * TEST_CALL_VARIANTS; n++) {
        const test_sizes s = test_call_sizes[n / TEST_CALL_VARIANTS];
        void *got[CLVI_MAX_OUT], *want[CLVI_MAX_OUT];
        test_call t;
        if (s.a * s.b * s.c > EMULATED_WORK) continue;
        assert_true(test_call_make(&t, device, op, CLV_F32, s, n % TEST_CALL_VARIANTS));
        test_call_fill(&t);
        run_reference(env, &t, want);
        t.call.tf32 = true;
        run_on_device(&t, clvi_kernel_next(&t.call, NULL, NULL), device, got, false);
        add_apart(&t, got, want, &sum);
        free_outputs(&t, got);
        free_outputs(&t, want);
        test_call_free(&t);
        ran++;
    }
    const double error = sqrt(sum.difference / sum.length);
    if (ran < 8 || !(error > 1e-5 && error <= 1e-3)) fail_msg("%s in TF32: off by %g in %d cases", op, error, ran);
}

/* Rounded they are, and no further than TF32 rounds. */
static void products_in_tf32_are_near_the_reference(void **state)
{
    static const char *const ops[] = { "conv2d", "conv2d_norm", "conv2d_bwd_data", "conv2d_bwd_weights", "matmul" };
    clv_context *device = test_device_context(*state);
    for (size_t o = 0; o < CLVI_COUNT(ops); o++) compare_in_tf32(*state, device, ops[o]);
    clv_context_destroy(device);
}

/* x times 1, by the kernel the emulator has. NVIDIA's libraries may round otherwise. */
static void the_emulator_rounds_to_the_nearest_tf32_ties_away(void **state)
{
    static const float x[] = { 1, 1 + 0x1p-11f, 1 + 0x1.8p-11f, 1 + 0x0.fffp-11f, -1 - 0x1p-11f, 3 + 0x1p-10f,
                               0x1.fffp0f, 0x1p-149f, 0x1p-137f, -0.0f, INFINITY, NAN };
    static const float want[] = { 1, 1 + 0x1p-10f, 1 + 0x1p-10f, 1, -1 - 0x1p-10f, 3 + 0x1p-9f, 2, 0, 0x1p-136f, 0,
                                  INFINITY, NAN };
    enum { N = CLVI_COUNT(x) };
    if (!test_device_is_emulated()) skip();
    clv_context *device = test_device_context(*state);
    const clvi_matmul_attr attr = { .trans_a = false };
    const int64_t sizes[3][2] = { { N, 1 }, { 1, 1 }, { N, 1 } };
    const float one = 1;
    float got[N];
    clvi_op_call call = { .ctx = device, .op = "matmul", .attr = &attr, .tf32 = true, .n_in = 2, .n_out = 1 };
    clvi_desc *const desc[] = { &call.in[0], &call.in[1], &call.out[0] };
    for (int i = 0; i < 3; i++) {
        *desc[i] = (clvi_desc) { .dtype = CLV_F32, .ndim = 2, .shape = { sizes[i][0], sizes[i][1] } };
        clvi_desc_make_dense(desc[i]);
    }
    call.in_data[0] = on_device(device, x, sizeof x);
    call.in_data[1] = on_device(device, &one, sizeof one);
    call.out_data[0] = on_device(device, NULL, sizeof got);
    assert_ok(clvi_kernel_next(&call, NULL, NULL)->run(&call));
    assert_ok(clvi_device_copy(device, got, call.out_data[0], sizeof got, CLVI_COPY_TO_HOST));
    for (int i = 0; i < N; i++)
        if (isnan(want[i]) ? !isnan(got[i]) : got[i] != want[i])
            fail_msg("%a is rounded to %a, not %a", (double)x[i], (double)got[i], (double)want[i]);
    clvi_device_free(device, call.in_data[0], sizeof x);
    clvi_device_free(device, call.in_data[1], sizeof one);
    clvi_device_free(device, call.out_data[0], sizeof got);
    clv_context_destroy(device);
}

static void assert_same_bits(const test_call *t, void *const *a, void *const *b, int variant, const char *what)
{
    for (int o = 0; o < t->call.n_out; o++)
        if (memcmp(a[o], b[o], t->call.out[o].bytes) != 0)
            fail_msg("%s, variant %d, output %d: %s changes bits", t->call.op, variant, o, what);
}

static void compare_orders(test_env *env, clv_context *device, const clvi_kernel *k, test_call *t, int variant)
{
    (void)env;
    void *one[CLVI_MAX_OUT], *other[CLVI_MAX_OUT];
    run_on_device(t, k, device, one, false);
    test_device_order(2026);
    run_on_device(t, k, device, other, false);
    test_device_order(0);
    assert_same_bits(t, one, other, variant, "the order of threads");
    free_outputs(t, one);
    free_outputs(t, other);
}

/* On a device, where nobody chooses an order, a second run. */
static void order_of_threads_changes_no_bit(void **state)
{
    for_each_case(*state, compare_orders);
}

static void compare_in_place(test_env *env, clv_context *device, const clvi_kernel *k, test_call *t, int variant)
{
    (void)env;
    if (!k->in_place[0]) return;
    void *apart[CLVI_MAX_OUT], *together[CLVI_MAX_OUT];
    run_on_device(t, k, device, apart, false);
    run_on_device(t, k, device, together, true);
    assert_same_bits(t, apart, together, variant, "working in place");
    free_outputs(t, apart);
    free_outputs(t, together);
}

static void working_in_place_changes_nothing(void **state)
{
    for_each_case(*state, compare_in_place);
}

/* Eight channels for cuDNN and back: what the emulator has no convolution for. */
static void channels_are_padded_with_zeros_and_dropped_again(void **state)
{
    enum { PIXELS = 1031 };
    static uint16_t x[PIXELS * 7], wide[PIXELS * 8];
    static float back[PIXELS * 7];
    if (!test_device_is_emulated()) skip();      /* the passes of this program are the emulator's */
    clv_context *device = test_device_context(*state);
    const clvi_op_call call = { .ctx = device, .op = "conv2d" };
    for (int channels = 1; channels <= 7; channels += 2) {
        for (int i = 0; i < PIXELS * channels; i++) x[i] = (uint16_t)(0x3f80 + i % 97);
        void *from = on_device(device, x, sizeof x), *to = on_device(device, NULL, sizeof wide),
             *result = on_device(device, NULL, sizeof back);
        assert_ok(clvi_cuda_pad(&call, PIXELS, channels, from, to));
        assert_ok(clvi_cuda_widen(&call, PIXELS, channels, 8, to, result));
        assert_ok(clvi_device_copy(device, wide, to, sizeof wide, CLVI_COPY_TO_HOST));
        assert_ok(clvi_device_copy(device, back, result, sizeof back, CLVI_COPY_TO_HOST));
        for (int i = 0; i < PIXELS * 8; i++)
            assert_int_equal(wide[i], i % 8 < channels ? x[i / 8 * channels + i % 8] : 0);
        for (int i = 0; i < PIXELS * channels; i++) assert_true(back[i] == clvi_bf16_value(x[i]));
        clvi_device_free(device, from, sizeof x);
        clvi_device_free(device, to, sizeof wide);
        clvi_device_free(device, result, sizeof back);
    }
    clv_context_destroy(device);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(every_kernel_agrees_with_the_reference),
        TEST(banks_of_bfloat16_agree_with_the_reference),
        TEST(operations_on_bfloat16_agree_with_the_reference),
        TEST(products_in_tf32_are_near_the_reference),
        TEST(the_emulator_rounds_to_the_nearest_tf32_ties_away),
        TEST(channels_are_padded_with_zeros_and_dropped_again),
        TEST(order_of_threads_changes_no_bit),
        TEST(working_in_place_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
