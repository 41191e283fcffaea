/* bank_lse.c: log mean exp of similarities with a bank in float32, in one walk. Formula and edge cases as in
 * ref_bank_lse.c.
 *
 * A thread takes a few queries through the bank, tile by tile, so that a tile is read from memory once for all of them.
 * The maximum is kept online; when it rises, sum and gradient are rescaled (Milakov and Gimelshein 2018,
 * arXiv:1805.02867). The gradient of a tile gathers in dq itself, and tiles add up in double: nothing of size B K is
 * stored. */
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include <math.h>

#define QUERIES 8      /* of a thread at a time */
#define TILE    128    /* bank rows; a multiple of CLVI_LANES */

typedef struct running {
    double sum;        /* of e^{exponent - max} */
    float  max;
} running;

/* <a,b>, or -|a - b|^2 */
CLVI_INLINE double similarity(const float *a, const float *b, int64_t n, bool l2)
{
    clvi_v16f va, vb, sum = { 0 };
    for (int64_t d = 0; d < n; d += CLVI_LANES) {
        clvi_load16(&va, a, d, n, 0);
        clvi_load16(&vb, b, d, n, 0);
        if (l2) {
            va -= vb;
            sum -= va * va;
        } else {
            sum += va * vb;
        }
    }
    clvi_v8d total = { 0 };
    clvi_add16(&total, &sum);
    return clvi_total8(&total);
}

/* Takes one query through bank rows [first, first + count). */
CLVI_INLINE void walk_tile(const clvi_op_call *call, int64_t b, int64_t first, int64_t count, running *r)
{
    const clvi_bank_lse_attr *attr = call->attr;
    const int64_t dim = call->in[0].shape[1], rows = call->in[1].shape[0];
    const float *q = (const float *)call->in_data[0] + b * dim;
    const float *bank = (const float *)call->in_data[1] + first * dim;
    const unsigned char *valid = call->in_data[2];
    double *gathered = (double *)call->scratch + b * dim;
    float *acc = (float *)call->out_data[1] + b * dim, *exponents = clvi_ref_output(call, 3), e[TILE];
    float max = r->max;
    for (int64_t j = 0; j < TILE; j++) {
        const bool counts = j < count && (!valid || valid[first + j]);
        e[j] = counts ? (float)(similarity(q, bank + j * dim, dim, attr->l2) / attr->temperature) : -INFINITY;
        max = e[j] > max ? e[j] : max;
        if (exponents && j < count) exponents[b * rows + first + j] = counts ? e[j] : 0;
    }
    if (max > r->max) {
        const double factor = exp((double)r->max - max);
        r->sum *= factor;
        r->max = max;
        for (int64_t d = 0; d < dim; d++) gathered[d] *= factor;
    }
    const float shift = max == -INFINITY ? 0 : max;
    clvi_v8d sum = { 0 };
    for (int64_t j = 0; j < TILE; j += CLVI_LANES) {
        clvi_v16f v;
        memcpy(&v, e + j, sizeof v);
        v -= shift;
        clvi_exp16(&v);
        clvi_add16(&sum, &v);
        memcpy(e + j, &v, sizeof v);
    }
    r->sum += clvi_total8(&sum);
    memset(acc, 0, (size_t)dim * sizeof *acc);
    for (int64_t j = 0; j < count; j++) {
        const float *m = bank + j * dim, p = e[j];
        if (p == 0) continue;    /* rows that do not count may hold anything */
        if (attr->l2) {
#pragma GCC ivdep
            for (int64_t d = 0; d < dim; d++) acc[d] += p * (m[d] - q[d]);
        } else {
#pragma GCC ivdep
            for (int64_t d = 0; d < dim; d++) acc[d] += p * m[d];
        }
    }
#pragma GCC ivdep
    for (int64_t d = 0; d < dim; d++) gathered[d] += acc[d];
}

static int64_t count_entries(const clvi_op_call *call)
{
    const clvi_bank_lse_attr *attr = call->attr;
    const unsigned char *valid = call->in_data[2];
    const int64_t rows = call->in[1].shape[0];
    int64_t count = attr->start_count;
    for (int64_t j = 0; j < rows; j++) count += !valid || valid[j];
    return count;
}

CLVI_INLINE void queries_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_bank_lse_attr *attr = call->attr;
    const int64_t dim = call->in[0].shape[1], rows = call->in[1].shape[0], count = count_entries(call);
    const float *start = call->in_data[3];
    float *y = call->out_data[0], *dq = call->out_data[1], *dstart = clvi_ref_output(call, 2);
    running r[QUERIES];
    double *gathered = call->scratch;
    memset(gathered + begin * dim, 0, (size_t)((end - begin) * dim) * sizeof *gathered);
    for (int64_t b = begin; b < end; b++) r[b - begin] = (running){ start ? 1 : 0, start ? start[b] : -INFINITY };
    for (int64_t first = 0; first < rows; first += TILE)
        for (int64_t b = begin; b < end; b++)
            walk_tile(call, b, first, CLVI_MIN(TILE, rows - first), &r[b - begin]);
    for (int64_t b = begin; b < end; b++) {
        const double lse = count > 0 ? r[b - begin].max + log(r[b - begin].sum) : 0;
        y[b] = count > 0 ? (float)(lse - log((double)count)) : 0;
        if (dstart) dstart[b] = start ? (float)exp(start[b] - lse) : 0;
        const double scale = count > 0 ? (attr->l2 ? 2 : 1) / (attr->temperature * r[b - begin].sum) : 0;
        for (int64_t d = 0; d < dim; d++) dq[b * dim + d] = (float)(gathered[b * dim + d] * scale);
    }
}
CLVI_ISA_VARIANTS(queries_body)

static bool accepts(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_F32 && call->in[1].dtype == CLV_F32;
}

static clv_status prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    if (!call->wanted[3]) call->out[3].bytes = 0;
    call->scratch_size = (size_t)clvi_desc_count(&call->in[0]) * sizeof(double);
    return CLV_OK;
}

static clv_status run(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[0], QUERIES, clvi_isa_pick(queries_body_table), (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_bank_lse = {
    .op = "bank_lse", .name = "cpu", .accepts = accepts, .prepare = prepare, .run = run,
};
