/* view.h: a typed, strided window on memory somebody else owns, and its exchange through DLPack. */
#ifndef CLEAVE_VIEW_H
#define CLEAVE_VIEW_H

#include <cleave/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum clv_dtype { CLV_F32, CLV_F64, CLV_BF16, CLV_U8, CLV_I32, CLV_I64, CLV_DTYPE_COUNT } clv_dtype;

#define CLV_MAX_DIMS 6

/* A view owns nothing. data points at element [0,0,...]; strides count elements and may be any value, 0 included.
 * device is 0 for host memory. Images are [N,C,H,W] by shape whatever their order in memory: NHWC bytes are
 * the strides {H*W*C, 1, W*C, C}. */
typedef struct clv_view {
    void     *data;
    clv_dtype dtype;
    int32_t   device;
    int32_t   ndim;
    int64_t   shape[CLV_MAX_DIMS];
    int64_t   stride[CLV_MAX_DIMS];
} clv_view;

/* Bytes of one element, or 0 for an unknown type. */
CLV_API size_t clv_dtype_size(clv_dtype dtype);
/* "float32", "float64", "bfloat16", "uint8", "int32", "int64". Static storage. */
CLV_API const char *clv_dtype_name(clv_dtype dtype);

/* A row-major host view of `ndim` dimensions (at most CLV_MAX_DIMS). Never fails; checks come where it is used. */
CLV_API clv_view clv_view_dense(void *data, clv_dtype dtype, int ndim, const int64_t *shape);
CLV_API clv_view clv_view_1d(void *data, clv_dtype dtype, int64_t n);
CLV_API clv_view clv_view_2d(void *data, clv_dtype dtype, int64_t rows, int64_t cols);
/* [N,C,H,W] by shape over bytes in N,H,W,C order. */
CLV_API clv_view clv_view_nhwc(void *data, clv_dtype dtype, int64_t n, int64_t c, int64_t h, int64_t w);

/* Product of the shape; 1 for a scalar, -1 for a shape that is negative, overflows or has too many dimensions. */
CLV_API int64_t clv_view_count(const clv_view *view);
CLV_API bool clv_view_is_dense(const clv_view *view);

/* Copies between host views of equal shape; converts between float types, and between integer types when every
 * value fits. Errors: CLV_ERR_SHAPE, CLV_ERR_INVALID, CLV_ERR_NUMERIC (an integer does not fit; dst is partly
 * written). Overlap is not allowed. */
CLV_API clv_status clv_view_copy(const clv_view *dst, const clv_view *src) CLV_NODISCARD;

/* DLPack. The structs are those of dlpack/dlpack.h; only a pointer is needed here.
 *
 * clv_view_from_dlpack borrows: the tensor must outlive the view. Refused with CLV_ERR_UNSUPPORTED: devices other
 * than the CPU, more than CLV_MAX_DIMS dimensions, types cleave does not have, lanes other than 1.
 * clv_view_to_dlpack makes a tensor the receiver must release through its own deleter; `owner_release(owner)` is
 * called from there (NULL: nothing is). Errors: CLV_ERR_NOMEM, CLV_ERR_INVALID. Thread-safe. */
struct DLManagedTensor;
struct DLManagedTensorVersioned;
CLV_API clv_status clv_view_from_dlpack(const struct DLManagedTensor *tensor, clv_view *out) CLV_NODISCARD;
CLV_API clv_status clv_view_from_dlpack_versioned(const struct DLManagedTensorVersioned *tensor, bool *read_only,
                                                  clv_view *out) CLV_NODISCARD;
CLV_API clv_status clv_view_to_dlpack(const clv_view *view, void (*owner_release)(void *owner), void *owner,
                                      struct DLManagedTensor **out) CLV_NODISCARD;
CLV_API clv_status clv_view_to_dlpack_versioned(const clv_view *view, bool read_only,
                                                void (*owner_release)(void *owner), void *owner,
                                                struct DLManagedTensorVersioned **out) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
