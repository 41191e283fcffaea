/* draw.cu: mochi_draw, beta_draw, permutation: the host's numbers, with its bits. */
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

template <class T>
clv_status clvi_cu_draw_beta(const clvi_op_call *call, const clvi_draw_attr &attr, const int64_t *given, int64_t first,
                             int64_t rows, T *to)
{
    const int64_t cols = attr.cols, pairs = (cols + 1) / 2;
    const float inverse_alpha = (float)(1 / attr.alpha);
    return clvi_cu_each(call, rows * pairs, [=] __device__ (int64_t at) {
        const int64_t row = at / pairs, c = at % pairs * 2;
        const int64_t step = clvi_cu_draw_step(attr, given);
        const clvi_rng stream = clvi_cu_draw_stream(attr, step, first + row, 0);
        float pair[2];
        clvi_rng_beta_pair(&stream, (uint32_t)(c / 2), inverse_alpha, pair);
        for (int64_t i = 0; i < 2 && c + i < cols; i++) {
            to[row * cols + c + i] = step < 0 ? (T)1 : (T)attr.offset + (T)pair[i];
        }
    });
}

template clv_status clvi_cu_draw_beta(const clvi_op_call *, const clvi_draw_attr &, const int64_t *, int64_t, int64_t,
                                      float *);
template clv_status clvi_cu_draw_beta(const clvi_op_call *, const clvi_draw_attr &, const int64_t *, int64_t, int64_t,
                                      double *);

template <class T> static clv_status beta_draw_of(const clvi_op_call *call)
{
    return clvi_cu_draw_beta(call, *(const clvi_draw_attr *)call->attr, (const int64_t *)call->in_data[0], 0,
                             call->out[0].shape[0], (T *)call->out_data[0]);
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
