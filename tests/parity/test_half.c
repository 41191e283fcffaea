/* test_half.c: every kernel that works on bfloat16 gives what the float64 reference gives for the same, already rounded
 * inputs: within one rounding where it answers in bfloat16, within those of float32 sums where it answers in float32.
 * Which operands are bfloat16 is asked of the operation itself. Outputs and scratch memory start as NaN. */
#include "core/bf16.h"
#include "core/checked.h"
#include "tensor/op.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HALF_ROUNDING  (1.0 / 256)     /* half a unit in the last of 8 bits */
#define SINGLE_SUM     2e-5            /* of the largest result: a few thousand products added in float32 */

typedef struct value {
    clvi_desc desc;
    void     *data;
} value;

/* A call in numbers: floats are given and received as double, whatever type a kernel wants. */
typedef struct problem {
    clvi_op_call proto;                 /* op, attr, shapes; floats as CLV_F64 */
    value        in[CLVI_MAX_IN];
} problem;

/* ---- values ---- */

static void *block(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 64) & ~(size_t)63);
    assert_non_null(memory);
    memset(memory, 0xff, (bytes + 64) & ~(size_t)63);
    return memory;
}

static clvi_desc dense(clv_dtype type, int ndim, const int64_t *shape)
{
    clvi_desc d = { .dtype = type, .ndim = ndim };
    for (int i = 0; i < ndim; i++) d.shape[i] = shape[i];
    clvi_desc_make_dense(&d);
    return d;
}

static double get(const value *v, int64_t i)
{
    switch (v->desc.dtype) {
    case CLV_F64: return ((const double *)v->data)[i];
    case CLV_F32: return (double)((const float *)v->data)[i];
    default: return (double)clvi_bf16_value(((const uint16_t *)v->data)[i]);
    }
}

static void put(value *v, int64_t i, double x)
{
    switch (v->desc.dtype) {
    case CLV_F64: ((double *)v->data)[i] = x; break;
    case CLV_F32: ((float *)v->data)[i] = (float)x; break;
    default: ((uint16_t *)v->data)[i] = clvi_bf16_round(x);
    }
}

static value make(clv_dtype type, int ndim, const int64_t *shape)
{
    value v = { .desc = dense(type, ndim, shape) };
    v.data = block(v.desc.bytes);
    return v;
}

/* Uniform in [low, 1) and exact in bfloat16, the same for the same seed. */
static value draw(int ndim, const int64_t *shape, double low, uint64_t seed)
{
    value v = make(CLV_F64, ndim, shape);
    uint64_t s = seed * 0x9e3779b97f4a7c15u + 1;
    for (int64_t i = 0; i < clvi_desc_count(&v.desc); i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        const double u = (double)(s >> 40) / (double)(1 << 24);
        put(&v, i, (double)clvi_bf16_value(clvi_bf16_round(low + (1 - low) * u)));
    }
    return v;
}

static value converted(const value *v, clv_dtype type)
{
    value to = make(type, v->desc.ndim, v->desc.shape);
    for (int64_t i = 0; i < clvi_desc_count(&v->desc); i++) put(&to, i, get(v, i));
    return to;
}

static bool is_float(clv_dtype type)
{
    return type == CLV_F64 || type == CLV_F32 || type == CLV_BF16;
}

static void drop(value *v, int n)
{
    for (int i = 0; i < n; i++) {
        free(v[i].data);
        v[i].data = NULL;
    }
}

/* ---- running ---- */

static void run(test_env *t, const clvi_kernel *k, clvi_op_call *call)
{
    call->scratch = block(call->scratch_size);
    assert_ok(k->run(call));
    free(call->scratch);
    if (k->release) k->release(call);
    (void)t;
}

/* v in another layout, or type. */
static value laid_out(test_env *t, const value *v, const clvi_desc *layout)
{
    value to = { .desc = v->desc };
    to.desc.dtype = layout->dtype;
    clvi_desc_copy_layout(&to.desc, layout);
    to.data = block(to.desc.bytes);
    clvi_op_call call = { .ctx = t->ctx, .op = "reorder", .n_in = 1, .n_out = 1, .wanted = { true } };
    call.in[0] = v->desc;
    call.out[0] = to.desc;
    const clvi_kernel *k = clvi_kernel_find(&call, false);
    assert_non_null(k);
    assert_ok(k->prepare(&call));
    call.in_data[0] = v->data;
    call.out_data[0] = to.data;
    run(t, k, &call);
    return to;
}

/* The kernel `name` with its operands in bfloat16 (else all of them float64); outputs dense in out[]. False: there is
 * none, or none that can do it on this machine. */
static bool apply(test_env *t, const problem *p, const char *name, bool half, value *out)
{
    const clvi_half_rule *rule = &clvi_op_class_find(p->proto.op)->half;
    clvi_op_call call = p->proto;
    value given[CLVI_MAX_IN], taken[CLVI_MAX_IN];
    call.ctx = t->ctx;
    for (int i = 0; i < call.n_in; i++) {
        const clv_dtype type = half ? (rule->in >> i & 1 ? CLV_BF16 : CLV_F32) : CLV_F64;
        given[i] = (value){ .desc = p->in[i].desc };
        if (is_float(p->in[i].desc.dtype)) given[i] = converted(&p->in[i], type);
        call.in[i] = given[i].desc;
    }
    for (int i = 0; i < call.n_out; i++) {
        if (!is_float(call.out[i].dtype)) continue;
        const clv_dtype type = half ? (rule->out >> i & 1 ? CLV_BF16 : CLV_F32) : CLV_F64;
        call.out[i] = dense(type, call.out[i].ndim, call.out[i].shape);
    }
    const clvi_kernel *k = clvi_kernel_next(&call, name, NULL);
    const clv_status st = !k ? CLV_ERR_UNSUPPORTED : k->prepare ? k->prepare(&call) : CLV_OK;
    for (int i = 0; i < call.n_in && st == CLV_OK; i++) {
        const bool moved = is_float(given[i].desc.dtype) && !clvi_desc_same_layout(&call.in[i], &given[i].desc);
        taken[i] = moved ? laid_out(t, &given[i], &call.in[i]) : (value){ .data = NULL };
        call.in_data[i] = moved ? taken[i].data : is_float(given[i].desc.dtype) ? given[i].data : p->in[i].data;
    }
    for (int i = 0; i < call.n_out && st == CLV_OK; i++) {
        out[i] = (value){ .desc = call.out[i], .data = block(call.out[i].bytes) };
        call.out_data[i] = out[i].data;
    }
    if (st == CLV_OK) run(t, k, &call);
    for (int i = 0; i < call.n_out && st == CLV_OK; i++) {
        clvi_desc plain = out[i].desc;
        if (!is_float(plain.dtype)) continue;
        clvi_desc_make_dense(&plain);
        if (clvi_desc_same_layout(&plain, &out[i].desc)) continue;
        const value moved = laid_out(t, &out[i], &plain);
        free(out[i].data);
        out[i] = moved;
    }
    for (int i = 0; i < call.n_in; i++) {
        free(given[i].data);
        if (st == CLV_OK) free(taken[i].data);
    }
    assert_true(st == CLV_OK || st == CLV_ERR_UNSUPPORTED);
    return st == CLV_OK;
}

static void check(const value *got, const value *want, const char *op, const char *name, int which, int roundings)
{
    double largest = 0;
    const double relative = got->desc.dtype == CLV_BF16 ? roundings * HALF_ROUNDING : 0;
    for (int64_t i = 0; i < clvi_desc_count(&want->desc); i++) largest = fmax(largest, fabs(get(want, i)));
    for (int64_t i = 0; i < clvi_desc_count(&want->desc); i++) {
        const double x = get(got, i), y = get(want, i), allowed = relative * fabs(y) + SINGLE_SUM * largest;
        if (!(fabs(x - y) <= allowed))
            fail_msg("%s (%s), output %d, element %d: %.9g, want %.9g", op, name, which, (int)i, x, y);
    }
}

/* Holds both bfloat16 kernels of an operation, the fast one called `fast`, against float64. */
static void hold(test_env *t, const problem *p, const char *fast)
{
    const char *const names[] = { "reference", fast };
    value want[CLVI_MAX_OUT], got[CLVI_MAX_OUT];
    assert_true(apply(t, p, "reference", false, want));
    for (int n = 0; n < 2; n++) {
        if (!apply(t, p, names[n], true, got)) {
            assert_true(n == 1 && clvi_cpu_isa() < CLVI_ISA_AVX512_BF16);
            continue;
        }
        for (int i = 0; i < p->proto.n_out; i++)
            if (p->proto.wanted[i] && is_float(p->proto.out[i].dtype))
                check(&got[i], &want[i], p->proto.op, names[n], i, 1);
        drop(got, p->proto.n_out);
    }
    drop(want, p->proto.n_out);
}

static problem pose(const char *op, const void *attr)
{
    return (problem){ .proto = { .op = op, .attr = attr } };
}

static void give(problem *p, value v)
{
    p->in[p->proto.n_in++] = v;
}

static void want(problem *p, clv_dtype type, int ndim, const int64_t *shape)
{
    p->proto.wanted[p->proto.n_out] = true;
    p->proto.out[p->proto.n_out++] = dense(type, ndim, shape);
}

#define SHAPE(...) ((int64_t[]){ __VA_ARGS__ })

/* ---- convolution ---- */

typedef struct conv_case {
    int64_t n, c, h, w, o, kernel, stride, pad;
} conv_case;

static const conv_case conv_cases[] = {
    { 2, 3, 16, 16, 64, 3, 1, 1 }, { 2, 3, 33, 31, 16, 7, 2, 3 },   { 2, 1, 14, 14, 32, 3, 1, 1 },
    { 2, 17, 9, 9, 20, 3, 1, 1 },  { 2, 64, 8, 8, 64, 3, 1, 1 },    { 2, 20, 13, 7, 33, 3, 2, 1 },
    { 2, 64, 6, 6, 32, 1, 1, 0 },  { 2, 17, 9, 9, 20, 1, 2, 0 },    { 9, 72, 4, 4, 80, 3, 1, 1 },
    { 1, 4, 1, 1, 5, 1, 1, 0 },    { 8, 64, 16, 16, 64, 3, 1, 1 },  { 3, 32, 5, 8, 48, 3, 1, 0 },
};

static int64_t conv_out(int64_t size, const conv_case *c)
{
    return (size + 2 * c->pad - c->kernel) / c->stride + 1;
}

static void convolutions_round_once(void **state)
{
    test_env *t = *state;
    static const char *const ops[3] = { "conv2d", "conv2d_bwd_data", "conv2d_bwd_weights" };
    static const int reads[3][2] = { { 0, 1 }, { 2, 1 }, { 0, 2 } }, writes[3] = { 2, 0, 1 };
    for (size_t i = 0; i < CLVI_COUNT(conv_cases); i++) {
        const conv_case *c = &conv_cases[i];
        const clvi_conv2d_attr attr = { .groups = 1, .stride = { c->stride, c->stride }, .pad = { c->pad, c->pad },
                                        .in_size = { c->h, c->w }, .kernel = { c->kernel, c->kernel } };
        value v[3] = { draw(4, SHAPE(c->n, c->c, c->h, c->w), -1, 1),
                       draw(4, SHAPE(c->o, c->c, c->kernel, c->kernel), -1, 2),
                       draw(4, SHAPE(c->n, c->o, conv_out(c->h, c), conv_out(c->w, c)), -1, 3) };
        for (int d = 0; d < 3; d++) {
            problem p = pose(ops[d], &attr);
            give(&p, v[reads[d][0]]);
            give(&p, v[reads[d][1]]);
            want(&p, CLV_F64, 4, v[writes[d]].desc.shape);
            hold(t, &p, "onednn");
        }
        drop(v, 3);
    }
}

/* Then float32 Winograd is asked for widened operands, and rounds as float32 does. */
static void gradients_of_many_weights_from_few_pixels_are_taken_in_float32(void **state)
{
    test_env *t = *state;
    if (clvi_cpu_isa() < CLVI_ISA_AVX512_BF16) skip();
    static const char *const modes[] = { "direct", "auto" };
    const clvi_conv2d_attr attr = { .groups = 1, .stride = { 1, 1 }, .pad = { 1, 1 }, .in_size = { 4, 4 },
                                    .kernel = { 3, 3 } };
    problem p = pose("conv2d_bwd_weights", &attr);
    give(&p, draw(4, SHAPE(128, 256, 4, 4), -1, 14));
    give(&p, draw(4, SHAPE(128, 256, 4, 4), -1, 15));
    want(&p, CLV_F64, 4, SHAPE(256, 256, 3, 3));
    hold(t, &p, "onednn");
    for (int wide = 0; wide < 2; wide++) {
        clvi_op_call call = p.proto;
        call.ctx = t->ctx;
        for (int i = 0; i < 2; i++) call.in[i] = dense(CLV_BF16, 4, p.in[i].desc.shape);
        call.out[0] = dense(CLV_F32, 4, p.proto.out[0].shape);
        const clvi_kernel *k = clvi_kernel_next(&call, "onednn", NULL);
        assert_non_null(k);
        setenv("CLEAVE_CONV", modes[wide], 1);
        assert_ok(k->prepare(&call));
        unsetenv("CLEAVE_CONV");
        for (int i = 0; i < 2; i++) assert_int_equal(call.in[i].dtype, wide ? CLV_F32 : CLV_BF16);
        k->release(&call);
    }
    drop(p.in, 2);
}

/* ---- batch norm ---- */

typedef struct norm_case {
    int64_t shape[4], groups;
    bool    training, relu, gamma, beta;
    bool    sum;                        /* something is added; its gradient is the sum of two, too */
} norm_case;

static const norm_case norm_cases[] = {
    { { 8, 64, 5, 7 }, 1, true, false, true, true, false }, { { 8, 64, 5, 7 }, 2, true, true, true, true, false },
    { { 8, 17, 5, 3 }, 4, true, true, true, true, false }, { { 4, 3, 9, 9 }, 1, true, true, true, true, false },
    { { 4, 16, 6, 6 }, 4, true, true, false, false, false }, { { 4, 32, 6, 6 }, 2, true, true, false, true, false },
    { { 7, 20, 4, 4 }, 2, false, true, true, true, false }, { { 7, 64, 4, 4 }, 1, false, false, true, true, false },
    { { 8, 64, 5, 7 }, 1, true, true, true, true, true }, { { 8, 32, 33, 9 }, 2, true, true, false, false, true },
    { { 4, 48, 9, 9 }, 1, true, false, true, true, true }, { { 7, 64, 4, 4 }, 1, false, true, true, true, true },
};

static problem norm_forward(const norm_case *c, const clvi_batch_norm_attr *attr)
{
    const int64_t channels = c->shape[1], groups = c->training ? c->groups : 1;
    const value absent = { .desc = { .dtype = CLV_DTYPE_COUNT } };
    problem p = pose("batch_norm", attr);
    give(&p, draw(4, c->shape, -1, 4));
    give(&p, c->gamma ? draw(1, &channels, 0.5, 5) : absent);
    give(&p, c->beta ? draw(1, &channels, -1, 6) : absent);
    give(&p, draw(1, &channels, -1, 7));
    give(&p, draw(1, &channels, 0.1, 8));
    give(&p, c->sum ? draw(4, c->shape, -1, 10) : absent);
    want(&p, CLV_F64, 4, c->shape);
    want(&p, CLV_F64, 2, SHAPE(groups, channels));
    want(&p, CLV_F64, 2, SHAPE(groups, channels));
    want(&p, CLV_U8, 1, SHAPE(1));
    p.proto.wanted[1] = p.proto.wanted[2] = c->training;
    return p;
}

/* The gradient of what is added is an output of its own. */
static bool gives_sum(const norm_case *c)
{
    return c->sum && c->relu;
}

/* To 64ths: the sum of two of them is bfloat16, too, in which it is kept for the shortcut. */
static void coarsen(value *v)
{
    for (int64_t i = 0; i < clvi_desc_count(&v->desc); i++) put(v, i, round(get(v, i) * 64) / 64);
}

/* The gradient with the statistics and the workspace of a forward pass in the same type. */
static void norm_backward(test_env *t, const norm_case *c, const problem *forward, const char *name, bool half,
                          value *grad)
{
    value made[4], dy = draw(4, c->shape, -1, 9), dy2 = { .desc = { .dtype = CLV_DTYPE_COUNT } };
    if (c->sum) {
        dy2 = draw(4, c->shape, -1, 12);
        coarsen(&dy), coarsen(&dy2);
    }
    const int64_t channels = c->shape[1];
    assert_true(apply(t, forward, name, half, made));
    problem p = pose("batch_norm_bwd", forward->proto.attr);
    give(&p, dy);
    give(&p, forward->in[0]);
    give(&p, forward->in[1]);
    give(&p, c->training ? made[1] : forward->in[3]);
    give(&p, c->training ? made[2] : forward->in[4]);
    give(&p, made[3]);
    give(&p, dy2);
    want(&p, CLV_F64, 4, c->shape);
    want(&p, CLV_F64, 1, &channels);
    want(&p, CLV_F64, 1, &channels);
    if (gives_sum(c)) want(&p, CLV_F64, 4, c->shape);
    p.proto.wanted[1] = c->gamma;
    p.proto.wanted[2] = c->beta;
    assert_true(apply(t, &p, name, half, grad));
    drop(made, 4);
    drop(&dy, 1), drop(&dy2, 1);
}

static void batch_norm_keeps_its_statistics_in_float32(void **state)
{
    test_env *t = *state;
    for (size_t i = 0; i < CLVI_COUNT(norm_cases); i++) {
        const norm_case *c = &norm_cases[i];
        const char *const names[] = { "reference", c->sum ? "blocked" : "onednn" };
        const clvi_batch_norm_attr attr = { .groups = c->groups, .eps = 1e-5, .momentum = 0.1, .training = c->training,
                                            .relu = c->relu, .sum = c->sum };
        problem p = norm_forward(c, &attr);
        value exact[4], grad[4];
        hold(t, &p, names[1]);
        norm_backward(t, c, &p, "reference", false, exact);
        for (int n = 0; n < (clvi_cpu_isa() == CLVI_ISA_AVX512_BF16 ? 2 : 1); n++) {
            norm_backward(t, c, &p, names[n], true, grad);
            check(&grad[0], &exact[0], "batch_norm_bwd", names[n], 0, 1);
            if (c->gamma) check(&grad[1], &exact[1], "batch_norm_bwd", names[n], 1, 1);
            if (c->beta) check(&grad[2], &exact[2], "batch_norm_bwd", names[n], 2, 1);
            if (gives_sum(c)) check(&grad[3], &exact[3], "batch_norm_bwd", names[n], 3, 1);
            drop(grad, 3 + gives_sum(c));
        }
        drop(exact, 3 + gives_sum(c));
        drop(p.in, p.proto.n_in);
    }
}

/* ---- element by element, and maxima ---- */

static void elementwise_kernels_round_once(void **state)
{
    test_env *t = *state;
    static const char *const ops[] = { "relu", "relu_bwd", "add", "add" };
    static const int64_t counts[] = { 1, 15, 16, 33, 70001 };
    for (int i = 0; i < 4; i++)
        for (size_t n = 0; n < CLVI_COUNT(counts); n++) {
            const clvi_add_attr attr = { .relu = i == 3 };
            problem p = pose(ops[i], &attr);
            give(&p, draw(1, &counts[n], -1, 10));
            if (i > 0) give(&p, draw(1, &counts[n], -1, 11));
            want(&p, CLV_F64, 1, &counts[n]);
            hold(t, &p, "cpu");
            drop(p.in, p.proto.n_in);
        }
}

/* Slopes and their gradient are float32. */
static void prelu_keeps_its_slopes_in_float32(void **state)
{
    test_env *t = *state;
    static const int64_t shapes[][4] = { { 3, 16, 5, 7 }, { 2, 48, 9, 1 } };
    for (size_t i = 0; i < CLVI_COUNT(shapes); i++) {
        for (int backward = 0; backward < 2; backward++) {
            problem p = pose(backward ? "prelu_bwd" : "prelu", NULL);
            if (backward) give(&p, draw(4, shapes[i], -1, 14));
            give(&p, draw(4, shapes[i], -1, 15));
            give(&p, draw(1, &shapes[i][1], -1, 16));
            want(&p, CLV_F64, 4, shapes[i]);
            if (backward) want(&p, CLV_F64, 1, &shapes[i][1]);
            hold(t, &p, "blocked");
            drop(p.in, p.proto.n_in);
        }
    }
}

static void sums_of_special_numbers_stay_special(void **state)
{
    test_env *t = *state;
    static const double inf = INFINITY;
    const double a[] = { NAN, inf, -inf, inf, 0.0, -0.0 }, b[] = { 1, -1, 1, -inf, -0.0, -0.0 };
    static const clvi_add_attr attr = { .relu = false };
    problem p = pose("add", &attr);
    value out[2][1];
    give(&p, make(CLV_F64, 1, SHAPE(6)));
    give(&p, make(CLV_F64, 1, SHAPE(6)));
    want(&p, CLV_F64, 1, SHAPE(6));
    for (int i = 0; i < 6; i++) put(&p.in[0], i, a[i]), put(&p.in[1], i, b[i]);
    assert_true(apply(t, &p, "reference", true, out[0]));
    assert_true(apply(t, &p, "cpu", true, out[1]));
    for (int k = 0; k < 2; k++) {
        assert_true(isnan(get(&out[k][0], 0)) && isnan(get(&out[k][0], 3)));
        assert_true(get(&out[k][0], 1) == inf && get(&out[k][0], 2) == -inf);
        assert_true(get(&out[k][0], 4) == 0 && get(&out[k][0], 5) == 0);
        drop(out[k], 1);
    }
    drop(p.in, 2);
}

/* A pixel may be the maximum of four windows, whose gradients oneDNN adds up in bfloat16. */
static void pooled_maxima_are_exact(void **state)
{
    test_env *t = *state;
    const clvi_pool2d_attr attr = { .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1 }, .in_size = { 9, 12 } };
    problem p = pose("max_pool2d", &attr);
    value exact[2], grad[2][1], made[2];
    static const char *const names[] = { "reference", "onednn" };
    give(&p, draw(4, SHAPE(2, 20, 9, 12), -1, 12));
    want(&p, CLV_F64, 4, SHAPE(2, 20, 5, 6));
    want(&p, CLV_U8, 1, SHAPE(1));
    assert_true(apply(t, &p, "reference", false, exact));
    for (int n = 0; n < (clvi_cpu_isa() == CLVI_ISA_AVX512_BF16 ? 2 : 1); n++) {
        assert_true(apply(t, &p, names[n], true, made));
        for (int64_t i = 0; i < clvi_desc_count(&exact[0].desc); i++)
            assert_true(get(&made[0], i) == get(&exact[0], i));
        for (int half = 0; half < 2; half++) {
            problem b = pose("max_pool2d_bwd", &attr);
            give(&b, draw(4, SHAPE(2, 20, 5, 6), 0.1, 13));
            give(&b, half ? made[1] : exact[1]);
            want(&b, CLV_F64, 4, SHAPE(2, 20, 9, 12));
            assert_true(apply(t, &b, half ? names[n] : "reference", half, grad[half]));
            drop(b.in, 1);
        }
        check(&grad[1][0], &grad[0][0], "max_pool2d_bwd", names[n], 0, n == 0 ? 1 : 3);
        drop(made, 2), drop(grad[0], 1), drop(grad[1], 1);
    }
    drop(exact, 2);
    drop(p.in, 1);
}

/* ---- between the types ---- */

static void conversion_rounds_to_nearest_even(void **state)
{
    test_env *t = *state;
    static const char *const names[] = { "reference", "onednn" };
    const clvi_desc single = dense(CLV_F32, 2, SHAPE(3, 4)), half = dense(CLV_BF16, 2, SHAPE(3, 4));
    const float x[12] = { 1.0f, -1.00390625f, 1.01171875f, 1.00390637f, 3e38f, -0.0f,
                          INFINITY, -INFINITY, 1e-30f, 65504.0f, 3.14159274f, NAN };
    for (int n = 0; n < 2; n++) {
        uint16_t narrow[12];
        float wide[12];
        const void *from[2] = { x, narrow };
        void *to[2] = { narrow, wide };
        for (int back = 0; back < 2; back++) {
            clvi_op_call call = { .ctx = t->ctx, .op = "reorder", .n_in = 1, .n_out = 1, .wanted = { true } };
            call.in[0] = back ? half : single;
            call.out[0] = back ? single : half;
            const clvi_kernel *k = clvi_kernel_next(&call, names[n], NULL);
            assert_non_null(k);
            if (k->prepare(&call) == CLV_ERR_UNSUPPORTED) return;      /* oneDNN on a processor without */
            memcpy(&call.in_data[0], &from[back], sizeof from[back]);
            call.out_data[0] = to[back];
            run(t, k, &call);
        }
        for (int i = 0; i < 11; i++) {
            assert_int_equal(narrow[i], clvi_bf16_round((double)x[i]));
            assert_true(wide[i] == clvi_bf16_value(narrow[i]));
        }
        assert_true(isnan(wide[11]));
    }
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(convolutions_round_once), TEST(gradients_of_many_weights_from_few_pixels_are_taken_in_float32),
        TEST(batch_norm_keeps_its_statistics_in_float32),
        TEST(elementwise_kernels_round_once), TEST(prelu_keeps_its_slopes_in_float32),
        TEST(sums_of_special_numbers_stay_special), TEST(pooled_maxima_are_exact),
        TEST(conversion_rounds_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa_and_bf16(run_all);
}
