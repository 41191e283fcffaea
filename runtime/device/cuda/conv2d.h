/* conv2d.h: a plan of cuDNN and how it is run. */
#ifndef CLVI_DEVICE_CUDA_CONV2D_H
#define CLVI_DEVICE_CUDA_CONV2D_H

#include "device/cuda/cuda.h"
#include "device/cuda/passes.h"

enum { CLVI_CUDNN_MAX_ARGS = 6 };

/* The variant pack, cuDNN's list of addresses, is made anew only when an address changes. All zero is empty. */
typedef struct clvi_cudnn_exec {
    clvi_dnn_plan            plan;
    cudnnBackendDescriptor_t pack;
    void                    *address[CLVI_CUDNN_MAX_ARGS];
} clvi_cudnn_exec;

/* Runs it on `count` operands with these names (CLVI_DNN_..._NAME). */
clv_status clvi_cudnn_run(const clvi_op_call *call, clvi_cudnn_exec *exec, int count, const int64_t *names,
                          void *const *addresses) CLV_NODISCARD;
void clvi_cudnn_release(clvi_cudnn_exec *exec);

/* Bytes of a bfloat16 value [N,8,H,W], rounded up so that another can lie behind it. */
static inline size_t clvi_cudnn_padded(const clvi_desc *desc)
{
    const int64_t pixels = desc->shape[0] * desc->shape[2] * desc->shape[3];
    const size_t bytes = (size_t)pixels * CLVI_DNN_CHANNELS * sizeof(uint16_t);
    return (bytes + 255) & ~(size_t)255;
}

/* A bfloat16 value of fewer channels as such a one. */
static inline clv_status clvi_cudnn_pad(const clvi_op_call *call, const clvi_desc *desc, const void *from, void *to)
{
    return clvi_cuda_pad(call, desc->shape[0] * desc->shape[2] * desc->shape[3], desc->shape[1], from, to);
}

#endif
