/* ref_target_margin.c: the target's cosine c = cos theta with its margin, and the slopes. For cos(theta + m):
 *   y = c cos m - sqrt(1 - c^2) sin m
 *   dy/dc = cos m + c sin m / sqrt(1 - c^2),   dy/dm = -sqrt(1 - c^2) cos m - c sin m.
 * At |c| = 1, where the root has no slope, it is taken as constant. One entry a row changes, so in place it costs next
 * to nothing. */
#ifndef REAL

#include "device/cpu/ref.h"
#include <math.h>
#include <string.h>

typedef struct arc {
    double y, dc, dm;
} arc;

static arc arc_of(const clvi_target_margin_attr *attr, double c, double m)
{
    const double edge = 1 - attr->clamp;
    const bool clamped = attr->clamp > 0 && fabs(c) > edge;
    if (clamped) c = c > 0 ? edge : -edge;
    const double square = 1 - c * c, sine = square > 0 ? sqrt(square) : 0;
    arc a = { c * cos(m) - sine * sin(m), cos(m) + (sine > 0 ? c * sin(m) / sine : 0), -sine * cos(m) - c * sin(m) };
    if (attr->mode == CLVI_MARGIN_COSINE) a = (arc){ c - m, 1, -1 };
    if (attr->mode == CLVI_MARGIN_EASY && c <= 0) a = (arc){ c, 1, 0 };
    if (attr->mode == CLVI_MARGIN_FALLBACK && c <= -cos(m)) a = (arc){ c - m * sin(m), 1, -sin(m) - m * cos(m) };
    if (clamped) a.dc = 0;
    return a;
}

#define SELF "device/cpu/ref_target_margin.c"
#include "device/cpu/real.h"

static clv_status target_margin(const clvi_op_call *call)
{
    const int64_t *label = call->in_data[1], cols = call->in[0].shape[1];
    for (int64_t i = 0; i < call->in[0].shape[0]; i++)
        CLV_CHECK(label[i] < cols, CLV_ERR_INVALID,
                  "target_margin: label of row %" PRId64 " is %" PRId64 ", want less than %" PRId64, i, label[i], cols);
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, target_margin_range);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_target_margin = {
    .op = "target_margin", .name = "reference", .run = target_margin, .in_place = { 1 },
};

static clv_status target_margin_bwd(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 16, target_margin_bwd_range);
    return CLV_OK;
}
const clvi_kernel clvi_kernel_ref_target_margin_bwd = {
    .op = "target_margin_bwd", .name = "reference", .run = target_margin_bwd, .in_place = { 1 },
};

#else

static void FN(copy_rows)(REAL *y, const REAL *x, int64_t cols, int64_t begin, int64_t end)
{
    if (y != x && cols > 0) memcpy(y + begin * cols, x + begin * cols, (size_t)((end - begin) * cols) * sizeof *y);
}

static void FN(target_margin_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_target_margin_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1], *label = call->in_data[1];
    const REAL *margins = call->in_data[2];
    REAL *y = call->out_data[0], *cosine = clvi_ref_output(call, 1);
    FN(copy_rows)(y, call->in_data[0], cols, begin, end);
    for (int64_t i = begin; i < end; i++) {
        if (cosine) cosine[i] = 0;
        if (label[i] < 0) continue;
        REAL *target = &y[i * cols + label[i]];
        const REAL c = (REAL)(*target / attr->scale);
        if (cosine) cosine[i] = c;
        *target = (REAL)(attr->scale * arc_of(attr, c, margins ? margins[i] : attr->margin).y);
    }
}

static void FN(target_margin_bwd_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_target_margin_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1], *label = call->in_data[1];
    const REAL *margins = call->in_data[2], *cosine = call->in_data[3];
    REAL *dx = call->out_data[0], *dm = clvi_ref_output(call, 1);
    FN(copy_rows)(dx, call->in_data[0], cols, begin, end);
    for (int64_t i = begin; i < end; i++) {
        if (dm) dm[i] = 0;
        if (label[i] < 0) continue;
        REAL *target = &dx[i * cols + label[i]];
        const arc a = arc_of(attr, cosine[i], margins ? margins[i] : attr->margin);
        if (dm) dm[i] = (REAL)(attr->scale * *target * a.dm);
        *target = (REAL)(*target * a.dc);
    }
}

#endif
