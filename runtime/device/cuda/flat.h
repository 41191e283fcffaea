/* flat.h: the passes over flat arenas that a backend's table names. */
#ifndef CLVI_DEVICE_CUDA_FLAT_H
#define CLVI_DEVICE_CUDA_FLAT_H

#include "device/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

clv_status clvi_cuda_flat_sgd(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                              const clvi_flat_sgd_args *sgd, void *k, double m);
clv_status clvi_cuda_flat_mix(clvi_device *device, clv_dtype dtype, int64_t n, double a, const void *x, double b, void *y);
clv_status clvi_cuda_flat_measure(clvi_device *device, clv_dtype dtype, int64_t n, const void *x, double out[2]);

#ifdef __cplusplus
}
#endif
#endif
