/* pair_dist.cu: y_ij = |x_i - x_j|^2, and dx_i = 2 sum_j (dy_ij + dy_ji) (x_i - x_j). */
#include "device/cuda/tile.h"

template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS) pair_dist_kernel(const T *x, int64_t rows, int64_t dim, T *y)
{
    const int64_t i0 = (int64_t)blockIdx.y * CLVI_CU_TILE, j0 = (int64_t)blockIdx.x * CLVI_CU_TILE;
    const int64_t i = i0 + threadIdx.x / CLVI_CU_TILE, j = j0 + threadIdx.x % CLVI_CU_TILE;
    const double sum = clvi_cu_tile_sum(clvi_cu_tile_of(x, i0, rows, dim), clvi_cu_tile_of(x, j0, rows, dim), dim,
                                        clvi_cu_square_gap());
    if (i < rows && j < rows) y[i * rows + j] = (T)sum;
}

template <class T> static clv_status pair_dist_of(const clvi_op_call *call)
{
    const int64_t rows = call->in[0].shape[0];
    return clvi_cu_launch(call, pair_dist_kernel<T>, dim3(clvi_cu_tiles(rows), clvi_cu_tiles(rows)), CLVI_CU_THREADS, 0,
                          (const T *)call->in_data[0], rows, call->in[0].shape[1], (T *)call->out_data[0]);
}

static clv_status pair_dist(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], pair_dist_of, call); }
CLVI_CU_KERNEL(pair_dist);

/* A block has 16 rows and 16 columns of dx. */
template <class T>
static __global__ void __launch_bounds__(CLVI_CU_THREADS) pair_dist_bwd_kernel(const T *dy, const T *x, int64_t rows,
                                                                               int64_t dim, T *dx)
{
    __shared__ clvi_cu_tile_weights w, back, other;
    const int b = threadIdx.x / CLVI_CU_TILE, a = threadIdx.x % CLVI_CU_TILE;
    const int64_t i0 = (int64_t)blockIdx.x * CLVI_CU_TILE, i = i0 + b;
    const int64_t d = (int64_t)blockIdx.y * CLVI_CU_TILE + a;
    const double own = i < rows && d < dim ? (double)x[i * dim + d] : 0;
    double sum = 0;
    for (int64_t j0 = 0; j0 < rows; j0 += CLVI_CU_TILE) {
        __syncthreads();
        w[b][a] = i < rows && j0 + a < rows ? (double)dy[i * rows + j0 + a] : 0;
        back[b][a] = j0 + b < rows && i0 + a < rows ? (double)dy[(j0 + b) * rows + i0 + a] : 0;
        other[b][a] = j0 + b < rows && d < dim ? (double)x[(j0 + b) * dim + d] : 0;
        __syncthreads();
        for (int k = 0; k < CLVI_CU_TILE && j0 + k < rows; k++) sum += (w[b][k] + back[k][b]) * (own - other[k][a]);
    }
    if (i < rows && d < dim) dx[i * dim + d] = (T)(2 * sum);
}

template <class T> static clv_status pair_dist_bwd_of(const clvi_op_call *call)
{
    const int64_t rows = call->in[1].shape[0], dim = call->in[1].shape[1];
    return clvi_cu_launch(call, pair_dist_bwd_kernel<T>, dim3(clvi_cu_tiles(rows), clvi_cu_tiles(dim)), CLVI_CU_THREADS,
                          0, (const T *)call->in_data[0], (const T *)call->in_data[1], rows, dim,
                          (T *)call->out_data[0]);
}

static clv_status pair_dist_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], pair_dist_bwd_of, call);
}
CLVI_CU_KERNEL(pair_dist_bwd);
