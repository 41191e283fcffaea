/* gemm.c: products of matrices by cuBLASLt. Row-major c = op(a) op(b) is column-major c^T = op(b)^T op(a)^T: the operands
 * change places and nothing is moved. */
#include "device/cuda/gemm.h"
#include "device/cuda/cuda.h"

typedef struct plan {
    cublasLtMatmulDesc_t   desc;
    cublasLtMatrixLayout_t a, b, c;      /* as the library sees them: a is our b */
    cublasLtMatmulAlgo_t   algo;
} plan;

void clvi_cublas_release(const clvi_op_call *call, clvi_cuda_gemm *g)
{
    plan *p = g->plan;
    if (!p) return;
    if (p->a) cublasLtMatrixLayoutDestroy(p->a);
    if (p->b) cublasLtMatrixLayoutDestroy(p->b);
    if (p->c) cublasLtMatrixLayoutDestroy(p->c);
    if (p->desc) cublasLtMatmulDescDestroy(p->desc);
    clvi_free(call->ctx, p);
    g->plan = NULL;
}

/* A matrix [rows, cols] of ours is [cols, rows] by columns. */
static clv_status layout(const clvi_cuda_gemm *g, cudaDataType type, int64_t rows, int64_t cols, int64_t row,
                         int64_t step, cublasLtMatrixLayout_t *out)
{
    const int32_t batch = (int32_t)g->batch;
    CLVI_LT(cublasLtMatrixLayoutCreate(out, type, (uint64_t)cols, (uint64_t)rows, row));
    CLVI_LT(cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
    CLVI_LT(cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step));
    return CLV_OK;
}

static clv_status describe(const clvi_cuda_gemm *g, plan *p)
{
    const bool f64 = g->type == CLV_F64;
    const cudaDataType sums = f64 ? CUDA_R_64F : CUDA_R_32F, type = g->type == CLV_BF16 ? CUDA_R_16BF : sums;
    const cublasComputeType_t f32 = g->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    const cublasOperation_t op_a = g->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = g->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    CLVI_LT(cublasLtMatmulDescCreate(&p->desc, f64 ? CUBLAS_COMPUTE_64F : f32, sums));
    CLVI_LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
    CLVI_LT(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
    CLV_TRY(layout(g, type, g->trans_b ? g->cols : g->depth, g->trans_b ? g->depth : g->cols, g->b_row, g->b_step,
                   &p->a));
    CLV_TRY(layout(g, type, g->trans_a ? g->depth : g->rows, g->trans_a ? g->rows : g->depth, g->a_row, g->a_step,
                   &p->b));
    return layout(g, sums, g->rows, g->cols, g->c_row, g->c_step, &p->c);
}

/* The matrices may begin at any of their rows: what their addresses are multiples of. */
static clv_status say_alignment(cublasLtMatmulPreference_t wish, cublasLtMatmulPreferenceAttributes_t which,
                                int64_t row, int64_t step, size_t size)
{
    const uint32_t bytes = (uint32_t)((uint64_t)(row | step) * size | 16), most = bytes & ~(bytes - 1);
    CLVI_LT(cublasLtMatmulPreferenceSetAttribute(wish, which, &most, sizeof most));
    return CLV_OK;
}

static clv_status say_wishes(const clvi_cuda_gemm *g, cublasLtMatmulPreference_t wish)
{
    const size_t workspace = CLVI_CUDA_WORKSPACE, size = clv_dtype_size(g->type), sum = g->type == CLV_F64 ? 8 : 4;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
    CLVI_LT(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                 sizeof workspace));
    CLVI_LT(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions,
                                                 sizeof reductions));
    CLV_TRY(say_alignment(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, g->b_row, g->b_step, size));
    CLV_TRY(say_alignment(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, g->a_row, g->a_step, size));
    CLV_TRY(say_alignment(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, g->c_row, g->c_step, sum));
    return say_alignment(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, g->c_row, g->c_step, sum);
}

/* The library's first choice among those whose sums have a fixed order. */
static clv_status choose(const clvi_op_call *call, const clvi_cuda_gemm *g, cublasLtMatmulPreference_t wish)
{
    plan *p = g->plan;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    CLV_TRY(say_wishes(g, wish));
    const cublasStatus_t st = cublasLtMatmulAlgoGetHeuristic(clvi_cuda_of(call->ctx)->blas, p->desc, p->a, p->b, p->c,
                                                             p->c, wish, 1, &found, &count);
    if (st == CUBLAS_STATUS_NOT_SUPPORTED || (st == CUBLAS_STATUS_SUCCESS && count == 0)) return CLV_ERR_UNSUPPORTED;
    CLVI_LT(st);
    p->algo = found.algo;
    return CLV_OK;
}

clv_status clvi_cublas_prepare(const clvi_op_call *call, clvi_cuda_gemm *g)
{
    cublasLtMatmulPreference_t wish = NULL;
    if (!clvi_cuda_workspace(clvi_cuda_of(call->ctx))) return CLV_ERR_NOMEM;
    plan *p = g->plan = clvi_calloc(call->ctx, 1, sizeof *p);
    if (!p) return CLV_ERR_NOMEM;
    clv_status st = describe(g, p);
    if (st == CLV_OK) st = clvi_blas_status(cublasLtMatmulPreferenceCreate(&wish), "cublasLtMatmulPreferenceCreate");
    if (st == CLV_OK) st = choose(call, g, wish);
    if (wish) cublasLtMatmulPreferenceDestroy(wish);
    if (st != CLV_OK) clvi_cublas_release(call, g);
    return st;
}

clv_status clvi_cublas_run(const clvi_op_call *call, const clvi_cuda_gemm *g, const void *a, const void *b, bool add,
                           void *c)
{
    static const double one64 = 1, zero64 = 0;
    static const float one32 = 1, zero32 = 0;
    const bool f64 = g->type == CLV_F64;
    const void *one = f64 ? (const void *)&one64 : &one32, *zero = f64 ? (const void *)&zero64 : &zero32;
    clvi_cuda_device *d = clvi_cuda_of(call->ctx);
    const plan *p = g->plan;
    CLVI_LT(cublasLtMatmul(d->blas, p->desc, one, b, p->a, a, p->b, add ? one : zero, c, p->c, c, p->c, &p->algo,
                           clvi_cuda_workspace(d), CLVI_CUDA_WORKSPACE, d->stream));
    return CLV_OK;
}
