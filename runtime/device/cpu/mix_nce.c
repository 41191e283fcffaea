/* mix_nce.c: what mixed negatives add to a log-sum-exp, in float32. Formula and edge cases as in ref_mix.c.
 *
 * A mix m = a x + (1-a) y is made in registers, twice: for |m| and <q,m>, and for the gradient. Both passes over the
 * mixes of a query find its rows in the second-level cache: a list of a thousand rows of 128 takes half a megabyte. */
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include <math.h>

enum { Q, LSE, BANK, SLOTS, I, J, A, J_Q, B };

/* Where one mix comes from; x NULL: left out. */
typedef struct mix {
    const float *x, *y;
    float        a;
} mix;

typedef struct work {
    const clvi_op_call *call;
    int64_t             dim, top, pairs, queries, padded;   /* padded: number of mixes, up to whole vectors */
} work;

static const float *row_at(const work *w, int64_t b, const int64_t *rank)
{
    const int64_t *list = (const int64_t *)w->call->in_data[SLOTS] + b * w->top;
    const int64_t slot = *rank >= 0 && *rank < w->top ? list[*rank] : -1;
    return slot < 0 ? NULL : (const float *)w->call->in_data[BANK] + slot * w->dim;
}

/* Mix c of query b: pairs first, then mixes with the query. */
static mix mix_at(const work *w, int64_t b, int64_t c)
{
    const clvi_op_call *k = w->call;
    mix m;
    if (c < w->pairs) {
        const int64_t at = b * w->pairs + c;
        m = (mix) { row_at(w, b, (const int64_t *)k->in_data[I] + at),
                    row_at(w, b, (const int64_t *)k->in_data[J] + at), ((const float *)k->in_data[A])[at] };
    } else {
        const int64_t at = b * w->queries + c - w->pairs;
        m = (mix) { (const float *)k->in_data[Q] + b * w->dim, row_at(w, b, (const int64_t *)k->in_data[J_Q] + at),
                    ((const float *)k->in_data[B])[at] };
    }
    if (!m.y) m.x = NULL;
    return m;
}

CLVI_INLINE void load_mix(clvi_v16f *v, const mix *m, int64_t i, int64_t dim)
{
    clvi_v16f x, y;
    clvi_load16(&x, m->x, i, dim, 0);
    clvi_load16(&y, m->y, i, dim, 0);
    *v = x * m->a + y * (1 - m->a);
}

/* |m|^2 and <q,m>. */
CLVI_INLINE void measure(const mix *m, const float *q, int64_t dim, double *square, double *product)
{
    clvi_v16f squares = { 0 }, products = { 0 }, v, p;
    for (int64_t i = 0; i < dim; i += CLVI_LANES) {
        load_mix(&v, m, i, dim);
        clvi_load16(&p, q, i, dim, 0);
        squares += v * v;
        products += v * p;
    }
    clvi_v8d sum = { 0 };
    clvi_add16(&sum, &squares);
    *square = clvi_total8(&sum);
    sum = (clvi_v8d) { 0 };
    clvi_add16(&sum, &products);
    *product = clvi_total8(&sum);
}

/* dq += by_mix m + by_query q */
CLVI_INLINE void add_mix(const mix *m, const float *q, float by_mix, float by_query, float *dq, int64_t dim)
{
    clvi_v16f v, p, sum;
    for (int64_t i = 0; i < dim; i += CLVI_LANES) {
        load_mix(&v, m, i, dim);
        clvi_load16(&sum, dq, i, dim, 0);
        sum += v * by_mix;
        if (by_query != 0) {
            clvi_load16(&p, q, i, dim, 0);
            sum += p * by_query;
        }
        clvi_store16(&sum, dq, i, dim);
    }
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

CLVI_INLINE void query_gradient(const work *w, int64_t b, const float *weight, const float *inverse, double total)
{
    const clvi_mix_attr *attr = w->call->attr;
    const float *q = (const float *)w->call->in_data[Q] + b * w->dim;
    float *dq = (float *)w->call->out_data[1] + b * w->dim;
    memset(dq, 0, (size_t)w->dim * sizeof *dq);
    for (int64_t c = 0; c < w->pairs + w->queries; c++) {
        if (weight[c] == 0) continue;
        const mix m = mix_at(w, b, c);
        const double p = weight[c] / (total * attr->temperature);
        double by_mix = p * fabsf(inverse[c]), by_query = 0;
        if (c >= w->pairs && !attr->constant && inverse[c] > 0) {
            double square, product;
            measure(&m, q, w->dim, &square, &product);
            by_query = by_mix * m.a;
            by_mix -= by_query * product * inverse[c] * inverse[c];
        }
        add_mix(&m, q, (float)by_mix, (float)by_query, dq, w->dim);
    }
}

/* inverse[c]: 1/max(|m|, eps), negative where eps is the larger. */
CLVI_INLINE void mix_range(void *arg, int64_t begin, int64_t end)
{
    const work *w = arg;
    const clvi_mix_attr *attr = w->call->attr;
    float *logit = (float *)w->call->scratch + clvi_thread_index() * 2 * w->padded, *inverse = logit + w->padded;
    float *share = clvi_ref_output(w->call, 2);
    for (int64_t b = begin; b < end; b++) {
        const float *q = (const float *)w->call->in_data[Q] + b * w->dim;
        const float lse = ((const float *)w->call->in_data[LSE])[b];
        float max = lse;
        for (int64_t c = 0; c < w->padded; c++) {
            logit[c] = -INFINITY;
            const mix m = c < w->pairs + w->queries ? mix_at(w, b, c) : (mix) { NULL, NULL, 0 };
            if (!m.x) continue;
            double square, product;
            measure(&m, q, w->dim, &square, &product);
            const double norm = sqrt(square);
            inverse[c] = (float)(norm > attr->eps ? 1 / norm : -1 / attr->eps);
            logit[c] = (float)(product * fabsf(inverse[c]) / attr->temperature);
            max = logit[c] > max ? logit[c] : max;
        }
        const double sum = exponentials(logit, w->padded, max), rest = exp((double)lse - max);
        const double value = sum <= rest ? log1p(sum / rest) : max - (double)lse + log(sum + rest);
        ((float *)w->call->out_data[0])[b] = (float)value;
        if (share) share[b] = (float)(sum / (sum + rest));
        if (clvi_ref_output(w->call, 1)) query_gradient(w, b, logit, inverse, sum + rest);
    }
}
CLVI_ISA_VARIANTS(mix_range)

static work work_of(const clvi_op_call *call)
{
    work w = { .call = call, .dim = call->in[Q].shape[1], .top = call->in[SLOTS].shape[1],
               .pairs = call->in[A].shape[1], .queries = call->in[B].shape[1] };
    w.padded = (w.pairs + w.queries + CLVI_LANES - 1) / CLVI_LANES * CLVI_LANES;
    return w;
}

static bool accepts(const clvi_op_call *call)
{
    return call->in[Q].dtype == CLV_F32 && call->in[LSE].dtype == CLV_F32 && call->in[BANK].dtype == CLV_F32 &&
           call->in[A].dtype == CLV_F32 && call->in[B].dtype == CLV_F32 &&
           ((const clvi_mix_attr *)call->attr)->eps >= 1e-35;
}

static clv_status prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = (size_t)clv_context_threads(call->ctx) * 2 * (size_t)work_of(call).padded * sizeof(float);
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
