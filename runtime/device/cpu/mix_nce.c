/* mix_nce.c: what mixed negatives add to a log-sum-exp, in float32. Formula and edge cases as in ref_mix.c.
 *
 * No mix m = a x + (1-a) y is made. Its score and length follow from products of the rows it is made of,
 *   <q,m> = a <q,x> + (1-a) <q,y>,   |m|^2 = a^2 |x|^2 + (1-a)^2 |y|^2 + 2 a (1-a) <x,y>,
 * and its part of the gradient is a weight for each of them, so that every row is read twice however many mixes it is
 * in. Only where x and y nearly cancel, m itself is measured. */
#include "device/attr.h"
#include "device/cpu/draw.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include <math.h>

#define CANCELLED 1e-3     /* |m|^2 in shares of what adds up to it */
#define AHEAD     8        /* rows that are asked for before they are read */

enum { Q, LSE, BANK, SLOTS, I, J, A, J_Q, B, STEP };

/* A bank row that some mix is made of, or the query itself: entry 0. */
typedef struct source {
    const float *row;
    double       square, product;    /* |x|^2, <q,x> */
    double       weight;             /* in the gradient */
} source;

/* Where one mix comes from: two sources; x < 0: left out. */
typedef struct mix {
    int32_t x, y;
    float   a;
} mix;

typedef struct work {
    const clvi_op_call *call;
    int64_t             dim, top, pairs, queries, padded;   /* padded: number of mixes, up to whole vectors */
    int64_t             most;                               /* sources */
    bool                drawn;
    size_t              logits, inverse, product, mixes, of_rank;   /* in a thread's part; sources are at 0 */
    size_t              i, j, j_q, a, b, size;                      /* what is drawn for a row */
} work;

/* What a thread works with. */
typedef struct room {
    source  *source;
    int64_t  count;         /* of sources */
    float   *logit;         /* [padded] */
    double  *inverse;       /* [padded], 1/max(|m|, eps), negative where eps is the larger */
    double  *product;       /* [padded], <q,m> */
    mix     *mix;
    int32_t *of_rank;       /* [top]: source of a rank; 0: none yet */
    clvi_mixes_row row;     /* what to mix */
} room;

/* ---- which rows are mixed ---- */

static int32_t source_of(const work *w, room *r, int64_t b, int64_t rank)
{
    const int64_t *list = (const int64_t *)w->call->in_data[SLOTS] + b * w->top;
    if (rank < 0 || rank >= w->top || list[rank] < 0) return -1;
    if (!r->of_rank[rank]) {
        r->of_rank[rank] = (int32_t)r->count;
        r->source[r->count++] = (source) { .row = (const float *)w->call->in_data[BANK] + list[rank] * w->dim };
    }
    return r->of_rank[rank];
}

/* What is given for query b, or drawn for it. */
static void choose(const work *w, room *r, int64_t b)
{
    const clvi_op_call *k = w->call;
    const clvi_draw_attr *draw = &((const clvi_mix_attr *)k->attr)->draw;
    const int64_t pair = b * w->pairs, query = b * w->queries;
    if (w->drawn)
        clvi_draw_mixes(draw, clvi_draw_step(draw, k->in_data[STEP]), b,
                        (const int64_t *)k->in_data[SLOTS] + b * w->top, w->top, &r->row);
    else
        r->row = (clvi_mixes_row) { .i = (int64_t *)k->in_data[I] + pair, .j = (int64_t *)k->in_data[J] + pair,
                                    .j_q = (int64_t *)k->in_data[J_Q] + query, .a = (float *)k->in_data[A] + pair,
                                    .b = (float *)k->in_data[B] + query };
}

/* Pairs first, then mixes with the query. */
static void collect(const work *w, room *r, int64_t b)
{
    choose(w, r, b);
    memset(r->of_rank, 0, (size_t)w->top * sizeof *r->of_rank);
    r->source[0] = (source) { .row = (const float *)w->call->in_data[Q] + b * w->dim };
    r->count = 1;
    for (int64_t c = 0; c < w->pairs; c++)
        r->mix[c] = (mix) { source_of(w, r, b, r->row.i[c]), source_of(w, r, b, r->row.j[c]),
                            ((const float *)r->row.a)[c] };
    for (int64_t c = 0; c < w->queries; c++)
        r->mix[w->pairs + c] = (mix) { 0, source_of(w, r, b, r->row.j_q[c]), ((const float *)r->row.b)[c] };
    for (int64_t c = 0; c < w->pairs + w->queries; c++)
        if (r->mix[c].y < 0) r->mix[c].x = -1;
}

/* ---- products ---- */

CLVI_INLINE double total16(const clvi_v16f *v)
{
    clvi_v8d sum = { 0 };
    clvi_add16(&sum, v);
    return clvi_total8(&sum);
}

CLVI_INLINE double dot(const float *x, const float *y, int64_t dim)
{
    clvi_v16f sum = { 0 }, a, b;
    for (int64_t d = 0; d < dim; d += CLVI_LANES) {
        clvi_load16(&a, x, d, dim, 0);
        clvi_load16(&b, y, d, dim, 0);
        sum += a * b;
    }
    return total16(&sum);
}

CLVI_INLINE void measure_source(source *s, const float *q, int64_t dim)
{
    clvi_v16f squares = { 0 }, products = { 0 }, a, b;
    for (int64_t d = 0; d < dim; d += CLVI_LANES) {
        clvi_load16(&a, s->row, d, dim, 0);
        clvi_load16(&b, q, d, dim, 0);
        squares += a * a;
        products += a * b;
    }
    s->square = total16(&squares);
    s->product = total16(&products);
}

/* |m|^2 and <q,m> of the mix itself. */
CLVI_INLINE void measure_mix(const source *x, const source *y, float a, const float *q, int64_t dim, double *square,
                             double *product)
{
    clvi_v16f squares = { 0 }, products = { 0 }, u, v, p;
    for (int64_t d = 0; d < dim; d += CLVI_LANES) {
        clvi_load16(&u, x->row, d, dim, 0);
        clvi_load16(&v, y->row, d, dim, 0);
        clvi_load16(&p, q, d, dim, 0);
        v = u * a + v * (1 - a);
        squares += v * v;
        products += v * p;
    }
    *square = total16(&squares);
    *product = total16(&products);
}

/* Logit, length and product of one mix. */
CLVI_INLINE void score_mix(const work *w, room *r, int64_t c)
{
    const clvi_mix_attr *attr = w->call->attr;
    const mix m = r->mix[c];
    r->logit[c] = -INFINITY;
    if (m.x < 0) return;
    const source *q = &r->source[0], *x = &r->source[m.x], *y = &r->source[m.y];
    const double a = m.a, rest = 1 - a, both = a * a * x->square + rest * rest * y->square;
    const double cross = m.x == 0 ? y->product : dot(x->row, y->row, w->dim);
    double square = both + 2 * a * rest * cross, product = a * x->product + rest * y->product;
    if (!(square > CANCELLED * both)) measure_mix(x, y, m.a, q->row, w->dim, &square, &product);
    const double norm = sqrt(square);
    r->inverse[c] = norm > attr->eps ? 1 / norm : -1 / attr->eps;
    r->product[c] = product;
    r->logit[c] = (float)(product * fabs(r->inverse[c]) / attr->temperature);
}

CLVI_INLINE float score_all(const work *w, room *r, float max)
{
    const source *q = &r->source[0];
    for (int64_t s = 0; s < r->count; s++) {
        const char *ahead = (const char *)r->source[CLVI_MIN(s + AHEAD, r->count - 1)].row;
        for (int64_t i = 0; i < w->dim * (int64_t)sizeof(float); i += CLVI_ALIGN) __builtin_prefetch(ahead + i);
        measure_source(&r->source[s], q->row, w->dim);
    }
    for (int64_t c = 0; c < w->pairs + w->queries; c++) {
        score_mix(w, r, c);
        max = r->logit[c] > max ? r->logit[c] : max;
    }
    for (int64_t c = w->pairs + w->queries; c < w->padded; c++) r->logit[c] = -INFINITY;
    return max;
}

/* Logits become e^{logit - max}; their sum. */
CLVI_INLINE double exponentials(float *logit, int64_t padded, float max)
{
    clvi_v8d sum = { 0 };
    for (int64_t c = 0; c < padded; c += CLVI_LANES) {
        clvi_v16f v;
        memcpy(&v, logit + c, sizeof v);
        v -= max;
        clvi_exp16(&v);
        memcpy(logit + c, &v, sizeof v);
        clvi_add16(&sum, &v);
    }
    return clvi_total8(&sum);
}

/* ---- the gradient ---- */

/* What every source adds to it. A query mix that is no constant moves with the query, too. */
static void weigh_sources(const work *w, room *r, double total)
{
    const clvi_mix_attr *attr = w->call->attr;
    for (int64_t c = 0; c < w->pairs + w->queries; c++) {
        const mix m = r->mix[c];
        if (m.x < 0 || r->logit[c] == 0) continue;      /* what is left out has 0, or NaN beside a NaN */
        double by_mix = r->logit[c] / (total * attr->temperature) * fabs(r->inverse[c]);
        if (c >= w->pairs && !attr->constant && r->inverse[c] > 0) {
            const double by_query = by_mix * m.a;
            r->source[0].weight += by_query;
            by_mix -= by_query * r->product[c] * r->inverse[c] * r->inverse[c];
        }
        r->source[m.x].weight += by_mix * m.a;
        r->source[m.y].weight += by_mix * (1 - (double)m.a);
    }
}

CLVI_INLINE void add_sources(const source *s, int64_t count, float *dq, int64_t dim)
{
    memset(dq, 0, (size_t)dim * sizeof *dq);
    for (int64_t i = 0; i < count; i += 2) {
        const source *b = i + 1 < count ? &s[i + 1] : &s[i];
        const float by_a = (float)s[i].weight, by_b = i + 1 < count ? (float)b->weight : 0;
        clvi_v16f x, y, sum;
        for (int64_t d = 0; d < dim; d += CLVI_LANES) {
            clvi_load16(&x, s[i].row, d, dim, 0);
            clvi_load16(&y, b->row, d, dim, 0);
            clvi_load16(&sum, dq, d, dim, 0);
            sum += x * by_a + y * by_b;
            clvi_store16(&sum, dq, d, dim);
        }
    }
}

static room room_of(const work *w)
{
    char *at = (char *)w->call->scratch + (size_t)clvi_thread_index() * w->size;
    return (room) { .source = (source *)at, .logit = (float *)(at + w->logits), .inverse = (double *)(at + w->inverse),
                    .product = (double *)(at + w->product), .mix = (mix *)(at + w->mixes),
                    .of_rank = (int32_t *)(at + w->of_rank),
                    .row = { .i = (int64_t *)(at + w->i), .j = (int64_t *)(at + w->j), .j_q = (int64_t *)(at + w->j_q),
                             .a = at + w->a, .b = at + w->b, .dtype = CLV_F32 } };
}

CLVI_INLINE void mix_range(void *arg, int64_t begin, int64_t end)
{
    const work *w = arg;
    room r = room_of(w);
    float *dq = clvi_ref_output(w->call, 1), *share = clvi_ref_output(w->call, 2);
    for (int64_t b = begin; b < end; b++) {
        const float lse = ((const float *)w->call->in_data[LSE])[b];
        collect(w, &r, b);
        const float max = score_all(w, &r, lse);
        const double sum = exponentials(r.logit, w->padded, max), rest = exp((double)lse - max);
        const double value = sum <= rest ? log1p(sum / rest) : max - (double)lse + log(sum + rest);
        ((float *)w->call->out_data[0])[b] = (float)value;
        if (share) share[b] = (float)(sum / (sum + rest));
        if (!dq) continue;
        weigh_sources(w, &r, sum + rest);
        add_sources(r.source, r.count, dq + b * w->dim, w->dim);
    }
}
CLVI_ISA_VARIANTS(mix_range)

static size_t take(size_t *offset, int64_t count, size_t size)
{
    const size_t at = *offset;
    *offset += ((size_t)count * size + CLVI_ALIGN - 1) / CLVI_ALIGN * CLVI_ALIGN;
    return at;
}

static work work_of(const clvi_op_call *call)
{
    const clvi_draw_attr *draw = &((const clvi_mix_attr *)call->attr)->draw;
    const bool drawn = !clvi_ref_present(&call->in[I]);
    work w = { .call = call, .drawn = drawn, .dim = call->in[Q].shape[1], .top = call->in[SLOTS].shape[1],
               .pairs = drawn ? draw->rows : call->in[A].shape[1],
               .queries = drawn ? draw->cols : call->in[B].shape[1] };
    w.padded = (w.pairs + w.queries + CLVI_LANES - 1) / CLVI_LANES * CLVI_LANES;
    w.most = CLVI_MIN(w.top, 2 * w.pairs + w.queries) + 1;
    (void)take(&w.size, w.most, sizeof(source));
    w.logits = take(&w.size, w.padded, sizeof(float));
    w.inverse = take(&w.size, w.padded, sizeof(double));
    w.product = take(&w.size, w.padded, sizeof(double));
    w.mixes = take(&w.size, w.padded, sizeof(mix));
    w.of_rank = take(&w.size, w.top, sizeof(int32_t));
    if (!drawn) return w;
    w.i = take(&w.size, w.pairs, sizeof(int64_t));
    w.j = take(&w.size, w.pairs, sizeof(int64_t));
    w.j_q = take(&w.size, w.queries, sizeof(int64_t));
    w.a = take(&w.size, w.pairs, sizeof(float));
    w.b = take(&w.size, w.queries, sizeof(float));
    return w;
}

static bool accepts(const clvi_op_call *call)
{
    return call->in[Q].dtype == CLV_F32 && call->in[LSE].dtype == CLV_F32 && call->in[BANK].dtype == CLV_F32 &&
           (!clvi_ref_present(&call->in[A]) || call->in[A].dtype == CLV_F32) &&
           (!clvi_ref_present(&call->in[B]) || call->in[B].dtype == CLV_F32) &&
           ((const clvi_mix_attr *)call->attr)->eps >= 1e-35;
}

static clv_status prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = (size_t)clv_context_threads(call->ctx) * work_of(call).size;
    return CLV_OK;
}

static clv_status run(const clvi_op_call *call)
{
    work w = work_of(call);
    clvi_parallel_for(call->ctx, call->in[Q].shape[0], 1, clvi_isa_pick(mix_range_table), &w);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_mix_nce = {
    .op = "mix_nce", .name = "cpu", .accepts = accepts, .prepare = prepare, .run = run,
};
