/* conv2d.h: a plan of cuDNN and how it is run. */
#ifndef CLVI_DEVICE_CUDA_CONV2D_H
#define CLVI_DEVICE_CUDA_CONV2D_H

#include "device/cuda/cuda.h"

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

#endif
