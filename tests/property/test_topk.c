/* test_topk.c: the list of the largest scores is the one that sorting everything gives, whatever comes in whatever
 * order, with equal scores, zeros of both signs and infinities among them, and however often it is thinned on the way. */
#include "core/rng.h"
#include "device/cpu/topk.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <cleave/graph.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct scored {
    float   score;
    int32_t slot;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

/* How the scores of a stream are made. */
enum { SPREAD, FEW_VALUES, RISING, FALLING, ALL_EQUAL, EXTREME, KINDS };

static float score_of(clvi_rng *rng, int kind, int64_t i)
{
    static const float extreme[] = { INFINITY, 3e38f, 1, 1e-45f, 0, -0.0f, -1e-45f, -1, -3e38f };
    switch (kind) {
    case SPREAD: return (float)clvi_rng_uniform(rng, -1, 1);
    case FEW_VALUES: return (float)clvi_rng_below(rng, 5) - 2;
    case RISING: return (float)i;
    case FALLING: return (float)-i;
    case EXTREME: return extreme[clvi_rng_below(rng, sizeof extreme / sizeof *extreme)];
    default: return -0.25f;
    }
}

/* Sends a stream through a list that is thinned whenever it is full, as a walk over a bank does. */
static void send(clvi_topk *list, const scored *all, int64_t n, int64_t top, int64_t room, void *scratch)
{
    for (int64_t i = 0; i < n; i++) {
        if (list->count == room) clvi_topk_thin(list, top, scratch);
        assert_true(list->count < room);
        if (!(all[i].score > list->floor)) continue;
        list->score[list->count] = all[i].score;
        list->slot[list->count++] = all[i].slot;
    }
    clvi_topk_trim(list, top, scratch);
    clvi_topk_sort(list, scratch);
}

static void check_stream(clvi_rng *rng, int kind, int64_t n, int64_t top)
{
    const int64_t room = 2 * top + (int64_t)clvi_rng_below(rng, 40) + 1;
    scored *all = calloc((size_t)n + 1, sizeof *all);
    clvi_topk list = { .score = calloc((size_t)room, sizeof *list.score),
                       .slot = calloc((size_t)room, sizeof *list.slot), .floor = -INFINITY };
    void *scratch = malloc(clvi_topk_scratch(room));
    assert_true(all && list.score && list.slot && scratch);
    for (int64_t i = 0; i < n; i++) all[i] = (scored) { score_of(rng, kind, i), (int32_t)i };
    send(&list, all, n, top, room, scratch);
    qsort(all, (size_t)n, sizeof *all, by_score);
    assert_int_equal(list.count, n < top ? n : top);
    for (int64_t i = 0; i < list.count; i++) {
        assert_int_equal(list.slot[i], all[i].slot);
        assert_true(list.score[i] == all[i].score);
    }
    free(all), free(list.score), free(list.slot), free(scratch);
}

static void a_list_is_what_sorting_everything_gives(void **state)
{
    static const int64_t lengths[] = { 0, 1, 2, 15, 16, 17, 97, 1009, 4096 }, tops[] = { 1, 2, 7, 16, 101, 1024 };
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 9; i++)
            for (int k = 0; k < 6; k++) {
                clvi_rng rng = clvi_rng_make(1, CLVI_RNG_TEST, 0, (uint64_t)(kind * 100 + i * 10 + k), 0);
                check_stream(&rng, kind, lengths[i], tops[k]);
            }
}

static void any_length_and_any_top_will_do(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 300; i++) {
        clvi_rng rng = clvi_rng_make(2, CLVI_RNG_TEST, 0, i, 0);
        const int kind = (int)clvi_rng_below(&rng, KINDS);
        const int64_t n = (int64_t)clvi_rng_below(&rng, 3000), top = 1 + (int64_t)clvi_rng_below(&rng, 300);
        check_stream(&rng, kind, n, top);
    }
}

/* ---- through the operation ---- */

/* The three best of a bank of rows of one value, for the query 1. */
static void best_three(test_env *t, bool reference, const float *rows, int64_t n, int64_t slots[3], float scores[3])
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.reference = reference;
    clv_graph *g = NULL;
    assert_ok(clv_graph_create(t->ctx, &desc, &g));
    clv_bank_topk_desc topk = CLV_BANK_TOPK_DESC_INIT;
    float one = 1;
    clv_node best;
    topk.query = clv_input(g, "q", CLV_F32, 2, (int64_t[]) { 1, 1 });
    topk.bank = clv_input(g, "bank", CLV_F32, 2, (int64_t[]) { n, 1 });
    topk.top = 3;
    const clv_node list = clv_bank_topk(g, &topk, &best);
    clv_graph_output(g, list);
    clv_graph_output(g, best);
    assert_ok(clv_graph_finish(g));
    const clv_view q = clv_view_2d(&one, CLV_F32, 1, 1), bank = clv_view_2d((void *)(uintptr_t)rows, CLV_F32, n, 1);
    assert_ok(clv_graph_bind(g, topk.query, &q));
    assert_ok(clv_graph_bind(g, topk.bank, &bank));
    assert_ok(clv_graph_run(g));
    clv_view view;
    assert_ok(clv_graph_read(g, list, &view));
    memcpy(slots, view.data, 3 * sizeof *slots);
    assert_ok(clv_graph_read(g, best, &view));
    memcpy(scores, view.data, 3 * sizeof *scores);
    clv_graph_destroy(g);
}

static void what_is_no_number_is_not_listed_and_ties_go_to_the_lower_slot(void **state)
{
    test_env *t = *state;
    static const float rows[2][5] = { { 1, NAN, 2, 2, NAN }, { NAN, -INFINITY, 0, NAN, -0.0f } };
    static const int64_t want[2][3] = { { 2, 3, 0 }, { 2, 4, -1 } };
    for (int i = 0; i < 2; i++)
        for (int reference = 0; reference < 2; reference++) {
            int64_t slots[3];
            float scores[3];
            best_three(t, reference, rows[i], 5, slots, scores);
            assert_memory_equal(slots, want[i], sizeof slots);
            assert_true(scores[0] == (i ? 0 : 2) && scores[2] == (i ? 0 : 1));
        }
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_list_is_what_sorting_everything_gives),
        TEST(any_length_and_any_top_will_do),
        TEST(what_is_no_number_is_not_listed_and_ties_go_to_the_lower_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa(run_all);
}
