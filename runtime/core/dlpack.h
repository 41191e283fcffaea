/* dlpack.h: the structs of DLPack 1.x, an open standard for passing tensors between libraries. Layout and names of the
 * types are the standard's, so that a receiver compiled with its own dlpack/dlpack.h reads them. */
#ifndef CLVI_CORE_DLPACK_H
#define CLVI_CORE_DLPACK_H

#include <stddef.h>
#include <stdint.h>

enum { CLVI_DL_CPU = 1 };
enum { CLVI_DL_INT = 0, CLVI_DL_UINT = 1, CLVI_DL_FLOAT = 2, CLVI_DL_BFLOAT = 4 };
enum { CLVI_DL_MAJOR = 1, CLVI_DL_MINOR = 0 };
#define CLVI_DL_READ_ONLY UINT64_C(1)

typedef struct DLDevice {
    int32_t device_type;
    int32_t device_id;
} DLDevice;

typedef struct DLDataType {
    uint8_t  code;
    uint8_t  bits;
    uint16_t lanes;
} DLDataType;

typedef struct DLTensor {
    void      *data;
    DLDevice   device;
    int32_t    ndim;
    DLDataType dtype;
    int64_t   *shape;
    int64_t   *strides;       /* in elements; NULL: row-major */
    uint64_t   byte_offset;
} DLTensor;

typedef struct DLManagedTensor {
    DLTensor dl_tensor;
    void    *manager_ctx;
    void   (*deleter)(struct DLManagedTensor *self);
} DLManagedTensor;

typedef struct DLPackVersion {
    uint32_t major;           /* a receiver that does not know it may only call the deleter */
    uint32_t minor;
} DLPackVersion;

typedef struct DLManagedTensorVersioned {
    DLPackVersion version;
    void         *manager_ctx;
    void        (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t      flags;
    DLTensor      dl_tensor;
} DLManagedTensorVersioned;

#endif
