/* ref_layer_norm.c: y = (x - mean) scale gamma + beta with scale = 1/sqrt(variance + eps) for each row, and its
 * gradient: with h = (x - mean) scale and e = dy gamma, dx = scale (e - mean(e) - h mean(e h)); dgamma and dbeta are the
 * sums of dy h and dy over the rows. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

#define SELF "device/cpu/ref_layer_norm.c"
#include "device/cpu/real.h"

static clv_status layer_norm(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, layer_norm_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(layer_norm);

static clv_status layer_norm_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, layer_norm_rows_range);
    CLVI_REF_LOOP(call, call->in[0].shape[1], 16, layer_norm_columns_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(layer_norm_bwd);

#else

static void FN(layer_norm_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_layer_norm_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1];
    const REAL *gamma = call->in_data[1], *beta = call->in_data[2];
    for (int64_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)call->in_data[0] + i * cols;
        REAL *y = (REAL *)call->out_data[0] + i * cols;
        double sum = 0, squares = 0;
        for (int64_t j = 0; j < cols; j++) sum += x[j];
        const double mean = sum / (double)cols;
        for (int64_t j = 0; j < cols; j++) squares += (x[j] - mean) * (x[j] - mean);
        const double scale = 1 / sqrt(squares / (double)cols + attr->eps);
        for (int64_t j = 0; j < cols; j++) y[j] = (REAL)((x[j] - mean) * scale * gamma[j] + beta[j]);
        ((REAL *)call->out_data[1])[i] = (REAL)mean;
        ((REAL *)call->out_data[2])[i] = (REAL)scale;
    }
}

static void FN(layer_norm_rows_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const REAL *gamma = call->in_data[2];
    for (int64_t i = begin; i < end; i++) {
        const REAL *dy = (const REAL *)call->in_data[0] + i * cols, *x = (const REAL *)call->in_data[1] + i * cols;
        const double mean = ((const REAL *)call->in_data[3])[i], scale = ((const REAL *)call->in_data[4])[i];
        REAL *dx = (REAL *)call->out_data[0] + i * cols;
        double all = 0, along = 0;
        for (int64_t j = 0; j < cols; j++) {
            const double e = (double)dy[j] * gamma[j];
            all += e;
            along += e * (x[j] - mean) * scale;
        }
        for (int64_t j = 0; j < cols; j++)
            dx[j] = (REAL)(scale * ((double)dy[j] * gamma[j] - all / (double)cols -
                                    (x[j] - mean) * scale * along / (double)cols));
    }
}

static void FN(layer_norm_columns_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    const REAL *dy = call->in_data[0], *x = call->in_data[1], *mean = call->in_data[3], *scale = call->in_data[4];
    for (int64_t j = begin; j < end; j++) {
        double dgamma = 0, dbeta = 0;
        for (int64_t i = 0; i < rows; i++) {
            dgamma += (double)dy[i * cols + j] * ((double)x[i * cols + j] - mean[i]) * scale[i];
            dbeta += dy[i * cols + j];
        }
        ((REAL *)call->out_data[1])[j] = (REAL)dgamma;
        ((REAL *)call->out_data[2])[j] = (REAL)dbeta;
    }
}

#endif
