/* tile.h: products of rows with rows, 16 by 16 results to a block of 256 threads: thread (y, x) has row y of the one
 * matrix and row x of the other. */
#ifndef CLVI_DEVICE_CUDA_TILE_H
#define CLVI_DEVICE_CUDA_TILE_H

#include "device/cuda/cu.h"

enum { CLVI_CU_TILE = 16, CLVI_CU_TILE_COLS = 64 };

static inline unsigned clvi_cu_tiles(int64_t n) { return (unsigned)((n + CLVI_CU_TILE - 1) / CLVI_CU_TILE); }

/* The rows of a tile: `rows` of them are there, `step` elements apart. */
template <class T> struct clvi_cu_tile_rows { const T *at; int64_t rows, step; };

/* Rows [first, first + 16) of a matrix. */
template <class T>
__device__ clvi_cu_tile_rows<T> clvi_cu_tile_of(const T *x, int64_t first, int64_t rows, int64_t step)
{
    const int64_t left = rows - first;
    return clvi_cu_tile_rows<T>{ x + first * step, left < CLVI_CU_TILE ? left : (int64_t)CLVI_CU_TILE, step };
}

/* sum over d < dim of op(a[y][d], b[x][d]). */
template <class T, class Op>
__device__ double clvi_cu_tile_sum(clvi_cu_tile_rows<T> a, clvi_cu_tile_rows<T> b, int64_t dim, Op op)
{
    __shared__ double left[CLVI_CU_TILE][CLVI_CU_TILE + 1], right[CLVI_CU_TILE][CLVI_CU_TILE + 1];
    const int y = threadIdx.x / CLVI_CU_TILE, x = threadIdx.x % CLVI_CU_TILE;
    double sum = 0;
    for (int64_t d = x; d - x < dim; d += CLVI_CU_TILE) {
        __syncthreads();                 /* the last ones have been read */
        left[y][x] = d < dim && y < a.rows ? (double)a.at[y * a.step + d] : 0;
        right[y][x] = d < dim && y < b.rows ? (double)b.at[y * b.step + d] : 0;
        __syncthreads();
        for (int k = 0; k < CLVI_CU_TILE; k++) sum += op(left[y][k], right[x][k]);
    }
    return sum;
}

struct clvi_cu_product { __device__ double operator()(double a, double b) const { return a * b; } };
struct clvi_cu_square_gap { __device__ double operator()(double a, double b) const { return (a - b) * (a - b); } };

/* Weights of a tile, one a thread. */
typedef double clvi_cu_tile_weights[CLVI_CU_TILE][CLVI_CU_TILE + 1];

/* sum[c] += sum over k of w[y][k] rows[k][x + 16 c], columns below `cols`. Waits until everybody has written w; it may
 * be written again after the next barrier. */
template <class T>
__device__ void clvi_cu_tile_mix(double sum[CLVI_CU_TILE_COLS / CLVI_CU_TILE], const clvi_cu_tile_weights &w,
                                 clvi_cu_tile_rows<T> rows, int64_t cols)
{
    __shared__ double part[CLVI_CU_TILE][CLVI_CU_TILE_COLS];
    const int y = threadIdx.x / CLVI_CU_TILE, x = threadIdx.x % CLVI_CU_TILE;
    __syncthreads();
    for (int c = x; c < CLVI_CU_TILE_COLS; c += CLVI_CU_TILE)
        part[y][c] = c < cols && y < rows.rows ? (double)rows.at[y * rows.step + c] : 0;
    __syncthreads();
    for (int k = 0; k < CLVI_CU_TILE; k++)
        for (int c = 0; c < CLVI_CU_TILE_COLS / CLVI_CU_TILE; c++) sum[c] += w[y][k] * part[k][x + c * CLVI_CU_TILE];
}

/* The sum and the largest over the 16 threads of a row of the tile, to all of them. */
static __device__ inline double clvi_cu_tile_row_sum(double value)
{
    for (int by = CLVI_CU_TILE / 2; by > 0; by /= 2) value += __shfl_xor_sync(0xffffffffu, value, by);
    return value;
}

static __device__ inline double clvi_cu_tile_row_max(double value)
{
    for (int by = CLVI_CU_TILE / 2; by > 0; by /= 2)
        value = clvi_cu_larger<double>()(value, __shfl_xor_sync(0xffffffffu, value, by));
    return value;
}

#endif
