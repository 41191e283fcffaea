/* pick.cu: one entry of each row (pick, put, target_margin and its gradient), and rows by index (gather_rows and its
 * gradient: rows of dy added up by index, in their order). An operation that changes one entry a row costs next to
 * nothing in place. */
#include "device/cuda/cu.h"

/* y = x, unless they are one. */
template <class T> static clv_status copy_all(const clvi_op_call *call, T *y, const T *x)
{
    if (y == x) return CLV_OK;
    return clvi_cu_each(call, clvi_desc_count(&call->in[0]), [=] __device__ (int64_t i) { y[i] = x[i]; });
}

/* ---- pick, put ---- */

template <class T> static clv_status pick_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    const int64_t *index = (const int64_t *)call->in_data[1], cols = call->in[0].shape[1];
    T *y = (T *)call->out_data[0];
    clvi_cuda_fault *fault = clvi_cu_fault(call);
    return clvi_cu_each(call, call->in[0].shape[0], [=] __device__ (int64_t i) {
        if (index[i] >= cols) clvi_cu_report(fault, CLVI_FAULT_PICK_INDEX, i, index[i], cols);
        y[i] = index[i] < 0 || index[i] >= cols ? T(0) : x[i * cols + index[i]];
    });
}

static clv_status pick(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], pick_of, call); }
CLVI_CU_KERNEL(pick);

template <class T> static clv_status put_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0], *value = (const T *)call->in_data[2];
    const int64_t *index = (const int64_t *)call->in_data[1], cols = call->in[0].shape[1];
    T *y = (T *)call->out_data[0];
    clvi_cuda_fault *fault = clvi_cu_fault(call);
    CLV_TRY(copy_all(call, y, x));
    return clvi_cu_each(call, call->in[0].shape[0], [=] __device__ (int64_t i) {
        if (index[i] >= cols) clvi_cu_report(fault, CLVI_FAULT_PUT_INDEX, i, index[i], cols);
        else if (index[i] >= 0) y[i * cols + index[i]] = value ? value[i] : T(0);
    });
}

static clv_status put(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], put_of, call); }
CLVI_CU_KERNEL_IN_PLACE(put, 0);

/* ---- gather_rows ---- */

template <class T> static clv_status gather_rows_of(const clvi_op_call *call)
{
    const T *table = (const T *)call->in_data[0];
    const int64_t *index = (const int64_t *)call->in_data[1];
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    T *y = (T *)call->out_data[0];
    clvi_cuda_fault *fault = clvi_cu_fault(call);
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t at) {
        const int64_t i = at / cols, row = index[i];
        if (row >= rows && at % cols == 0) clvi_cu_report(fault, CLVI_FAULT_GATHER_INDEX, i, row, rows);
        y[at] = row < 0 || row >= rows ? T(0) : table[row * cols + at % cols];
    });
}

static clv_status gather_rows(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], gather_rows_of, call); }
CLVI_CU_KERNEL(gather_rows);

/* A block for each row of the table; its threads are columns. */
template <class T> static clv_status gather_rows_bwd_of(const clvi_op_call *call)
{
    const T *dy = (const T *)call->in_data[0];
    const int64_t *index = (const int64_t *)call->in_data[1];
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    T *dtable = (T *)call->out_data[0];
    return clvi_cu_rows(call, call->out[0].shape[0], [=] __device__ (int64_t to) {
        for (int64_t j = threadIdx.x; j < cols; j += CLVI_CU_THREADS) {
            T sum = 0;
            for (int64_t i = 0; i < rows; i++)
                if (index[i] == to) sum += dy[i * cols + j];
            dtable[to * cols + j] = sum;
        }
    });
}

static clv_status gather_rows_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], gather_rows_bwd_of, call);
}
CLVI_CU_KERNEL(gather_rows_bwd);

/* ---- target_margin: the formulas are those of ref_target_margin.c ---- */

struct arc { double y, dc, dm; };

static __device__ arc arc_of(const clvi_target_margin_attr &attr, double c, double m)
{
    const double edge = 1 - attr.clamp;
    const bool clamped = attr.clamp > 0 && fabs(c) > edge;
    if (clamped) c = c > 0 ? edge : -edge;
    const double square = 1 - c * c, sine = square > 0 ? sqrt(square) : 0;
    arc a = { c * cos(m) - sine * sin(m), cos(m) + (sine > 0 ? c * sin(m) / sine : 0), -sine * cos(m) - c * sin(m) };
    if (attr.mode == CLVI_MARGIN_COSINE) a = arc{ c - m, 1, -1 };
    if (attr.mode == CLVI_MARGIN_EASY && c <= 0) a = arc{ c, 1, 0 };
    if (attr.mode == CLVI_MARGIN_FALLBACK && c <= -cos(m)) a = arc{ c - m * sin(m), 1, -sin(m) - m * cos(m) };
    if (clamped) a.dc = 0;
    return a;
}

template <class T> static clv_status target_margin_of(const clvi_op_call *call)
{
    const clvi_target_margin_attr attr = *(const clvi_target_margin_attr *)call->attr;
    const int64_t *label = (const int64_t *)call->in_data[1], cols = call->in[0].shape[1];
    const T *margins = (const T *)call->in_data[2];
    T *y = (T *)call->out_data[0], *cosine = clvi_cu_output<T>(call, 1);
    clvi_cuda_fault *fault = clvi_cu_fault(call);
    CLV_TRY(copy_all(call, y, (const T *)call->in_data[0]));
    return clvi_cu_each(call, call->in[0].shape[0], [=] __device__ (int64_t i) {
        if (cosine) cosine[i] = 0;
        if (label[i] >= cols) clvi_cu_report(fault, CLVI_FAULT_MARGIN_LABEL, i, label[i], cols);
        if (label[i] < 0 || label[i] >= cols) return;
        T *target = &y[i * cols + label[i]];
        const T c = (T)((double)*target / attr.scale);
        if (cosine) cosine[i] = c;
        *target = (T)(attr.scale * arc_of(attr, c, margins ? (double)margins[i] : attr.margin).y);
    });
}

static clv_status target_margin(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], target_margin_of, call);
}
CLVI_CU_KERNEL_IN_PLACE(target_margin, 0);

template <class T> static clv_status target_margin_bwd_of(const clvi_op_call *call)
{
    const clvi_target_margin_attr attr = *(const clvi_target_margin_attr *)call->attr;
    const int64_t *label = (const int64_t *)call->in_data[1], cols = call->in[0].shape[1];
    const T *margins = (const T *)call->in_data[2], *cosine = (const T *)call->in_data[3];
    T *dx = (T *)call->out_data[0], *dm = clvi_cu_output<T>(call, 1);
    CLV_TRY(copy_all(call, dx, (const T *)call->in_data[0]));
    return clvi_cu_each(call, call->in[0].shape[0], [=] __device__ (int64_t i) {
        if (dm) dm[i] = 0;
        if (label[i] < 0 || label[i] >= cols) return;
        T *target = &dx[i * cols + label[i]];
        const arc a = arc_of(attr, cosine[i], margins ? (double)margins[i] : attr.margin);
        if (dm) dm[i] = (T)(attr.scale * (double)*target * a.dm);
        *target = (T)((double)*target * a.dc);
    });
}

static clv_status target_margin_bwd(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], target_margin_bwd_of, call);
}
CLVI_CU_KERNEL_IN_PLACE(target_margin_bwd, 0);
