/* matmul.c: matmul through OpenBLAS.
 *
 * The product is cut into blocks by its shape alone, each one single-threaded GEMM, so that the result has the same
 * bits with any number of threads; OpenBLAS's own threads stay asleep. A long inner dimension behind a small result is
 * cut too, into partial products that are added in order. */
#include "core/checked.h"
#include "core/parallel.h"
#include "device/attr.h"
#include "device/device.h"
#include <cblas.h>
#include <limits.h>
#include <omp.h>
#include <string.h>

#define MAX_BLOCK   512     /* rows and columns of a block: packing costs little beside the arithmetic */
#define MIN_BLOCK   64
#define MIN_BLOCKS  8       /* wanted, so that there is work for several threads */
#define LONG_DEPTH  4096    /* inner length of a partial product */
#define MAX_PARTS   16
#define SMALL_WORK  (128 * 128 * 128)
#define SUM_CHUNK   16384

typedef struct blocking {
    int64_t rows, cols, depth;                      /* M, N, K */
    int64_t block_rows, block_cols, block_depth;
    int64_t row_blocks, col_blocks, parts;
} blocking;

static int64_t blocks_of(int64_t n, int64_t block)
{
    return (n + block - 1) / block;
}

static blocking choose(const clvi_op_call *call)
{
    const clvi_matmul_attr *attr = call->attr;
    blocking b = { .rows = call->out[0].shape[0], .cols = call->out[0].shape[1],
                   .depth = call->in[0].shape[attr->trans_a ? 0 : 1] };
    b.parts = b.rows <= MAX_BLOCK && b.cols <= MAX_BLOCK ? CLVI_MIN(CLVI_MAX(b.depth / LONG_DEPTH, 1), MAX_PARTS) : 1;
    b.block_depth = blocks_of(b.depth, b.parts);
    b.block_rows = CLVI_MAX(CLVI_MIN(b.rows, MAX_BLOCK), 1);
    b.block_cols = CLVI_MAX(CLVI_MIN(b.cols, MAX_BLOCK), 1);
    const bool small = (double)b.rows * (double)b.cols * (double)b.depth <= SMALL_WORK;
    while (!small && blocks_of(b.rows, b.block_rows) * blocks_of(b.cols, b.block_cols) * b.parts < MIN_BLOCKS) {
        int64_t *longer = b.block_rows >= b.block_cols ? &b.block_rows : &b.block_cols;
        if (*longer < 2 * MIN_BLOCK) break;
        *longer = blocks_of(*longer, 2);
    }
    b.row_blocks = blocks_of(b.rows, b.block_rows);
    b.col_blocks = blocks_of(b.cols, b.block_cols);
    return b;
}

static bool accepts(const clvi_op_call *call)
{
    const clv_dtype type = call->in[0].dtype;
    if ((type != CLV_F32 && type != CLV_F64) || call->in[1].dtype != type) return false;
    for (int i = 0; i < 2; i++)   /* BLAS counts in int */
        for (int d = 0; d < 2; d++)
            if (call->in[i].shape[d] > INT_MAX) return false;
    return true;
}

static clv_status prepare(clvi_op_call *call)
{
    clvi_desc_make_dense(&call->in[0]);
    clvi_desc_make_dense(&call->in[1]);
    clvi_desc_make_dense(&call->out[0]);
    const blocking b = choose(call);
    call->scratch_size = b.parts > 1 ? (size_t)b.parts * call->out[0].bytes : 0;
    return CLV_OK;
}

/* Block (row, col) of part p is item (p * row_blocks + row) * col_blocks + col. */
static void multiply_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_matmul_attr *attr = call->attr;
    const blocking b = choose(call);
    const int64_t size = (int64_t)clv_dtype_size(call->out[0].dtype);
    const int64_t lda = attr->trans_a ? b.rows : b.depth, ldb = attr->trans_b ? b.depth : b.cols;
    const CBLAS_TRANSPOSE ta = attr->trans_a ? CblasTrans : CblasNoTrans;
    const CBLAS_TRANSPOSE tb = attr->trans_b ? CblasTrans : CblasNoTrans;
    for (int64_t item = begin; item < end; item++) {
        const int64_t part = item / (b.row_blocks * b.col_blocks);
        const int64_t i = item / b.col_blocks % b.row_blocks * b.block_rows, j = item % b.col_blocks * b.block_cols;
        const int64_t k = part * b.block_depth;
        const int m = (int)CLVI_MIN(b.block_rows, b.rows - i), n = (int)CLVI_MIN(b.block_cols, b.cols - j);
        const int depth = (int)CLVI_MAX(CLVI_MIN(b.block_depth, b.depth - k), 0);
        const char *x = (const char *)call->in_data[0] + (attr->trans_a ? k * lda + i : i * lda + k) * size;
        const char *w = (const char *)call->in_data[1] + (attr->trans_b ? j * ldb + k : k * ldb + j) * size;
        char *y = b.parts > 1 ? (char *)call->scratch + part * b.rows * b.cols * size : call->out_data[0];
        y += (i * b.cols + j) * size;
        if (call->out[0].dtype == CLV_F32)
            cblas_sgemm(CblasRowMajor, ta, tb, m, n, depth, 1.0f, (const float *)x, (int)lda, (const float *)w,
                        (int)ldb, 0.0f, (float *)y, (int)b.cols);
        else
            cblas_dgemm(CblasRowMajor, ta, tb, m, n, depth, 1.0, (const double *)x, (int)lda, (const double *)w,
                        (int)ldb, 0.0, (double *)y, (int)b.cols);
    }
}

/* The thread's own OpenMP setting tells OpenBLAS to stay on it. */
static void multiply_alone(void *arg, int64_t begin, int64_t end)
{
    const int threads = omp_get_max_threads();
    if (threads != 1) omp_set_num_threads(1);
    multiply_range(arg, begin, end);
    if (threads != 1) omp_set_num_threads(threads);
}

static void sum_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t parts = choose(call).parts, n = clvi_desc_count(&call->out[0]);
    if (call->out[0].dtype == CLV_F32) {
        const float *part = call->scratch;
        float *y = call->out_data[0];
        for (int64_t i = begin; i < end; i++) y[i] = part[i];
        for (int64_t p = 1; p < parts; p++)
            for (int64_t i = begin; i < end; i++) y[i] += part[p * n + i];
    } else {
        const double *part = call->scratch;
        double *y = call->out_data[0];
        for (int64_t i = begin; i < end; i++) y[i] = part[i];
        for (int64_t p = 1; p < parts; p++)
            for (int64_t i = begin; i < end; i++) y[i] += part[p * n + i];
    }
}

static clv_status run(const clvi_op_call *call)
{
    const blocking b = choose(call);
    if (b.rows == 0 || b.cols == 0) return CLV_OK;
    if (b.depth == 0) {
        memset(call->out_data[0], 0, call->out[0].bytes);
        return CLV_OK;
    }
    clvi_parallel_for(call->ctx, b.row_blocks * b.col_blocks * b.parts, 1, multiply_alone, (void *)call);
    if (b.parts > 1) clvi_parallel_for(call->ctx, b.rows * b.cols, SUM_CHUNK, sum_range, (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_blas_matmul = {
    .op = "matmul", .name = "blas", .accepts = accepts, .prepare = prepare, .run = run,
};
