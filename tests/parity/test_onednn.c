/* test_onednn.c: every oneDNN kernel, and those that work in its layouts, compute what the reference kernel does, over a
 * table of awkward shapes: channels that do not fill a block, odd sizes, strides, pads. Outputs, padding and scratch
 * memory start as NaN, kernels run twice on the same memory, and a guard behind each buffer must survive. Tolerances are
 * relative to the largest entry. Batch norm and prelu also run on every instruction set and in blocks of 8 channels. */
#include "core/checked.h"
#include "core/context.h"
#include "device/attr.h"
#include "device/device.h"
#include "tests/support/isa.h"
#include <cleave/graph.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TOL_DIRECT   1e-5
#define TOL_WINOGRAD 2e-5
#define GUARD        256

static clv_context *ctx;

/* ---- values in any layout ---- */

typedef struct value {
    clvi_desc      desc;
    unsigned char *data;
} value;

static void ok(clv_status st, const char *what)
{
    if (st != CLV_OK) fail_msg("%s: %s", what, clv_error_message());
}

static void give_memory(value *v)
{
    v->data = aligned_alloc(64, (v->desc.bytes + GUARD + 63) & ~(size_t)63);
    assert_non_null(v->data);
}

static void poison(value *v)
{
    memset(v->data, 0xff, v->desc.bytes);
    memset(v->data + v->desc.bytes, 0xa5, GUARD);
}

static void check_guard(const value *v, const char *what)
{
    for (int i = 0; i < GUARD; i++)
        if (v->data[v->desc.bytes + (size_t)i] != 0xa5) fail_msg("%s: written behind the buffer, byte %d", what, i);
}

static clvi_desc desc_of(clv_dtype dtype, int ndim, const int64_t *shape)
{
    clvi_desc d = { .dtype = dtype, .ndim = ndim };
    for (int i = 0; i < ndim; i++) d.shape[i] = shape[i];
    clvi_desc_make_dense(&d);
    return d;
}

static const clvi_desc absent = { .dtype = CLV_DTYPE_COUNT };

/* Uniform in [-1, 1), the same for the same seed. */
static value random_value(int ndim, const int64_t *shape, uint64_t seed)
{
    value v = { .desc = desc_of(CLV_F32, ndim, shape) };
    give_memory(&v);
    poison(&v);
    float *x = (float *)v.data;
    uint64_t s = seed * 0x9e3779b97f4a7c15u + 1;
    for (int64_t i = 0; i < clvi_desc_count(&v.desc); i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(s >> 40) / (double)(1 << 23) - 1.0);
    }
    return v;
}

static value copy_value(const value *v)
{
    value c = *v;
    if (!v->data) return c;
    give_memory(&c);
    memcpy(c.data, v->data, c.desc.bytes);
    memset(c.data + c.desc.bytes, 0xa5, GUARD);
    return c;
}

static void drop(value *v, int n)
{
    for (int i = 0; i < n; i++) {
        free(v[i].data);
        v[i].data = NULL;
    }
}

/* ---- running a kernel as a plan would ---- */

static const clvi_kernel *kernel_named(const clvi_op_call *call, const char *name)
{
    const clvi_kernel *k = clvi_kernel_next(call, name, NULL);
    if (!k) fail_msg("no kernel %s for %s", name, call->op);
    return k;
}

static value reordered(const value *from, const clvi_desc *layout)
{
    value to = { .desc = from->desc };
    clvi_desc_copy_layout(&to.desc, layout);
    give_memory(&to);
    poison(&to);
    clvi_op_call call = { .ctx = ctx, .op = "reorder", .n_in = 1, .n_out = 1, .wanted = { true } };
    call.in[0] = from->desc;
    call.out[0] = to.desc;
    const clvi_kernel *k = kernel_named(&call, "onednn");
    ok(k->prepare(&call), "reorder");
    call.in_data[0] = from->data;
    call.out_data[0] = to.data;
    call.scratch = calloc(1, call.scratch_size + 1);
    ok(k->run(&call), "reorder");
    free(call.scratch);
    k->release(&call);
    check_guard(&to, "reorder");
    return to;
}

static value dense(const value *v)
{
    clvi_desc d = v->desc;
    clvi_desc_make_dense(&d);
    return reordered(v, &d);
}

/* Copies or reorders the inputs to what the call wants. */
static void bring_inputs(clvi_op_call *call, const value *in, value *mine)
{
    for (int i = 0; i < call->n_in; i++) {
        mine[i] = (value){ .desc = in[i].desc };
        if (!in[i].data) continue;
        const bool as_it_is = in[i].desc.dtype != CLV_F32 || clvi_desc_same_layout(&call->in[i], &in[i].desc);
        mine[i] = as_it_is ? copy_value(&in[i]) : reordered(&in[i], &call->in[i]);
        call->in_data[i] = mine[i].data;
    }
}

/* Runs the kernel of that name. Inputs keep their layout if the kernel likes it; outputs come in the kernel's own.
 * Input `updated` and the next one (-1: none) take the values the kernel left in them. */
static void apply(const char *name, const clvi_op_call *proto, value *in, value *out, int updated)
{
    clvi_op_call call = *proto;
    call.ctx = ctx;
    for (int i = 0; i < call.n_in; i++) call.in[i] = in[i].desc;
    const clvi_kernel *k = kernel_named(&call, name);
    if (k->prepare) ok(k->prepare(&call), name);
    value mine[CLVI_MAX_IN] = { { .data = NULL } };
    unsigned char *scratch = aligned_alloc(64, (call.scratch_size + GUARD + 63) & ~(size_t)63);
    call.scratch = scratch;
    bring_inputs(&call, in, mine);
    for (int o = 0; o < call.n_out; o++) {
        out[o] = (value){ .desc = call.out[o] };
        give_memory(&out[o]);
        call.out_data[o] = out[o].data;
    }
    const bool again = updated < 0 && strcmp(name, "reference") != 0;
    for (int round = 0; round <= again; round++) {
        for (int o = 0; o < call.n_out; o++) poison(&out[o]);
        memset(scratch, 0xff, call.scratch_size);
        memset(scratch + call.scratch_size, 0xa5, GUARD);
        ok(k->run(&call), name);
        for (int o = 0; o < call.n_out; o++) check_guard(&out[o], proto->op);
        for (int i = 0; i < GUARD; i++) assert_int_equal(scratch[call.scratch_size + (size_t)i], 0xa5);
    }
    for (int i = 0; i < call.n_in; i++) {
        if (mine[i].data) check_guard(&mine[i], proto->op);
        if (updated >= 0 && (i == updated || i == updated + 1)) memcpy(in[i].data, mine[i].data, in[i].desc.bytes);
    }
    if (k->release) k->release(&call);
    free(scratch);
    drop(mine, call.n_in);
}

/* Largest difference relative to the largest entry of `want`; NaN when either has one. */
static double difference(const value *got, const value *want)
{
    value a = dense(got), b = dense(want);
    const float *x = (const float *)a.data, *y = (const float *)b.data;
    double worst = 0, largest = 0, nan = 0;
    for (int64_t i = 0; i < clvi_desc_count(&want->desc); i++) {
        if (!isfinite(x[i]) || !isfinite(y[i])) nan = NAN;
        worst = fmax(worst, fabs((double)x[i] - y[i]));
        largest = fmax(largest, fabs((double)y[i]));
    }
    drop(&a, 1);
    drop(&b, 1);
    return worst / fmax(largest, 1e-30) + nan;
}

static void check_near(const value *got, const value *want, double tolerance, const char *what, const char *of)
{
    const double d = difference(got, want);
    if (!(d <= tolerance)) fail_msg("%s of %s: relative difference %.3g, at most %.3g", what, of, d, tolerance);
}

static bool same_bytes(const value *a, const value *b)
{
    return a->desc.bytes == b->desc.bytes && memcmp(a->data, b->data, a->desc.bytes) == 0;
}

/* ---- convolution ---- */

typedef struct conv_case {
    int64_t n, c, h, w, o, kernel, stride, pad;
} conv_case;

static const conv_case conv_cases[] = {
    { 2, 3, 32, 32, 64, 3, 1, 1 },  { 2, 1, 28, 28, 32, 3, 1, 1 },   { 2, 3, 33, 31, 16, 7, 2, 3 },
    { 1, 3, 8, 8, 20, 3, 1, 1 },    { 3, 16, 9, 11, 16, 3, 1, 1 },   { 2, 17, 9, 9, 20, 3, 1, 1 },
    { 2, 20, 13, 7, 33, 3, 2, 1 },  { 2, 64, 8, 8, 64, 3, 1, 1 },    { 5, 64, 7, 7, 48, 3, 1, 1 },
    { 2, 64, 14, 14, 32, 1, 1, 0 }, { 2, 17, 9, 9, 20, 1, 2, 0 },    { 4, 32, 10, 10, 48, 3, 1, 0 },
    { 1, 33, 5, 5, 40, 3, 1, 1 },   { 2, 16, 6, 6, 128, 1, 2, 0 },   { 2, 4, 1, 1, 5, 1, 1, 0 },
    { 3, 8, 4, 4, 8, 3, 1, 1 },     { 1, 2, 12, 10, 3, 5, 1, 2 },    { 2, 128, 4, 4, 128, 3, 1, 1 },
    { 2, 40, 16, 16, 40, 3, 1, 1 }, { 2, 32, 6, 19, 32, 3, 1, 2 },   { 9, 36, 21, 17, 52, 3, 1, 1 },
    { 2, 64, 16, 16, 128, 3, 2, 1 }, { 16, 64, 16, 16, 80, 3, 1, 1 },
};

static int64_t conv_out(int64_t size, const conv_case *c)
{
    return (size + 2 * c->pad - c->kernel) / c->stride + 1;
}

static void conv_protos(const conv_case *c, clvi_conv2d_attr *attr, clvi_op_call proto[3], value in[3])
{
    *attr = (clvi_conv2d_attr){ .stride = { c->stride, c->stride }, .pad = { c->pad, c->pad },
                                .in_size = { c->h, c->w }, .kernel = { c->kernel, c->kernel },
                                .groups = 1 };
    in[0] = random_value(4, (int64_t[]){ c->n, c->c, c->h, c->w }, 1);
    in[1] = random_value(4, (int64_t[]){ c->o, c->c, c->kernel, c->kernel }, 2);
    in[2] = random_value(4, (int64_t[]){ c->n, c->o, conv_out(c->h, c), conv_out(c->w, c) }, 3);
    static const char *const ops[3] = { "conv2d", "conv2d_bwd_data", "conv2d_bwd_weights" };
    static const int result[3] = { 2, 0, 1 };
    for (int d = 0; d < 3; d++) {
        proto[d] = (clvi_op_call){ .op = ops[d], .attr = attr, .n_in = 2, .n_out = 1, .wanted = { true } };
        proto[d].out[0] = in[result[d]].desc;
    }
}

/* Which of x, w, dy each direction reads. */
static const int conv_reads[3][2] = { { 0, 1 }, { 2, 1 }, { 0, 2 } };

static void check_conv(const conv_case *c, double tolerance)
{
    clvi_conv2d_attr attr;
    clvi_op_call proto[3];
    value v[3];
    char what[160];
    conv_protos(c, &attr, proto, v);
    for (int d = 0; d < 3; d++) {
        value in[2] = { v[conv_reads[d][0]], v[conv_reads[d][1]] }, got[1], again[1], want[1];
        apply("reference", &proto[d], in, want, -1);
        apply("onednn", &proto[d], in, got, -1);
        apply("onednn", &proto[d], in, again, -1);
        (void)snprintf(what, sizeof what, "%s [%d,%d,%d,%d] -> %d, kernel %d stride %d pad %d", proto[d].op, (int)c->n,
                       (int)c->c, (int)c->h, (int)c->w, (int)c->o, (int)c->kernel, (int)c->stride, (int)c->pad);
        check_near(&got[0], &want[0], tolerance, "result", what);
        if (!same_bytes(&got[0], &again[0])) fail_msg("%s: two runs differ", what);
        drop(got, 1);
        drop(again, 1);
        drop(want, 1);
    }
    drop(v, 3);
}

static void check_all_convs(const char *mode, double tolerance)
{
    if (mode) setenv("CLEAVE_CONV", mode, 1);
    else unsetenv("CLEAVE_CONV");
    for (size_t i = 0; i < CLVI_COUNT(conv_cases); i++) check_conv(&conv_cases[i], tolerance);
    unsetenv("CLEAVE_CONV");
}

static void direct_convolution_agrees_with_the_reference(void **state)
{
    (void)state;
    check_all_convs("direct", TOL_DIRECT);
}

static void winograd_convolution_agrees_with_the_reference(void **state)
{
    (void)state;
    check_all_convs("winograd", TOL_WINOGRAD);
}

static void convolution_agrees_with_the_reference_as_it_chooses(void **state)
{
    (void)state;
    check_all_convs(NULL, TOL_WINOGRAD);
}

static void result_of(const char *mode, const clvi_op_call *proto, value *in, value *out)
{
    setenv("CLEAVE_CONV", mode, 1);
    apply("onednn", proto, in, out, -1);
    unsetenv("CLEAVE_CONV");
}

/* Else the tests above would compare direct with direct: the two algorithms round differently. */
static void the_switch_changes_the_algorithm(void **state)
{
    (void)state;
    const conv_case c = { 16, 64, 16, 16, 80, 3, 1, 1 };
    clvi_conv2d_attr attr;
    clvi_op_call proto[3];
    value v[3];
    conv_protos(&c, &attr, proto, v);
    for (int d = 0; d < 3; d++) {
        value in[2] = { v[conv_reads[d][0]], v[conv_reads[d][1]] }, direct[1], winograd[1], chosen[1];
        result_of("direct", &proto[d], in, direct);
        result_of("winograd", &proto[d], in, winograd);
        result_of("auto", &proto[d], in, chosen);
        const bool differ = !same_bytes(&direct[0], &winograd[0]), as_chosen = same_bytes(&chosen[0], &winograd[0]);
        drop(direct, 1);
        drop(winograd, 1);
        drop(chosen, 1);
        if (!differ) {          /* this processor has no Winograd kernels */
            drop(v, 3);
            skip();
        }
        assert_true(as_chosen);
    }
    drop(v, 3);
}

/* The second convolution takes the blocked result of the first as it is: were its padding not zero, NaN would
 * spread. */
static void padding_channels_are_written_as_zero(void **state)
{
    (void)state;
    static const char *const modes[] = { "direct", "winograd" };
    const conv_case first = { 2, 33, 8, 8, 20, 3, 1, 1 }, second = { 2, 20, 8, 8, 33, 3, 1, 1 };
    for (size_t m = 0; m < CLVI_COUNT(modes); m++) {
        clvi_conv2d_attr attr[2];
        clvi_op_call a[3], b[3];
        value v[3], w[3], y[1], z[1], y_want[1], z_want[1];
        conv_protos(&first, &attr[0], a, v);
        conv_protos(&second, &attr[1], b, w);
        result_of(modes[m], &a[0], v, y);
        value in[2] = { y[0], w[1] };
        result_of(modes[m], &b[0], in, z);
        apply("reference", &a[0], v, y_want, -1);
        value in_want[2] = { y_want[0], w[1] };
        apply("reference", &b[0], in_want, z_want, -1);
        check_near(&z[0], &z_want[0], 2 * TOL_WINOGRAD, "second convolution", modes[m]);
        drop(v, 3), drop(w, 3), drop(y, 1), drop(z, 1), drop(y_want, 1), drop(z_want, 1);
    }
}

/* ---- convolution of few channels: device/onednn/winograd.c ---- */

static const conv_case winograd_cases[] = {
    { 2, 16, 32, 32, 16, 3, 1, 1 }, { 3, 32, 16, 16, 32, 3, 1, 1 }, { 5, 64, 8, 8, 64, 3, 1, 1 },
    { 4, 16, 9, 11, 32, 3, 1, 1 },  { 2, 48, 7, 5, 16, 3, 1, 1 },   { 3, 16, 1, 6, 64, 3, 1, 1 },
    { 1, 64, 3, 2, 48, 3, 1, 1 },   { 1, 16, 1, 1, 16, 3, 1, 1 },   { 7, 32, 13, 21, 48, 3, 1, 1 },
    { 1, 128, 9, 8, 128, 3, 1, 1 }, { 130, 32, 4, 4, 16, 3, 1, 1 }, { 66, 16, 31, 33, 16, 3, 1, 1 },
};

static bool has_winograd(const conv_case *c, int direction, clv_dtype dtype)
{
    clvi_conv2d_attr attr;
    clvi_op_call proto[3];
    value v[3];
    conv_protos(c, &attr, proto, v);
    drop(v, 3);
    clvi_op_call call = proto[direction];
    call.ctx = ctx;
    for (int i = 0; i < 2; i++) {
        call.in[i] = v[conv_reads[direction][i]].desc;
        call.in[i].dtype = dtype;
    }
    return clvi_kernel_next(&call, "winograd", NULL);
}

/* Results of the three directions, of a context with so many threads. */
static void winograd_results(int threads, clvi_op_call proto[3], const value v[3], value out[3])
{
    clv_context *before = ctx;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = threads;
    ok(clv_context_create(&desc, &ctx), "context");
    for (int d = 0; d < 3; d++) {
        value in[2] = { v[conv_reads[d][0]], v[conv_reads[d][1]] };
        apply("winograd", &proto[d], in, &out[d], -1);
    }
    clv_context_destroy(ctx);
    ctx = before;
}

static void few_channels_agree_with_the_reference_and_do_not_depend_on_threads(void **state)
{
    (void)state;
    setenv("CLEAVE_CONV", "winograd", 1);
    for (size_t i = 0; i < CLVI_COUNT(winograd_cases) && has_winograd(&winograd_cases[0], 0, CLV_F32); i++) {
        const conv_case *c = &winograd_cases[i];
        clvi_conv2d_attr attr;
        clvi_op_call proto[3];
        value v[3], one[3], three[3], want[1];
        char what[96];
        conv_protos(c, &attr, proto, v);
        winograd_results(1, proto, v, one);
        winograd_results(3, proto, v, three);
        for (int d = 0; d < 3; d++) {
            value in[2] = { v[conv_reads[d][0]], v[conv_reads[d][1]] };
            apply("reference", &proto[d], in, want, -1);
            (void)snprintf(what, sizeof what, "%s [%d,%d,%d,%d] -> %d", proto[d].op, (int)c->n, (int)c->c, (int)c->h,
                           (int)c->w, (int)c->o);
            check_near(&one[d], &want[0], TOL_WINOGRAD, "result", what);
            if (!same_bytes(&one[d], &three[d])) fail_msg("%s: one thread and three give different bits", what);
            drop(want, 1);
        }
        drop(v, 3), drop(one, 3), drop(three, 3);
    }
    const bool found = has_winograd(&winograd_cases[0], 0, CLV_F32);
    unsetenv("CLEAVE_CONV");
    if (!found) skip();         /* no AVX-512 */
}

static void other_convolutions_are_left_to_onednn(void **state)
{
    (void)state;
    const conv_case right = { 8, 32, 16, 16, 32, 3, 1, 1 };
    static const conv_case wrong[] = {
        { 8, 24, 16, 16, 32, 3, 1, 1 }, { 8, 32, 16, 16, 40, 3, 1, 1 },  { 8, 144, 16, 16, 32, 3, 1, 1 },
        { 8, 32, 16, 16, 32, 3, 2, 1 }, { 8, 32, 16, 16, 32, 3, 1, 0 },  { 8, 32, 16, 16, 32, 5, 1, 1 },
        { 8, 32, 16, 16, 32, 1, 1, 1 }, { 7, 32, 16, 16, 32, 3, 1, 1 },
    };
    if (!has_winograd(&right, 0, CLV_F32)) skip();
    for (int d = 0; d < 3; d++) {
        assert_true(has_winograd(&right, d, CLV_F32));
        assert_false(has_winograd(&right, d, CLV_F64));
        assert_false(has_winograd(&right, d, CLV_BF16));
        for (size_t i = 0; i < CLVI_COUNT(wrong); i++) assert_false(has_winograd(&wrong[i], d, CLV_F32));
    }
    setenv("CLEAVE_CONV", "direct", 1);
    assert_false(has_winograd(&right, 0, CLV_F32));
    unsetenv("CLEAVE_CONV");
}

/* ---- batch norm ---- */

typedef struct norm_case {
    int     ndim;
    int64_t shape[4];
    int64_t groups;
    bool    training, relu, gamma, beta;
    bool    sum;             /* something is added; its gradient is the sum of two, too */
} norm_case;

static const norm_case norm_cases[] = {
    { 4, { 8, 64, 5, 7 }, 1, true, true, true, true, true }, { 4, { 8, 64, 5, 7 }, 2, true, true, true, true, true },
    { 4, { 3, 16, 33, 31 }, 1, true, true, true, true, true },
    { 4, { 9, 32, 16, 16 }, 3, true, true, false, false, true },
    { 4, { 70, 16, 4, 4 }, 1, true, false, true, true, true }, { 4, { 5, 48, 1, 1 }, 1, true, true, true, true, true },
    { 4, { 7, 32, 6, 6 }, 1, false, true, true, true, true },
    { 4, { 7, 80, 3, 2 }, 1, false, false, false, true, true }, 
    { 4, { 8, 64, 5, 7 }, 1, true, false, true, true, false }, { 4, { 8, 64, 5, 7 }, 2, true, true, true, true, false },
    { 4, { 8, 17, 5, 3 }, 8, true, true, true, true, false }, { 4, { 8, 20, 4, 4 }, 2, true, false, true, true, false },
    { 4, { 4, 3, 9, 9 }, 1, true, true, true, true, false }, { 4, { 4, 16, 6, 6 }, 4, true, true, false, false, false },
    { 4, { 4, 16, 6, 6 }, 1, true, false, false, false, false },
    { 4, { 4, 1, 6, 6 }, 2, true, true, true, false, false }, { 4, { 4, 32, 6, 6 }, 2, true, true, false, true, false },
    { 4, { 7, 20, 4, 4 }, 2, false, true, true, true, false },
    { 4, { 7, 64, 4, 4 }, 1, false, false, true, true, false },
    { 4, { 4, 16, 4, 4 }, 1, false, true, false, false, false }, { 2, { 16, 128 }, 1, true, true, true, true, false },
    { 2, { 16, 128 }, 4, true, false, true, true, false }, { 2, { 16, 10 }, 2, true, true, true, true, false },
    { 2, { 16, 17 }, 8, true, false, false, false, false }, { 2, { 9, 33 }, 1, false, true, true, true, false },
    { 4, { 8, 64, 1, 1 }, 1, true, true, true, true, false },
    { 4, { 16, 20, 33, 31 }, 2, true, true, true, true, false }, { 2, { 128, 2050 }, 2, true, true, true, true, false },
};

static void forward_norm_proto(const norm_case *c, const clvi_batch_norm_attr *attr, const clvi_desc *x,
                               clvi_op_call *p)
{
    const int64_t rows = c->training ? c->groups : 1;
    *p = (clvi_op_call){ .op = "batch_norm", .attr = attr, .n_in = 6, .n_out = 4,
                         .wanted = { true, c->training, c->training, c->relu } };
    p->out[0] = *x;
    p->out[1] = p->out[2] = desc_of(CLV_F32, 2, (int64_t[]){ rows, x->shape[1] });
    p->out[3] = desc_of(CLV_U8, 1, (int64_t[]){ 1 });
}

static void backward_norm_proto(const norm_case *c, const clvi_batch_norm_attr *attr, const clvi_desc *x,
                               clvi_op_call *p)
{
    *p = (clvi_op_call){ .op = "batch_norm_bwd", .attr = attr, .n_in = 7, .n_out = clvi_batch_norm_gives_sum(attr) ? 4 : 3,
                         .wanted = { true, c->gamma, c->beta, true } };
    p->out[0] = p->out[3] = *x;
    p->out[1] = p->out[2] = desc_of(CLV_F32, 1, &x->shape[1]);
}

/* Running mean and variance: any values, the variance positive. */
static void make_positive(value *v)
{
    float *x = (float *)v->data;
    for (int64_t i = 0; i < clvi_desc_count(&v->desc); i++) x[i] = fabsf(x[i]) + 0.5f;
}

typedef struct norm_results {
    value y[4], dx[4], running[2];
} norm_results;

static void run_norm(const char *name, const norm_case *c, value *in, const value *dy, norm_results *r)
{
    const clvi_batch_norm_attr attr = { .groups = c->groups, .eps = 1e-5, .momentum = 0.1, .training = c->training,
                                        .relu = c->relu, .sum = c->sum };
    clvi_op_call fwd, bwd;
    value mine[6];
    forward_norm_proto(c, &attr, &in[0].desc, &fwd);
    backward_norm_proto(c, &attr, &in[0].desc, &bwd);
    for (int i = 0; i < 6; i++) mine[i] = copy_value(&in[i]);
    if (!c->gamma) bwd.wanted[1] = false;
    apply(name, &fwd, mine, r->y, 3);
    value *mean = c->training ? &r->y[1] : &mine[3], *var = c->training ? &r->y[2] : &mine[4];
    value back[7] = { dy[0], mine[0], mine[1], *mean, *var, r->y[3], dy[1] };
    r->dx[3] = (value){ .data = NULL };
    apply(name, &bwd, back, r->dx, -1);
    r->running[0] = mine[3];
    r->running[1] = mine[4];
    drop(mine, 3), drop(&mine[5], 1);
}

static void drop_norm(norm_results *r)
{
    drop(r->y, 4), drop(r->dx, 4), drop(r->running, 2);
}

static void compare_norm(const norm_case *c, const norm_results *got, const norm_results *want)
{
    char what[160];
    (void)snprintf(what, sizeof what, "batch_norm [%d,%d,%d,%d] groups %d%s%s%s%s%s", (int)c->shape[0], (int)c->shape[1],
                   (int)c->shape[2], (int)c->shape[3], (int)c->groups, c->training ? " training" : "",
                   c->relu ? " relu" : "", c->gamma ? " gamma" : "", c->beta ? " beta" : "", c->sum ? " sum" : "");
    check_near(&got->y[0], &want->y[0], TOL_DIRECT, "y", what);
    if (c->training) check_near(&got->y[1], &want->y[1], TOL_DIRECT, "mean", what);
    if (c->training) check_near(&got->y[2], &want->y[2], TOL_DIRECT, "variance", what);
    check_near(&got->running[0], &want->running[0], TOL_DIRECT, "running mean", what);
    check_near(&got->running[1], &want->running[1], TOL_DIRECT, "running variance", what);
    check_near(&got->dx[0], &want->dx[0], TOL_DIRECT, "dx", what);
    if (c->gamma) check_near(&got->dx[1], &want->dx[1], TOL_DIRECT, "dgamma", what);
    if (c->beta) check_near(&got->dx[2], &want->dx[2], TOL_DIRECT, "dbeta", what);
    if (want->dx[3].data) check_near(&got->dx[3], &want->dx[3], TOL_DIRECT, "dsum", what);
}

/* A ReLU passes all of the gradient or nothing: where rounding could decide, the gradient is set to zero. */
static void avoid_the_kink(const norm_case *c, value *in, value *dy)
{
    const clvi_batch_norm_attr attr = { .groups = c->groups, .eps = 1e-5, .momentum = 0.1, .training = c->training,
                                        .sum = c->sum };
    clvi_op_call call;
    value mine[6], y[4];
    forward_norm_proto(c, &attr, &in[0].desc, &call);
    for (int i = 0; i < 6; i++) mine[i] = copy_value(&in[i]);
    apply("reference", &call, mine, y, 3);
    for (int64_t i = 0; i < clvi_desc_count(&dy->desc); i++)
        if (fabsf(((float *)y[0].data)[i]) < 1e-5f)
            for (int k = 0; k <= c->sum; k++) ((float *)dy[k].data)[i] = 0;
    drop(mine, 6), drop(y, 4);
}

/* Inputs in[6] and upstream gradients dy[2] of a case. */
static void draw_norm(const norm_case *c, value *in, value *dy)
{
    const value none = { .desc = absent };
    in[0] = random_value(c->ndim, c->shape, 11);
    for (int k = 1; k < 5; k++) in[k] = random_value(1, &c->shape[1], 11 + (uint64_t)k);
    make_positive(&in[4]);
    if (!c->gamma) drop(&in[1], 1), in[1] = none;
    if (!c->beta) drop(&in[2], 1), in[2] = none;
    in[5] = c->sum ? random_value(c->ndim, c->shape, 17) : none;
    dy[0] = random_value(c->ndim, c->shape, 16);
    dy[1] = c->sum ? random_value(c->ndim, c->shape, 18) : none;
    if (c->relu) avoid_the_kink(c, in, dy);
}

static void check_norm(const norm_case *c)
{
    const char *name = c->sum ? "blocked" : "onednn";
    norm_results got, again, want;
    value in[6], dy[2];
    draw_norm(c, in, dy);
    run_norm("reference", c, in, dy, &want);
    run_norm(name, c, in, dy, &got);
    run_norm(name, c, in, dy, &again);
    compare_norm(c, &got, &want);
    assert_true(same_bytes(&got.y[0], &again.y[0]) && same_bytes(&got.dx[0], &again.dx[0]));
    drop_norm(&got), drop_norm(&again), drop_norm(&want);
    drop(in, 6), drop(dy, 2);
}

static void batch_norm_agrees_with_the_reference(void **state)
{
    (void)state;
    for (size_t i = 0; i < CLVI_COUNT(norm_cases); i++) check_norm(&norm_cases[i]);
}

/* Done in several batches of channels, and written past the caches. */
static void large_batch_norms_agree_with_the_reference(void **state)
{
    (void)state;
    check_norm(&(norm_case){ 4, { 2, 48, 210, 210 }, 1, true, true, true, true, true });
}

static void batch_norm_with_a_sum_does_not_depend_on_threads(void **state)
{
    (void)state;
    clv_context *two = ctx;
    for (int i = 0; norm_cases[i].sum; i++) {
        const norm_case *c = &norm_cases[i];
        norm_results want, got;
        value in[6], dy[2];
        draw_norm(c, in, dy);
        run_norm("blocked", c, in, dy, &want);
        for (int threads = 1; threads <= 3; threads += 2) {
            clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
            desc.threads = threads;
            ok(clv_context_create(&desc, &ctx), "context");
            run_norm("blocked", c, in, dy, &got);
            for (int k = 0; k < 4; k++) {
                assert_true(same_bytes(&got.y[k], &want.y[k]));
                if (want.dx[k].data) assert_true(same_bytes(&got.dx[k], &want.dx[k]));
            }
            clv_context_destroy(ctx);
            ctx = two;
            drop_norm(&got);
        }
        drop_norm(&want);
        drop(in, 6), drop(dy, 2);
    }
}

/* Of values far from 0 the squares are as large as float32 makes out: what counts is their distance from each other. */
static void the_variance_survives_a_large_mean(void **state)
{
    (void)state;
    const norm_case c = { 4, { 6, 16, 9, 9 }, 1, true, false, false, false, true };
    norm_results got, want;
    value in[6], dy[2];
    draw_norm(&c, in, dy);
    for (int64_t i = 0; i < clvi_desc_count(&in[0].desc); i++) ((float *)in[0].data)[i] += 3000;
    run_norm("reference", &c, in, dy, &want);
    run_norm("blocked", &c, in, dy, &got);
    check_near(&got.y[2], &want.y[2], 1e-4, "variance", "values around 3000");
    drop_norm(&got), drop_norm(&want);
    drop(in, 6), drop(dy, 2);
}

/* ---- prelu ---- */

static const int64_t prelu_shapes[][4] = {
    { 2, 64, 16, 16 }, { 3, 16, 7, 5 }, { 70, 32, 3, 3 }, { 1, 16, 1, 1 }, { 5, 48, 17, 33 },
};

static void run_prelu(const char *name, const value *in, value *out)
{
    clvi_op_call fwd = { .op = "prelu", .n_in = 2, .n_out = 1, .wanted = { true } };
    clvi_op_call bwd = { .op = "prelu_bwd", .n_in = 3, .n_out = 2, .wanted = { true, true } };
    value mine[3] = { in[0], in[1], in[2] };
    fwd.out[0] = bwd.out[0] = in[1].desc;
    bwd.out[1] = in[2].desc;
    apply(name, &fwd, &mine[1], out, -1);
    apply(name, &bwd, mine, out + 1, -1);
}

static void prelu_agrees_with_the_reference_for_any_number_of_threads(void **state)
{
    (void)state;
    static const char *const what[] = { "y", "dx", "dslope" };
    clv_context *two = ctx;
    for (size_t i = 0; i < CLVI_COUNT(prelu_shapes); i++) {
        value in[3] = { random_value(4, prelu_shapes[i], 41), random_value(4, prelu_shapes[i], 42),
                        random_value(1, &prelu_shapes[i][1], 43) };
        value want[3], got[3], other[3];
        ((float *)in[1].data)[0] = 0;
        run_prelu("reference", in, want);
        run_prelu("blocked", in, got);
        for (int k = 0; k < 3; k++) check_near(&got[k], &want[k], TOL_DIRECT, what[k], "prelu");
        clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
        desc.threads = 3;
        ok(clv_context_create(&desc, &ctx), "context");
        run_prelu("blocked", in, other);
        for (int k = 0; k < 3; k++) assert_true(same_bytes(&got[k], &other[k]));
        clv_context_destroy(ctx);
        ctx = two;
        drop(want, 3), drop(got, 3), drop(other, 3), drop(in, 3);
    }
}

/* ---- pooling ---- */

typedef struct pool_case {
    int64_t n, c, h, w, kernel, stride, pad;
} pool_case;

static const pool_case pool_cases[] = {
    { 2, 64, 16, 16, 3, 2, 1 }, { 2, 17, 9, 9, 3, 2, 1 },  { 3, 3, 7, 5, 2, 2, 0 }, { 2, 20, 12, 13, 3, 1, 1 },
    { 2, 512, 4, 4, 4, 4, 0 },  { 4, 20, 7, 7, 7, 7, 0 },  { 1, 1, 5, 5, 2, 1, 0 }, { 2, 33, 11, 10, 5, 3, 2 },
    { 2, 16, 1, 1, 1, 1, 0 },
};

static void check_pool(const pool_case *c, bool max)
{
    const clvi_pool2d_attr attr = { .kernel = { c->kernel, c->kernel }, .stride = { c->stride, c->stride },
                                    .pad = { c->pad, c->pad }, .in_size = { c->h, c->w } };
    const int64_t oh = (c->h + 2 * c->pad - c->kernel) / c->stride + 1;
    const int64_t ow = (c->w + 2 * c->pad - c->kernel) / c->stride + 1;
    value x = random_value(4, (int64_t[]){ c->n, c->c, c->h, c->w }, 21);
    value dy = random_value(4, (int64_t[]){ c->n, c->c, oh, ow }, 22);
    clvi_op_call fwd = { .op = max ? "max_pool2d" : "avg_pool2d", .attr = &attr, .n_in = 1, .n_out = max ? 2 : 1,
                         .wanted = { true, max } };
    clvi_op_call bwd = { .op = max ? "max_pool2d_bwd" : "avg_pool2d_bwd", .attr = &attr, .n_in = max ? 2 : 1,
                         .n_out = 1, .wanted = { true } };
    fwd.out[0] = dy.desc;
    fwd.out[1] = desc_of(CLV_U8, 1, (int64_t[]){ 1 });
    bwd.out[0] = x.desc;
    static const char *const names[2] = { "reference", "onednn" };
    value y[2][2] = { { { .data = NULL } } }, dx[2][1], unkept[2] = { { .data = NULL } };
    for (int i = 0; i < 2; i++) {
        apply(names[i], &fwd, &x, y[i], -1);
        value back[2] = { dy, y[i][1] };
        apply(names[i], &bwd, back, dx[i], -1);
    }
    fwd.wanted[1] = false;
    apply("onednn", &fwd, &x, unkept, -1);
    check_near(&y[1][0], &y[0][0], TOL_DIRECT, "y", fwd.op);
    check_near(&unkept[0], &y[0][0], TOL_DIRECT, "y without workspace", fwd.op);
    check_near(&dx[1][0], &dx[0][0], TOL_DIRECT, "dx", bwd.op);
    for (int i = 0; i < 2; i++) drop(y[i], 2), drop(dx[i], 1);
    drop(unkept, 2), drop(&x, 1), drop(&dy, 1);
}

static void pooling_agrees_with_the_reference(void **state)
{
    (void)state;
    for (size_t i = 0; i < CLVI_COUNT(pool_cases); i++) {
        check_pool(&pool_cases[i], true);
        check_pool(&pool_cases[i], false);
    }
}

/* ---- reorder ---- */

static void reorder_moves_images_between_orders(void **state)
{
    (void)state;
    enum { N = 3, C = 5, H = 4, W = 7 };
    value x = random_value(4, (int64_t[]){ N, C, H, W }, 31);
    clvi_desc nhwc = x.desc;
    clvi_desc_make_nhwc(&nhwc);
    value y = reordered(&x, &nhwc), back = dense(&y);
    for (int n = 0; n < N; n++)
        for (int c = 0; c < C; c++)
            for (int p = 0; p < H * W; p++)
                assert_true(((float *)y.data)[(n * H * W + p) * C + c] == ((float *)x.data)[(n * C + c) * H * W + p]);
    assert_memory_equal(back.data, x.data, x.desc.bytes);
    drop(&x, 1), drop(&y, 1), drop(&back, 1);
}

static void reorder_takes_any_number_of_dimensions(void **state)
{
    (void)state;
    const int64_t shape[] = { 2, 3, 4, 3, 2, 5 };
    for (int ndim = 1; ndim <= CLV_MAX_DIMS; ndim++) {
        value x = random_value(ndim, shape, 32);
        clvi_desc reversed = x.desc;
        int64_t step = 1;
        for (int i = 0; i < ndim; i++) {
            reversed.stride[i] = step;
            step *= shape[i];
        }
        value y = reordered(&x, &reversed), back = dense(&y);
        assert_memory_equal(back.data, x.data, x.desc.bytes);
        drop(&x, 1), drop(&y, 1), drop(&back, 1);
    }
}

/* ---- a whole network ---- */

enum { NET_N = 4, NET_SIZE = 15, NET_CLASSES = 7 };

typedef struct network {
    clv_graph *g;
    clv_node   images, targets, loss;
} network;

static clv_node net_weight(clv_graph *g, const char *name, int ndim, int64_t a, int64_t b, int64_t kernel)
{
    const clv_init init = { CLV_INIT_KAIMING_NORMAL, 0, b * kernel * kernel };
    return clv_parameter(g, name, CLV_PARAM_TRAINABLE, ndim, (int64_t[]){ a, b, kernel, kernel }, init);
}

static clv_node net_vector(clv_graph *g, const char *layer, const char *what, clv_param_kind kind, int64_t c, double v)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s.%s", layer, what);
    return clv_parameter(g, name, kind, 1, &c, (clv_init){ CLV_INIT_CONSTANT, v, 0 });
}

static clv_node net_layer(clv_graph *g, const char *name, clv_node x, int64_t in, int64_t out, int64_t stride)
{
    const clv_batch_norm_desc norm = {
        .gamma = net_vector(g, name, "gamma", CLV_PARAM_TRAINABLE, out, 1.1),
        .beta = net_vector(g, name, "beta", CLV_PARAM_TRAINABLE, out, 0.1),
        .running_mean = net_vector(g, name, "mean", CLV_PARAM_BUFFER, out, 0),
        .running_var = net_vector(g, name, "var", CLV_PARAM_BUFFER, out, 1),
        .groups = 2, .eps = 1e-5, .momentum = 0.1,
    };
    return clv_batch_norm(g, clv_conv2d(g, x, net_weight(g, name, 4, out, in, 3), stride, 1), &norm);
}

/* Stem, pool, a residual block, a strided layer, pooled features, a classifier: 20 channels fill no block. */
static void build_network(clv_params *params, bool reference, network *net)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = params;
    desc.training = true;
    desc.reference = reference;
    ok(clv_graph_create(ctx, &desc, &net->g), "graph");
    clv_graph *g = net->g;
    net->images = clv_input_image(g, "images", NET_N, 3, NET_SIZE, NET_SIZE);
    net->targets = clv_input(g, "targets", CLV_I64, 1, (int64_t[]){ NET_N });
    clv_node x = clv_max_pool2d(g, clv_relu(g, net_layer(g, "stem", net->images, 3, 20, 1)), 3, 2, 1);
    clv_node y = clv_relu(g, net_layer(g, "a", x, 20, 20, 1));
    x = clv_relu(g, clv_add(g, net_layer(g, "b", y, 20, 20, 1), x));
    x = clv_global_avg_pool(g, clv_relu(g, net_layer(g, "c", x, 20, 33, 2)));
    clv_node logits = clv_matmul(g, x, false, net_weight(g, "fc", 2, NET_CLASSES, 33, 1), true);
    net->loss = clv_reduce(g, clv_softmax_xent(g, logits, net->targets, CLV_NONE), -1, true);
    clv_graph_output(g, net->loss);
    ok(clv_graph_backward(g, net->loss), "backward");
    ok(clv_graph_finish(g), "finish");
}

static float run_network(const network *net)
{
    static const int64_t shape[] = { NET_N, NET_SIZE, NET_SIZE, 3 };
    int64_t classes[NET_N] = { 0, 3, 6, 1 };
    value images = random_value(4, shape, 41);
    const clv_view x = clv_view_nhwc(images.data, CLV_F32, NET_N, 3, NET_SIZE, NET_SIZE);
    const clv_view t = clv_view_1d(classes, CLV_I64, NET_N);
    clv_view loss;
    ok(clv_graph_bind(net->g, net->images, &x), "bind");
    ok(clv_graph_bind(net->g, net->targets, &t), "bind");
    ok(clv_graph_run(net->g), "run");
    ok(clv_graph_read(net->g, net->loss, &loss), "read");
    const float result = *(const float *)loss.data;
    drop(&images, 1);
    return result;
}

static value gradient_of(const clv_params *params, int64_t index)
{
    clv_param_info info;
    ok(clv_params_info(params, index, &info), "info");
    value v = { .desc = desc_of(CLV_F32, info.ndim, info.shape) };
    give_memory(&v);
    poison(&v);
    const clv_view view = clv_view_dense(v.data, CLV_F32, info.ndim, info.shape);
    const clv_param_part part = info.kind == CLV_PARAM_TRAINABLE ? CLV_PARAM_GRADIENT : CLV_PARAM_VALUE;
    ok(clv_params_read(params, index, part, &view), info.name);
    return v;
}

/* Parameters keep the layout of the graph that came first, so both orders are tried. */
static void compare_networks(bool reference_first)
{
    clv_params *params, *copy;
    network first, second;
    ok(clv_params_create(ctx, CLV_F32, &params), "params");
    build_network(params, reference_first, &first);
    ok(clv_params_init(params, 5), "init");
    ok(clv_params_clone(params, &copy), "clone");
    build_network(copy, !reference_first, &second);
    const float a = run_network(&first), b = run_network(&second);
    if (!(fabsf(a - b) <= 1e-5f * fabsf(b))) fail_msg("loss %.8g, %.8g", (double)a, (double)b);
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        value got = gradient_of(params, i), want = gradient_of(copy, i);
        ok(clv_params_info(params, i, &info), "info");
        check_near(&got, &want, 1e-4, info.name, reference_first ? "the reference's layout" : "oneDNN's layout");
        drop(&got, 1), drop(&want, 1);
    }
    clv_graph_destroy(first.g);
    clv_graph_destroy(second.g);
    clv_params_destroy(params);
    clv_params_destroy(copy);
}

static void a_network_gives_the_gradients_of_the_reference(void **state)
{
    (void)state;
    compare_networks(false);
    compare_networks(true);
}

/* ---- what the kernels refuse, and threads ---- */

static bool has_onednn(const char *op, clv_dtype dtype, int64_t samples)
{
    const clvi_conv2d_attr attr = { { 1, 1 }, { 1, 1 }, { 8, 8 }, { 3, 3 }, 1 };
    clvi_op_call call = { .ctx = ctx, .op = op, .attr = &attr, .n_in = 2, .n_out = 1 };
    call.in[0] = call.out[0] = desc_of(dtype, 4, (int64_t[]){ samples, 8, 8, 8 });
    call.in[1] = desc_of(dtype, 4, (int64_t[]){ 8, 8, 3, 3 });
    return clvi_kernel_next(&call, "onednn", NULL) != NULL;
}

static void only_float32_and_filled_shapes_are_accepted(void **state)
{
    (void)state;
    assert_true(has_onednn("conv2d", CLV_F32, 1));
    assert_false(has_onednn("conv2d", CLV_F64, 1));
    assert_false(has_onednn("conv2d", CLV_F32, 0));
}

static void contexts_with_other_thread_counts_work_side_by_side(void **state)
{
    (void)state;
    clv_context *two = ctx;
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 3; threads += 2) {
        clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
        desc.threads = threads;
        ok(clv_context_create(&desc, &ctx), "context");
        for (size_t i = 0; i < CLVI_COUNT(conv_cases); i += 4) check_conv(&conv_cases[i], TOL_WINOGRAD);
        batch_norm_agrees_with_the_reference(NULL);
        clv_context_destroy(ctx);
        ctx = two;
        check_conv(&conv_cases[7], TOL_WINOGRAD);
    }
    assert_int_equal(omp_get_max_threads(), before);
}

static int create_context(void **state)
{
    (void)state;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = 2;
    return clv_context_create(&desc, &ctx) == CLV_OK ? 0 : -1;
}

static int destroy_context(void **state)
{
    (void)state;
    clv_context_destroy(ctx);
    return 0;
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reorder_moves_images_between_orders),
        cmocka_unit_test(reorder_takes_any_number_of_dimensions),
        cmocka_unit_test(direct_convolution_agrees_with_the_reference),
        cmocka_unit_test(winograd_convolution_agrees_with_the_reference),
        cmocka_unit_test(convolution_agrees_with_the_reference_as_it_chooses),
        cmocka_unit_test(the_switch_changes_the_algorithm),
        cmocka_unit_test(few_channels_agree_with_the_reference_and_do_not_depend_on_threads),
        cmocka_unit_test(other_convolutions_are_left_to_onednn),
        cmocka_unit_test(padding_channels_are_written_as_zero),
        cmocka_unit_test(pooling_agrees_with_the_reference),
        cmocka_unit_test(a_network_gives_the_gradients_of_the_reference),
        cmocka_unit_test(only_float32_and_filled_shapes_are_accepted),
        cmocka_unit_test(contexts_with_other_thread_counts_work_side_by_side),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}

static int run_norms(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_norm_agrees_with_the_reference),
        cmocka_unit_test(large_batch_norms_agree_with_the_reference),
        cmocka_unit_test(batch_norm_with_a_sum_does_not_depend_on_threads),
        cmocka_unit_test(the_variance_survives_a_large_mean),
        cmocka_unit_test(prelu_agrees_with_the_reference_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}

int main(void)
{
    if (getenv("CLEAVE_CPU_ISA")) return run_norms();
    int failed = run_all() != 0;
    failed |= test_each_isa(run_norms);
    setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);       /* its blocks are 8 channels then */
    return failed | test_each_isa(run_norms);
}
