/* augment.h: the augmentation of CUDA devices and of their emulator. */
#ifndef CLVI_DEVICE_CUDA_AUGMENT_H
#define CLVI_DEVICE_CUDA_AUGMENT_H

#ifdef __cplusplus
#define _Alignas alignas
extern "C" {
#endif

#include "device/backend.h"

/* As clvi_backend has it. */
clv_status clvi_cuda_augment(clvi_device *device, const clvi_pixel_batch *batch) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
