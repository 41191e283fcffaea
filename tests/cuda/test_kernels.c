/* test_kernels.c: every kernel of a device gives what the CPU's reference kernel gives, within the limits of its class
 * (docs/runtime.md has the table): for awkward shapes, in place where it says so, whatever the order in which threads
 * run. */
#include "core/bf16.h"
#include "core/checked.h"
#include "device/cuda/passes.h"
#include "tensor/op.h"
#include "tests/cuda/device.h"
#include "tests/support/calls.h"
#include <math.h>
#include <stdio.h>
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

/* Memory of the device full of one byte. 0xff is NaN, in the types that have it. */
static void *poisoned(clv_context *ctx, int byte, size_t bytes)
{
    void *memory = clvi_device_alloc(ctx, bytes);
    assert_non_null(memory);
    assert_ok(clvi_device_fill(ctx, memory, byte, bytes));
    return memory;
}

/* Where a result comes. Whole numbers that are not written must not look like -1, which may be right. */
static void *result_on_device(clv_context *ctx, const clvi_desc *d)
{
    return poisoned(ctx, d->dtype == CLV_I64 || d->dtype == CLV_U8 ? 0x7f : 0xff, d->bytes);
}

static void *on_device(clv_context *ctx, const void *data, size_t bytes)
{
    void *memory = clvi_device_alloc(ctx, bytes);
    assert_non_null(memory);
    assert_ok(clvi_device_copy(ctx, memory, data, bytes, CLVI_COPY_TO_DEVICE));
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

/* Where element i of a picture lies when channels are last. */
static int64_t place_channels_last(const clvi_desc *d, int64_t i)
{
    const int64_t channels = d->shape[1], plane = d->shape[2] * d->shape[3];
    return (i / plane / channels * plane + i % plane) * channels + i / plane % channels;
}

/* The workspace of a maximum, too: for each result which pixel of its plane it is, in 32 bits, channels last. */
static void *packed_winners(const test_call *t, const int64_t *winners)
{
    int32_t *moved = test_call_block(t->call.in[1].bytes);
    memset(moved, 0xff, t->call.in[1].bytes);
    for (int64_t i = 0; i < clvi_desc_count(&t->call.in[0]); i++)
        moved[place_channels_last(&t->call.in[0], i)] = (int32_t)winners[i];
    return moved;
}

static void *winners_from_device(clv_context *ctx, const test_call *t, const void *memory)
{
    const int64_t count = clvi_desc_count(&t->call.out[0]);
    int32_t *have = test_call_block((size_t)count * sizeof *have);
    int64_t *winners = test_call_block(t->call.out[1].bytes);
    assert_ok(clvi_device_copy(ctx, have, memory, (size_t)count * sizeof *have, CLVI_COPY_TO_HOST));
    for (int64_t i = 0; i < count; i++) winners[i] = have[place_channels_last(&t->call.out[0], i)];
    free(have);
    return winners;
}

/* An input where the kernel wants it, in the layout it asked for. */
static void *input_on_device(clv_context *ctx, const test_call *t, int i, const clvi_desc *want)
{
    const clvi_desc *have = &t->call.in[i];
    const void *data = t->call.in_data[i];
    const bool winners = i == 1 && strcmp(t->call.op, "max_pool2d_bwd") == 0;
    void *moved = winners ? packed_winners(t, data) :
                  i == norm_workspace(t) ? packed_workspace(t, data) : in_layout(have, data, want);
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
        c.out_data[i] = from >= 0 ? c.in_data[from] : result_on_device(ctx, &c.out[i]);
    }
    c.scratch = poisoned(ctx, 0xff, c.scratch_size);
    assert_ok(k->run(&c));
    assert_ok(clvi_device_wait(ctx));
    for (int i = 0; i < c.n_out; i++) {
        out[i] = i == 1 && strcmp(c.op, "max_pool2d") == 0 ? winners_from_device(ctx, t, c.out_data[i]) :
                 output_from_device(ctx, &c.out[i], c.out_data[i], &t->call.out[i]);
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

/* ---- classes ---- */

typedef enum conformance {
    SAME_BITS, POINTWISE_F32, SUMS_F32, POINTWISE_F64, SUMS_F64, IN_TF32, IN_BF16, N_CLASSES
} conformance;

/* What a result of an operation may be off by, all its calls together (in one, parts of a sum may cancel): the length
 * of the difference over its own length. test_call_check_close has limits for single elements. */
static const struct { const char *name; double limit; } classes[N_CLASSES] = {
    [SAME_BITS] = { "the same bits", 0 },
    [POINTWISE_F32] = { "float32, pointwise", 1e-6 }, [SUMS_F32] = { "float32, sums", 1e-5 },
    [POINTWISE_F64] = { "float64, pointwise", 1e-15 }, [SUMS_F64] = { "float64, sums", 1e-14 },
    [IN_TF32] = { "TF32", 1e-3 }, [IN_BF16] = { "bfloat16", 4e-3 },
};

/* Of one operation, between open_class and close_class: squares. */
static struct {
    const char *op;
    conformance class;
    int         calls;
    double      difference[CLVI_MAX_OUT], length[CLVI_MAX_OUT];
} now;

/* Of all. */
static struct {
    int         operations, calls;
    double      worst;
    const char *op;
} tally[N_CLASSES];

static conformance class_of(const test_call *t)
{
    const clvi_op_call *c = &t->call;
    bool half = false, wide = false;
    if (t->kind == TEST_CALL_EXACT) return SAME_BITS;
    if (c->tf32) return IN_TF32;
    for (int i = 0; i < c->n_in; i++) half |= c->in[i].dtype == CLV_BF16, wide |= c->in[i].dtype == CLV_F64;
    for (int i = 0; i < c->n_out; i++) half |= c->out[i].dtype == CLV_BF16, wide |= c->out[i].dtype == CLV_F64;
    const bool pointwise = t->kind == TEST_CALL_POINTWISE;
    return half ? IN_BF16 : wide ? pointwise ? POINTWISE_F64 : SUMS_F64 : pointwise ? POINTWISE_F32 : SUMS_F32;
}

static void open_class(const char *op)
{
    memset(&now, 0, sizeof now);
    now.op = op;
}

/* What a call gave, if somebody asked. */
static void add_to_class(const test_call *t, void *const *got, void *const *want)
{
    if (!now.op) return;
    assert_true(now.calls++ == 0 || now.class == class_of(t));
    now.class = class_of(t);
    for (int o = 0; o < t->call.n_out; o++)
        for (int64_t i = 0; i < clvi_desc_count(&t->call.out[o]); i++) {
            const double a = test_call_element(&t->call.out[o], got[o], i);
            const double b = test_call_element(&t->call.out[o], want[o], i);
            if (a == b && isinf(a)) continue;
            now.difference[o] += (a - b) * (a - b);          /* NaN stays, and is above every limit */
            now.length[o] += b * b;
        }
}

/* Holds all calls since open_class against the limit; returns what they are off by. */
static double close_class(void)
{
    double worst = 0;
    for (int o = 0; o < CLVI_MAX_OUT; o++) {
        const double error = now.difference[o] == 0 ? 0 : sqrt(now.difference[o] / now.length[o]);
        if (!(error <= classes[now.class].limit))
            fail_msg("%s, output %d: off by %.2g in %d calls, %s allows %g", now.op, o, error, now.calls,
                     classes[now.class].name, classes[now.class].limit);
        worst = fmax(worst, error);
    }
    if (now.calls > 0) {
        tally[now.class].operations++;
        tally[now.class].calls += now.calls;
        if (worst >= tally[now.class].worst) tally[now.class].worst = worst, tally[now.class].op = now.op;
    }
    now.op = NULL;
    return worst;
}

/* The table of all classes, also into the file that CLEAVE_TEST_CLASSES names. */
static int tell_classes(void **state)
{
    const char *path = getenv("CLEAVE_TEST_CLASSES");
    FILE *file = path ? fopen(path, "w") : NULL;
    (void)state;
    for (int c = 0; c < N_CLASSES; c++) {
        char line[160];
        snprintf(line, sizeof line, "%d operations by type, %d calls, off by %.1e at most (%s), %.0e allowed",
                 tally[c].operations, tally[c].calls, tally[c].worst, tally[c].op ? tally[c].op : "none",
                 classes[c].limit);
        print_message("%s: %s\n", classes[c].name, line);
        if (file) (void)fprintf(file, "%s\t%s\n", classes[c].name, line);
    }
    return path && (!file || fclose(file) != 0);
}

/* ---- the walk ---- */

static bool too_much(test_sizes s)
{
    const bool small = test_device_is_emulated() || getenv("CLEAVE_TEST_SMALL");
    return s.a * s.b * s.c > (small ? EMULATED_WORK : WORK);
}

/* Calls fn for every shape and variant of one type that the kernel is the best for. Returns how many. */
static int each_case_of(test_env *env, clv_context *device, const clvi_kernel *k, clv_dtype type, case_fn fn)
{
    int ran = 0;
    for (int n = 0; n < test_call_n_sizes * TEST_CALL_VARIANTS; n++) {
        test_call t;
        const test_sizes s = test_call_sizes[n / TEST_CALL_VARIANTS];
        if (too_much(s)) continue;
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
        int ran = 0;
        for (int type = CLV_F32; type <= CLV_F64; type++) {
            open_class(kernels[i]->op);
            ran += each_case_of(env, device, kernels[i], (clv_dtype)type, fn);
            close_class();
        }
        if (ran < 8) fail_msg("%s/%s ran %d cases only", kernels[i]->name, kernels[i]->op, ran);
    }
    clv_context_destroy(device);
}

/* ---- tests ---- */

static void assert_same_bits(const test_call *t, void *const *a, void *const *b, int variant, const char *what)
{
    for (int o = 0; o < t->call.n_out; o++)
        if (memcmp(a[o], b[o], t->call.out[o].bytes) != 0)
            fail_msg("%s, variant %d, output %d: %s changes bits", t->call.op, variant, o, what);
}

static void compare_with_reference(test_env *env, clv_context *device, const clvi_kernel *k, test_call *t, int variant)
{
    void *got[CLVI_MAX_OUT], *want[CLVI_MAX_OUT];
    run_reference(env, t, want);
    run_on_device(t, k, device, got, false);
    test_call_check_close(t, got, want, variant);
    if (t->kind == TEST_CALL_EXACT) assert_same_bits(t, got, want, variant, "the device");
    add_to_class(t, got, want);
    free_outputs(t, got);
    free_outputs(t, want);
}

static void every_operation_has_a_kernel(void **state)
{
    clv_context *device = test_device_context(*state);
    const clvi_kernel *const *kernels = device->device->backend->kernels;
    for (int i = 0; clvi_op_class_at(i); i++) {
        const clvi_op_class *cls = clvi_op_class_at(i);
        int k = 0;
        while (kernels[k] && strcmp(kernels[k]->op, cls->name) != 0) k++;
        if (!cls->alias && !kernels[k]) fail_msg("%s has no kernel", cls->name);
    }
    clv_context_destroy(device);
}

static void every_kernel_agrees_with_the_reference(void **state)
{
    for_each_case(*state, compare_with_reference);
}

static double longest_row(const clvi_desc *d, const void *data)
{
    double longest = 0;
    for (int64_t i = 0; i < d->shape[0]; i++) {
        double square = 0;
        for (int64_t c = 0; c < d->shape[1]; c++)
            square += pow(test_call_element(d, data, i * d->shape[1] + c), 2);
        longest = fmax(longest, sqrt(square));
    }
    return longest;
}

/* Products of bfloat16 are allowed what they are on a CPU that has them (tests/parity/test_bank_nce.c): queries are sums
 * of two, so logits are off by 2^-17 of the largest; weights are rounded, which moves the gradient by 2^-9 of a row. */
static void allow_rounded_products(test_call *t)
{
    const double row = longest_row(&t->call.in[2], t->call.in_data[2]) / t->attr.bank_nce.temperature;
    const double logit = row * longest_row(&t->call.in[0], t->call.in_data[0]) * 0x1p-17;
    t->slack[0] = t->slack[1] = t->slack[3] = logit;
    t->slack[2] = 2 * logit * row + row * 0x1p-9;
}

/* A call on a bank; `change` may touch what there is before it runs (NULL: nothing does). */
typedef struct bank_case {
    const char *op;
    clv_dtype   type;
    bool        half;              /* rows of bfloat16, and sums relative to a shift that is known */
    test_sizes  sizes;
    int         variant;
    double      temperature;       /* 0: the generator's */
    void      (*change)(test_call *t, int bank);
} bank_case;

static void compare_bank(test_env *env, clv_context *device, const bank_case *b)
{
    const bool nce = strcmp(b->op, "bank_nce") == 0;
    const int bank = nce ? 2 : 1;
    test_call t;
    assert_true(test_call_make(&t, device, b->op, b->type, b->sizes, b->variant));
    if (b->half) {
        t.call.in[bank].dtype = CLV_BF16;
        clvi_desc_make_dense(&t.call.in[bank]);
    }
    if (nce) t.attr.bank_nce.unit_rows = b->half;
    if (nce && b->temperature > 0) t.attr.bank_nce.temperature = b->temperature;
    const clvi_kernel *k = clvi_kernel_next(&t.call, NULL, NULL);
    assert_non_null(k);
    test_call_fill(&t);
    if (b->change) b->change(&t, bank);
    if (nce && b->half && b->type == CLV_F32) allow_rounded_products(&t);
    compare_with_reference(env, device, k, &t, b->variant);
    test_call_free(&t);
}

static void banks_of_bfloat16_agree_with_the_reference(void **state)
{
    static const char *const ops[] = { "bank_nce", "bank_topk" };
    clv_context *device = test_device_context(*state);
    for (int k = 0; k < 2 * (int)CLVI_COUNT(ops); k++) {
        open_class(ops[k / 2]);
        for (int n = 0; n < test_call_n_sizes * TEST_CALL_VARIANTS; n++) {
            const test_sizes s = test_call_sizes[n / TEST_CALL_VARIANTS];
            if (s.a * s.b * s.c > EMULATED_WORK) continue;
            compare_bank(*state, device, &(bank_case) { ops[k / 2], k % 2 ? CLV_F64 : CLV_F32, true, s,
                                                        n % TEST_CALL_VARIANTS, 0, NULL });
        }
        close_class();
    }
    clv_context_destroy(device);
}

/* Around every size at which a bank falls into other tiles or slices: in the emulator 32 rows and 7 slices. */
static void banks_of_any_length_are_cut_without_remainder(void **state)
{
    static const int64_t lengths[] = { 1, 7, 8, 31, 32, 33, 40, 63, 64, 65, 71, 223, 224, 225, 231, 449, 523 };
    static const int64_t queries[] = { 1, 2, 67 };
    static const char *const ops[] = { "bank_nce", "bank_lse" };
    clv_context *device = test_device_context(*state);
    for (int n = 0; n < 2 * 3 * (int)CLVI_COUNT(lengths); n++) {
        const test_sizes s = { queries[n / 2 % 3], n % 5 == 0 ? 8 : 1 + n % 3, lengths[n / 6] };
        for (int f = 0; f < 2; f++)
            compare_bank(*state, device, &(bank_case) { ops[n % 2], f ? CLV_F64 : CLV_F32,
                                                        n % 2 == 0 && (n / 2 + f) % 2 == 0, s,
                                                        (n / 2 + f) % TEST_CALL_VARIANTS, 0, NULL });
    }
    clv_context_destroy(device);
}

static void forbid_by_flags(test_call *t, int bank)
{
    memset((void *)t->call.in_data[bank + 1], 0, t->call.in[bank + 1].bytes);
}

static void forbid_by_ids(test_call *t, int bank)
{
    for (int i = bank + 2; i <= bank + 3; i++)
        for (int64_t n = 0; n < t->call.in[i].shape[0]; n++) ((int64_t *)t->call.in_data[i])[n] = 3;
}

/* The loss is then 0, the key has all of the probability, nothing pulls. */
static void banks_of_which_no_row_counts_agree_with_the_reference(void **state)
{
    clv_context *device = test_device_context(*state);
    for (int n = 0; n < 8; n++) {
        const bank_case by = { "bank_nce", n & 1 ? CLV_F64 : CLV_F32, n & 2, { n & 4 ? 1 : 5, 3, 300 }, 3, 0, NULL };
        bank_case c = by;
        c.change = forbid_by_flags;
        compare_bank(*state, device, &c);
        c.change = forbid_by_ids;
        compare_bank(*state, device, &c);
        c.op = "bank_lse", c.half = false, c.change = forbid_by_flags;
        compare_bank(*state, device, &c);
    }
    clv_context_destroy(device);
}

/* Queries, keys and rows of unit length (or none) that nothing moves, so that the shift of sums may be what it says. Logits reach 1/t, and with them
 * what their rounding is: of gradients, over t once more. */
static void make_unit_rows(test_call *t, int bank)
{
    const double eps = t->call.out[0].dtype == CLV_F64 ? 0x1p-50 : 0x1p-21, over = 1 / t->attr.bank_nce.temperature;
    for (int i = 0; i <= bank; i++) {
        const clvi_desc *d = &t->call.in[i];
        for (int64_t row = 0; row < d->shape[0]; row++) {
            clvi_desc one = { .dtype = d->dtype, .ndim = 2, .shape = { 1, d->shape[1] } };
            clvi_desc_make_dense(&one);
            char *at = (char *)t->call.in_data[i] + (size_t)(row * d->shape[1]) * clv_dtype_size(d->dtype);
            const double length = longest_row(&one, at);
            for (int64_t c = 0; c < d->shape[1]; c++) {
                const double x = length > 0 ? test_call_element(&one, at, c) / length : 0;
                if (d->dtype == CLV_F64) ((double *)(void *)at)[c] = x;
                else if (d->dtype == CLV_F32) ((float *)(void *)at)[c] = (float)x;
                else ((uint16_t *)(void *)at)[c] = clvi_bf16_round(x);
            }
        }
    }
    t->attr.bank_nce.mix = t->attr.bank_nce.unit = false;
    t->slack[0] = t->slack[1] = t->slack[3] = eps * over;
    t->slack[2] = eps * over * over;
}

/* On either side of 1/30, from which on a shift of 1/t would leave float32 nothing. */
static void any_temperature_agrees_with_the_reference(void **state)
{
    static const double temperatures[] = { 1e-4, 1e-3, 0.01, 0.033, 1.0 / 30, 0.034, 0.2, 1, 1e3, 1e6 };
    clv_context *device = test_device_context(*state);
    for (int n = 0; n < 4 * (int)CLVI_COUNT(temperatures); n++)
        compare_bank(*state, device, &(bank_case) { "bank_nce", n & 1 ? CLV_F64 : CLV_F32, n & 2, { 3, 16, 300 }, 2,
                                                    temperatures[n / 4], make_unit_rows });
    clv_context_destroy(device);
}

static void put_everywhere(test_call *t, int input, int64_t row, double x)
{
    const clvi_desc *d = &t->call.in[input];
    for (int64_t i = row * d->shape[1]; i < (row + 1) * d->shape[1]; i++) {
        if (d->dtype == CLV_BF16) ((uint16_t *)t->call.in_data[input])[i] = clvi_bf16_round(x);
        else if (d->dtype == CLV_F32) ((float *)t->call.in_data[input])[i] = (float)x;
        else ((double *)t->call.in_data[input])[i] = x;
    }
}

/* Where the reference's results are no numbers the device's are none, and the others are near. */
static void compare_broken(test_env *env, clv_context *device, test_call *t)
{
    void *got[CLVI_MAX_OUT], *want[CLVI_MAX_OUT];
    int broken = 0;
    run_reference(env, t, want);
    run_on_device(t, clvi_kernel_next(&t->call, NULL, NULL), device, got, false);
    for (int o = 0; o < t->call.n_out; o++)
        for (int64_t i = 0; t->call.out[o].dtype != CLV_I64 && i < clvi_desc_count(&t->call.out[o]); i++) {
            const double a = test_call_element(&t->call.out[o], got[o], i);
            const double b = test_call_element(&t->call.out[o], want[o], i);
            if (isfinite(b) ? !(fabs(a - b) <= 0.02 * (1 + fabs(b))) : isfinite(a))
                fail_msg("%s, output %d[%ld]: %g, the reference gives %g", t->call.op, o, (long)i, a, b);
            broken += !isfinite(b);
        }
    assert_true(broken > 0);
    free_outputs(t, got);
    free_outputs(t, want);
}

/* In a query: that one's results. In a row: everybody's; the last rows are in two tiles. Rows of bfloat16 meet queries in
 * two parts, of which one may be an infinity and the other its opposite: NaN only. */
static void what_is_no_number_never_looks_like_one(void **state)
{
    static const char *const ops[] = { "bank_nce", "bank_lse", "pair_nce" };
    static const double values[] = { NAN, INFINITY, -INFINITY };
    static const int64_t rows[] = { 0, 17, 150, 299 };
    clv_context *device = test_device_context(*state);
    for (int n = 0; n < 3 * 3 * 5 * 4; n++) {
        const char *op = ops[n % 3];
        const int where = n / 9 % 5, bank = n % 3 == 0 ? 2 : 1;
        const bool pairs = n % 3 == 2;
        test_call t;
        const test_sizes s = { pairs ? 300 : 4, 3, 300 };
        assert_true(test_call_make(&t, device, op, n / 45 % 2 ? CLV_F64 : CLV_F32, s, 0));
        if (bank == 2 && n / 90) t.call.in[bank].dtype = CLV_BF16, clvi_desc_make_dense(&t.call.in[bank]);
        if (bank == 2) t.attr.bank_nce.unit_rows = n / 90;
        test_call_fill(&t);
        put_everywhere(&t, where == 4 || pairs ? 0 : bank, where == 4 ? 2 : rows[where], values[n / 90 ? 0 : n / 3 % 3]);
        compare_broken(*state, device, &t);
        test_call_free(&t);
    }
    clv_context_destroy(device);
}

/* What lies in rows that are not valid is nobody's business. */
static void rows_that_do_not_count_may_hold_anything(void **state)
{
    static const char *const ops[] = { "bank_nce", "bank_lse", "bank_topk" };
    clv_context *device = test_device_context(*state);
    for (int n = 0; n < 2 * 2 * (int)CLVI_COUNT(ops) * test_call_n_sizes; n++) {
        const char *op = ops[n / 4 % (int)CLVI_COUNT(ops)];
        const int bank = strcmp(op, "bank_nce") == 0 ? 2 : 1, variant = n & 1 ? 3 : 1;
        const test_sizes s = test_call_sizes[n / 4 / (int)CLVI_COUNT(ops)];
        test_call t;
        if (s.a * s.b * s.c > EMULATED_WORK) continue;
        assert_true(test_call_make(&t, device, op, n & 2 ? CLV_F64 : CLV_F32, s, variant));
        if (bank == 2) t.attr.bank_nce.mix = false;          /* a row is mixed with any other */
        test_call_fill(&t);
        const size_t row = t.call.in[bank].shape[0] ? t.call.in[bank].bytes / (size_t)t.call.in[bank].shape[0] : 0;
        const unsigned char *valid = t.call.in_data[bank + 1];
        for (int64_t j = 0; j < t.call.in[bank].shape[0]; j++)
            if (!valid[j]) memset((char *)t.call.in_data[bank] + (size_t)j * row, 0xff, row);
        compare_with_reference(*state, device, clvi_kernel_next(&t.call, NULL, NULL), &t, variant);
        test_call_free(&t);
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

static int each_case_in_bfloat16(test_env *env, clv_context *device, const clvi_op_class *cls)
{
    int ran = 0;
    for (int n = 0; n < test_call_n_sizes * TEST_CALL_VARIANTS; n++) {
        const test_sizes s = test_call_sizes[n / TEST_CALL_VARIANTS];
        test_call t;
        if (too_much(s)) continue;
        assert_true(test_call_make(&t, device, cls->name, CLV_F32, s, n % TEST_CALL_VARIANTS));
        narrow(&t, &cls->half);
        const clvi_kernel *k = clvi_kernel_next(&t.call, NULL, NULL);
        if (!k) fail_msg("%s has no kernel for bfloat16", cls->name);
        t.rounds = strcmp(k->name, "cudnn") == 0;       /* gradients of weights are widened after it */
        test_call_fill(&t);
        compare_with_reference(env, device, k, &t, n % TEST_CALL_VARIANTS);
        test_call_free(&t);
        ran++;
    }
    return ran;
}

static void operations_on_bfloat16_agree_with_the_reference(void **state)
{
    clv_context *device = test_device_context(*state);
    for (int i = 0; clvi_op_class_at(i); i++) {
        const clvi_op_class *cls = clvi_op_class_at(i);
        if (!(cls->half.in | cls->half.out)) continue;
        open_class(cls->name);
        const int ran = each_case_in_bfloat16(*state, device, cls);
        if (ran < 8) fail_msg("%s ran %d cases only", cls->name, ran);
        close_class();
    }
    clv_context_destroy(device);
}

/* ---- TF32 ---- */

static const char *const products[] = { "conv2d", "conv2d_norm", "conv2d_bwd_data", "conv2d_bwd_weights", "matmul",
                                       "bank_nce", "bank_lse", "pair_nce", "pair_nce_bwd" };

/* Rounded they are (losses of few rows show it least, strictly they are off by 2e-7), and no further than TF32 rounds.
 * NVIDIA's libraries may do small ones strictly. */
static void compare_in_tf32(test_env *env, clv_context *device, const char *op)
{
    int ran = 0;
    open_class(op);
    for (int n = 0; n < test_call_n_sizes * TEST_CALL_VARIANTS; n++) {
        const test_sizes s = test_call_sizes[n / TEST_CALL_VARIANTS];
        void *got[CLVI_MAX_OUT], *want[CLVI_MAX_OUT];
        test_call t;
        if (too_much(s)) continue;
        assert_true(test_call_make(&t, device, op, CLV_F32, s, n % TEST_CALL_VARIANTS));
        test_call_fill(&t);
        run_reference(env, &t, want);
        t.call.tf32 = true;
        run_on_device(&t, clvi_kernel_next(&t.call, NULL, NULL), device, got, false);
        add_to_class(&t, got, want);
        free_outputs(&t, got);
        free_outputs(&t, want);
        test_call_free(&t);
        ran++;
    }
    const double error = close_class();
    if (ran < 8 || (test_device_is_emulated() && error < 1e-6))
        fail_msg("%s in TF32: off by %g in %d calls", op, error, ran);
}

static void products_in_tf32_are_near_the_reference(void **state)
{
    clv_context *device = test_device_context(*state);
    for (size_t o = 0; o < CLVI_COUNT(products); o++) compare_in_tf32(*state, device, products[o]);
    clv_context_destroy(device);
}

static void compare_heedless(test_env *env, clv_context *device, const clvi_kernel *k, test_call *t, int variant)
{
    void *strict[CLVI_MAX_OUT], *tf32[CLVI_MAX_OUT];
    (void)env;
    for (size_t o = 0; o < CLVI_COUNT(products); o++)
        if (strcmp(k->op, products[o]) == 0) return;
    run_on_device(t, k, device, strict, false);
    t->call.tf32 = true;
    run_on_device(t, k, device, tf32, false);
    assert_same_bits(t, strict, tf32, variant, "TF32");
    free_outputs(t, strict);
    free_outputs(t, tf32);
}

static void nothing_but_products_heeds_tf32(void **state) { for_each_case(*state, compare_heedless); }

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
    call.out_data[0] = poisoned(device, 0xff, sizeof got);
    const clvi_kernel *k = clvi_kernel_next(&call, NULL, NULL);
    assert_ok(k->prepare(&call));
    assert_ok(k->run(&call));
    assert_ok(clvi_device_copy(device, got, call.out_data[0], sizeof got, CLVI_COPY_TO_HOST));
    k->release(&call);
    for (int i = 0; i < N; i++)
        if (isnan(want[i]) ? !isnan(got[i]) : got[i] != want[i])
            fail_msg("%a is rounded to %a, not %a", (double)x[i], (double)got[i], (double)want[i]);
    clvi_device_free(device, call.in_data[0], sizeof x);
    clvi_device_free(device, call.in_data[1], sizeof one);
    clvi_device_free(device, call.out_data[0], sizeof got);
    clv_context_destroy(device);
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
        void *from = on_device(device, x, sizeof x), *to = poisoned(device, 0xff, sizeof wide),
             *result = poisoned(device, 0xff, sizeof back);
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
        TEST(every_operation_has_a_kernel),
        TEST(every_kernel_agrees_with_the_reference),
        TEST(banks_of_bfloat16_agree_with_the_reference),
        TEST(banks_of_any_length_are_cut_without_remainder),
        TEST(banks_of_which_no_row_counts_agree_with_the_reference),
        TEST(any_temperature_agrees_with_the_reference),
        TEST(what_is_no_number_never_looks_like_one),
        TEST(rows_that_do_not_count_may_hold_anything),
        TEST(operations_on_bfloat16_agree_with_the_reference),
        TEST(products_in_tf32_are_near_the_reference),
        TEST(nothing_but_products_heeds_tf32),
        TEST(the_emulator_rounds_to_the_nearest_tf32_ties_away),
        TEST(channels_are_padded_with_zeros_and_dropped_again),
        TEST(order_of_threads_changes_no_bit),
        TEST(working_in_place_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, tell_classes);
}
