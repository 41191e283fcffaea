/* bank_nce.c: InfoNCE against a bank of float32 or bfloat16 rows, in one walk over it. Formula and edge cases as in
 * ref_bank_nce.c.
 *
 * A walk takes a block of queries through a segment of the bank, tile by tile:
 *   scores    P[q][k] = <q, n_k> / t          a register-tiled product
 *   weigh     P = e^{P - max}, added to sum   the maximum is kept online; when it rises, sum and acc are rescaled
 *                                             (Milakov and Gimelshein 2018, arXiv:1805.02867); for unit rows it is 1/t
 *   gather    acc[q] += P[q][k] n_k           a register-tiled product
 * so that loss and gradient leave together, and nothing of size B K is ever stored. Segments and blocks depend on the
 * shapes alone and are joined in order: the same bits with any number of threads.
 *
 * Rows of bfloat16 are widened tile by tile. Where the processor multiplies bfloat16 itself (AVX512-BF16), it gets each
 * query as a sum of two, which keeps the scores' precision, and the weights of the gather rounded; sums are float32.
 * Then the packed words of the products below, a float each, are pairs of bfloat16: of values of a row for the scores,
 * of rows for the gather. */
#include "core/bf16.h"
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define TILE_KEYS     192     /* a multiple of every panel's width and of CLVI_LANES */
#define MAX_QUERIES   256     /* of a block: P and the packed tile stay in the second-level cache */
#define QUERY_STEP    24      /* a multiple of every score tile's height and of 3 */
#define MAX_SEGMENTS  8
#define SEGMENT_KEYS  2048    /* at least */
#define MIN_WALKS     8       /* wanted, so that there is work for several threads */
#define CONSTANT_FROM 0.03    /* temperature from which e^{-2/t} is far from the smallest float */

/* ---- the products, for each instruction set ---- */

#define LANES 4
#define TILE_Q 4
#define TERMS 1
#define TILE_D 4
#define FMA(a, b, c) ((a) * (b) + (c))
#define TARGET
#define TILE(name) name##_plain
#include "device/cpu/bank_nce_tile.h"

#if defined(__x86_64__)
#define LANES 8
#define TILE_Q 4
#define TERMS 1
#define TILE_D 4
#define FMA(a, b, c) ((TILE(vec))_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define TARGET CLVI_TARGET_AVX2
#define TILE(name) name##_avx2
#include "device/cpu/bank_nce_tile.h"

#define LANES 16
#define TILE_Q 8
#define TERMS 1
#define TILE_D 8
#define FMA(a, b, c) ((TILE(vec))_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define TARGET CLVI_TARGET_AVX512
#define TILE(name) name##_avx512
#include "device/cpu/bank_nce_tile.h"

#define LANES 16
#define TILE_Q 8
#define TERMS 2
#define TILE_D 8
#define FMA(a, b, c) ((TILE(vec))_mm512_dpbf16_ps((__m512)(c), (__m512bh)(a), (__m512bh)(b)))
#define TARGET CLVI_TARGET_AVX512_BF16
#define TILE(name) name##_avx512_bf16
#include "device/cpu/bank_nce_tile.h"
#endif

/* ---- weighing one query's scores ---- */

/* What a query has seen of its segment. */
typedef struct running {
    double sum;      /* of e^{score - max} */
    float  max;      /* -inf before the first key that counts */
} running;

/* Scores of `count` keys become weights. keep: all ones for a key that counts, 0 for one that does not; NULL: all do.
 * acc is rescaled when the maximum rises; a constant maximum never does. */
CLVI_INLINE void weigh_body(float *score, int64_t count, const int32_t *keep, bool constant, running *r, float *acc,
                            int64_t columns)
{
    clvi_v16f v, max16, nothing;
    clvi_v16i k16;
    for (int i = 0; i < CLVI_LANES; i++) nothing[i] = -INFINITY;
    max16 = nothing;
    for (int64_t j = count; j % CLVI_LANES; j++) score[j] = -INFINITY;
    for (int64_t j = 0; (keep || !constant) && j < count; j += CLVI_LANES) {
        memcpy(&v, score + j, sizeof v);
        if (keep) {
            memcpy(&k16, keep + j, sizeof k16);
            clvi_select16(&v, &k16, &v, &nothing);
            memcpy(score + j, &v, sizeof v);
        }
        const clvi_v16i larger = v > max16;
        clvi_select16(&max16, &larger, &v, &max16);
    }
    float max = r->max;
    for (int i = 0; !constant && i < CLVI_LANES; i++) max = max16[i] > max ? max16[i] : max;
    if (max > r->max) {
        const float factor = expf(r->max - max);
        r->sum *= factor;
        r->max = max;
#pragma GCC ivdep
        for (int64_t c = 0; c < columns; c++) acc[c] *= factor;
    }
    const float shift = max == -INFINITY ? 0 : max;    /* nothing counts so far: e^{-inf}, not e^{-inf + inf} */
    clvi_v16f sum16 = { 0 };
    for (int64_t j = 0; j < count; j += CLVI_LANES) {
        memcpy(&v, score + j, sizeof v);
        v -= shift;
        clvi_exp16(&v);
        sum16 += v;
        memcpy(score + j, &v, sizeof v);
    }
    clvi_v8d total = { 0 };
    clvi_add16(&total, &sum16);
    r->sum += clvi_total8(&total);
}

#define WEIGH(isa, target)                                                                                             \
    target static void weigh_##isa(float *score, int64_t count, const int32_t *keep, bool constant, running *r,        \
                                   float *acc, int64_t columns)                                                        \
    {                                                                                                                  \
        weigh_body(score, count, keep, constant, r, acc, columns);                                                     \
    }
WEIGH(plain, )
#if defined(__x86_64__)
WEIGH(avx2, CLVI_TARGET_AVX2)
WEIGH(avx512, CLVI_TARGET_AVX512)

/* The weights move together as bfloat16. */
CLVI_TARGET_AVX512_BF16 static void weigh_avx512_bf16(float *score, int64_t count, const int32_t *keep, bool constant,
                                                      running *r, float *acc, int64_t columns)
{
    weigh_body(score, count, keep, constant, r, acc, columns);
    for (int64_t j = 0; j < count; j += CLVI_LANES) {
        const __m256bh half = _mm512_cvtneps_pbh(_mm512_loadu_ps(score + j));
        memcpy((uint16_t *)score + j, &half, sizeof half);
    }
}
#endif

typedef struct tile_isa {
    int64_t queries, keys;   /* of a score tile */
    bool    pairs;           /* words are pairs of bfloat16 */
    void (*scores)(const float *query, const float *panel, int64_t dim, float *score, int64_t stride);
    void (*accumulate)(const float *weight, int64_t weight_stride, const float *row, int64_t row_stride, int64_t count,
                       float *acc, int64_t acc_stride, int64_t columns);
    void (*weigh)(float *score, int64_t count, const int32_t *keep, bool constant, running *r, float *acc,
                  int64_t columns);
} tile_isa;

static const tile_isa *tile_for_isa(bool bf16)
{
    static const tile_isa plain = { 4, 12, false, scores_plain, accumulate_all_plain, weigh_plain };
#if defined(__x86_64__)
    static const tile_isa avx2 = { 4, 24, false, scores_avx2, accumulate_all_avx2, weigh_avx2 };
    static const tile_isa avx512 = { 8, 48, false, scores_avx512, accumulate_all_avx512, weigh_avx512 };
    static const tile_isa avx512_bf16 = { 8, 48, true, scores_avx512_bf16, accumulate_all_avx512_bf16,
                                          weigh_avx512_bf16 };
    if (bf16 && clvi_cpu_isa() >= CLVI_ISA_AVX512_BF16) return &avx512_bf16;
    if (clvi_cpu_isa() >= CLVI_ISA_AVX512) return &avx512;
    if (clvi_cpu_isa() >= CLVI_ISA_AVX2) return &avx2;
#else
    (void)bf16;
#endif
    return &plain;
}

/* ---- how the work is cut, and where it lives ---- */

typedef struct plan {
    int64_t batch, dim, keys;
    int64_t columns;                       /* dim, rounded up to CLVI_LANES */
    int64_t block, blocks;                 /* queries of a block, a multiple of QUERY_STEP; number of blocks */
    int64_t segment, segments;             /* keys of a segment; number of segments */
    size_t  queries, acc, state, thread;   /* where in scratch, in bytes; `thread` is the first thread's part */
    size_t  packed, rows, keep;            /* where in a thread's part; P is at 0 */
    size_t  thread_size, size;
} plan;

static int64_t round_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

static size_t take(size_t *offset, int64_t count, size_t size)
{
    const size_t at = *offset;
    *offset += ((size_t)count * size + CLVI_ALIGN - 1) / CLVI_ALIGN * CLVI_ALIGN;
    return at;
}

static plan plan_of(const clvi_op_call *call)
{
    plan p = { .batch = call->in[0].shape[0], .dim = call->in[0].shape[1], .keys = call->in[2].shape[0] };
    p.columns = round_up(p.dim, CLVI_LANES);
    p.segments = CLVI_MIN(CLVI_MAX(p.keys / SEGMENT_KEYS, 1), MAX_SEGMENTS);
    p.segment = round_up((p.keys + p.segments - 1) / p.segments, TILE_KEYS);
    const int64_t wanted = (MIN_WALKS + p.segments - 1) / p.segments;
    p.block = CLVI_MIN(round_up((p.batch + wanted - 1) / wanted, QUERY_STEP), round_up(MAX_QUERIES, QUERY_STEP));
    p.block = CLVI_MAX(p.block, QUERY_STEP);
    p.blocks = (p.batch + p.block - 1) / p.block;
    const int64_t slots = p.blocks * p.block;
    p.queries = take(&p.size, slots * (p.dim + 1), sizeof(float));   /* or pairs, twice */
    p.acc = take(&p.size, p.segments * slots * p.columns, sizeof(float));
    p.state = take(&p.size, p.segments * slots, sizeof(running));
    (void)take(&p.thread_size, p.block * TILE_KEYS, sizeof(float));
    p.packed = take(&p.thread_size, TILE_KEYS * p.dim, sizeof(float));
    p.rows = take(&p.thread_size, TILE_KEYS * p.columns, sizeof(float));
    p.keep = take(&p.thread_size, 2 * TILE_KEYS, sizeof(int32_t));
    p.thread = take(&p.size, call->ctx->threads, p.thread_size);
    return p;
}

typedef struct walk {
    const clvi_op_call *call;
    const tile_isa     *isa;
    plan                p;
    int64_t             words;      /* of a packed key */
    int64_t             terms;      /* words of a query for one of a key */
    float               inverse_t;
    bool                bf16;       /* rows of the bank */
    bool                constant;   /* all logits lie in [-1/t, 1/t]: that is the maximum */
    bool                gradient;
} walk;

static void *scratch_at(const walk *w, size_t offset)
{
    return (char *)w->call->scratch + offset;
}

static float *acc_at(const walk *w, int64_t segment, int64_t query)
{
    const int64_t slot = segment * w->p.blocks * w->p.block + query;
    return (float *)scratch_at(w, w->p.acc) + slot * w->p.columns;
}

static running *state_at(const walk *w, int64_t segment, int64_t query)
{
    return (running *)scratch_at(w, w->p.state) + segment * w->p.blocks * w->p.block + query;
}

typedef uint32_t word __attribute__((may_alias));

/* A pair of bfloat16, and what rounding leaves over. */
static word round_pair(float pair[2])
{
    const uint16_t a = clvi_bf16_round(pair[0]), b = clvi_bf16_round(pair[1]);
    pair[0] -= clvi_bf16_value(a);
    pair[1] -= clvi_bf16_value(b);
    return a | (word)b << 16;
}

/* Value d of a query over t, or a pair of values in two words; `step` is from one word to the next. */
static void pack_value(const walk *w, const float *query, int64_t d, word *to, int64_t step)
{
    if (w->isa->pairs) {
        float pair[2] = { query[2 * d] * w->inverse_t, 2 * d + 1 < w->p.dim ? query[2 * d + 1] * w->inverse_t : 0 };
        to[0] = round_pair(pair);
        to[step] = round_pair(pair);
    } else {
        const float value = query[d] * w->inverse_t;
        memcpy(to, &value, sizeof value);
    }
}

/* Queries over t, interleaved in groups as high as a score tile; zeros beyond the batch. */
static void pack_queries(void *arg, int64_t begin, int64_t end)
{
    const walk *w = arg;
    const int64_t height = w->isa->queries, step = w->terms * height;
    const float *q = w->call->in_data[0];
    for (int64_t g = begin; g < end; g++) {
        word *to = (word *)scratch_at(w, w->p.queries) + g * step * w->words;
        memset(to, 0, (size_t)(step * w->words) * sizeof *to);
        for (int64_t d = 0; d < w->words; d++)
            for (int64_t i = 0; i < height && g * height + i < w->p.batch; i++)
                pack_value(w, q + (g * height + i) * w->p.dim, d, to + d * step + i, height);
    }
}

/* ---- one tile of the bank ---- */

typedef struct tile {
    int64_t        first, count;     /* keys of the bank */
    const float   *rows;             /* what the gather adds up: words `stride` apart, one for each key or pair of keys;
                                      * keys that do not count may be zeros */
    int64_t        stride, steps;
    const int32_t *keep;             /* NULL: all count */
    float         *score;            /* [block][TILE_KEYS] */
    float         *packed;           /* panels [words][panel width] */
    int32_t       *keep_query;       /* room for one query's keys */
} tile;

static void pack_panel(const word *rows, int64_t stride, int64_t count, int64_t words, int64_t width, word *to)
{
    for (int64_t k = 0; k < width; k++) {
        const word *row = rows + k * stride;
        if (k < count)
            for (int64_t d = 0; d < words; d++) to[d * width + k] = row[d];
        else
            for (int64_t d = 0; d < words; d++) to[d * width + k] = 0;
    }
}

static void pack_panels(const walk *w, const tile *t, const void *rows, int64_t stride)
{
    const int64_t width = w->isa->keys;
    for (int64_t k = 0; k < t->count; k += width)
        pack_panel((const word *)rows + k * stride, stride, t->count - k, w->words, width,
                   (word *)t->packed + k * w->words);
}

static bool counts(const tile *t, int64_t key)
{
    return !t->keep || t->keep[key];
}

/* float32 rows as long as whole vectors, zeros where a key does not count: the memory of an unused slot may hold
 * anything. */
static void copy_rows(const walk *w, const tile *t, float *to)
{
    const int64_t dim = w->p.dim, at = t->first * dim;
    memset(to, 0, (size_t)(t->count * w->p.columns) * sizeof *to);
    for (int64_t k = 0; k < t->count; k++, to += w->p.columns) {
        if (!counts(t, k)) continue;
        const uint16_t *half = (const uint16_t *)w->call->in_data[2] + at + k * dim;
        if (!w->bf16) memcpy(to, (const float *)w->call->in_data[2] + at + k * dim, (size_t)dim * sizeof *to);
        else for (int64_t d = 0; d < dim; d++) to[d] = clvi_bf16_value(half[d]);
    }
}

static void load_rows(const walk *w, tile *t, float *room)
{
    t->rows = room;
    t->stride = w->p.columns;
    t->steps = t->count;
    if (w->bf16 || t->keep || w->p.columns != w->p.dim) copy_rows(w, t, room);
    else t->rows = (const float *)w->call->in_data[2] + t->first * w->p.dim;
    pack_panels(w, t, t->rows, t->stride);
}

/* bfloat16 rows of whole words, zeros where a key does not count. */
static const uint16_t *copy_halves(const walk *w, const tile *t, uint16_t *to)
{
    const int64_t dim = w->p.dim, stride = 2 * w->words;
    const uint16_t *bank = (const uint16_t *)w->call->in_data[2] + t->first * dim;
    if (!t->keep && stride == dim && (uintptr_t)bank % sizeof(word) == 0) return bank;
    memset(to, 0, (size_t)(t->count * stride) * sizeof *to);
    for (int64_t k = 0; k < t->count; k++)
        if (counts(t, k)) memcpy(to + k * stride, bank + k * dim, (size_t)dim * sizeof *to);
    return to;
}

/* Half of the room takes rows, half takes pairs of them. */
static void load_pairs(const walk *w, tile *t, float *room)
{
    const int64_t stride = 2 * w->words, columns = w->p.columns;
    const uint16_t *rows = copy_halves(w, t, (uint16_t *)room);
    word *pair = (word *)room + TILE_KEYS / 2 * columns;
    t->rows = (const float *)pair;
    t->stride = columns;
    t->steps = (t->count + 1) / 2;
    for (int64_t k = 0; k < t->count; k += 2, pair += columns) {
        const uint16_t *a = rows + k * stride, *b = a + stride;
        if (k + 1 < t->count) for (int64_t d = 0; d < stride; d++) pair[d] = a[d] | (word)b[d] << 16;
        else for (int64_t d = 0; d < stride; d++) pair[d] = a[d];
        memset(pair + stride, 0, (size_t)(columns - stride) * sizeof *pair);
    }
    pack_panels(w, t, rows, w->words);
}

static tile load_tile(const walk *w, int64_t first, int64_t count)
{
    char *mine = scratch_at(w, w->p.thread + (size_t)clvi_thread_index() * w->p.thread_size);
    const unsigned char *valid = w->call->in_data[3];
    int32_t *keep = (int32_t *)(mine + w->p.keep);
    tile t = { .first = first, .count = count, .score = (float *)mine, .packed = (float *)(mine + w->p.packed),
               .keep_query = keep + TILE_KEYS };
    bool whole = true;
    for (int64_t k = 0; valid && k < count; k++) {
        keep[k] = valid[first + k] ? -1 : 0;
        whole = whole && keep[k];
    }
    if (!whole) t.keep = keep;
    if (w->isa->pairs) load_pairs(w, &t, (float *)(mine + w->p.rows));
    else load_rows(w, &t, (float *)(mine + w->p.rows));
    return t;
}

/* The keys that count for one query: those of the tile without the ones that carry its id. */
static const int32_t *keys_of_query(const walk *w, const tile *t, int64_t query)
{
    const int64_t *ids = w->call->in_data[4], *bank_ids = w->call->in_data[5];
    if (!ids || !bank_ids || ids[query] < 0) return t->keep;
    for (int64_t k = 0; k < t->count; k++)
        t->keep_query[k] = bank_ids[t->first + k] == ids[query] ? 0 : t->keep ? t->keep[k] : -1;
    return t->keep_query;
}

static void walk_tile(const walk *w, const tile *t, int64_t segment, int64_t first, int64_t count)
{
    const tile_isa *isa = w->isa;
    const float *queries = (const float *)scratch_at(w, w->p.queries) + first * w->terms * w->words;
    for (int64_t q = 0; q < count; q += isa->queries)
        for (int64_t k = 0; k < t->count; k += isa->keys)
            isa->scores(queries + q * w->terms * w->words, t->packed + k * w->words, w->words, t->score + q * TILE_KEYS + k,
                        TILE_KEYS);
    for (int64_t q = 0; q < count; q++)
        isa->weigh(t->score + q * TILE_KEYS, t->count, keys_of_query(w, t, first + q), w->constant,
                   state_at(w, segment, first + q), acc_at(w, segment, first + q), w->gradient ? w->p.columns : 0);
    for (int64_t q = 0; w->gradient && q < count; q += 3)
        isa->accumulate(t->score + q * TILE_KEYS, TILE_KEYS, t->rows, t->stride, t->steps,
                        acc_at(w, segment, first + q), w->p.columns, w->p.columns);
}

/* Walk `segment * blocks + block`. */
static void walk_range(void *arg, int64_t begin, int64_t end)
{
    const walk *w = arg;
    const plan *p = &w->p;
    for (int64_t item = begin; item < end; item++) {
        const int64_t segment = item / p->blocks, first = item % p->blocks * p->block;
        const int64_t count = CLVI_MIN(p->block, p->batch - first);
        const int64_t stop = CLVI_MIN((segment + 1) * p->segment, p->keys);
        memset(acc_at(w, segment, first), 0, (size_t)(p->block * p->columns) * sizeof(float));
        for (int64_t q = 0; q < count; q++)
            *state_at(w, segment, first + q) = (running){ .max = w->constant ? w->inverse_t : -INFINITY };
        for (int64_t key = segment * p->segment; key < stop; key += TILE_KEYS) {
            const tile t = load_tile(w, key, CLVI_MIN(TILE_KEYS, stop - key));
            walk_tile(w, &t, segment, first, count);
        }
    }
}

/* ---- joining the segments ---- */

static double positive_logit(const walk *w, int64_t query)
{
    const clvi_bank_nce_attr *attr = w->call->attr;
    const float *q = (const float *)w->call->in_data[0] + query * w->p.dim;
    const float *k = (const float *)w->call->in_data[1] + query * w->p.dim;
    double sum = 0;
    for (int64_t d = 0; d < w->p.dim; d++) sum += (double)q[d] * k[d];
    return sum / attr->temperature;
}

static void join_range(void *arg, int64_t begin, int64_t end)
{
    const walk *w = arg;
    const plan *p = &w->p;
    const clvi_bank_nce_attr *attr = w->call->attr;
    float *per_row = w->call->out_data[0], *prob_pos = clvi_ref_output(w->call, 1);
    for (int64_t q = begin; q < end; q++) {
        const double positive = positive_logit(w, q);
        double max = positive, negative = 0, scale[MAX_SEGMENTS];
        for (int64_t s = 0; s < p->segments; s++)
            if (state_at(w, s, q)->sum != 0) max = fmax(max, state_at(w, s, q)->max);
        for (int64_t s = 0; s < p->segments; s++) {
            scale[s] = exp(state_at(w, s, q)->max - max);
            negative += scale[s] * state_at(w, s, q)->sum;
        }
        const double e_pos = exp(positive - max), total = e_pos + negative;
        const double loss = negative <= e_pos ? log1p(negative / e_pos) : max - positive + log(total);
        per_row[q] = (float)loss;
        if (prob_pos) prob_pos[q] = (float)exp(-loss);
        if (!w->gradient) continue;
        const float *key = (const float *)w->call->in_data[1] + q * p->dim;
        float *dq = (float *)w->call->out_data[2] + q * p->dim;
        for (int64_t d = 0; d < p->dim; d++) {
            double sum = 0;
            for (int64_t s = 0; s < p->segments; s++) sum += scale[s] * acc_at(w, s, q)[d];
            dq[d] = (float)((sum - negative * key[d]) / (total * attr->temperature));
        }
    }
}

/* ---- the kernel ---- */

static bool accepts(const clvi_op_call *call)
{
    const bool rows = call->in[2].dtype == CLV_F32 || call->in[2].dtype == CLV_BF16;
    return call->in[0].dtype == CLV_F32 && call->in[1].dtype == CLV_F32 && rows;
}

static clv_status prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = plan_of(call).size;
    return CLV_OK;
}

static clv_status run(const clvi_op_call *call)
{
    const clvi_bank_nce_attr *attr = call->attr;
    const bool bf16 = call->in[2].dtype == CLV_BF16;
    walk w = {
        .call = call, .isa = tile_for_isa(bf16), .p = plan_of(call), .bf16 = bf16,
        .inverse_t = (float)(1 / attr->temperature),
        .constant = attr->unit_rows && attr->temperature >= CONSTANT_FROM, .gradient = clvi_ref_output(call, 2) != NULL,
    };
    w.words = w.isa->pairs ? (w.p.dim + 1) / 2 : w.p.dim;
    w.terms = w.isa->pairs ? 2 : 1;
    clvi_parallel_for(call->ctx, w.p.blocks * w.p.block / w.isa->queries, 4, pack_queries, &w);
    clvi_parallel_for(call->ctx, w.p.segments * w.p.blocks, 1, walk_range, &w);
    clvi_parallel_for(call->ctx, w.p.batch, 16, join_range, &w);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_bank_nce = {
    .op = "bank_nce", .name = "cpu", .accepts = accepts, .prepare = prepare, .run = run,
};
