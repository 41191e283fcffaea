/* layer_norm.cu: layer_norm and its gradient: one block a row; the sums over the rows, dgamma and dbeta, over runs of
 * rows first, then over the runs. The formulas are those of ref_layer_norm.c. */
#include "device/cuda/column.h"

template <class T> static clv_status layer_norm_of(const clvi_op_call *call)
{
    const double eps = ((const clvi_layer_norm_attr *)call->attr)->eps;
    const T *x = (const T *)call->in_data[0], *gamma = (const T *)call->in_data[1], *beta = (const T *)call->in_data[2];
    T *y = (T *)call->out_data[0], *mean_out = (T *)call->out_data[1], *scale_out = (T *)call->out_data[2];
    const int64_t cols = call->in[0].shape[1];
    return clvi_cu_rows(call, call->in[0].shape[0], [=] __device__ (int64_t i) {
        const T *in = x + i * cols;
        double sum = 0, squares = 0;
        for (int64_t j = threadIdx.x; j < cols; j += CLVI_CU_THREADS) sum += (double)in[j];
        const double mean = clvi_cu_block_sum(sum) / (double)cols;
        for (int64_t j = threadIdx.x; j < cols; j += CLVI_CU_THREADS)
            squares += ((double)in[j] - mean) * ((double)in[j] - mean);
        const double scale = 1 / sqrt(clvi_cu_block_sum(squares) / (double)cols + eps);
        for (int64_t j = threadIdx.x; j < cols; j += CLVI_CU_THREADS)
            y[i * cols + j] = (T)(((double)in[j] - mean) * scale * (double)gamma[j] + (double)beta[j]);
        if (threadIdx.x == 0) mean_out[i] = (T)mean, scale_out[i] = (T)scale;
    });
}

static clv_status layer_norm(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], layer_norm_of, call); }
CLVI_CU_KERNEL(layer_norm);

/* ---- gradient ---- */

enum { RUN = 512 };                     /* rows */

static int64_t runs_of(int64_t rows) { return (rows + RUN - 1) / RUN; }

static clv_status layer_norm_bwd_prepare(clvi_op_call *call)
{
    for (int i = 0; i < call->n_in; i++) clvi_desc_make_dense(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) clvi_desc_make_dense(&call->out[i]);
    call->scratch_size = 2 * sizeof(double) * (size_t)(runs_of(call->in[0].shape[0]) * call->in[0].shape[1]);
    return CLV_OK;
}

template <class T> struct layer { const T *dy, *x, *gamma, *mean, *scale; int64_t rows, cols; };

template <class T> static clv_status rows_bwd(const clvi_op_call *call, const layer<T> n)
{
    T *dx = (T *)call->out_data[0];
    return clvi_cu_rows(call, n.rows, [=] __device__ (int64_t i) {
        const T *dy = n.dy + i * n.cols, *x = n.x + i * n.cols;
        const double mean = (double)n.mean[i], scale = (double)n.scale[i];
        double all = 0, along = 0;
        for (int64_t j = threadIdx.x; j < n.cols; j += CLVI_CU_THREADS) {
            const double e = (double)dy[j] * (double)n.gamma[j];
            all += e;
            along += e * ((double)x[j] - mean) * scale;
        }
        all = clvi_cu_block_sum(all) / (double)n.cols;
        along = clvi_cu_block_sum(along) / (double)n.cols;
        for (int64_t j = threadIdx.x; j < n.cols; j += CLVI_CU_THREADS)
            dx[i * n.cols + j] = (T)(scale * ((double)dy[j] * (double)n.gamma[j] - all -
                                              ((double)x[j] - mean) * scale * along));
    });
}

template <class T> static clv_status columns_bwd(const clvi_op_call *call, const layer<T> n)
{
    T *dgamma = (T *)call->out_data[1], *dbeta = (T *)call->out_data[2];
    const int64_t runs = runs_of(n.rows), groups = (n.cols + CLVI_CU_COLUMNS - 1) / CLVI_CU_COLUMNS;
    double *part = (double *)call->scratch;
    /* Columns of the runs side by side: a run's columns are padded to whole groups. */
    CLV_TRY(clvi_cu_columns(call, runs * groups * CLVI_CU_COLUMNS, [=] __device__ (int64_t at, int64_t first) {
        const int64_t j = at % (groups * CLVI_CU_COLUMNS), run = at / (groups * CLVI_CU_COLUMNS);
        const int64_t end = j >= n.cols ? 0 : (run + 1) * RUN < n.rows ? (run + 1) * RUN : n.rows;
        double of_gamma = 0, of_beta = 0;
        for (int64_t i = run * RUN + first; i < end; i += CLVI_CU_COLUMN_THREADS) {
            const double dy = (double)n.dy[i * n.cols + j];
            of_gamma += dy * ((double)n.x[i * n.cols + j] - (double)n.mean[i]) * (double)n.scale[i];
            of_beta += dy;
        }
        of_gamma = clvi_cu_column_sum(of_gamma);
        of_beta = clvi_cu_column_sum(of_beta);
        if (first != 0 || j >= n.cols) return;
        part[run * n.cols + j] = of_gamma;
        part[(runs + run) * n.cols + j] = of_beta;
    }));
    return clvi_cu_each(call, 2 * n.cols, [=] __device__ (int64_t at) {
        const int64_t j = at % n.cols;
        double sum = 0;
        for (int64_t run = 0; run < runs; run++) sum += part[(at / n.cols * runs + run) * n.cols + j];
        if (at < n.cols) dgamma[j] = (T)sum;
        else dbeta[j] = (T)sum;
    });
}

template <class T> static clv_status layer_norm_bwd_of(const clvi_op_call *call)
{
    const layer<T> n = { (const T *)call->in_data[0], (const T *)call->in_data[1], (const T *)call->in_data[2],
                        (const T *)call->in_data[3], (const T *)call->in_data[4], call->in[0].shape[0],
                        call->in[0].shape[1] };
    CLV_TRY(rows_bwd(call, n));
    return columns_bwd(call, n);
}

static clv_status layer_norm_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], layer_norm_bwd_of, call);
}
CLVI_CU_KERNEL_WITH(layer_norm_bwd, nullptr, layer_norm_bwd_prepare);
