/* labels.c: one_hot and mask_rows in float32: rows are cleared or copied whole. Edge cases as in ref_labels.c. */
#include "device/attr.h"
#include "device/cpu/isa.h"
#include "device/cpu/ref.h"

#define CHUNK 65536   /* elements of a thread's share */

static void one_hot_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t classes = call->out[0].shape[1], *labels = call->in_data[0];
    float *y = call->out_data[0];
    if (classes == 1) {
        for (int64_t i = begin; i < end; i++) y[i] = labels[i] > 0;
        return;
    }
    memset(y + begin * classes, 0, (size_t)((end - begin) * classes) * sizeof *y);
    for (int64_t i = begin; i < end; i++)
        if (labels[i] >= 0) y[i * classes + labels[i]] = 1;
}

/* A masked row is 0 whatever it was. */
static void mask_rows_body(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const unsigned char *mask = call->in_data[1];
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in_data[0] + i * cols;
        float *y = (float *)call->out_data[0] + i * cols;
        if (!mask[i]) memset(y, 0, (size_t)cols * sizeof *y);
        else if (x != y) memcpy(y, x, (size_t)cols * sizeof *y);
    }
}

static bool accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32;
}

static clv_status run(const clvi_op_call *call, clvi_range_fn body)
{
    const int64_t chunk = CHUNK / CLVI_MAX(call->out[0].shape[1], 1);
    clvi_parallel_for(call->ctx, call->out[0].shape[0], chunk, body, (void *)call);
    return CLV_OK;
}

static clv_status one_hot(const clvi_op_call *call)
{
    CLV_TRY(clvi_ref_check_labels(call));
    return run(call, one_hot_body);
}

static clv_status mask_rows(const clvi_op_call *call)
{
    return run(call, mask_rows_body);
}

const clvi_kernel clvi_kernel_cpu_one_hot = { .op = "one_hot", .name = "cpu", .accepts = accepts, .run = one_hot };
const clvi_kernel clvi_kernel_cpu_mask_rows = {
    .op = "mask_rows", .name = "cpu", .accepts = accepts, .run = mask_rows, .in_place = { 1 },
};
