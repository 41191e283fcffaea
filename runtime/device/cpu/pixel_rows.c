/* pixel_rows.c: pixel_rows and row_pixels of pictures with the channels innermost, which are rows already: a copy. */
#include "core/checked.h"
#include "core/parallel.h"
#include "device/device.h"
#include <string.h>

#define CHUNK (64 << 10)

static void copy_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    memcpy((char *)call->out_data[0] + begin, (const char *)call->in_data[0] + begin, (size_t)(end - begin));
}

static clv_status copy(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, (int64_t)call->out[0].bytes, CHUNK, copy_range, (void *)call);
    return CLV_OK;
}

static clv_status rows_prepare(clvi_op_call *call)
{
    clvi_desc_make_nhwc(&call->in[0]);
    clvi_desc_make_dense(&call->out[0]);
    return CLV_OK;
}

static clv_status pixels_prepare(clvi_op_call *call)
{
    clvi_desc_make_dense(&call->in[0]);
    clvi_desc_make_nhwc(&call->out[0]);
    return CLV_OK;
}

const clvi_kernel clvi_kernel_cpu_pixel_rows = {
    .op = "pixel_rows", .name = "cpu", .prepare = rows_prepare, .run = copy,
};
const clvi_kernel clvi_kernel_cpu_row_pixels = {
    .op = "row_pixels", .name = "cpu", .prepare = pixels_prepare, .run = copy,
};
