/* op_iota.c: first, first + step, first + 2 step, ...: targets and constants. Not differentiable. */
#include "tensor/op.h"

static clv_status infer(clvi_op_call *call)
{
    const clvi_iota_attr *attr = call->attr;
    CLV_CHECK(attr->dtype == CLV_I64 || attr->dtype == CLV_U8, CLV_ERR_SHAPE, "iota: type must be int64 or uint8, is %s",
              clv_dtype_name((clv_dtype)attr->dtype));
    CLV_CHECK(attr->length >= 0, CLV_ERR_SHAPE, "iota: length is %" PRId64, attr->length);
    clvi_op_out(call, (clv_dtype)attr->dtype, 1, &attr->length);
    return CLV_OK;
}

const clvi_op_class clvi_op_iota = {
    .name = "iota", .n_in = 0, .attr_size = sizeof(clvi_iota_attr), .infer = infer,
};

clv_node clv_iota(clv_graph *g, clv_dtype dtype, int64_t length, int64_t first, int64_t step)
{
    const clvi_iota_attr attr = { (int)dtype, length, first, step };
    return clvi_op(g, "iota", &attr, NULL, 0, NULL, 0);
}
