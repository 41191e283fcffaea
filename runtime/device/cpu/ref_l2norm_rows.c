/* ref_l2norm_rows.c: y = x / max(|x|, eps) for each row, and its gradient
 * dx = (dy - y <y, dy>) / |x|; rows with |x| <= eps, the zero row among them, have gradient 0. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>

#define SELF "device/cpu/ref_l2norm_rows.c"
#include "device/cpu/real.h"

static clv_status l2norm_rows(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, l2norm_rows_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(l2norm_rows);

static clv_status l2norm_rows_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, l2norm_rows_bwd_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(l2norm_rows_bwd);

#else

static void FN(l2norm_rows_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_l2norm_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1];
    REAL *norm = clvi_ref_output(call, 1);
    for (int64_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)call->in_data[0] + i * cols;
        REAL *y = (REAL *)call->out_data[0] + i * cols;
        double sum = 0;
        for (int64_t j = 0; j < cols; j++) sum += (double)x[j] * x[j];
        const double length = sqrt(sum), divisor = length > attr->eps ? length : attr->eps;
        for (int64_t j = 0; j < cols; j++) y[j] = (REAL)(divisor > 0 ? x[j] / divisor : x[j]);
        if (norm) norm[i] = (REAL)length;
    }
}

static void FN(l2norm_rows_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_l2norm_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1];
    for (int64_t i = begin; i < end; i++) {
        const REAL *dy = (const REAL *)call->in_data[0] + i * cols, *y = (const REAL *)call->in_data[1] + i * cols;
        const double norm = ((const REAL *)call->in_data[2])[i];
        REAL *dx = (REAL *)call->out_data[0] + i * cols;
        double along = 0;
        for (int64_t j = 0; j < cols; j++) along += (double)y[j] * dy[j];
        for (int64_t j = 0; j < cols; j++) dx[j] = norm <= attr->eps ? 0 : (REAL)((dy[j] - y[j] * along) / norm);
    }
}

#endif
