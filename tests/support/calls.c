/* calls.c: a case for each operation. */
#include "tests/support/calls.h"
#include "core/checked.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VARIANTS TEST_CALL_VARIANTS
typedef test_sizes sizes;

const test_sizes test_call_sizes[] = {
    { 0, 5, 3 }, { 1, 1, 1 }, { 3, 7, 2 }, { 5, 16, 1 }, { 17, 33, 4 }, { 9, 31, 0 }, { 2, 1009, 3 }, { 130, 64, 37 },
    { 33, 128, 260 }, { 29, 40, 1500 }, { 40, 37, 8200 }, { 7, 3, 20000 },
};
const int test_call_n_sizes = CLVI_COUNT(test_call_sizes);

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

static void make_elementwise(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 3, s.a, s.b, s.c);
    if (!is(c, "relu") && !is(c, "scale")) IN(f, 3, s.a, s.b, s.c);
    OUT(f, 3, s.a, s.b, s.c);
    t->attr.add.relu = variant % 2;
    if (is(c, "scale")) t->attr.scale = (clvi_scale_attr){ .factor = -1.7, .offset = variant % 2 ? 0.3 : 0 };
}

static void make_rows(test_call *t, clv_dtype f, sizes s)
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

static void make_l2norm(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0);
    if (is(c, "l2norm_rows")) OUT(f, 2, s.a, s.b, 0), OUT(f, 1, s.a, 0, 0);
    else IN(f, 2, s.a, s.b, 0), IN(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0);
    t->attr.l2norm.eps = variant % 2 ? 1e-12 : 0.8;
    t->low = is(c, "l2norm_rows") ? -1 : 0.1;
}

static void make_softmax_xent(test_call *t, clv_dtype f, sizes s, int variant)
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
static void make_bank(test_call *t, clv_dtype f, sizes s, int variant)
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

static void make_mix_nce(test_call *t, clv_dtype f, sizes s, int variant)
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

static void make_matmul(test_call *t, clv_dtype f, sizes s, int variant)
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

static void make_columns(test_call *t, clv_dtype f, sizes s, int variant)
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

static void make_pair_dist(test_call *t, clv_dtype f, sizes s)
{
    clvi_op_call *c = &t->call;
    if (is(c, "pair_dist_bwd")) IN(f, 2, s.a, s.a, 0);
    IN(f, 2, s.a, s.b, 0);
    if (is(c, "pair_dist_bwd")) OUT(f, 2, s.a, s.b, 0);
    else OUT(f, 2, s.a, s.a, 0);
    t->depth = s.a + s.b;
}

static void make_bank_lse(test_call *t, clv_dtype f, sizes s, int variant)
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
static void make_pair_nce(test_call *t, clv_dtype f, sizes s, int variant)
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

static void make_class_pair_sums(test_call *t, clv_dtype f, sizes s, int variant)
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
static void make_reduce(test_call *t, clv_dtype f, sizes s, int variant)
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

static void make_rows_of_labels(test_call *t, clv_dtype f, sizes s)
{
    clvi_op_call *c = &t->call;
    if (is(c, "one_hot")) IN(CLV_I64, 1, s.a, 0, 0);
    else IN(f, 2, s.a, s.b, 0), IN(CLV_U8, 1, s.a, 0, 0);
    OUT(f, 2, s.a, s.b, 0);
    t->attr.one_hot = (clvi_one_hot_attr){ .classes = s.b, .dtype = f };
    t->target_limit = s.b;
}

/* Weights and labels of 0 to 1; rows that are 0 have nothing in their denominator when there is no smoothing. */
static void make_overlap(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    for (int i = 0; i < (is(c, "overlap_bwd") ? 3 : 2); i++) IN(f, 2, s.a, s.b, 0);
    OUT(f, 2, s.a, s.b, 0);
    t->attr.overlap = (clvi_overlap_attr){ .kind = variant % 3, .smooth = variant == 3 ? 0 : 0.5, .alpha = 0.3,
                                           .beta = 0.8 };
    t->low = is(c, "overlap_bwd") ? 0.1 : 0;
}

/* Cross entropies (not below 0) of every size, roots, and what has no input. */
static void make_pointwise(test_call *t, clv_dtype f, sizes s, int variant)
{
    static const double gammas[] = { 2, 0, 1, 0.7 }, largest[] = { 0.6, 3, 30, 120 };
    clvi_op_call *c = &t->call;
    const bool backward = strstr(c->op, "_bwd") != NULL, sigmoid = strncmp(c->op, "sigmoid", 7) == 0;
    const int inputs = is(c, "fill") ? 0 : 1 + sigmoid + backward;
    for (int i = 0; i < inputs; i++) IN(f, 2, s.a, s.b, 0);
    OUT(f, 2, s.a, s.b, 0);
    if (strncmp(c->op, "focal", 5) == 0) t->attr.focal = (clvi_focal_attr){ .gamma = gammas[variant] };
    if (is(c, "fill")) t->attr.shape = (clvi_shape_attr){ .ndim = 2, .shape = { s.a, s.b }, .value = 0.7 };
    t->low = sigmoid ? -largest[variant] : is(c, "sqrt_bwd") ? 0.05 : 0;
    t->high = largest[variant];
}

static void make_self_adjust(test_call *t, clv_dtype f, sizes s, int variant)
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

static void make_layer_norm(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "layer_norm_bwd");
    if (backward) IN(f, 2, s.a, s.b, 0);
    IN(f, 2, s.a, s.b, 0), IN(f, 1, s.b, 0, 0);
    if (backward) IN(f, 1, s.a, 0, 0), IN(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0), OUT(f, 1, s.b, 0, 0);
    else IN(f, 1, s.b, 0, 0), OUT(f, 2, s.a, s.b, 0), OUT(f, 1, s.a, 0, 0);
    OUT(f, 1, backward ? s.b : s.a, 0, 0);
    t->attr.layer_norm.eps = variant % 2 ? 1e-2 : 1;
    t->depth = s.a + s.b;
}

static void make_gelu(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    for (int i = 0; i < (is(c, "gelu") ? 1 : 2); i++) IN(f, 3, s.a, s.b, s.c);
    OUT(f, 3, s.a, s.b, s.c);
    t->high = variant % 2 ? 12 : 3;
    t->low = -t->high;
}

/* Two samples, one of them longer than a block of queries. */
static void make_attention(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const int64_t tokens = CLVI_MAX(s.a, 1), heads = variant + 1, wide = heads * (1 + s.b % 37);
    const int64_t rows = s.a > 0 ? 2 * tokens : 0;
    const bool backward = is(c, "attention_bwd");
    if (backward) IN(f, 2, rows, wide, 0);
    IN(f, 2, rows, 3 * wide, 0);
    if (backward) IN(f, 2, rows, wide, 0), IN(f, 3, rows / tokens, heads, tokens), OUT(f, 2, rows, 3 * wide, 0);
    else OUT(f, 2, rows, wide, 0), OUT(f, 3, rows / tokens, heads, tokens);
    t->attr.attention = (clvi_attention_attr){ .tokens = tokens, .heads = heads };
    t->low = -0.6, t->high = 0.6;
    t->depth = tokens * 4;
}

static void add_picture(clvi_desc *desc, int *count, clv_dtype f, int64_t n, int64_t channels, int64_t h, int64_t w)
{
    clvi_desc *d = add_desc(desc, count, f, 4, n, channels, h);
    d->shape[3] = w;
    clvi_desc_make_dense(d);
}

static void make_depthwise(test_call *t, clv_dtype f, sizes s, int variant)
{
    static const int64_t kernels[VARIANTS][2] = { { 7, 7 }, { 3, 3 }, { 5, 1 }, { 9, 9 } };
    clvi_op_call *c = &t->call;
    const int64_t *k = kernels[variant], pad[2] = { k[0] / 2, variant == 1 ? 0 : k[1] / 2 };
    const int64_t n = s.a % 4, channels = 1 + s.b % 40, h = 1 + s.a % 9, w = 3 + s.c % 17;
    const int64_t ow = w + 2 * pad[1] - k[1] + 1;
    if (is(c, "conv2d_bwd_data")) add_picture(c->in, &c->n_in, f, n, channels, h, ow);
    else add_picture(c->in, &c->n_in, f, n, channels, h, w);
    if (is(c, "conv2d_bwd_weights")) add_picture(c->in, &c->n_in, f, n, channels, h, ow);
    else add_picture(c->in, &c->n_in, f, channels, 1, k[0], k[1]);
    if (is(c, "conv2d")) add_picture(c->out, &c->n_out, f, n, channels, h, ow);
    else if (is(c, "conv2d_bwd_data")) add_picture(c->out, &c->n_out, f, n, channels, h, w);
    else add_picture(c->out, &c->n_out, f, channels, 1, k[0], k[1]);
    t->attr.conv2d = (clvi_conv2d_attr){ .stride = { 1, 1 }, .pad = { pad[0], pad[1] }, .in_size = { h, w },
                                         .kernel = { k[0], k[1] }, .groups = channels };
    t->depth = 81;
}

static void make_pixels(test_call *t, clv_dtype f, sizes s)
{
    clvi_op_call *c = &t->call;
    const int64_t n = s.a, channels = s.b, h = 1 + s.c % 5, w = 1 + s.c % 3;
    if (is(c, "pixel_rows")) add_picture(c->in, &c->n_in, f, n, channels, h, w), OUT(f, 2, n * h * w, channels, 0);
    else IN(f, 2, n * h * w, channels, 0), add_picture(c->out, &c->n_out, f, n, channels, h, w);
    t->attr.pixels = (clvi_pixels_attr){ .height = h, .width = w };
}

bool test_call_make(test_call *t, clv_context *ctx, const char *op, clv_dtype f, sizes s, int variant)
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
    else if (strncmp(op, "layer_norm", 10) == 0) make_layer_norm(t, f, s, variant);
    else if (strncmp(op, "gelu", 4) == 0) make_gelu(t, f, s, variant);
    else if (strncmp(op, "attention", 9) == 0) make_attention(t, f, s, variant);
    else if (strncmp(op, "conv2d", 6) == 0) make_depthwise(t, f, s, variant);
    else if (strcmp(op, "pixel_rows") == 0 || strcmp(op, "row_pixels") == 0) make_pixels(t, f, s);
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
    else if (strncmp(op, "sigmoid_xent", 12) == 0 || strncmp(op, "focal", 5) == 0 || strncmp(op, "sqrt", 4) == 0 ||
             strcmp(op, "fill") == 0)
        make_pointwise(t, f, s, variant);
    else found = false;
    return found;
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
        if (d->dtype == CLV_U8) ((unsigned char *)data)[i] = u < 0.7;
        if (d->dtype == CLV_I64) ((int64_t *)data)[i] = (int64_t)(u * (double)(t->target_limit + 1)) - 1;
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
    for (int i = 0; i < t->call.n_out; i++) t->call.wanted[i] = true;
}

void test_call_free(test_call *t)
{
    for (int i = 0; i < t->call.n_in; i++) free(t->call.in_data[i]);
}
double test_call_element(const clvi_desc *d, const void *data, int64_t i)
{
    if (d->dtype == CLV_I64) return (double)((const int64_t *)data)[i];
    return d->dtype == CLV_F64 ? ((const double *)data)[i] : ((const float *)data)[i];
}

void test_call_check_close(const test_call *t, void *got[CLVI_MAX_OUT], void *want[CLVI_MAX_OUT], int variant)
{
    const double eps = t->call.out[0].dtype == CLV_F64 ? 2e-14 : 4e-6;
    for (int o = 0; o < t->call.n_out; o++) {
        const clvi_desc *d = &t->call.out[o];
        for (int64_t i = 0; i < clvi_desc_count(d); i++) {
            const double a = test_call_element(d, got[o], i), b = test_call_element(d, want[o], i);
            const double allowed = eps * (sqrt((double)t->depth + 1) + fabs(b));
            if (!(fabs(a - b) <= allowed))
                fail_msg("%s, variant %d, input 0 [%ld,%ld], output %d[%ld]: %.9g, the reference gives %.9g",
                         t->call.op, variant, (long)t->call.in[0].shape[0], (long)t->call.in[0].shape[1], o, (long)i,
                         a, b);
        }
    }
}
