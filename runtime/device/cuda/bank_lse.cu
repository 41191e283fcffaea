/* bank_lse.cu: log mean exp of similarities with the rows of a bank; the formulas are those of cpu/ref_bank_lse.c.
 * Inner products come in tiles (bank_tiles.h). Distances have a walk of their own, which takes differences: |q|^2 - 2<q,m> +
 * |m|^2 would leave little of a distance that is small. Either leaves sums relative to the largest exponent so far; a
 * thread block a query joins them. */
#include "device/cuda/bank_tiles.h"

enum { Q, BANK, VALID, START };
enum { Y, DQ, DSTART, EXPONENTS };

struct state {
    clvi_cu_bank_tiles tiles;            /* of distances: where their sums lie, and nothing else */
    size_t count;                        /* a double in scratch: how many rows count */
};

/* ---- distances ----
 *
 * A block takes 64 queries through a slice of the bank, and gathers 64 columns (a strip) of sum_j e^{l_j - max} row_j;
 * where there are more columns the exponents are computed once for each strip. */

template <class T> struct walk {
    clvi_cu_bank_sums<T> sums;
    int64_t per;                         /* rows of a slice */
    double  temperature;
    T      *exponents;                   /* [queries, rows], 0 for rows that do not count; NULL: not wanted */
};

static int64_t strips_of(const clvi_cu_bank_tiles *t)
{
    return t->gathers && t->dim > 0 ? clvi_cu_bank_blocks(t->dim) : 1;
}

/* Depends on the shapes alone. */
static void cut_walk(clvi_op_call *call, clvi_cu_bank_tiles *t)
{
#ifdef CLV_EMU
    const int64_t blocks = 3;
#else
    const int64_t blocks = 2 * 132;
#endif
    const int64_t tiles = clvi_cu_bank_blocks(t->count), queries = clvi_cu_bank_blocks(t->queries);
    const int64_t others = (queries > 0 ? queries : 1) * strips_of(t), most = tiles > 0 ? tiles : 1;
    t->slices = (blocks + others - 1) / others;
    t->slices = t->slices < CLVI_CU_BANK_SLICES ? t->slices : (int64_t)CLVI_CU_BANK_SLICES;
    t->slices = t->slices < most ? t->slices : most;
    clvi_cu_bank_place_sums(call, t);
}

/* Exponents of a tile, then weights; and by what its rows' earlier sums are to be multiplied. */
template <class T> struct tile_weights {
    T at[CLVI_CU_BANK_TILE][CLVI_CU_BANK_TILE + 1];
    double factor[CLVI_CU_BANK_TILE];
};

/* sum[i][c] = factor sum[i][c] + sum over the tile's rows k of weight[y + 16 i][k] row_k[column + x + 16 c]; rows that
 * are not valid are not read. Waits until everybody has written weights. */
template <class T>
static __device__ void gather(const clvi_cu_bank<T> &p, int64_t j0, int64_t end, int64_t column,
                              clvi_cu_bank_room<T> &room, const tile_weights<T> &weights,
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

/* Four threads have a query's sum: thread t of the block that of query t / 4, over a quarter of each tile. */
enum { QUARTERS = 4 };

template <class T> struct running {
    T max;
    double sum;

    /* Exponents become weights. */
    __device__ void take(tile_weights<T> &weights)
    {
        enum { RUN = CLVI_CU_BANK_TILE / QUARTERS };
        const int row = threadIdx.x / QUARTERS, first = threadIdx.x % QUARTERS * RUN;
        T *l = &weights.at[row][first], larger = max, total = 0;
        for (int j = 0; j < RUN; j++) larger = l[j] > larger ? l[j] : larger;
        for (int by = QUARTERS / 2; by > 0; by /= 2) {
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
static __device__ void put_exponents(const clvi_cu_bank<T> &p, const walk<T> &w, int64_t j0, int64_t end,
                                     const T (&score)[CLVI_CU_BANK_PER][CLVI_CU_BANK_PER], tile_weights<T> &to)
{
    enum { PER = CLVI_CU_BANK_PER, LANES = CLVI_CU_BANK_LANES };
    const int y = threadIdx.x / LANES, x = threadIdx.x % LANES;
    T *exponents = blockIdx.y == 0 ? w.exponents : nullptr;
    for (int i = 0; i < PER; i++)
        for (int c = 0; c < PER; c++) {
            const int64_t b = (int64_t)blockIdx.x * CLVI_CU_BANK_TILE + y + i * LANES, j = j0 + x + c * LANES;
            const bool there = b < p.queries && j < end, counts = there && p.counts(b, j);
            const T exponent = score[i][c] / (T)w.temperature;
            if (there && exponents) exponents[b * p.count + j] = counts ? exponent : T(0);
            to.at[y + i * LANES][x + c * LANES] = counts ? exponent : -(T)INFINITY;
        }
}

/* What a thread has gathered goes where it belongs. */
template <class T>
static __device__ void put_gathered(const clvi_cu_bank_sums<T> &s,
                                    const double (&gathered)[CLVI_CU_BANK_PER][CLVI_CU_BANK_PER])
{
    enum { PER = CLVI_CU_BANK_PER, LANES = CLVI_CU_BANK_LANES };
    for (int i = 0; i < PER; i++)
        for (int c = 0; c < PER; c++) {
            const int64_t b = (int64_t)blockIdx.x * CLVI_CU_BANK_TILE + threadIdx.x / LANES + i * LANES;
            const int64_t d = (int64_t)blockIdx.y * CLVI_CU_BANK_TILE + threadIdx.x % LANES + c * LANES;
            if (b < s.queries && d < s.dim) s.gathered[(blockIdx.z * s.queries + b) * s.dim + d] = (T)gathered[i][c];
        }
}

template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS, 1) walk_kernel(clvi_cu_bank<T> p, walk<T> w)
{
    __shared__ clvi_cu_bank_room<T> room;
    __shared__ tile_weights<T> weights;
    const int64_t b0 = (int64_t)blockIdx.x * CLVI_CU_BANK_TILE, begin = blockIdx.z * w.per;
    const int64_t end = begin + w.per < p.count ? begin + w.per : p.count;
    const int64_t b = b0 + threadIdx.x / QUARTERS, at = blockIdx.z * p.queries + b;
    running<T> s = { -(T)INFINITY, 0 };
    double gathered[CLVI_CU_BANK_PER][CLVI_CU_BANK_PER] = { { 0 } };
    for (int64_t j0 = begin; j0 < end; j0 += CLVI_CU_BANK_TILE) {
        T score[CLVI_CU_BANK_PER][CLVI_CU_BANK_PER];
        clvi_cu_bank_scores(p, b0, j0, end, clvi_cu_bank_gap<T>(), room, score);
        put_exponents(p, w, j0, end, score, weights);
        __syncthreads();
        s.take(weights);
        if (w.sums.gathered) gather(p, j0, end, (int64_t)blockIdx.y * CLVI_CU_BANK_TILE, room, weights, gathered);
        __syncthreads();                 /* weights have been read */
    }
    for (int by = QUARTERS / 2; by > 0; by /= 2) s.sum += __shfl_xor_sync(0xffffffffu, s.sum, by);
    const bool owner = blockIdx.y == 0 && b < p.queries && threadIdx.x % QUARTERS == 0;
    if (owner) w.sums.max[at] = (double)s.max, w.sums.sum[at] = s.sum;
    if (w.sums.gathered) put_gathered(w.sums, gathered);
}

template <class T>
static clv_status walk_distances(const clvi_op_call *call, const clvi_cu_bank_tiles *t, const clvi_cu_bank<T> &p,
                                 double temperature, T *exponents)
{
    const int64_t per = (clvi_cu_bank_blocks(t->count) + t->slices - 1) / t->slices * CLVI_CU_BANK_TILE;
    const walk<T> w = { clvi_cu_bank_sums_of<T>(call, t), per, temperature, exponents };
    const dim3 grid((unsigned)clvi_cu_bank_blocks(p.queries), (unsigned)strips_of(t), (unsigned)t->slices);
    return clvi_cu_launch(call, walk_kernel<T>, grid, CLVI_CU_THREADS, 0, p, w);
}

/* ---- what a call keeps ---- */

static void bank_lse_release(clvi_op_call *call)
{
    state *s = (state *)call->state;
    if (!s) return;
    clvi_cu_bank_tiles_release(call, &s->tiles);
    clvi_free(call->ctx, s);
    call->state = nullptr;
}

static clv_status bank_lse_prepare(clvi_op_call *call)
{
    const bool l2 = ((const clvi_bank_lse_attr *)call->attr)->l2;
    state *s = (state *)clvi_calloc(call->ctx, 1, sizeof *s);
    clv_status st = CLV_OK;
    if (!s) return CLV_ERR_NOMEM;
    clvi_cu_bank_make_dense(call);
    if (!call->wanted[EXPONENTS]) call->out[EXPONENTS].bytes = 0;
    call->state = s;
    call->scratch_size = 0;
    s->count = clvi_cu_bank_take(call, 1, sizeof(double));
    clvi_cu_bank_tiles_of_call(call, BANK, call->wanted[DQ], &s->tiles);
    if (l2) cut_walk(call, &s->tiles);
    else st = clvi_cu_bank_tiles_prepare(call, BANK, false, &s->tiles);
    if (st != CLV_OK) bank_lse_release(call);
    return st;
}

/* ---- the result ---- */

template <class T> struct lse_result { const T *query, *start; T *y, *dq, *dstart; };

template <class T>
static __device__ void join(const clvi_cu_bank_sums<T> &s, const clvi_bank_lse_attr &attr, double count,
                            const lse_result<T> &to, int64_t b)
{
    const double start = to.start ? (double)to.start[b] : -INFINITY;
    const clvi_cu_bank_joint j = clvi_cu_bank_join(s, b, start);
    const double rows = j.sum, sum = (to.start ? exp(start - j.max) : 0) + rows;
    const double lse = count > 0 ? j.max + log(sum) : 0;
    if (threadIdx.x == 0) {
        to.y[b] = (T)(count > 0 ? lse - log(count) : 0);
        if (to.dstart) to.dstart[b] = (T)(to.start ? exp(start - lse) : 0);
    }
    for (int64_t d = threadIdx.x; to.dq && d < s.dim; d += CLVI_CU_THREADS) {
        double mean = count > 0 ? clvi_cu_bank_joined(s, j, b, d) / sum : 0;
        if (attr.l2) mean = 2 * (mean - (count > 0 ? rows / sum : 0) * (double)to.query[b * s.dim + d]);
        to.dq[b * s.dim + d] = (T)(mean / attr.temperature);
    }
}

template <class T> static clv_status bank_lse_of(const clvi_op_call *call)
{
    const clvi_bank_lse_attr attr = *(const clvi_bank_lse_attr *)call->attr;
    const state *s = (const state *)call->state;
    const clvi_cu_bank<T> p = clvi_cu_bank_of<T>(call, BANK, VALID);
    const lse_result<T> to = { p.query, (const T *)call->in_data[START], (T *)call->out_data[Y],
                               clvi_cu_output<T>(call, DQ), clvi_cu_output<T>(call, DSTART) };
    T *exponents = clvi_cu_output<T>(call, EXPONENTS);
    double *count = (double *)((char *)call->scratch + s->count);
    CLV_TRY(clvi_cu_rows(call, 1, [=] __device__ (int64_t) {
        int64_t valid = 0;
        for (int64_t j = threadIdx.x; j < p.count; j += CLVI_CU_THREADS) valid += !p.valid || p.valid[j];
        valid = clvi_cu_block_sum(valid);
        if (threadIdx.x == 0) *count = (double)(valid + attr.start_count);
    }));
    if (attr.l2) CLV_TRY(walk_distances(call, &s->tiles, p, attr.temperature, exponents));
    else CLV_TRY(clvi_cu_bank_tiles_run(call, &s->tiles, p, attr.temperature, NAN, exponents,
                                        clvi_cu_bank_bring<T>{ call, &s->tiles, p }));
    const clvi_cu_bank_sums<T> sums = clvi_cu_bank_sums_of<T>(call, &s->tiles);
    return clvi_cu_rows(call, p.queries, [=] __device__ (int64_t b) { join(sums, attr, *count, to, b); });
}

static clv_status bank_lse(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[Y], bank_lse_of, call); }
CLVI_CU_KERNEL_WITH_STATE(bank_lse, nullptr, bank_lse_prepare, bank_lse_release);
