/* l2norm_rows.c: l2norm_rows and its gradient in float32, 16 columns at a time, sums in double. Formula and edge cases
 * as in ref_l2norm_rows.c. */
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"
#include <math.h>

CLVI_INLINE void forward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_l2norm_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1];
    float *norm = clvi_ref_output(call, 1);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in_data[0] + i * cols;
        float *y = (float *)call->out_data[0] + i * cols;
        clvi_v8d sum = { 0 };
        clvi_v16f v;
        for (int64_t j = 0; j < cols; j += CLVI_LANES) {
            clvi_load16(&v, x, j, cols, 0);
            clvi_v8d half[2];
            clvi_widen16(half, &v);
            sum += half[0] * half[0];
            sum += half[1] * half[1];
        }
        const double length = sqrt(clvi_total8(&sum)), divisor = length > attr->eps ? length : attr->eps;
        const double scale = divisor > 0 ? 1 / divisor : 1;
#pragma GCC ivdep
        for (int64_t j = 0; j < cols; j++) y[j] = (float)(x[j] * scale);
        if (norm) norm[i] = (float)length;
    }
}
CLVI_ISA_VARIANTS(forward_body)

CLVI_INLINE void backward_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_l2norm_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1];
    for (int64_t i = begin; i < end; i++) {
        const float *dy = (const float *)call->in_data[0] + i * cols, *y = (const float *)call->in_data[1] + i * cols;
        const float norm = ((const float *)call->in_data[2])[i];
        float *dx = (float *)call->out_data[0] + i * cols;
        if (norm <= attr->eps) {
            memset(dx, 0, (size_t)cols * sizeof *dx);
            continue;
        }
        clvi_v8d sum = { 0 };
        clvi_v16f a, b;
        for (int64_t j = 0; j < cols; j += CLVI_LANES) {
            clvi_load16(&a, dy, j, cols, 0);
            clvi_load16(&b, y, j, cols, 0);
            a *= b;
            clvi_add16(&sum, &a);
        }
        const float along = (float)clvi_total8(&sum), scale = 1 / norm;
#pragma GCC ivdep
        for (int64_t j = 0; j < cols; j++) dx[j] = (dy[j] - y[j] * along) * scale;
    }
}
CLVI_ISA_VARIANTS(backward_body)

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

static clv_status forward(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[0], 64, clvi_isa_pick(forward_body_table), (void *)call);
    return CLV_OK;
}

static clv_status backward(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[0], 64, clvi_isa_pick(backward_body_table), (void *)call);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_l2norm_rows = {
    .op = "l2norm_rows", .name = "cpu", .accepts = accepts, .run = forward, .in_place = { 1 },
};
const clvi_kernel clvi_kernel_cpu_l2norm_rows_bwd = {
    .op = "l2norm_rows_bwd", .name = "cpu", .accepts = accepts, .run = backward, .in_place = { 1 },
};
