/* cuda.h: the inside of a CUDA device, for the C files of this folder: its stream and the one of copies beside it,
 * the libraries' handles, and errors as statuses. Headers of CUDA, cuDNN and cuBLAS are included in this folder
 * only. */
#ifndef CLVI_DEVICE_CUDA_CUDA_H
#define CLVI_DEVICE_CUDA_CUDA_H

#include "device/attr.h"
#include "device/backend.h"
#include "device/cuda/dnn.h"
#include "device/cuda/fault.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

/* Bytes of the region that cuDNN and cuBLASLt share; calls on one stream run one after another. */
#define CLVI_CUDA_WORKSPACE ((size_t)256 << 20)

typedef struct clvi_cuda_device {
    clvi_device      base;
    cudaStream_t     stream, copies;
    cudaEvent_t      copied[CLVI_SLOTS], left[CLVI_SLOTS];
    clvi_cuda_fault *fault;          /* device memory */
    void            *workspace;      /* made when first asked for */
    cublasLtHandle_t blas;
    cudnnHandle_t    dnn;
    cudnnBackendDescriptor_t properties;   /* the device as cuDNN's plans want it named */
    clvi_dnn_timer   timer;
} clvi_cuda_device;

static inline clvi_cuda_device *clvi_cuda_of(const clv_context *ctx)
{
    return (clvi_cuda_device *)ctx->device;
}

/* CLV_OK, or CLV_ERR_DEVICE (CLV_ERR_NOMEM for want of memory) with the library's own words after `what`. */
clv_status clvi_cuda_status(cudaError_t error, const char *what) CLV_NODISCARD;
clv_status clvi_blas_status(cublasStatus_t error, const char *what) CLV_NODISCARD;

#define CLVI_CU(call)  CLV_TRY(clvi_cuda_status((call), #call))
#define CLVI_LT(call)  CLV_TRY(clvi_blas_status((call), #call))

/* For the kernel files: their stream, and what became of a launch. */
cudaStream_t clvi_cuda_stream(clv_context *ctx);
clv_status clvi_cuda_launched(const char *op, cudaError_t error) CLV_NODISCARD;

/* What measures plans, where that is wanted; else NULL. */
const clvi_dnn_timer *clvi_cuda_timer(clvi_cuda_device *device);

/* The device's workspace, CLVI_CUDA_WORKSPACE bytes. NULL with the message set. */
void *clvi_cuda_workspace(clvi_cuda_device *device);

#endif
