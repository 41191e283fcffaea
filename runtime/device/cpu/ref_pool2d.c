/* ref_pool2d.c: maximum and average pooling. Padding never wins a maximum and is not counted in an average; of equal
 * values the first in row-major order is the maximum. The workspace of max_pool2d holds, for each output, the winner's
 * index in its plane as int64. */
#ifndef REAL

#include "device/cpu/ref.h"

/* Rows and columns of x under output (p, q). */
typedef struct window {
    int64_t top, bottom, left, right;
} window;

static window window_at(const clvi_pool2d_attr *a, int64_t h, int64_t w, int64_t p, int64_t q)
{
    const int64_t top = p * a->stride[0] - a->pad[0], left = q * a->stride[1] - a->pad[1];
    return (window){
        .top = CLVI_MAX(top, 0), .bottom = CLVI_MIN(top + a->kernel[0], h),
        .left = CLVI_MAX(left, 0), .right = CLVI_MIN(left + a->kernel[1], w),
    };
}

#define SELF "device/cpu/ref_pool2d.c"
#include "device/cpu/real.h"

static int64_t planes(const clvi_desc *x)
{
    return x->shape[0] * x->shape[1];
}

static clv_status max_pool2d_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, 1);
    clvi_ref_make_dense(call->out, 1);
    call->out[1].bytes = CLVI_MAX((size_t)clvi_desc_count(&call->out[0]), (size_t)1) * sizeof(int64_t);
    return CLV_OK;
}

static clv_status max_pool2d(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, planes(&call->in[0]), 4, max_pool2d_range);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_max_pool2d = {
    .op = "max_pool2d", .name = "reference", .prepare = max_pool2d_prepare, .run = max_pool2d,
};

/* Leaves the workspace as the forward kernel made it. */
static clv_status max_pool2d_bwd_prepare(clvi_op_call *call)
{
    clvi_ref_make_dense(call->in, 1);
    clvi_ref_make_dense(call->out, 1);
    return CLV_OK;
}

static clv_status max_pool2d_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, planes(&call->out[0]), 4, max_pool2d_bwd_range);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_max_pool2d_bwd = {
    .op = "max_pool2d_bwd", .name = "reference", .prepare = max_pool2d_bwd_prepare, .run = max_pool2d_bwd,
};

static clv_status avg_pool2d(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, planes(&call->in[0]), 4, avg_pool2d_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(avg_pool2d);

static clv_status avg_pool2d_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, planes(&call->out[0]), 4, avg_pool2d_bwd_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(avg_pool2d_bwd);

#else

static int64_t FN(first_maximum)(const REAL *plane, int64_t w, window win)
{
    int64_t best = win.top * w + win.left;
    for (int64_t i = win.top; i < win.bottom; i++)
        for (int64_t j = win.left; j < win.right; j++)
            if (plane[i * w + j] > plane[best]) best = i * w + j;
    return best;
}

static void FN(max_pool2d_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t h = call->in[0].shape[2], w = call->in[0].shape[3];
    const int64_t oh = call->out[0].shape[2], ow = call->out[0].shape[3];
    REAL *y = call->out_data[0];
    int64_t *winner = clvi_ref_output(call, 1);
    for (int64_t item = begin; item < end; item++) {
        const REAL *plane = (const REAL *)call->in_data[0] + item * h * w;
        for (int64_t p = 0; p < oh; p++)
            for (int64_t q = 0; q < ow; q++) {
                const int64_t best = FN(first_maximum)(plane, w, window_at(call->attr, h, w, p, q));
                y[(item * oh + p) * ow + q] = plane[best];
                if (winner) winner[(item * oh + p) * ow + q] = best;
            }
    }
}

static void FN(max_pool2d_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t in_plane = call->out[0].shape[2] * call->out[0].shape[3];
    const int64_t out_plane = call->in[0].shape[2] * call->in[0].shape[3];
    const REAL *dy = call->in_data[0];
    const int64_t *winner = call->in_data[1];
    for (int64_t item = begin; item < end; item++) {
        REAL *plane = (REAL *)call->out_data[0] + item * in_plane;
        for (int64_t i = 0; i < in_plane; i++) plane[i] = 0;
        for (int64_t i = item * out_plane; i < (item + 1) * out_plane; i++) plane[winner[i]] += dy[i];
    }
}

static void FN(avg_pool2d_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t h = call->in[0].shape[2], w = call->in[0].shape[3];
    const int64_t oh = call->out[0].shape[2], ow = call->out[0].shape[3];
    REAL *y = call->out_data[0];
    for (int64_t item = begin; item < end; item++) {
        const REAL *plane = (const REAL *)call->in_data[0] + item * h * w;
        for (int64_t p = 0; p < oh; p++)
            for (int64_t q = 0; q < ow; q++) {
                const window win = window_at(call->attr, h, w, p, q);
                double sum = 0;
                for (int64_t i = win.top; i < win.bottom; i++)
                    for (int64_t j = win.left; j < win.right; j++) sum += plane[i * w + j];
                y[(item * oh + p) * ow + q] = (REAL)(sum / (double)((win.bottom - win.top) * (win.right - win.left)));
            }
    }
}

static void FN(avg_pool2d_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t h = call->out[0].shape[2], w = call->out[0].shape[3];
    const int64_t oh = call->in[0].shape[2], ow = call->in[0].shape[3];
    const REAL *dy = call->in_data[0];
    for (int64_t item = begin; item < end; item++) {
        REAL *plane = (REAL *)call->out_data[0] + item * h * w;
        for (int64_t i = 0; i < h * w; i++) plane[i] = 0;
        for (int64_t p = 0; p < oh; p++)
            for (int64_t q = 0; q < ow; q++) {
                const window win = window_at(call->attr, h, w, p, q);
                const int64_t pixels = (win.bottom - win.top) * (win.right - win.left);
                const REAL share = dy[(item * oh + p) * ow + q] / (REAL)pixels;
                for (int64_t i = win.top; i < win.bottom; i++)
                    for (int64_t j = win.left; j < win.right; j++) plane[i * w + j] += share;
            }
    }
}

#endif
