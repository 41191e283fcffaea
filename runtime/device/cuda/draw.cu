/* draw.cu: mochi_draw, beta_draw, permutation: the host's numbers. Those made of integers have its bits; beta_draw's go
 * through log and pow, and are as near as those functions are. */
#include "device/cuda/draw.h"

template <class T> static clv_status mochi_draw_of(const clvi_op_call *call)
{
    const clvi_cu_mixes<T> to = { (int64_t *)call->out_data[0], (int64_t *)call->out_data[1], (T *)call->out_data[2],
                                  (int64_t *)call->out_data[3], (T *)call->out_data[4] };
    return clvi_cu_draw_mixes(call, *(const clvi_draw_attr *)call->attr, (const int64_t *)call->in_data[1],
                              (const int64_t *)call->in_data[0], call->in[0].shape[0], call->in[0].shape[1], to);
}

static clv_status mochi_draw(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[2], mochi_draw_of, call); }
CLVI_CU_KERNEL(mochi_draw);

template <class T> static clv_status beta_draw_of(const clvi_op_call *call)
{
    const clvi_draw_attr attr = *(const clvi_draw_attr *)call->attr;
    const int64_t *given = (const int64_t *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    return clvi_cu_each_long(call, call->out[0].shape[0], [=] __device__ (int64_t row) {
        clvi_cu_draw_beta_row(attr, clvi_cu_draw_step(attr, given), row, y + row * attr.cols);
    });
}

static clv_status beta_draw(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], beta_draw_of, call); }
CLVI_CU_KERNEL(beta_draw);

static clv_status permutation(const clvi_op_call *call)
{
    const clvi_draw_attr attr = *(const clvi_draw_attr *)call->attr;
    const int64_t *given = (const int64_t *)call->in_data[0];
    int64_t *y = (int64_t *)call->out_data[0];
    return clvi_cu_each(call, call->out[0].shape[0], [=] __device__ (int64_t i) {
        y[i] = clvi_cu_draw_permutation(attr, clvi_cu_draw_step(attr, given), i);
    });
}
CLVI_CU_KERNEL(permutation);
