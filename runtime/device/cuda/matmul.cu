/* matmul.cu: products of matrices in tiles: what the emulator computes with, and products of nothing. cuBLASLt (gemm.c)
 * comes first where it is. */
#include "device/cuda/cu.h"
#include "device/cuda/tf32.h"

enum { TILE = 16 };

struct product {
    int64_t rows, cols, depth, a_row, a_depth, b_depth, b_col;      /* sizes, and steps in a and b */
    bool    tf32;
};

template <class T>
__global__ void __launch_bounds__(TILE * TILE) matmul_kernel(product p, const T *a, const T *b, T *y)
{
    __shared__ T as[TILE][TILE + 1], bs[TILE][TILE + 1];
    const int64_t row = (int64_t)blockIdx.y * TILE + threadIdx.y, col = (int64_t)blockIdx.x * TILE + threadIdx.x;
    double sum = 0;
    for (int64_t k = 0; k < p.depth; k += TILE) {
        as[threadIdx.y][threadIdx.x] = row < p.rows && k + threadIdx.x < p.depth
            ? (T)clvi_cu_operand(a[row * p.a_row + (k + threadIdx.x) * p.a_depth], p.tf32) : T(0);
        bs[threadIdx.y][threadIdx.x] = col < p.cols && k + threadIdx.y < p.depth
            ? (T)clvi_cu_operand(b[(k + threadIdx.y) * p.b_depth + col * p.b_col], p.tf32) : T(0);
        __syncthreads();
        for (int i = 0; i < TILE; i++) sum += (double)as[threadIdx.y][i] * (double)bs[i][threadIdx.x];
        __syncthreads();
    }
    if (row < p.rows && col < p.cols) y[row * p.cols + col] = (T)sum;
}

template <class T> static clv_status matmul_of(const clvi_op_call *call)
{
    const clvi_matmul_attr *attr = (const clvi_matmul_attr *)call->attr;
    const clvi_desc *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
    const product p = {
        y->shape[0], y->shape[1], a->shape[attr->trans_a ? 0 : 1], attr->trans_a ? 1 : a->shape[1],
        attr->trans_a ? a->shape[1] : 1, attr->trans_b ? 1 : b->shape[1], attr->trans_b ? b->shape[1] : 1,
        call->tf32,
    };
    const dim3 grid((unsigned)((p.cols + TILE - 1) / TILE), (unsigned)((p.rows + TILE - 1) / TILE));
    return clvi_cu_launch(call, matmul_kernel<T>, grid, dim3(TILE, TILE), 0, p, (const T *)call->in_data[0],
                          (const T *)call->in_data[1], (T *)call->out_data[0]);
}

static clv_status matmul(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], matmul_of, call); }
CLVI_CU_KERNEL(matmul);
