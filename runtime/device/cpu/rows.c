/* rows.c: add_row, scale_rows, row_dot, batched_row_dot and its gradients in float32, 16 columns at a time. Formulas as
 * in ref_rows.c. */
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"

CLVI_INLINE float dot(const float *a, const float *b, int64_t n)
{
    clvi_v16f va, vb, sum[2] = { { 0 }, { 0 } };
    int64_t j = 0;
    for (; j + 2 * CLVI_LANES <= n; j += 2 * CLVI_LANES)
        for (int k = 0; k < 2; k++) {
            memcpy(&va, a + j + k * CLVI_LANES, sizeof va);
            memcpy(&vb, b + j + k * CLVI_LANES, sizeof vb);
            sum[k] += va * vb;
        }
    for (; j < n; j += CLVI_LANES) {
        clvi_load16(&va, a, j, n, 0);
        clvi_load16(&vb, b, j, n, 0);
        sum[0] += va * vb;
    }
    clvi_v8d total = { 0 };
    clvi_add16(&total, &sum[0]);
    clvi_add16(&total, &sum[1]);
    return (float)clvi_total8(&total);
}

CLVI_INLINE void add_row_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const float *row = call->in_data[1];
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in_data[0] + i * cols;
        float *y = (float *)call->out_data[0] + i * cols;
#pragma GCC ivdep
        for (int64_t j = 0; j < cols; j++) y[j] = x[j] + row[j];
    }
}
CLVI_ISA_VARIANTS(add_row_body)

CLVI_INLINE void scale_rows_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in_data[0] + i * cols, s = ((const float *)call->in_data[1])[i];
        float *y = (float *)call->out_data[0] + i * cols;
#pragma GCC ivdep
        for (int64_t j = 0; j < cols; j++) y[j] = s * x[j];
    }
}
CLVI_ISA_VARIANTS(scale_rows_body)

CLVI_INLINE void row_dot_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const float *a = call->in_data[0], *b = call->in_data[1];
    float *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) y[i] = dot(a + i * cols, b + i * cols, cols);
}
CLVI_ISA_VARIANTS(row_dot_body)

CLVI_INLINE void batched_row_dot_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t per_row = call->in[1].shape[1], cols = call->in[1].shape[2];
    const float *a = call->in_data[0], *b = call->in_data[1];
    float *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t m = i * per_row; m < (i + 1) * per_row; m++) y[m] = dot(a + i * cols, b + m * cols, cols);
}
CLVI_ISA_VARIANTS(batched_row_dot_body)

CLVI_INLINE void batched_row_dot_bwd_a_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t per_row = call->in[1].shape[1], cols = call->in[1].shape[2];
    const float *dy = call->in_data[0];
    for (int64_t i = begin; i < end; i++) {
        float *da = (float *)call->out_data[0] + i * cols;
        memset(da, 0, (size_t)cols * sizeof *da);
        for (int64_t m = i * per_row; m < (i + 1) * per_row; m++) {
            const float *b = (const float *)call->in_data[1] + m * cols, s = dy[m];
#pragma GCC ivdep
            for (int64_t j = 0; j < cols; j++) da[j] += s * b[j];
        }
    }
}
CLVI_ISA_VARIANTS(batched_row_dot_bwd_a_body)

CLVI_INLINE void batched_row_dot_bwd_b_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t per_row = call->in[0].shape[1], cols = call->in[1].shape[1];
    const float *dy = call->in_data[0];
    for (int64_t i = begin; i < end; i++) {
        const float *a = (const float *)call->in_data[1] + i * cols;
        for (int64_t m = i * per_row; m < (i + 1) * per_row; m++) {
            float *db = (float *)call->out_data[0] + m * cols;
            const float s = dy[m];
#pragma GCC ivdep
            for (int64_t j = 0; j < cols; j++) db[j] = s * a[j];
        }
    }
}
CLVI_ISA_VARIANTS(batched_row_dot_bwd_b_body)

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

#define PER_ROW(op_name, input, rows, ...)                                                                             \
    static clv_status op_name(const clvi_op_call *call)                                                                \
    {                                                                                                                  \
        clvi_parallel_for(call->ctx, call->in[input].shape[0], rows, clvi_isa_pick(op_name##_body_table),              \
                          (void *)call);                                                                               \
        return CLV_OK;                                                                                                 \
    }                                                                                                                  \
    const clvi_kernel clvi_kernel_cpu_##op_name = {                                                                    \
        .op = #op_name, .name = "cpu", .accepts = accepts, .run = op_name, .in_place = { __VA_ARGS__ },                \
    }

PER_ROW(add_row, 0, 16, 1);
PER_ROW(scale_rows, 0, 16, 1);
PER_ROW(row_dot, 0, 64, 0);
PER_ROW(batched_row_dot, 0, 1, 0);
PER_ROW(batched_row_dot_bwd_a, 0, 1, 0);
PER_ROW(batched_row_dot_bwd_b, 0, 1, 0);
