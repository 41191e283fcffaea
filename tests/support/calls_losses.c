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
    for (int i = 0; i < 4 && !backward; i++) OUT(f, 0, 0, 0, 0);
    if (backward) OUT(f, 2, s.a, s.b, 0);
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

const test_call_entry test_calls_losses[] = {
    { "softmax_xent", make_softmax_xent }, { "softmax_xent_bwd", make_softmax_xent },
    { "pair_nce", make_pair_nce }, { "pair_nce_bwd", make_pair_nce },
    { "class_pair_sums", make_class_pair_sums }, { "class_pair_sums_bwd", make_class_pair_sums },
    { "overlap", make_overlap }, { "overlap_bwd", make_overlap },
    { "self_adjust", make_self_adjust }, { "self_adjust_bwd", make_self_adjust },
    { "pair_dist", make_pair_dist }, { "pair_dist_bwd", make_pair_dist },
    { "center_columns", make_columns }, { "column_dot", make_columns }, { "standardize_columns", make_columns },
    { "standardize_columns_bwd", make_columns }, { "scale_columns", make_columns },
    { NULL, NULL },
};
