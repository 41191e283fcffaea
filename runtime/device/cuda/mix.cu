/* mix.cu: mix_rows, mix_nce: negatives mixed from a list of hard ones; the formulas are those of cpu/ref_mix.c. A warp
 * measures a mix, which is nowhere held: the gradient reads its two rows again, with what they weigh in it. */
#include "device/cuda/draw.h"

enum { Q, LSE, BANK, SLOTS, I, J, A, J_Q, B, STEP };
enum { WARPS = CLVI_CU_THREADS / CLVI_CU_WARP, MOST_BLOCKS = 1 << 16 };

/* The slot at rank x of a list, or -1. */
static __device__ int64_t slot_at(const int64_t *list, int64_t top, int64_t x)
{
    return x >= 0 && x < top ? list[x] : -1;
}

static __device__ double warp_sum(double value)
{
    for (int by = CLVI_CU_WARP / 2; by > 0; by /= 2) value += __shfl_xor_sync(0xffffffffu, value, by);
    return value;
}

/* m = a x + (1-a) y; there is none where y is NULL. */
template <class T> struct mixed {
    const T *x, *y;
    double a;
    __device__ double operator()(int64_t d) const { return a * (double)x[d] + (1 - a) * (double)y[d]; }
};

/* ---- mix_rows ---- */

template <class T> struct rows_of_mixes {
    const T *bank, *a, *q;
    const int64_t *slots, *i, *j;
    int64_t top, mixes, dim;

    __device__ mixed<T> operator()(int64_t c) const
    {
        const int64_t b = c / mixes, *list = slots + b * top;
        const int64_t second = slot_at(list, top, j[c]), first = q ? 0 : slot_at(list, top, i[c]);
        if (first < 0 || second < 0) return mixed<T>{ nullptr, nullptr, 0 };
        return mixed<T>{ q ? q + b * dim : bank + first * dim, bank + second * dim, (double)a[c] };
    }
};

template <class T> static clv_status mix_rows_of(const clvi_op_call *call)
{
    const double eps = ((const clvi_mix_attr *)call->attr)->eps;
    const int64_t mixes = call->in[2].shape[1], dim = call->in[0].shape[1];
    const rows_of_mixes<T> all = { (const T *)call->in_data[0], (const T *)call->in_data[3],
                                   (const T *)call->in_data[5], (const int64_t *)call->in_data[1],
                                   (const int64_t *)call->in_data[4], (const int64_t *)call->in_data[2],
                                   call->in[1].shape[1], mixes, dim };
    T *out = (T *)call->out_data[0];
    return clvi_cu_rows(call, call->in[1].shape[0] * mixes, [=] __device__ (int64_t c) {
        const mixed<T> m = all(c);
        double sum = 0;
        for (int64_t d = threadIdx.x; m.y && d < dim; d += CLVI_CU_THREADS) sum += m(d) * m(d);
        const double scale = 1 / fmax(sqrt(clvi_cu_block_sum(sum)), eps);
        for (int64_t d = threadIdx.x; d < dim; d += CLVI_CU_THREADS) out[c * dim + d] = m.y ? (T)(m(d) * scale) : T(0);
    });
}

static clv_status mix_rows(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], mix_rows_of, call); }
CLVI_CU_KERNEL(mix_rows);

/* ---- mix_nce: scratch is three numbers for each mix, and the mixes when they are drawn ---- */

template <class T> struct mix_problem {
    const T *q, *lse, *bank;
    const int64_t *slots;
    clvi_cu_mixes<T> mixes;
    int64_t dim, top, pairs, queries;
    double temperature, eps;
    bool constant;
    double *logit, *scale, *inverse;      /* [B, pairs + queries] */
    T *more, *dq, *share;

    /* Mix c of query b: pairs first, then query mixes. */
    __device__ mixed<T> operator()(int64_t b, int64_t c) const
    {
        const int64_t *list = slots + b * top, at = c < pairs ? b * pairs + c : b * queries + c - pairs;
        const int64_t second = slot_at(list, top, c < pairs ? mixes.j[at] : mixes.j_q[at]);
        const int64_t first = c < pairs ? slot_at(list, top, mixes.i[at]) : 0;
        if (first < 0 || second < 0) return mixed<T>{ nullptr, nullptr, 0 };
        return mixed<T>{ c < pairs ? bank + first * dim : q + b * dim, bank + second * dim,
                         (double)(c < pairs ? mixes.a[at] : mixes.b[at]) };
    }
};

/* A mix's logit, what scales it to unit length, and 1 / its length (0 where that is at most eps). */
template <class T> static __device__ void measure(const mix_problem<T> &p, int64_t b, int64_t c)
{
    const unsigned lane = threadIdx.x % CLVI_CU_WARP;
    const mixed<T> m = p(b, c);
    double square = 0, dot = 0;
    for (int64_t d = lane; m.y && d < p.dim; d += CLVI_CU_WARP) {
        const double x = m(d);
        square += x * x;
        dot += (double)p.q[b * p.dim + d] * x;
    }
    const double norm = sqrt(warp_sum(square)), scale = 1 / fmax(norm, p.eps);
    dot = warp_sum(dot);
    if (lane != 0) return;
    const int64_t at = b * (p.pairs + p.queries) + c;
    p.logit[at] = m.y ? dot * scale / p.temperature : -INFINITY;
    p.scale[at] = scale;
    p.inverse[at] = norm > p.eps ? 1 / norm : 0;
}

/* Writes over a mix's logit and scale what m and q weigh in the gradient. */
template <class T>
static __device__ void weigh(const mix_problem<T> &p, int64_t b, int64_t c, double lse)
{
    const int64_t at = b * (p.pairs + p.queries) + c;
    const double weight = exp(p.logit[at] - lse) / p.temperature, y = p.logit[at] * p.temperature;
    const bool passes = c >= p.pairs && !p.constant && p.logit[at] > -INFINITY;
    const double through = passes ? weight * p.inverse[at] * (double)p.mixes.b[b * p.queries + c - p.pairs] : 0;
    p.logit[at] = (weight - (passes ? through * y : 0)) * p.scale[at];
    p.scale[at] = through;
}

template <class T> static __device__ void mix_gradient(const mix_problem<T> &p, int64_t b, double lse)
{
    const int64_t mixes = p.pairs + p.queries;
    for (int64_t c = threadIdx.x; c < mixes; c += CLVI_CU_THREADS) weigh(p, b, c, lse);
    __syncthreads();
    for (int64_t d = threadIdx.x; d < p.dim; d += CLVI_CU_THREADS) {
        double sum = 0;
        for (int64_t c = 0; c < mixes; c++) {
            const mixed<T> m = p(b, c);
            if (!m.y) continue;
            sum += p.logit[b * mixes + c] * m(d);
            if (c >= p.pairs) sum += p.scale[b * mixes + c] * (double)p.q[b * p.dim + d];
        }
        p.dq[b * p.dim + d] = (T)sum;
    }
}

template <class T> static __device__ void mix_query(const mix_problem<T> &p, int64_t b)
{
    const int64_t mixes = p.pairs + p.queries;
    const double lse = (double)p.lse[b], *logit = p.logit + b * mixes;
    for (int64_t c = threadIdx.x / CLVI_CU_WARP; c < mixes; c += WARPS) measure(p, b, c);
    __syncthreads();
    double max = lse, sum = 0;
    for (int64_t c = threadIdx.x; c < mixes; c += CLVI_CU_THREADS) max = fmax(max, logit[c]);
    max = clvi_cu_block_max(max);
    for (int64_t c = threadIdx.x; c < mixes; c += CLVI_CU_THREADS) sum += exp(logit[c] - max);
    sum = clvi_cu_block_sum(sum);
    const double rest = exp(lse - max), value = sum <= rest ? log1p(sum / rest) : max - lse + log(sum + rest);
    if (threadIdx.x == 0) {
        p.more[b] = (T)value;
        if (p.share) p.share[b] = (T)(sum / (sum + rest));
    }
    if (p.dq) mix_gradient(p, b, lse + value);
}

/* More registers than clvi_cu_rows leaves. */
template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS, 1) mix_nce_kernel(mix_problem<T> p, int64_t batch)
{
    for (int64_t b = blockIdx.x; b < batch; b += gridDim.x) mix_query(p, b);
}

static bool is_drawn(const clvi_op_call *call) { return !clvi_cu_present(&call->in[I]); }

static int64_t pairs_of(const clvi_op_call *call)
{
    return is_drawn(call) ? ((const clvi_mix_attr *)call->attr)->draw.rows : call->in[A].shape[1];
}

static int64_t queries_of(const clvi_op_call *call)
{
    return is_drawn(call) ? ((const clvi_mix_attr *)call->attr)->draw.cols : call->in[B].shape[1];
}

static clv_status mix_nce_prepare(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++)
        if (clvi_cu_present(&call->in[i])) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    const int64_t mixes = pairs_of(call) + queries_of(call);
    const int64_t drawn = is_drawn(call) ? 3 * pairs_of(call) + 2 * queries_of(call) : 0;
    call->scratch_size = (size_t)(call->in[Q].shape[0] * (3 * mixes + drawn)) * sizeof(double);
    return CLV_OK;
}

/* The mixes that are given, or room for drawn ones. */
template <class T> static clvi_cu_mixes<T> mixes_of(const clvi_op_call *call, double *room)
{
    if (!is_drawn(call))
        return clvi_cu_mixes<T>{ (int64_t *)call->in_data[I], (int64_t *)call->in_data[J], (T *)call->in_data[A],
                                 (int64_t *)call->in_data[J_Q], (T *)call->in_data[B] };
    const int64_t batch = call->in[Q].shape[0], pairs = batch * pairs_of(call), queries = batch * queries_of(call);
    int64_t *i = (int64_t *)room, *j_q = i + 2 * pairs;
    T *a = (T *)(j_q + queries);
    return clvi_cu_mixes<T>{ i, i + pairs, a, j_q, a + pairs };
}

template <class T> static clv_status mix_nce_of(const clvi_op_call *call)
{
    const clvi_mix_attr *attr = (const clvi_mix_attr *)call->attr;
    const int64_t batch = call->in[Q].shape[0], top = call->in[SLOTS].shape[1];
    const int64_t pairs = pairs_of(call), queries = queries_of(call), mixes = batch * (pairs + queries);
    double *logit = (double *)call->scratch;
    const mix_problem<T> p = { (const T *)call->in_data[Q], (const T *)call->in_data[LSE],
                               (const T *)call->in_data[BANK], (const int64_t *)call->in_data[SLOTS],
                               mixes_of<T>(call, logit + 3 * mixes), call->in[Q].shape[1], top, pairs, queries,
                               attr->temperature, attr->eps, attr->constant, logit, logit + mixes, logit + 2 * mixes,
                               (T *)call->out_data[0], clvi_cu_output<T>(call, 1), clvi_cu_output<T>(call, 2) };
    if (is_drawn(call))
        CLV_TRY(clvi_cu_draw_mixes(call, attr->draw, (const int64_t *)call->in_data[STEP], p.slots, batch, top,
                                   p.mixes));
    const dim3 grid((unsigned)(batch < MOST_BLOCKS ? batch : (int64_t)MOST_BLOCKS));
    return clvi_cu_launch(call, mix_nce_kernel<T>, grid, CLVI_CU_THREADS, 0, p, batch);
}

static clv_status mix_nce(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], mix_nce_of, call); }
CLVI_CU_KERNEL_WITH(mix_nce, nullptr, mix_nce_prepare);
