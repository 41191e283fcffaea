/* device.h: what computation can run on. */
#ifndef CLEAVE_DEVICE_H
#define CLEAVE_DEVICE_H

#include <cleave/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clv_device_info {
    char name[32];           /* "cpu", "cuda:0" */
    bool available;
    char description[256];   /* processor and libraries, or why it is not available */
} clv_device_info;

/* Device `index`, the default first; false past the end. Thread-safe. */
CLV_API bool clv_device_at(clv_context *ctx, int index, clv_device_info *out);

/* What graphs, parameter sets and losses made with the context from now on compute on: "cpu" (the default), "cuda" or
 * "cuda:N". Call it before anything else is made with the context, and once. Views given to them stay in host memory:
 * copies are made at the borders. Errors: CLV_ERR_INVALID for a name nobody knows or a second call;
 * CLV_ERR_UNSUPPORTED, with the reason, for a device that is not there; CLV_ERR_DEVICE. */
CLV_API clv_status clv_context_use(clv_context *ctx, const char *device) CLV_NODISCARD;

/* Whether graphs made with the context from now on measure, for each convolution, the plans that cuDNN offers, and take
 * the fastest, instead of the one that cuDNN ranks first (what PyTorch calls cudnn.benchmark). Choices are kept on disk
 * and made once (docs/training.md, Device). Off unless asked for. Errors: CLV_ERR_INVALID; CLV_ERR_UNSUPPORTED where
 * the context's device has no plans to choose from, as the host. Call it while nothing computes with the context. */
CLV_API clv_status clv_context_benchmark(clv_context *ctx, bool on) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
