/* test_bank_nce.c: bank_nce gives the published values and the reference's, whatever the shapes, masks, ids and
 * numbers, in float32 and bfloat16, and its memory does not grow with the bank. */
#include "core/bf16.h"
#include "core/checked.h"
#include "core/h5.h"
#include "device/attr.h"
#include "device/device.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/losses/moco_queue.h5"

/* One call in double; a float32 kernel gets it rounded. */
typedef struct problem {
    int64_t        batch, dim, keys;
    double        *query, *key, *bank;
    unsigned char *valid;              /* or NULL */
    int64_t       *ids, *bank_ids;     /* or NULL */
    double         temperature;
    bool           unit_rows, bf16;    /* bf16: the bank's rows are kept so */
    bool           shifted;            /* the bank starts 2 bytes later */
} problem;

typedef struct answer {
    double *per_row, *prob_pos, *dq;
} answer;

static void *block(int64_t count, size_t size)
{
    void *memory = calloc((size_t)count + 1, size);
    assert_non_null(memory);
    return memory;
}

static double *numbers(int64_t n, uint64_t *state)
{
    double *x = block(n, sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(*state >> 40) / 8388608.0 - 1);   /* a float, so that both types see the same */
    }
    return x;
}

static void scale_row(double *row, int64_t dim, double length)
{
    double sum = 0;
    for (int64_t d = 0; d < dim; d++) sum += row[d] * row[d];
    for (int64_t d = 0; d < dim && sum > 0; d++) row[d] *= length / sqrt(sum);
}

static problem make(int64_t batch, int64_t dim, int64_t keys, double length, double temperature)
{
    uint64_t state = (uint64_t)(batch * 7919 + dim * 104729 + keys);
    problem p = { batch, dim, keys, numbers(batch * dim, &state), numbers(batch * dim, &state),
                  numbers(keys * dim, &state), NULL, NULL, NULL, temperature, false, false, false };
    for (int64_t i = 0; i < batch; i++) {
        scale_row(p.query + i * dim, dim, length);
        scale_row(p.key + i * dim, dim, length);
    }
    for (int64_t j = 0; j < keys; j++) scale_row(p.bank + j * dim, dim, length);
    return p;
}

static void add_masks(problem *p)
{
    p->valid = block(p->keys, 1);
    p->ids = block(p->batch, sizeof *p->ids);
    p->bank_ids = block(p->keys, sizeof *p->bank_ids);
    for (int64_t j = 0; j < p->keys; j++) p->valid[j] = j % 7 != 2, p->bank_ids[j] = j % 5 - 1;
    for (int64_t i = 0; i < p->batch; i++) p->ids[i] = i % 4 - 1;
}

static void free_problem(problem *p)
{
    free(p->query), free(p->key), free(p->bank), free(p->valid), free(p->ids), free(p->bank_ids);
}

static void free_answer(answer *a)
{
    free(a->per_row), free(a->prob_pos), free(a->dq);
}

/* ---- one call ---- */

static void *converted(const double *x, int64_t n, clv_dtype type)
{
    if (type == CLV_F64) {
        double *y = block(n, sizeof *y);
        if (n > 0) memcpy(y, x, (size_t)n * sizeof *y);
        return y;
    }
    if (type == CLV_BF16) {
        uint16_t *y = block(n, sizeof *y);
        for (int64_t i = 0; i < n; i++) y[i] = clvi_bf16_round(x[i]);
        return y;
    }
    float *y = block(n, sizeof *y);
    for (int64_t i = 0; i < n; i++) y[i] = (float)x[i];
    return y;
}

static void set_desc(clvi_desc *d, clv_dtype type, int ndim, int64_t rows, int64_t cols)
{
    memset(d, 0, sizeof *d);
    d->dtype = type;
    d->ndim = ndim;
    d->shape[0] = rows;
    d->shape[1] = cols;
    if (type != CLV_DTYPE_COUNT) clvi_desc_make_dense(d);
}

static void make_call(const problem *p, clv_dtype type, clv_context *ctx, const clvi_bank_nce_attr *attr,
                      clvi_op_call *c)
{
    memset(c, 0, sizeof *c);
    c->ctx = ctx;
    c->op = "bank_nce";
    c->attr = attr;
    c->n_in = 6;
    c->n_out = 3;
    set_desc(&c->in[0], type, 2, p->batch, p->dim);
    set_desc(&c->in[1], type, 2, p->batch, p->dim);
    set_desc(&c->in[2], p->bf16 ? CLV_BF16 : type, 2, p->keys, p->dim);
    set_desc(&c->in[3], p->valid ? CLV_U8 : CLV_DTYPE_COUNT, 1, p->keys, 0);
    set_desc(&c->in[4], p->ids ? CLV_I64 : CLV_DTYPE_COUNT, 1, p->batch, 0);
    set_desc(&c->in[5], p->bank_ids ? CLV_I64 : CLV_DTYPE_COUNT, 1, p->keys, 0);
    set_desc(&c->out[0], type, 1, p->batch, 0);
    set_desc(&c->out[1], type, 1, p->batch, 0);
    set_desc(&c->out[2], type, 2, p->batch, p->dim);
    for (int i = 0; i < 3; i++) c->wanted[i] = true;
}

static double *to_double(void *x, int64_t n, clv_dtype type)
{
    if (type == CLV_F64) return x;
    double *y = block(n, sizeof *y);
    for (int64_t i = 0; i < n; i++) y[i] = ((const float *)x)[i];
    free(x);
    return y;
}

static answer solve(const problem *p, const clvi_kernel *k, clv_dtype type, clv_context *ctx)
{
    const clvi_bank_nce_attr attr = { .temperature = p->temperature, .unit_rows = p->unit_rows };
    clvi_op_call c;
    make_call(p, type, ctx, &attr, &c);
    if (!k) k = clvi_kernel_find(&c, true);
    assert_non_null(k);
    assert_ok(k->prepare(&c));
    c.in_data[0] = converted(p->query, p->batch * p->dim, type);
    c.in_data[1] = converted(p->key, p->batch * p->dim, type);
    c.in_data[2] = converted(p->bank, p->keys * p->dim, c.in[2].dtype);
    void *bank = c.in_data[2];
    if (p->shifted) {
        c.in_data[2] = (char *)block(p->keys * p->dim + 1, sizeof(uint16_t)) + sizeof(uint16_t);
        memcpy(c.in_data[2], bank, (size_t)(p->keys * p->dim) * sizeof(uint16_t));
        free(bank);
    }
    c.in_data[3] = p->valid;
    c.in_data[4] = p->ids;
    c.in_data[5] = p->bank_ids;
    for (int i = 0; i < 3; i++) {
        c.out_data[i] = malloc(c.out[i].bytes + 1);
        memset(c.out_data[i], 0xff, c.out[i].bytes + 1);   /* NaN */
    }
    c.scratch = malloc(c.scratch_size + 1);
    memset(c.scratch, 0xff, c.scratch_size);
    assert_ok(k->run(&c));
    free(c.scratch);
    free(c.in_data[0]), free(c.in_data[1]), free((char *)c.in_data[2] - (p->shifted ? sizeof(uint16_t) : 0));
    return (answer){ to_double(c.out_data[0], p->batch, type), to_double(c.out_data[1], p->batch, type),
                     to_double(c.out_data[2], p->batch * p->dim, type) };
}

static const clvi_kernel *fast_kernel(void)
{
    for (int i = 0; clvi_kernel_at(i); i++)
        if (strcmp(clvi_kernel_at(i)->op, "bank_nce") == 0 && strcmp(clvi_kernel_at(i)->name, "cpu") == 0)
            return clvi_kernel_at(i);
    fail_msg("there is no cpu kernel");
    return NULL;
}

/* per_row within `tolerance` of 1 + its size, dq within it of the largest entry. */
static void check_close(const problem *p, const answer *got, const answer *want, double tolerance)
{
    double largest = 1e-3;
    for (int64_t i = 0; i < p->batch * p->dim; i++) largest = fmax(largest, fabs(want->dq[i]));
    for (int64_t b = 0; b < p->batch; b++) {
        assert_near(got->per_row[b], want->per_row[b], tolerance * (1 + want->per_row[b]));
        assert_near(got->prob_pos[b], want->prob_pos[b], tolerance);
    }
    for (int64_t i = 0; i < p->batch * p->dim; i++) assert_near(got->dq[i], want->dq[i], tolerance * largest);
}

static void compare(test_env *t, const problem *p, double tolerance)
{
    answer want = solve(p, NULL, CLV_F64, t->ctx), got = solve(p, fast_kernel(), CLV_F32, t->ctx);
    check_close(p, &got, &want, tolerance);
    free_answer(&got);
    free_answer(&want);
}

/* ---- published values ---- */

static double *read_numbers(clvi_h5 *h5, const char *group, const char *name, int64_t n, double *into)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", group, name);
    const clv_view view = clv_view_dense(into, CLV_F64, 1, &n);
    assert_ok(clvi_h5_read(h5, path, &view));
    return into;
}

/* L = mean per_row of n(query): the gradient with respect to the query itself. */
static void through_normalisation(const problem *p, const double *raw, bool normalize, answer *a)
{
    for (int64_t b = 0; b < p->batch; b++) {
        const double *u = p->query + b * p->dim, *x = raw + b * p->dim;
        double *g = a->dq + b * p->dim, along = 0, norm = 0;
        for (int64_t d = 0; d < p->dim; d++) along += u[d] * g[d], norm += x[d] * x[d];
        for (int64_t d = 0; d < p->dim; d++)
            g[d] = (normalize ? (g[d] - u[d] * along) / sqrt(norm) : g[d]) / (double)p->batch;
    }
}

static void check_golden_case(test_env *t, clvi_h5 *h5, const char *name)
{
    char group[128];
    clvi_h5_info info;
    int64_t normalize;
    problem p = { 0 };
    snprintf(group, sizeof group, "%s/inputs/query", name);
    assert_ok(clvi_h5_stat(h5, group, &info));
    p.batch = info.shape[0], p.dim = info.shape[1];
    snprintf(group, sizeof group, "%s/inputs/queue", name);
    assert_ok(clvi_h5_stat(h5, group, &info));
    p.keys = info.shape[0];
    assert_ok(clvi_h5_attr_f64(h5, name, "temperature", &p.temperature));
    assert_ok(clvi_h5_attr_i64(h5, name, "normalize", &normalize));
    const int64_t n = p.batch * p.dim;
    double *raw = read_numbers(h5, name, "inputs/query", n, block(n, sizeof(double)));
    p.query = converted(raw, n, CLV_F64);
    p.key = read_numbers(h5, name, "inputs/key", n, block(n, sizeof(double)));
    p.bank = read_numbers(h5, name, "inputs/queue", p.keys * p.dim, block(p.keys * p.dim, sizeof(double)));
    for (int64_t b = 0; normalize && b < p.batch; b++) {
        scale_row(p.query + b * p.dim, p.dim, 1);
        scale_row(p.key + b * p.dim, p.dim, 1);
    }
    snprintf(group, sizeof group, "%s/inputs/queue_valid", name);
    if (clvi_h5_has(h5, group)) {
        p.valid = block(p.keys, 1);
        const clv_view view = clv_view_dense(p.valid, CLV_U8, 1, &p.keys);
        assert_ok(clvi_h5_read(h5, group, &view));
    }
    answer want = { read_numbers(h5, name, "outputs/per_row", p.batch, block(p.batch, sizeof(double))),
                    read_numbers(h5, name, "outputs/prob_pos", p.batch, block(p.batch, sizeof(double))),
                    read_numbers(h5, name, "outputs/grad_query", n, block(n, sizeof(double))) };
    answer exact = solve(&p, NULL, CLV_F64, t->ctx), fast = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    through_normalisation(&p, raw, normalize, &exact);
    through_normalisation(&p, raw, normalize, &fast);
    double fp32_loss = 0, fp32_grad = 0, largest = 0;
    assert_ok(clvi_h5_attr_f64(h5, name, "fp32_loss_abs_err", &fp32_loss));
    assert_ok(clvi_h5_attr_f64(h5, name, "fp32_grad_rel_err", &fp32_grad));
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(want.dq[i]));
    for (int64_t b = 0; b < p.batch; b++) {
        assert_near(exact.per_row[b], want.per_row[b], 1e-10 * (1 + want.per_row[b]));
        assert_near(exact.prob_pos[b], want.prob_pos[b], 1e-10);
        assert_near(fast.per_row[b], want.per_row[b], fmax(2e-5 * (1 + want.per_row[b]), 20 * fp32_loss));
        assert_near(fast.prob_pos[b], want.prob_pos[b], fmax(2e-5, 20 * fp32_loss));
    }
    for (int64_t i = 0; i < n; i++) {
        double length = 0;
        for (int64_t d = 0; d < p.dim; d++) length += fabs(raw[i / p.dim * p.dim + d]);
        if (length == 0) continue;   /* the gradient of a zero row is normalisation's affair */
        assert_near(exact.dq[i], want.dq[i], 1e-9 * largest);
        assert_near(fast.dq[i], want.dq[i], fmax(2e-4, 20 * fp32_grad) * largest);
    }
    free_answer(&want), free_answer(&exact), free_answer(&fast);
    free(raw);
    free_problem(&p);
}

static void golden_values_are_reached(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    int64_t count = 0, checked = 0;
    char **names = NULL;
    assert_ok(clvi_h5_open(t->ctx, GOLDEN, &h5));
    assert_ok(clvi_h5_list(h5, "/", false, &count, &names));
    for (int64_t i = 0; i < count; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/outputs/per_row", names[i]);
        if (!clvi_h5_has(h5, path)) continue;
        check_golden_case(t, h5, names[i]);
        checked++;
    }
    assert_true(checked >= 5);
    clvi_free(t->ctx, names);
    clvi_h5_close(h5);
}

/* ---- shapes and numbers ---- */

static void any_shape_agrees_with_the_reference(void **state)
{
    static const int64_t shapes[][3] = {
        { 1, 1, 1 }, { 1, 17, 191 }, { 2, 16, 192 }, { 23, 15, 193 }, { 24, 33, 47 }, { 25, 48, 49 }, { 3, 160, 2047 },
        { 257, 8, 100 }, { 31, 5, 4097 }, { 3, 0, 5 }, { 0, 4, 9 }, { 5, 4, 0 }, { 2, 7, 16384 + 77 }, { 1, 300, 50 },
    };
    for (size_t i = 0; i < CLVI_COUNT(shapes); i++)
        for (int masks = 0; masks < 2; masks++) {
            problem p = make(shapes[i][0], shapes[i][1], shapes[i][2], 1, 0.2);
            if (masks) add_masks(&p);
            compare(*state, &p, 5e-6);
            p.unit_rows = true;
            compare(*state, &p, 5e-6);
            free_problem(&p);
        }
}

static void small_temperatures_and_long_rows_do_not_overflow(void **state)
{
    static const double lengths[] = { 1, 30, 0.001 }, temperatures[] = { 0.001, 0.02, 0.03, 1, 100 };
    for (size_t i = 0; i < CLVI_COUNT(lengths); i++)
        for (size_t j = 0; j < CLVI_COUNT(temperatures); j++) {
            problem p = make(9, 12, 900, lengths[i], temperatures[j]);
            const double logit = lengths[i] * lengths[i] / temperatures[j];
            compare(*state, &p, fmax(5e-6, 4e-7 * logit));   /* a float32 logit is no better */
            p.unit_rows = lengths[i] == 1;
            compare(*state, &p, fmax(5e-6, 4e-7 * logit));
            free_problem(&p);
        }
}

static void a_maximum_that_comes_last_or_first_is_found(void **state)
{
    for (int last = 0; last < 2; last++) {
        problem p = make(5, 8, 1000, 1, 0.05);
        memcpy(p.bank + (last ? 999 : 0) * 8, p.query + 8, 8 * sizeof(double));
        for (int d = 0; d < 8; d++) p.bank[(last ? 999 : 0) * 8 + d] = 20 * (float)p.bank[(last ? 999 : 0) * 8 + d];
        compare(*state, &p, 1e-4);
        free_problem(&p);
    }
}

static void a_query_is_the_same_alone_and_in_a_batch(void **state)
{
    test_env *t = *state;
    problem p = make(300, 24, 5000, 1, 0.1);
    answer all = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    static const int64_t some[] = { 0, 7, 23, 24, 151, 299 };
    for (size_t i = 0; i < CLVI_COUNT(some); i++) {
        problem one = p;
        one.batch = 1;
        one.query += some[i] * p.dim;
        one.key += some[i] * p.dim;
        answer alone = solve(&one, fast_kernel(), CLV_F32, t->ctx);
        assert_true(alone.per_row[0] == all.per_row[some[i]]);
        assert_memory_equal(alone.dq, all.dq + some[i] * p.dim, (size_t)p.dim * sizeof(double));
        free_answer(&alone);
    }
    free_answer(&all);
    free_problem(&p);
}

/* ---- what does not count ---- */

static void check_exact_zero(test_env *t, const problem *p, int64_t row)
{
    const clvi_kernel *kernels[] = { fast_kernel(), NULL, NULL };
    for (int i = 0; i < 3; i++) {
        answer a = solve(p, kernels[i], i == 2 ? CLV_F64 : CLV_F32, t->ctx);
        assert_true(a.per_row[row] == 0);
        assert_true(a.prob_pos[row] == 1);
        for (int64_t d = 0; d < p->dim; d++) assert_true(a.dq[row * p->dim + d] == 0);
        free_answer(&a);
    }
}

static void a_query_without_negatives_is_exactly_zero(void **state)
{
    test_env *t = *state;
    for (int unit = 0; unit < 2; unit++) {
        problem empty = make(3, 10, 0, 1, 0.07), p = make(3, 10, 400, 1, 0.07);
        empty.unit_rows = p.unit_rows = unit;
        check_exact_zero(t, &empty, 1);
        p.valid = block(400, 1);
        check_exact_zero(t, &p, 2);
        memset(p.valid, 1, 400);
        p.ids = block(3, sizeof *p.ids);
        p.bank_ids = block(400, sizeof *p.bank_ids);
        p.ids[0] = 5, p.ids[1] = 8, p.ids[2] = -1;
        for (int j = 0; j < 400; j++) p.bank_ids[j] = 8;
        check_exact_zero(t, &p, 1);
        compare(t, &p, 5e-6);
        free_problem(&empty);
        free_problem(&p);
    }
}

static void an_invalid_slot_may_hold_anything(void **state)
{
    test_env *t = *state;
    problem p = make(4, 16, 500, 1, 0.1);
    p.valid = block(500, 1);
    for (int j = 0; j < 500; j++) p.valid[j] = j % 3 == 0;
    answer clean = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    for (int j = 0; j < 500; j++)
        for (int d = 0; d < 16 && !p.valid[j]; d++) p.bank[j * 16 + d] = d % 2 ? NAN : INFINITY;
    answer dirty = solve(&p, fast_kernel(), CLV_F32, t->ctx), reference = solve(&p, NULL, CLV_F32, t->ctx);
    for (int b = 0; b < 4; b++) assert_true(clean.per_row[b] == dirty.per_row[b]);
    assert_memory_equal(clean.dq, dirty.dq, 64 * sizeof(double));
    check_close(&p, &dirty, &reference, 5e-6);
    free_answer(&clean), free_answer(&dirty), free_answer(&reference);
    free_problem(&p);
}

static void negative_ids_are_nobodys(void **state)
{
    test_env *t = *state;
    problem p = make(2, 8, 300, 1, 0.1);
    answer plain = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    p.ids = block(2, sizeof *p.ids);
    p.bank_ids = block(300, sizeof *p.bank_ids);
    p.ids[0] = p.ids[1] = -1;
    for (int j = 0; j < 300; j++) p.bank_ids[j] = -1;
    answer ids = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    for (int b = 0; b < 2; b++) assert_true(plain.per_row[b] == ids.per_row[b]);
    free_answer(&plain), free_answer(&ids);
    free_problem(&p);
}

static void nan_in_a_row_that_counts_is_not_hidden(void **state)
{
    test_env *t = *state;
    for (int where = 0; where < 3; where++) {
        problem p = make(2, 8, 300, 1, 0.1);
        if (where == 0) p.query[11] = NAN;
        if (where == 1) p.key[11] = NAN;
        if (where == 2) p.bank[8 * 250 + 3] = NAN;
        answer a = solve(&p, fast_kernel(), CLV_F32, t->ctx);
        assert_true(isnan(a.per_row[1]));
        assert_true(isnan(a.dq[11]));
        assert_true(where == 2 || !isnan(a.per_row[0]));
        free_answer(&a);
        free_problem(&p);
    }
}

/* ---- rows of bfloat16 ---- */

static bool multiplies_bf16(void)
{
    return clvi_cpu_isa() == CLVI_ISA_AVX512_BF16;
}

/* The loss as good as float32; the gradient with weights rounded to 8 bits, each off by 1 in 512 at most. */
static void check_rounded_weights(const problem *p, const answer *got, const answer *want, double longest)
{
    const double logit = longest / p->temperature, tolerance = fmax(5e-6, 4e-7 * logit) + logit * 0x1p-17;
    for (int64_t b = 0; b < p->batch; b++) {
        assert_near(got->per_row[b], want->per_row[b], tolerance * (1 + want->per_row[b]));
        assert_near(got->prob_pos[b], want->prob_pos[b], tolerance);
    }
    const double largest = sqrt(longest) / p->temperature;
    for (int64_t i = 0; i < p->batch * p->dim; i++)
        assert_near(got->dq[i], want->dq[i], (0x1p-9 + 2 * tolerance) * largest);
}

/* Against the float32 kernel on the same rounded rows: to the bit where rows are only widened. */
static void compare_bf16(test_env *t, problem *p)
{
    double longest = 1e-3;
    for (int64_t i = 0; i < p->keys * p->dim; i++)
        p->bank[i] = (double)clvi_bf16_value(clvi_bf16_round(p->bank[i]));
    for (int64_t i = 0; i < 2 * p->batch + p->keys; i++) {
        const double *row = i < p->batch       ? p->query + i * p->dim
                            : i < 2 * p->batch ? p->key + (i - p->batch) * p->dim
                                               : p->bank + (i - 2 * p->batch) * p->dim;
        double sum = 0;
        for (int64_t d = 0; d < p->dim; d++) sum += row[d] * row[d];
        longest = fmax(longest, sum);
    }
    answer want = solve(p, fast_kernel(), CLV_F32, t->ctx);
    p->bf16 = true;
    answer got = solve(p, fast_kernel(), CLV_F32, t->ctx), reference = solve(p, NULL, CLV_F64, t->ctx);
    p->bf16 = false;
    if (multiplies_bf16()) {
        check_rounded_weights(p, &got, &want, longest);
        check_rounded_weights(p, &got, &reference, longest);
    } else {
        for (int64_t b = 0; b < p->batch; b++) assert_true(got.per_row[b] == want.per_row[b]);
        assert_memory_equal(got.dq, want.dq, (size_t)(p->batch * p->dim) * sizeof(double));
        if (p->temperature > 0.1) check_close(p, &got, &reference, 5e-6);
    }
    free_answer(&want), free_answer(&got), free_answer(&reference);
}

static void bfloat16_rows_give_what_float32_gives_on_them(void **state)
{
    static const int64_t shapes[][3] = {
        { 1, 1, 1 }, { 1, 17, 191 }, { 2, 16, 192 }, { 23, 15, 193 }, { 24, 33, 47 }, { 25, 48, 49 }, { 3, 160, 2047 },
        { 257, 8, 100 }, { 31, 5, 4097 }, { 3, 0, 5 }, { 0, 4, 9 }, { 5, 4, 0 }, { 2, 7, 16384 + 77 }, { 1, 300, 50 },
        { 7, 128, 385 }, { 9, 2, 3 },
    };
    for (size_t i = 0; i < CLVI_COUNT(shapes); i++)
        for (int masks = 0; masks < 2; masks++) {
            problem p = make(shapes[i][0], shapes[i][1], shapes[i][2], 1, 0.2);
            if (masks) add_masks(&p);
            compare_bf16(*state, &p);
            p.unit_rows = true;
            compare_bf16(*state, &p);
            free_problem(&p);
        }
}

static void bfloat16_rows_survive_small_temperatures_and_long_rows(void **state)
{
    static const double lengths[] = { 1, 30, 0.001 }, temperatures[] = { 0.001, 0.02, 0.03, 1, 100 };
    for (size_t i = 0; i < CLVI_COUNT(lengths); i++)
        for (size_t j = 0; j < CLVI_COUNT(temperatures); j++) {
            problem p = make(9, 12, 900, lengths[i], temperatures[j]);
            compare_bf16(*state, &p);
            p.unit_rows = lengths[i] == 1;
            compare_bf16(*state, &p);
            free_problem(&p);
        }
}

/* At the sizes of training errors of single weights average out. */
static void rounded_weights_cost_little(void **state)
{
    test_env *t = *state;
    problem p = make(48, 128, 4096, 1, 0.07);
    for (int64_t i = 0; i < p.keys * p.dim; i++) p.bank[i] = (double)clvi_bf16_value(clvi_bf16_round(p.bank[i]));
    answer want = solve(&p, NULL, CLV_F64, t->ctx);
    p.bf16 = true;
    answer got = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    double loss = 0, error = 0, size = 0;
    for (int64_t b = 0; b < p.batch; b++) loss += (got.per_row[b] - want.per_row[b]) / (double)p.batch;
    for (int64_t i = 0; i < p.batch * p.dim; i++) {
        error += pow(got.dq[i] - want.dq[i], 2);
        size += pow(want.dq[i], 2);
    }
    assert_near(loss, 0, 1e-6);
    assert_true(sqrt(error / size) < 1e-3);
    free_answer(&want), free_answer(&got);
    free_problem(&p);
}

static void bfloat16_slots_that_do_not_count_may_hold_anything(void **state)
{
    test_env *t = *state;
    problem p = make(4, 15, 500, 1, 0.1);
    p.bf16 = true;
    p.valid = block(500, 1);
    for (int j = 0; j < 500; j++) p.valid[j] = j % 3 == 0;
    answer clean = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    for (int j = 0; j < 500; j++)
        for (int d = 0; d < 15 && !p.valid[j]; d++) p.bank[j * 15 + d] = d % 2 ? NAN : INFINITY;
    answer dirty = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    for (int b = 0; b < 4; b++) assert_true(clean.per_row[b] == dirty.per_row[b]);
    assert_memory_equal(clean.dq, dirty.dq, 60 * sizeof(double));
    p.bank[3 * 15 + 7] = NAN;
    answer broken = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    for (int b = 0; b < 4; b++) assert_true(isnan(broken.per_row[b]) && isnan(broken.dq[b * 15 + 7]));
    free_answer(&clean), free_answer(&dirty), free_answer(&broken);
    free_problem(&p);
}

static void a_bfloat16_bank_without_negatives_gives_exactly_zero(void **state)
{
    problem p = make(3, 10, 400, 1, 0.07);
    p.bf16 = true;
    p.valid = block(400, 1);
    check_exact_zero(*state, &p, 2);
    free_problem(&p);
}

/* Pairs are read as words where the memory allows it. */
static void rows_at_an_odd_half_word_are_taken(void **state)
{
    test_env *t = *state;
    problem p = make(5, 16, 300, 1, 0.2);
    p.bf16 = true;
    answer want = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    p.shifted = true;
    answer got = solve(&p, fast_kernel(), CLV_F32, t->ctx);
    for (int b = 0; b < 5; b++) assert_true(got.per_row[b] == want.per_row[b]);
    assert_memory_equal(got.dq, want.dq, 80 * sizeof(double));
    free_answer(&want), free_answer(&got);
    free_problem(&p);
}

static void memory_does_not_grow_with_the_bank(void **state)
{
    test_env *t = *state;
    const clvi_bank_nce_attr attr = { .temperature = 0.2 };
    size_t scratch[2];
    for (int i = 0; i < 2; i++) {
        problem p = { .batch = 256, .dim = 128, .keys = i ? 1 << 24 : 1 << 15 };
        clvi_op_call c;
        make_call(&p, CLV_F32, t->ctx, &attr, &c);
        assert_ok(fast_kernel()->prepare(&c));
        scratch[i] = c.scratch_size;
    }
    assert_int_equal(scratch[0], scratch[1]);
    assert_true(scratch[0] < 16 * 256 * 128 * sizeof(float) + 2 * (1 << 20));
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(golden_values_are_reached),
        TEST(any_shape_agrees_with_the_reference),
        TEST(small_temperatures_and_long_rows_do_not_overflow),
        TEST(a_maximum_that_comes_last_or_first_is_found),
        TEST(a_query_is_the_same_alone_and_in_a_batch),
        TEST(a_query_without_negatives_is_exactly_zero),
        TEST(an_invalid_slot_may_hold_anything),
        TEST(negative_ids_are_nobodys),
        TEST(nan_in_a_row_that_counts_is_not_hidden),
        TEST(bfloat16_rows_give_what_float32_gives_on_them),
        TEST(bfloat16_rows_survive_small_temperatures_and_long_rows),
        TEST(rounded_weights_cost_little),
        TEST(bfloat16_slots_that_do_not_count_may_hold_anything),
        TEST(a_bfloat16_bank_without_negatives_gives_exactly_zero),
        TEST(rows_at_an_odd_half_word_are_taken),
        TEST(memory_does_not_grow_with_the_bank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa_and_bf16(run_all);
}
