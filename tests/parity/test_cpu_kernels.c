/* test_cpu_kernels.c: every kernel of the names "cpu" and "blas" gives what the reference kernel gives, on every
 * instruction set, for awkward shapes, in place where it says so, and with the same bits for any number of threads. */
#include "core/checked.h"
#include "device/attr.h"
#include "device/device.h"
#include "tensor/op.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VARIANTS 4

/* Three sizes that each operation puts to its own use. */
typedef struct sizes {
    int64_t a, b, c;
} sizes;

static const sizes size_table[] = {
    { 0, 5, 3 }, { 1, 1, 1 }, { 3, 7, 2 }, { 5, 16, 1 }, { 17, 33, 4 }, { 9, 31, 0 }, { 2, 1009, 3 }, { 130, 64, 37 },
    { 33, 128, 260 }, { 29, 40, 1500 }, { 40, 37, 8200 }, { 7, 3, 20000 },
};

typedef struct test_case {
    clvi_op_call call;
    union {
        clvi_matmul_attr   matmul;
        clvi_add_attr      add;
        clvi_scale_attr    scale;
        clvi_l2norm_attr   l2norm;
        clvi_bank_nce_attr bank_nce;
        clvi_standardize_attr standardize;
        clvi_pair_nce_attr    pair_nce;
        clvi_bank_lse_attr    bank_lse;
        clvi_bank_topk_attr bank_topk;
        clvi_mix_attr      mix;
        clvi_reduce_attr      reduce;
        clvi_one_hot_attr     one_hot;
        clvi_overlap_attr     overlap;
        clvi_self_adjust_attr self_adjust;
    } attr;
    int64_t target_limit;    /* int64 inputs lie in [-1, target_limit) */
    double  low, high;       /* of float inputs */
    double  grid;            /* they are multiples of 1/grid: sums and ties are exact; 0: anything */
    int64_t depth;           /* how many products one result adds up */
} test_case;

static clvi_desc *add_desc(clvi_desc *desc, int *count, clv_dtype type, int ndim, int64_t d0, int64_t d1, int64_t d2)
{
    clvi_desc *d = &desc[(*count)++];
    memset(d, 0, sizeof *d);
    d->dtype = type;
    d->ndim = ndim;
    d->shape[0] = d0, d->shape[1] = d1, d->shape[2] = d2;
    if (type != CLV_DTYPE_COUNT) clvi_desc_make_dense(d);
    return d;
}

#define IN(type, ndim, d0, d1, d2)  add_desc(c->in, &c->n_in, type, ndim, d0, d1, d2)
#define OUT(type, ndim, d0, d1, d2) add_desc(c->out, &c->n_out, type, ndim, d0, d1, d2)
#define ABSENT IN(CLV_DTYPE_COUNT, 0, 0, 0, 0)

static bool is(const clvi_op_call *c, const char *op)
{
    return strcmp(c->op, op) == 0;
}

static void make_elementwise(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 3, s.a, s.b, s.c);
    if (!is(c, "relu") && !is(c, "scale")) IN(f, 3, s.a, s.b, s.c);
    OUT(f, 3, s.a, s.b, s.c);
    t->attr.add.relu = variant % 2;
    if (is(c, "scale")) t->attr.scale = (clvi_scale_attr){ .factor = -1.7, .offset = variant % 2 ? 0.3 : 0 };
}

static void make_rows(test_case *t, clv_dtype f, sizes s)
{
    clvi_op_call *c = &t->call;
    if (is(c, "add_row")) IN(f, 2, s.a, s.b, 0), IN(f, 1, s.b, 0, 0), OUT(f, 2, s.a, s.b, 0);
    else if (is(c, "scale_rows")) IN(f, 2, s.a, s.b, 0), IN(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0);
    else if (is(c, "row_dot")) IN(f, 2, s.a, s.b, 0), IN(f, 2, s.a, s.b, 0), OUT(f, 1, s.a, 0, 0);
    else if (is(c, "batched_row_dot")) IN(f, 2, s.a, s.b, 0), IN(f, 3, s.a, s.c, s.b), OUT(f, 2, s.a, s.c, 0);
    else if (is(c, "batched_row_dot_bwd_a")) IN(f, 2, s.a, s.c, 0), IN(f, 3, s.a, s.c, s.b), OUT(f, 2, s.a, s.b, 0);
    else IN(f, 2, s.a, s.c, 0), IN(f, 2, s.a, s.b, 0), OUT(f, 3, s.a, s.c, s.b);
    t->depth = is(c, "batched_row_dot_bwd_a") ? s.c : s.b;
}

static void make_l2norm(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0);
    if (is(c, "l2norm_rows")) OUT(f, 2, s.a, s.b, 0), OUT(f, 1, s.a, 0, 0);
    else IN(f, 2, s.a, s.b, 0), IN(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0);
    t->attr.l2norm.eps = variant % 2 ? 1e-12 : 0.8;
    t->low = is(c, "l2norm_rows") ? -1 : 0.1;
}

static void make_softmax_xent(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "softmax_xent_bwd");
    if (backward) IN(f, 1, s.a, 0, 0);
    IN(f, 2, s.a, s.b, 0);
    IN(CLV_I64, 1, s.a, 0, 0);
    if (variant % 2) IN(CLV_U8, 2, s.a, s.b, 0);
    else ABSENT;
    if (backward) IN(f, 1, s.a, 0, 0);
    if (backward && variant > 0) IN(f, 1, s.a, 0, 0);
    if (backward) OUT(f, 2, s.a, s.b, 0);
    else OUT(f, 1, s.a, 0, 0), OUT(f, 1, s.a, 0, 0);
    t->target_limit = s.b;
    t->low = variant < 2 ? -1 : -30;
    t->high = variant < 2 ? 1 : 30;
    if (backward) t->low = -20, t->high = 0.5;
}

/* bank_nce with a list in half of the variants, and bank_topk. */
static void make_bank(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool nce = is(c, "bank_nce");
    const int64_t top = CLVI_MIN(s.c, variant % 2 ? s.c / 3 + 1 : 100);
    IN(f, 2, s.a, s.b, 0);
    if (nce) IN(f, 2, s.a, s.b, 0);
    IN(f, 2, s.c, s.b, 0);
    if (variant % 2) IN(CLV_U8, 1, s.c, 0, 0);
    else ABSENT;
    if (variant / 2) IN(CLV_I64, 1, s.a, 0, 0), IN(CLV_I64, 1, s.c, 0, 0);
    else ABSENT, ABSENT;
    if (nce) OUT(f, 1, s.a, 0, 0), OUT(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0), OUT(f, 1, s.a, 0, 0);
    if (nce) t->attr.bank_nce = (clvi_bank_nce_attr){ .temperature = variant % 3 ? 0.7 : 0.5,
                                                      .top = variant % 3 ? 0 : top };
    else t->attr.bank_topk.top = top;
    t->target_limit = 6;
    if (nce && variant % 3) return;
    OUT(CLV_I64, 2, s.a, top, 0), OUT(f, 2, s.a, top, 0);
    t->grid = 4;
}

static void make_mix_nce(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const int64_t top = CLVI_MIN(s.c, 5), pairs = variant % 2 ? 19 : 3, queries = variant == 2 ? 0 : 11;
    IN(f, 2, s.a, s.b, 0), IN(f, 1, s.a, 0, 0), IN(f, 2, s.c, s.b, 0), IN(CLV_I64, 2, s.a, top, 0);
    IN(CLV_I64, 2, s.a, pairs, 0), IN(CLV_I64, 2, s.a, pairs, 0), IN(f, 2, s.a, pairs, 0);
    IN(CLV_I64, 2, s.a, queries, 0), IN(f, 2, s.a, queries, 0);
    OUT(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0), OUT(f, 1, s.a, 0, 0);
    t->attr.mix = (clvi_mix_attr){ .temperature = 1.5, .eps = 1e-12, .constant = variant % 2 };
    t->target_limit = CLVI_MIN(s.c, 6);
    t->depth = s.b;
}

static void make_matmul(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    t->attr.matmul = (clvi_matmul_attr){ .trans_a = variant % 2, .trans_b = variant / 2 };
    if (variant % 2) IN(f, 2, s.c, s.a, 0);
    else IN(f, 2, s.a, s.c, 0);
    if (variant / 2) IN(f, 2, s.b, s.c, 0);
    else IN(f, 2, s.c, s.b, 0);
    OUT(f, 2, s.a, s.b, 0);
    t->depth = s.c;
}

static void make_columns(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0);
    if (is(c, "scale_columns")) IN(f, 1, s.b, 0, 0);
    if (is(c, "column_dot") || is(c, "standardize_columns_bwd")) IN(f, 2, s.a, s.b, 0);
    if (is(c, "standardize_columns_bwd")) IN(f, 1, s.b, 0, 0);
    if (is(c, "column_dot")) OUT(f, 1, s.b, 0, 0);
    else OUT(f, 2, s.a, s.b, 0);
    if (is(c, "standardize_columns")) OUT(f, 1, s.b, 0, 0);
    t->attr.standardize = (clvi_standardize_attr){ .eps = variant % 2 ? 0.1 : 0.8, .unit = variant / 2 };
    t->depth = s.a;
}

static void make_pair_dist(test_case *t, clv_dtype f, sizes s)
{
    clvi_op_call *c = &t->call;
    if (is(c, "pair_dist_bwd")) IN(f, 2, s.a, s.a, 0);
    IN(f, 2, s.a, s.b, 0);
    if (is(c, "pair_dist_bwd")) OUT(f, 2, s.a, s.b, 0);
    else OUT(f, 2, s.a, s.a, 0);
    t->depth = s.a + s.b;
}

static void make_bank_lse(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0);
    IN(f, 2, s.c, s.b, 0);
    if (variant % 2) IN(CLV_U8, 1, s.c, 0, 0);
    else ABSENT;
    if (variant / 2) IN(f, 1, s.a, 0, 0);
    else ABSENT;
    OUT(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0), OUT(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.c, 0);
    t->attr.bank_lse = (clvi_bank_lse_attr){ .temperature = 1.5, .start_count = variant / 2 ? 3 : 0,
                                             .l2 = variant == 1 || variant == 2 };
    t->depth = s.b;
}

/* Numbers for which no score is above an anchor's lse, as is the case whenever the forward operation made it. */
static void make_pair_nce(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "pair_nce_bwd");
    const int64_t anchors = variant % 2 ? s.a / 2 : s.a;
    if (backward) IN(f, 1, anchors, 0, 0);
    IN(f, 2, s.a, s.b, 0);
    IN(CLV_I64, 1, s.a, 0, 0);
    if (backward) IN(f, 1, anchors, 0, 0);
    if (backward) OUT(f, 2, s.a, s.b, 0);
    else OUT(f, 1, anchors, 0, 0), OUT(f, 1, anchors, 0, 0), OUT(f, 1, anchors, 0, 0);
    t->attr.pair_nce = (clvi_pair_nce_attr){ .temperature = 4.0 * (double)CLVI_MAX(s.b, 1), .anchors = anchors };
    t->target_limit = variant / 2 ? 3 : 40;
    t->low = 0.5, t->high = 1;
}

static void make_class_pair_sums(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "class_pair_sums_bwd");
    if (backward) IN(f, 0, 0, 0, 0), IN(variant % 2 ? f : CLV_DTYPE_COUNT, 0, 0, 0, 0);
    IN(f, 2, s.a, s.b, 0);
    IN(CLV_I64, 1, s.a, 0, 0);
    for (int i = 0; i < 4 && !backward; i++) OUT(f, 0, 0, 0, 0);
    if (backward) OUT(f, 2, s.a, s.b, 0);
    t->target_limit = variant < 2 ? 7 : 1;
    t->depth = s.a * s.b;
}

/* Everything, the first axis, the last one, and a vector. */
static void make_reduce(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "reduce_bwd"), vector = variant == 3;
    const int axis = variant == 2 ? 1 : variant == 0 ? -1 : 0;
    clvi_desc *x = backward ? add_desc(c->out, &c->n_out, f, vector ? 1 : 2, s.a, s.b, 0)
                            : add_desc(c->in, &c->n_in, f, vector ? 1 : 2, s.a, s.b, 0);
    const int64_t rest = axis == 0 ? s.b : s.a;
    if (backward) IN(f, vector || axis < 0 ? 0 : 1, rest, 0, 0);
    else OUT(f, vector || axis < 0 ? 0 : 1, rest, 0, 0);
    t->attr.reduce = (clvi_reduce_attr){ .axis = axis, .mean = s.a % 2, .ndim = x->ndim, .shape = { s.a, s.b } };
    t->depth = s.a * s.b;
}

static void make_rows_of_labels(test_case *t, clv_dtype f, sizes s)
{
    clvi_op_call *c = &t->call;
    if (is(c, "one_hot")) IN(CLV_I64, 1, s.a, 0, 0);
    else IN(f, 2, s.a, s.b, 0), IN(CLV_U8, 1, s.a, 0, 0);
    OUT(f, 2, s.a, s.b, 0);
    t->attr.one_hot = (clvi_one_hot_attr){ .classes = s.b, .dtype = f };
    t->target_limit = s.b;
}

/* Weights and labels of 0 to 1; rows that are 0 have nothing in their denominator when there is no smoothing. */
static void make_overlap(test_case *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    for (int i = 0; i < (is(c, "overlap_bwd") ? 3 : 2); i++) IN(f, 2, s.a, s.b, 0);
    OUT(f, 2, s.a, s.b, 0);
    t->attr.overlap = (clvi_overlap_attr){ .kind = variant % 3, .smooth = variant == 3 ? 0 : 0.5, .alpha = 0.3,
                                           .beta = 0.8 };
    t->low = is(c, "overlap_bwd") ? 0.1 : 0;
}

static void make_self_adjust(test_case *t, clv_dtype f, sizes s, int variant)
{
    static const double alphas[VARIANTS] = { 0, 0.5, 2, 0.02 };
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "self_adjust_bwd");
    if (backward) IN(f, 2, s.a, s.b, 0);
    IN(f, 2, s.a, s.b, 0);
    OUT(f, 2, s.a, s.b, 0);
    if (!backward) OUT(f, 2, s.a, s.b, 0);
    t->attr.self_adjust = (clvi_self_adjust_attr){ .alpha = alphas[variant], .logits = true };
    t->high = backward ? 4 : variant == 3 ? 300 : 30;     /* 300: 1-p is below every float */
    t->low = -t->high;
    t->depth = s.b;
}

/* False: nobody wrote a case for the operation. */
static bool make_case(test_case *t, clv_context *ctx, const char *op, clv_dtype f, sizes s, int variant)
{
    memset(t, 0, sizeof *t);
    t->call.ctx = ctx;
    t->call.op = op;
    t->call.attr = &t->attr;
    t->low = -1, t->high = 1, t->depth = 1;
    static const char *const elementwise[] = { "relu", "relu_bwd", "add", "sub", "mul", "scale" };
    bool found = true;
    for (size_t i = 0; i < CLVI_COUNT(elementwise); i++)
        if (strcmp(op, elementwise[i]) == 0) {
            make_elementwise(t, f, s, variant);
            return true;
        }
    if (strcmp(op, "one_hot") == 0 || strcmp(op, "mask_rows") == 0) make_rows_of_labels(t, f, s);
    else if (strstr(op, "row") == op || strstr(op, "_row") != NULL) {
        if (strncmp(op, "l2norm", 6) == 0) make_l2norm(t, f, s, variant);
        else make_rows(t, f, s);
    } else if (strncmp(op, "softmax_xent", 12) == 0) make_softmax_xent(t, f, s, variant);
    else if (strncmp(op, "class_pair_sums", 15) == 0) make_class_pair_sums(t, f, s, variant);
    else if (strcmp(op, "bank_nce") == 0 || strcmp(op, "bank_topk") == 0) make_bank(t, f, s, variant);
    else if (strcmp(op, "mix_nce") == 0) make_mix_nce(t, f, s, variant);
    else if (strcmp(op, "matmul") == 0) make_matmul(t, f, s, variant);
    else if (strstr(op, "column") != NULL) make_columns(t, f, s, variant);
    else if (strncmp(op, "reduce", 6) == 0) make_reduce(t, f, s, variant);
    else if (strncmp(op, "overlap", 7) == 0) make_overlap(t, f, s, variant);
    else if (strncmp(op, "self_adjust", 11) == 0) make_self_adjust(t, f, s, variant);
    else if (strncmp(op, "pair_dist", 9) == 0) make_pair_dist(t, f, s);
    else if (strcmp(op, "bank_lse") == 0) make_bank_lse(t, f, s, variant);
    else if (strncmp(op, "pair_nce", 8) == 0) make_pair_nce(t, f, s, variant);
    else found = false;
    return found;
}

/* ---- memory and running ---- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void fill_input(const test_case *t, const clvi_desc *d, void *data, uint64_t *state)
{
    const int64_t n = clvi_desc_count(d), cols = d->ndim > 1 ? d->shape[1] : 1;
    for (int64_t i = 0; i < n; i++) {
        const double u = (double)next_random(state) / 2147483648.0;
        const bool zero_row = d->ndim == 2 && (i / cols) % 5 == 3;
        double value = zero_row ? 0 : t->low + u * (t->high - t->low);
        if (t->grid > 0) value = round(value * t->grid) / t->grid;
        if (d->dtype == CLV_F32) ((float *)data)[i] = (float)value;
        if (d->dtype == CLV_F64) ((double *)data)[i] = value;
        if (d->dtype == CLV_U8) ((unsigned char *)data)[i] = u < 0.7;
        if (d->dtype == CLV_I64) ((int64_t *)data)[i] = (int64_t)(u * (double)(t->target_limit + 1)) - 1;
    }
}

/* Exactly as large as the value, so that a checker of memory sees a step too far. */
static void *exactly(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    assert_non_null(memory);
    return memory;
}

static void make_inputs(test_case *t)
{
    uint64_t state = 7;
    for (int i = 0; i < t->call.n_in; i++) {
        if (t->call.in[i].dtype == CLV_DTYPE_COUNT) continue;
        t->call.in_data[i] = exactly(t->call.in[i].bytes);
        fill_input(t, &t->call.in[i], t->call.in_data[i], &state);
    }
    for (int i = 0; i < t->call.n_out; i++) t->call.wanted[i] = true;
}

static void free_case(test_case *t)
{
    for (int i = 0; i < t->call.n_in; i++) free(t->call.in_data[i]);
}

/* Runs a kernel on the case's inputs into new, poisoned outputs (0xff bytes are NaN in every float type). */
static void run_kernel(const test_case *t, const clvi_kernel *k, clv_context *ctx, void *out[CLVI_MAX_OUT],
                       bool in_place)
{
    clvi_op_call c = t->call;
    c.ctx = ctx;
    if (k->prepare) assert_ok(k->prepare(&c));
    void *shared[CLVI_MAX_OUT] = { NULL };
    for (int i = 0; i < c.n_out; i++) {
        out[i] = exactly(c.out[i].bytes);
        memset(out[i], 0xff, c.out[i].bytes);
        c.out_data[i] = out[i];
        if (!in_place || !k->in_place[i]) continue;
        const int from = k->in_place[i] - 1;
        assert_int_equal(c.in[from].bytes, c.out[i].bytes);
        shared[i] = exactly(c.in[from].bytes);
        memcpy(shared[i], c.in_data[from], c.in[from].bytes);
        c.in_data[from] = c.out_data[i] = shared[i];
    }
    c.scratch = exactly(c.scratch_size);
    memset(c.scratch, 0xff, c.scratch_size);
    assert_ok(k->run(&c));
    if (k->release) k->release(&c);
    free(c.scratch);
    for (int i = 0; i < c.n_out; i++) {
        if (!shared[i]) continue;
        memcpy(out[i], shared[i], c.out[i].bytes);
        free(shared[i]);
    }
}

static void free_outputs(const test_case *t, void *out[CLVI_MAX_OUT])
{
    for (int i = 0; i < t->call.n_out; i++) free(out[i]);
}

static double element(const clvi_desc *d, const void *data, int64_t i)
{
    if (d->dtype == CLV_I64) return (double)((const int64_t *)data)[i];
    return d->dtype == CLV_F64 ? ((const double *)data)[i] : ((const float *)data)[i];
}

static void check_close(const test_case *t, void *got[CLVI_MAX_OUT], void *want[CLVI_MAX_OUT], int variant)
{
    const double eps = t->call.out[0].dtype == CLV_F64 ? 2e-14 : 4e-6;
    for (int o = 0; o < t->call.n_out; o++) {
        const clvi_desc *d = &t->call.out[o];
        for (int64_t i = 0; i < clvi_desc_count(d); i++) {
            const double a = element(d, got[o], i), b = element(d, want[o], i);
            const double allowed = eps * (sqrt((double)t->depth + 1) + fabs(b));
            if (!(fabs(a - b) <= allowed))
                fail_msg("%s, variant %d, input 0 [%ld,%ld], output %d[%ld]: %.9g, the reference gives %.9g",
                         t->call.op, variant, (long)t->call.in[0].shape[0], (long)t->call.in[0].shape[1], o, (long)i, a, b);
        }
    }
}

typedef void (*case_fn)(test_env *env, const clvi_kernel *k, test_case *t, int variant);

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
        for (size_t n = 0; n < 2 * CLVI_COUNT(size_table) * VARIANTS; n++) {
            test_case t;
            const int variant = (int)(n % VARIANTS);
            const sizes s = size_table[n / VARIANTS % CLVI_COUNT(size_table)];
            if (s.a * s.b * s.c > 500000 && strcmp(k->op, "matmul") != 0) continue;   /* only its depth matters */
            if (!make_case(&t, env->ctx, k->op, types[n / VARIANTS / CLVI_COUNT(size_table)], s, variant))
                fail_msg("no test case for the operation %s", k->op);
            if (k->accepts && !k->accepts(&t.call)) continue;
            make_inputs(&t);
            fn(env, k, &t, variant);
            free_case(&t);
            ran++;
        }
        if (ran < 8) fail_msg("%s/%s ran %d cases only", k->name, k->op, ran);
    }
}

/* ---- tests ---- */

static void compare_with_reference(test_env *env, const clvi_kernel *k, test_case *t, int variant)
{
    void *got[CLVI_MAX_OUT], *want[CLVI_MAX_OUT];
    const clvi_kernel *reference = clvi_kernel_find(&t->call, true);
    assert_non_null(reference);
    run_kernel(t, reference, env->ctx, want, false);
    run_kernel(t, k, env->ctx, got, false);
    check_close(t, got, want, variant);
    free_outputs(t, got);
    free_outputs(t, want);
}

static void every_kernel_agrees_with_the_reference(void **state)
{
    for_each_case(*state, compare_with_reference);
}

static void compare_thread_counts(test_env *env, const clvi_kernel *k, test_case *t, int variant)
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

static void compare_in_place(test_env *env, const clvi_kernel *k, test_case *t, int variant)
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
    test_case t;
    static const char *const ops[] = { "relu", "relu_bwd", "add", "sub", "mul", "scale" };
    for (size_t i = 0; i < CLVI_COUNT(ops); i++) {
        assert_true(make_case(&t, env->ctx, ops[i], CLV_F32, (sizes){ 2, 3, 5 }, 0));
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
    test_case t;
    assert_true(make_case(&t, env->ctx, "scale", CLV_F32, (sizes){ 2, 3, 5 }, 1));
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
    test_case t;
    assert_true(make_case(&t, env->ctx, "add", CLV_F32, (sizes){ 4, 3, 5 }, 0));
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
    test_case t;
    static const char *const ops[] = { "relu", "add", "softmax_xent", "l2norm_rows" };
    for (size_t i = 0; i < CLVI_COUNT(ops); i++) {
        assert_true(make_case(&t, env->ctx, ops[i], CLV_F32, (sizes){ 1, 40, 1 }, 2));
        make_inputs(&t);
        ((float *)t.call.in_data[0])[21] = NAN;
        if (t.call.in[1].dtype == CLV_I64) ((int64_t *)t.call.in_data[1])[0] = 3;
        void *out[CLVI_MAX_OUT];
        run_kernel(&t, find_cpu(&t.call), env->ctx, out, false);
        const int64_t at = t.call.out[0].shape[1] > 1 ? 21 : 0;
        if (!isnan(((float *)out[0])[at])) fail_msg("%s hides a NaN", ops[i]);
        free_outputs(&t, out);
        free_case(&t);
    }
}

static void softmax_target_out_of_range_is_refused(void **state)
{
    test_env *env = *state;
    test_case t;
    assert_true(make_case(&t, env->ctx, "softmax_xent", CLV_F32, (sizes){ 3, 4, 1 }, 0));
    make_inputs(&t);
    ((int64_t *)t.call.in_data[1])[2] = 4;
    float out[2][3];
    t.call.out_data[0] = out[0], t.call.out_data[1] = out[1];
    assert_fails(find_cpu(&t.call)->run(&t.call), CLV_ERR_INVALID, "target of row 2 is 4, want less than 4");
    const clvi_kernel *reference = clvi_kernel_find(&t.call, true);
    assert_fails(reference->run(&t.call), CLV_ERR_INVALID, "target of row 2 is 4, want less than 4");
    free_case(&t);
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
        TEST(softmax_target_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa(run_all);
}
