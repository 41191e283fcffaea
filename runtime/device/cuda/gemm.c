/* gemm.c: matmul by cuBLASLt, in strict float32, TF32 where the call says so, or float64. Row-major y = op(a) op(b) is
 * column-major y^T = op(b)^T op(a)^T: the operands change places and nothing is moved. */
#include "device/cuda/cuda.h"

typedef struct gemm {
    cublasLtMatmulDesc_t   desc;
    cublasLtMatrixLayout_t a, b, y;      /* as the library sees them: a is our b */
    cublasLtMatmulAlgo_t   algo;
} gemm;

static void release(clvi_op_call *call)
{
    gemm *m = call->state;
    if (!m) return;
    if (m->a) cublasLtMatrixLayoutDestroy(m->a);
    if (m->b) cublasLtMatrixLayoutDestroy(m->b);
    if (m->y) cublasLtMatrixLayoutDestroy(m->y);
    if (m->desc) cublasLtMatmulDescDestroy(m->desc);
    clvi_free(call->ctx, m);
    call->state = NULL;
}

static bool accepts(const clvi_op_call *call)
{
    const clv_dtype type = call->out[0].dtype;
    if (type != CLV_F32 && type != CLV_F64) return false;
    /* Products of nothing are the other kernel's. */
    return clvi_desc_count(&call->in[0]) > 0 && clvi_desc_count(&call->in[1]) > 0;
}

/* A dense matrix [rows, cols] of ours is [cols, rows] by columns. */
static clv_status layout(const clvi_desc *d, cublasLtMatrixLayout_t *out)
{
    const cudaDataType type = d->dtype == CLV_F64 ? CUDA_R_64F : CUDA_R_32F;
    CLVI_LT(cublasLtMatrixLayoutCreate(out, type, (uint64_t)d->shape[1], (uint64_t)d->shape[0], d->shape[1]));
    return CLV_OK;
}

/* Whether a product may round its operands is the call's to say (tf32, which a graph's precision sets); every other
 * float32 product, those with banks among them, is strict. */
static clv_status describe(const clvi_op_call *call, gemm *m)
{
    const clvi_matmul_attr *attr = call->attr;
    const bool f64 = call->out[0].dtype == CLV_F64;
    const cublasOperation_t op_a = attr->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = attr->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasComputeType_t f32 = call->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    CLVI_LT(cublasLtMatmulDescCreate(&m->desc, f64 ? CUBLAS_COMPUTE_64F : f32, f64 ? CUDA_R_64F : CUDA_R_32F));
    CLVI_LT(cublasLtMatmulDescSetAttribute(m->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
    CLVI_LT(cublasLtMatmulDescSetAttribute(m->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
    CLV_TRY(layout(&call->in[1], &m->a));
    CLV_TRY(layout(&call->in[0], &m->b));
    return layout(&call->out[0], &m->y);
}

/* The library's first choice among those whose sums have a fixed order. */
static clv_status choose(const clvi_op_call *call, gemm *m, cublasLtMatmulPreference_t wish)
{
    const size_t workspace = CLVI_CUDA_WORKSPACE;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    CLVI_LT(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                 sizeof workspace));
    CLVI_LT(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions,
                                                 sizeof reductions));
    const cublasStatus_t st = cublasLtMatmulAlgoGetHeuristic(clvi_cuda_of(call->ctx)->blas, m->desc, m->a, m->b, m->y,
                                                             m->y, wish, 1, &found, &count);
    if (st == CUBLAS_STATUS_NOT_SUPPORTED || (st == CUBLAS_STATUS_SUCCESS && count == 0)) return CLV_ERR_UNSUPPORTED;
    CLVI_LT(st);
    m->algo = found.algo;
    return CLV_OK;
}

static clv_status prepare(clvi_op_call *call)
{
    cublasLtMatmulPreference_t wish = NULL;
    gemm *m = clvi_calloc(call->ctx, 1, sizeof *m);
    if (!m) return CLV_ERR_NOMEM;
    call->state = m;
    for (int i = 0; i < 2; i++) clvi_desc_make_dense(&call->in[i]);
    clv_status st = describe(call, m);
    if (st == CLV_OK) st = clvi_blas_status(cublasLtMatmulPreferenceCreate(&wish), "cublasLtMatmulPreferenceCreate");
    if (st == CLV_OK) st = choose(call, m, wish);
    if (wish) cublasLtMatmulPreferenceDestroy(wish);
    if (st != CLV_OK) release(call);
    return st;
}

static clv_status matmul(const clvi_op_call *call)
{
    static const double one64 = 1, zero64 = 0;
    static const float one32 = 1, zero32 = 0;
    const bool f64 = call->out[0].dtype == CLV_F64;
    clvi_cuda_device *d = clvi_cuda_of(call->ctx);
    const gemm *m = call->state;
    void *workspace = clvi_cuda_workspace(d);
    if (!workspace) return CLV_ERR_NOMEM;
    CLVI_LT(cublasLtMatmul(d->blas, m->desc, f64 ? (const void *)&one64 : &one32, call->in_data[1], m->a,
                           call->in_data[0], m->b, f64 ? (const void *)&zero64 : &zero32, call->out_data[0], m->y,
                           call->out_data[0], m->y, &m->algo, workspace, CLVI_CUDA_WORKSPACE, d->stream));
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cublas_matmul = {
    .op = "matmul", .name = "cublas", .accepts = accepts, .prepare = prepare, .run = matmul, .release = release,
};
