/* ref_bank_nce.c: InfoNCE of queries against their key and a bank (He et al. 2020, arXiv:1911.05722, eq. 1), plainly:
 *   per_row_b  = log(e^{<q_b,k_b>/t} + sum_j e^{<q_b,n_j>/t}) - <q_b,k_b>/t      over the bank rows j that count for b
 *   prob_pos_b = exp(-per_row_b)
 *   dq_b       = (sum_j p_j n_j + p_pos k_b - k_b) / t
 *   prob_neg_b = sum_j p_j = 1 - prob_pos_b
 * A bank row does not count when valid[j] is 0 or when its id is the query's (negative ids equal nothing). A query for
 * which none counts has per_row 0, prob_pos 1, dq 0. Rows of the bank may be bfloat16, and moved when they are read:
 * n_j is then l_j n_j + (1 - l_j) n_{i_j}, and that over max(its length, eps). */
#ifndef REAL

#include "core/bf16.h"
#include "device/cpu/bank_mix.h"
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

/* For every query a sum in double for each value of dq, and room for three rows; room for the list. */
static size_t rows_scratch(const clvi_op_call *call)
{
    return 4 * (size_t)clvi_desc_count(&call->in[0]) * sizeof(double);
}

static clv_status bank_nce_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, call->n_in);
    clvi_ref_make_dense(call->out, call->n_out);
    call->scratch_size = rows_scratch(call);
    if (call->n_out > 4) call->scratch_size += clvi_ref_topk_scratch(call, 2);
    return CLV_OK;
}

static clv_status bank_nce(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 1, bank_nce_range);
    if (call->n_out > 4 && (call->wanted[4] || call->wanted[5]))
        clvi_ref_topk_run(&(clvi_ref_topk) { .call = call, .bank = 2, .valid = 3, .slots = 4,
                                            .scratch = rows_scratch(call) });
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

static void FN(read_row)(const clvi_op_call *call, int64_t j, REAL *to)
{
    const int64_t dim = call->in[0].shape[1];
    const uint16_t *half = (const uint16_t *)call->in_data[2] + j * dim;
    const REAL *row = (const REAL *)call->in_data[2] + j * dim;
    for (int64_t d = 0; d < dim; d++) to[d] = call->in[2].dtype == CLV_BF16 ? (REAL)clvi_bf16_value(half[d]) : row[d];
}

static void FN(mix_row)(const clvi_op_call *call, int64_t j, REAL *x, REAL *room)
{
    const int64_t dim = call->in[0].shape[1], other = clvi_bank_mix_other(call, j);
    REAL *y = room + dim;
    int64_t step;
    if (other < 0 || dim == 0) return;      /* an empty row has no room for a number, either */
    const REAL *lambda = clvi_bank_mix_lambda(call, j, room, &step);
    FN(read_row)(call, other, y);
    for (int64_t d = 0; d < dim; d++) {
        const double l = lambda[d * step];
        x[d] = (REAL)(l * x[d] + (1 - l) * y[d]);
    }
}

/* Row j of the bank, moved as the attributes say, in the memory of query b. */
static const REAL *FN(row)(const clvi_op_call *call, int64_t b, int64_t j)
{
    const clvi_bank_nce_attr *attr = call->attr;
    const int64_t dim = call->in[0].shape[1];
    REAL *row = (REAL *)((double *)call->scratch + (4 * b + 1) * dim);
    FN(read_row)(call, j, row);
    if (attr->mix) FN(mix_row)(call, j, row, row + dim);
    double square = 0;
    for (int64_t d = 0; attr->unit && d < dim; d++) square += (double)row[d] * row[d];
    for (int64_t d = 0; attr->unit && d < dim; d++) row[d] = (REAL)(row[d] / fmax(sqrt(square), attr->eps));
    return row;
}

/* <q_b, row j> / t. */
static double FN(negative)(const clvi_op_call *call, int64_t b, int64_t j)
{
    const int64_t dim = call->in[0].shape[1];
    return FN(logit)((const REAL *)call->in_data[0] + b * dim, FN(row)(call, b, j), dim,
                     ((const clvi_bank_nce_attr *)call->attr)->temperature);
}

static void FN(bank_nce_gradient)(const clvi_op_call *call, int64_t b, double lse)
{
    const double t = ((const clvi_bank_nce_attr *)call->attr)->temperature;
    const int64_t dim = call->in[0].shape[1], rows = call->in[2].shape[0];
    const REAL *q = (const REAL *)call->in_data[0] + b * dim, *k = (const REAL *)call->in_data[1] + b * dim;
    const bank_query view = query_at(call, b);
    double *sum = (double *)call->scratch + 4 * b * dim;
    const double p_pos = exp(FN(logit)(q, k, dim, t) - lse);
    for (int64_t d = 0; d < dim; d++) sum[d] = (p_pos - 1) * k[d];
    for (int64_t j = 0; j < rows; j++) {
        if (!counts(&view, j)) continue;
        const REAL *row = FN(row)(call, b, j);
        const double p = exp(FN(logit)(q, row, dim, t) - lse);
        for (int64_t d = 0; d < dim; d++) sum[d] += p * row[d];
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
            if (counts(&view, j)) max = fmax(max, FN(negative)(call, b, j));
        for (int64_t j = 0; j < rows; j++)
            if (counts(&view, j)) negative += exp(FN(negative)(call, b, j) - max);
        const double e_pos = exp(positive - max), sum = e_pos + negative;
        const double loss = negative <= e_pos ? log1p(negative / e_pos) : max - positive + log(sum);
        per_row[b] = (REAL)loss;
        if (prob_pos) prob_pos[b] = (REAL)exp(-loss);
        if (prob_neg) prob_neg[b] = (REAL)(negative / sum);
        if (clvi_ref_output(call, 2)) FN(bank_nce_gradient)(call, b, max + log(sum));
    }
}

#endif
