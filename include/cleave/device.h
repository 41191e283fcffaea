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

#ifdef __cplusplus
}
#endif
#endif
