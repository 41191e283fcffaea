/* arch.h: the devices that kernels compiled for an architecture run on. */
#ifndef CLVI_DEVICE_CUDA_ARCH_H
#define CLVI_DEVICE_CUDA_ARCH_H

#include <stdbool.h>

/* built: CUDA_ARCH of the build, 90. Machine code runs on the same major version, from its minor version on (CUDA C++
 * Programming Guide, "Binary Compatibility"). */
static inline bool clvi_cuda_arch_runs_on(int built, int major, int minor)
{
    return built / 10 == major && built % 10 <= minor;
}

#endif
