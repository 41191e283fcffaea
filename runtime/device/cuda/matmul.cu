/* matmul.cu: products of matrices: the operation, and how other kernels get theirs (gemm.h). cuBLASLt computes them;
 * where it has no algorithm, of nothing, and in the emulator, a kernel in tiles does. */
#include "device/cuda/cu.h"
#include "device/cuda/tf32.h"
extern "C" {
#include "device/cuda/gemm.h"
}

enum { TILE = 16 };

/* Sizes, and steps in a, b and c. */
struct product {
    int64_t rows, cols, depth, a_row, a_depth, b_depth, b_col, c_row, a_step, b_step, c_step;
    bool    add, tf32;
};

template <class A, class C>
__global__ void __launch_bounds__(TILE * TILE) matmul_kernel(product p, const A *a, const A *b, C *c)
{
    __shared__ C as[TILE][TILE + 1], bs[TILE][TILE + 1];
    const int64_t row = (int64_t)blockIdx.y * TILE + threadIdx.y, col = (int64_t)blockIdx.x * TILE + threadIdx.x;
    double sum = 0;
    a += blockIdx.z * p.a_step, b += blockIdx.z * p.b_step, c += blockIdx.z * p.c_step;
    for (int64_t k = 0; k < p.depth; k += TILE) {
        as[threadIdx.y][threadIdx.x] = row < p.rows && k + threadIdx.x < p.depth
            ? (C)clvi_cu_operand((C)a[row * p.a_row + (k + threadIdx.x) * p.a_depth], p.tf32) : C(0);
        bs[threadIdx.y][threadIdx.x] = col < p.cols && k + threadIdx.y < p.depth
            ? (C)clvi_cu_operand((C)b[(k + threadIdx.y) * p.b_depth + col * p.b_col], p.tf32) : C(0);
        __syncthreads();
        for (int i = 0; i < TILE; i++) sum += (double)as[threadIdx.y][i] * (double)bs[i][threadIdx.x];
        __syncthreads();
    }
    if (row >= p.rows || col >= p.cols) return;
    C *to = &c[row * p.c_row + col];
    *to = p.add ? (C)((double)*to + sum) : (C)sum;
}

template <class A, class C>
static clv_status run_tiles(const clvi_op_call *call, const clvi_cuda_gemm *g, const void *a, const void *b, bool add,
                            void *c)
{
    const product p = {
        g->rows, g->cols, g->depth, g->trans_a ? 1 : g->a_row, g->trans_a ? g->a_row : 1, g->trans_b ? 1 : g->b_row,
        g->trans_b ? g->b_row : 1, g->c_row, g->a_step, g->b_step, g->c_step, add, g->tf32,
    };
    const dim3 grid((unsigned)((p.cols + TILE - 1) / TILE), (unsigned)((p.rows + TILE - 1) / TILE), (unsigned)g->batch);
    return clvi_cu_launch(call, matmul_kernel<A, C>, grid, dim3(TILE, TILE), 0, p, (const A *)a, (const A *)b, (C *)c);
}

extern "C" clv_status clvi_cuda_gemm_prepare(const clvi_op_call *call, clvi_cuda_gemm *g)
{
    g->plan = nullptr;
    g->tf32 = call->tf32 && g->type == CLV_F32;      /* bfloat16 has fewer bits already */
#ifdef CLV_EMU
    return CLV_OK;
#else
    if (g->rows == 0 || g->cols == 0 || g->depth == 0) return CLV_OK;
    const clv_status st = clvi_cublas_prepare(call, g);
    return st == CLV_ERR_UNSUPPORTED ? CLV_OK : st;
#endif
}

extern "C" clv_status clvi_cuda_gemm_run(const clvi_op_call *call, const clvi_cuda_gemm *g, const void *a,
                                         const void *b, bool add, void *c)
{
#ifndef CLV_EMU
    if (g->plan) return clvi_cublas_run(call, g, a, b, add, c);
#endif
    if (g->type == CLV_BF16) return run_tiles<clvi_cu_half, float>(call, g, a, b, add, c);
    return g->type == CLV_F64 ? run_tiles<double, double>(call, g, a, b, add, c)
                              : run_tiles<float, float>(call, g, a, b, add, c);
}

extern "C" void clvi_cuda_gemm_release(const clvi_op_call *call, clvi_cuda_gemm *g)
{
#ifdef CLV_EMU
    (void)call, (void)g;
#else
    clvi_cublas_release(call, g);
#endif
}

/* ---- matmul ---- */

static void release(clvi_op_call *call)
{
    clvi_cuda_gemm *g = (clvi_cuda_gemm *)call->state;
    if (!g) return;
    clvi_cuda_gemm_release(call, g);
    clvi_free(call->ctx, g);
    call->state = nullptr;
}

static clv_status prepare(clvi_op_call *call)
{
    const clvi_matmul_attr *attr = (const clvi_matmul_attr *)call->attr;
    const clvi_desc *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
    clvi_cuda_gemm *g = (clvi_cuda_gemm *)clvi_calloc(call->ctx, 1, sizeof *g);
    if (!g) return CLV_ERR_NOMEM;
    for (int i = 0; i < 2; i++) clvi_desc_make_dense(&call->in[i]);
    g->type = y->dtype, g->trans_a = attr->trans_a, g->trans_b = attr->trans_b, g->batch = 1;
    g->rows = y->shape[0], g->cols = y->shape[1], g->depth = a->shape[attr->trans_a ? 0 : 1];
    g->a_row = a->shape[1], g->b_row = b->shape[1], g->c_row = y->shape[1];
    call->state = g;
    const clv_status st = clvi_cuda_gemm_prepare(call, g);
    if (st != CLV_OK) release(call);
    return st;
}

static clv_status matmul(const clvi_op_call *call)
{
    return clvi_cuda_gemm_run(call, (const clvi_cuda_gemm *)call->state, call->in_data[0], call->in_data[1], false,
                              call->out_data[0]);
}

CLVI_CU_KERNEL_WITH_STATE(matmul, nullptr, prepare, release);
