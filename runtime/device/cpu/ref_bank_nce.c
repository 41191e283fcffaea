/* ref_bank_nce.c: InfoNCE of queries against their key and a bank (He et al. 2020, arXiv:1911.05722, eq. 1), plainly:
 *   per_row_b  = log(e^{<q_b,k_b>/t} + sum_j e^{<q_b,n_j>/t}) - <q_b,k_b>/t      over the bank rows j that count for b
 *   prob_pos_b = exp(-per_row_b)
 *   dq_b       = (sum_j p_j n_j + p_pos k_b - k_b) / t
 *   prob_neg_b = sum_j p_j = 1 - prob_pos_b
 * A bank row does not count when valid[j] is 0 or when its id is the query's (negative ids equal nothing). A query for
 * which none counts has per_row 0, prob_pos 1, dq 0. Rows of the bank may be bfloat16. */
#ifndef REAL

#include "core/bf16.h"
#include "device/cpu/ref_topk.h"
#include <math.h>

/* One query's view of the bank. */
typedef struct bank_query {
    const unsigned char *valid;
    const int64_t       *bank_ids;
    int64_t              id;      /* -1: nothing to leave out */
} bank_query;

static bank_query query_at(const clvi_op_call *call, int64_t row)
{
    const int64_t *ids = call->in_data[4];
    const int64_t *bank_ids = call->in_data[5];
    return (bank_query){ call->in_data[3], bank_ids, ids && bank_ids ? ids[row] : -1 };
}

static bool counts(const bank_query *q, int64_t j)
{
    if (q->valid && !q->valid[j]) return false;
    return q->id < 0 || q->bank_ids[j] != q->id;
}

#define SELF "device/cpu/ref_bank_nce.c"
#include "device/cpu/real.h"

/* A sum in double for every entry of dq; room for the list. */
static clv_status bank_nce_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    if (call->wanted[2]) call->scratch_size = (size_t)clvi_desc_count(&call->in[0]) * sizeof(double);
    if (call->n_out > 4) call->scratch_size += clvi_ref_topk_scratch(call, 2);
    return CLV_OK;
}

static clv_status bank_nce(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 1, bank_nce_range);
    const size_t sums = call->wanted[2] ? (size_t)clvi_desc_count(&call->in[0]) * sizeof(double) : 0;
    if (call->n_out > 4 && (call->wanted[4] || call->wanted[5]))
        clvi_ref_topk_run(&(clvi_ref_topk) { .call = call, .bank = 2, .valid = 3, .slots = 4, .scratch = sums });
    return CLV_OK;
}

/* The shape rule has seen to the other types. */
static bool bank_nce_accepts(const clvi_op_call *call)
{
    return call->in[0].dtype == CLV_F32 || call->in[0].dtype == CLV_F64;
}

const clvi_kernel clvi_kernel_ref_bank_nce = {
    .op = "bank_nce", .name = "reference", .accepts = bank_nce_accepts, .prepare = bank_nce_prepare, .run = bank_nce,
};

#else

static double FN(logit)(const REAL *a, const REAL *b, int64_t n, double temperature)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum / temperature;
}

/* Entry i of the bank. */
static double FN(entry)(const clvi_op_call *call, int64_t i)
{
    if (call->in[2].dtype == CLV_BF16) return (double)clvi_bf16_value(((const uint16_t *)call->in_data[2])[i]);
    return (double)((const REAL *)call->in_data[2])[i];
}

/* <q, row j> / t. */
static double FN(negative)(const clvi_op_call *call, const REAL *q, int64_t j)
{
    const int64_t dim = call->in[0].shape[1];
    double sum = 0;
    for (int64_t d = 0; d < dim; d++) sum += (double)q[d] * FN(entry)(call, j * dim + d);
    return sum / ((const clvi_bank_nce_attr *)call->attr)->temperature;
}

static void FN(bank_nce_gradient)(const clvi_op_call *call, int64_t b, double lse)
{
    const double t = ((const clvi_bank_nce_attr *)call->attr)->temperature;
    const int64_t dim = call->in[0].shape[1], rows = call->in[2].shape[0];
    const REAL *q = (const REAL *)call->in_data[0] + b * dim, *k = (const REAL *)call->in_data[1] + b * dim;
    const bank_query view = query_at(call, b);
    double *sum = (double *)call->scratch + b * dim;
    const double p_pos = exp(FN(logit)(q, k, dim, t) - lse);
    for (int64_t d = 0; d < dim; d++) sum[d] = (p_pos - 1) * k[d];
    for (int64_t j = 0; j < rows; j++) {
        if (!counts(&view, j)) continue;
        const double p = exp(FN(negative)(call, q, j) - lse);
        for (int64_t d = 0; d < dim; d++) sum[d] += p * FN(entry)(call, j * dim + d);
    }
    for (int64_t d = 0; d < dim; d++) ((REAL *)call->out_data[2])[b * dim + d] = (REAL)(sum[d] / t);
}

static void FN(bank_nce_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const double t = ((const clvi_bank_nce_attr *)call->attr)->temperature;
    const int64_t dim = call->in[0].shape[1], rows = call->in[2].shape[0];
    REAL *per_row = call->out_data[0], *prob_pos = clvi_ref_output(call, 1), *prob_neg = clvi_ref_output(call, 3);
    for (int64_t b = begin; b < end; b++) {
        const REAL *q = (const REAL *)call->in_data[0] + b * dim, *k = (const REAL *)call->in_data[1] + b * dim;
        const bank_query view = query_at(call, b);
        const double positive = FN(logit)(q, k, dim, t);
        double max = positive, negative = 0;
        for (int64_t j = 0; j < rows; j++)
            if (counts(&view, j)) max = fmax(max, FN(negative)(call, q, j));
        for (int64_t j = 0; j < rows; j++)
            if (counts(&view, j)) negative += exp(FN(negative)(call, q, j) - max);
        const double e_pos = exp(positive - max), sum = e_pos + negative;
        const double loss = negative <= e_pos ? log1p(negative / e_pos) : max - positive + log(sum);
        per_row[b] = (REAL)loss;
        if (prob_pos) prob_pos[b] = (REAL)exp(-loss);
        if (prob_neg) prob_neg[b] = (REAL)(negative / sum);
        if (clvi_ref_output(call, 2)) FN(bank_nce_gradient)(call, b, max + log(sum));
    }
}

#endif
