/* ref_constant.c: fill, iota: values that come from nothing. */
#include "device/cpu/ref.h"

static clv_status fill(const clvi_op_call *call)
{
    const double value = ((const clvi_shape_attr *)call->attr)->value;
    const clvi_desc *y = &call->out[0];
    void *data = call->out_data[0];
    for (int64_t i = 0; i < clvi_desc_count(y); i++) {
        if (y->dtype == CLV_F32) ((float *)data)[i] = (float)value;
        else if (y->dtype == CLV_F64) ((double *)data)[i] = value;
        else if (y->dtype == CLV_I64) ((int64_t *)data)[i] = (int64_t)value;
        else ((unsigned char *)data)[i] = (unsigned char)value;
    }
    return CLV_OK;
}

static bool fill_accepts(const clvi_op_call *call)
{
    const clv_dtype type = call->out[0].dtype;
    return type == CLV_F32 || type == CLV_F64 || type == CLV_I64 || type == CLV_U8;
}
const clvi_kernel clvi_kernel_ref_fill = {
    .op = "fill", .name = "reference", .accepts = fill_accepts, .run = fill,
};

static clv_status iota(const clvi_op_call *call)
{
    const clvi_iota_attr *attr = call->attr;
    void *data = call->out_data[0];
    for (int64_t i = 0; i < attr->length; i++) {
        const int64_t value = attr->first + i * attr->step;
        if (call->out[0].dtype == CLV_I64) ((int64_t *)data)[i] = value;
        else ((unsigned char *)data)[i] = (unsigned char)value;
    }
    return CLV_OK;
}
CLVI_REF_KERNEL(iota);
