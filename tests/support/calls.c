/* calls.c: calls of every operation, their memory and their comparison. */
#include "tests/support/calls_make.h"
#include "core/bf16.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const test_sizes test_call_sizes[] = {
    { 0, 5, 3 }, { 1, 1, 1 }, { 3, 7, 2 }, { 5, 16, 1 }, { 17, 33, 4 }, { 9, 31, 0 }, { 2, 1009, 3 }, { 130, 64, 37 },
    { 5, 11, 300 }, { 33, 128, 260 }, { 29, 40, 1500 }, { 40, 37, 8200 }, { 7, 3, 20000 },
};
const int test_call_n_sizes = CLVI_COUNT(test_call_sizes);

/* ---- making ---- */

clvi_desc *test_call_desc(clvi_desc *desc, int *count, clv_dtype type, int ndim, int64_t d0, int64_t d1, int64_t d2)
{
    clvi_desc *d = &desc[(*count)++];
    memset(d, 0, sizeof *d);
    d->dtype = type;
    d->ndim = ndim;
    d->shape[0] = d0, d->shape[1] = d1, d->shape[2] = d2;
    if (type != CLV_DTYPE_COUNT) clvi_desc_make_dense(d);
    return d;
}

void test_call_picture(clvi_desc *desc, int *count, clv_dtype type, int64_t n, int64_t channels, int64_t h, int64_t w)
{
    clvi_desc *d = test_call_desc(desc, count, type, 4, n, channels, h);
    d->shape[3] = w;
    clvi_desc_make_dense(d);
}

static const test_call_entry *find_entry(const char *op)
{
    static const test_call_entry *const families[] = { test_calls_plain, test_calls_losses, test_calls_networks,
                                                       test_calls_banks };
    for (size_t f = 0; f < CLVI_COUNT(families); f++)
        for (const test_call_entry *e = families[f]; e->op; e++)
            if (strcmp(e->op, op) == 0) return e;
    return NULL;
}

bool test_call_make(test_call *t, clv_context *ctx, const char *op, clv_dtype type, test_sizes s, int variant)
{
    const test_call_entry *entry = find_entry(op);
    memset(t, 0, sizeof *t);
    t->call.ctx = ctx;
    t->call.op = op;
    t->call.attr = &t->attr;
    t->low = -1, t->high = 1, t->depth = 1;
    if (!entry) return false;
    t->kind = entry->kind;
    entry->make(t, type, s, variant);
    return true;
}

/* ---- memory ---- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void fill_input(const test_call *t, const clvi_desc *d, void *data, uint64_t *state)
{
    const int64_t n = clvi_desc_count(d), cols = d->ndim > 1 ? d->shape[1] : 1;
    for (int64_t i = 0; i < n; i++) {
        const double u = (double)next_random(state) / 2147483648.0;
        const bool zero_row = d->ndim == 2 && (i / cols) % 5 == 3;
        double value = zero_row ? 0 : t->low + u * (t->high - t->low);
        if (t->grid > 0) value = round(value * t->grid) / t->grid;
        if (d->dtype == CLV_F32) ((float *)data)[i] = (float)value;
        if (d->dtype == CLV_F64) ((double *)data)[i] = value;
        if (d->dtype == CLV_BF16) ((uint16_t *)data)[i] = clvi_bf16_round((float)value);
        if (d->dtype == CLV_U8) ((unsigned char *)data)[i] = u < 0.7;
        if (d->dtype == CLV_I64) ((int64_t *)data)[i] = (int64_t)(u * (double)(t->target_limit + 1)) - 1;
    }
}

/* max_pool2d_bwd: for each result of a pool which pixel of its plane was the largest, any one under it. */
static void fill_winners(test_call *t)
{
    const clvi_pool2d_attr *a = &t->attr.pool2d;
    const int64_t *x = t->call.out[0].shape, *y = t->call.in[0].shape;
    int64_t *winner = t->call.in_data[1];
    uint64_t state = 9;
    for (int64_t i = 0; i < clvi_desc_count(&t->call.in[0]); i++) {
        const int64_t at[2] = { i / y[3] % y[2], i % y[3] };
        winner[i] = 0;
        for (int d = 0; d < 2; d++) {
            const int64_t begin = at[d] * a->stride[d] - a->pad[d], first = CLVI_MAX(begin, 0);
            const int64_t count = CLVI_MIN(begin + a->kernel[d], x[2 + d]) - first;
            winner[i] = winner[i] * x[2 + d] + first + (int64_t)(next_random(&state) % (uint64_t)count);
        }
    }
}

void *test_call_block(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    assert_non_null(memory);
    return memory;
}

void test_call_fill(test_call *t)
{
    uint64_t state = 7;
    for (int i = 0; i < t->call.n_in; i++) {
        if (t->call.in[i].dtype == CLV_DTYPE_COUNT) continue;
        t->call.in_data[i] = test_call_block(t->call.in[i].bytes);
        fill_input(t, &t->call.in[i], t->call.in_data[i], &state);
    }
    if (is(&t->call, "max_pool2d_bwd")) fill_winners(t);
    for (int i = 0; i < t->call.n_out; i++) t->call.wanted[i] = true;
}

void test_call_free(test_call *t)
{
    for (int i = 0; i < t->call.n_in; i++) free(t->call.in_data[i]);
}
double test_call_element(const clvi_desc *d, const void *data, int64_t i)
{
    switch (d->dtype) {
    case CLV_F64: return ((const double *)data)[i];
    case CLV_F32: return ((const float *)data)[i];
    case CLV_BF16: return clvi_bf16_value(((const uint16_t *)data)[i]);
    case CLV_I64: return (double)((const int64_t *)data)[i];
    default: return ((const unsigned char *)data)[i];
    }
}

void test_call_check_close(const test_call *t, void *got[CLVI_MAX_OUT], void *want[CLVI_MAX_OUT], int variant)
{
    const double eps = t->call.out[0].dtype == CLV_F64 ? 2e-14 : 4e-6;
    for (int o = 0; o < t->call.n_out; o++) {
        const clvi_desc *d = &t->call.out[o];
        const bool exact = t->kind == TEST_CALL_EXACT || d->dtype == CLV_I64 || d->dtype == CLV_U8;
        for (int64_t i = 0; i < clvi_desc_count(d); i++) {
            const double a = test_call_element(d, got[o], i), b = test_call_element(d, want[o], i);
            const double unit = fabs(b) / 128;                                       /* in the last of 8 bits */
            const double rounding = (d->dtype == CLV_BF16 || t->rounds ? unit : 0) + t->slack[o];
            const double allowed = exact ? 0 : eps * (sqrt((double)t->depth + 1) + fabs(b)) + rounding;
            if (a != b && !(fabs(a - b) <= allowed))      /* equal: infinities, too */
                fail_msg("%s, variant %d, input 0 [%ld,%ld], output %d[%ld]: %.9g, the reference gives %.9g",
                         t->call.op, variant, (long)t->call.in[0].shape[0], (long)t->call.in[0].shape[1], o, (long)i,
                         a, b);
        }
    }
}
