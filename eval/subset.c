/* subset.c: a seeded share of every class. */
#include <cleave/eval.h>
#include "core/checked.h"
#include "core/rng.h"
#include "eval/subset.h"

#include <math.h>
#include <stdlib.h>

typedef struct ticket {
    int64_t  label, row;
    uint64_t number;           /* drawn for the row */
} ticket;

static int compare(const void *left, const void *right)
{
    const ticket *a = left, *b = right;
    if (a->label != b->label) return a->label < b->label ? -1 : 1;
    if (a->number != b->number) return a->number < b->number ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

static int64_t wanted(int64_t rows, double share, bool leave_one)
{
    const int64_t take = CLVI_MAX((int64_t)llround(share * (double)rows), INT64_C(1));
    return CLVI_MIN(take, leave_one ? rows - 1 : rows);
}

clv_status clvi_subset_choose(clv_context *ctx, const int64_t *labels, int64_t n, double share, bool leave_one,
                              uint64_t seed, bool *chosen, int64_t *count)
{
    ticket *tickets = clvi_calloc(ctx, (size_t)n, sizeof *tickets);
    if (!tickets) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_SUBSET, leave_one, (uint64_t)i, 0);
        const uint64_t high = clvi_rng_u32(&rng);
        tickets[i] = (ticket){ labels[i], i, high << 32 | clvi_rng_u32(&rng) };
    }
    qsort(tickets, (size_t)n, sizeof *tickets, compare);
    for (int64_t i = 0; i < n; i++) chosen[i] = false;
    *count = 0;
    for (int64_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && tickets[end].label == tickets[first].label; end++) {}
        const int64_t take = wanted(end - first, share, leave_one);
        for (int64_t i = 0; i < take; i++) chosen[tickets[first + i].row] = true;
        *count += take;
    }
    clvi_free(ctx, tickets);
    return CLV_OK;
}

clv_status clv_stratified_subset(clv_context *ctx, const int64_t *labels, int64_t n, double share, uint64_t seed,
                                 bool *chosen, int64_t *count)
{
    CLV_CHECK(ctx && labels && chosen && count && n >= 0, CLV_ERR_INVALID,
              "clv_stratified_subset: an argument is NULL");
    CLV_CHECK(share > 0.0 && share <= 1.0, CLV_ERR_INVALID,
              "clv_stratified_subset: share is %g, expected above 0, up to 1", share);
    return clvi_subset_choose(ctx, labels, n, share, false, seed, chosen, count);
}
