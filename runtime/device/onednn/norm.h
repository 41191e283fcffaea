/* norm.h: what batch_norm.c and blocked_norm.c share. */
#ifndef CLVI_DEVICE_ONEDNN_NORM_H
#define CLVI_DEVICE_ONEDNN_NORM_H

#include "device/attr.h"
#include "device/onednn/onednn.h"

/* Statistics are made here; else they come as inputs 3 and 4. */
static inline bool clvi_norm_makes_statistics(const clvi_batch_norm_attr *attr)
{
    return attr->training && !attr->again;
}

/* After statistics were made: running = (1 - momentum) running + momentum * (mean over groups), the variance unbiased. */
void clvi_norm_update_running(const clvi_op_call *call);

#endif
