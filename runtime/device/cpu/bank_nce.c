/* bank_nce.c: InfoNCE against a bank of float32 or bfloat16 rows and the list of its largest scores, in one walk over
 * it. Formulas and edge cases as in ref_bank_nce.c and ref_bank_topk.c.
 *
 * A walk takes a block of queries through a segment of the bank, tile by tile:
 *   scores    P[q][k] = <q, n_k> / t          a register-tiled product
 *   weigh     P = e^{P - max}, added to sum   the maximum is kept online; when it rises, sum and acc are rescaled
 *                                             (Milakov and Gimelshein 2018, arXiv:1805.02867); for unit rows it is 1/t
 *   gather    acc[q] += P[q][k] n_k           a register-tiled product
 * so that loss and gradient leave together, and nothing of size B K is ever stored. Between the first two steps a list
 * takes the scores that may still be among its largest. Segments depend on the shapes alone and are joined in order,
 * and nothing else of a query depends on its block: the same bits with any number of threads.
 *
 * Rows that are moved are moved while a tile of them is read. Rows of bfloat16 are widened tile by tile. Where the
 * processor multiplies bfloat16 itself (AVX512-BF16), it gets each query as a sum of two, which keeps the scores'
 * precision, and the weights of the gather rounded; sums are float32. Then the packed words of the products, a
 * float each, are pairs of bfloat16: of values of a row for the scores, of rows for the gather. */
#include "core/bf16.h"
#include "device/attr.h"
#include "device/cpu/bank_mix.h"
#include "device/cpu/bank_nce_isa.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include "device/cpu/topk.h"
#include <math.h>

#define TILE_KEYS     192     /* a multiple of every panel's width and of CLVI_LANES */
#define MAX_QUERIES   128     /* of a block: P and the tile stay in the second-level cache */
#define LIST_QUERIES  64      /* of a block with lists, whose room is most of the memory */
#define MOVED_QUERIES 256     /* of a block that reads moved rows: each block moves them again */
#define QUERY_STEP    24      /* a multiple of every score tile's height and of 3 */
#define SEGMENT_KEYS  2048    /* at least */
#define MIN_WALKS     8       /* wanted, so that there is work for several threads */
#define CONSTANT_FROM 0.03    /* temperature from which e^{-2/t} is far from the smallest float */

/* ---- what is asked for ---- */

/* Operands of bank_nce and bank_topk. */
typedef struct problem {
    bool                 nce;                      /* or only the list */
    bool                 mix, unit;                /* rows of the bank are moved */
    double               eps;
    int64_t              batch, dim, keys, top;    /* top: length of a list; 0: none */
    const float         *query, *key;
    const void          *bank;
    const unsigned char *valid;                    /* or NULL, as the ids */
    const int64_t       *ids, *bank_ids;
    float               *per_row, *prob_pos, *dq, *prob_neg, *scores;    /* NULL: not wanted */
    int64_t             *slots;
} problem;

static problem problem_of(const clvi_op_call *call)
{
    const bool nce = strcmp(call->op, "bank_nce") == 0;
    const int bank = nce ? 2 : 1, list = nce ? 4 : 0;
    const bool listed = call->n_out > list && (call->wanted[list] || call->wanted[list + 1]);
    problem p = { .nce = nce, .batch = call->in[0].shape[0], .dim = call->in[0].shape[1],
                  .keys = call->in[bank].shape[0], .top = listed ? call->out[list].shape[1] : 0,
                  .query = call->in_data[0], .key = nce ? call->in_data[1] : NULL, .bank = call->in_data[bank],
                  .valid = call->in_data[bank + 1], .ids = call->in_data[bank + 2],
                  .bank_ids = call->in_data[bank + 3] };
    if (listed) p.slots = clvi_ref_output(call, list), p.scores = clvi_ref_output(call, list + 1);
    if (!nce) return p;
    const clvi_bank_nce_attr *attr = call->attr;
    p.mix = attr->mix, p.unit = attr->unit, p.eps = attr->eps;
    p.per_row = call->out_data[0];
    p.prob_pos = clvi_ref_output(call, 1);
    p.dq = clvi_ref_output(call, 2);
    p.prob_neg = clvi_ref_output(call, 3);
    return p;
}

/* ---- how the work is cut, and where it lives ---- */

/* What a query has seen of all segments so far. */
typedef struct joined {
    double sum, max;
} joined;

/* Queries live in slots: block by block, each block from a multiple of QUERY_STEP on. */
typedef struct plan {
    int64_t columns;                       /* dim, rounded up to CLVI_LANES */
    int64_t block, blocks, step;           /* queries of a block, number of blocks, slots of a block */
    int64_t segment, segments;             /* keys of a segment; number of segments */
    int64_t candidates;                    /* room of a list while the bank is walked */
    size_t  queries, acc, state;           /* in scratch, in bytes; with lists acc and state: in a thread's part */
    size_t  thread;                        /* where the first thread's part begins */
    size_t  panel, rows, keep, total, gathered, lists, list_rows, select;   /* in a thread's part; P is at 0 */
    size_t  mix, others;                   /* there too: two rows, and which rows those of a tile are mixed with */
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

/* Depends on the shapes alone. Without lists, blocks and segments are walked apart. A list wants to see the bank in
 * order: a walk is then a block through all segments. */
static void cut_work(plan *p, const problem *of)
{
    const int64_t most = of->top ? LIST_QUERIES : of->mix || of->unit ? MOVED_QUERIES : MAX_QUERIES;
    p->blocks = CLVI_MAX((of->batch + most - 1) / most, 1);
    if (of->top && p->blocks > 1) p->blocks = round_up(p->blocks, 4);
    p->block = CLVI_MAX((of->batch + p->blocks - 1) / p->blocks, 1);
    p->blocks = (of->batch + p->block - 1) / p->block;
    p->step = round_up(p->block, QUERY_STEP);
    const int64_t segments = CLVI_MAX(MIN_WALKS / CLVI_MAX(p->blocks, 1), 2);
    p->segments = CLVI_MIN(CLVI_MAX(of->keys / SEGMENT_KEYS, 1), segments);
    p->segment = round_up((of->keys + p->segments - 1) / p->segments, TILE_KEYS);
}

static void place_thread(plan *p, const problem *of)
{
    size_t *size = &p->thread_size;
    (void)take(size, p->step * TILE_KEYS, sizeof(float));
    p->panel = take(size, CLVI_BANK_MAX_PANEL * of->dim, sizeof(float));
    p->rows = take(size, TILE_KEYS * p->columns, sizeof(float));
    p->keep = take(size, 2 * TILE_KEYS, sizeof(int32_t));
    p->total = take(size, of->top ? p->step : 1, sizeof(joined));
    p->gathered = take(size, (of->top ? p->step : 1) * p->columns, sizeof(double));
    p->mix = take(size, of->mix ? 2 * p->columns : 0, sizeof(float));
    p->others = take(size, of->mix ? TILE_KEYS : 0, sizeof(int64_t));
    if (!of->top) return;
    p->acc = take(size, of->nce ? p->step * p->columns : 0, sizeof(float));
    p->state = take(size, of->nce ? p->step : 0, sizeof(clvi_bank_running));
    p->lists = take(size, p->step, sizeof(clvi_topk));
    p->list_rows = take(size, p->block * p->candidates, sizeof(float) + sizeof(int32_t));
    p->select = take(size, (int64_t)clvi_topk_scratch(p->candidates), 1);
}

static plan plan_of(const problem *of, int threads)
{
    plan p = { .columns = round_up(of->dim, CLVI_LANES) };
    cut_work(&p, of);
    const int64_t slots = p.blocks * p.step, sums = of->top ? 0 : p.segments * slots;
    if (of->top) p.candidates = CLVI_MIN(2 * of->top, of->keys) + TILE_KEYS;
    place_thread(&p, of);
    p.queries = take(&p.size, slots * (of->dim + 1), sizeof(float));   /* or pairs, twice */
    if (!of->top) {
        p.acc = take(&p.size, sums * p.columns, sizeof(float));
        p.state = take(&p.size, sums, sizeof(clvi_bank_running));
    }
    p.thread = take(&p.size, threads, p.thread_size);
    return p;
}

typedef struct walk {
    const clvi_op_call *call;
    const clvi_bank_isa     *isa;
    problem             of;
    plan                p;
    int64_t             words;         /* of a packed key */
    int64_t             terms;         /* words of a query for one of a key */
    bool                bf16;          /* rows of the bank */
    double              temperature;   /* 1 when there is only a list */
    float               inverse_t;
    bool                constant;      /* all logits lie in [-1/t, 1/t]: that is the maximum */
} walk;

static void *scratch_at(const walk *w, size_t offset)
{
    return (char *)w->call->scratch + offset;
}

static void *thread_at(const walk *w, size_t offset)
{
    return scratch_at(w, w->p.thread + (size_t)clvi_thread_index() * w->p.thread_size + offset);
}

static int64_t slot_of(const walk *w, int64_t query)
{
    return query / w->p.block * w->p.step + query % w->p.block;
}

/* What a block gathers in one segment. */
typedef struct sums {
    float   *acc;      /* [step][columns] */
    clvi_bank_running *state;    /* [step] */
} sums;

static sums sums_at(const walk *w, int64_t segment, int64_t block)
{
    if (w->of.top) return (sums) { thread_at(w, w->p.acc), thread_at(w, w->p.state) };
    const int64_t slot = (segment * w->p.blocks + block) * w->p.step;
    return (sums) { (float *)scratch_at(w, w->p.acc) + slot * w->p.columns,
                    (clvi_bank_running *)scratch_at(w, w->p.state) + slot };
}

/* A pair of bfloat16, and what rounding leaves over. */
static clvi_bank_word round_pair(float pair[2])
{
    const uint16_t a = clvi_bf16_round(pair[0]), b = clvi_bf16_round(pair[1]);
    pair[0] -= clvi_bf16_value(a);
    pair[1] -= clvi_bf16_value(b);
    return a | (clvi_bank_word)b << 16;
}

/* Value d of a query over t, or a pair of values in two words; `step` is from one word to the next. */
static void pack_value(const walk *w, const float *query, int64_t d, clvi_bank_word *to, int64_t step)
{
    if (w->isa->pairs) {
        float pair[2] = { query[2 * d] * w->inverse_t, 2 * d + 1 < w->of.dim ? query[2 * d + 1] * w->inverse_t : 0 };
        to[0] = round_pair(pair);
        to[step] = round_pair(pair);
    } else {
        const float value = query[d] * w->inverse_t;
        memcpy(to, &value, sizeof value);
    }
}

/* Queries over t, interleaved in groups as high as a score tile; zeros in slots without a query. */
static void pack_queries(void *arg, int64_t begin, int64_t end)
{
    const walk *w = arg;
    const int64_t height = w->isa->queries, step = w->terms * height;
    for (int64_t g = begin; g < end; g++) {
        clvi_bank_word *to = (clvi_bank_word *)scratch_at(w, w->p.queries) + g * step * w->words;
        memset(to, 0, (size_t)(step * w->words) * sizeof *to);
        for (int64_t i = 0; i < height; i++) {
            const int64_t slot = g * height + i, at = slot % w->p.step, row = slot / w->p.step * w->p.block + at;
            if (at >= w->p.block || row >= w->of.batch) continue;
            for (int64_t d = 0; d < w->words; d++)
                pack_value(w, w->of.query + row * w->of.dim, d, to + d * step + i, height);
        }
    }
}

/* ---- one tile of the bank ---- */

typedef struct tile {
    int64_t        first, count;     /* keys of the bank */
    const float   *rows;             /* what the gather adds up: words `stride` apart, one for each key or pair of keys;
                                      * keys that do not count may be zeros */
    int64_t        stride, steps;
    const void    *source;           /* what the scores are products with: the words of a key, from key to key */
    int64_t        source_stride;
    const int32_t *keep;             /* NULL: all count */
    float         *score;            /* [step][TILE_KEYS] */
    float         *panel;            /* [words][panel width]: some keys, packed */
    int32_t       *keep_query;       /* room for one query's keys */
} tile;

static bool counts(const tile *t, int64_t key)
{
    return !t->keep || t->keep[key];
}

static void read_row(const walk *w, int64_t row, float *to)
{
    const int64_t dim = w->of.dim;
    const uint16_t *half = (const uint16_t *)w->of.bank + row * dim;
    if (!w->bf16) memcpy(to, (const float *)w->of.bank + row * dim, (size_t)dim * sizeof *to);
    else for (int64_t d = 0; d < dim; d++) to[d] = clvi_bf16_value(half[d]);
}

/* Which rows those of a tile are mixed with, -1 for none; they are asked for, since they lie anywhere. */
static const int64_t *find_others(const walk *w, const tile *t)
{
    const int64_t bytes = w->of.dim * (int64_t)(w->bf16 ? sizeof(uint16_t) : sizeof(float));
    int64_t *others = thread_at(w, w->p.others);
    for (int64_t k = 0; k < t->count; k++) {
        others[k] = clvi_bank_mix_other(w->call, t->first + k);
        const char *row = (const char *)w->of.bank + CLVI_MAX(others[k], 0) * bytes;
        for (int64_t i = 0; i < bytes; i += CLVI_ALIGN) __builtin_prefetch(row + i);
    }
    return others;
}

static void mix_row(const walk *w, int64_t row, int64_t other, float *x)
{
    float *room = thread_at(w, w->p.mix), *y = room + w->p.columns;
    int64_t step;
    const float *lambda = clvi_bank_mix_lambda(w->call, row, room, &step);
    read_row(w, other, y);
    if (step) for (int64_t d = 0; d < w->of.dim; d++) x[d] = lambda[d] * x[d] + (1 - lambda[d]) * y[d];
    else for (int64_t d = 0; d < w->of.dim; d++) x[d] = *lambda * x[d] + (1 - *lambda) * y[d];
}

/* Rows are as long as whole vectors, the rest is 0. */
static void scale_to_unit(const walk *w, float *row)
{
    clvi_v8d sum = { 0 };
    clvi_v16f v;
    for (int64_t d = 0; d < w->p.columns; d += CLVI_LANES) {
        memcpy(&v, row + d, sizeof v);
        v *= v;
        clvi_add16(&sum, &v);
    }
    const float factor = (float)(1 / fmax(sqrt(clvi_total8(&sum)), w->of.eps));
    for (int64_t d = 0; d < w->p.columns; d++) row[d] *= factor;
}

/* float32 rows as long as whole vectors, moved if they are to be, zeros where a key does not count: the memory of an
 * unused slot may hold anything. */
static void copy_rows(const walk *w, const tile *t, float *to)
{
    const int64_t *others = w->of.mix ? find_others(w, t) : NULL;
    memset(to, 0, (size_t)(t->count * w->p.columns) * sizeof *to);
    for (int64_t k = 0; k < t->count; k++, to += w->p.columns) {
        if (!counts(t, k)) continue;
        read_row(w, t->first + k, to);
        if (others && others[k] >= 0 && w->of.dim > 0) mix_row(w, t->first + k, others[k], to);
        if (w->of.unit) scale_to_unit(w, to);
    }
}

static void load_rows(const walk *w, tile *t, float *room)
{
    t->rows = room;
    t->stride = w->p.columns;
    t->steps = t->count;
    const bool moved = w->of.mix || w->of.unit;
    if (moved || w->bf16 || t->keep || w->p.columns != w->of.dim) copy_rows(w, t, room);
    else t->rows = (const float *)w->of.bank + t->first * w->of.dim;
    t->source = t->rows;
    t->source_stride = t->stride;
}

/* bfloat16 rows of whole words, zeros where a key does not count. */
static const uint16_t *copy_halves(const walk *w, const tile *t, uint16_t *to)
{
    const int64_t dim = w->of.dim, stride = 2 * w->words;
    const uint16_t *bank = (const uint16_t *)w->of.bank + t->first * dim;
    if (!t->keep && stride == dim && (uintptr_t)bank % sizeof(clvi_bank_word) == 0) return bank;
    memset(to, 0, (size_t)(t->count * stride) * sizeof *to);
    for (int64_t k = 0; k < t->count; k++)
        if (counts(t, k)) memcpy(to + k * stride, bank + k * dim, (size_t)dim * sizeof *to);
    return to;
}

/* Half of the room takes rows, half takes pairs of them. */
CLVI_TARGET_AVX512_BF16 static void load_pairs(const walk *w, tile *t, float *room)
{
    const int64_t stride = 2 * w->words, columns = w->p.columns;
    const uint16_t *rows = copy_halves(w, t, (uint16_t *)room);
    clvi_bank_word *pair = (clvi_bank_word *)room + TILE_KEYS / 2 * columns;
    t->rows = (const float *)pair;
    t->stride = columns;
    t->steps = (t->count + 1) / 2;
    for (int64_t k = 0; k < t->count; k += 2, pair += columns) {
        const uint16_t *a = rows + k * stride, *b = a + stride;
        if (k + 1 < t->count) for (int64_t d = 0; d < stride; d++) pair[d] = a[d] | (clvi_bank_word)b[d] << 16;
        else for (int64_t d = 0; d < stride; d++) pair[d] = a[d];
        memset(pair + stride, 0, (size_t)(columns - stride) * sizeof *pair);
    }
    t->source = rows;
    t->source_stride = w->words;
}

/* Asks for the rows of a tile, which at the bank's end is beyond it. */
static void fetch_tile(const walk *w, int64_t first)
{
    const size_t row = (size_t)w->of.dim * (w->bf16 ? sizeof(uint16_t) : sizeof(float));
    const uintptr_t begin = (uintptr_t)w->of.bank + (size_t)first * row;
    for (size_t i = 0; i < TILE_KEYS * row; i += CLVI_ALIGN) __builtin_prefetch((const void *)(begin + i), 0, 2);
}

static tile load_tile(const walk *w, int64_t first, int64_t count)
{
    int32_t *keep = thread_at(w, w->p.keep);
    tile t = { .first = first, .count = count, .score = thread_at(w, 0), .panel = thread_at(w, w->p.panel),
               .keep_query = keep + TILE_KEYS };
    bool whole = true;
    for (int64_t k = 0; w->of.valid && k < count; k++) {
        keep[k] = w->of.valid[first + k] ? -1 : 0;
        whole = whole && keep[k];
    }
    if (!whole) t.keep = keep;
    if (w->isa->pairs) load_pairs(w, &t, thread_at(w, w->p.rows));
    else load_rows(w, &t, thread_at(w, w->p.rows));
    return t;
}

/* The keys that count for one query: those of the tile without the ones that carry its id. */
static const int32_t *keys_of_query(const walk *w, const tile *t, int64_t query)
{
    const int64_t *ids = w->of.ids, *bank_ids = w->of.bank_ids;
    if (!ids || !bank_ids || ids[query] < 0) return t->keep;
    for (int64_t k = 0; k < t->count; k++)
        t->keep_query[k] = bank_ids[t->first + k] == ids[query] ? 0 : t->keep ? t->keep[k] : -1;
    return t->keep_query;
}

/* Scores that may be among a query's largest join its list. */
static void list_scores(const walk *w, const tile *t, const float *score, const int32_t *keep, clvi_topk *list)
{
    if (list->count + t->count > w->p.candidates) clvi_topk_thin(list, w->of.top, thread_at(w, w->p.select));
    w->isa->list(score, t->count, keep, t->first, list);
}

static void walk_tile(const walk *w, const tile *t, const sums *to, int64_t first, int64_t count)
{
    const clvi_bank_isa *isa = w->isa;
    const int64_t columns = w->of.dq ? w->p.columns : 0;
    const float *queries = (const float *)scratch_at(w, w->p.queries) + slot_of(w, first) * w->terms * w->words;
    for (int64_t k = 0; k < t->count; k += isa->keys) {
        isa->pack((const clvi_bank_word *)t->source + k * t->source_stride, t->source_stride, t->count - k, w->words,
                  isa->keys, (clvi_bank_word *)t->panel);
        for (int64_t q = 0; q < count; q += isa->queries)
            isa->scores(queries + q * w->terms * w->words, t->panel, w->words, t->score + q * TILE_KEYS + k,
                        TILE_KEYS);
    }
    for (int64_t q = 0; q < count; q++) {
        float *score = t->score + q * TILE_KEYS;
        const int32_t *keep = keys_of_query(w, t, first + q);
        if (w->of.top) list_scores(w, t, score, keep, (clvi_topk *)thread_at(w, w->p.lists) + q);
        if (w->of.nce)
            isa->weigh(score, t->count, keep, w->constant, &to->state[q], to->acc + q * w->p.columns, columns);
    }
    for (int64_t q = 0; columns && q < count; q += 3)
        isa->accumulate(t->score + q * TILE_KEYS, TILE_KEYS, t->rows, t->stride, t->steps,
                        to->acc + q * w->p.columns, w->p.columns, w->p.columns);
}

static int64_t queries_of(const walk *w, int64_t block)
{
    return CLVI_MIN(w->p.block, w->of.batch - block * w->p.block);
}

static void walk_segment(const walk *w, int64_t segment, int64_t block)
{
    const int64_t count = queries_of(w, block), stop = CLVI_MIN((segment + 1) * w->p.segment, w->of.keys);
    const sums to = sums_at(w, segment, block);
    if (w->of.nce) memset(to.acc, 0, (size_t)(w->p.step * w->p.columns) * sizeof(float));
    for (int64_t q = 0; w->of.nce && q < count; q++)
        to.state[q] = (clvi_bank_running){ .max = w->constant ? w->inverse_t : -INFINITY };
    for (int64_t key = segment * w->p.segment; key < stop; key += TILE_KEYS) {
        const tile t = load_tile(w, key, CLVI_MIN(TILE_KEYS, stop - key));
        fetch_tile(w, key + TILE_KEYS);
        walk_tile(w, &t, &to, block * w->p.block, count);
    }
}

/* Walk `segment * blocks + block`. */
static void walk_range(void *arg, int64_t begin, int64_t end)
{
    const walk *w = arg;
    for (int64_t item = begin; item < end; item++) walk_segment(w, item / w->p.blocks, item % w->p.blocks);
}

/* ---- joining the segments ---- */

/* Adds what query `at` of a block gathered in one segment. */
static void join(const walk *w, const sums *from, int64_t at, joined *t, double *gathered)
{
    const clvi_bank_running *r = &from->state[at];
    const float *acc = from->acc + at * w->p.columns;
    if (r->sum == 0) return;
    const double max = fmax(t->max, r->max), old = exp(t->max - max), new = exp(r->max - max);
    t->sum = t->sum * old + r->sum * new;
    t->max = max;
    for (int64_t d = 0; d < w->p.columns; d++) gathered[d] = gathered[d] * old + acc[d] * new;
}

static double positive_logit(const walk *w, int64_t query)
{
    const float *q = w->of.query + query * w->of.dim, *k = w->of.key + query * w->of.dim;
    double sum = 0;
    for (int64_t d = 0; d < w->of.dim; d++) sum += (double)q[d] * k[d];
    return sum / w->temperature;
}

static void write_nce(const walk *w, int64_t q, const joined *t, const double *gathered)
{
    const problem *of = &w->of;
    const double positive = positive_logit(w, q), max = fmax(positive, t->max), scale = exp(t->max - max);
    const double negative = scale * t->sum, e_pos = exp(positive - max), all = e_pos + negative;
    const double loss = negative <= e_pos ? log1p(negative / e_pos) : max - positive + log(all);
    of->per_row[q] = (float)loss;
    if (of->prob_pos) of->prob_pos[q] = (float)exp(-loss);
    if (of->prob_neg) of->prob_neg[q] = (float)(negative / all);
    for (int64_t d = 0; of->dq && d < of->dim; d++)
        of->dq[q * of->dim + d] =
            (float)((scale * gathered[d] - negative * of->key[q * of->dim + d]) / (all * w->temperature));
}

static void join_range(void *arg, int64_t begin, int64_t end)
{
    const walk *w = arg;
    double *gathered = thread_at(w, w->p.gathered);
    for (int64_t q = begin; q < end; q++) {
        joined t = { .max = -INFINITY };
        memset(gathered, 0, (size_t)w->p.columns * sizeof *gathered);
        for (int64_t s = 0; s < w->p.segments; s++) {
            const sums from = sums_at(w, s, q / w->p.block);
            join(w, &from, q % w->p.block, &t, gathered);
        }
        write_nce(w, q, &t, gathered);
    }
}

/* ---- lists ---- */

static void write_list(const walk *w, int64_t query, clvi_topk *list)
{
    void *scratch = thread_at(w, w->p.select);
    clvi_topk_trim(list, w->of.top, scratch);
    clvi_topk_sort(list, scratch);
    for (int64_t i = 0; i < w->of.top; i++) {
        const bool there = i < list->count;
        if (w->of.slots) w->of.slots[query * w->of.top + i] = there ? list->slot[i] : -1;
        if (w->of.scores)
            w->of.scores[query * w->of.top + i] = there ? (float)(list->score[i] * w->temperature) : 0;
    }
}

static void start_block(const walk *w, int64_t count, clvi_topk *list, joined *t, double *gathered)
{
    float *room = thread_at(w, w->p.list_rows);
    for (int64_t q = 0; q < count; q++, room += 2 * w->p.candidates) {
        list[q] = (clvi_topk) { .score = room, .slot = (int32_t *)(room + w->p.candidates), .floor = -INFINITY };
        t[q] = (joined) { .max = -INFINITY };
    }
    memset(gathered, 0, (size_t)(count * w->p.columns) * sizeof *gathered);
}

/* Blocks through the whole bank. */
static void list_range(void *arg, int64_t begin, int64_t end)
{
    const walk *w = arg;
    clvi_topk *list = thread_at(w, w->p.lists);
    joined *t = thread_at(w, w->p.total);
    double *gathered = thread_at(w, w->p.gathered);
    for (int64_t block = begin; block < end; block++) {
        const int64_t count = queries_of(w, block), columns = w->p.columns;
        start_block(w, count, list, t, gathered);
        for (int64_t s = 0; s < w->p.segments; s++) {
            walk_segment(w, s, block);
            const sums from = sums_at(w, s, block);
            for (int64_t q = 0; w->of.nce && q < count; q++) join(w, &from, q, &t[q], gathered + q * columns);
        }
        for (int64_t q = 0; q < count; q++) {
            write_list(w, block * w->p.block + q, &list[q]);
            if (w->of.nce) write_nce(w, block * w->p.block + q, &t[q], gathered + q * columns);
        }
    }
}

/* ---- the kernels ---- */

static bool accepts(const clvi_op_call *call)
{
    const int bank = strcmp(call->op, "bank_nce") == 0 ? 2 : 1;
    for (int i = 0; i < bank; i++)
        if (call->in[i].dtype != CLV_F32) return false;
    const clvi_desc *rows = &call->in[bank];
    return (rows->dtype == CLV_F32 || rows->dtype == CLV_BF16) && rows->shape[0] <= INT32_MAX;
}

static clv_status prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    const problem of = problem_of(call);
    call->scratch_size = plan_of(&of, call->ctx->threads).size;
    return CLV_OK;
}

static clv_status start(const clvi_op_call *call, double temperature, bool unit_rows)
{
    const problem of = problem_of(call);
    const bool bf16 = call->in[of.nce ? 2 : 1].dtype == CLV_BF16;
    if (of.batch == 0) return CLV_OK;
    walk w = {
        .call = call, .isa = clvi_bank_isa_pick(bf16 && !of.mix && !of.unit), .bf16 = bf16, .of = of,
        .p = plan_of(&of, call->ctx->threads),
        .temperature = temperature, .inverse_t = (float)(1 / temperature),
        .constant = unit_rows && temperature >= CONSTANT_FROM,
    };
    w.words = w.isa->pairs ? (of.dim + 1) / 2 : of.dim;
    w.terms = w.isa->pairs ? 2 : 1;
    clvi_parallel_for(call->ctx, w.p.blocks * w.p.step / w.isa->queries, 4, pack_queries, &w);
    if (of.top) clvi_parallel_for(call->ctx, w.p.blocks, 1, list_range, &w);
    else clvi_parallel_for(call->ctx, w.p.segments * w.p.blocks, 1, walk_range, &w);
    if (of.nce && !of.top) clvi_parallel_for(call->ctx, of.batch, 16, join_range, &w);
    return CLV_OK;
}

static clv_status run_nce(const clvi_op_call *call)
{
    const clvi_bank_nce_attr *attr = call->attr;
    return start(call, attr->temperature, attr->unit_rows);
}

const clvi_kernel clvi_kernel_cpu_bank_nce = {
    .op = "bank_nce", .name = "cpu", .accepts = accepts, .prepare = prepare, .run = run_nce,
};

static clv_status run_topk(const clvi_op_call *call)
{
    return start(call, 1, false);
}

const clvi_kernel clvi_kernel_cpu_bank_topk = {
    .op = "bank_topk", .name = "cpu", .accepts = accepts, .prepare = prepare, .run = run_topk,
};
