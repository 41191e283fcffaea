/* fault.h: what a kernel found wrong with its data. A kernel cannot fail; it leaves a note that the next wait finds. */
#ifndef CLVI_DEVICE_CUDA_FAULT_H
#define CLVI_DEVICE_CUDA_FAULT_H

#include "device/backend.h"

/* Each has its message in fault.c. */
typedef enum clvi_cuda_fault_kind {
    CLVI_FAULT_NONE,
    CLVI_FAULT_XENT_TARGET,      /* row, target, columns */
    CLVI_FAULT_ONE_HOT_LABEL,    /* row, label, classes */
    CLVI_FAULT_PICK_INDEX,       /* row, index, columns */
    CLVI_FAULT_PUT_INDEX,        /* row, index, columns */
    CLVI_FAULT_GATHER_INDEX,     /* row, index, rows of the table */
    CLVI_FAULT_MARGIN_LABEL,     /* row, label, columns */
    CLVI_FAULT_COUNT
} clvi_cuda_fault_kind;

typedef struct clvi_cuda_fault {
    int     kind;
    int64_t value[3];
} clvi_cuda_fault;

/* Device memory of the first fault since the last wait. */
clvi_cuda_fault *clvi_cuda_fault_of(clvi_device *device);
/* The fault as a status with its message. */
clv_status clvi_cuda_fault_status(const clvi_cuda_fault *fault);

#endif
