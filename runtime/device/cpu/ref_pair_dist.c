/* ref_pair_dist.c: y_ij = |x_i - x_j|^2, and dx_i = 2 sum_j (dy_ij + dy_ji) (x_i - x_j). */
#ifndef REAL

#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_pair_dist.c"
#include "device/cpu/real.h"

static clv_status pair_dist(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 1, pair_dist_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(pair_dist);

static clv_status pair_dist_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[1].shape[0], 1, pair_dist_bwd_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(pair_dist_bwd);

#else

static void FN(pair_dist_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t rows = call->in[0].shape[0], dim = call->in[0].shape[1];
    const REAL *x = call->in_data[0];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < rows; j++) {
            double sum = 0;
            for (int64_t d = 0; d < dim; d++) {
                const double gap = (double)x[i * dim + d] - x[j * dim + d];
                sum += gap * gap;
            }
            y[i * rows + j] = (REAL)sum;
        }
}

static void FN(pair_dist_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t rows = call->in[1].shape[0], dim = call->in[1].shape[1];
    const REAL *dy = call->in_data[0], *x = call->in_data[1];
    REAL *dx = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t d = 0; d < dim; d++) {
            double sum = 0;
            for (int64_t j = 0; j < rows; j++)
                sum += ((double)dy[i * rows + j] + dy[j * rows + i]) * ((double)x[i * dim + d] - x[j * dim + d]);
            dx[i * dim + d] = (REAL)(2 * sum);
        }
}

#endif
