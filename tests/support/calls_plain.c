/* calls_plain.c: calls of elements, rows, shapes and labels. */
#include "tests/support/calls_make.h"
#include <math.h>

static void make_elementwise(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 3, s.a, s.b, s.c);
    if (!is(c, "relu") && !is(c, "scale")) IN(f, 3, s.a, s.b, s.c);
    OUT(f, 3, s.a, s.b, s.c);
    t->attr.add.relu = variant % 2;
    if (is(c, "div")) t->grid = 4;      /* 0 and -0 among the divisors */
    if (is(c, "scale")) t->attr.scale = (clvi_scale_attr){ .factor = -1.7, .offset = variant % 2 ? 0.3 : 0 };
}

static void make_rows(test_call *t, clv_dtype f, sizes s, int variant)
{
    (void)variant;
    clvi_op_call *c = &t->call;
    if (is(c, "add_column")) IN(f, 2, s.a, s.b, 0), IN(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0);
    else if (is(c, "add_row")) IN(f, 2, s.a, s.b, 0), IN(f, 1, s.b, 0, 0), OUT(f, 2, s.a, s.b, 0);
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

/* Everything, the first axis, the last one, the one between; of a vector, too. */
static void make_reduce(test_call *t, clv_dtype f, sizes s, int variant)
{
    static const int axes[] = { -1, 0, 1, 1 };
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "reduce_bwd"), vector = variant == 0 && s.a % 2, middle = variant == 3;
    const int axis = vector ? 0 : axes[variant], ndim = vector ? 1 : middle ? 3 : 2;
    const int left = axis < 0 ? 0 : ndim - 1;
    const int64_t first = axis == 0 ? s.b : s.a;
    if (backward) IN(f, left, first, s.c, 0), OUT(f, ndim, s.a, s.b, s.c);
    else IN(f, ndim, s.a, s.b, s.c), OUT(f, left, first, s.c, 0);
    t->attr.reduce = (clvi_reduce_attr){ .axis = axis, .mean = s.b % 2, .ndim = ndim, .shape = { s.a, s.b, s.c } };
    t->depth = s.a * s.b;
}

static void make_rows_of_labels(test_call *t, clv_dtype f, sizes s, int variant)
{
    (void)variant;
    clvi_op_call *c = &t->call;
    if (is(c, "one_hot")) IN(CLV_I64, 1, s.a, 0, 0);
    else IN(f, 2, s.a, s.b, 0), IN(CLV_U8, 1, s.a, 0, 0);
    OUT(f, 2, s.a, s.b, 0);
    t->attr.one_hot = (clvi_one_hot_attr){ .classes = s.b, .dtype = f };
    t->target_limit = s.b;
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

static void make_gelu(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    for (int i = 0; i < (is(c, "gelu") ? 1 : 2); i++) IN(f, 3, s.a, s.b, s.c);
    OUT(f, 3, s.a, s.b, s.c);
    t->high = variant % 2 ? 12 : 3;
    t->low = -t->high;
}

static void make_pixels(test_call *t, clv_dtype f, sizes s, int variant)
{
    (void)variant;
    clvi_op_call *c = &t->call;
    const int64_t n = s.a, channels = s.b, h = 1 + s.c % 5, w = 1 + s.c % 3;
    if (is(c, "pixel_rows")) test_call_picture(c->in, &c->n_in, f, n, channels, h, w), OUT(f, 2, n * h * w, channels, 0);
    else IN(f, 2, n * h * w, channels, 0), test_call_picture(c->out, &c->n_out, f, n, channels, h, w);
    t->attr.pixels = (clvi_pixels_attr){ .height = h, .width = w };
}

/* abs, softplus, clamp and their gradients; the grid puts some values on the corners. */
static void make_unary(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 3, s.a, s.b, s.c);
    if (strstr(c->op, "_bwd")) IN(f, 3, s.a, s.b, s.c);
    OUT(f, 3, s.a, s.b, s.c);
    t->attr.clamp = (clvi_clamp_attr){ .low = variant % 2 ? -0.5 : -INFINITY, .high = variant / 2 ? 0.25 : INFINITY };
    t->high = strncmp(c->op, "softplus", 8) == 0 ? 100 : 2;
    t->low = -t->high;
    t->grid = variant == 3 ? 4 : 0;
}

/* lambda: one number, one a row, one a column, one each; an index in half of them, which may point nowhere. */
static void make_lerp(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    if (variant == 1) ABSENT;
    else IN(f, 2, s.a, s.b, 0);
    if (variant == 2) ABSENT;
    else IN(f, 2, s.a, s.b, 0);
    IN(f, 2, variant / 2 ? s.a : 1, variant % 2 ? s.b : 1, 0);
    if (variant == 0 || variant == 3) IN(CLV_I64, 1, s.a, 0, 0);
    else ABSENT;
    OUT(f, 2, s.a, s.b, 0);
    t->target_limit = s.a;
    t->low = 0;
}

static void make_row_stats(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0);
    for (int i = 0; i < 3; i++) OUT(f, 1, s.a, 0, 0);
    t->attr.row_stats.factor = variant == 3 ? 200 : 2;      /* 200: beyond float32 */
    t->high = variant == 3 ? 0.4 : 1;
    t->depth = s.b;
}

static void make_mask(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0);
    if (variant % 2) IN(CLV_U8, 1, s.b, 0, 0);
    else IN(CLV_U8, 2, s.a, s.b, 0);
    OUT(f, 2, s.a, s.b, 0);
}

/* ---- moving elements ---- */

static clv_dtype moved_type(clv_dtype f, int variant)
{
    return variant == 1 ? CLV_I64 : variant == 2 ? CLV_U8 : f;
}

static void make_concat(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const clv_dtype type = moved_type(f, variant);
    const int axis = variant % 3;
    int64_t shape[3] = { s.a, s.b, s.c }, sum = 0;
    for (int64_t k = 0; k < 3; k++) {
        shape[axis] = k * 2;                                  /* the first one is empty */
        sum += shape[axis];
        IN(type, 3, shape[0], shape[1], shape[2]);
    }
    shape[axis] = sum;
    OUT(type, 3, shape[0], shape[1], shape[2]);
    t->attr.concat.axis = axis;
    t->target_limit = 5;
}

static void make_slice(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const clv_dtype type = is(c, "slice") ? moved_type(f, variant) : f;
    const int axis = variant % 3;
    int64_t full[3] = { s.a, s.b, s.c }, part[3] = { s.a, s.b, s.c };
    const int64_t begin = full[axis] / 3, length = (full[axis] - begin) / 2;
    part[axis] = length;
    const int64_t *in = is(c, "slice") ? full : part, *out = is(c, "slice") ? part : full;
    IN(type, 3, in[0], in[1], in[2]);
    OUT(type, 3, out[0], out[1], out[2]);
    t->attr.slice = (clvi_slice_attr){ .axis = axis, .begin = begin, .length = length, .full = full[axis] };
    t->target_limit = 5;
}

/* From row-major to an order of dimensions of its own. */
static void make_reorder(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const clv_dtype type = variant == 3 ? CLV_BF16 : moved_type(f, variant);
    IN(type, 3, s.a, s.b, s.c);
    clvi_desc *y = OUT(type, 3, s.a, s.b, s.c);
    if (variant % 2) y->stride[0] = 1, y->stride[1] = s.a * s.c, y->stride[2] = s.a;
    else y->stride[0] = s.b * s.c, y->stride[1] = 1, y->stride[2] = s.b;
    t->target_limit = 5;
}

static void make_transpose(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const clv_dtype type = moved_type(f, variant);
    if (is(c, "add_transpose")) IN(f, 2, s.a, s.a, 0), OUT(f, 2, s.a, s.a, 0);
    else IN(type, 3, s.a, s.b, s.c), OUT(type, 3, s.b, s.a, s.c);
    t->target_limit = 5;
}

static void make_iota(test_call *t, clv_dtype f, sizes s, int variant)
{
    (void)f;
    clvi_op_call *c = &t->call;
    const clv_dtype type = variant % 2 ? CLV_U8 : CLV_I64;
    OUT(type, 1, s.a, 0, 0);
    t->attr.iota = (clvi_iota_attr){ .dtype = type, .length = s.a, .first = variant, .step = variant - 1 };
}

static void make_widen(test_call *t, clv_dtype f, sizes s, int variant)
{
    (void)variant;
    clvi_op_call *c = &t->call;
    IN(CLV_BF16, 2, s.a, s.b, 0), OUT(f, 2, s.a, s.b, 0);
    t->attr.widen.dtype = f;
}

/* ---- labels ---- */

static void make_labels(test_call *t, clv_dtype f, sizes s, int variant)
{
    (void)f;
    clvi_op_call *c = &t->call;
    const bool alone = is(c, "ignore_label");
    IN(CLV_I64, 1, s.a, 0, 0);
    if (is(c, "ids_differ")) IN(CLV_I64, 1, s.b, 0, 0);
    if (alone) OUT(CLV_I64, 1, s.a, 0, 0);
    else OUT(CLV_U8, 2, s.a, is(c, "ids_differ") ? s.b : s.a, 0);
    if (alone) t->attr.ignore_label.label = variant;
    else t->attr.label_pairs = (clvi_label_pairs_attr){ .same = variant % 2, .upper = variant / 2 };
    t->target_limit = 4;
}

const test_call_entry test_calls_plain[] = {
    { "relu", make_elementwise, EXACT }, { "relu_bwd", make_elementwise, EXACT },
    { "add", make_elementwise, POINTWISE }, { "sub", make_elementwise, POINTWISE },
    { "mul", make_elementwise, POINTWISE }, { "div", make_elementwise, POINTWISE },
    { "scale", make_elementwise, POINTWISE }, { "add_row", make_rows, POINTWISE },
    { "add_column", make_rows, POINTWISE }, { "scale_rows", make_rows, POINTWISE }, { "row_dot", make_rows, SUMS },
    { "batched_row_dot", make_rows, SUMS }, { "batched_row_dot_bwd_a", make_rows, SUMS },
    { "batched_row_dot_bwd_b", make_rows, SUMS }, { "l2norm_rows", make_l2norm, SUMS },
    { "l2norm_rows_bwd", make_l2norm, SUMS }, { "reduce", make_reduce, SUMS },
    { "reduce_bwd", make_reduce, POINTWISE }, { "one_hot", make_rows_of_labels, EXACT },
    { "mask_rows", make_rows_of_labels, EXACT }, { "sigmoid_xent", make_pointwise, POINTWISE },
    { "sigmoid_xent_bwd", make_pointwise, POINTWISE }, { "focal", make_pointwise, POINTWISE },
    { "focal_bwd", make_pointwise, POINTWISE }, { "sqrt", make_pointwise, POINTWISE },
    { "sqrt_bwd", make_pointwise, POINTWISE }, { "fill", make_pointwise, EXACT }, { "gelu", make_gelu, POINTWISE },
    { "gelu_bwd", make_gelu, POINTWISE }, { "pixel_rows", make_pixels, EXACT },
    { "row_pixels", make_pixels, EXACT }, { "abs", make_unary, EXACT }, { "abs_bwd", make_unary, EXACT },
    { "softplus", make_unary, POINTWISE }, { "softplus_bwd", make_unary, POINTWISE },
    { "clamp", make_unary, EXACT }, { "clamp_bwd", make_unary, EXACT }, { "lerp", make_lerp, POINTWISE },
    { "row_stats", make_row_stats, SUMS }, { "mask", make_mask, EXACT }, { "concat", make_concat, EXACT },
    { "slice", make_slice, EXACT }, { "slice_bwd", make_slice, EXACT }, { "reorder", make_reorder, EXACT },
    { "transpose", make_transpose, EXACT }, { "add_transpose", make_transpose, POINTWISE },
    { "iota", make_iota, EXACT }, { "widen", make_widen, EXACT }, { "ignore_label", make_labels, EXACT },
    { "ids_differ", make_labels, EXACT }, { "label_pairs", make_labels, EXACT },
    { NULL, NULL, SUMS },
};
