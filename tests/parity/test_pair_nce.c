/* test_pair_nce.c: pair_nce and its gradient in float32 give what the reference gives in float64, whatever the shapes,
 * labels and temperatures; the same bits with any number of threads; memory that does not grow with the pairs. */
#include "device/attr.h"
#include "device/device.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    int64_t rows, dim, period, anchors;
    double  temperature;
    double *x, *g;           /* floats in double */
    int64_t *labels;
} problem;

typedef struct answer {
    double *per_anchor, *positives, *dx;
} answer;

static void *block(int64_t count, size_t size)
{
    void *memory = calloc((size_t)count + 1, size);
    assert_non_null(memory);
    return memory;
}

static problem make(int64_t rows, int64_t dim, int64_t period, int64_t anchors, int64_t classes, double length,
                    double temperature)
{
    problem p = { rows, dim, period, anchors, temperature, block(rows * dim, 8), block(anchors, 8), block(period, 8) };
    uint64_t state = (uint64_t)(rows * 7919 + dim);
    for (int64_t i = 0; i < rows * dim + anchors; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const double value = (float)((double)(state >> 40) / 8388608.0 - 1);
        if (i < rows * dim) p.x[i] = value;
        else p.g[i - rows * dim] = value;
    }
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t d = 0; d < dim; d++) sum += p.x[i * dim + d] * p.x[i * dim + d];
        for (int64_t d = 0; d < dim && sum > 0; d++)
            p.x[i * dim + d] = (float)(p.x[i * dim + d] * length / sqrt(sum));
    }
    for (int64_t i = 0; i < period; i++) p.labels[i] = (i * 31 % classes - 2) * INT64_C(0x100000001);
    return p;
}

static void free_problem(problem *p)
{
    free(p->x), free(p->g), free(p->labels);
}

static void free_answer(answer *a)
{
    free(a->per_anchor), free(a->positives), free(a->dx);
}

static void set(clvi_op_call *c, bool in, int i, clv_dtype type, int ndim, int64_t rows, int64_t cols)
{
    clvi_desc *d = in ? &c->in[i] : &c->out[i];
    *d = (clvi_desc) { .dtype = type, .ndim = ndim, .shape = { rows, cols } };
    clvi_desc_make_dense(d);
    if (in && i >= c->n_in) c->n_in = i + 1;
    if (!in && i >= c->n_out) c->n_out = i + 1;
    if (!in) c->wanted[i] = true;
}

static void *converted(const double *x, int64_t n, clv_dtype type)
{
    double *y = block(n, sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        if (type == CLV_F64) y[i] = x[i];
        else ((float *)(void *)y)[i] = (float)x[i];
    }
    return y;
}

static double *to_double(const void *x, int64_t n, clv_dtype type)
{
    double *y = block(n, sizeof *y);
    for (int64_t i = 0; i < n; i++) y[i] = type == CLV_F64 ? ((const double *)x)[i] : ((const float *)x)[i];
    return y;
}

static void run(clvi_op_call *c, bool reference)
{
    const clvi_kernel *kernel = clvi_kernel_find(c, reference);
    assert_non_null(kernel);
    assert_true(reference == (strcmp(kernel->name, "reference") == 0));
    if (kernel->prepare) assert_ok(kernel->prepare(c));
    for (int i = 0; i < c->n_out; i++) {
        c->out_data[i] = malloc(c->out[i].bytes + 1);
        memset(c->out_data[i], 0xff, c->out[i].bytes + 1);   /* NaN */
    }
    c->scratch = aligned_alloc(64, (c->scratch_size + 64) / 64 * 64);
    memset(c->scratch, 0xff, c->scratch_size);
    assert_ok(kernel->run(c));
    free(c->scratch);
}

static answer solve(clv_context *ctx, const problem *p, clv_dtype type, bool reference)
{
    const clvi_pair_nce_attr attr = { .temperature = p->temperature, .anchors = p->anchors };
    clvi_op_call f = { .ctx = ctx, .op = "pair_nce", .attr = &attr };
    clvi_op_call b = { .ctx = ctx, .op = "pair_nce_bwd", .attr = &attr };
    set(&f, true, 0, type, 2, p->rows, p->dim);
    set(&f, true, 1, CLV_I64, 1, p->period, 0);
    for (int i = 0; i < 3; i++) set(&f, false, i, type, 1, p->anchors, 0);
    f.in_data[0] = converted(p->x, p->rows * p->dim, type);
    f.in_data[1] = p->labels;
    run(&f, reference);
    set(&b, true, 0, type, 1, p->anchors, 0);
    set(&b, true, 1, type, 2, p->rows, p->dim);
    set(&b, true, 2, CLV_I64, 1, p->period, 0);
    set(&b, true, 3, type, 1, p->anchors, 0);
    set(&b, false, 0, type, 2, p->rows, p->dim);
    b.in_data[0] = converted(p->g, p->anchors, type);
    b.in_data[1] = f.in_data[0];
    b.in_data[2] = p->labels;
    b.in_data[3] = f.out_data[2];
    run(&b, reference);
    const answer a = { to_double(f.out_data[0], p->anchors, type), to_double(f.out_data[1], p->anchors, type),
                       to_double(b.out_data[0], p->rows * p->dim, type) };
    free(f.in_data[0]), free(b.in_data[0]), free(b.out_data[0]);
    for (int i = 0; i < 3; i++) free(f.out_data[i]);
    return a;
}

static void compare(clv_context *ctx, const problem *p, double tolerance)
{
    answer want = solve(ctx, p, CLV_F64, true), got = solve(ctx, p, CLV_F32, false);
    double largest = 1e-3;
    for (int64_t i = 0; i < p->rows * p->dim; i++) largest = fmax(largest, fabs(want.dx[i]));
    for (int64_t a = 0; a < p->anchors; a++) {
        assert_near(got.per_anchor[a], want.per_anchor[a], tolerance * (1 + fabs(want.per_anchor[a])));
        assert_near(got.positives[a], want.positives[a], 0);
    }
    for (int64_t i = 0; i < p->rows * p->dim; i++) assert_near(got.dx[i], want.dx[i], tolerance * largest);
    free_answer(&want);
    free_answer(&got);
}

static void any_shape_agrees_with_the_reference(void **state)
{
    static const int64_t shapes[][5] = {   /* rows, dim, period, anchors, classes */
        { 0, 4, 0, 0, 5 }, { 1, 3, 1, 1, 5 }, { 2, 1, 1, 2, 5 }, { 2, 7, 2, 1, 5 }, { 16, 5, 16, 16, 3 },
        { 63, 9, 21, 63, 4 }, { 64, 16, 32, 64, 100 }, { 65, 17, 65, 30, 7 }, { 130, 8, 65, 65, 9 },
        { 200, 33, 100, 200, 1 }, { 333, 12, 333, 333, 400 }, { 700, 6, 350, 350, 17 }, { 513, 20, 171, 513, 60 },
        { 600, 4, 600, 20, 9 }, { 5, 0, 5, 5, 2 }, { 3000, 3, 1500, 3000, 700 },
    };
    test_env *t = *state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int64_t *s = shapes[i];
        problem p = make(s[0], s[1], s[2], s[3], s[4], 1, 0.2);
        compare(t->ctx, &p, 1e-5);
        free_problem(&p);
    }
}

/* The last of these has anchors whose lse lie more than any float32 exponential reaches apart. */
static void small_temperatures_and_long_rows_do_not_overflow(void **state)
{
    static const double lengths[] = { 1, 30, 0.001 }, temperatures[] = { 0.001, 0.01, 0.07, 1, 100 };
    test_env *t = *state;
    for (int i = 0; i < 15; i++) {
        const double length = lengths[i / 5], temperature = temperatures[i % 5];
        problem p = make(150, 12, 75, 150, 20, length, temperature);
        compare(t->ctx, &p, fmax(1e-5, 4e-7 * length * length / temperature));
        free_problem(&p);
    }
    problem p = make(150, 12, 75, 150, 20, 1, 0.1);
    for (int64_t i = 0; i < 40 * 12; i++) p.x[i] = (float)(p.x[i] * 8);
    compare(t->ctx, &p, 1e-4);
    free_problem(&p);
}

static void the_number_of_threads_changes_no_bit(void **state)
{
    problem p = make(700, 20, 350, 700, 40, 1, 0.1);
    answer first = { 0 };
    for (int threads = 1; threads <= 4; threads++) {
        clv_context *ctx = test_context(*state, threads);
        answer a = solve(ctx, &p, CLV_F32, false);
        if (threads > 1) {
            assert_memory_equal(a.per_anchor, first.per_anchor, 700 * sizeof(double));
            assert_memory_equal(a.dx, first.dx, 700 * 20 * sizeof(double));
            free_answer(&a);
        } else {
            first = a;
        }
        clv_context_destroy(ctx);
    }
    free_answer(&first);
    free_problem(&p);
}

static void nan_is_not_hidden(void **state)
{
    test_env *t = *state;
    problem p = make(70, 5, 70, 70, 9, 1, 0.2);
    p.x[3 * 5] = NAN;
    answer a = solve(t->ctx, &p, CLV_F32, false);
    assert_true(isnan(a.per_anchor[3]) && isnan(a.per_anchor[69]) && isnan(a.dx[3 * 5]));
    free_answer(&a);
    free_problem(&p);
}

static size_t scratch_of(clv_context *ctx, int64_t rows)
{
    const clvi_pair_nce_attr attr = { .temperature = 0.1, .anchors = rows };
    clvi_op_call f = { .ctx = ctx, .op = "pair_nce", .attr = &attr };
    set(&f, true, 0, CLV_F32, 2, rows, 128);
    set(&f, true, 1, CLV_I64, 1, rows, 0);
    for (int i = 0; i < 3; i++) set(&f, false, i, CLV_F32, 1, rows, 0);
    assert_ok(clvi_kernel_find(&f, false)->prepare(&f));
    return f.scratch_size;
}

static void memory_does_not_grow_with_the_pairs(void **state)
{
    clv_context *ctx = test_context(*state, 2);
    assert_true(scratch_of(ctx, 2048) < 1 << 20);
    assert_true(scratch_of(ctx, 1 << 20) < scratch_of(ctx, 1 << 19) * 2 + 64);
    clv_context_destroy(ctx);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_shape_agrees_with_the_reference),
        TEST(small_temperatures_and_long_rows_do_not_overflow),
        TEST(the_number_of_threads_changes_no_bit),
        TEST(nan_is_not_hidden),
        TEST(memory_does_not_grow_with_the_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa(run_all);
}
