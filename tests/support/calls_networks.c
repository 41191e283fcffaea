/* calls_networks.c: calls of the operations of networks. */
#include "tests/support/calls_make.h"

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


static void make_depthwise(test_call *t, clv_dtype f, sizes s, int variant)
{
    static const int64_t kernels[VARIANTS][2] = { { 7, 7 }, { 3, 3 }, { 5, 1 }, { 9, 9 } };
    clvi_op_call *c = &t->call;
    const int64_t *k = kernels[variant], pad[2] = { k[0] / 2, variant == 1 ? 0 : k[1] / 2 };
    const int64_t n = s.a % 4, channels = 1 + s.b % 40, h = 1 + s.a % 9, w = 3 + s.c % 17;
    const int64_t ow = w + 2 * pad[1] - k[1] + 1;
    if (is(c, "conv2d_bwd_data")) test_call_picture(c->in, &c->n_in, f, n, channels, h, ow);
    else test_call_picture(c->in, &c->n_in, f, n, channels, h, w);
    if (is(c, "conv2d_bwd_weights")) test_call_picture(c->in, &c->n_in, f, n, channels, h, ow);
    else test_call_picture(c->in, &c->n_in, f, channels, 1, k[0], k[1]);
    if (is(c, "conv2d")) test_call_picture(c->out, &c->n_out, f, n, channels, h, ow);
    else if (is(c, "conv2d_bwd_data")) test_call_picture(c->out, &c->n_out, f, n, channels, h, w);
    else test_call_picture(c->out, &c->n_out, f, channels, 1, k[0], k[1]);
    t->attr.conv2d = (clvi_conv2d_attr){ .stride = { 1, 1 }, .pad = { pad[0], pad[1] }, .in_size = { h, w },
                                         .kernel = { k[0], k[1] }, .groups = channels };
    t->depth = 81;
}

const test_call_entry test_calls_networks[] = {
    { "layer_norm", make_layer_norm }, { "layer_norm_bwd", make_layer_norm },
    { "attention", make_attention }, { "attention_bwd", make_attention },
    { "conv2d", make_depthwise }, { "conv2d_bwd_data", make_depthwise }, { "conv2d_bwd_weights", make_depthwise },
    { "matmul", make_matmul },
    { NULL, NULL },
};
