/* bank_nce.cu: InfoNCE of queries against their key and a bank in one walk; the formulas are those of
 * cpu/ref_bank_nce.c. Where all rows are of unit length sums are relative to the largest logit there can be, 1/t, else
 * to the largest so far. Rows that are moved are moved some thousand at a time, into memory that the next ones use
 * again. A thread block a query joins what the walk left with the key. */
#include "device/cuda/bank_topk.h"
#include "device/cuda/draw.h"

enum { Q, KEY, BANK, VALID, IDS, BANK_IDS, LAMBDA, INDEX, STEP };
enum { PER_ROW, PROB_POS, DQ, PROB_NEG, TOP, TOP_SCORE };

#define LARGEST_SHIFT 30.0     /* e^{-2/t} is far from float's smallest number */
#ifdef CLV_EMU
#define MOVED_ROWS 128
#else
#define MOVED_ROWS 8192
#endif

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

static int64_t moved_rows(const clvi_op_call *call)
{
    const int64_t rows = call->in[BANK].shape[0];
    return rows < MOVED_ROWS ? rows : MOVED_ROWS;
}

/* Columns of the numbers that rows are mixed by, when they are drawn; 0: they are given. */
static int64_t drawn_cols(const clvi_op_call *call)
{
    const clvi_bank_nce_attr *attr = (const clvi_bank_nce_attr *)call->attr;
    return attr->mix && !clvi_cu_present(&call->in[LAMBDA]) ? attr->lambda.cols : 0;
}

template <class T> static mover<T> mover_of(const clvi_op_call *call, const clvi_cu_bank<T> &bank, double *room)
{
    const bool given = call->n_in > LAMBDA && call->in_data[LAMBDA];
    T *drawn = (T *)room;
    return mover<T>{ bank, *(const clvi_bank_nce_attr *)call->attr, given ? (const T *)call->in_data[LAMBDA] : nullptr,
                     call->n_in > INDEX ? (const int64_t *)call->in_data[INDEX] : nullptr,
                     call->n_in > STEP ? (const int64_t *)call->in_data[STEP] : nullptr,
                     given ? call->in[LAMBDA].shape[0] : 0, given ? call->in[LAMBDA].shape[1] : drawn_cols(call), 0,
                     drawn, drawn + moved_rows(call) * drawn_cols(call) };
}

/* The bank with its rows [first, last) moved. */
template <class T>
static clv_status move_rows(const clvi_op_call *call, mover<T> move, int64_t first, int64_t last,
                            clvi_cu_bank<T> *moved)
{
    move.first = first;
    if (drawn_cols(call)) CLV_TRY(clvi_cu_draw_beta(call, move.attr.lambda, move.step, first, last - first, move.drawn));
    CLV_TRY(clvi_cu_rows(call, last - first, [=] __device__ (int64_t j) { move(first + j); }));
    *moved = move.bank;
    moved->rows = move.to, moved->origin = first, moved->bf16 = false;
    return CLV_OK;
}

/* ---- memory: the walk, then moved rows or lists ---- */

struct memory { clvi_cu_bank_walk walk; int64_t walk_numbers, numbers; };

static memory memory_of(const clvi_op_call *call)
{
    const clvi_bank_nce_attr *attr = (const clvi_bank_nce_attr *)call->attr;
    const int64_t queries = call->in[Q].shape[0], dim = call->in[Q].shape[1], rows = call->in[BANK].shape[0];
    const bool gather = call->wanted[DQ];
    memory m;
    m.walk = clvi_cu_bank_walk_over(queries, is_moved(call) ? moved_rows(call) : rows, dim, gather);
    m.walk_numbers = clvi_cu_bank_walk_memory(&m.walk, queries, dim, gather, (double *)call->scratch);
    m.walk.temperature = attr->temperature;
    m.walk.shift = attr->unit_rows && 1 / attr->temperature <= LARGEST_SHIFT ? 1 / attr->temperature : NAN;
    m.numbers = m.walk_numbers;
    if (is_moved(call)) m.numbers += moved_rows(call) * (dim + drawn_cols(call));
    if (call->n_out > TOP)
        m.numbers += (int64_t)(clvi_cu_topk_scratch(queries, rows, call->out[TOP].shape[1]) / sizeof(double));
    return m;
}

static bool bank_nce_accepts(const clvi_op_call *call) { return clvi_cu_bank_types(call, BANK); }

static clv_status bank_nce_prepare(clvi_op_call *call)
{
    clvi_cu_bank_make_dense(call);
    call->scratch_size = (size_t)memory_of(call).numbers * sizeof(double);
    return CLV_OK;
}

/* ---- with the key ---- */

template <class T> struct nce_result { const T *query, *key; T *per_row, *prob_pos, *dq, *prob_neg; };

template <class T>
static __device__ void join(const clvi_cu_bank_walk &w, int64_t queries, int64_t dim, const nce_result<T> &to,
                            int64_t b)
{
    const T *q = to.query + b * dim, *k = to.key + b * dim;
    double positive = 0;
    for (int64_t d = threadIdx.x; d < dim; d += CLVI_CU_THREADS) positive += (double)q[d] * (double)k[d];
    positive = clvi_cu_block_sum(positive) / w.temperature;
    const double max = clvi_cu_bank_joined_max(w, b, queries, positive), e_pos = exp(positive - max);
    const double negative = clvi_cu_bank_joined_sum(w, b, queries, max), sum = e_pos + negative;
    if (threadIdx.x == 0) {
        const double loss = negative <= e_pos ? log1p(negative / e_pos) : max - positive + log(sum);
        to.per_row[b] = (T)loss;
        if (to.prob_pos) to.prob_pos[b] = (T)exp(-loss);
        if (to.prob_neg) to.prob_neg[b] = (T)(negative / sum);
    }
    for (int64_t d = threadIdx.x; to.dq && d < dim; d += CLVI_CU_THREADS) {
        const double pull = clvi_cu_bank_joined(w, b, queries, dim, d, max) - negative * (double)k[d];
        to.dq[b * dim + d] = (T)(pull / sum / w.temperature);
    }
}

template <class T> static clv_status bank_nce_of(const clvi_op_call *call)
{
    const clvi_cu_bank<T> p = clvi_cu_bank_of<T>(call, BANK, VALID);
    const memory m = memory_of(call);
    const clvi_cu_bank_walk w = m.walk;
    double *room = (double *)call->scratch + m.walk_numbers;
    const int64_t queries = p.queries, dim = p.dim, chunk = is_moved(call) ? moved_rows(call) : p.count;
    clvi_cu_bank<T> rows = p;
    int64_t first = 0;
    do {                                 /* an empty bank leaves the state of no rows */
        const int64_t last = first + chunk < p.count ? first + chunk : p.count;
        if (is_moved(call)) CLV_TRY(move_rows(call, mover_of(call, p, room), first, last, &rows));
        CLV_TRY(clvi_cu_bank_walk_rows(call, rows, w, first, last, clvi_cu_bank_product<T>()));
        first = last;
    } while (first < p.count);
    const nce_result<T> to = { p.query, (const T *)call->in_data[KEY], (T *)call->out_data[PER_ROW],
                               clvi_cu_output<T>(call, PROB_POS), clvi_cu_output<T>(call, DQ),
                               clvi_cu_output<T>(call, PROB_NEG) };
    CLV_TRY(clvi_cu_rows(call, queries, [=] __device__ (int64_t b) { join(w, queries, dim, to, b); }));
    if (call->n_out <= TOP || (!call->wanted[TOP] && !call->wanted[TOP_SCORE])) return CLV_OK;
    return clvi_cu_topk(call, p, call->out[TOP].shape[1], room, clvi_cu_output<int64_t>(call, TOP),
                        clvi_cu_output<T>(call, TOP_SCORE));
}

static clv_status bank_nce(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->in[Q], bank_nce_of, call); }
CLVI_CU_KERNEL_WITH(bank_nce, bank_nce_accepts, bank_nce_prepare);
