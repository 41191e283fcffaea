/* draw.h: the draws of draw.cu, for kernels that draw what they are not given: the functions of cpu/ref_draw.c on the
 * device, number by number. */
#ifndef CLVI_DEVICE_CUDA_DRAW_H
#define CLVI_DEVICE_CUDA_DRAW_H

#include "core/rng_inline.h"
#include "device/cuda/cu.h"

/* The step that is given as an input, or the attributes' own. */
static __device__ inline int64_t clvi_cu_draw_step(const clvi_draw_attr &attr, const int64_t *given)
{
    return given ? *given : attr.step;
}

static __device__ inline clvi_rng clvi_cu_draw_stream(const clvi_draw_attr &attr, int64_t step, int64_t row,
                                                      uint32_t stream)
{
    const uint64_t high = (uint64_t)step >> 32;
    return clvi_rng_inline_make(attr.seed, CLVI_RNG_LOSS, (uint32_t)step, high << 32 | (uint64_t)row,
                                attr.stream + stream);
}

/* ---- mochi_draw ---- */

/* Mixes of all rows: pairs i, j, a [B,S] and query mixes j_q, b [B,P]. */
template <class T> struct clvi_cu_mixes { int64_t *i, *j; T *a; int64_t *j_q; T *b; };

/* A rank below n, or -1 when there is none. */
static __device__ inline int64_t clvi_cu_draw_rank(clvi_rng *rng, int64_t n)
{
    return n > 0 ? (int64_t)clvi_rng_inline_below(rng, (uint64_t)n) : -1;
}

template <class T>
__device__ void clvi_cu_draw_pairs(const clvi_draw_attr &attr, int64_t step, int64_t row, int64_t n,
                                   const clvi_cu_mixes<T> &to)
{
    clvi_rng rng = clvi_cu_draw_stream(attr, step, row, 0);
    for (int64_t c = row * attr.rows; c < (row + 1) * attr.rows; c++) {
        to.i[c] = clvi_cu_draw_rank(&rng, n);
        to.j[c] = clvi_cu_draw_rank(&rng, n);
        to.a[c] = (T)clvi_rng_inline_f64(&rng);
    }
}

template <class T>
__device__ void clvi_cu_draw_query_mixes(const clvi_draw_attr &attr, int64_t step, int64_t row, int64_t n,
                                         const clvi_cu_mixes<T> &to)
{
    clvi_rng rng = clvi_cu_draw_stream(attr, step, row, 1);
    for (int64_t c = row * attr.cols; c < (row + 1) * attr.cols; c++) {
        to.j_q[c] = clvi_cu_draw_rank(&rng, n);
        to.b[c] = (T)clvi_rng_inline_uniform(&rng, 0, 0.5);
    }
}

/* A thread for the pairs and one for the query mixes of each of the `batch` lists of `top` slots. */
template <class T>
clv_status clvi_cu_draw_mixes(const clvi_op_call *call, const clvi_draw_attr &attr, const int64_t *given,
                              const int64_t *slots, int64_t batch, int64_t top, const clvi_cu_mixes<T> &to)
{
    return clvi_cu_each(call, 2 * batch, [=] __device__ (int64_t at) {
        const int64_t row = at / 2, step = clvi_cu_draw_step(attr, given), *list = slots + row * top;
        int64_t n = step < 0 ? 0 : top;
        while (n > 0 && list[n - 1] < 0) n--;      /* ranks without a row come last */
        if (at % 2 == 0) clvi_cu_draw_pairs(attr, step, row, n, to);
        else clvi_cu_draw_query_mixes(attr, step, row, n, to);
    });
}

/* ---- beta_draw, permutation ---- */

/* Rows [first, first + rows) of beta_draw, one after the other; float or double. */
template <class T>
clv_status clvi_cu_draw_beta(const clvi_op_call *call, const clvi_draw_attr &attr, const int64_t *given, int64_t first,
                             int64_t rows, T *to);

static __device__ inline int64_t clvi_cu_draw_permutation(const clvi_draw_attr &attr, int64_t step, int64_t i)
{
    const uint64_t seed = attr.seed + ((uint64_t)attr.stream << 32 ^ (uint64_t)step >> 32);
    return (int64_t)clvi_rng_inline_permute(seed, CLVI_RNG_LOSS, (uint32_t)step, (uint64_t)attr.rows, (uint64_t)i);
}

#endif
