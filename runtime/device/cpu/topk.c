/* topk.c: selecting and sorting scores by the digits of their bits: time depends on their number only. While scores
 * still come, a bound found by halving is enough. */
#include "device/cpu/topk.h"
#include "device/cpu/isa.h"
#include <math.h>

#define DIGITS   3
#define BINS     2048    /* 11, 11 and 10 bits */
#define HALVINGS 16

typedef struct scored {
    uint32_t key;
    int32_t  slot;
} scored;

size_t clvi_topk_scratch(int64_t candidates)
{
    return (size_t)candidates * 2 * sizeof(scored) + DIGITS * BINS * sizeof(uint32_t);
}

/* Unsigned numbers in the order of floats; -0 is 0. */
static uint32_t key_of(float x)
{
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, sizeof bits);
    return bits ^ (bits >> 31 ? UINT32_MAX : UINT32_C(1) << 31);
}

static float score_of(uint32_t key)
{
    const uint32_t bits = key ^ (key >> 31 ? UINT32_C(1) << 31 : UINT32_MAX);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Digit 0 is the lowest. */
static uint32_t digit(uint32_t key, int i)
{
    static const int shift[DIGITS] = { 0, 10, 21 };
    static const uint32_t mask[DIGITS] = { 1023, 2047, 2047 };
    return key >> shift[i] & mask[i];
}

/* The rank-th largest of n keys (1: the largest), which are overwritten; *equal: how many of those equal to it are
 * among the `rank` largest. */
static uint32_t select_key(uint32_t *keys, int64_t n, int64_t rank, uint32_t *bins, int64_t *equal)
{
    for (int i = DIGITS - 1; i >= 0; i--) {
        memset(bins, 0, BINS * sizeof *bins);
        for (int64_t k = 0; k < n; k++) bins[digit(keys[k], i)]++;
        uint32_t bin = BINS - 1;
        while (bins[bin] < rank) rank -= bins[bin--];
        int64_t left = 0;
        for (int64_t k = 0; k < n; k++) {
            const uint32_t key = keys[k];
            keys[left] = key;
            left += digit(key, i) == bin;
        }
        n = left;
    }
    *equal = rank;
    return keys[0];
}

/* The key of the top-th largest score of a list that has as many; *equal as select_key's. */
static uint32_t last_key(const clvi_topk *list, int64_t top, void *scratch, int64_t *equal)
{
    uint32_t *bins = scratch, *keys = bins + DIGITS * BINS;
    for (int64_t i = 0; i < list->count; i++) keys[i] = key_of(list->score[i]);
    return select_key(keys, list->count, top, bins, equal);
}

void clvi_topk_trim(clvi_topk *list, int64_t top, void *scratch)
{
    if (list->count <= top) return;
    int64_t equal, n = 0;
    const uint32_t last = last_key(list, top, scratch, &equal);
    for (int64_t i = 0; i < list->count; i++) {
        const uint32_t key = key_of(list->score[i]);
        list->score[n] = list->score[i];
        list->slot[n] = list->slot[i];
        const int64_t tie = key == last && equal > 0;
        equal -= tie;
        n += (key > last) | tie;
    }
    list->count = n;
    list->floor = score_of(last);
}

/* ---- thinning ---- */

typedef struct census {
    const float *score;
    float        bound, smallest, largest;
    int64_t      above;             /* how many are larger than the bound */
} census;

CLVI_INLINE void take_census(void *arg, int64_t begin, int64_t end)
{
    census *c = arg;
    clvi_v16f v, min = { 0 }, max = { 0 };
    clvi_v16i above = { 0 };
    min += c->score[begin];
    max += c->score[begin];
    for (int64_t i = begin; i < end; i += CLVI_LANES) {
        clvi_load16(&v, c->score, i, end, c->bound);
        above -= v > c->bound;
        const clvi_v16i smaller = v < min, larger = v > max;
        clvi_select16(&min, &smaller, &v, &min);
        clvi_select16(&max, &larger, &v, &max);
    }
    c->above = 0;
    c->smallest = c->largest = c->score[begin];
    for (int k = 0; k < CLVI_LANES; k++) {
        c->above += above[k];
        c->smallest = min[k] < c->smallest ? min[k] : c->smallest;
        c->largest = max[k] > c->largest ? max[k] : c->largest;
    }
}
CLVI_ISA_VARIANTS(take_census)

/* A bound that `top` to `most` scores are above; false: none was found. */
static bool find_bound(const clvi_topk *list, int64_t top, int64_t most, float *bound)
{
    const clvi_range_fn count = clvi_isa_pick(take_census_table);
    census c = { .score = list->score, .bound = list->floor };
    count(&c, 0, list->count);
    float low = c.smallest, high = c.largest;
    if (!(high - low < INFINITY)) return false;
    for (int i = 0; i < HALVINGS; i++) {
        *bound = c.bound = low + (high - low) / 2;
        count(&c, 0, list->count);
        if (c.above >= top && c.above <= most) return true;
        *(c.above < top ? &high : &low) = c.bound;
    }
    return false;
}

/* Keeps what is above a bound. */
static void cut(clvi_topk *list, float bound)
{
    int64_t n = 0;
    for (int64_t i = 0; i < list->count; i++) {
        const float score = list->score[i];
        list->score[n] = score;
        list->slot[n] = list->slot[i];
        n += score > bound;
    }
    list->count = n;
    list->floor = bound;
}

void clvi_topk_thin(clvi_topk *list, int64_t top, void *scratch)
{
    float bound;
    if (find_bound(list, top, top + top / 8, &bound)) cut(list, bound);
    else clvi_topk_trim(list, top, scratch);
}

void clvi_topk_thin_within(clvi_topk *list, int64_t top, float margin, void *scratch)
{
    float bound;
    int64_t equal;
    if (list->count <= top) return;
    if (!find_bound(list, top, top + top / 8, &bound)) bound = score_of(last_key(list, top, scratch, &equal));
    cut(list, bound - margin);
}

/* ---- sorting ---- */

/* One stable pass by digit i, largest first. */
static void sort_pass(const scored *from, scored *to, int64_t n, uint32_t *bins, int i)
{
    uint32_t begin = 0;
    for (int bin = BINS - 1; bin >= 0; bin--) {
        const uint32_t count = bins[bin];
        bins[bin] = begin;
        begin += count;
    }
    for (int64_t k = 0; k < n; k++) to[bins[digit(from[k].key, i)]++] = from[k];
}

void clvi_topk_sort(clvi_topk *list, void *scratch)
{
    uint32_t *bins = scratch;
    scored *a = (scored *)(bins + DIGITS * BINS), *b = a + list->count;
    memset(bins, 0, DIGITS * BINS * sizeof *bins);
    for (int64_t k = 0; k < list->count; k++) {
        a[k] = (scored) { key_of(list->score[k]), list->slot[k] };
        for (int i = 0; i < DIGITS; i++) bins[i * BINS + (int64_t)digit(a[k].key, i)]++;
    }
    sort_pass(a, b, list->count, bins, 0);
    sort_pass(b, a, list->count, bins + BINS, 1);
    sort_pass(a, b, list->count, bins + 2 * BINS, 2);
    for (int64_t k = 0; k < list->count; k++) {
        list->score[k] = score_of(b[k].key);
        list->slot[k] = b[k].slot;
    }
}
