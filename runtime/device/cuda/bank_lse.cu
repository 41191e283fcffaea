/* bank_lse.cu: log mean exp of similarities with the rows of a bank; the formulas are those of cpu/ref_bank_lse.c. One
 * walk, whose sums are relative to the largest exponent so far; a thread block a query joins what it left. */
#include "device/cuda/bank.h"

/* In scratch: how many rows count, and the walk. */
static clvi_cu_bank_walk walk_of(const clvi_op_call *call, int64_t *numbers)
{
    const int64_t queries = call->in[0].shape[0], dim = call->in[0].shape[1], rows = call->in[1].shape[0];
    const bool gather = call->wanted[1];
    clvi_cu_bank_walk w = clvi_cu_bank_walk_over(queries, rows, dim, gather);
    double *room = call->scratch ? (double *)call->scratch + 1 : nullptr;
    const int64_t memory = clvi_cu_bank_walk_memory(&w, queries, dim, gather, room);
    if (numbers) *numbers = memory + 1;
    w.temperature = ((const clvi_bank_lse_attr *)call->attr)->temperature;
    w.shift = NAN;
    w.exponents = clvi_cu_output<void>(call, 3);
    return w;
}

static clv_status bank_lse_prepare(clvi_op_call *call)
{
    int64_t numbers;
    clvi_cu_bank_make_dense(call);
    if (!call->wanted[3]) call->out[3].bytes = 0;
    walk_of(call, &numbers);
    call->scratch_size = (size_t)numbers * sizeof(double);
    return CLV_OK;
}

template <class T> struct lse_result { const T *query, *start; T *y, *dq, *dstart; };

template <class T>
static __device__ void join(const clvi_cu_bank_walk &w, const clvi_bank_lse_attr &attr, int64_t queries, int64_t dim,
                            double count, const lse_result<T> &to, int64_t b)
{
    const double start = to.start ? (double)to.start[b] : -INFINITY;
    const double max = clvi_cu_bank_joined_max(w, b, queries, start);
    const double rows = clvi_cu_bank_joined_sum(w, b, queries, max), sum = (to.start ? exp(start - max) : 0) + rows;
    const double lse = count > 0 ? max + log(sum) : 0;
    if (threadIdx.x == 0) {
        to.y[b] = (T)(count > 0 ? lse - log(count) : 0);
        if (to.dstart) to.dstart[b] = (T)(to.start ? exp(start - lse) : 0);
    }
    for (int64_t d = threadIdx.x; to.dq && d < dim; d += CLVI_CU_THREADS) {
        double mean = count > 0 ? clvi_cu_bank_joined(w, b, queries, dim, d, max) / sum : 0;
        if (attr.l2) mean = 2 * (mean - (count > 0 ? rows / sum : 0) * (double)to.query[b * dim + d]);
        to.dq[b * dim + d] = (T)(mean / attr.temperature);
    }
}

template <class T> static clv_status bank_lse_of(const clvi_op_call *call)
{
    const clvi_bank_lse_attr attr = *(const clvi_bank_lse_attr *)call->attr;
    const clvi_cu_bank<T> p = clvi_cu_bank_of<T>(call, 1, 2);
    const clvi_cu_bank_walk w = walk_of(call, nullptr);
    const lse_result<T> to = { p.query, (const T *)call->in_data[3], (T *)call->out_data[0],
                               clvi_cu_output<T>(call, 1), clvi_cu_output<T>(call, 2) };
    double *count = (double *)call->scratch;
    CLV_TRY(clvi_cu_rows(call, 1, [=] __device__ (int64_t) {
        int64_t valid = 0;
        for (int64_t j = threadIdx.x; j < p.count; j += CLVI_CU_THREADS) valid += !p.valid || p.valid[j];
        valid = clvi_cu_block_sum(valid);
        if (threadIdx.x == 0) *count = (double)(valid + attr.start_count);
    }));
    if (attr.l2) CLV_TRY(clvi_cu_bank_walk_rows(call, p, w, 0, p.count, clvi_cu_bank_gap<T>()));
    else CLV_TRY(clvi_cu_bank_walk_rows(call, p, w, 0, p.count, clvi_cu_bank_product<T>()));
    const int64_t queries = p.queries, dim = p.dim;
    return clvi_cu_rows(call, queries, [=] __device__ (int64_t b) { join(w, attr, queries, dim, *count, to, b); });
}

static clv_status bank_lse(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], bank_lse_of, call); }
CLVI_CU_KERNEL_WITH(bank_lse, nullptr, bank_lse_prepare);
