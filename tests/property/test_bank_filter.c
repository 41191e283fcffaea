/* test_bank_filter.c: the list of a bank's most similar rows has the same slots and the same bits of scores for many
 * queries at once, when products of rounded rows may choose what is scored at all, as for few, when they do not:
 * whatever the rows are. */
#include "core/rng.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <cleave/graph.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES = 641, KEYS = 4999, FEW = 300 };

typedef struct problem {
    int64_t  dim, top;
    float   *query, *bank;
    uint8_t *valid;                  /* NULL, as the ids: all rows count */
    int64_t *ids, *bank_ids;
    int64_t *slots;                  /* the answer: [QUERIES, top] */
    float   *scores;
} problem;

/* How rows are made. */
enum {
    SPREAD, CLUSTERS, REPEATED, SOME_NARROW, ALL_ALIKE, ALL_EQUAL, TINY, LARGE, TOO_LARGE, NOT_FINITE, MIXED_SIZES,
    KINDS
};

static float value_of(clvi_rng *rng, int kind, bool bank, int64_t row, int64_t d)
{
    const double noise = clvi_rng_uniform(rng, -1, 1);
    switch (kind) {
    case CLUSTERS: return (float)(noise + (d % 7 == row % 7));
    case SOME_NARROW:                       /* products with some queries are all about 0 */
        if (bank) return (float)(d == 0 ? 1e-3 * noise : noise);
        return row % 100 == 53 ? 0 : row % 100 == 3 ? d == 0 : (float)noise;
    case ALL_ALIKE: return (float)(1 + 1e-3 * noise);
    case ALL_EQUAL: return 0.125f * (float)(d % 3);
    case TINY: return (float)(noise * (row % 2 ? 1e-39 : 1e-20));
    case LARGE: return (float)(noise * 1e12);
    case TOO_LARGE: return bank && row == KEYS / 2 ? 1e17f : (float)noise;
    case NOT_FINITE:
        if (bank && d == 0 && (row == 12 || row == KEYS - 7)) return row == 12 ? INFINITY : NAN;
        return (float)noise;
    case MIXED_SIZES: return (float)(noise * exp2((double)(row % 23) - 11));
    default: return (float)noise;
    }
}

static float *make_rows(int kind, bool bank, int64_t n, int64_t dim)
{
    float *rows = malloc((size_t)(n * dim) * sizeof *rows);
    assert_non_null(rows);
    for (int64_t i = 0; i < n; i++) {
        const int64_t same = kind == REPEATED && bank ? i % 50 : i;
        clvi_rng rng = clvi_rng_make(3, CLVI_RNG_TEST, (uint64_t)kind, (uint64_t)same, bank);
        for (int64_t d = 0; d < dim; d++) rows[i * dim + d] = value_of(&rng, kind, bank, i, d);
    }
    return rows;
}

static problem make(int kind, int64_t dim, int64_t top)
{
    problem p = { .dim = dim, .top = top, .query = make_rows(kind, false, QUERIES, dim),
                  .bank = make_rows(kind, true, KEYS, dim), .slots = calloc(QUERIES * (size_t)top, sizeof *p.slots),
                  .scores = calloc(QUERIES * (size_t)top, sizeof *p.scores) };
    assert_true(p.slots && p.scores);
    return p;
}

/* Three rows in four count, and rows that do not hold NaN; every query skips the rows that carry its id. */
static void restrict_rows(problem *p)
{
    p->valid = malloc(KEYS);
    p->ids = malloc(QUERIES * sizeof *p->ids);
    p->bank_ids = malloc(KEYS * sizeof *p->bank_ids);
    assert_true(p->valid && p->ids && p->bank_ids);
    for (int64_t i = 0; i < KEYS; i++) {
        p->valid[i] = i % 4 != 1;
        p->bank_ids[i] = i % 5;
        if (!p->valid[i]) p->bank[i * p->dim] = NAN;
    }
    for (int64_t i = 0; i < QUERIES; i++) p->ids[i] = i % 6 - 1;
}

static void release(problem *p)
{
    free(p->query), free(p->bank), free(p->valid), free(p->ids), free(p->bank_ids), free(p->slots), free(p->scores);
}

static void bind(clv_graph *g, clv_node node, clv_view view)
{
    assert_ok(clv_graph_bind(g, node, &view));
}

/* Lists of queries [first, first + n). */
static void search(clv_context *ctx, const problem *p, int64_t first, int64_t n, int64_t *slots, float *scores)
{
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_bank_topk_desc topk = CLV_BANK_TOPK_DESC_INIT;
    clv_graph *g = NULL;
    clv_node best;
    clv_view view;
    assert_ok(clv_graph_create(ctx, &desc, &g));
    topk.query = clv_input(g, "query", CLV_F32, 2, (int64_t[]) { n, p->dim });
    topk.bank = clv_input(g, "bank", CLV_F32, 2, (int64_t[]) { KEYS, p->dim });
    if (p->valid) topk.valid = clv_input(g, "valid", CLV_U8, 1, (int64_t[]) { KEYS });
    if (p->ids) topk.ids = clv_input(g, "ids", CLV_I64, 1, &n);
    if (p->ids) topk.bank_ids = clv_input(g, "bank_ids", CLV_I64, 1, (int64_t[]) { KEYS });
    topk.top = p->top;
    const clv_node list = clv_bank_topk(g, &topk, &best);
    clv_graph_output(g, list);
    clv_graph_output(g, best);
    assert_ok(clv_graph_finish(g));
    bind(g, topk.query, clv_view_2d(p->query + first * p->dim, CLV_F32, n, p->dim));
    bind(g, topk.bank, clv_view_2d(p->bank, CLV_F32, KEYS, p->dim));
    if (p->valid) bind(g, topk.valid, clv_view_1d(p->valid, CLV_U8, KEYS));
    if (p->ids) bind(g, topk.ids, clv_view_1d(p->ids + first, CLV_I64, n));
    if (p->ids) bind(g, topk.bank_ids, clv_view_1d(p->bank_ids, CLV_I64, KEYS));
    assert_ok(clv_graph_run(g));
    assert_ok(clv_graph_read(g, list, &view));
    memcpy(slots + first * p->top, view.data, (size_t)(n * p->top) * sizeof *slots);
    assert_ok(clv_graph_read(g, best, &view));
    memcpy(scores + first * p->top, view.data, (size_t)(n * p->top) * sizeof *scores);
    clv_graph_destroy(g);
}

/* All at once, on one thread and on three, and few at a time. */
static void check(test_env *t, problem *p)
{
    const size_t count = QUERIES * (size_t)p->top;
    int64_t *slots = malloc(count * sizeof *slots);
    float *scores = malloc(count * sizeof *scores);
    assert_true(slots && scores);
    for (int64_t first = 0; first < QUERIES; first += FEW)
        search(t->ctx, p, first, QUERIES - first < FEW ? QUERIES - first : FEW, p->slots, p->scores);
    for (int threads = 1; threads <= 3; threads += 2) {
        clv_context *ctx = test_context(t, threads);
        search(ctx, p, 0, QUERIES, slots, scores);
        assert_memory_equal(slots, p->slots, count * sizeof *slots);
        assert_memory_equal(scores, p->scores, count * sizeof *scores);
        clv_context_destroy(ctx);
    }
    free(slots), free(scores);
}

static void lists_do_not_depend_on_how_many_queries_come_together(void **state)
{
    static const int64_t dims[] = { 1, 33, 64 }, tops[] = { 1, 200, 312 };
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 3; i++) {
            problem p = make(kind, dims[i], tops[(kind + i) % 3]);
            check(*state, &p);
            release(&p);
        }
}

static void rows_that_do_not_count_are_not_listed_and_never_read(void **state)
{
    static const int kinds[] = { SPREAD, CLUSTERS, REPEATED, SOME_NARROW };
    for (int i = 0; i < 4; i++) {
        problem p = make(kinds[i], 40, 50);
        restrict_rows(&p);
        check(*state, &p);
        for (int64_t k = 0; k < QUERIES * p.top; k++) {
            const int64_t slot = p.slots[k], id = p.ids[k / p.top];
            assert_true(slot >= 0 && p.valid[slot] && (id < 0 || p.bank_ids[slot] != id));
        }
        release(&p);
    }
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lists_do_not_depend_on_how_many_queries_come_together),
        TEST(rows_that_do_not_count_are_not_listed_and_never_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa_and_bf16(run_all);
}
