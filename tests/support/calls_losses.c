/* calls_losses.c: calls of the operations of losses. */
#include "tests/support/calls_make.h"

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

static void make_pair_dist(test_call *t, clv_dtype f, sizes s, int variant)
{
    (void)variant;
    clvi_op_call *c = &t->call;
    if (is(c, "pair_dist_bwd")) IN(f, 2, s.a, s.a, 0);
    IN(f, 2, s.a, s.b, 0);
    if (is(c, "pair_dist_bwd")) OUT(f, 2, s.a, s.b, 0);
    else OUT(f, 2, s.a, s.a, 0);
    t->depth = s.a + s.b;
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
    if (backward) IN(f, 1, s.a, 0, 0), IN(f, 1, s.b, 0, 0);
    for (int i = 0; i < 4 && !backward; i++) OUT(f, 0, 0, 0, 0);
    if (backward) OUT(f, 2, s.a, s.b, 0);
    else OUT(f, 1, s.a, 0, 0), OUT(f, 1, s.b, 0, 0);
    t->attr.class_pairs = (clvi_class_pairs_attr){ .unit = variant % 2 == 0, .eps = variant == 2 ? 0.5 : 1e-12 };
    if (backward) t->low = 0.2;
    t->target_limit = variant < 2 ? 7 : 1;
    t->depth = s.a * s.b;
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

static void make_log_sum_exp_rows(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const bool backward = is(c, "log_sum_exp_rows_bwd");
    if (backward) IN(f, 1, s.a, 0, 0);
    IN(f, 2, s.a, s.b, 0);
    if (variant % 2) IN(CLV_U8, 2, s.a, s.b, 0);
    else ABSENT;
    if (backward) IN(f, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0);
    else OUT(f, 1, s.a, 0, 0);
    t->high = variant < 2 || backward ? 1 : 30;
    t->low = -t->high;
}

/* pick, put: with a value in half of the variants. */
static void make_pick(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0);
    IN(CLV_I64, 1, s.a, 0, 0);
    if (is(c, "pick")) OUT(f, 1, s.a, 0, 0);
    else OUT(f, 2, s.a, s.b, 0);
    if (is(c, "put") && variant % 2) IN(f, 1, s.a, 0, 0);
    else if (is(c, "put")) ABSENT;
    t->target_limit = s.b;
}

static void make_gather_rows(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const int64_t rows = variant % 2 ? s.c : CLVI_MIN(s.c, 5);
    if (is(c, "gather_rows")) IN(f, 2, rows, s.b, 0), IN(CLV_I64, 1, s.a, 0, 0), OUT(f, 2, s.a, s.b, 0);
    else IN(f, 2, s.a, s.b, 0), IN(CLV_I64, 1, s.a, 0, 0), OUT(f, 2, rows, s.b, 0);
    t->attr.gather_rows.rows = rows;
    t->target_limit = rows;
}

/* Every mode; margins as an input, or cosines clamped, in half of the variants. */
static void make_target_margin(test_call *t, clv_dtype f, sizes s, int variant)
{
    static const int modes[VARIANTS] = { CLVI_MARGIN_COSINE, CLVI_MARGIN_ARC, CLVI_MARGIN_EASY, CLVI_MARGIN_FALLBACK };
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0);
    IN(CLV_I64, 1, s.a, 0, 0);
    if (variant % 2) IN(f, 1, s.a, 0, 0);
    else ABSENT;
    if (is(c, "target_margin_bwd")) IN(f, 1, s.a, 0, 0);
    OUT(f, 2, s.a, s.b, 0), OUT(f, 1, s.a, 0, 0);
    t->attr.target_margin = (clvi_target_margin_attr){ .scale = 1.25, .margin = 0.4, .clamp = variant / 2 ? 0.3 : 0,
                                                       .mode = modes[variant] };
    t->low = -0.9, t->high = 0.9;
    t->target_limit = s.b;
    t->depth = 20;            /* the slope near the edge */
}

/* Distances with ties. */
static void make_triplets(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const int64_t n = is(c, "triplet_sum") ? s.a % 60 : s.a;
    IN(f, 2, n, n, 0);
    IN(CLV_I64, 1, n, 0, 0);
    if (is(c, "triplet_sum")) OUT(f, 0, 0, 0, 0), OUT(f, 0, 0, 0, 0), OUT(f, 0, 0, 0, 0), OUT(f, 2, n, n, 0);
    else OUT(CLV_I64, 1, n, 0, 0), OUT(CLV_I64, 1, n, 0, 0), OUT(CLV_U8, 1, n, 0, 0);
    t->attr.triplet_sum.margin = 0.25;
    t->target_limit = variant < 2 ? 3 : 20;
    t->low = 0, t->high = 3;
    t->grid = variant % 2 ? 4 : 64;
}

static void make_box_filter(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    IN(f, 2, s.a, s.b, 0);
    IN(CLV_U8, 2, s.a, s.b, 0);
    OUT(CLV_U8, 2, s.a, s.b, 0);
    for (int i = 0; i < 5; i++) OUT(f, 0, 0, 0, 0);
    t->attr.box_filter.reach = variant / 2 ? 0.125 : 1.5;
    t->grid = variant % 2 ? 8 : 0;
}

static void make_hard_negatives(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const int64_t n = s.a * s.b;
    IN(f, 1, n, 0, 0);
    IN(CLV_I64, 1, n, 0, 0);
    if (variant % 2) IN(CLV_U8, 1, n, 0, 0);
    else ABSENT;
    OUT(CLV_U8, 1, n, 0, 0), OUT(CLV_I64, 0, 0, 0, 0);
    t->attr.hard_negatives = (clvi_hard_negatives_attr){ .ratio = variant % 2 ? 1.5 : 0.1, .official = variant / 2 };
    t->target_limit = 2;
    t->grid = s.a % 2 ? 8 : 0;
}

const test_call_entry test_calls_losses[] = {
    { "softmax_xent", make_softmax_xent, SUMS }, { "softmax_xent_bwd", make_softmax_xent, SUMS },
    { "pair_nce", make_pair_nce, SUMS }, { "pair_nce_bwd", make_pair_nce, SUMS },
    { "class_pair_sums", make_class_pair_sums, SUMS }, { "class_pair_sums_bwd", make_class_pair_sums, SUMS },
    { "overlap", make_overlap, POINTWISE }, { "overlap_bwd", make_overlap, POINTWISE },
    { "self_adjust", make_self_adjust, SUMS }, { "self_adjust_bwd", make_self_adjust, SUMS },
    { "pair_dist", make_pair_dist, SUMS }, { "pair_dist_bwd", make_pair_dist, SUMS },
    { "center_columns", make_columns, SUMS }, { "column_dot", make_columns, SUMS },
    { "standardize_columns", make_columns, SUMS }, { "standardize_columns_bwd", make_columns, SUMS },
    { "scale_columns", make_columns, POINTWISE }, { "log_sum_exp_rows", make_log_sum_exp_rows, SUMS },
    { "log_sum_exp_rows_bwd", make_log_sum_exp_rows, SUMS }, { "pick", make_pick, EXACT },
    { "put", make_pick, EXACT }, { "gather_rows", make_gather_rows, EXACT },
    { "gather_rows_bwd", make_gather_rows, SUMS }, { "target_margin", make_target_margin, SUMS },
    { "target_margin_bwd", make_target_margin, SUMS }, { "hardest_pairs", make_triplets, EXACT },
    { "triplet_sum", make_triplets, SUMS }, { "box_filter", make_box_filter, SUMS },
    { "hard_negatives", make_hard_negatives, EXACT },
    { NULL, NULL, SUMS },
};
