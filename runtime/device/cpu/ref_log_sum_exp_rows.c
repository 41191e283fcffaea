/* ref_log_sum_exp_rows.c: log_sum_exp_rows and its gradient dy e^{x - y}; entries of -inf count as nothing. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

#define SELF "device/cpu/ref_log_sum_exp_rows.c"
#include "device/cpu/real.h"

static clv_status log_sum_exp_rows(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 4, log_sum_exp_rows_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(log_sum_exp_rows);

static clv_status log_sum_exp_rows_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[1].shape[0], 4, log_sum_exp_rows_bwd_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(log_sum_exp_rows_bwd);

#else

static void FN(log_sum_exp_rows_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const unsigned char *mask = call->in_data[1];
    REAL *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)call->in_data[0] + i * cols;
        double max = -INFINITY, sum = 0;
        for (int64_t j = 0; j < cols; j++)
            if ((!mask || mask[i * cols + j]) && x[j] > max) max = x[j];
        for (int64_t j = 0; j < cols && max > -INFINITY; j++)
            if (!mask || mask[i * cols + j]) sum += exp(x[j] - max);
        y[i] = (REAL)(max > -INFINITY ? max + log(sum) : max);
    }
}

static void FN(log_sum_exp_rows_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[1].shape[1];
    const unsigned char *mask = call->in_data[2];
    const REAL *dy = call->in_data[0], *y = call->in_data[3];
    for (int64_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)call->in_data[1] + i * cols;
        REAL *dx = (REAL *)call->out_data[0] + i * cols;
        for (int64_t j = 0; j < cols; j++) {
            const bool in = (!mask || mask[i * cols + j]) && x[j] > -INFINITY;
            dx[j] = in ? (REAL)(dy[i] * exp((double)x[j] - y[i])) : 0;
        }
    }
}

#endif
