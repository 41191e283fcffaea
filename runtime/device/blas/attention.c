/* attention.c: attention and its gradient through OpenBLAS in float32. Formulas as in ref_attention.c.
 *
 * A block of queries meets all keys of its sample at once: scores take a block times the tokens for each thread,
 * however many samples and heads there are. Backward does the blocks of one head one after another, since keys and
 * values gather from all of them. Each product is single-threaded and its size depends on shapes alone: the number of
 * threads changes no bit. */
#include "core/checked.h"
#include "core/parallel.h"
#include "device/attr.h"
#include "device/cpu/isa.h"
#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <omp.h>

#define BLOCK 64            /* queries */

typedef struct sizes {
    int64_t tokens, heads, size, row, wide, samples, blocks;
    float   scale;
} sizes;

static sizes sizes_of(const clvi_attention_attr *a, const clvi_desc *qkv)
{
    const int64_t wide = qkv->shape[1] / 3, size = wide / a->heads;
    return (sizes){ .tokens = a->tokens, .heads = a->heads, .size = size, .row = 3 * wide, .wide = wide,
                    .samples = qkv->shape[0] / a->tokens, .blocks = (a->tokens + BLOCK - 1) / BLOCK,
                    .scale = (float)(1 / sqrt((double)size)) };
}

/* One head of one sample: queries, keys and values, and the piece of y (dy, dqkv) that belongs to it. */
static int64_t qkv_offset(const sizes *s, int64_t item)
{
    return item / s->heads * s->tokens * s->row + item % s->heads * s->size;
}

static int64_t y_offset(const sizes *s, int64_t item)
{
    return item / s->heads * s->tokens * s->wide + item % s->heads * s->size;
}

/* ---- rows of scores ---- */

typedef struct rows_job {
    float *score, *other;       /* [rows,T] */
    const float *dy, *y;        /* rows `wide` apart */
    float *lse;
    int64_t tokens, size, wide;
    float   scale;
} rows_job;

CLVI_INLINE float largest(const float *row, int64_t n)
{
    clvi_v16f v, best;
    clvi_load16(&best, row, 0, n, -__builtin_inff());
    for (int64_t j = CLVI_LANES; j < n; j += CLVI_LANES) {
        clvi_load16(&v, row, j, n, -__builtin_inff());
        const clvi_v16i more = v > best;
        clvi_select16(&best, &more, &v, &best);
    }
    float top = best[0];
    for (int k = 1; k < CLVI_LANES; k++) top = best[k] > top ? best[k] : top;
    return top;
}

/* e^(score - largest), its sums as factors 1/sum in `other`, and the log-sum-exp. */
CLVI_INLINE void soften_body(void *arg, int64_t begin, int64_t end)
{
    const rows_job *job = arg;
    for (int64_t i = begin; i < end; i++) {
        float *row = job->score + i * job->tokens;
        const float top = largest(row, job->tokens);
        clvi_v8d sum = { 0 };
        clvi_v16f v;
        for (int64_t j = 0; j < job->tokens; j += CLVI_LANES) {
            clvi_load16(&v, row, j, job->tokens, -__builtin_inff());
            v -= top;
            clvi_exp16(&v);
            clvi_add16(&sum, &v);
            clvi_store16(&v, row, j, job->tokens);
        }
        const double total = clvi_total8(&sum);
        job->other[i] = (float)(1 / total);
        job->lse[i] = (float)(top + log(total));
    }
}
CLVI_ISA_VARIANTS(soften_body)

/* Scores to p = e^(score - lse), and dy v^T in `other` to p (dy v^T - <dy,y>) scale. */
CLVI_INLINE void slopes_body(void *arg, int64_t begin, int64_t end)
{
    const rows_job *job = arg;
    for (int64_t i = begin; i < end; i++) {
        float *p = job->score + i * job->tokens, *e = job->other + i * job->tokens;
        clvi_v8d sum = { 0 };
        clvi_v16f v, w;
        for (int64_t c = 0; c < job->size; c += CLVI_LANES) {
            clvi_load16(&v, job->dy + i * job->wide, c, job->size, 0);
            clvi_load16(&w, job->y + i * job->wide, c, job->size, 0);
            v *= w;
            clvi_add16(&sum, &v);
        }
        const float along = (float)clvi_total8(&sum), lse = job->lse[i];
        for (int64_t j = 0; j < job->tokens; j += CLVI_LANES) {
            clvi_load16(&v, p, j, job->tokens, 0);
            clvi_load16(&w, e, j, job->tokens, 0);
            v -= lse;
            clvi_exp16(&v);
            w = v * (w - along) * job->scale;
            clvi_store16(&v, p, j, job->tokens);
            clvi_store16(&w, e, j, job->tokens);
        }
    }
}
CLVI_ISA_VARIANTS(slopes_body)

/* ---- products ---- */

/* c = alpha a op(b) + beta c; row-major, lda and so on in elements. */
static void multiply(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                     const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k,
                alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* OpenBLAS stays on the calling thread. */
static void alone(void *arg, int64_t begin, int64_t end, clvi_range_fn fn)
{
    const int threads = omp_get_max_threads();
    if (threads != 1) omp_set_num_threads(1);
    fn(arg, begin, end);
    if (threads != 1) omp_set_num_threads(threads);
}

static float *scratch_of(const clvi_op_call *call, const sizes *s, int64_t rows)
{
    return (float *)call->scratch + clvi_thread_index() * rows * s->tokens;
}

/* Block b of head h of sample n is item (n heads + h) blocks + b. */
static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const sizes s = sizes_of(call->attr, &call->in[0]);
    float *score = scratch_of(call, &s, BLOCK), factor[BLOCK];
    for (int64_t item = begin; item < end; item++) {
        const int64_t head = item / s.blocks, first = item % s.blocks * BLOCK;
        const int64_t rows = CLVI_MIN(BLOCK, s.tokens - first);
        const float *q = (const float *)call->in_data[0] + qkv_offset(&s, head), *k = q + s.wide, *v = k + s.wide;
        float *y = (float *)call->out_data[0] + y_offset(&s, head) + first * s.wide;
        multiply(false, true, rows, s.tokens, s.size, s.scale, q + first * s.row, s.row, k, s.row, 0, score, s.tokens);
        rows_job job = { .score = score, .other = factor, .tokens = s.tokens,
                         .lse = (float *)call->out_data[1] + head * s.tokens + first };
        clvi_isa_pick(soften_body_table)(&job, 0, rows);
        multiply(false, false, rows, s.size, s.tokens, 1, score, s.tokens, v, s.row, 0, y, s.wide);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t c = 0; c < s.size; c++) y[i * s.wide + c] *= factor[i];
    }
}

/* One head of one sample is an item. */
static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const sizes s = sizes_of(call->attr, &call->in[1]);
    float *p = scratch_of(call, &s, 2 * BLOCK), *e = p + BLOCK * s.tokens;
    for (int64_t item = begin; item < end; item++) {
        const float *q = (const float *)call->in_data[1] + qkv_offset(&s, item), *k = q + s.wide, *v = k + s.wide;
        float *dq = (float *)call->out_data[0] + qkv_offset(&s, item), *dk = dq + s.wide, *dv = dk + s.wide;
        for (int64_t first = 0; first < s.tokens; first += BLOCK) {
            const int64_t rows = CLVI_MIN(BLOCK, s.tokens - first), at = y_offset(&s, item) + first * s.wide;
            const float *dy = (const float *)call->in_data[0] + at, *q_block = q + first * s.row;
            const float keep = first > 0 ? 1 : 0;
            multiply(false, true, rows, s.tokens, s.size, s.scale, q_block, s.row, k, s.row, 0, p, s.tokens);
            multiply(false, true, rows, s.tokens, s.size, 1, dy, s.wide, v, s.row, 0, e, s.tokens);
            rows_job job = { .score = p, .other = e, .dy = dy, .y = (const float *)call->in_data[2] + at,
                             .lse = (float *)call->in_data[3] + item * s.tokens + first, .tokens = s.tokens,
                             .size = s.size, .wide = s.wide, .scale = s.scale };
            clvi_isa_pick(slopes_body_table)(&job, 0, rows);
            multiply(true, false, s.tokens, s.size, rows, 1, p, s.tokens, dy, s.wide, keep, dv, s.row);
            multiply(true, false, s.tokens, s.size, rows, 1, e, s.tokens, q_block, s.row, keep, dk, s.row);
            multiply(false, false, rows, s.size, s.tokens, 1, e, s.tokens, k, s.row, 0, dq + first * s.row, s.row);
        }
    }
}

static void forward_alone(void *arg, int64_t begin, int64_t end)
{
    alone(arg, begin, end, forward_range);
}

static void backward_alone(void *arg, int64_t begin, int64_t end)
{
    alone(arg, begin, end, backward_range);
}

/* ---- the kernels ---- */

static bool accepts(const clvi_op_call *call)
{
    const clvi_desc *qkv = &call->in[call->n_in == 1 ? 0 : 1];
    return qkv->dtype == CLV_F32 && qkv->shape[1] > 0 && qkv->shape[1] <= INT_MAX &&
           ((const clvi_attention_attr *)call->attr)->tokens <= INT_MAX;     /* BLAS counts in int */
}

static clv_status prepare(clvi_op_call *call)
{
    const int64_t values = call->n_in == 1 ? BLOCK : 2 * BLOCK;
    for (int i = 0; i < call->n_in; i++) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    call->scratch_size = (size_t)(clv_context_threads(call->ctx) * values) * sizeof(float) *
                         (size_t)((const clvi_attention_attr *)call->attr)->tokens;
    return CLV_OK;
}

static clv_status forward(const clvi_op_call *call)
{
    const sizes s = sizes_of(call->attr, &call->in[0]);
    clvi_parallel_for(call->ctx, s.samples * s.heads * s.blocks, 1, forward_alone, (void *)call);
    return CLV_OK;
}

static clv_status backward(const clvi_op_call *call)
{
    const sizes s = sizes_of(call->attr, &call->in[1]);
    clvi_parallel_for(call->ctx, s.samples * s.heads, 1, backward_alone, (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_blas_attention = {
    .op = "attention", .name = "blas", .accepts = accepts, .prepare = prepare, .run = forward,
};
const clvi_kernel clvi_kernel_blas_attention_bwd = {
    .op = "attention_bwd", .name = "blas", .accepts = accepts, .prepare = prepare, .run = backward,
};
