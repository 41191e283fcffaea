/* elementwise.cu: relu, add, sub, mul, div, scale, sqrt, abs, softplus, clamp and their gradients. A NaN goes through all
 * of them. */
#include "device/cuda/cu.h"

template <class T> static clv_status relu_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) { y[i] = x[i] < 0 ? T(0) : x[i]; });
}

static clv_status relu(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], relu_of, call); }
CLVI_CU_KERNEL_IN_PLACE(relu, 0);

/* The gradient at 0 is 0. */
template <class T> static clv_status relu_bwd_of(const clvi_op_call *call)
{
    const T *dy = (const T *)call->in_data[0], *y = (const T *)call->in_data[1];
    T *dx = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]),
                        [=] __device__ (int64_t i) { dx[i] = y[i] > 0 ? dy[i] : T(0); });
}

static clv_status relu_bwd(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], relu_bwd_of, call); }
CLVI_CU_KERNEL_IN_PLACE(relu_bwd, 0);
