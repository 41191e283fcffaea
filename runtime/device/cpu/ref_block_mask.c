/* ref_block_mask.c: squares of zeros in maps of a sample's scale, its elements over those that are left. A square begins
 * where it fits with the probability gamma; each map draws for its places in row-major order. */
#ifndef REAL

#include "core/rng.h"
#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_block_mask.c"
#include "device/cpu/real.h"

static clv_status block_mask(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[0].shape[0], 1, block_mask_range);
    if (call->in[0].dtype == CLV_F64) *(double *)call->in_data[0] += 1;
    else *(float *)call->in_data[0] += 1;
    return CLV_OK;
}
CLVI_REF_KERNEL(block_mask);

#else

static void FN(draw_map)(const clvi_block_mask_attr *a, REAL *map, double gamma, clvi_rng *rng)
{
    const int64_t h = a->shape[2], w = a->shape[3];
    for (int64_t i = 0; i < h * w; i++) map[i] = 1;
    for (int64_t i = 0; i + a->block <= h; i++)
        for (int64_t j = 0; j + a->block <= w; j++) {
            if (!(clvi_rng_f64(rng) < gamma)) continue;
            for (int64_t k = 0; k < a->block * a->block; k++) map[(i + k / a->block) * w + j + k % a->block] = 0;
        }
}

static void FN(block_mask_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_block_mask_attr *a = call->attr;
    const double run = (double)*(const REAL *)call->in_data[0], gamma = clvi_block_mask_gamma(a, run);
    const int64_t pixels = a->shape[2] * a->shape[3], size = a->shape[1] * pixels;
    for (int64_t n = begin; n < end; n++) {
        REAL *y = (REAL *)call->out_data[0] + n * size;
        double left = 0;
        for (int64_t c = 0; c < a->shape[1]; c++) {
            clvi_rng rng = clvi_rng_make(a->path.seed, CLVI_RNG_DROP_PATH, (uint32_t)run, a->path.first + (uint64_t)n,
                                         clvi_block_mask_stream(a, c));
            FN(draw_map)(a, y + c * pixels, gamma, &rng);
        }
        for (int64_t i = 0; i < size; i++) left += y[i];
        for (int64_t i = 0; i < size; i++) y[i] = y[i] > 0 ? (REAL)((double)size / left) : 0;
    }
}

#endif
