/* bank_tiles.h: log-sum-exps over a bank by products of matrices, some thousand rows (a tile) at a time:
 *   scores    S = Q R^T                      a product
 *   weigh     P = e^{S / t - max}, added up   one kernel; rows that do not count get 0
 *   gather    G += P R                       products side by side, one for each slice of the tile
 * A slice keeps its sums in all tiles, and who reads the result joins the slices in order: tiles and slices depend on the
 * shapes alone. `max` is known before (unit rows: 1/t), or is the largest exponent of the slice so far: when it rises,
 * what was summed is rescaled (Milakov and Gimelshein 2018, arXiv:1805.02867), which is a pass over a slice's sums;
 * finding the largest first would take the product of all scores twice.
 *
 * All tiles have one shape, so that two plans of products do: the last begins where it still fits, and rows that have
 * been counted do not count again. Rows of bfloat16 meet queries of float32 as on a CPU with products of bfloat16
 * (cpu/bank_nce.c): each query is a sum of two, which keeps the scores' precision, weights of the gather are rounded. */
#ifndef CLVI_DEVICE_CUDA_BANK_TILES_H
#define CLVI_DEVICE_CUDA_BANK_TILES_H

#include "device/cuda/bank.h"
extern "C" {
#include "device/cuda/gemm.h"
}

#ifdef CLV_EMU
enum { CLVI_CU_BANK_SLICE = 32, CLVI_CU_BANK_SLICES = 7 };
#else
/* Least rows of a slice; most slices. */
enum { CLVI_CU_BANK_SLICE = 1024, CLVI_CU_BANK_SLICES = 64 };
#endif
/* Slices have a multiple of so many rows: scores of 2 bytes then begin at multiples of the 16 that fast products want. */
enum { CLVI_CU_BANK_UNIT = 8 };

/* What was summed of a bank for each query, slice by slice. */
template <class T> struct clvi_cu_bank_sums {
    int64_t queries, dim, slices;
    double *max, *sum;                   /* [slices, queries]: of nothing the sum is 0 */
    T *gathered;                         /* [slices, queries, dim]: sum_j e^{l_j - max} row_j; NULL: not wanted */
};

/* The slices of a query joined; `factor`: by what to multiply what each has gathered. */
struct clvi_cu_bank_joint { double max, sum; const double *factor; };

/* By all threads of a block; `most`: an exponent from elsewhere, -INFINITY for none. */
template <class T> __device__ clvi_cu_bank_joint clvi_cu_bank_join(const clvi_cu_bank_sums<T> &s, int64_t b, double most)
{
    __shared__ double factor[CLVI_CU_BANK_SLICES];
    const bool mine = threadIdx.x < s.slices;
    const int64_t at = mine ? threadIdx.x * s.queries + b : 0;
    const double max = clvi_cu_block_max(mine ? clvi_cu_larger<double>()(most, s.max[at]) : most);
    const double by = mine && s.sum[at] != 0 ? exp(s.max[at] - max) : 0;
    if (mine) factor[threadIdx.x] = by;
    return clvi_cu_bank_joint{ max, clvi_cu_block_sum(mine ? by * s.sum[at] : 0), factor };
}

/* What was gathered, in dimension d. */
template <class T>
__device__ double clvi_cu_bank_joined(const clvi_cu_bank_sums<T> &s, const clvi_cu_bank_joint &j, int64_t b, int64_t d)
{
    double total = 0;
    for (int64_t n = 0; n < s.slices; n++) total += j.factor[n] * (double)s.gathered[(n * s.queries + b) * s.dim + d];
    return total;
}

/* How a call is cut, and where things lie in its scratch memory. Part of a kernel's state. */
struct clvi_cu_bank_tiles {
    clvi_cuda_gemm scores, gather;
    int64_t queries, dim, count;
    int64_t keys, slices;                /* rows of a tile, a multiple of its slices */
    bool pairs, copies;                  /* queries are sums of two; rows are copied, changed, before they are used */
    bool gathers;
    size_t max, sum, gathered, score, weight, half, row;
};

static inline size_t clvi_cu_bank_take(clvi_op_call *call, int64_t count, size_t size)
{
    const size_t at = (call->scratch_size + 63) & ~(size_t)63;
    call->scratch_size = at + (size_t)count * size;
    return at;
}

/* Tiles of one size, as equal as they can be, and few: of `size` bytes a query and row at most CLVI_CUDA_SCORES. */
static inline void clvi_cu_bank_cut(clvi_cu_bank_tiles *t, int64_t size)
{
    const int64_t least = CLVI_CU_BANK_SLICE, limit = least * CLVI_CU_BANK_SLICES;
    const int64_t fit = CLVI_CUDA_SCORES / size / (t->queries > 0 ? t->queries : 1);
    const int64_t most = fit < least ? least : fit < limit ? fit : limit;
    t->keys = t->count, t->slices = 1;
    if (t->count <= least) return;
    int64_t tiles = (t->count + most - 1) / most;
    do {
        const int64_t share = (t->count + tiles - 1) / tiles;
        t->slices = share > least ? share / least : 1;
        const int64_t unit = t->slices * CLVI_CU_BANK_UNIT;
        t->keys = (share + unit - 1) / unit * unit;
        tiles++;
    } while (t->keys > t->count);
}

/* Scores, and what is gathered of a tile. */
static inline void clvi_cu_bank_describe(clvi_cu_bank_tiles *t, clv_dtype type)
{
    const int64_t slice = t->keys / t->slices;
    clvi_cuda_gemm *s = &t->scores, *g = &t->gather;
    s->type = g->type = type;
    s->trans_b = true, s->batch = 1;
    s->rows = t->queries * (t->pairs ? 2 : 1), s->cols = t->keys, s->depth = t->dim;
    s->a_row = s->b_row = t->dim, s->c_row = t->keys;
    g->rows = t->queries, g->cols = t->dim, g->depth = slice;
    g->a_row = t->keys, g->b_row = g->c_row = t->dim;
    g->batch = t->slices, g->a_step = slice, g->b_step = slice * t->dim, g->c_step = t->queries * t->dim;
}

static inline void clvi_cu_bank_place_sums(clvi_op_call *call, clvi_cu_bank_tiles *t)
{
    const int64_t state = t->slices * t->queries;
    t->max = clvi_cu_bank_take(call, state, sizeof(double));
    t->sum = clvi_cu_bank_take(call, state, sizeof(double));
    t->gathered = clvi_cu_bank_take(call, t->gathers ? state * t->dim : 0, clv_dtype_size(call->in[0].dtype));
}

/* The sizes of a call with the bank at input `bank`. */
static inline void clvi_cu_bank_tiles_of_call(const clvi_op_call *call, int bank, bool gathers, clvi_cu_bank_tiles *t)
{
    t->queries = call->in[0].shape[0], t->dim = call->in[0].shape[1], t->count = call->in[bank].shape[0];
    t->gathers = gathers;
}

/* Cuts the call, which has the flags of rows behind the bank, and takes scratch memory behind what is taken. `moved`: the
 * caller changes the rows. */
static inline clv_status clvi_cu_bank_tiles_prepare(clvi_op_call *call, int bank, bool moved, clvi_cu_bank_tiles *t)
{
    const clv_dtype type = call->in[0].dtype;
    const size_t size = clv_dtype_size(type);
    const bool half = call->in[bank].dtype == CLV_BF16;
    t->pairs = half && type == CLV_F32 && !moved;
    t->copies = moved || clvi_cu_present(&call->in[bank + 1]) || (half && !t->pairs);
    /* Scores, twice with pairs, beside weights of bfloat16. */
    clvi_cu_bank_cut(t, t->pairs ? 2 * (int64_t)sizeof(float) + (t->gathers ? 2 : 0) : (int64_t)size);
    clvi_cu_bank_describe(t, t->pairs ? CLV_BF16 : type);
    clvi_cu_bank_place_sums(call, t);
    t->score = clvi_cu_bank_take(call, t->scores.rows * t->keys, size);
    t->weight = t->pairs ? clvi_cu_bank_take(call, t->gathers ? t->queries * t->keys : 0, sizeof(uint16_t)) : t->score;
    t->half = clvi_cu_bank_take(call, t->pairs ? 2 * t->queries * t->dim : 0, sizeof(uint16_t));
    t->row = clvi_cu_bank_take(call, t->copies ? t->keys * t->dim : 0, t->pairs ? sizeof(uint16_t) : size);
    CLV_TRY(clvi_cuda_gemm_prepare(call, &t->scores));
    return t->gathers ? clvi_cuda_gemm_prepare(call, &t->gather) : CLV_OK;
}

static inline void clvi_cu_bank_tiles_release(const clvi_op_call *call, clvi_cu_bank_tiles *t)
{
    clvi_cuda_gemm_release(call, &t->scores);
    clvi_cuda_gemm_release(call, &t->gather);
}

template <class T> clvi_cu_bank_sums<T> clvi_cu_bank_sums_of(const clvi_op_call *call, const clvi_cu_bank_tiles *t)
{
    char *scratch = (char *)call->scratch;
    return clvi_cu_bank_sums<T>{ t->queries, t->dim, t->slices, (double *)(scratch + t->max),
                                 (double *)(scratch + t->sum), t->gathers ? (T *)(scratch + t->gathered) : nullptr };
}

/* ---- steps ---- */

/* Sums of nothing, and each query as a sum of two. */
template <class T> struct clvi_cu_bank_begin {
    clvi_cu_bank_sums<T> sums;
    T max;
    const T *query;
    uint16_t *half;                      /* NULL: not wanted */

    __device__ void operator()(int64_t i) const
    {
        const int64_t values = sums.queries * sums.dim;
        if (i < sums.slices * sums.queries) sums.max[i] = (double)max, sums.sum[i] = 0;
        if (sums.gathered && i < sums.slices * values) sums.gathered[i] = 0;
        if (!half || i >= values) return;
        const float x = (float)query[i];
        half[i] = clvi_cu_to_bf16(x);
        half[values + i] = clvi_cu_to_bf16(x - clvi_cu_from_bf16(half[i]));
    }
};

/* Row j of the bank as R, zeros where it does not count: what lies there may be anything. */
template <class T, class R>
clv_status clvi_cu_bank_copy(const clvi_op_call *call, const clvi_cu_bank<T> &p, int64_t first, int64_t keys, R *to)
{
    return clvi_cu_each(call, keys * p.dim, [=] __device__ (int64_t i) {
        const int64_t j = first + i / p.dim;
        to[i] = p.valid && !p.valid[j] ? R(0.0f) : R(p.value(j, i % p.dim));
    });
}

/* The same of rows that keep their type, 16 bytes at a time: `words` of them are a row. */
struct alignas(16) clvi_cu_bank_word { uint64_t at[2]; };

template <class T>
clv_status clvi_cu_bank_copy_words(const clvi_op_call *call, const clvi_cu_bank<T> &p, int64_t first, int64_t keys,
                                   int64_t words, void *to)
{
    const clvi_cu_bank_word *from = (const clvi_cu_bank_word *)p.rows + first * words;
    clvi_cu_bank_word *const into = (clvi_cu_bank_word *)to;
    return clvi_cu_each(call, keys * words, [=] __device__ (int64_t i) {
        into[i] = p.valid && !p.valid[first + i / words] ? clvi_cu_bank_word{ { 0, 0 } } : from[i];
    });
}

/* Scores of a tile become weights; called by a block for every slice of every query. */
template <class T> struct clvi_cu_bank_weigh {
    clvi_cu_bank<T> p;
    clvi_cu_bank_sums<T> sums;
    double temperature;
    bool fixed, pairs;                   /* fixed: max stays what it is */
    int64_t keys, first, from;           /* the tile, and the first of its rows that was not there before */
    T *score;
    uint16_t *weight;                    /* NULL: in place of scores */
    T *exponents;                        /* [queries, rows], 0 for rows that do not count; NULL: not wanted */

    /* -inf where the row does not count. */
    __device__ T exponent(int64_t b, int64_t k) const
    {
        const int64_t j = first + k, at = b * keys + k;
        if (j < from || !p.counts(b, j)) return -(T)INFINITY;
        return (pairs ? score[at] + score[at + p.queries * keys] : score[at]) / (T)temperature;
    }
    __device__ void put(int64_t b, int64_t k, T l, T w) const
    {
        if (weight) weight[b * keys + k] = clvi_cu_to_bf16((float)w);
        else if (sums.gathered) score[b * keys + k] = w;
        const int64_t j = first + k;
        if (exponents && j >= from) exponents[b * p.count + j] = l == -(T)INFINITY && !p.counts(b, j) ? T(0) : l;
    }
    __device__ void operator()(int64_t at) const
    {
        const int64_t b = at % sums.queries, run = keys / sums.slices, begin = at / sums.queries * run;
        const double before = sums.max[at];
        T max = (T)before;
        double total = 0;
        for (int64_t k = begin + threadIdx.x; !fixed && k < begin + run; k += CLVI_CU_THREADS) {
            const T l = exponent(b, k);
            max = l > max ? l : max;     /* a NaN is not the largest; it is in the sum */
        }
        if (!fixed) max = clvi_cu_block_max(max);
        for (int64_t k = begin + threadIdx.x; k < begin + run; k += CLVI_CU_THREADS) {
            const T l = exponent(b, k), w = l == -(T)INFINITY ? T(0) : exp(l - max);
            put(b, k, l, w);
            total += (double)w;
        }
        total = clvi_cu_block_sum(total);
        if ((double)max > before) rescale(at, exp(before - (double)max));
        if (threadIdx.x == 0) sums.max[at] = (double)max, sums.sum[at] += total;
    }
    /* After a barrier: everybody has read the state. */
    __device__ void rescale(int64_t at, double factor) const
    {
        if (threadIdx.x == 0) sums.sum[at] *= factor;
        for (int64_t d = threadIdx.x; sums.gathered && d < sums.dim; d += CLVI_CU_THREADS)
            sums.gathered[at * sums.dim + d] = (T)((double)sums.gathered[at * sums.dim + d] * factor);
    }
};

/* Walks the bank. `shift`: a maximum that is known, or NAN. bring(first, keys, to): rows [first, first + keys) as the
 * caller changes them, in T. */
template <class T, class F>
clv_status clvi_cu_bank_tiles_run(const clvi_op_call *call, const clvi_cu_bank_tiles *t, const clvi_cu_bank<T> &p,
                                  double temperature, double shift, T *exponents, F bring)
{
    char *scratch = (char *)call->scratch;
    const bool fixed = shift == shift;
    const clvi_cu_bank_sums<T> sums = clvi_cu_bank_sums_of<T>(call, t);
    uint16_t *half = t->pairs ? (uint16_t *)(scratch + t->half) : nullptr;
    void *score = scratch + t->score, *weight = scratch + t->weight, *copy = scratch + t->row;
    const int64_t state = t->slices * t->queries, most = state * (t->dim > 0 ? t->dim : 1);
    const size_t row = (size_t)t->dim * clv_dtype_size(t->scores.type);
    CLV_TRY(clvi_cu_each(call, most, clvi_cu_bank_begin<T>{ sums, fixed ? (T)shift : -(T)INFINITY, p.query, half }));
    for (int64_t from = 0; from < t->count; from += t->keys) {
        const int64_t first = from < t->count - t->keys ? from : t->count - t->keys;
        const void *rows = t->copies ? copy : (const char *)p.rows + (size_t)first * row;
        if (t->copies) CLV_TRY(bring(first, t->keys, copy));
        CLV_TRY(clvi_cuda_gemm_run(call, &t->scores, half ? (const void *)half : p.query, rows, false, score));
        CLV_TRY(clvi_cu_rows(call, state, clvi_cu_bank_weigh<T>{ p, sums, temperature, fixed, t->pairs, t->keys, first,
                                                                 from, (T *)score,
                                                                 t->pairs && t->gathers ? (uint16_t *)weight : nullptr,
                                                                 exponents }));
        if (t->gathers) CLV_TRY(clvi_cuda_gemm_run(call, &t->gather, weight, rows, true, sums.gathered));
    }
    return CLV_OK;
}

/* The `bring` of rows that stay as they are. */
template <class T> struct clvi_cu_bank_bring {
    const clvi_op_call *call;
    const clvi_cu_bank_tiles *tiles;
    clvi_cu_bank<T> p;
    clv_status operator()(int64_t first, int64_t keys, void *to) const
    {
        const int64_t row = p.dim * (p.bf16 ? 2 : (int64_t)sizeof(T));
        if (p.bf16 == tiles->pairs && row % 16 == 0)
            return clvi_cu_bank_copy_words(call, p, first, keys, row / 16, to);
        return tiles->pairs ? clvi_cu_bank_copy(call, p, first, keys, (clvi_cu_half *)to)
                            : clvi_cu_bank_copy(call, p, first, keys, (T *)to);
    }
};

#endif
