/* view.c: views, copies that convert, DLPack. */
#include <cleave/view.h>
#include "core/bf16.h"
#include "core/checked.h"
#include "core/dlpack.h"
#include "core/status.h"
#include <stdlib.h>
#include <string.h>

static const struct {
    size_t      size;
    const char *name;
    uint8_t     code;   /* DLPack's */
} dtypes[CLV_DTYPE_COUNT] = {
    [CLV_F32] = { 4, "float32", CLVI_DL_FLOAT },   [CLV_F64] = { 8, "float64", CLVI_DL_FLOAT },
    [CLV_BF16] = { 2, "bfloat16", CLVI_DL_BFLOAT }, [CLV_U8] = { 1, "uint8", CLVI_DL_UINT },
    [CLV_I32] = { 4, "int32", CLVI_DL_INT },       [CLV_I64] = { 8, "int64", CLVI_DL_INT },
};

static bool dtype_known(clv_dtype dtype)
{
    return (unsigned)dtype < CLV_DTYPE_COUNT;
}

static bool dtype_is_float(clv_dtype dtype)
{
    return dtype == CLV_F32 || dtype == CLV_F64 || dtype == CLV_BF16;
}

size_t clv_dtype_size(clv_dtype dtype)
{
    return dtype_known(dtype) ? dtypes[dtype].size : 0;
}

const char *clv_dtype_name(clv_dtype dtype)
{
    return dtype_known(dtype) ? dtypes[dtype].name : "unknown type";
}

/* ---- making and asking ---- */

clv_view clv_view_dense(void *data, clv_dtype dtype, int ndim, const int64_t *shape)
{
    clv_view v = { .data = data, .dtype = dtype, .ndim = ndim };
    uint64_t stride = 1;   /* unsigned: a shape whose product overflows is refused where the view is used */
    for (int i = CLVI_MIN(ndim, CLV_MAX_DIMS) - 1; i >= 0; i--) {
        v.shape[i] = shape[i];
        v.stride[i] = (int64_t)stride;
        stride *= (uint64_t)shape[i];
    }
    return v;
}

clv_view clv_view_1d(void *data, clv_dtype dtype, int64_t n)
{
    return clv_view_dense(data, dtype, 1, &n);
}

clv_view clv_view_2d(void *data, clv_dtype dtype, int64_t rows, int64_t cols)
{
    return clv_view_dense(data, dtype, 2, (const int64_t[]) { rows, cols });
}

clv_view clv_view_nhwc(void *data, clv_dtype dtype, int64_t n, int64_t c, int64_t h, int64_t w)
{
    const clv_view m = clv_view_dense(data, dtype, 4, (const int64_t[]) { n, h, w, c });
    return (clv_view) { .data = data, .dtype = dtype, .ndim = 4, .shape = { n, c, h, w },
                        .stride = { m.stride[0], m.stride[3], m.stride[1], m.stride[2] } };
}

int64_t clv_view_count(const clv_view *view)
{
    int64_t count = 1;
    bool empty = false;
    if (view->ndim < 0 || view->ndim > CLV_MAX_DIMS) return -1;
    for (int i = 0; i < view->ndim; i++) {
        if (view->shape[i] < 0) return -1;
        if (view->shape[i] == 0) empty = true;
        else if (!clvi_mul_i64(count, view->shape[i], &count)) return -1;
    }
    return empty ? 0 : count;
}

bool clv_view_is_dense(const clv_view *view)
{
    if (clv_view_count(view) < 0) return false;
    int64_t stride = 1;
    for (int i = view->ndim - 1; i >= 0; i--) {
        if (view->shape[i] == 1) continue;   /* its stride is never used */
        if (view->shape[i] == 0) return true;
        if (view->stride[i] != stride) return false;
        stride *= view->shape[i];
    }
    return true;
}

/* ---- copying ---- */

static double load_float(const char *p, clv_dtype dtype)
{
    double f64;
    float f32;
    if (dtype == CLV_F64) {
        memcpy(&f64, p, sizeof f64);
        return f64;
    }
    if (dtype == CLV_F32) {
        memcpy(&f32, p, sizeof f32);
        return (double)f32;
    }
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return (double)clvi_bf16_value(half);
}

static void store_float(char *p, clv_dtype dtype, double value)
{
    const float f32 = (float)value;
    const uint16_t bf16 = dtype == CLV_BF16 ? clvi_bf16_round(value) : 0;
    if (dtype == CLV_F64) memcpy(p, &value, sizeof value);
    else if (dtype == CLV_F32) memcpy(p, &f32, sizeof f32);
    else memcpy(p, &bf16, sizeof bf16);
}

static int64_t load_int(const char *p, clv_dtype dtype)
{
    int64_t i64;
    int32_t i32;
    if (dtype == CLV_U8) return *(const uint8_t *)p;
    if (dtype == CLV_I32) {
        memcpy(&i32, p, sizeof i32);
        return i32;
    }
    memcpy(&i64, p, sizeof i64);
    return i64;
}

static bool store_int(char *p, clv_dtype dtype, int64_t value)
{
    const int32_t i32 = (int32_t)value;
    if (dtype == CLV_U8) {
        *(uint8_t *)p = (uint8_t)value;
        return value >= 0 && value <= UINT8_MAX;
    }
    if (dtype == CLV_I32) {
        memcpy(p, &i32, sizeof i32);
        return i32 == value;
    }
    memcpy(p, &value, sizeof value);
    return true;
}

/* One line of elements along a dimension; the strides are in bytes. */
typedef struct copy_line {
    clv_dtype to, from;
    int64_t   n, to_step, from_step;
} copy_line;

static clv_status copy_one_line(const copy_line *l, char *dst, const char *src)
{
    const size_t size = dtypes[l->to].size;
    if (l->to == l->from && l->to_step == (int64_t)size && l->from_step == (int64_t)size) {
        memcpy(dst, src, (size_t)l->n * size);
        return CLV_OK;
    }
    for (int64_t i = 0; i < l->n; i++, dst += l->to_step, src += l->from_step) {
        if (l->to == l->from) {
            memcpy(dst, src, size);
        } else if (dtype_is_float(l->to)) {
            store_float(dst, l->to, load_float(src, l->from));
        } else {
            const int64_t value = load_int(src, l->from);
            CLV_CHECK(store_int(dst, l->to, value), CLV_ERR_NUMERIC, "clv_view_copy: %" PRId64 " does not fit into %s",
                      value, dtypes[l->to].name);
        }
    }
    return CLV_OK;
}

static clv_status copy_dims(const clv_view *d, const clv_view *s, int dim, char *dst, const char *src)
{
    const int64_t n = d->ndim ? d->shape[dim] : 1;
    const int64_t to_step = d->ndim ? d->stride[dim] * (int64_t)dtypes[d->dtype].size : 0;
    const int64_t from_step = d->ndim ? s->stride[dim] * (int64_t)dtypes[s->dtype].size : 0;
    if (dim + 1 >= d->ndim)
        return copy_one_line(&(copy_line) { d->dtype, s->dtype, n, to_step, from_step }, dst, src);
    for (int64_t i = 0; i < n; i++) CLV_TRY(copy_dims(d, s, dim + 1, dst + i * to_step, src + i * from_step));
    return CLV_OK;
}

static clv_status check_host_view(const char *call, const char *which, const clv_view *v)
{
    CLV_CHECK(v, CLV_ERR_INVALID, "%s: %s is NULL", call, which);
    CLV_CHECK(dtype_known(v->dtype), CLV_ERR_INVALID, "%s: %s has the unknown type %d", call, which, (int)v->dtype);
    CLV_CHECK(v->device == 0, CLV_ERR_INVALID, "%s: %s is on device %d, want host memory (0)", call, which, v->device);
    CLV_CHECK(v->ndim >= 0 && v->ndim <= CLV_MAX_DIMS, CLV_ERR_INVALID, "%s: %s has %d dimensions, want 0 to %d", call,
              which, v->ndim, CLV_MAX_DIMS);
    const int64_t count = clv_view_count(v);
    int64_t bytes;
    CLV_CHECK(count >= 0 && clvi_mul_i64(count, (int64_t)dtypes[v->dtype].size, &bytes), CLV_ERR_INVALID,
              "%s: %s has a negative or overflowing shape", call, which);
    CLV_CHECK(v->data || count == 0, CLV_ERR_INVALID, "%s: %s has no data for its %" PRId64 " elements", call, which,
              count);
    return CLV_OK;
}

clv_status clv_view_copy(const clv_view *dst, const clv_view *src)
{
    CLV_TRY(check_host_view("clv_view_copy", "dst", dst));
    CLV_TRY(check_host_view("clv_view_copy", "src", src));
    CLV_CHECK(dst->ndim == src->ndim, CLV_ERR_SHAPE, "clv_view_copy: dst has %d dimensions, src has %d", dst->ndim,
              src->ndim);
    for (int i = 0; i < dst->ndim; i++)
        CLV_CHECK(dst->shape[i] == src->shape[i], CLV_ERR_SHAPE,
                  "clv_view_copy: dimension %d is %" PRId64 " in dst and %" PRId64 " in src", i, dst->shape[i],
                  src->shape[i]);
    CLV_CHECK(dtype_is_float(dst->dtype) == dtype_is_float(src->dtype), CLV_ERR_INVALID,
              "clv_view_copy: cannot convert %s to %s", dtypes[src->dtype].name, dtypes[dst->dtype].name);
    const int64_t count = clv_view_count(dst);
    if (count == 0) return CLV_OK;
    if (clv_view_is_dense(dst) && clv_view_is_dense(src)) {
        const clv_view d = clv_view_1d(dst->data, dst->dtype, count), s = clv_view_1d(src->data, src->dtype, count);
        return copy_dims(&d, &s, 0, d.data, s.data);
    }
    return copy_dims(dst, src, 0, dst->data, src->data);
}

/* ---- DLPack ---- */

static clv_status from_tensor(const char *call, const DLTensor *t, clv_view *out)
{
    CLV_CHECK(t->device.device_type == CLVI_DL_CPU, CLV_ERR_UNSUPPORTED,
              "%s: the tensor is on device type %d, want the CPU (%d)", call, t->device.device_type, CLVI_DL_CPU);
    CLV_CHECK(t->ndim >= 0 && t->ndim <= CLV_MAX_DIMS, CLV_ERR_UNSUPPORTED,
              "%s: the tensor has %d dimensions, want 0 to %d", call, t->ndim, CLV_MAX_DIMS);
    CLV_CHECK(t->dtype.lanes == 1, CLV_ERR_UNSUPPORTED, "%s: the type has %d lanes, want 1", call, t->dtype.lanes);
    CLV_CHECK(t->ndim == 0 || t->shape, CLV_ERR_INVALID, "%s: the tensor's shape is NULL", call);
    int dtype = 0;
    while (dtype < CLV_DTYPE_COUNT && (dtypes[dtype].code != t->dtype.code || dtypes[dtype].size * 8 != t->dtype.bits))
        dtype++;
    CLV_CHECK(dtype < CLV_DTYPE_COUNT, CLV_ERR_UNSUPPORTED, "%s: no such type here: DLPack code %d with %d bits", call,
              t->dtype.code, t->dtype.bits);
    clv_view v = clv_view_dense(t->data ? (char *)t->data + t->byte_offset : NULL, (clv_dtype)dtype, t->ndim, t->shape);
    if (t->strides && t->ndim > 0) memcpy(v.stride, t->strides, (size_t)t->ndim * sizeof v.stride[0]);
    CLV_TRY(check_host_view(call, "the tensor", &v));
    CLV_CHECK((uintptr_t)v.data % dtypes[dtype].size == 0, CLV_ERR_UNSUPPORTED,
              "%s: the data is not aligned to its %zu-byte elements", call, dtypes[dtype].size);
    *out = v;
    return CLV_OK;
}

clv_status clv_view_from_dlpack(const struct DLManagedTensor *tensor, clv_view *out)
{
    CLV_CHECK(tensor && out, CLV_ERR_INVALID, "clv_view_from_dlpack: an argument is NULL");
    return from_tensor("clv_view_from_dlpack", &tensor->dl_tensor, out);
}

clv_status clv_view_from_dlpack_versioned(const struct DLManagedTensorVersioned *tensor, bool *read_only, clv_view *out)
{
    static const char call[] = "clv_view_from_dlpack_versioned";
    CLV_CHECK(tensor && read_only && out, CLV_ERR_INVALID, "%s: an argument is NULL", call);
    CLV_CHECK(tensor->version.major == CLVI_DL_MAJOR, CLV_ERR_UNSUPPORTED,
              "%s: the tensor is of DLPack version %u.%u, want %d.x", call, tensor->version.major,
              tensor->version.minor, CLVI_DL_MAJOR);
    CLV_TRY(from_tensor(call, &tensor->dl_tensor, out));
    *read_only = tensor->flags & CLVI_DL_READ_ONLY;
    return CLV_OK;
}

/* What a tensor given away needs until its receiver calls the deleter. It may outlive every context, hence malloc. */
typedef struct dl_export {
    union {
        DLManagedTensor          plain;
        DLManagedTensorVersioned versioned;
    } tensor;                  /* first: its address is the export's */
    int64_t shape[CLV_MAX_DIMS], strides[CLV_MAX_DIMS];
    void  (*owner_release)(void *owner);
    void   *owner;
} dl_export;

static void release_export(dl_export *e)
{
    if (e->owner_release) e->owner_release(e->owner);
    free(e);
}

static void delete_plain(DLManagedTensor *self)
{
    if (self) release_export(self->manager_ctx);
}

static void delete_versioned(DLManagedTensorVersioned *self)
{
    if (self) release_export(self->manager_ctx);
}

static clv_status make_export(const char *call, const clv_view *view, void (*owner_release)(void *owner), void *owner,
                              dl_export **out, DLTensor *tensor)
{
    CLV_TRY(check_host_view(call, "view", view));
    dl_export *e = calloc(1, sizeof *e);
    CLV_CHECK(e, CLV_ERR_NOMEM, "%s: out of memory", call);
    memcpy(e->shape, view->shape, sizeof e->shape);
    memcpy(e->strides, view->stride, sizeof e->strides);
    e->owner_release = owner_release;
    e->owner = owner;
    *tensor = (DLTensor) {
        .data = view->data, .device = { CLVI_DL_CPU, 0 }, .ndim = view->ndim,
        .dtype = { dtypes[view->dtype].code, (uint8_t)(dtypes[view->dtype].size * 8), 1 },
        .shape = e->shape, .strides = e->strides,
    };
    *out = e;
    return CLV_OK;
}

clv_status clv_view_to_dlpack(const clv_view *view, void (*owner_release)(void *owner), void *owner,
                              struct DLManagedTensor **out)
{
    static const char call[] = "clv_view_to_dlpack";
    CLV_CHECK(out, CLV_ERR_INVALID, "%s: out is NULL", call);
    dl_export *e = NULL;
    DLTensor tensor = { 0 };
    CLV_TRY(make_export(call, view, owner_release, owner, &e, &tensor));
    e->tensor.plain = (DLManagedTensor) { .dl_tensor = tensor, .manager_ctx = e, .deleter = delete_plain };
    *out = &e->tensor.plain;
    return CLV_OK;
}

clv_status clv_view_to_dlpack_versioned(const clv_view *view, bool read_only, void (*owner_release)(void *owner),
                                        void *owner, struct DLManagedTensorVersioned **out)
{
    static const char call[] = "clv_view_to_dlpack_versioned";
    CLV_CHECK(out, CLV_ERR_INVALID, "%s: out is NULL", call);
    dl_export *e = NULL;
    DLTensor tensor = { 0 };
    CLV_TRY(make_export(call, view, owner_release, owner, &e, &tensor));
    e->tensor.versioned = (DLManagedTensorVersioned) {
        .version = { CLVI_DL_MAJOR, CLVI_DL_MINOR }, .manager_ctx = e, .deleter = delete_versioned,
        .flags = read_only ? CLVI_DL_READ_ONLY : 0, .dl_tensor = tensor,
    };
    *out = &e->tensor.versioned;
    return CLV_OK;
}
