/* ref_mask.c: iota, ids_differ and mask: what formulas need to say which entries count. Of any type. */
#include "device/cpu/ref.h"
#include <string.h>

static void iota_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const clvi_iota_attr *attr = call->attr;
    uint8_t *u8 = call->out_data[0];
    int64_t *i64 = call->out_data[0];
    for (int64_t i = begin; i < end; i++) {
        const int64_t value = attr->first + i * attr->step;
        if (call->out[0].dtype == CLV_U8) u8[i] = (uint8_t)value;
        else i64[i] = value;
    }
}

static clv_status iota(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->out[0].shape[0], CLVI_REF_CHUNK, iota_range, (void *)call);
    return CLV_OK;
}
CLVI_REF_KERNEL(iota);

/* y[i,j] = a[i] < 0 or a[i] != b[j]. */
static void ids_differ_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[1].shape[0], *a = call->in_data[0], *b = call->in_data[1];
    uint8_t *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < cols; j++) y[i * cols + j] = a[i] < 0 || a[i] != b[j];
}

static clv_status ids_differ(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[0], 16, ids_differ_range, (void *)call);
    return CLV_OK;
}
CLVI_REF_KERNEL(ids_differ);

/* y[i,j] = x[i,j] where mask[i,j] (or mask[j]) is not 0, else 0. */
static void mask_range(void *arg, int64_t begin, int64_t end)
{
    const clvi_op_call *call = arg;
    const int64_t cols = call->in[0].shape[1];
    const size_t item = clv_dtype_size(call->in[0].dtype);
    const char *x = call->in_data[0];
    char *y = call->out_data[0];
    for (int64_t i = begin; i < end; i++) {
        const uint8_t *keep = (const uint8_t *)call->in_data[1] + (call->in[1].ndim == 2 ? i * cols : 0);
        for (int64_t j = 0; j < cols; j++) {
            const size_t at = (size_t)(i * cols + j) * item;
            if (keep[j]) memcpy(y + at, x + at, item);
            else memset(y + at, 0, item);
        }
    }
}

static clv_status mask(const clvi_op_call *call)
{
    clvi_parallel_for(call->ctx, call->in[0].shape[0], 16, mask_range, (void *)call);
    return CLV_OK;
}
CLVI_REF_KERNEL(mask);
