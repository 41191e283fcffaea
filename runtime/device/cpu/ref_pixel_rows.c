/* ref_pixel_rows.c: pixel_rows, y[(n H + h) W + w][c] = x[n][c][h][w], and row_pixels, the way back. */
#ifndef REAL

#include "device/cpu/ref.h"

#define SELF "device/cpu/ref_pixel_rows.c"
#include "device/cpu/real.h"

static clv_status pixel_rows(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->in[0].shape[0], 1, pixel_rows_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(pixel_rows);

static clv_status row_pixels(const clvi_op_call *call)
{
    CLVI_REF_LOOP(call, call->out[0].shape[0], 1, row_pixels_range);
    return CLV_OK;
}
CLVI_REF_KERNEL(row_pixels);

#else

static void FN(pixel_rows_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t channels = call->in[0].shape[1], pixels = call->in[0].shape[2] * call->in[0].shape[3];
    for (int64_t n = begin; n < end; n++) {
        const REAL *x = (const REAL *)call->in_data[0] + n * channels * pixels;
        REAL *y = (REAL *)call->out_data[0] + n * channels * pixels;
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t c = 0; c < channels; c++) y[p * channels + c] = x[c * pixels + p];
    }
}

static void FN(row_pixels_range)(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t channels = call->out[0].shape[1], pixels = call->out[0].shape[2] * call->out[0].shape[3];
    for (int64_t n = begin; n < end; n++) {
        const REAL *x = (const REAL *)call->in_data[0] + n * channels * pixels;
        REAL *y = (REAL *)call->out_data[0] + n * channels * pixels;
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t c = 0; c < channels; c++) y[c * pixels + p] = x[p * channels + c];
    }
}

#endif
