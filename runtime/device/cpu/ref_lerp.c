/* ref_lerp.c: lerp, row_stats. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <float.h>
#include <math.h>

#define SELF "device/cpu/ref_lerp.c"
#include "device/cpu/real.h"

static clv_status lerp(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[0].shape[0], 16, lerp_range);
    return CLV_OK;
}

static bool lerp_accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32 || call->out[0].dtype == CLV_F64;
}
const clvi_kernel clvi_kernel_ref_lerp = {
    .op = "lerp", .name = "reference", .accepts = lerp_accepts, .run = lerp,
};

static clv_status row_stats(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, stats_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(row_stats);

#else

static void FN(lerp_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_desc *shape = &call->in[2];
    const int64_t dim = call->out[0].shape[1], step = shape->shape[1] == 1 ? 0 : 1;
    const int64_t rows = clvi_ref_present(&call->in[1]) ? call->in[1].shape[0] : 0, *index = call->in_data[3];
    const REAL *a = call->in_data[0], *b = call->in_data[1];
    for (int64_t n = begin; n < end; n++) {
        const REAL *lambda = (const REAL *)call->in_data[2] + (shape->shape[0] == 1 ? 0 : n * shape->shape[1]);
        REAL *y = (REAL *)call->out_data[0] + n * dim;
        const int64_t other = index ? index[n] : n;
        const bool alone = index && (other < 0 || other >= rows);
        for (int64_t d = 0; d < dim; d++) {
            const double l = lambda[d * step], x = a ? a[n * dim + d] : 0;
            y[d] = (REAL)(alone ? x : l * x + (1 - l) * (b ? b[other * dim + d] : 0));
        }
    }
}

static void FN(stats_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const double factor = ((const clvi_row_stats_attr *)call->attr)->factor;
    const int64_t cols = call->in[0].shape[1];
    const double largest = sizeof(REAL) == sizeof(double) ? DBL_MAX : (double)FLT_MAX;
    REAL *mean = clvi_ref_output(call, 0), *var = clvi_ref_output(call, 1), *exp_mean = clvi_ref_output(call, 2);
    for (int64_t n = begin; n < end; n++) {
        const REAL *x = (const REAL *)call->in_data[0] + n * cols;
        double sum = 0, squares = 0, exps = 0;
        for (int64_t c = 0; c < cols; c++) sum += x[c];
        const double m = cols ? sum / (double)cols : 0;
        for (int64_t c = 0; c < cols; c++) {
            squares += (x[c] - m) * (x[c] - m);
            exps += exp(factor * x[c]) / (double)cols;
        }
        if (mean) mean[n] = (REAL)m;
        if (var) var[n] = (REAL)(cols > 1 ? squares / (double)(cols - 1) : 0);
        if (exp_mean) exp_mean[n] = (REAL)fmin(exps, largest);
    }
}

#endif
