/* block_mask.cu: squares of zeros in maps of a sample's scale: the host's, bit for bit. A thread draws a map. */
#include "core/rng_inline.h"
#include "device/cuda/cu.h"

template <class T> static clv_status block_mask_of(const clvi_op_call *call)
{
    const clvi_block_mask_attr a = *(const clvi_block_mask_attr *)call->attr;
    T *count = (T *)call->in_data[0], *y = (T *)call->out_data[0];
    const int64_t channels = a.shape[1], h = a.shape[2], w = a.shape[3], size = channels * h * w;
    CLV_TRY(clvi_cu_each(call, a.shape[0] * channels, [=] __device__ (int64_t at) {
        const double run = (double)*count, gamma = clvi_block_mask_gamma(&a, run);
        T *map = y + at * h * w;
        const uint64_t first = a.path.first + (a.path.piece ? (uint64_t)(*a.path.piece * a.shape[0]) : 0);
        clvi_rng rng = clvi_rng_inline_make(a.path.seed, CLVI_RNG_DROP_PATH, (uint32_t)run,
                                            first + (uint64_t)(at / channels),
                                            clvi_block_mask_stream(&a, at % channels));
        for (int64_t i = 0; i < h * w; i++) map[i] = 1;
        for (int64_t i = 0; i + a.block <= h; i++)
            for (int64_t j = 0; j + a.block <= w; j++) {
                if (!(clvi_rng_inline_f64(&rng) < gamma)) continue;
                for (int64_t k = 0; k < a.block * a.block; k++) map[(i + k / a.block) * w + j + k % a.block] = 0;
            }
    }));
    CLV_TRY(clvi_cu_each(call, 1, [=] __device__ (int64_t) { *count += 1; }));
    return clvi_cu_rows(call, a.shape[0], [=] __device__ (int64_t n) {
        T *sample = y + n * size;
        double left = 0;
        for (int64_t i = threadIdx.x; i < size; i += CLVI_CU_THREADS) left += (double)sample[i];
        left = clvi_cu_block_sum(left);
        for (int64_t i = threadIdx.x; i < size; i += CLVI_CU_THREADS)
            sample[i] = sample[i] > 0 ? (T)((double)size / left) : T(0);
    });
}

static clv_status block_mask(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], block_mask_of, call); }
CLVI_CU_KERNEL(block_mask);
