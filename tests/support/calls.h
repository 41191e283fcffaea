/* calls.h: calls of kernels with made-up data, for tests that hold one kernel against another: shapes from the awkward
 * to the large, several variants of each operation's attributes, inputs drawn from a fixed seed. */
#ifndef CLEAVE_TESTS_SUPPORT_CALLS_H
#define CLEAVE_TESTS_SUPPORT_CALLS_H

#include "device/attr.h"
#include "device/sync_norm.h"
#include "device/device.h"
#include "tests/support/test.h"

#define TEST_CALL_VARIANTS 4

/* How near an operation's results must come. */
typedef enum test_call_kind {
    TEST_CALL_SUMS,          /* sums of many, or chains of functions */
    TEST_CALL_POINTWISE,     /* a few roundings each */
    TEST_CALL_EXACT          /* the same bits everywhere: copies, choices, masks, draws */
} test_call_kind;

/* Three sizes that each operation puts to its own use. */
typedef struct test_sizes {
    int64_t a, b, c;
} test_sizes;

extern const test_sizes test_call_sizes[];
extern const int test_call_n_sizes;

typedef struct test_call {
    clvi_op_call call;
    union {
        clvi_matmul_attr   matmul;
        clvi_add_attr      add;
        clvi_scale_attr    scale;
        clvi_l2norm_attr   l2norm;
        clvi_class_pairs_attr class_pairs;
        clvi_bank_nce_attr bank_nce;
        clvi_standardize_attr standardize;
        clvi_pair_nce_attr    pair_nce;
        clvi_bank_lse_attr    bank_lse;
        clvi_bank_topk_attr bank_topk;
        clvi_mix_attr      mix;
        clvi_draw_attr     draw;
        clvi_topk_same_attr topk_same;
        clvi_reduce_attr      reduce;
        clvi_one_hot_attr     one_hot;
        clvi_overlap_attr     overlap;
        clvi_self_adjust_attr self_adjust;
        clvi_focal_attr       focal;
        clvi_shape_attr       shape;
        clvi_layer_norm_attr  layer_norm;
        clvi_attention_attr   attention;
        clvi_conv2d_attr      conv2d;
        clvi_conv2d_norm_attr conv2d_norm;
        clvi_pixels_attr      pixels;
        clvi_clamp_attr       clamp;
        clvi_batch_norm_attr  batch_norm;
        clvi_sync_norm_attr   sync_norm;
        clvi_pool2d_attr      pool2d;
        clvi_concat_attr      concat;
        clvi_slice_attr       slice;
        clvi_iota_attr        iota;
        clvi_widen_attr       widen;
        clvi_label_pairs_attr label_pairs;
        clvi_ignore_label_attr ignore_label;
        clvi_row_stats_attr   row_stats;
        clvi_gather_rows_attr gather_rows;
        clvi_target_margin_attr target_margin;
        clvi_triplet_sum_attr triplet_sum;
        clvi_box_filter_attr  box_filter;
        clvi_hard_negatives_attr hard_negatives;
        clvi_drop_path_attr   drop_path;
        clvi_block_mask_attr  block_mask;
    } attr;
    int64_t target_limit;    /* int64 inputs lie in [-1, target_limit) */
    double  low, high;       /* of float inputs */
    double  grid;            /* they are multiples of 1/grid: sums and ties are exact; 0: anything */
    int64_t depth;           /* how many products one result adds up */
    test_call_kind kind;
    bool    rounds;          /* to bfloat16, though results are given in float32 */
    double  slack[CLVI_MAX_OUT];   /* what outputs may be off beyond the rounding of their type */
} test_call;

/* Shapes, types, attributes and ranges of a call of `op`; no memory yet. False: nobody wrote a case for it. */
bool test_call_make(test_call *t, clv_context *ctx, const char *op, clv_dtype type, test_sizes s, int variant);
/* Inputs, each in a block of exactly its size. */
void test_call_fill(test_call *t);
void test_call_free(test_call *t);
/* A block of exactly `bytes`, so that a checker of memory sees a step too far. */
void *test_call_block(size_t bytes);
double test_call_element(const clvi_desc *d, const void *data, int64_t i);
/* Fails unless the outputs agree within the rounding of the type and the depth of the sums, or to the bit if they are
 * no floats or the call is TEST_CALL_EXACT. What is not a number is never right. */
void test_call_check_close(const test_call *t, void *got[CLVI_MAX_OUT], void *want[CLVI_MAX_OUT], int variant);

#endif
