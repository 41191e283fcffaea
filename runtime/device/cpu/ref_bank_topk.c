/* ref_bank_topk.c: bank_topk, topk_same: the rows of a bank that are most similar to a query. Scores in double; equal
 * ones keep the order of the bank. A score that is not a number, or -inf, is not listed. */
#ifndef REAL

#include "core/bf16.h"
#include "device/cpu/ref_topk.h"
#include <math.h>
#include <stdlib.h>

typedef struct scored {
    double  score;
    int64_t slot;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

#define SELF "device/cpu/ref_bank_topk.c"
#include "device/cpu/real.h"

size_t clvi_ref_topk_scratch(const clvi_op_call *call, int bank)
{
    return (size_t)clv_context_threads(call->ctx) * (size_t)call->in[bank].shape[0] * sizeof(scored);
}

void clvi_ref_topk_run(const clvi_ref_topk *topk)
{
    const clvi_op_call *call = topk->call;
    clvi_parallel_for(call->ctx, call->in[0].shape[0], 1, call->in[0].dtype == CLV_F64 ? list_f64 : list_f32,
                      (void *)topk);
}

/* The shape rule has seen to the other types. */
static bool bank_topk_accepts(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_F32 || call->in[0].dtype == CLV_F64;
}

static clv_status bank_topk_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = clvi_ref_topk_scratch(call, 1);
    return CLV_OK;
}

static clv_status bank_topk(const clvi_op_call *call)
{
    clvi_ref_topk_run(&(clvi_ref_topk) { .call = call, .bank = 1, .valid = 2, .slots = 0 });
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_bank_topk = {
    .op = "bank_topk", .name = "reference", .accepts = bank_topk_accepts, .prepare = bank_topk_prepare,
    .run = bank_topk,
};

static bool any_type(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32 || call->out[0].dtype == CLV_F64;
}

static clv_status topk_same(const clvi_op_call *call)
{
    const int64_t lists = call->in[0].shape[0], top = call->in[0].shape[1];
    const int64_t *ids = call->in_data[1], *bank_ids = call->in_data[2];
    for (int64_t b = 0; b < lists; b++) {
        const int64_t *slots = (const int64_t *)call->in_data[0] + b * top;
        int64_t listed = 0, same = 0;
        for (int64_t i = 0; i < top; i++) {
            if (slots[i] < 0) continue;
            listed++;
            same += ids[b] >= 0 && bank_ids[slots[i]] == ids[b];
        }
        const double share = listed ? (double)same / (double)listed : 0;
        if (call->out[0].dtype == CLV_F64) ((double *)call->out_data[0])[b] = share;
        else ((float *)call->out_data[0])[b] = (float)share;
    }
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_topk_same = {
    .op = "topk_same", .name = "reference", .accepts = any_type, .run = topk_same,
};

#else

static void FN(list)(void *arg, int64_t begin, int64_t end)
{
    const clvi_ref_topk *topk = arg;
    const clvi_op_call *call = topk->call;
    const int64_t dim = call->in[0].shape[1], keys = call->in[topk->bank].shape[0];
    const int64_t top = call->out[topk->slots].shape[1];
    const bool bf16 = call->in[topk->bank].dtype == CLV_BF16;
    const void *bank = call->in_data[topk->bank];
    const unsigned char *valid = call->in_data[topk->valid];
    const int64_t *ids = call->in_data[topk->valid + 1], *bank_ids = call->in_data[topk->valid + 2];
    scored *all = (scored *)((char *)call->scratch + topk->scratch) + clvi_thread_index() * keys;
    int64_t *slots = clvi_ref_output(call, topk->slots);
    REAL *scores = clvi_ref_output(call, topk->slots + 1);
    for (int64_t b = begin; b < end; b++) {
        const REAL *q = (const REAL *)call->in_data[0] + b * dim;
        int64_t n = 0;
        for (int64_t j = 0; j < keys; j++) {
            if ((valid && !valid[j]) || (ids && bank_ids && ids[b] >= 0 && ids[b] == bank_ids[j])) continue;
            double sum = 0;
            for (int64_t d = 0; d < dim; d++)
                sum += (double)q[d] * (bf16 ? (double)clvi_bf16_value(((const uint16_t *)bank)[j * dim + d])
                                            : (double)((const REAL *)bank)[j * dim + d]);
            if (sum > -INFINITY) all[n++] = (scored) { sum, j };
        }
        if (n > 0) qsort(all, (size_t)n, sizeof *all, by_score);
        for (int64_t i = 0; i < top; i++) {
            if (slots) slots[b * top + i] = i < n ? all[i].slot : -1;
            if (scores) scores[b * top + i] = i < n ? (REAL)all[i].score : 0;
        }
    }
}

#endif
