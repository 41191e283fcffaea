/* widen.cu: bfloat16 results of libraries as float32. */
#include "device/cuda/cu.h"

extern "C" clv_status clvi_cuda_widen(const clvi_op_call *call, int64_t n, const void *from, void *to);

extern "C" clv_status clvi_cuda_widen(const clvi_op_call *call, int64_t n, const void *from, void *to)
{
    const clvi_cu_half *x = (const clvi_cu_half *)from;
    float *y = (float *)to;
    return clvi_cu_each(call, n, [=] __device__ (int64_t i) { y[i] = x[i]; });
}
