/* drop_path.cu: y_n = keep_n x_n with keep_n = 0 where the number drawn for row n is below the rate, else 1/(1 - rate):
 * the host's numbers, bit for bit. */
#include "core/rng_inline.h"
#include "device/cuda/cu.h"

template <class T> static clv_status drop_path_of(const clvi_op_call *call)
{
    const clvi_drop_path_attr attr = *(const clvi_drop_path_attr *)call->attr;
    const T *x = (const T *)call->in_data[0];
    T *count = (T *)call->in_data[1], *y = (T *)call->out_data[0], *keep = (T *)call->out_data[1];
    const int64_t rows = call->in[0].shape[0], cols = call->in[0].shape[1];
    CLV_TRY(clvi_cu_each(call, rows, [=] __device__ (int64_t n) {
        const uint64_t first = attr.first + (attr.piece ? (uint64_t)(*attr.piece * rows) : 0);
        clvi_rng rng = clvi_rng_inline_make(attr.seed, CLVI_RNG_DROP_PATH, (uint32_t)*count, first + (uint64_t)n,
                                             attr.stream);
        keep[n] = clvi_rng_inline_f64(&rng) < attr.rate ? T(0) : (T)(1 / (1 - attr.rate));
    }));
    CLV_TRY(clvi_cu_each(call, 1, [=] __device__ (int64_t) { *count += 1; }));
    return clvi_cu_each(call, clvi_desc_count(&call->in[0]), [=] __device__ (int64_t i) {
        const T kept = keep[i / cols];
        y[i] = kept == 0 ? T(0) : kept * x[i];
    });
}

static clv_status drop_path(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], drop_path_of, call); }
CLVI_CU_KERNEL_IN_PLACE(drop_path, 0);
