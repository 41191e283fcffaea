/* calls_networks.c: calls of the operations of networks. */
#include "tests/support/calls_make.h"
#include "device/flat.h"

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

/* The three values of a convolution as the operation has them: x, w and y. */
static void conv_operands(test_call *t, clv_dtype f, const int64_t x[4], const int64_t w[4], const clvi_conv2d_attr *a)
{
    clvi_op_call *c = &t->call;
    const int64_t y[4] = { x[0], w[0], (x[2] + 2 * a->pad[0] - w[2]) / a->stride[0] + 1,
                           (x[3] + 2 * a->pad[1] - w[3]) / a->stride[1] + 1 };
    const int64_t *const first = is(c, "conv2d_bwd_data") ? y : x, *const second = is(c, "conv2d_bwd_weights") ? y : w;
    const int64_t *const result = is(c, "conv2d_bwd_data") ? x : is(c, "conv2d_bwd_weights") ? w : y;
    test_call_picture(c->in, &c->n_in, f, first[0], first[1], first[2], first[3]);
    test_call_picture(c->in, &c->n_in, f, second[0], second[1], second[2], second[3]);
    test_call_picture(c->out, &c->n_out, f, result[0], result[1], result[2], result[3]);
}

static void make_depthwise(test_call *t, clv_dtype f, sizes s, int variant)
{
    static const int64_t kernels[VARIANTS][2] = { { 7, 7 }, { 3, 3 }, { 5, 1 }, { 9, 9 } };
    const int64_t *k = kernels[variant], n = s.a % 4, channels = 1 + s.b % 40, h = 1 + s.a % 9, w = 3 + s.c % 17;
    t->attr.conv2d = (clvi_conv2d_attr){ .stride = { 1, 1 }, .pad = { k[0] / 2, variant == 1 ? 0 : k[1] / 2 },
                                         .in_size = { h, w }, .kernel = { k[0], k[1] }, .groups = channels };
    conv_operands(t, f, (int64_t[]){ n, channels, h, w }, (int64_t[]){ channels, 1, k[0], k[1] }, &t->attr.conv2d);
    t->depth = 81;
}

static clvi_conv2d_attr make_dense_conv(test_call *t, clv_dtype f, sizes s, int variant)
{
    static const clvi_conv2d_attr kinds[VARIANTS] = {
        { .stride = { 1, 1 }, .pad = { 1, 1 }, .kernel = { 3, 3 } }, { .stride = { 2, 2 }, .kernel = { 1, 1 } },
        { .stride = { 2, 2 }, .pad = { 3, 3 }, .kernel = { 7, 7 } },
        { .stride = { 2, 1 }, .pad = { 1, 0 }, .kernel = { 3, 2 } },
    };
    const int64_t n = s.a % 4, from = 1 + s.b % 9, to = 1 + s.b % 13, h = 5 + s.a % 5, w = 4 + s.c % 7;
    clvi_conv2d_attr a = kinds[variant];
    a.in_size[0] = h, a.in_size[1] = w, a.groups = 1;
    conv_operands(t, f, (int64_t[]){ n, from, h, w }, (int64_t[]){ to, from, a.kernel[0], a.kernel[1] }, &a);
    t->depth = CLVI_MAX(from, to) * 49;
    return a;
}

static void make_conv2d(test_call *t, clv_dtype f, sizes s, int variant)
{
    if (s.c % 4) make_depthwise(t, f, s, variant);
    else t->attr.conv2d = make_dense_conv(t, f, s, variant);
}

/* Scales and offsets, a sum, the relu: each in half of the variants. */
static void make_conv2d_norm(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    t->attr.conv2d_norm = (clvi_conv2d_norm_attr){ .conv = make_dense_conv(t, f, s, variant), .eps = 1e-2,
                                                   .relu = variant == 1 || variant == 2 };
    const int64_t *const y = c->out[0].shape;
    for (int i = 2; i < 6; i++) {
        if (i >= 4 || variant % 2) IN(f, 1, y[1], 0, 0);
        else ABSENT;
    }
    if (variant / 2) test_call_picture(c->in, &c->n_in, f, y[0], y[1], y[2], y[3]);
    else ABSENT;
    t->low = 0.1;            /* variances, too */
}

/* x of a batch norm, and whatever has its shape: a matrix in one of the variants. */
typedef struct norm_shape {
    int64_t n, channels, h, w;
    bool    matrix;
} norm_shape;

static norm_shape norm_shape_of(sizes s, int variant, int64_t groups, bool some)
{
    return (norm_shape){ .n = groups * (s.a % 8 + some), .channels = 1 + s.b % 70, .h = variant == 3 ? 1 : 1 + s.c % 7,
                         .w = variant == 3 ? 1 : 1 + s.a % 5, .matrix = variant == 3 };
}

static int64_t norm_count(const norm_shape *x) { return x->n * x->channels * x->h * x->w; }

static void norm_value(clvi_desc *desc, int *count, clv_dtype f, const norm_shape *x)
{
    if (x->matrix) test_call_desc(desc, count, f, 2, x->n, x->channels, 0);
    else test_call_picture(desc, count, f, x->n, x->channels, x->h, x->w);
}

static void vector_if(test_call *t, clv_dtype f, int64_t channels, bool there)
{
    clvi_op_call *c = &t->call;
    if (there) IN(f, 1, channels, 0, 0);
    else ABSENT;
}

/* Groups, the ReLU, running statistics, vectors in half of the variants; something that is added, and a second
 * gradient, with half of the sizes. The gradient's workspace is bytes of 0 and 1, in the order of the elements. Two
 * gradients are multiples of 1/8: their sum is exact in every type. */
static void make_batch_norm(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "batch_norm_bwd"), training = variant != 2, relu = variant % 2, sum = s.a % 2;
    const bool twice = backward && sum && s.b % 2;
    const int64_t groups = variant == 1 ? 2 : 1;
    const norm_shape x = norm_shape_of(s, variant, groups, backward || variant == 1);
    for (int i = 0; i < 1 + backward; i++) norm_value(c->in, &c->n_in, f, &x);
    for (int i = 0; i < (backward ? 1 : 2); i++) vector_if(t, f, x.channels, variant % 2);
    for (int i = 0; i < 2; i++) {
        if (backward && training) IN(f, 2, groups, x.channels, 0);
        else IN(f, 1, x.channels, 0, 0);
    }
    if (backward) IN(CLV_U8, 1, relu ? norm_count(&x) : 1, 0, 0);
    if (backward ? twice : sum) norm_value(c->in, &c->n_in, f, &x);
    else ABSENT;
    norm_value(c->out, &c->n_out, f, &x);
    for (int i = 0; i < 2; i++) {
        if (backward) OUT(f, 1, x.channels, 0, 0);
        else OUT(f, 2, groups, x.channels, 0);
    }
    if (backward && sum && relu) norm_value(c->out, &c->n_out, f, &x);
    t->attr.batch_norm = (clvi_batch_norm_attr){ .groups = groups, .eps = 1e-2, .momentum = 0.1, .training = training,
                                                 .relu = relu, .sum = sum };
    t->low = 0.1;            /* variances, too */
    t->grid = twice ? 8 : 0;
    t->depth = 20 * (norm_count(&x) + 1);
}

/* The same of two whose results are added; vectors of either in half of the variants. */
static void make_batch_norm_pair(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "batch_norm_pair_bwd"), relu = variant > 0;
    const int64_t groups = variant == 1 ? 2 : 1;
    const norm_shape x = norm_shape_of(s, variant, groups, backward || variant == 1);
    if (backward) norm_value(c->in, &c->n_in, f, &x);
    for (int side = 0; side < 2; side++) {
        const bool vectors = side ? variant / 2 : variant % 2;
        norm_value(c->in, &c->n_in, f, &x);
        for (int i = 0; i < (backward ? 1 : 2); i++) vector_if(t, f, x.channels, vectors);
        for (int i = 0; !backward && i < 2; i++) IN(f, 1, x.channels, 0, 0);
    }
    for (int i = 0; backward && i < 2; i++) IN(f, 2, 2 * groups, x.channels, 0);
    if (backward) IN(CLV_U8, 1, relu ? norm_count(&x) : 1, 0, 0);
    if (backward && s.a % 2) norm_value(c->in, &c->n_in, f, &x);
    else if (backward) ABSENT;
    for (int side = 0; side < 1 + backward; side++) {
        norm_value(c->out, &c->n_out, f, &x);
        for (int i = 0; i < 2; i++) {
            if (backward) OUT(f, 1, x.channels, 0, 0);
            else OUT(f, 2, 2 * groups, x.channels, 0);
        }
    }
    t->attr.batch_norm = (clvi_batch_norm_attr){ .groups = groups, .eps = 1e-2, .momentum = 0.1, .training = true,
                                                 .relu = relu };
    t->low = 0.1;            /* variances, too */
    t->depth = 20 * (norm_count(&x) + 1);
}

/* A second rank whose share is the same. */
static clv_status add_equal_rank(void *user, clv_context *ctx, double *x, int64_t n)
{
    (void)user;
    clvi_flat_scale(ctx, CLV_F64, n, 2, x);
    return CLV_OK;
}

/* One rank or two; vectors in half of the variants; a matrix in one of them. */
static void make_sync_batch_norm(test_call *t, clv_dtype f, sizes s, int variant)
{
    static const clvi_rank_sum two = { add_equal_rank, NULL };
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "sync_batch_norm_bwd");
    const int64_t n = 1 + s.a % 8, channels = 1 + s.b % 70, h = 1 + s.c % 7, w = 1 + s.a % 5;
    for (int i = 0; i < 1 + backward; i++) {
        if (variant == 3) IN(f, 2, n, channels, 0);
        else test_call_picture(c->in, &c->n_in, f, n, channels, h, w);
    }
    for (int i = 0; i < (backward ? 1 : 2); i++) {
        if (variant % 2) IN(f, 1, channels, 0, 0);
        else ABSENT;
    }
    for (int i = 0; i < 2; i++) IN(f, 1, channels, 0, 0);
    if (variant == 3) OUT(f, 2, n, channels, 0);
    else test_call_picture(c->out, &c->n_out, f, n, channels, h, w);
    for (int i = 0; i < 2; i++) OUT(f, 1, channels, 0, 0);
    t->attr.sync_norm = (clvi_sync_norm_attr){ .eps = 1e-2, .momentum = 0.1, .ranks = variant > 1 ? &two : NULL };
    t->low = 0.1;            /* variances, too */
    t->depth = 20 * (n * channels * h * w + 1);
}

/* The workspace of a maximum is as the reference kernel has it: an int64 a result. */
static void make_pool2d(test_call *t, clv_dtype f, sizes s, int variant)
{
    static const clvi_pool2d_attr pools[VARIANTS] = {
        { .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1 } }, { .kernel = { 2, 2 }, .stride = { 2, 2 } },
        { .kernel = { 3, 2 }, .stride = { 1, 2 }, .pad = { 1, 0 } }, { .kernel = { 5, 7 }, .stride = { 5, 7 } },
    };
    clvi_op_call *c = &t->call;
    clvi_pool2d_attr *a = &t->attr.pool2d;
    *a = pools[variant];
    const int64_t n = s.a % 5, channels = 1 + s.b % 37, h = 5 + s.c % 9, w = 7 + s.a % 9;
    const int64_t oh = (h + 2 * a->pad[0] - a->kernel[0]) / a->stride[0] + 1;
    const int64_t ow = (w + 2 * a->pad[1] - a->kernel[1]) / a->stride[1] + 1;
    const int64_t winners = n * channels * oh * ow * (int64_t)sizeof(int64_t);
    a->in_size[0] = h, a->in_size[1] = w;
    if (strstr(c->op, "_bwd")) {
        test_call_picture(c->in, &c->n_in, f, n, channels, oh, ow);
        if (is(c, "max_pool2d_bwd")) IN(CLV_U8, 1, winners, 0, 0);
        test_call_picture(c->out, &c->n_out, f, n, channels, h, w);
    } else {
        test_call_picture(c->in, &c->n_in, f, n, channels, h, w);
        test_call_picture(c->out, &c->n_out, f, n, channels, oh, ow);
        if (is(c, "max_pool2d")) OUT(CLV_U8, 1, winners, 0, 0);
    }
    t->grid = 8;             /* ties, and sums that are exact */
    t->depth = 35;
}

/* A matrix in one of the variants. */
static void make_prelu(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "prelu_bwd");
    const int64_t n = s.a % 9, channels = 1 + s.b % 70, h = 1 + s.c % 7, w = 1 + s.a % 5;
    for (int i = 0; i < 1 + backward; i++) {
        if (variant == 3) IN(f, 2, n, channels, 0);
        else test_call_picture(c->in, &c->n_in, f, n, channels, h, w);
    }
    IN(f, 1, channels, 0, 0);
    if (variant == 3) OUT(f, 2, n, channels, 0);
    else test_call_picture(c->out, &c->n_out, f, n, channels, h, w);
    if (backward) OUT(f, 1, channels, 0, 0);
    t->depth = n * h * w;
    t->grid = variant == 1 ? 4 : 0;      /* zeros */
}

static void make_drop_path(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0), IN(f, 1, 1, 0, 0), OUT(f, 2, s.a, s.b, 0), OUT(f, 1, s.a, 0, 0);
    t->attr.drop_path = (clvi_drop_path_attr){ .rate = 0.25 * variant, .seed = 2026, .stream = (uint32_t)variant };
    t->low = 0, t->high = 1000;
}

static void make_block_mask(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const int64_t shape[4] = { s.a % 5, 1 + s.b % 20, 3 + s.c % 9, 4 + s.a % 9 };
    IN(f, 1, 1, 0, 0);
    test_call_picture(c->out, &c->n_out, f, shape[0], shape[1], shape[2], shape[3]);
    t->attr.block_mask = (clvi_block_mask_attr){
        .path = { .rate = 0.2 * variant, .seed = 2026, .stream = (uint32_t)variant, .first = (uint64_t)variant },
        .ramp = variant == 2 ? 600 : 0, .block = 1 + variant % 3,
    };
    for (int i = 0; i < 4; i++) t->attr.block_mask.shape[i] = shape[i];
    t->low = 0, t->high = 1000;
}

const test_call_entry test_calls_networks[] = {
    { "layer_norm", make_layer_norm, SUMS }, { "layer_norm_bwd", make_layer_norm, SUMS },
    { "prelu", make_prelu, POINTWISE }, { "prelu_bwd", make_prelu, SUMS }, { "drop_path", make_drop_path, EXACT },
    { "block_mask", make_block_mask, EXACT }, { "attention", make_attention, SUMS },
    { "attention_bwd", make_attention, SUMS }, { "conv2d", make_conv2d, SUMS },
    { "conv2d_bwd_data", make_conv2d, SUMS }, { "conv2d_bwd_weights", make_conv2d, SUMS },
    { "conv2d_norm", make_conv2d_norm, SUMS }, { "matmul", make_matmul, SUMS },
    { "batch_norm", make_batch_norm, SUMS }, { "batch_norm_bwd", make_batch_norm, SUMS },
    { "batch_norm_pair", make_batch_norm_pair, SUMS }, { "batch_norm_pair_bwd", make_batch_norm_pair, SUMS },
    { "sync_batch_norm", make_sync_batch_norm, SUMS }, { "sync_batch_norm_bwd", make_sync_batch_norm, SUMS },
    { "max_pool2d", make_pool2d, EXACT }, { "max_pool2d_bwd", make_pool2d, EXACT },
    { "avg_pool2d", make_pool2d, SUMS }, { "avg_pool2d_bwd", make_pool2d, SUMS },
    { NULL, NULL, SUMS },
};
