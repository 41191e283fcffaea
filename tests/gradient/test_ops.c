/* test_ops.c: the gradient of every differentiable operation against central differences in float64, and float32 with
 * the fastest kernels against float64 with the plain ones.
 *
 * A new operation needs a builder and a line in `cases`; one without is a failure. */
#include "tests/support/test.h"
#include "core/rng.h"
#include "tensor/bank.h"
#include "tensor/graph.h"
#include "tensor/sync.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_INPUTS 8
#define MAX_COUNT  512

/* What a builder puts its graph together from. Inputs are made in the same order each time. */
typedef struct op_test {
    clv_graph *g;
    clv_node   node[MAX_INPUTS];
    int        n_inputs;
    bool       real[MAX_INPUTS];                  /* of the graph's type */
    bool       varies[MAX_INPUTS];                /* its gradient is checked */
    int64_t    count[MAX_INPUTS];
    double     value[MAX_INPUTS][MAX_COUNT];      /* of float inputs */
    double     grad[MAX_INPUTS][MAX_COUNT];
    _Alignas(16) unsigned char data[MAX_INPUTS][MAX_COUNT * sizeof(double)];   /* what is bound */
} op_test;

typedef clv_node (*op_builder)(op_test *t);

/* ---- inputs of builders ---- */

static clv_node add_input(op_test *t, clv_dtype dtype, int ndim, const int64_t *shape)
{
    static const char *const names[MAX_INPUTS] = { "a", "b", "c", "d", "e", "f", "g", "h" };
    const int i = t->n_inputs++;
    assert_true(i < MAX_INPUTS);
    t->count[i] = 1;
    for (int k = 0; k < ndim; k++) t->count[i] *= shape[k];
    assert_true(t->count[i] <= MAX_COUNT);
    t->node[i] = clv_input(t->g, names[i], dtype, ndim, shape);
    t->real[i] = t->varies[i] = false;
    return t->node[i];
}

/* Distinct values in random order, evenly spaced and none near 0: no difference straddles a kink of relu or a pool. */
static clv_node values(op_test *t, int ndim, const int64_t *shape)
{
    const int i = t->n_inputs;
    const clv_node x = add_input(t, t->g->dtype, ndim, shape);
    t->real[i] = t->varies[i] = true;
    for (int64_t k = 0; k < t->count[i]; k++) {
        const uint64_t at = clvi_rng_permute(5, CLVI_RNG_TEST, (uint32_t)i, (uint64_t)t->count[i], (uint64_t)k);
        t->value[i][k] = 3.0 * ((double)at + 0.5 + 0.05 * (i + 1)) / (double)t->count[i] - 1.5;
    }
    return x;
}

/* The same, for an input the operation has no gradient for. */
static clv_node constants(op_test *t, int ndim, const int64_t *shape)
{
    const clv_node x = values(t, ndim, shape);
    t->varies[t->n_inputs - 1] = false;
    return x;
}

static clv_node integers(op_test *t, int64_t n, const int64_t *data)
{
    const int i = t->n_inputs;
    const clv_node x = add_input(t, CLV_I64, 1, &n);
    memcpy(t->data[i], data, (size_t)n * sizeof *data);
    return x;
}

static clv_node bytes(op_test *t, int ndim, const int64_t *shape, const uint8_t *data)
{
    const int i = t->n_inputs;
    const clv_node x = add_input(t, CLV_U8, ndim, shape);
    memcpy(t->data[i], data, (size_t)t->count[i]);
    return x;
}

static clv_node buffer(op_test *t, const char *name, int64_t n, double value)
{
    const clv_init init = { .kind = CLV_INIT_CONSTANT, .value = value };
    return clv_parameter(t->g, name, CLV_PARAM_BUFFER, 1, &n, init);
}

#define SHAPE(...) (int)(sizeof((int64_t[]) { __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }

/* ---- builders ---- */

static clv_node conv(op_test *t)
{
    return clv_conv2d(t->g, values(t, SHAPE(2, 3, 5, 4)), values(t, SHAPE(4, 3, 3, 3)), 1, 1);
}

static clv_node conv_stride(op_test *t)
{
    return clv_conv2d(t->g, values(t, SHAPE(2, 2, 6, 5)), values(t, SHAPE(3, 2, 3, 3)), 2, 1);
}

static clv_node conv_1x1(op_test *t)
{
    return clv_conv2d(t->g, values(t, SHAPE(2, 3, 4, 4)), values(t, SHAPE(5, 3, 1, 1)), 2, 0);
}

static clv_node conv_groups(op_test *t)
{
    return clv_conv2d_groups(t->g, values(t, SHAPE(2, 4, 5, 4)), values(t, SHAPE(6, 2, 3, 3)), 2, 1, 2);
}

static clv_node conv_depthwise(op_test *t)
{
    return clv_conv2d_groups(t->g, values(t, SHAPE(2, 3, 5, 4)), values(t, SHAPE(3, 1, 3, 3)), 1, 1, 3);
}

static clv_node norm(op_test *t, int64_t groups, bool affine, int ndim, const int64_t *shape)
{
    clv_batch_norm_desc desc = { CLV_NONE, CLV_NONE, buffer(t, "mean", shape[1], 0.3), buffer(t, "var", shape[1], 2.0),
                                 groups, 1e-3, 0.1 };
    const clv_node x = values(t, ndim, shape);
    if (affine) {
        desc.gamma = values(t, 1, &shape[1]);
        desc.beta = values(t, 1, &shape[1]);
    }
    return clv_batch_norm(t->g, x, &desc);
}

static clv_node norm_4d(op_test *t) { return norm(t, 1, true, SHAPE(4, 3, 3, 2)); }
static clv_node norm_2d(op_test *t) { return norm(t, 1, true, SHAPE(6, 4)); }
static clv_node norm_plain(op_test *t) { return norm(t, 1, false, SHAPE(4, 3, 2, 2)); }
static clv_node norm_groups(op_test *t) { return norm(t, 2, true, SHAPE(4, 3, 3, 2)); }
static clv_node norm_relu(op_test *t) { return clv_relu(t->g, norm(t, 1, true, SHAPE(4, 3, 3, 2))); }
static clv_node norm_groups_relu(op_test *t) { return clv_relu(t->g, norm(t, 2, true, SHAPE(6, 5))); }

/* Over ranks, of which there is one. */
static clv_status sum_of_one(void *user, clv_context *ctx, double *x, int64_t n)
{
    (void)user, (void)ctx, (void)x, (void)n;
    return CLV_OK;
}

static clv_node norm_over_ranks(op_test *t, bool affine, int ndim, const int64_t *shape)
{
    static const clvi_rank_sum one = { sum_of_one, NULL };
    clvi_graph_sync(t->g, &one);
    return norm(t, 1, affine, ndim, shape);
}
static clv_node norm_sync_4d(op_test *t) { return norm_over_ranks(t, true, SHAPE(4, 3, 3, 2)); }
static clv_node norm_sync_2d(op_test *t) { return norm_over_ranks(t, false, SHAPE(6, 4)); }

static clv_node layer_norm(op_test *t)
{
    const clv_node x = values(t, SHAPE(4, 7)), gamma = values(t, SHAPE(7)), beta = values(t, SHAPE(7));
    return clv_layer_norm(t->g, x, gamma, beta, 1e-3);
}
static clv_node gelu(op_test *t) { return clv_gelu(t->g, clv_scale(t->g, values(t, SHAPE(4, 7)), 2, 0)); }
static clv_node attention(op_test *t) { return clv_attention(t->g, values(t, SHAPE(10, 18)), 5, 2); }
static clv_node attention_one(op_test *t) { return clv_attention(t->g, values(t, SHAPE(4, 9)), 1, 1); }
static clv_node pixel_rows(op_test *t) { return clv_pixel_rows(t->g, values(t, SHAPE(2, 3, 4, 5))); }
static clv_node row_pixels(op_test *t) { return clv_row_pixels(t->g, values(t, SHAPE(24, 3)), 4, 3); }
/* The count is an input here: it is put back before every run, and the same rows are dropped. */
static clv_node drop_path(op_test *t)
{
    const clv_node x = values(t, SHAPE(8, 3));
    return clv_drop_path(t->g, x, constants(t, SHAPE(1)), 0.4, 3, 1);
}

static clv_node relu(op_test *t) { return clv_relu(t->g, values(t, SHAPE(4, 7))); }
static clv_node prelu(op_test *t) { return clv_prelu(t->g, values(t, SHAPE(2, 3, 4, 3)), values(t, SHAPE(3))); }
static clv_node prelu_rows(op_test *t) { return clv_prelu(t->g, values(t, SHAPE(5, 3)), values(t, SHAPE(3))); }
static clv_node max_pool(op_test *t) { return clv_max_pool2d(t->g, values(t, SHAPE(2, 3, 6, 5)), 3, 2, 1); }
static clv_node avg_pool(op_test *t) { return clv_avg_pool2d(t->g, values(t, SHAPE(2, 3, 6, 5)), 3, 2, 1); }
static clv_node global_pool(op_test *t) { return clv_global_avg_pool(t->g, values(t, SHAPE(2, 3, 4, 3))); }

static clv_node add(op_test *t) { return clv_add(t->g, values(t, SHAPE(3, 5)), values(t, SHAPE(3, 5))); }
static clv_node add_relu(op_test *t) { return clv_relu(t->g, add(t)); }
static clv_node sub(op_test *t) { return clv_sub(t->g, values(t, SHAPE(3, 5)), values(t, SHAPE(3, 5))); }
static clv_node mul(op_test *t) { return clv_mul(t->g, values(t, SHAPE(3, 5)), values(t, SHAPE(3, 5))); }
static clv_node square(op_test *t)
{
    const clv_node x = values(t, SHAPE(3, 5));
    return clv_mul(t->g, x, x);
}
static clv_node quotient(op_test *t) { return clv_div(t->g, values(t, SHAPE(3, 5)), values(t, SHAPE(3, 5))); }
/* A square root of what is positive. */
static clv_node root(op_test *t)
{
    const clv_node x = values(t, SHAPE(3, 5));
    return clv_sqrt(t->g, clv_scale(t->g, clv_mul(t->g, x, x), 1, 0.1));
}
static clv_node magnitude(op_test *t) { return clv_abs(t->g, values(t, SHAPE(3, 5))); }
static clv_node softplus(op_test *t) { return clv_softplus(t->g, clv_scale(t->g, values(t, SHAPE(3, 5)), 10, 0)); }
static clv_node clamp(op_test *t) { return clv_clamp(t->g, values(t, SHAPE(3, 5)), -0.71, 0.93); }
static clv_node add_column(op_test *t) { return clv_add_column(t->g, values(t, SHAPE(4, 3)), values(t, SHAPE(4))); }
static clv_node add_row(op_test *t) { return clv_add_row(t->g, values(t, SHAPE(4, 3)), values(t, SHAPE(3))); }
static clv_node scale(op_test *t) { return clv_scale(t->g, values(t, SHAPE(7)), -1.7, 0.4); }
static clv_node scale_rows(op_test *t) { return clv_scale_rows(t->g, values(t, SHAPE(4, 3)), values(t, SHAPE(4))); }
static clv_node row_dot(op_test *t) { return clv_row_dot(t->g, values(t, SHAPE(4, 3)), values(t, SHAPE(4, 3))); }
static clv_node batched_row_dot(op_test *t)
{
    return clv_batched_row_dot(t->g, values(t, SHAPE(3, 4)), values(t, SHAPE(3, 5, 4)));
}

static clv_node matmul_nn(op_test *t)
{
    return clv_matmul(t->g, values(t, SHAPE(3, 4)), false, values(t, SHAPE(4, 5)), false);
}
static clv_node matmul_nt(op_test *t)
{
    return clv_matmul(t->g, values(t, SHAPE(3, 4)), false, values(t, SHAPE(5, 4)), true);
}
static clv_node matmul_tn(op_test *t)
{
    return clv_matmul(t->g, values(t, SHAPE(4, 3)), true, values(t, SHAPE(4, 5)), false);
}
static clv_node matmul_tt(op_test *t)
{
    return clv_matmul(t->g, values(t, SHAPE(4, 3)), true, values(t, SHAPE(5, 4)), true);
}
static clv_node linear(op_test *t)
{
    const clv_node x = values(t, SHAPE(3, 4)), w = values(t, SHAPE(5, 4)), bias = values(t, SHAPE(5));
    return clv_linear(t->g, x, w, bias);
}

static clv_node l2norm_rows(op_test *t) { return clv_l2norm_rows(t->g, values(t, SHAPE(4, 5)), 1e-12); }

static clv_node reduce_all(op_test *t) { return clv_reduce(t->g, values(t, SHAPE(3, 4)), -1, true); }
static clv_node reduce_first(op_test *t) { return clv_reduce(t->g, values(t, SHAPE(3, 4, 2)), 0, false); }
static clv_node reduce_middle(op_test *t) { return clv_reduce(t->g, values(t, SHAPE(3, 4, 2)), 1, true); }
static clv_node reduce_last(op_test *t) { return clv_reduce(t->g, values(t, SHAPE(3, 4, 2)), 2, true); }

static clv_node concat(op_test *t)
{
    const clv_node x[] = { values(t, SHAPE(2, 3)), values(t, SHAPE(2, 1)), values(t, SHAPE(2, 4)) };
    return clv_concat(t->g, x, 3, 1);
}
static clv_node concat_rows(op_test *t)
{
    const clv_node x[] = { values(t, SHAPE(2, 3)), values(t, SHAPE(4, 3)) };
    return clv_concat(t->g, x, 2, 0);
}
static clv_node slice(op_test *t) { return clv_slice(t->g, values(t, SHAPE(3, 5, 2)), 1, 1, 3); }
static clv_node slice_rows(op_test *t) { return clv_slice(t->g, values(t, SHAPE(5, 3)), 0, 2, 2); }
static clv_node reshape(op_test *t) { return clv_reshape(t->g, values(t, SHAPE(3, 4)), SHAPE(2, 6)); }

static clv_node xent(op_test *t)
{
    const clv_node logits = values(t, SHAPE(4, 5));
    return clv_softmax_xent(t->g, logits, integers(t, 4, (int64_t[]) { 1, 4, -1, 0 }), CLV_NONE);
}
static clv_node xent_lse(op_test *t)
{
    clv_node lse;
    const clv_node logits = values(t, SHAPE(4, 5)), targets = integers(t, 4, (int64_t[]) { 1, 4, -1, 0 });
    const clv_node per_row = clv_softmax_xent_lse(t->g, logits, targets, CLV_NONE, &lse);
    return clv_mul(t->g, per_row, lse);
}
static clv_node xent_mask(op_test *t)
{
    static const uint8_t mask[20] = { 1, 1, 0, 1, 0,  0, 0, 0, 0, 1,  1, 1, 1, 1, 1,  1, 0, 1, 0, 0 };
    const clv_node logits = values(t, SHAPE(4, 5)), targets = integers(t, 4, (int64_t[]) { 1, 4, 2, 0 });
    return clv_softmax_xent(t->g, logits, targets, bytes(t, SHAPE(4, 5), mask));
}
static clv_node mask(op_test *t)
{
    static const uint8_t keep[12] = { 1, 0, 0, 1,  0, 1, 1, 1,  0, 0, 1, 0 };
    const clv_node x = values(t, SHAPE(3, 4));
    return clv_mask(t->g, x, bytes(t, SHAPE(3, 4), keep));
}

static clv_node log_sum_exp(op_test *t) { return clv_log_sum_exp_rows(t->g, values(t, SHAPE(4, 5)), CLV_NONE); }
static clv_node log_sum_exp_mask(op_test *t)
{
    static const uint8_t keep[12] = { 1, 0, 0, 1,  0, 1, 1, 1,  0, 0, 1, 0 };
    const clv_node x = values(t, SHAPE(3, 4));
    return clv_log_sum_exp_rows(t->g, x, bytes(t, SHAPE(3, 4), keep));
}
static clv_node pick(op_test *t)
{
    const clv_node x = values(t, SHAPE(4, 5));
    return clv_pick(t->g, x, integers(t, 4, (int64_t[]) { 1, 4, -1, 0 }));
}
static clv_node put(op_test *t)
{
    const clv_node x = values(t, SHAPE(4, 5)), index = integers(t, 4, (int64_t[]) { 1, 4, -1, 0 });
    return clv_put(t->g, x, index, values(t, SHAPE(4)));
}
static clv_node gather_rows(op_test *t)
{
    const clv_node table = values(t, SHAPE(4, 3));
    return clv_gather_rows(t->g, table, integers(t, 5, (int64_t[]) { 3, 1, -1, 3, 0 }));
}

static clv_node pair_sums(op_test *t, bool unit)
{
    clv_pair_sums sums;
    const clv_node x = values(t, SHAPE(7, 5));
    clv_class_pair_sums(t->g, x, integers(t, 7, (int64_t[]) { 3, 1, -1, 3, 1, 3, 8 }), unit, 1e-12, &sums);
    return clv_add(t->g, clv_scale(t->g, sums.same, 0.3, 0), sums.different);
}
static clv_node class_pair_sums(op_test *t) { return pair_sums(t, false); }
static clv_node class_pair_sums_unit(op_test *t) { return pair_sums(t, true); }
static clv_node margin(op_test *t, clv_margin_mode mode, bool margins, double clamp)
{
    const clv_node x = clv_scale(t->g, values(t, SHAPE(8, 3)), 1.3, 0);    /* 2 cos(theta) */
    const clv_node labels = integers(t, 8, (int64_t[]) { 0, 1, 2, -1, 1, 2, 0, 1 });
    const clv_node m = margins ? clv_scale(t->g, values(t, SHAPE(8)), 0.2, 0.5) : CLV_NONE;
    const clv_target_margin_desc desc = { .mode = mode, .scale = 2, .margin = 0.5, .margins = m, .clamp = clamp };
    return clv_target_margin(t->g, x, labels, &desc);
}
static clv_node margin_cosine(op_test *t) { return margin(t, CLV_MARGIN_COSINE, true, 0); }
static clv_node margin_arc(op_test *t) { return margin(t, CLV_MARGIN_ARC, false, 0); }
static clv_node margin_easy(op_test *t) { return margin(t, CLV_MARGIN_EASY, true, 0); }
static clv_node margin_fallback(op_test *t) { return margin(t, CLV_MARGIN_FALLBACK, true, 0); }
static clv_node margin_clamped(op_test *t) { return margin(t, CLV_MARGIN_ARC, true, 0.4); }
static clv_node triplets(op_test *t)
{
    clv_node active, all;
    const clv_node d = values(t, SHAPE(6, 6)), labels = integers(t, 6, (int64_t[]) { 3, 1, -1, 3, 1, 3 });
    return clv_triplet_sum(t->g, d, labels, 0.3, &active, &all);
}

/* Only queries have a gradient. The third row's id is in the bank: that entry is no negative of its. */
/* Queries and keys have a gradient. The third row's id is in the bank: that entry is no negative of its. */
static clv_node bank(op_test *t, bool sides)
{
    static const uint8_t valid[7] = { 1, 0, 1, 1, 1, 0, 1 };
    clv_bank_nce_desc desc = { .query = values(t, SHAPE(4, 5)), .key = values(t, SHAPE(4, 5)),
                               .bank = constants(t, SHAPE(7, 5)), .valid = CLV_NONE, .ids = CLV_NONE,
                               .bank_ids = CLV_NONE, .temperature = 0.5 };
    if (sides) {
        desc.valid = bytes(t, SHAPE(7), valid);
        desc.ids = integers(t, 4, (int64_t[]) { 11, 12, 13, -1 });
        desc.bank_ids = integers(t, 7, (int64_t[]) { 1, 2, 13, 4, 5, 6, -1 });
    }
    return clv_bank_nce(t->g, &desc, NULL);
}
static clv_node bank_nce(op_test *t) { return bank(t, false); }
static clv_node bank_nce_sides(op_test *t) { return bank(t, true); }

/* One row is mixed with itself, one with none. */
static clv_node bank_nce_moved(op_test *t)
{
    clv_bank_nce_desc desc = CLV_BANK_NCE_DESC_INIT;
    desc.query = values(t, SHAPE(4, 5)), desc.key = values(t, SHAPE(4, 5)), desc.bank = constants(t, SHAPE(7, 5));
    desc.temperature = 0.5;
    const clvi_bank_move move = { .mix = true, .unit = true, .eps = 1e-12, .lambda = constants(t, SHAPE(7, 5)),
                                  .index = integers(t, 7, (int64_t[]) { 3, 1, -1, 6, 7, 0, 2 }), .step = CLV_NONE };
    return clvi_bank_nce(t->g, &desc, &move, 0).per_row;
}

/* Three rows of one label, two pairs, and a row that is alone. */
static clv_node pairs(op_test *t, int64_t anchors)
{
    const clv_node x = values(t, SHAPE(8, 3));
    return clv_pair_nce(t->g, x, integers(t, 8, (int64_t[]) { 4, -1, 4, 7, -1, 9, 4, 7 }), anchors, 0.8, NULL);
}
static clv_node pair_nce(op_test *t) { return pairs(t, 8); }
static clv_node pair_nce_some_anchors(op_test *t) { return pairs(t, 3); }
static clv_node pair_nce_views(op_test *t)
{
    const clv_node x = values(t, SHAPE(6, 4));
    return clv_pair_nce(t->g, x, integers(t, 3, (int64_t[]) { 0, 1, 2 }), 6, 0.5, NULL);
}
static clv_node center(op_test *t) { return clv_center_columns(t->g, values(t, SHAPE(5, 3))); }
static clv_node standardize(op_test *t) { return clv_standardize_columns(t->g, values(t, SHAPE(5, 3)), 0.1, false); }
static clv_node unit_columns(op_test *t) { return clv_standardize_columns(t->g, values(t, SHAPE(5, 3)), 1e-9, true); }
static clv_node scale_columns(op_test *t)
{
    return clv_scale_columns(t->g, values(t, SHAPE(4, 3)), values(t, SHAPE(3)));
}
static clv_node column_dot(op_test *t)
{
    return clv_column_dot(t->g, values(t, SHAPE(4, 3)), values(t, SHAPE(4, 3)));
}
static clv_node bank_mean(op_test *t, bool l2, bool more)
{
    static const uint8_t valid[7] = { 1, 0, 1, 1, 1, 0, 1 };
    clv_bank_lse_desc desc = CLV_BANK_LSE_DESC_INIT;
    desc.query = values(t, SHAPE(4, 5));
    desc.bank = constants(t, SHAPE(7, 5));
    desc.temperature = 1.5;
    desc.l2 = l2;
    if (more) {
        desc.valid = bytes(t, SHAPE(7), valid);
        desc.start = values(t, SHAPE(4));
        desc.start_count = 3;
    }
    return clv_bank_lse(t->g, &desc, NULL);
}
static clv_node bank_lse(op_test *t) { return bank_mean(t, false, false); }
static clv_node bank_lse_l2(op_test *t) { return bank_mean(t, true, false); }
static clv_node bank_lse_more(op_test *t) { return bank_mean(t, true, true); }
static clv_node pair_dist(op_test *t) { return clv_pair_dist(t->g, values(t, SHAPE(5, 3))); }
static clv_node transpose(op_test *t) { return clv_transpose(t->g, values(t, SHAPE(3, 2, 4))); }
static clv_node gram_rows(op_test *t) { return clv_gram(t->g, values(t, SHAPE(4, 3)), false); }
static clv_node gram_columns(op_test *t) { return clv_gram(t->g, values(t, SHAPE(4, 3)), true); }

static clv_node one_hot(op_test *t)
{
    return clv_mul(t->g, values(t, SHAPE(4, 3)), clv_one_hot(t->g, integers(t, 4, (int64_t[]) { 2, -1, 0, 1 }), 3));
}
static clv_node ignore_label(op_test *t)
{
    const clv_node x = values(t, SHAPE(4, 3)), labels = integers(t, 4, (int64_t[]) { 2, 7, 0, 1 });
    return clv_mul(t->g, x, clv_one_hot(t->g, clv_ignore_label(t->g, labels, 7), 3));
}
static clv_node mask_rows(op_test *t)
{
    static const uint8_t keep[4] = { 1, 0, 0, 1 };
    const clv_node x = values(t, SHAPE(4, 3));
    return clv_mask_rows(t->g, x, bytes(t, SHAPE(4), keep));
}
static clv_node hard_negatives(op_test *t)
{
    const clvi_hard_negatives_attr attr = { .ratio = 1 };
    const clv_node args[] = { values(t, SHAPE(6)), integers(t, 6, (int64_t[]) { 1, 0, 0, 0, 2, 0 }), CLV_NONE };
    const clv_node keep = clvi_op(t->g, "hard_negatives", &attr, args, 3, NULL, 0);
    return clv_mask_rows(t->g, clv_reshape(t->g, args[0], SHAPE(6, 1)), keep);
}
static clv_node overlap(op_test *t, int kind)
{
    const clvi_overlap_attr attr = { kind, 0.7, 0.3, 0.9 };
    const clv_node w = values(t, SHAPE(4, 3)), y = clv_one_hot(t->g, integers(t, 4, (int64_t[]) { 2, -1, 0, 1 }), 3);
    return clvi_op2(t->g, "overlap", &attr, clv_scale(t->g, clv_mul(t->g, w, w), 1, 0.01), y);
}
static clv_node overlap_linear(op_test *t) { return overlap(t, CLVI_OVERLAP_LINEAR); }
static clv_node overlap_square(op_test *t) { return overlap(t, CLVI_OVERLAP_SQUARE); }
static clv_node overlap_tversky(op_test *t) { return overlap(t, CLVI_OVERLAP_TVERSKY); }

static clv_node adjust(op_test *t, int64_t cols, double alpha, bool logits)
{
    const clvi_self_adjust_attr attr = { .alpha = alpha, .logits = logits };
    const clv_node x = values(t, SHAPE(5, cols));
    return clvi_op1(t->g, "self_adjust", &attr, logits ? x : clv_scale(t->g, clv_mul(t->g, x, x), 0.3, 0.02));
}
static clv_node adjust_softmax(op_test *t) { return adjust(t, 4, 0.6, true); }
static clv_node adjust_softmax_plain(op_test *t) { return adjust(t, 4, 0, true); }
static clv_node adjust_two(op_test *t) { return adjust(t, 2, 2, true); }
static clv_node adjust_logistic(op_test *t) { return adjust(t, 1, 0.6, true); }
static clv_node adjust_probability(op_test *t) { return adjust(t, 3, 0.6, false); }

static clv_node sigmoid_xent(op_test *t)
{
    const clv_node x = values(t, SHAPE(4, 3));
    return clv_sigmoid_xent(t->g, x, constants(t, SHAPE(4, 3)));
}
static clv_node focal(op_test *t, double gamma)
{
    const clv_node x = values(t, SHAPE(4, 3));
    const clv_node c = clv_sigmoid_xent(t->g, x, clv_one_hot(t->g, integers(t, 4, (int64_t[]) { 2, -1, 0, 1 }), 3));
    return clvi_op1(t->g, "focal", &(clvi_focal_attr) { .gamma = gamma }, c);
}
static clv_node focal_two(op_test *t) { return focal(t, 2); }
static clv_node focal_half(op_test *t) { return focal(t, 0.5); }
static clv_node focal_none(op_test *t) { return focal(t, 0); }

/* Two queries with lists of three and two rows; the second's last pair and first query mix are of rows it does not have.
 * Not constant: the slope of the value is that of the formula. */
static clv_node mix(op_test *t, double temperature)
{
    clv_graph *g = t->g;
    const clv_node q = values(t, SHAPE(2, 5)), lse = values(t, SHAPE(2)), rows = constants(t, SHAPE(7, 5));
    const clv_node all = clv_reshape(g, integers(t, 20, (int64_t[]) { 6, 0, 3, 0, 2, 1, 0, 0, 1, 2,
                                                                      2, 5, -1, 1, 2, 0, 1, 2, 1, 0 }), SHAPE(2, 10));
    const clv_node slots = clv_slice(g, all, 1, 0, 3);
    const clvi_mixes mixes = { clv_slice(g, all, 1, 3, 2), clv_slice(g, all, 1, 5, 2), constants(t, SHAPE(2, 2)),
                               clv_slice(g, all, 1, 7, 3), constants(t, SHAPE(2, 3)) };
    const clvi_mix_nce_desc desc = { .query = q, .lse = lse, .bank = rows, .slots = slots, .temperature = temperature,
                                     .eps = 1e-12 };
    return clvi_mix_nce(g, &desc, &mixes);
}
static clv_node mix_nce(op_test *t) { return mix(t, 0.5); }
static clv_node mix_nce_hot(op_test *t) { return mix(t, 10); }

static clv_node lerp_one(op_test *t)
{
    const clv_node a = values(t, SHAPE(3, 4)), b = values(t, SHAPE(3, 4));
    return clvi_lerp(t->g, a, b, constants(t, SHAPE(1, 1)), CLV_NONE);
}
static clv_node lerp_rows(op_test *t)
{
    const clv_node a = values(t, SHAPE(3, 4)), b = values(t, SHAPE(3, 4));
    return clvi_lerp(t->g, a, b, constants(t, SHAPE(3, 1)), CLV_NONE);
}
static clv_node lerp_columns(op_test *t)
{
    const clv_node a = values(t, SHAPE(3, 4));
    return clvi_lerp(t->g, a, a, constants(t, SHAPE(1, 4)), CLV_NONE);
}
static clv_node lerp_all(op_test *t)
{
    const clv_node a = values(t, SHAPE(3, 4)), b = values(t, SHAPE(3, 4));
    return clvi_lerp(t->g, b, a, constants(t, SHAPE(3, 4)), CLV_NONE);
}

/* A residual block: several uses of a value, fusion, all layouts. */
static clv_node block(op_test *t)
{
    clv_graph *g = t->g;
    const clv_node x = values(t, SHAPE(2, 4, 4, 4));
    const clv_node w1 = values(t, SHAPE(4, 4, 3, 3)), w2 = values(t, SHAPE(4, 4, 3, 3));
    const clv_batch_norm_desc n1 = { values(t, SHAPE(4)), values(t, SHAPE(4)), buffer(t, "mean1", 4, 0),
                                     buffer(t, "var1", 4, 1), 1, 1e-3, 0.1 };
    const clv_batch_norm_desc n2 = { CLV_NONE, CLV_NONE, buffer(t, "mean2", 4, 0), buffer(t, "var2", 4, 1),
                                     2, 1e-3, 0.1 };
    const clv_node h = clv_relu(g, clv_batch_norm(g, clv_conv2d(g, x, w1, 1, 1), &n1));
    const clv_node y = clv_batch_norm(g, clv_conv2d(g, h, w2, 1, 1), &n2);
    return clv_global_avg_pool(g, clv_relu(g, clv_add(g, y, x)));
}

/* 16 channels, so that kernels for the sum take part; with the sum's relu or without, and with two gradients that meet. */
static clv_node norm_sum(op_test *t)
{
    const clv_node y = norm(t, 1, true, SHAPE(3, 16, 2, 1));
    return clv_relu(t->g, clv_add(t->g, values(t, SHAPE(3, 16, 2, 1)), y));
}
static clv_node norm_sum_plain(op_test *t)
{
    const clv_node y = norm(t, 2, false, SHAPE(4, 16, 1, 2));
    return clv_add(t->g, y, values(t, SHAPE(4, 16, 1, 2)));
}
static clv_node norm_sum_twice(op_test *t)
{
    const clv_node y = norm_sum(t);
    return clv_add(t->g, clv_scale(t->g, y, 0.5, 0), clv_mul(t->g, y, values(t, SHAPE(3, 16, 2, 1))));
}
/* In plain C one operation; else the question is which of two gets the sum. */
static clv_node sum_of_norms(op_test *t, int64_t groups)
{
    const int64_t shape[4] = { 4, 16, 2, 1 };
    clv_batch_norm_desc one = { values(t, 1, &shape[1]), values(t, 1, &shape[1]), buffer(t, "mean1", 16, 0.3),
                                buffer(t, "var1", 16, 2.0), groups, 1e-3, 0.1 };
    clv_batch_norm_desc other = one;
    other.gamma = CLV_NONE, other.beta = values(t, 1, &shape[1]);
    other.running_mean = buffer(t, "mean2", 16, 0), other.running_var = buffer(t, "var2", 16, 1);
    const clv_node y = clv_batch_norm(t->g, values(t, 4, shape), &one);
    return clv_add(t->g, y, clv_batch_norm(t->g, values(t, 4, shape), &other));
}
static clv_node norm_sum_of_norms(op_test *t) { return clv_relu(t->g, sum_of_norms(t, 1)); }
static clv_node norm_sum_of_norms_plain(op_test *t) { return sum_of_norms(t, 2); }
static clv_node norm_sum_of_norms_twice(op_test *t)
{
    const clv_node y = norm_sum_of_norms(t);
    return clv_add(t->g, clv_scale(t->g, y, 0.5, 0), clv_mul(t->g, y, values(t, SHAPE(4, 16, 2, 1))));
}

typedef struct op_case {
    const char *op;
    op_builder  build;
    bool        inference;   /* a graph that does not train */
} op_case;

static const op_case cases[] = {
    { "conv2d", conv, false }, { "conv2d", conv_stride, false }, { "conv2d", conv_1x1, false },
    { "conv2d", conv_groups, false }, { "conv2d", conv_depthwise, false },
    { "layer_norm", layer_norm, false }, { "gelu", gelu, false }, { "attention", attention, false },
    { "attention", attention_one, false }, { "pixel_rows", pixel_rows, false }, { "row_pixels", row_pixels, false },
    { "drop_path", drop_path, false },
    { "batch_norm", norm_4d, false }, { "batch_norm", norm_2d, false }, { "batch_norm", norm_plain, false },
    { "batch_norm", norm_groups, false }, { "batch_norm", norm_relu, false }, { "batch_norm", norm_groups_relu, false },
    { "batch_norm", norm_4d, true }, { "batch_norm", norm_2d, true }, { "batch_norm", norm_relu, true },
    { "batch_norm", norm_sum, false }, { "batch_norm", norm_sum_plain, false }, { "batch_norm", norm_sum, true },
    { "batch_norm", norm_sum_twice, false },
    { "batch_norm_pair", norm_sum_of_norms, false }, { "batch_norm_pair", norm_sum_of_norms_plain, false },
    { "batch_norm_pair", norm_sum_of_norms_twice, false },
    { "sync_batch_norm", norm_sync_4d, false }, { "sync_batch_norm", norm_sync_2d, false },
    { "relu", relu, false }, { "prelu", prelu, false }, { "prelu", prelu_rows, false },
    { "max_pool2d", max_pool, false }, { "avg_pool2d", avg_pool, false }, { "avg_pool2d", global_pool, false },
    { "add", add, false }, { "add", add_relu, false }, { "sub", sub, false }, { "mul", mul, false },
    { "mul", square, false }, { "add_row", add_row, false }, { "scale", scale, false },
    { "div", quotient, false }, { "sqrt", root, false }, { "abs", magnitude, false }, { "softplus", softplus, false },
    { "clamp", clamp, false }, { "add_column", add_column, false },
    { "scale_rows", scale_rows, false }, { "row_dot", row_dot, false }, { "batched_row_dot", batched_row_dot, false },
    { "matmul", matmul_nn, false }, { "matmul", matmul_nt, false }, { "matmul", matmul_tn, false },
    { "matmul", matmul_tt, false }, { "matmul", linear, false },
    { "l2norm_rows", l2norm_rows, false },
    { "reduce", reduce_all, false }, { "reduce", reduce_first, false }, { "reduce", reduce_middle, false },
    { "reduce", reduce_last, false },
    { "concat", concat, false }, { "concat", concat_rows, false }, { "slice", slice, false },
    { "slice", slice_rows, false }, { "reshape", reshape, false },
    { "softmax_xent", xent, false }, { "softmax_xent", xent_mask, false },
    { "softmax_xent", xent_lse, false },
    { "log_sum_exp_rows", log_sum_exp, false }, { "log_sum_exp_rows", log_sum_exp_mask, false },
    { "pick", pick, false }, { "put", put, false }, { "gather_rows", gather_rows, false },
    { "class_pair_sums", class_pair_sums, false }, { "class_pair_sums", class_pair_sums_unit, false }, { "target_margin", margin_cosine, false },
    { "target_margin", margin_arc, false }, { "target_margin", margin_easy, false },
    { "target_margin", margin_fallback, false }, { "target_margin", margin_clamped, false },
    { "triplet_sum", triplets, false },
    { "mask", mask, false }, { "bank_nce", bank_nce, false }, { "bank_nce", bank_nce_sides, false },
    { "bank_nce", bank_nce_moved, false },
    { "center_columns", center, false }, { "standardize_columns", standardize, false },
    { "standardize_columns", unit_columns, false }, { "scale_columns", scale_columns, false },
    { "column_dot", column_dot, false },
    { "bank_lse", bank_lse, false }, { "bank_lse", bank_lse_l2, false }, { "bank_lse", bank_lse_more, false },
    { "pair_dist", pair_dist, false },
    { "mix_nce", mix_nce, false }, { "mix_nce", mix_nce_hot, false },
    { "lerp", lerp_one, false }, { "lerp", lerp_rows, false }, { "lerp", lerp_columns, false },
    { "lerp", lerp_all, false },
    { "pair_nce", pair_nce, false }, { "pair_nce", pair_nce_some_anchors, false },
    { "pair_nce", pair_nce_views, false }, { "transpose", transpose, false },
    { "symmetric", gram_rows, false }, { "symmetric", gram_columns, false },
    { "one_hot", one_hot, false }, { "ignore_label", ignore_label, false },
    { "mask_rows", mask_rows, false }, { "hard_negatives", hard_negatives, false },
    { "overlap", overlap_linear, false }, { "overlap", overlap_square, false }, { "overlap", overlap_tversky, false },
    { "self_adjust", adjust_softmax, false }, { "self_adjust", adjust_softmax_plain, false },
    { "self_adjust", adjust_two, false }, { "self_adjust", adjust_logistic, false },
    { "self_adjust", adjust_probability, false }, { "sigmoid_xent", sigmoid_xent, false },
    { "focal", focal_two, false }, { "focal", focal_half, false }, { "focal", focal_none, false },
    { "conv2d", block, false },
};
#define N_CASES (sizeof cases / sizeof cases[0])

/* ---- the check ---- */

static bool has_op(const clv_graph *g, const char *op)
{
    for (int32_t i = 0; i < g->n_nodes; i++)
        if (strcmp(g->nodes[i].cls->name, op) == 0) return true;
    return false;
}

/* Writes the float inputs where they are bound, in the graph's type. */
static void put_values(op_test *t)
{
    for (int i = 0; i < t->n_inputs; i++) {
        for (int64_t k = 0; t->real[i] && k < t->count[i]; k++) {
            if (t->g->dtype == CLV_F64) ((double *)t->data[i])[k] = t->value[i][k];
            else ((float *)t->data[i])[k] = (float)t->value[i][k];
        }
    }
}

/* A weighted sum of the operation's output (fixed weights that no two entries share) and its gradients. */
static clv_node finish_graph(op_test *t, clv_node y)
{
    clv_graph *g = t->g;
    int64_t shape[CLV_MAX_DIMS];
    const int ndim = clv_node_shape(g, y, shape);
    assert_ok(clvi_graph_status(g));
    const clv_node r = values(t, ndim, shape);
    const clv_node loss = clv_reduce(g, clv_mul(g, y, r), -1, false);
    clv_graph_output(g, loss);
    assert_ok(clv_graph_backward(g, loss));
    for (int i = 0; i < t->n_inputs; i++)
        if (t->varies[i]) clv_graph_output(g, clv_graph_gradient(g, t->node[i]));
    assert_ok(clv_graph_finish(g));
    for (int i = 0; i < t->n_inputs; i++) {
        const int32_t value = clvi_graph_peek(g, t->node[i]);
        const clvi_desc *desc = &g->values[value].desc;
        const clv_view view = clv_view_dense(t->data[i], desc->dtype, desc->ndim, desc->shape);
        assert_ok(clv_graph_bind(g, t->node[i], &view));
    }
    assert_ok(clv_params_init(g->params, 0));
    return loss;
}

static void build_case(clv_context *ctx, op_test *t, const op_case *c, clv_dtype dtype, bool reference, clv_node *loss)
{
    memset(t, 0, sizeof *t);
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.dtype = dtype;
    desc.training = !c->inference;
    desc.reference = reference;
    assert_ok(clv_graph_create(ctx, &desc, &t->g));
    const clv_node y = c->build(t);
    const bool built = has_op(t->g, c->op);
    *loss = finish_graph(t, y);
    if (!built) assert_int_equal(has_op(t->g, c->op), reference);     /* made of others, for plain kernels alone */
}

static double run_loss(op_test *t, clv_node loss)
{
    clv_view view;
    put_values(t);
    assert_ok(clv_graph_run(t->g));
    assert_ok(clv_graph_read(t->g, loss, &view));
    return t->g->dtype == CLV_F64 ? *(const double *)view.data : *(const float *)view.data;
}

static void read_gradients(op_test *t)
{
    for (int i = 0; i < t->n_inputs; i++) {
        if (!t->varies[i]) continue;
        clv_view view;
        assert_ok(clv_graph_read(t->g, clv_graph_gradient(t->g, t->node[i]), &view));
        for (int64_t k = 0; k < t->count[i]; k++)
            t->grad[i][k] = t->g->dtype == CLV_F64 ? ((const double *)view.data)[k] : ((const float *)view.data)[k];
    }
}

static double largest(const double *x, int64_t n)
{
    double m = 0;
    for (int64_t i = 0; i < n; i++) m = fmax(m, fabs(x[i]));
    return m;
}

static void check_differences(op_test *t, clv_node loss, const char *name)
{
    const double h = 1e-5;
    for (int i = 0; i < t->n_inputs; i++) {
        if (!t->varies[i]) continue;
        const double tolerance = 1e-8 + 1e-6 * fmax(1.0, largest(t->grad[i], t->count[i]));
        for (int64_t k = 0; k < t->count[i]; k++) {
            const double at = t->value[i][k];
            t->value[i][k] = at + h;
            const double up = run_loss(t, loss);
            t->value[i][k] = at - h;
            const double down = run_loss(t, loss);
            t->value[i][k] = at;
            const double want = (up - down) / (2 * h);
            if (!(fabs(want - t->grad[i][k]) <= tolerance))
                fail_msg("%s: input %d, element %d: gradient %.12g, differences give %.12g", name, i, (int)k,
                         t->grad[i][k], want);
        }
    }
}

static void gradients_are_those_of_central_differences(void **state)
{
    clv_context *ctx = test_context(*state, 1);   /* a run is too short for threads */
    static op_test t;
    for (size_t i = 0; i < N_CASES; i++) {
        for (int reference = 0; reference < 2; reference++) {
            clv_node loss;
            build_case(ctx, &t, &cases[i], CLV_F64, reference, &loss);
            (void)run_loss(&t, loss);
            read_gradients(&t);
            char name[64];
            snprintf(name, sizeof name, "case %d, %s%s", (int)i, cases[i].op, reference ? " (reference)" : "");
            check_differences(&t, loss, name);
            clv_graph_destroy(t.g);
        }
    }
    clv_context_destroy(ctx);
}

static void float32_with_any_kernel_agrees_with_plain_float64(void **state)
{
    test_env *env = *state;
    static op_test exact, fast;
    for (size_t c = 0; c < N_CASES; c++) {
        clv_node exact_loss, fast_loss;
        build_case(env->ctx, &exact, &cases[c], CLV_F64, true, &exact_loss);
        build_case(env->ctx, &fast, &cases[c], CLV_F32, false, &fast_loss);
        assert_near(run_loss(&fast, fast_loss), run_loss(&exact, exact_loss), 1e-3);
        read_gradients(&exact);
        read_gradients(&fast);
        for (int i = 0; i < exact.n_inputs; i++) {
            const double tolerance = 1e-4 * fmax(largest(exact.grad[i], exact.count[i]), 0.1);
            for (int64_t k = 0; exact.varies[i] && k < exact.count[i]; k++)
                if (!(fabs(exact.grad[i][k] - fast.grad[i][k]) <= tolerance))
                    fail_msg("case %d, %s: input %d, element %d: %.9g, float64 gives %.9g", (int)c, cases[c].op, i,
                             (int)k, fast.grad[i][k], exact.grad[i][k]);
        }
        clv_graph_destroy(exact.g);
        clv_graph_destroy(fast.g);
    }
}

static void rows_no_longer_than_eps_pass_no_gradient(void **state)
{
    test_env *env = *state;
    for (int reference = 0; reference < 2; reference++) {
        clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
        desc.reference = reference;
        clv_graph *g = NULL;
        assert_ok(clv_graph_create(env->ctx, &desc, &g));
        const clv_node x = clv_input(g, "x", CLV_F32, SHAPE(3, 2)), y = clv_l2norm_rows(g, x, 0.1);
        assert_ok(clv_graph_backward(g, clv_reduce(g, y, -1, false)));
        const clv_node dx = clv_graph_gradient(g, x);
        clv_graph_output(g, y);
        clv_graph_output(g, dx);
        assert_ok(clv_graph_finish(g));
        float data[6] = { 0, 0, 0.03f, 0.04f, 3, 4 };
        clv_view view = clv_view_2d(data, CLV_F32, 3, 2);
        assert_ok(clv_graph_bind(g, x, &view));
        assert_ok(clv_graph_run(g));
        const float want_y[6] = { 0, 0, 0.3f, 0.4f, 0.6f, 0.8f };
        const float want_dx[6] = { 0, 0, 0, 0, 0.2f - 0.6f * 1.4f / 5, 0.2f - 0.8f * 1.4f / 5 };
        assert_ok(clv_graph_read(g, y, &view));
        for (int i = 0; i < 6; i++) assert_near(((const float *)view.data)[i], want_y[i], 1e-6);
        assert_ok(clv_graph_read(g, dx, &view));
        for (int i = 0; i < 6; i++) assert_near(((const float *)view.data)[i], want_dx[i], 1e-6);
        clv_graph_destroy(g);
    }
}

static void every_differentiable_operation_has_a_case(void **state)
{
    (void)state;
    for (int i = 0; clvi_op_class_at(i); i++) {
        const clvi_op_class *cls = clvi_op_class_at(i);
        bool found = !cls->backward;
        for (size_t c = 0; c < N_CASES && !found; c++) found = strcmp(cases[c].op, cls->name) == 0;
        if (!found) fail_msg("operation '%s' is differentiable, but no case checks its gradient", cls->name);
    }
}

static void every_operation_has_a_plain_kernel_unless_it_shares_memory(void **state)
{
    (void)state;
    for (int i = 0; clvi_op_class_at(i); i++) {
        const clvi_op_class *cls = clvi_op_class_at(i);
        bool found = cls->alias;
        for (int k = 0; clvi_kernel_at(k) && !found; k++)
            found = strcmp(clvi_kernel_at(k)->op, cls->name) == 0 && strcmp(clvi_kernel_at(k)->name, "reference") == 0;
        if (!found) fail_msg("operation '%s' has no reference kernel", cls->name);
    }
}

TEST_MAIN(
    TEST(every_differentiable_operation_has_a_case),
    TEST(every_operation_has_a_plain_kernel_unless_it_shares_memory),
    TEST(gradients_are_those_of_central_differences),
    TEST(rows_no_longer_than_eps_pass_no_gradient),
    TEST(float32_with_any_kernel_agrees_with_plain_float64),
)
