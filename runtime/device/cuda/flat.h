/* flat.h: the passes over flat arenas, and the others of a step, of CUDA devices and of their emulator. */
#ifndef CLVI_DEVICE_CUDA_FLAT_H
#define CLVI_DEVICE_CUDA_FLAT_H

#include "device/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const clvi_flat_passes clvi_cuda_flat_passes;
extern const clvi_step_passes clvi_cuda_step_passes;

#ifdef __cplusplus
}
#endif
#endif
