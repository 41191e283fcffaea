/* gemm.h: products of matrices within kernels: by cuBLASLt (gemm.c), or by a kernel of our own (matmul.cu) in the emulator
 * and where cuBLASLt has no algorithm. */
#ifndef CLVI_DEVICE_CUDA_GEMM_H
#define CLVI_DEVICE_CUDA_GEMM_H

#include "device/device.h"

/* Bytes of scores that come in tiles, at most: the second-level cache holds them. */
#ifdef CLV_EMU
enum { CLVI_CUDA_SCORES = 16 << 10 };
#else
enum { CLVI_CUDA_SCORES = 32 << 20 };
#endif

/* c = op(a) op(b), row by row in memory, sums in a fixed order. a and b have one type, c has float64 beside float64,
 * else float32. */
typedef struct clvi_cuda_gemm {
    clv_dtype type;                           /* of a and b: float32, float64, bfloat16 */
    bool      tf32;                           /* float32 is rounded to TF32: the call's wish, of prepare */
    bool      trans_a, trans_b;
    int64_t   rows, cols, depth;              /* op(a) is [rows, depth], op(b) [depth, cols] */
    int64_t   a_row, b_row, c_row;            /* elements from one row to the next */
    int64_t   batch, a_step, b_step, c_step;  /* so many products, and elements from one's matrices to the next one's */
    void     *plan;                           /* cuBLASLt's, of prepare; NULL: our own kernel */
} clvi_cuda_gemm;

/* Chooses how, in TF32 where the call says so; for prepare. Everything but tf32 and the plan is set. */
clv_status clvi_cuda_gemm_prepare(const clvi_op_call *call, clvi_cuda_gemm *g) CLV_NODISCARD;
/* With `add` c += op(a) op(b). A matrix begins at a multiple of 16 bytes, or at that plus whole rows. */
clv_status clvi_cuda_gemm_run(const clvi_op_call *call, const clvi_cuda_gemm *g, const void *a, const void *b, bool add,
                              void *c) CLV_NODISCARD;
/* May be called before prepare. */
void clvi_cuda_gemm_release(const clvi_op_call *call, clvi_cuda_gemm *g);

/* gemm.c: cuBLASLt's part of the three; CLV_ERR_UNSUPPORTED when it has no algorithm. */
clv_status clvi_cublas_prepare(const clvi_op_call *call, clvi_cuda_gemm *g) CLV_NODISCARD;
clv_status clvi_cublas_run(const clvi_op_call *call, const clvi_cuda_gemm *g, const void *a, const void *b, bool add,
                           void *c) CLV_NODISCARD;
void clvi_cublas_release(const clvi_op_call *call, clvi_cuda_gemm *g);

#endif
