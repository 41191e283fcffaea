/* ref_drop_path.c: y_n = keep_n x_n with keep_n = 0 where the number drawn for row n is below the rate, else
 * 1/(1 - rate). */
#ifndef REAL

#include "core/rng.h"
#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_drop_path.c"
#include "device/cpu/real.h"

static clv_status drop_path(const clvi_op_call *call)
{
    const int64_t rows = CLVI_MAX(4, CLVI_REF_CHUNK / CLVI_MAX(call->in[0].shape[1], 1));
    CLVI_REF_LOOP(call, call->in[0].shape[0], rows, drop_path_range);
    if (call->in[1].dtype == CLV_F64) *(double *)call->in_data[1] += 1;
    else *(float *)call->in_data[1] += 1;
    return CLV_OK;
}

const clvi_kernel clvi_kernel_ref_drop_path = {
    .op = "drop_path", .name = "reference", .run = drop_path, .in_place = { 1 },
};

#else

static void FN(drop_path_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_drop_path_attr *attr = call->attr;
    const int64_t cols = call->in[0].shape[1];
    const uint32_t run = (uint32_t)*(const REAL *)call->in_data[1];
    for (int64_t n = begin; n < end; n++) {
        clvi_rng rng = clvi_rng_make(attr->seed, CLVI_RNG_DROP_PATH, run, attr->first + (uint64_t)n,
                                     attr->stream);
        const REAL keep = clvi_rng_f64(&rng) < attr->rate ? 0 : (REAL)(1 / (1 - attr->rate));
        const REAL *x = (const REAL *)call->in_data[0] + n * cols;
        REAL *y = (REAL *)call->out_data[0] + n * cols;
        ((REAL *)call->out_data[1])[n] = keep;
        for (int64_t j = 0; j < cols; j++) y[j] = keep == 0 ? 0 : keep * x[j];
    }
}

#endif
