/* bank.h: what kernels on banks share: scores of 64 queries with 64 rows of a bank by a block of 256 threads, of which
 * thread (y, x) has those of queries y + 16 i with rows x + 16 j, i, j < 4; and the walk of a log-sum-exp over them. */
#ifndef CLVI_DEVICE_CUDA_BANK_H
#define CLVI_DEVICE_CUDA_BANK_H

#include "device/cuda/tile.h"

enum { CLVI_CU_BANK_TILE = 64, CLVI_CU_BANK_LANES = 16, CLVI_CU_BANK_PER = 4 };

static inline int64_t clvi_cu_bank_tiles(int64_t n) { return (n + CLVI_CU_BANK_TILE - 1) / CLVI_CU_BANK_TILE; }

/* Queries and a bank, whose rows from `origin` on are at `rows`. */
template <class T> struct clvi_cu_bank {
    const T *query;
    const void *rows;
    int64_t queries, count, dim, origin;
    bool bf16;
    const unsigned char *valid;
    const int64_t *ids, *bank_ids;     /* both or none */

    __device__ T value(int64_t j, int64_t d) const
    {
        const int64_t at = (j - origin) * dim + d;
        return bf16 ? (T)clvi_cu_from_bf16(((const uint16_t *)rows)[at]) : ((const T *)rows)[at];
    }
    __device__ bool counts(int64_t b, int64_t j) const
    {
        if (valid && !valid[j]) return false;
        return !ids || ids[b] < 0 || bank_ids[j] != ids[b];
    }
};

/* The operands of a call with queries at input 0, a bank at input `bank` and, past `valid`, ids. */
template <class T> clvi_cu_bank<T> clvi_cu_bank_of(const clvi_op_call *call, int bank, int valid)
{
    const bool ids = valid + 2 < call->n_in && call->in_data[valid + 1] && call->in_data[valid + 2];
    return clvi_cu_bank<T>{ (const T *)call->in_data[0], call->in_data[bank], call->in[0].shape[0],
                            call->in[bank].shape[0], call->in[0].shape[1], 0, call->in[bank].dtype == CLV_BF16,
                            (const unsigned char *)call->in_data[valid],
                            ids ? (const int64_t *)call->in_data[valid + 1] : nullptr,
                            ids ? (const int64_t *)call->in_data[valid + 2] : nullptr };
}

/* Queries of one type, rows of that type or bfloat16. */
static inline bool clvi_cu_bank_types(const clvi_op_call *call, int bank)
{
    const clv_dtype q = call->in[0].dtype, rows = call->in[bank].dtype;
    return (q == CLV_F32 || q == CLV_F64) && (rows == q || rows == CLV_BF16);
}

static inline void clvi_cu_bank_make_dense(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++)
        if (clvi_cu_present(&call->in[i])) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
}

/* ---- a tile of scores ---- */

/* Values of a few dimensions, or of a few rows, of a tile. */
template <class T> struct clvi_cu_bank_room {
    enum { STEP = 64 / sizeof(T) };
    T q[STEP][CLVI_CU_BANK_TILE + 1], k[STEP][CLVI_CU_BANK_TILE + 1];
};

/* score[i][j] = sum over d of op(query b0 + y + 16 i, row j0 + x + 16 j), rows below `end`; in the type's own
 * precision, a few products at a time. */
template <class T, class Op>
__device__ void clvi_cu_bank_scores(const clvi_cu_bank<T> &p, int64_t b0, int64_t j0, int64_t end, Op op,
                                    clvi_cu_bank_room<T> &room, T (&score)[CLVI_CU_BANK_PER][CLVI_CU_BANK_PER])
{
    enum { STEP = clvi_cu_bank_room<T>::STEP, PER = CLVI_CU_BANK_PER, LANES = CLVI_CU_BANK_LANES };
    const int y = threadIdx.x / LANES, x = threadIdx.x % LANES;
    for (int i = 0; i < PER; i++)
        for (int j = 0; j < PER; j++) score[i][j] = 0;
    for (int64_t d0 = 0; d0 < p.dim; d0 += STEP) {
        __syncthreads();                 /* what was in the room has been read */
        for (int n = threadIdx.x; n < CLVI_CU_BANK_TILE * STEP; n += CLVI_CU_THREADS) {
            const int r = n / STEP, d = n % STEP;
            const bool there = d0 + d < p.dim;
            room.q[d][r] = there && b0 + r < p.queries ? p.query[(b0 + r) * p.dim + d0 + d] : T(0);
            room.k[d][r] = there && j0 + r < end ? p.value(j0 + r, d0 + d) : T(0);
        }
        __syncthreads();
        T part[PER][PER] = { { 0 } };
        for (int d = 0; d < STEP; d++)
            for (int i = 0; i < PER; i++)
                for (int j = 0; j < PER; j++) part[i][j] += op(room.q[d][y + i * LANES], room.k[d][x + j * LANES]);
        for (int i = 0; i < PER; i++)
            for (int j = 0; j < PER; j++) score[i][j] += part[i][j];
    }
}

template <class T> struct clvi_cu_bank_product { __device__ T operator()(T a, T b) const { return a * b; } };
template <class T> struct clvi_cu_bank_gap { __device__ T operator()(T a, T b) const { return -(a - b) * (a - b); } };

/* ---- the walk ----
 *
 * A block takes 64 queries through a segment of the bank, and gathers 64 columns (a strip) of
 * sum_j e^{l_j - max} row_j. Segments depend on the shapes alone, and who reads the result joins them in order. The
 * state of a walk may be carried on over more rows. */

struct clvi_cu_bank_walk {
    int segments, strips;
    int64_t chunk, per;                  /* rows of one launch, rows of a segment */
    double *max, *sum;                   /* [strips, segments, queries], max -inf and sum 0 over no rows */
    double *gathered;                    /* [segments, queries, dim]; NULL: not wanted */
    double temperature;
    double shift;                        /* NAN: the largest exponent so far */
    void *exponents;                     /* [queries, rows], 0 for rows that do not count; NULL: not wanted */

    __host__ __device__ int64_t at(int segment, int64_t b, int64_t queries) const { return segment * queries + b; }
};

/* The walk of a launch over `rows` rows, without its memory. */
static inline clvi_cu_bank_walk clvi_cu_bank_walk_over(int64_t queries, int64_t rows, int64_t dim, bool gather)
{
#ifdef CLV_EMU
    const int64_t blocks = 3;
#else
    const int64_t blocks = 2 * 132;
#endif
    clvi_cu_bank_walk w = {};
    const int64_t strips = gather && dim > 0 ? clvi_cu_bank_tiles(dim) : 1, tiles = clvi_cu_bank_tiles(rows);
    const int64_t others = (queries > 0 ? clvi_cu_bank_tiles(queries) : 1) * strips;
    int64_t segments = (blocks + others - 1) / others;
    segments = segments < 64 ? segments : 64;
    segments = segments < tiles ? segments : tiles > 0 ? tiles : 1;
    w.segments = (int)segments, w.strips = (int)strips;
    w.chunk = rows;
    w.per = (tiles + segments - 1) / segments * CLVI_CU_BANK_TILE;
    return w;
}

/* Numbers in its memory, which begins at `room`. */
static inline int64_t clvi_cu_bank_walk_memory(clvi_cu_bank_walk *w, int64_t queries, int64_t dim, bool gather,
                                               double *room)
{
    const int64_t state = w->strips * w->segments * queries, gathered = gather ? w->segments * queries * dim : 0;
    if (room) w->max = room, w->sum = room + state, w->gathered = gather ? room + 2 * state : nullptr;
    return 2 * state + gathered;
}

/* Exponents of a tile, then weights; and by what its rows' earlier sums are to be multiplied. */
template <class T> struct clvi_cu_bank_weights {
    T at[CLVI_CU_BANK_TILE][CLVI_CU_BANK_TILE + 1];
    double factor[CLVI_CU_BANK_TILE];
};

/* sum[i][c] = factor sum[i][c] + sum over the tile's rows k of weight[y + 16 i][k] row_k[column + x + 16 c]; rows that
 * are not valid are not read. Waits until everybody has written weights. */
template <class T>
__device__ void clvi_cu_bank_gather(const clvi_cu_bank<T> &p, int64_t j0, int64_t end, int64_t column,
                                    clvi_cu_bank_room<T> &room, const clvi_cu_bank_weights<T> &weights,
                                    double (&sum)[CLVI_CU_BANK_PER][CLVI_CU_BANK_PER])
{
    enum { STEP = clvi_cu_bank_room<T>::STEP, PER = CLVI_CU_BANK_PER, LANES = CLVI_CU_BANK_LANES };
    const int y = threadIdx.x / LANES, x = threadIdx.x % LANES;
    T part[PER][PER] = { { 0 } };
    for (int k0 = 0; k0 < CLVI_CU_BANK_TILE && j0 + k0 < end; k0 += STEP) {
        __syncthreads();
        for (int n = threadIdx.x; n < CLVI_CU_BANK_TILE * STEP; n += CLVI_CU_THREADS) {
            const int r = n / CLVI_CU_BANK_TILE, c = n % CLVI_CU_BANK_TILE;
            const int64_t j = j0 + k0 + r;
            const bool there = j < end && column + c < p.dim && (!p.valid || p.valid[j]);
            room.k[r][c] = there ? p.value(j, column + c) : T(0);
        }
        __syncthreads();
        for (int r = 0; r < STEP; r++)
            for (int i = 0; i < PER; i++)
                for (int c = 0; c < PER; c++)
                    part[i][c] += weights.at[y + i * LANES][k0 + r] * room.k[r][x + c * LANES];
    }
    for (int i = 0; i < PER; i++)
        for (int c = 0; c < PER; c++) sum[i][c] = sum[i][c] * weights.factor[y + i * LANES] + (double)part[i][c];
}

/* Where entry (i, c) of what a thread has gathered belongs; NULL past the queries or columns. */
static __device__ inline double *clvi_cu_bank_place(const clvi_cu_bank_walk &w, int64_t queries, int64_t dim, int i,
                                                    int c)
{
    enum { LANES = CLVI_CU_BANK_LANES };
    const int64_t b = (int64_t)blockIdx.x * CLVI_CU_BANK_TILE + threadIdx.x / LANES + i * LANES;
    const int64_t d = (int64_t)blockIdx.y * CLVI_CU_BANK_TILE + threadIdx.x % LANES + c * LANES;
    return w.gathered && b < queries && d < dim ? &w.gathered[w.at(blockIdx.z, b, queries) * dim + d] : nullptr;
}

/* Four threads have a query's sum: thread t of the block that of query t / 4, over a quarter of each tile. */
enum { CLVI_CU_BANK_QUARTERS = 4 };

template <class T> struct clvi_cu_bank_sum {
    T max;
    double sum;

    /* Exponents become weights. fixed: `max` stays. */
    __device__ void take(clvi_cu_bank_weights<T> &weights, bool fixed)
    {
        enum { RUN = CLVI_CU_BANK_TILE / CLVI_CU_BANK_QUARTERS };
        const int row = threadIdx.x / CLVI_CU_BANK_QUARTERS, first = threadIdx.x % CLVI_CU_BANK_QUARTERS * RUN;
        T *l = &weights.at[row][first], larger = max, total = 0;
        for (int j = 0; j < RUN && !fixed; j++) larger = l[j] > larger ? l[j] : larger;
        for (int by = CLVI_CU_BANK_QUARTERS / 2; by > 0; by /= 2) {
            const T other = __shfl_xor_sync(0xffffffffu, larger, by);
            larger = other > larger ? other : larger;
        }
        const double factor = larger > max ? exp((double)max - (double)larger) : 1;
        max = larger;
        for (int j = 0; j < RUN; j++) {
            l[j] = l[j] == -(T)INFINITY ? T(0) : exp(l[j] - max);
            total += l[j];
        }
        sum = sum * factor + (double)total;
        if (first == 0) weights.factor[row] = factor;
    }
};

/* Scores become exponents, -inf where a row does not count. */
template <class T>
__device__ void clvi_cu_bank_exponents(const clvi_cu_bank<T> &p, const clvi_cu_bank_walk &w, int64_t j0, int64_t end,
                                       const T (&score)[CLVI_CU_BANK_PER][CLVI_CU_BANK_PER],
                                       clvi_cu_bank_weights<T> &to)
{
    enum { PER = CLVI_CU_BANK_PER, LANES = CLVI_CU_BANK_LANES };
    const int y = threadIdx.x / LANES, x = threadIdx.x % LANES;
    T *exponents = blockIdx.y == 0 ? (T *)w.exponents : nullptr;
    for (int i = 0; i < PER; i++)
        for (int c = 0; c < PER; c++) {
            const int64_t b = (int64_t)blockIdx.x * CLVI_CU_BANK_TILE + y + i * LANES, j = j0 + x + c * LANES;
            const bool there = b < p.queries && j < end, counts = there && p.counts(b, j);
            const T exponent = score[i][c] / (T)w.temperature;
            if (there && exponents) exponents[b * p.count + j] = counts ? exponent : T(0);
            to.at[y + i * LANES][x + c * LANES] = counts ? exponent : -(T)INFINITY;
        }
}

/* Rows [first, last) of the bank; those before `first` are in the state. */
template <class T, class Op>
static __global__ void __launch_bounds__(CLVI_CU_THREADS, 1)
clvi_cu_bank_walk_kernel(clvi_cu_bank<T> p, clvi_cu_bank_walk w, int64_t first, int64_t last, Op op)
{
    enum { PER = CLVI_CU_BANK_PER };
    __shared__ clvi_cu_bank_room<T> room;
    __shared__ clvi_cu_bank_weights<T> weights;
    const int64_t b0 = (int64_t)blockIdx.x * CLVI_CU_BANK_TILE, begin = first + blockIdx.z * w.per;
    const int64_t end = begin + w.per < last ? begin + w.per : last;
    const int64_t b = b0 + threadIdx.x / CLVI_CU_BANK_QUARTERS;
    const int64_t at = w.at(blockIdx.y * w.segments + blockIdx.z, b, p.queries);
    const bool fixed = w.shift == w.shift, owner = b < p.queries && threadIdx.x % CLVI_CU_BANK_QUARTERS == 0;
    clvi_cu_bank_sum<T> s = { fixed ? (T)w.shift : -(T)INFINITY, first > 0 && owner ? w.sum[at] : 0 };
    if (first > 0 && b < p.queries) s.max = (T)w.max[at];
    double gathered[PER][PER];
    for (int i = 0; i < PER; i++)
        for (int c = 0; c < PER; c++) {
            const double *from = clvi_cu_bank_place(w, p.queries, p.dim, i, c);
            gathered[i][c] = first > 0 && from ? *from : 0;
        }
    for (int64_t j0 = begin; j0 < end; j0 += CLVI_CU_BANK_TILE) {
        T score[PER][PER];
        clvi_cu_bank_scores(p, b0, j0, end, op, room, score);
        clvi_cu_bank_exponents(p, w, j0, end, score, weights);
        __syncthreads();
        s.take(weights, fixed);
        if (w.gathered)
            clvi_cu_bank_gather(p, j0, end, (int64_t)blockIdx.y * CLVI_CU_BANK_TILE, room, weights, gathered);
        __syncthreads();                 /* weights have been read */
    }
    for (int by = CLVI_CU_BANK_QUARTERS / 2; by > 0; by /= 2) s.sum += __shfl_xor_sync(0xffffffffu, s.sum, by);
    if (owner) w.max[at] = (double)s.max, w.sum[at] = s.sum;
    for (int i = 0; i < PER; i++)
        for (int c = 0; c < PER; c++) {
            double *to = clvi_cu_bank_place(w, p.queries, p.dim, i, c);
            if (to) *to = gathered[i][c];
        }
}

template <class T, class Op>
clv_status clvi_cu_bank_walk_rows(const clvi_op_call *call, const clvi_cu_bank<T> &p, const clvi_cu_bank_walk &w,
                                  int64_t first, int64_t last, Op op)
{
    const dim3 grid((unsigned)clvi_cu_bank_tiles(p.queries), (unsigned)w.strips, (unsigned)w.segments);
    return clvi_cu_launch(call, clvi_cu_bank_walk_kernel<T, Op>, grid, CLVI_CU_THREADS, 0, p, w, first, last, op);
}

/* The joined segments of query b against `max`: e^{max_s - max} times what they summed, and what they gathered. */
static __device__ inline double clvi_cu_bank_joined_sum(const clvi_cu_bank_walk &w, int64_t b, int64_t queries,
                                                        double max)
{
    double sum = 0;
    for (int s = 0; s < w.segments; s++)
        if (w.max[w.at(s, b, queries)] > -INFINITY || w.sum[w.at(s, b, queries)] != 0)
            sum += exp(w.max[w.at(s, b, queries)] - max) * w.sum[w.at(s, b, queries)];
    return sum;
}

static __device__ inline double clvi_cu_bank_joined_max(const clvi_cu_bank_walk &w, int64_t b, int64_t queries,
                                                        double max)
{
    for (int s = 0; s < w.segments; s++) max = fmax(max, w.max[w.at(s, b, queries)]);
    return max;
}

static __device__ inline double clvi_cu_bank_joined(const clvi_cu_bank_walk &w, int64_t b, int64_t queries,
                                                    int64_t dim, int64_t d, double max)
{
    double sum = 0;
    for (int s = 0; s < w.segments; s++)
        if (w.max[w.at(s, b, queries)] > -INFINITY || w.sum[w.at(s, b, queries)] != 0)
            sum += exp(w.max[w.at(s, b, queries)] - max) * w.gathered[w.at(s, b, queries) * dim + d];
    return sum;
}

#endif
