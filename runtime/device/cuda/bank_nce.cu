/* bank_nce.cu: InfoNCE of queries against their key and a bank in tiles; the formulas are those of cpu/ref_bank_nce.c.
 * Where all rows are of unit length sums are relative to the largest logit there can be, 1/t, else to the largest so
 * far. Rows that are moved are moved a tile at a time, into memory that the next one uses again. A thread block a query
 * joins what the tiles left with the key. */
#include "device/cuda/bank_tiles.h"
#include "device/cuda/bank_topk.h"
#include "device/cuda/draw.h"

enum { Q, KEY, BANK, VALID, IDS, BANK_IDS, LAMBDA, INDEX, STEP };
enum { PER_ROW, PROB_POS, DQ, PROB_NEG, TOP, TOP_SCORE };

#define LARGEST_SHIFT 30.0     /* e^{-2/t} is far from float's smallest number */

/* ---- moved rows ---- */

/* Row j is x_j or, mixed, l_j x_j + (1 - l_j) x_{i_j}; then over its length. */
template <class T> struct mover {
    clvi_cu_bank<T> bank;
    clvi_bank_nce_attr attr;
    const T *lambda;                     /* NULL: drawn, in `drawn` */
    const int64_t *index, *step;
    int64_t lambda_rows, lambda_cols, first;
    T *drawn, *to;                       /* of rows from `first` on */

    /* What row j is mixed with, -1: nothing. */
    __device__ int64_t other(int64_t j) const
    {
        const int64_t i = index ? index[j]
                          : clvi_cu_draw_permutation(attr.index, clvi_cu_draw_step(attr.index, step), j);
        return i >= 0 && i < bank.count ? i : -1;
    }
    __device__ double share(int64_t j, int64_t d) const
    {
        const int64_t c = lambda_cols > 1 ? d : 0;
        return (double)(lambda ? lambda[(lambda_rows == 1 ? 0 : j) * lambda_cols + c]
                               : drawn[(j - first) * lambda_cols + c]);
    }
    __device__ void operator()(int64_t j) const
    {
        T *row = to + (j - first) * bank.dim;
        if (bank.valid && !bank.valid[j]) {          /* what lies there may be anything */
            for (int64_t d = threadIdx.x; d < bank.dim; d += CLVI_CU_THREADS) row[d] = 0;
            return;
        }
        const int64_t i = attr.mix ? other(j) : -1;
        double square = 0;
        for (int64_t d = threadIdx.x; d < bank.dim; d += CLVI_CU_THREADS) {
            T x = bank.value(j, d);
            if (i >= 0) x = (T)(share(j, d) * (double)x + (1 - share(j, d)) * (double)bank.value(i, d));
            row[d] = x;
            square += (double)x * (double)x;
        }
        if (!attr.unit) return;
        const double length = fmax(sqrt(clvi_cu_block_sum(square)), attr.eps);
        for (int64_t d = threadIdx.x; d < bank.dim; d += CLVI_CU_THREADS) row[d] = (T)((double)row[d] / length);
    }
};

static bool is_moved(const clvi_op_call *call)
{
    const clvi_bank_nce_attr *attr = (const clvi_bank_nce_attr *)call->attr;
    return attr->mix || attr->unit;
}

/* Columns of the numbers that rows are mixed by, when they are drawn; 0: they are given. */
static int64_t drawn_cols(const clvi_op_call *call)
{
    const clvi_bank_nce_attr *attr = (const clvi_bank_nce_attr *)call->attr;
    return attr->mix && !clvi_cu_present(&call->in[LAMBDA]) ? attr->lambda.cols : 0;
}

template <class T>
static clv_status move_rows(const clvi_op_call *call, const clvi_cu_bank<T> &bank, int64_t first, int64_t rows,
                            T *drawn, T *to)
{
    const bool given = call->n_in > LAMBDA && call->in_data[LAMBDA];
    const mover<T> move = {
        bank, *(const clvi_bank_nce_attr *)call->attr, given ? (const T *)call->in_data[LAMBDA] : nullptr,
        call->n_in > INDEX ? (const int64_t *)call->in_data[INDEX] : nullptr,
        call->n_in > STEP ? (const int64_t *)call->in_data[STEP] : nullptr, given ? call->in[LAMBDA].shape[0] : 0,
        given ? call->in[LAMBDA].shape[1] : drawn_cols(call), first, drawn, to,
    };
    if (drawn_cols(call)) CLV_TRY(clvi_cu_draw_beta(call, move.attr.lambda, move.step, first, rows, drawn));
    return clvi_cu_rows(call, rows, [=] __device__ (int64_t j) { move(first + j); });
}

/* ---- what a call keeps ---- */

struct state {
    clvi_cu_bank_tiles tiles;
    size_t drawn, lists;                 /* in scratch, behind what tiles take */
};

/* Rows [first, first + keys) as the call wants them; keys: those of a tile. */
template <class T> struct bring_rows {
    const clvi_op_call *call;
    clvi_cu_bank<T> p;

    clv_status operator()(int64_t first, int64_t keys, void *to) const
    {
        const state *s = (const state *)call->state;
        return is_moved(call) ? move_rows(call, p, first, keys, (T *)((char *)call->scratch + s->drawn), (T *)to)
                              : clvi_cu_bank_bring<T>{ call, &s->tiles, p }(first, keys, to);
    }
};

static bool bank_nce_accepts(const clvi_op_call *call) { return clvi_cu_bank_types(call, BANK); }

static void bank_nce_release(clvi_op_call *call)
{
    state *s = (state *)call->state;
    if (!s) return;
    clvi_cu_bank_tiles_release(call, &s->tiles);
    clvi_free(call->ctx, s);
    call->state = nullptr;
}

static clv_status bank_nce_prepare(clvi_op_call *call)
{
    state *s = (state *)clvi_calloc(call->ctx, 1, sizeof *s);
    if (!s) return CLV_ERR_NOMEM;
    clvi_cu_bank_make_dense(call);
    call->state = s;
    call->scratch_size = 0;
    clvi_cu_bank_tiles_of_call(call, BANK, call->wanted[DQ], &s->tiles);
    const clv_status st = clvi_cu_bank_tiles_prepare(call, BANK, is_moved(call), &s->tiles);
    s->drawn = clvi_cu_bank_take(call, s->tiles.keys * drawn_cols(call), clv_dtype_size(call->in[Q].dtype));
    if (call->n_out > TOP)
        s->lists = clvi_cu_bank_take(call, 1, clvi_cu_topk_scratch(s->tiles.queries, s->tiles.count,
                                                                   call->out[TOP].shape[1]));
    if (st != CLV_OK) bank_nce_release(call);
    return st;
}

/* ---- with the key ---- */

template <class T> struct nce_result { const T *query, *key; T *per_row, *prob_pos, *dq, *prob_neg; };

template <class T>
static __device__ void join(const clvi_cu_bank_sums<T> &s, double temperature, const nce_result<T> &to, int64_t b)
{
    const int64_t dim = s.dim;
    const T *q = to.query + b * dim, *k = to.key + b * dim;
    double positive = 0;
    for (int64_t d = threadIdx.x; d < dim; d += CLVI_CU_THREADS) positive += (double)q[d] * (double)k[d];
    positive = clvi_cu_block_sum(positive) / temperature;
    const clvi_cu_bank_joint j = clvi_cu_bank_join(s, b, positive);
    const double max = j.max, e_pos = exp(positive - max), negative = j.sum, sum = e_pos + negative;
    if (threadIdx.x == 0) {
        const double loss = negative <= e_pos ? log1p(negative / e_pos) : max - positive + log(sum);
        to.per_row[b] = (T)loss;
        if (to.prob_pos) to.prob_pos[b] = (T)exp(-loss);
        if (to.prob_neg) to.prob_neg[b] = (T)(negative / sum);
    }
    for (int64_t d = threadIdx.x; to.dq && d < dim; d += CLVI_CU_THREADS) {
        const double pull = clvi_cu_bank_joined(s, j, b, d) - negative * (double)k[d];
        to.dq[b * dim + d] = (T)(pull / sum / temperature);
    }
}

template <class T> static clv_status bank_nce_of(const clvi_op_call *call)
{
    const clvi_bank_nce_attr *attr = (const clvi_bank_nce_attr *)call->attr;
    const state *s = (const state *)call->state;
    const clvi_cu_bank<T> p = clvi_cu_bank_of<T>(call, BANK, VALID);
    const double temperature = attr->temperature;
    const double shift = attr->unit_rows && 1 / temperature <= LARGEST_SHIFT ? 1 / temperature : NAN;
    CLV_TRY(clvi_cu_bank_tiles_run(call, &s->tiles, p, temperature, shift, (T *)nullptr, bring_rows<T>{ call, p }));
    const clvi_cu_bank_sums<T> sums = clvi_cu_bank_sums_of<T>(call, &s->tiles);
    const nce_result<T> to = { p.query, (const T *)call->in_data[KEY], (T *)call->out_data[PER_ROW],
                               clvi_cu_output<T>(call, PROB_POS), clvi_cu_output<T>(call, DQ),
                               clvi_cu_output<T>(call, PROB_NEG) };
    CLV_TRY(clvi_cu_rows(call, p.queries, [=] __device__ (int64_t b) { join(sums, temperature, to, b); }));
    if (call->n_out <= TOP || (!call->wanted[TOP] && !call->wanted[TOP_SCORE])) return CLV_OK;
    return clvi_cu_topk(call, p, call->out[TOP].shape[1], (char *)call->scratch + s->lists,
                        clvi_cu_output<int64_t>(call, TOP), clvi_cu_output<T>(call, TOP_SCORE));
}

static clv_status bank_nce(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->in[Q], bank_nce_of, call); }
CLVI_CU_KERNEL_WITH_STATE(bank_nce, bank_nce_accepts, bank_nce_prepare, bank_nce_release);
