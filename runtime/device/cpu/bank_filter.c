/* bank_filter.c: bank_topk for many queries where the processor multiplies bfloat16 itself (AVX512-BF16), twice as fast
 * as float32. Products of rounded rows choose the few keys of the bank that can be in a list at all; those are scored
 * again as bank_nce.c scores them, by the same float32 operations in the same order: slots and scores have its bits.
 *
 * With q = q' + dq and k = k' + dk, where q' and k' are the rounded rows, Cauchy and Schwarz give
 *   |<q,k> - <q',k'>| <= |dq| |k| + |q'| |dk|
 * and with the rounding of both sums, D terms long, a bound E on how far a rounded score is from the float32 one, for
 * all keys, from the largest |k|, |k'| and |dk| of the bank. If `top` rounded scores are above b, `top` scores
 * are above b - E, and a key whose rounded score is below b - 2E cannot be listed.
 *
 * Queries whose scores are too close to each other for this to choose get all scores made again; where there are many
 * of them, or rows are very long, bank_nce.c does it all. */
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include "device/cpu/topk.h"
#include "device/device.h"
#include <math.h>
#include <stdatomic.h>

extern const clvi_kernel clvi_kernel_cpu_bank_topk;

#if defined(__x86_64__)
#include <immintrin.h>

#define PANEL         48      /* keys: three vectors */
#define GROUP         8       /* queries: with a panel they fill the registers */
#define BLOCK         64      /* queries that walk the bank together: as many groups as a group has queries */
#define CHAINS        8       /* scores made again at a time: as many sums as hide the latency of one */
#define FAILED_SHARE  32      /* one query in so many may get all its scores made again, which takes long */
#define MIN_QUERIES   512     /* fewer do not repay packing the bank */
#define MIN_KEYS      4096    /* a list has room for a quarter of the bank at most */
#define MAX_DIM       16384   /* the bound on rounding holds far beyond */
#define LARGEST       1e15    /* of a row's length: no product comes near the largest float */

/* Lengths of a row, of its rounded values, and of what rounding left over. */
typedef struct lengths {
    double whole, rounded, rest;
} lengths;

typedef struct filter {
    const clvi_op_call  *call;
    int64_t              batch, keys, dim, top;
    const float         *query, *bank;
    const unsigned char *valid;
    const int64_t       *ids, *bank_ids;
    int64_t              words;                /* pairs of values of a row */
    int64_t              blocks, panels;
    int64_t              candidates;           /* room of a list */
    size_t               margins, norms, queries, packed, thread;     /* in scratch, in bytes */
    size_t               rounded, list_rows, select, thread_size, size;
    atomic_bool          hopeless;             /* bank_nce.c is to do it */
    atomic_int_fast64_t  failed;               /* queries that got all scores made again */
} filter;

static size_t take(size_t *offset, int64_t count, size_t size)
{
    const size_t at = *offset;
    *offset += ((size_t)count * size + CLVI_ALIGN - 1) / CLVI_ALIGN * CLVI_ALIGN;
    return at;
}

static void plan(filter *f, const clvi_op_call *call)
{
    f->call = call;
    f->batch = call->in[0].shape[0], f->dim = call->in[0].shape[1], f->keys = call->in[1].shape[0];
    f->top = call->out[0].shape[1];
    f->words = (f->dim + 1) / 2;
    f->blocks = (f->batch + BLOCK - 1) / BLOCK;
    f->panels = (f->keys + PANEL - 1) / PANEL;
    f->candidates = 3 * f->top + 4 * PANEL;
    f->margins = take(&f->size, f->blocks * BLOCK, sizeof(float));
    f->norms = take(&f->size, f->panels, sizeof(lengths));
    f->queries = take(&f->size, f->blocks * BLOCK * f->words, sizeof(uint32_t));
    f->packed = take(&f->size, f->panels * PANEL * f->words, sizeof(uint32_t));
    f->rounded = take(&f->thread_size, f->words, sizeof(uint32_t));
    f->list_rows = take(&f->thread_size, BLOCK * f->candidates, sizeof(float) + sizeof(int32_t));
    f->select = take(&f->thread_size, (int64_t)clvi_topk_scratch(f->candidates), 1);
    f->thread = take(&f->size, clv_context_threads(call->ctx), f->thread_size);
}

static void *scratch_at(const filter *f, size_t offset)
{
    return (char *)f->call->scratch + offset;
}

static void *thread_at(const filter *f, size_t offset)
{
    return scratch_at(f, f->thread + (size_t)clvi_thread_index() * f->thread_size + offset);
}

/* ---- rounding and packing ---- */

/* Values d .. d+15 of a row of n, zeros beyond its end. */
CLVI_INLINE CLVI_TARGET_AVX512_BF16 __m512 load(const float *row, int64_t d, int64_t n)
{
    const __mmask16 there = n - d < 16 ? (__mmask16)((1u << (n - d)) - 1) : (__mmask16)-1;
    return _mm512_maskz_loadu_ps(there, row + d);
}

CLVI_INLINE CLVI_TARGET_AVX512_BF16 double sum_of(__m512d v)
{
    return _mm512_reduce_add_pd(v);
}

CLVI_INLINE CLVI_TARGET_AVX512_BF16 __m512d add_squares(__m512d sum, __m512 v)
{
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    return _mm512_fmadd_pd(high, high, _mm512_fmadd_pd(low, low, sum));
}

/* A row as pairs of bfloat16, `step` words from one to the next. */
CLVI_TARGET_AVX512_BF16 static lengths pack_row(const filter *f, const float *row, uint32_t *to, int64_t step)
{
    uint32_t *pairs = thread_at(f, f->rounded);
    __m512d whole = _mm512_setzero_pd(), rounded = whole, rest = whole;
    for (int64_t d = 0; d < f->dim; d += 16) {
        const __m512 v = load(row, d, f->dim);
        const __m256i half = (__m256i)_mm512_cvtneps_pbh(v);
        const __m512 back = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
        whole = add_squares(whole, v);
        rounded = add_squares(rounded, back);
        rest = add_squares(rest, _mm512_sub_ps(v, back));
        const int64_t words = CLVI_MIN(f->words - d / 2, 8);
        memcpy(pairs + d / 2, &half, (size_t)words * sizeof *pairs);
    }
    for (int64_t w = 0; w < f->words; w++) to[w * step] = pairs[w];
    return (lengths) { sqrt(sum_of(whole)), sqrt(sum_of(rounded)), sqrt(sum_of(rest)) };
}

/* The larger; what is no number stays. */
static double larger(double a, double b)
{
    return a > b || isnan(a) ? a : b;
}

/* Panels of the bank, interleaved [words][PANEL], and the largest lengths of each. Rows that do not count are zeros. */
static void pack_panels(void *arg, int64_t begin, int64_t end)
{
    const filter *f = arg;
    for (int64_t p = begin; p < end; p++) {
        uint32_t *to = (uint32_t *)scratch_at(f, f->packed) + p * PANEL * f->words;
        lengths most = { 0 };
        for (int64_t i = 0; i < PANEL; i++) {
            const int64_t key = p * PANEL + i;
            if (key < f->keys && (!f->valid || f->valid[key])) {
                const lengths l = pack_row(f, f->bank + key * f->dim, to + i, PANEL);
                most = (lengths) { larger(l.whole, most.whole), larger(l.rounded, most.rounded),
                                   larger(l.rest, most.rest) };
            } else {
                for (int64_t w = 0; w < f->words; w++) to[w * PANEL + i] = 0;
            }
        }
        ((lengths *)scratch_at(f, f->norms))[p] = most;
    }
}

/* 2E, rounded up. Both sums have `dim` terms and lose an ulp at each, or the smallest normal number; twice that also
 * covers what comparing b - 2E in float32 loses. */
static double margin_of(const filter *f, const lengths *q, const lengths *k)
{
    const double dim = (double)f->dim, sums = q->whole * k->whole + q->rounded * k->rounded;
    const double bound = q->rest * k->whole + q->rounded * k->rest + (dim + 8) * 0x1p-23 * sums + dim * 0x1p-123;
    return 2 * bound * (1 + 1e-6);
}

/* Queries in groups, interleaved [words][GROUP], and the margin of each; arg's bank is packed. */
static void pack_queries(void *arg, int64_t begin, int64_t end)
{
    filter *f = arg;
    const lengths *norms = scratch_at(f, f->norms);
    float *margin = scratch_at(f, f->margins);
    for (int64_t q = begin; q < end; q++) {
        uint32_t *to = (uint32_t *)scratch_at(f, f->queries) + q / GROUP * GROUP * f->words + q % GROUP;
        if (q >= f->batch) {
            for (int64_t w = 0; w < f->words; w++) to[w * GROUP] = 0;
            continue;
        }
        const lengths l = pack_row(f, f->query + q * f->dim, to, GROUP);
        margin[q] = (float)margin_of(f, &l, norms);
        if (!(l.whole <= LARGEST)) f->hopeless = true;
    }
}

/* The largest lengths of all panels become those of the first. */
static void join_norms(filter *f)
{
    lengths *norms = scratch_at(f, f->norms), most = { 0 };
    for (int64_t p = 0; p < f->panels; p++)
        most = (lengths) { larger(norms[p].whole, most.whole), larger(norms[p].rounded, most.rounded),
                           larger(norms[p].rest, most.rest) };
    norms[0] = most;
    if (!(most.whole <= LARGEST)) f->hopeless = true;
}

/* ---- choosing ---- */

/* Rounded scores of a group of queries and a panel that are above the queries' floors. */
typedef struct found {
    uint64_t above[GROUP];       /* bit i: key i of the panel */
    float    score[GROUP][PANEL];    /* set where a query has any */
} found;

CLVI_TARGET_AVX512_BF16 static void score_panel(const uint32_t *query, const uint32_t *panel, int64_t words,
                                                const float floors[GROUP], found *out)
{
    __m512 sum[GROUP][3];
#pragma GCC unroll 8
    for (int i = 0; i < GROUP; i++) sum[i][0] = sum[i][1] = sum[i][2] = _mm512_setzero_ps();
    for (int64_t w = 0; w < words; w++, query += GROUP, panel += PANEL) {
        const __m512bh a = (__m512bh)_mm512_load_si512(panel), b = (__m512bh)_mm512_load_si512(panel + 16),
                       c = (__m512bh)_mm512_load_si512(panel + 32);
#pragma GCC unroll 8
        for (int i = 0; i < GROUP; i++) {
            const __m512bh q = (__m512bh)_mm512_set1_epi32((int)query[i]);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], q, a);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], q, b);
            sum[i][2] = _mm512_dpbf16_ps(sum[i][2], q, c);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < GROUP; i++) {
        const __m512 floor = _mm512_set1_ps(floors[i]);
        const uint64_t a = _mm512_cmp_ps_mask(sum[i][0], floor, _CMP_GT_OQ),
                       b = _mm512_cmp_ps_mask(sum[i][1], floor, _CMP_GT_OQ),
                       c = _mm512_cmp_ps_mask(sum[i][2], floor, _CMP_GT_OQ);
        out->above[i] = a | b << 16 | c << 32;
        if (!out->above[i]) continue;
        for (int j = 0; j < 3; j++) _mm512_storeu_ps(out->score[i] + 16 * j, sum[i][j]);
    }
}

static bool counts(const filter *f, int64_t query, int64_t key)
{
    if (key >= f->keys || (f->valid && !f->valid[key])) return false;
    return !f->ids || !f->bank_ids || f->ids[query] < 0 || f->ids[query] != f->bank_ids[key];
}

/* What was found for one query joins its list. When there are too many that close to each other, it takes no more. */
static void join_list(const filter *f, int64_t query, int64_t first, uint64_t above, const float *score,
                      clvi_topk *list)
{
    const float margin = ((const float *)scratch_at(f, f->margins))[query];
    if (list->count + PANEL > f->candidates) clvi_topk_thin_within(list, f->top, margin, thread_at(f, f->select));
    if (list->count + PANEL > f->candidates) {
        list->floor = INFINITY;
        return;
    }
    for (; above; above &= above - 1) {
        const int i = __builtin_ctzll(above);
        if (!counts(f, query, first + i)) continue;
        list->score[list->count] = score[i];
        list->slot[list->count++] = (int32_t)(first + i);
    }
}

/* Words from `part` * `words` on, of what the next groups will read. */
static void ask_for_part(const uint32_t *panel, int64_t part, int64_t words)
{
    const char *from = (const char *)(panel + part * words);
    for (int64_t at = 0; at < words * (int64_t)sizeof *panel; at += CLVI_ALIGN) __builtin_prefetch(from + at, 0, 2);
}

/* One block of queries through the bank. While it reads a panel, each of its groups asks for a part of the next. */
static void walk(const filter *f, int64_t block, clvi_topk list[BLOCK])
{
    const uint32_t *queries = (const uint32_t *)scratch_at(f, f->queries) + block * BLOCK * f->words;
    const int64_t groups = (CLVI_MIN(BLOCK, f->batch - block * BLOCK) + GROUP - 1) / GROUP;
    found out;
    for (int64_t p = 0; p < f->panels; p++) {
        const uint32_t *panel = (const uint32_t *)scratch_at(f, f->packed) + p * PANEL * f->words;
        for (int64_t g = 0; g < groups; g++) {
            ask_for_part(panel + PANEL * f->words, g, PANEL / GROUP * f->words);
            float floors[GROUP];
            for (int64_t i = 0; i < GROUP; i++) floors[i] = list[g * GROUP + i].floor;
            score_panel(queries + g * GROUP * f->words, panel, f->words, floors, &out);
            for (int64_t i = 0; i < GROUP; i++)
                if (out.above[i])
                    join_list(f, block * BLOCK + g * GROUP + i, p * PANEL, out.above[i], out.score[i],
                              &list[g * GROUP + i]);
        }
    }
}

/* ---- scoring again ---- */

/* The row of place i of a list, or of its last place. */
static const float *row_at(const filter *f, const clvi_topk *list, int64_t i)
{
    return f->bank + list->slot[CLVI_MIN(i, list->count - 1)] * f->dim;
}

/* Scores of float32 from place `at` on, value after value as bank_nce.c adds them. The next rows are asked for, since
 * they lie anywhere. */
CLVI_TARGET_AVX512_BF16 static void score_again(const filter *f, const float *query, clvi_topk *list, int64_t at)
{
    for (; at < list->count; at += CHAINS) {
        const float *row[CHAINS];
        float sum[CHAINS] = { 0 };
        for (int i = 0; i < CHAINS; i++) {
            const float *next = row_at(f, list, at + CHAINS + i);
            for (int64_t d = 0; d < f->dim; d += 16) __builtin_prefetch(next + d);
            row[i] = row_at(f, list, at + i);
        }
        for (int64_t d = 0; d < f->dim; d++)
#pragma GCC unroll 8
            for (int i = 0; i < CHAINS; i++) sum[i] = __builtin_fmaf(query[d], row[i][d], sum[i]);
        for (int64_t i = 0; i < CHAINS && at + i < list->count; i++) list->score[at + i] = sum[i];
    }
}

/* The list of a query whose scores are too close to each other, from all of them. */
static void list_all(const filter *f, int64_t query, clvi_topk *list)
{
    const float *row = f->query + query * f->dim;
    int64_t scored = 0;
    list->count = 0;
    for (int64_t key = 0; key < f->keys; key++) {
        if (list->count == f->candidates) {
            score_again(f, row, list, scored);
            clvi_topk_thin(list, f->top, thread_at(f, f->select));
            scored = list->count;
        }
        if (counts(f, query, key)) list->slot[list->count++] = (int32_t)key;
    }
    score_again(f, row, list, scored);
}

static void write_list(const filter *f, int64_t query, clvi_topk *list)
{
    void *scratch = thread_at(f, f->select);
    if (list->floor == INFINITY) {
        list_all(f, query, list);
    } else {
        clvi_topk_thin_within(list, f->top, ((const float *)scratch_at(f, f->margins))[query], scratch);
        score_again(f, f->query + query * f->dim, list, 0);
    }
    clvi_topk_trim(list, f->top, scratch);
    clvi_topk_sort(list, scratch);
    int64_t *slots = clvi_ref_output(f->call, 0);
    float *scores = clvi_ref_output(f->call, 1);
    for (int64_t i = 0; i < f->top; i++) {
        const bool there = i < list->count;
        if (slots) slots[query * f->top + i] = there ? list->slot[i] : -1;
        if (scores) scores[query * f->top + i] = there ? list->score[i] : 0;
    }
}

/* Slots of a block without a query look for nothing. */
static void list_blocks(void *arg, int64_t begin, int64_t end)
{
    filter *f = arg;
    clvi_topk list[BLOCK];
    for (int64_t block = begin; block < end && !f->hopeless; block++) {
        const int64_t count = CLVI_MIN(BLOCK, f->batch - block * BLOCK);
        float *room = thread_at(f, f->list_rows);
        for (int64_t q = 0; q < BLOCK; q++, room += 2 * f->candidates)
            list[q] = (clvi_topk) { .score = room, .slot = (int32_t *)(room + f->candidates),
                                    .floor = q < count ? -INFINITY : INFINITY };
        walk(f, block, list);
        for (int64_t q = 0; q < count; q++) f->failed += list[q].floor == INFINITY;
        if (f->failed > f->batch / FAILED_SHARE) f->hopeless = true;
        for (int64_t q = 0; q < count && !f->hopeless; q++) write_list(f, block * BLOCK + q, &list[q]);
    }
}

/* ---- the kernel ---- */

static bool accepts(const clvi_op_call *call)
{
    const clvi_desc *query = &call->in[0], *bank = &call->in[1];
    return clvi_cpu_isa() >= CLVI_ISA_AVX512_BF16 && query->dtype == CLV_F32 && bank->dtype == CLV_F32 &&
           query->shape[0] >= MIN_QUERIES && bank->shape[0] >= MIN_KEYS && bank->shape[0] <= INT32_MAX &&
           query->shape[1] <= MAX_DIM && call->out[0].shape[1] <= bank->shape[0] / 16;
}

static clv_status prepare(clvi_op_call *call)
{
    filter f = { .size = 0 };
    CLV_TRY(clvi_kernel_cpu_bank_topk.prepare(call));
    plan(&f, call);
    call->scratch_size = CLVI_MAX(call->scratch_size, f.size);
    return CLV_OK;
}

static clv_status run(const clvi_op_call *call)
{
    filter f = { .query = call->in_data[0], .bank = call->in_data[1], .valid = call->in_data[2],
                 .ids = call->in_data[3], .bank_ids = call->in_data[4] };
    plan(&f, call);
    clvi_parallel_for(call->ctx, f.panels, 64, pack_panels, &f);
    join_norms(&f);
    if (!f.hopeless) clvi_parallel_for(call->ctx, f.blocks * BLOCK, BLOCK, pack_queries, &f);
    if (!f.hopeless) clvi_parallel_for(call->ctx, f.blocks, 1, list_blocks, &f);
    return f.hopeless ? clvi_kernel_cpu_bank_topk.run(call) : CLV_OK;
}

#else

static bool accepts(const clvi_op_call *call)
{
    (void)call;
    return false;
}

static clv_status prepare(clvi_op_call *call)
{
    return clvi_kernel_cpu_bank_topk.prepare(call);
}

static clv_status run(const clvi_op_call *call)
{
    return clvi_kernel_cpu_bank_topk.run(call);
}

#endif

const clvi_kernel clvi_kernel_cpu_bank_filter = {
    .op = "bank_topk", .name = "cpu_bf16", .accepts = accepts, .prepare = prepare, .run = run,
};
