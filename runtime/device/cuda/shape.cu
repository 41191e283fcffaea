/* shape.cu: operations that only move or make elements, of any type: concat, slice, reorder, transpose, pixel_rows,
 * fill, iota, widen; and x + x^T. */
#include "device/cuda/cu.h"

/* Calls fn<T> with an unsigned type as wide as the elements. */
#define BY_WIDTH(desc, fn, ...)                                                                                        \
    (clv_dtype_size((desc).dtype) == 8   ? fn<uint64_t>(__VA_ARGS__)                                                   \
     : clv_dtype_size((desc).dtype) == 4 ? fn<uint32_t>(__VA_ARGS__)                                                   \
     : clv_dtype_size((desc).dtype) == 2 ? fn<uint16_t>(__VA_ARGS__)                                                   \
                                         : fn<uint8_t>(__VA_ARGS__))

static bool any_type(const clvi_op_call *) { return true; }

/* ---- runs of memory ---- */

/* `outer` runs of `length` elements, from one stride to another. */
template <class T> static clv_status copy_runs(const clvi_op_call *call, const T *from, int64_t from_step, T *to,
                                               int64_t to_step, int64_t outer, int64_t length)
{
    if (length == 0) return CLV_OK;
    return clvi_cu_each(call, outer * length, [=] __device__ (int64_t i) {
        to[i / length * to_step + i % length] = from[i / length * from_step + i % length];
    });
}

template <class T> static clv_status concat_of(const clvi_op_call *call)
{
    const int axis = ((const clvi_concat_attr *)call->attr)->axis;
    const int64_t outer = clvi_desc_extent(&call->out[0], 0, axis);
    const int64_t step = clvi_desc_extent(&call->out[0], axis, call->out[0].ndim);
    T *to = (T *)call->out_data[0];
    for (int k = 0; k < call->n_in; k++) {
        const int64_t run = clvi_desc_extent(&call->in[k], axis, call->in[k].ndim);
        CLV_TRY(copy_runs(call, (const T *)call->in_data[k], run, to, step, outer, run));
        to += run;
    }
    return CLV_OK;
}

static clv_status concat(const clvi_op_call *call) { return BY_WIDTH(call->out[0], concat_of, call); }
CLVI_CU_KERNEL_WITH(concat, any_type, nullptr);

template <class T> static clv_status slice_of(const clvi_op_call *call)
{
    const clvi_slice_attr *attr = (const clvi_slice_attr *)call->attr;
    const clvi_desc *x = &call->in[0], *y = &call->out[0];
    const T *from = (const T *)call->in_data[0] + attr->begin * clvi_desc_extent(x, attr->axis + 1, x->ndim);
    return copy_runs(call, from, clvi_desc_extent(x, attr->axis, x->ndim), (T *)call->out_data[0],
                     clvi_desc_extent(y, attr->axis, y->ndim),
                     clvi_desc_extent(x, 0, attr->axis), clvi_desc_extent(y, attr->axis, y->ndim));
}

static clv_status slice(const clvi_op_call *call) { return BY_WIDTH(call->out[0], slice_of, call); }
CLVI_CU_KERNEL_WITH(slice, any_type, nullptr);

/* dy inside the slice, 0 outside. */
template <class T> static clv_status slice_bwd_of(const clvi_op_call *call)
{
    const clvi_slice_attr *attr = (const clvi_slice_attr *)call->attr;
    const clvi_desc *dx = &call->out[0];
    const int64_t inner = clvi_desc_extent(dx, attr->axis + 1, dx->ndim);
    const int64_t step = clvi_desc_extent(dx, attr->axis, dx->ndim);
    const int64_t before = attr->begin * inner, run = attr->length * inner;
    const T *from = (const T *)call->in_data[0];
    T *to = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(dx), [=] __device__ (int64_t i) {
        const int64_t at = i % step - before;
        to[i] = at >= 0 && at < run ? from[i / step * run + at] : T(0);
    });
}

static clv_status slice_bwd(const clvi_op_call *call) { return BY_WIDTH(call->out[0], slice_bwd_of, call); }
CLVI_CU_KERNEL_WITH(slice_bwd, any_type, nullptr);

/* ---- other orders ---- */

struct strides { int ndim; int64_t shape[CLV_MAX_DIMS], from[CLV_MAX_DIMS], to[CLV_MAX_DIMS]; };

/* Of one layout, which has no gaps: memory as it comes. */
template <class T, class R> static clv_status convert(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    R *y = (R *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->in[0]), [=] __device__ (int64_t i) { y[i] = (R)x[i]; });
}

template <class T, class R> static clv_status reorder_to(const clvi_op_call *call)
{
    strides s;
    clvi_desc like = call->in[0];
    like.dtype = call->out[0].dtype;
    if (clvi_desc_same_layout(&like, &call->out[0]) &&
        call->out[0].bytes == (size_t)clvi_desc_count(&like) * clv_dtype_size(like.dtype))
        return convert<T, R>(call);
    s.ndim = call->in[0].ndim;
    for (int d = 0; d < s.ndim; d++)
        s.shape[d] = call->in[0].shape[d], s.from[d] = call->in[0].stride[d], s.to[d] = call->out[0].stride[d];
    const T *x = (const T *)call->in_data[0];
    R *y = (R *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->in[0]), [=] __device__ (int64_t i) {
        int64_t from = 0, to = 0, rest = i;
        for (int d = s.ndim - 1; d >= 0; d--) {
            const int64_t at = rest % s.shape[d];
            rest /= s.shape[d];
            from += at * s.from[d];
            to += at * s.to[d];
        }
        y[to] = (R)x[from];
    });
}

template <class T> static clv_status reorder_of(const clvi_op_call *call) { return reorder_to<T, T>(call); }

/* Between the types of mixed precision, too. */
static bool reorder_accepts(const clvi_op_call *call)
{
    const clvi_desc *x = &call->in[0], *y = &call->out[0];
    const bool narrows = x->dtype == CLV_F32 && y->dtype == CLV_BF16, widens = x->dtype == CLV_BF16 && y->dtype == CLV_F32;
    return (x->dtype == y->dtype || narrows || widens) && x->layout == CLVI_LAYOUT_STRIDED && y->layout == CLVI_LAYOUT_STRIDED;
}

/* The layouts are the point of the operation: they stay as they are. */
static clv_status reorder_prepare(clvi_op_call *) { return CLV_OK; }

static clv_status reorder(const clvi_op_call *call)
{
    if (call->in[0].dtype == call->out[0].dtype) return BY_WIDTH(call->in[0], reorder_of, call);
    return call->in[0].dtype == CLV_BF16 ? reorder_to<clvi_cu_half, float>(call) : reorder_to<float, clvi_cu_half>(call);
}
CLVI_CU_KERNEL_WITH(reorder, reorder_accepts, reorder_prepare);

/* y[j][i] = x[i][j], an entry being a block of `inner` elements. */
template <class T>
static clv_status swap_axes(const clvi_op_call *call, int64_t outer, int64_t rows, int64_t cols, int64_t inner)
{
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    return clvi_cu_each(call, outer * rows * cols * inner, [=] __device__ (int64_t i) {
        const int64_t in = i % inner, row = i / inner % rows;
        const int64_t col = i / (inner * rows) % cols, n = i / (inner * rows * cols);
        y[i] = x[((n * rows + row) * cols + col) * inner + in];
    });
}

static clv_status transpose(const clvi_op_call *call)
{
    const clvi_desc *x = &call->in[0];
    return BY_WIDTH(*x, swap_axes, call, 1, x->shape[0], x->shape[1], clvi_desc_extent(x, 2, x->ndim));
}
CLVI_CU_KERNEL_WITH(transpose, any_type, nullptr);

/* [N,C,H,W] to rows [N H W, C], and back. */
static clv_status pixel_rows(const clvi_op_call *call)
{
    const int64_t *s = call->in[0].shape;
    return BY_WIDTH(call->in[0], swap_axes, call, s[0], s[1], s[2] * s[3], 1);
}
CLVI_CU_KERNEL(pixel_rows);

static clv_status row_pixels(const clvi_op_call *call)
{
    const int64_t *s = call->out[0].shape;
    return BY_WIDTH(call->out[0], swap_axes, call, s[0], s[2] * s[3], s[1], 1);
}
CLVI_CU_KERNEL(row_pixels);

template <class T> static clv_status add_transpose_of(const clvi_op_call *call)
{
    const T *x = (const T *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    const int64_t n = call->in[0].shape[0];
    return clvi_cu_each(call, n * n, [=] __device__ (int64_t i) { y[i] = x[i] + x[i % n * n + i / n]; });
}

static clv_status add_transpose(const clvi_op_call *call)
{
    return CLVI_CU_BY_TYPE(call->out[0], add_transpose_of, call);
}
CLVI_CU_KERNEL(add_transpose);

/* ---- constants and types ---- */

template <class T> static clv_status fill_with(const clvi_op_call *call, T value)
{
    T *y = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->out[0]), [=] __device__ (int64_t i) { y[i] = value; });
}

static clv_status fill(const clvi_op_call *call)
{
    const double value = ((const clvi_shape_attr *)call->attr)->value;
    switch (call->out[0].dtype) {
    case CLV_F32: return fill_with(call, (float)value);
    case CLV_F64: return fill_with(call, value);
    case CLV_I64: return fill_with(call, (int64_t)value);
    default: return fill_with(call, (unsigned char)value);
    }
}

static bool fill_accepts(const clvi_op_call *call)
{
    const clv_dtype type = call->out[0].dtype;
    return type == CLV_F32 || type == CLV_F64 || type == CLV_I64 || type == CLV_U8;
}
CLVI_CU_KERNEL_WITH(fill, fill_accepts, nullptr);

template <class T> static clv_status iota_of(const clvi_op_call *call)
{
    const clvi_iota_attr attr = *(const clvi_iota_attr *)call->attr;
    T *y = (T *)call->out_data[0];
    return clvi_cu_each(call, attr.length, [=] __device__ (int64_t i) { y[i] = (T)(attr.first + i * attr.step); });
}

static clv_status iota(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_I64 ? iota_of<int64_t>(call) : iota_of<unsigned char>(call);
}
CLVI_CU_KERNEL(iota);

template <class T> static clv_status widen_of(const clvi_op_call *call)
{
    const uint16_t *x = (const uint16_t *)call->in_data[0];
    T *y = (T *)call->out_data[0];
    return clvi_cu_each(call, clvi_desc_count(&call->in[0]),
                        [=] __device__ (int64_t i) { y[i] = (T)clvi_cu_from_bf16(x[i]); });
}

static bool widen_accepts(const clvi_op_call *call)
{
    return call->out[0].dtype == CLV_F32 || call->out[0].dtype == CLV_F64;
}

static clv_status widen(const clvi_op_call *call) { return CLVI_CU_BY_TYPE(call->out[0], widen_of, call); }
CLVI_CU_KERNEL_WITH(widen, widen_accepts, nullptr);
