/* calls_banks.c: calls of the operations on banks. */
#include "tests/support/calls_make.h"

/* Rows of bank_nce moved: mixed as given in variant 1, as drawn and then scaled in variant 2. */
static void make_move(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    clvi_bank_nce_attr *a = &t->attr.bank_nce;
    if (variant == 1) IN(f, 2, s.c, 1, 0), IN(CLV_I64, 1, s.c, 0, 0);
    else ABSENT, ABSENT;
    ABSENT;
    a->mix = variant == 1 || variant == 2;
    a->unit = variant == 2;
    a->eps = 1e-12;
    a->lambda = (clvi_draw_attr) { .seed = 3, .dtype = (int)f, .rows = s.c, .cols = s.b, .alpha = 1.6 };
    a->index = (clvi_draw_attr) { .seed = 3, .stream = 1, .rows = s.c, .cols = 1 };
}

/* bank_nce with a list or with moved rows, and bank_topk. */
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
    if (nce) make_move(t, f, s, variant);
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

/* Mixes with ranks in variants 0 and 1, else with queries. */
static void make_mix_rows(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const int64_t top = CLVI_MIN(s.c, 5), mixes = variant % 2 ? 19 : 3;
    IN(f, 2, s.c, s.b, 0), IN(CLV_I64, 2, s.a, top, 0), IN(CLV_I64, 2, s.a, mixes, 0), IN(f, 2, s.a, mixes, 0);
    if (variant / 2) ABSENT, IN(f, 2, s.a, s.b, 0);
    else IN(CLV_I64, 2, s.a, mixes, 0), ABSENT;
    OUT(f, 3, s.a, mixes, s.b);
    t->attr.mix = (clvi_mix_attr){ .eps = 1e-12 };
    t->target_limit = CLVI_MIN(s.c, 6);
}

static clvi_draw_attr draw_attr(clv_dtype f, int variant)
{
    return (clvi_draw_attr){ .seed = 2026, .step = INT64_C(5000000000) + variant, .stream = (uint32_t)variant,
                             .dtype = (int)f, .alpha = 0.3 + variant, .offset = variant % 2 };
}

/* Lists end in ranks without a row now and then; the step is an input in half of the variants. */
static void make_mochi_draw(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    const int64_t pairs = variant ? 7 : 0, queries = variant == 1 ? 0 : 5;
    IN(CLV_I64, 2, s.a, s.c, 0);
    if (variant % 2) IN(CLV_I64, 1, 1, 0, 0);
    else ABSENT;
    OUT(CLV_I64, 2, s.a, pairs, 0), OUT(CLV_I64, 2, s.a, pairs, 0), OUT(f, 2, s.a, pairs, 0);
    OUT(CLV_I64, 2, s.a, queries, 0), OUT(f, 2, s.a, queries, 0);
    t->attr.draw = draw_attr(f, variant);
    t->attr.draw.rows = pairs, t->attr.draw.cols = queries;
    t->target_limit = 2;
}

static void make_beta_draw(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    if (variant % 2) IN(CLV_I64, 1, 1, 0, 0);
    else ABSENT;
    OUT(f, 2, s.a, s.b, 0);
    t->attr.draw = draw_attr(f, variant);
    t->attr.draw.rows = s.a, t->attr.draw.cols = s.b;
    if (variant == 2) t->attr.draw.step = -1;
    t->target_limit = 1000;
}

static void make_permutation(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    if (variant % 2) IN(CLV_I64, 1, 1, 0, 0);
    else ABSENT;
    OUT(CLV_I64, 1, s.a * s.c, 0, 0);
    t->attr.draw = draw_attr(f, variant);
    t->attr.draw.rows = s.a * s.c;
    t->target_limit = 1000;
}

static void make_topk_same(test_call *t, clv_dtype f, sizes s, int variant)
{
    clvi_op_call *c = &t->call;
    (void)variant;
    IN(CLV_I64, 2, s.a, CLVI_MIN(s.c, 300), 0), IN(CLV_I64, 1, s.a, 0, 0), IN(CLV_I64, 1, s.c, 0, 0);
    OUT(f, 1, s.a, 0, 0);
    t->attr.topk_same = (clvi_topk_same_attr){ (int)f };
    t->target_limit = CLVI_MIN(s.c, 4);
}

const test_call_entry test_calls_banks[] = {
    { "bank_nce", make_bank, SUMS }, { "bank_topk", make_bank, EXACT }, { "mix_rows", make_mix_rows, SUMS },
    { "mix_nce", make_mix_nce, SUMS }, { "mochi_draw", make_mochi_draw, EXACT },
    { "beta_draw", make_beta_draw, EXACT }, { "permutation", make_permutation, EXACT },
    { "topk_same", make_topk_same, EXACT }, { "bank_lse", make_bank_lse, SUMS },
    { NULL, NULL, SUMS },
};
