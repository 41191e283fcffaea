/* column.h: sums along columns of row-major matrices. A block takes 32 columns; its 8 warps take every 8th row. */
#ifndef CLVI_DEVICE_CUDA_COLUMN_H
#define CLVI_DEVICE_CUDA_COLUMN_H

#include "device/cuda/cu.h"

enum { CLVI_CU_COLUMNS = CLVI_CU_WARP, CLVI_CU_COLUMN_THREADS = CLVI_CU_THREADS / CLVI_CU_WARP };

/* f(column, first), called by all threads of a block together, for every column and some beyond the last, which take
 * part in sums alone: inside, rows go `for (i = first; i < rows; i += CLVI_CU_COLUMN_THREADS)`. */
template <class F> clv_status clvi_cu_columns(const clvi_op_call *call, int64_t cols, F f)
{
    return clvi_cu_rows(call, (cols + CLVI_CU_COLUMNS - 1) / CLVI_CU_COLUMNS, [=] __device__ (int64_t group) {
        f(group * CLVI_CU_COLUMNS + threadIdx.x % CLVI_CU_WARP, (int64_t)(threadIdx.x / CLVI_CU_WARP));
    });
}

/* The sum over a column's threads, to all of them. */
static __device__ inline double clvi_cu_column_sum(double value)
{
    __shared__ double part[CLVI_CU_COLUMN_THREADS][CLVI_CU_COLUMNS];
    const unsigned column = threadIdx.x % CLVI_CU_WARP;
    __syncthreads();                     /* the last call's part has been read */
    part[threadIdx.x / CLVI_CU_WARP][column] = value;
    __syncthreads();
    value = 0;
    for (int w = 0; w < CLVI_CU_COLUMN_THREADS; w++) value += part[w][column];
    return value;
}

#endif
