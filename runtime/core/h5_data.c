/* h5_data.c: data sets of HDF5 files: what a file promises is checked against its size before it is believed. */
#include "core/checked.h"
#include "core/h5_parts.h"
#include <string.h>

#define MAX_PACKING    4096              /* deflate cannot reach this, so a larger promise is a lie */
#define MAX_CHUNK      ((size_t)1 << 30)
#define CHUNKS_AT_ONCE 32               /* of reading: see rows_at_once */

/* ---- types ---- */

/* HDF5 has no bfloat16 of its own, but can describe it and convert it. */
static hid_t make_bf16(void)
{
    const hid_t type = H5Tcopy(H5T_NATIVE_FLOAT);
    if (H5Tset_fields(type, 15, 7, 8, 0, 7) < 0 || H5Tset_precision(type, 16) < 0 || H5Tset_size(type, 2) < 0 ||
        H5Tset_ebias(type, 127) < 0) {
        clvi_h5_close_id(type);
        return H5I_INVALID_HID;
    }
    return type;
}

/* A new identifier of the type in memory. */
static hid_t memory_type(clv_dtype dtype)
{
    switch (dtype) {
    case CLV_F32: return H5Tcopy(H5T_NATIVE_FLOAT);
    case CLV_F64: return H5Tcopy(H5T_NATIVE_DOUBLE);
    case CLV_BF16: return make_bf16();
    case CLV_U8: return H5Tcopy(H5T_NATIVE_UINT8);
    case CLV_I32: return H5Tcopy(H5T_NATIVE_INT32);
    case CLV_I64: return H5Tcopy(H5T_NATIVE_INT64);
    case CLV_DTYPE_COUNT: break;
    }
    return H5I_INVALID_HID;
}

H5T_class_t clvi_h5_class_of(hid_t type)
{
    const H5T_class_t class = H5Tget_class(type);
    return class == H5T_ENUM ? H5T_INTEGER : class;
}

/* The type here that holds all values of a type in a file; false for what is no number. */
static bool dtype_of(hid_t type, clv_dtype *out)
{
    const size_t size = H5Tget_size(type);
    const H5T_class_t class = clvi_h5_class_of(type);
    if (size == 0 || size > 8) return false;
    if (class == H5T_FLOAT) {
        const hid_t bf16 = make_bf16();
        *out = H5Tequal(type, bf16) > 0 ? CLV_BF16 : size > 4 ? CLV_F64 : CLV_F32;
        clvi_h5_close_id(bf16);
        return true;
    }
    if (class != H5T_INTEGER) return false;
    const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
    *out = size == 1 && !is_signed ? CLV_U8 : size < 4 || (size == 4 && is_signed) ? CLV_I32 : CLV_I64;
    return true;
}

/* ---- data sets, reading ---- */

typedef struct dataset {
    hid_t        id, type, space, plan;   /* plan: its creation properties */
    size_t       item;                    /* bytes of an element in the file */
    clvi_h5_info info;
} dataset;

static void close_dataset(dataset *d)
{
    clvi_h5_close_id(d->plan);
    clvi_h5_close_id(d->space);
    clvi_h5_close_id(d->type);
    clvi_h5_close_id(d->id);
}

static clv_status check_filters(const clvi_h5 *h5, const char *name, const dataset *d)
{
    const int count = H5Pget_nfilters(d->plan);
    for (int i = 0; i < count; i++) {
        unsigned flags = 0, config = 0;
        size_t values = 0;
        const H5Z_filter_t f = H5Pget_filter2(d->plan, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
        CLV_CHECK(f == H5Z_FILTER_DEFLATE || f == H5Z_FILTER_SHUFFLE || f == H5Z_FILTER_FLETCHER32, CLV_ERR_UNSUPPORTED,
                  "%s: data set '%.200s' uses HDF5 filter %d; want deflate, shuffle or fletcher32", h5->path, name,
                  (int)f);
    }
    return CLV_OK;
}

static clv_status check_chunks(const clvi_h5 *h5, const char *name, const dataset *d, size_t bytes)
{
    hsize_t chunk[CLV_MAX_DIMS] = { 0 };
    size_t size = d->item;
    CLV_CHECK(H5Pget_chunk(d->plan, CLV_MAX_DIMS, chunk) == d->info.ndim, CLV_ERR_FORMAT,
              "%s: the chunks of data set '%.200s' have another rank than it", h5->path, name);
    for (int i = 0; i < d->info.ndim; i++)
        CLV_CHECK(clvi_mul_size(size, (size_t)chunk[i], &size) && size <= MAX_CHUNK, CLV_ERR_FORMAT,
                  "%s: the chunks of data set '%.200s' are larger than %zu bytes", h5->path, name, MAX_CHUNK);
    CLV_CHECK(bytes / MAX_PACKING <= h5->size, CLV_ERR_FORMAT,
              "%s: data set '%.200s' promises %zu bytes, more than %d times the file's %zu", h5->path, name, bytes,
              MAX_PACKING, h5->size);
    return check_filters(h5, name, d);
}

/* Data in one piece: it must lie within the file; its place is told if it can be used as it is. */
static clv_status check_contiguous(const clvi_h5 *h5, const char *name, dataset *d, size_t bytes)
{
    CLV_CHECK(H5Pget_external_count(d->plan) == 0, CLV_ERR_UNSUPPORTED, "%s: data set '%.200s' lies in other files",
              h5->path, name);
    CLV_CHECK(bytes <= h5->size, CLV_ERR_FORMAT, "%s: data set '%.200s' promises %zu bytes, the file has %zu", h5->path,
              name, bytes, h5->size);
    const haddr_t offset = H5Dget_offset(d->id);
    if (offset == HADDR_UNDEF) return CLV_OK;
    CLV_CHECK(offset <= h5->size - bytes, CLV_ERR_FORMAT, "%s: data set '%.200s' ends behind the end of the file",
              h5->path, name);
    const hid_t native = memory_type(d->info.dtype);
    if (H5Tequal(d->type, native) > 0 && offset % d->item == 0) d->info.offset = (int64_t)offset;
    clvi_h5_close_id(native);
    return CLV_OK;
}

static clv_status check_layout(const clvi_h5 *h5, const char *name, dataset *d, size_t bytes)
{
    switch (H5Pget_layout(d->plan)) {
    case H5D_COMPACT: return CLV_OK;   /* inside the object header: at most 64 KiB */
    case H5D_CONTIGUOUS: return check_contiguous(h5, name, d, bytes);
    case H5D_CHUNKED: return check_chunks(h5, name, d, bytes);
    default:
        return clvi_fail(CLV_ERR_UNSUPPORTED, "%s: data set '%.200s' is put together from other data sets", h5->path,
                         name);
    }
}

static clv_status examine(const clvi_h5 *h5, const char *name, dataset *d)
{
    hsize_t shape[H5S_MAX_RANK] = { 0 };
    CLV_CHECK(dtype_of(d->type, &d->info.dtype), CLV_ERR_FORMAT, "%s: data set '%.200s' does not hold numbers",
              h5->path, name);
    d->item = H5Tget_size(d->type);
    d->info.offset = -1;
    d->info.ndim = H5Sget_simple_extent_dims(d->space, shape, NULL);
    CLV_CHECK(H5Sget_simple_extent_type(d->space) != H5S_NULL && d->info.ndim >= 0 && d->info.ndim <= CLV_MAX_DIMS,
              CLV_ERR_FORMAT, "%s: data set '%.200s' has %d dimensions, want 0 to %d", h5->path, name, d->info.ndim,
              CLV_MAX_DIMS);
    size_t bytes = CLVI_MAX(d->item, clv_dtype_size(d->info.dtype));
    for (int i = 0; i < d->info.ndim; i++) {
        CLV_CHECK(shape[i] <= INT64_MAX && clvi_mul_size(bytes, CLVI_MAX((size_t)shape[i], (size_t)1), &bytes) &&
                      bytes <= INT64_MAX,
                  CLV_ERR_FORMAT, "%s: the shape of data set '%.200s' overflows", h5->path, name);
        d->info.shape[i] = (int64_t)shape[i];
    }
    bytes = d->item;
    for (int i = 0; i < d->info.ndim; i++) bytes *= (size_t)shape[i];
    return check_layout(h5, name, d, bytes);
}

/* Opens a data set and refuses it unless everything about it is known and within bounds. */
static clv_status open_dataset(const clvi_h5 *h5, const char *name, dataset *out)
{
    dataset d = { .type = H5I_INVALID_HID, .space = H5I_INVALID_HID, .plan = H5I_INVALID_HID };
    clv_status st = CLV_OK;
    CLV_CHECK(clvi_h5_exists(h5, name), CLV_ERR_FORMAT, "%s: there is no data set '%.200s'", h5->path, name);
    d.id = H5Dopen2(h5->file, clvi_h5_skip_slashes(name), H5P_DEFAULT);
    if (d.id < 0) return clvi_h5_fail(h5, CLV_ERR_FORMAT, "open data set", name);
    d.type = H5Dget_type(d.id);
    d.space = H5Dget_space(d.id);
    d.plan = H5Dget_create_plist(d.id);
    if (d.type < 0 || d.space < 0 || d.plan < 0) st = clvi_h5_fail(h5, CLV_ERR_FORMAT, "describe data set", name);
    else st = examine(h5, name, &d);
    if (st != CLV_OK) close_dataset(&d);
    else *out = d;
    return st;
}

clv_status clvi_h5_stat(clvi_h5 *h5, const char *name, clvi_h5_info *out)
{
    CLVI_H5_QUIET;
    dataset d;
    CLV_TRY(open_dataset(h5, name, &d));
    *out = d.info;
    close_dataset(&d);
    return CLV_OK;
}

/* Integers must arrive as they are: HDF5 alone would cut off fractions and clip what does not fit. */
static H5T_conv_ret_t refuse_inexact(H5T_conv_except_t what, hid_t from, hid_t to, void *src, void *dst, void *arg)
{
    (void)from, (void)to, (void)src, (void)dst, (void)arg;
    return what == H5T_CONV_EXCEPT_PRECISION ? H5T_CONV_UNHANDLED : H5T_CONV_ABORT;
}

static clv_status check_host(const clvi_h5 *h5, const char *name, const clv_view *v, int64_t count)
{
    CLV_CHECK(v->device == 0 && clv_dtype_size(v->dtype) > 0 && clv_view_is_dense(v), CLV_ERR_INVALID,
              "%s: data set '%.200s' wants a dense view on host memory", h5->path, name);
    CLV_CHECK(clv_view_count(v) == count, CLV_ERR_SHAPE, "%s: data set '%.200s': %" PRId64 " values in the file, %"
              PRId64 " in the view", h5->path, name, count, clv_view_count(v));
    CLV_CHECK(v->data || count == 0, CLV_ERR_INVALID, "%s: data set '%.200s': the view has no data", h5->path, name);
    return CLV_OK;
}

/* Memory for `count` values, as rows of the data set: HDF5 walks value by value through spaces of different shapes. */
static hid_t memory_space(const dataset *d, int64_t count)
{
    hsize_t shape[CLV_MAX_DIMS] = { (hsize_t)count };
    int64_t row = 1;
    for (int i = 1; i < d->info.ndim; i++) row *= d->info.shape[i];
    if (d->info.ndim < 2 || row == 0) return H5Screate_simple(1, shape, NULL);
    shape[0] = (hsize_t)(count / row);
    for (int i = 1; i < d->info.ndim; i++) shape[i] = (hsize_t)d->info.shape[i];
    return H5Screate_simple(d->info.ndim, shape, NULL);
}

/* Moves the selected rows of a data set from or to dense memory of the same count. */
static clv_status transfer(const clvi_h5 *h5, const char *name, const dataset *d, hid_t selection, const clv_view *v,
                           bool write)
{
    const hid_t type = memory_type(v->dtype), plan = H5Pcreate(H5P_DATASET_XFER);
    const hid_t space = memory_space(d, clv_view_count(v));
    if (v->dtype == CLV_U8 || v->dtype == CLV_I32 || v->dtype == CLV_I64)
        (void)H5Pset_type_conv_cb(plan, refuse_inexact, NULL);
    clv_status st = CLV_OK;
    if (type < 0 || plan < 0 || space < 0)
        st = clvi_h5_fail(h5, CLV_ERR_NOMEM, "prepare access to", name);
    else if (write && H5Dwrite(d->id, type, space, selection, plan, v->data) < 0)
        st = clvi_h5_fail(h5, CLV_ERR_IO, "write data set", name);
    else if (!write && H5Dread(d->id, type, space, selection, plan, v->data) < 0)
        st = clvi_h5_fail(h5, CLV_ERR_FORMAT, "read data set", name);
    clvi_h5_close_id(space);
    clvi_h5_close_id(plan);
    clvi_h5_close_id(type);
    return st;
}

static int64_t count_of(const int64_t *shape, int ndim)
{
    int64_t count = 1;
    for (int i = 0; i < ndim; i++) count *= shape[i];
    return count;
}

/* Rows [first, first + count) of d; its shape is told by its space, which serves reading and writing alike. */
static clv_status transfer_rows(const clvi_h5 *h5, const char *name, const dataset *d, int64_t first, int64_t count,
                                const clv_view *v, bool write)
{
    hsize_t shape[H5S_MAX_RANK] = { 0 }, start[H5S_MAX_RANK] = { 0 };
    const int ndim = H5Sget_simple_extent_dims(d->space, shape, NULL);
    CLV_CHECK(ndim >= 1, CLV_ERR_SHAPE, "%s: data set '%.200s' is a single value and has no rows", h5->path, name);
    const int64_t rows = (int64_t)shape[0];
    CLV_CHECK(first >= 0 && count >= 0 && first <= rows && count <= rows - first, CLV_ERR_INVALID,
              "%s: data set '%.200s' has %" PRId64 " rows, no %" PRId64 " from row %" PRId64, h5->path, name, rows,
              count, first);
    int64_t values = count;
    for (int i = 1; i < ndim; i++) values *= (int64_t)shape[i];
    CLV_TRY(check_host(h5, name, v, values));
    if (values == 0) return CLV_OK;
    start[0] = (hsize_t)first;
    shape[0] = (hsize_t)count;
    if (H5Sselect_hyperslab(d->space, H5S_SELECT_SET, start, NULL, shape, NULL) < 0)
        return clvi_h5_fail(h5, CLV_ERR_FORMAT, "select rows of", name);
    return transfer(h5, name, d, d->space, v, write);
}

/* Rows to read at once. HDF5 makes a list of all chunks before it reads the first: with many, half of its time goes
 * into a list that no cache holds. */
static int64_t rows_at_once(const dataset *d)
{
    hsize_t chunk[CLV_MAX_DIMS] = { 0 };
    int64_t chunks = 1;   /* of a row of chunks; all sizes are bounded by examine */
    if (H5Pget_layout(d->plan) != H5D_CHUNKED) return d->info.shape[0];
    if (H5Pget_chunk(d->plan, CLV_MAX_DIMS, chunk) != d->info.ndim) return d->info.shape[0];
    for (int i = 1; i < d->info.ndim; i++)
        chunks = CLVI_MIN(chunks * ((d->info.shape[i] - 1) / (int64_t)chunk[i] + 1), CHUNKS_AT_ONCE);
    return (int64_t)chunk[0] * (CHUNKS_AT_ONCE / chunks);
}

static clv_status read_all(const clvi_h5 *h5, const char *name, const dataset *d, const clv_view *dst)
{
    if (d->info.ndim == 0) return transfer(h5, name, d, d->space, dst, false);
    const int64_t rows = d->info.shape[0], row = clv_view_count(dst) / rows, step = rows_at_once(d);
    for (int64_t first = 0; first < rows; first += step) {
        const int64_t count = CLVI_MIN(step, rows - first);
        uint8_t *at = (uint8_t *)dst->data + (size_t)(first * row) * clv_dtype_size(dst->dtype);
        const clv_view part = clv_view_1d(at, dst->dtype, count * row);
        CLV_TRY(transfer_rows(h5, name, d, first, count, &part, false));
    }
    return CLV_OK;
}

clv_status clvi_h5_read(clvi_h5 *h5, const char *name, const clv_view *dst)
{
    CLVI_H5_QUIET;
    dataset d;
    CLV_TRY(open_dataset(h5, name, &d));
    clv_status st = check_host(h5, name, dst, count_of(d.info.shape, d.info.ndim));
    if (st == CLV_OK && clv_view_count(dst) > 0) st = read_all(h5, name, &d, dst);
    close_dataset(&d);
    return st;
}

clv_status clvi_h5_read_rows(clvi_h5 *h5, const char *name, int64_t first, int64_t count, const clv_view *dst)
{
    CLVI_H5_QUIET;
    dataset d;
    CLV_TRY(open_dataset(h5, name, &d));
    const clv_status st = transfer_rows(h5, name, &d, first, count, dst, false);
    close_dataset(&d);
    return st;
}

/* ---- data sets, writing ---- */

static clv_status create_dataset(const clvi_h5 *h5, const char *name, clv_dtype dtype, int ndim, const int64_t *shape)
{
    hsize_t dims[CLV_MAX_DIMS] = { 0 };
    CLV_CHECK(ndim >= 0 && ndim <= CLV_MAX_DIMS, CLV_ERR_INVALID, "%s: data set '%.200s' would have %d dimensions",
              h5->path, name, ndim);
    for (int i = 0; i < ndim; i++) {
        CLV_CHECK(shape[i] >= 0, CLV_ERR_INVALID, "%s: data set '%.200s' would have a negative size", h5->path, name);
        dims[i] = (hsize_t)shape[i];
    }
    CLV_TRY(clvi_h5_make_groups(h5, name, false));
    const hid_t type = memory_type(dtype), plan = clvi_h5_object_plan(H5P_DATASET_CREATE);
    const hid_t space = ndim > 0 ? H5Screate_simple(ndim, dims, NULL) : H5Screate(H5S_SCALAR);
    (void)H5Pset_layout(plan, H5D_CONTIGUOUS);
    (void)H5Pset_alloc_time(plan, H5D_ALLOC_TIME_EARLY);
    const hid_t id = H5Dcreate2(h5->file, clvi_h5_skip_slashes(name), type, space, H5P_DEFAULT, plan, H5P_DEFAULT);
    const clv_status st = id < 0 ? clvi_h5_fail(h5, CLV_ERR_IO, "create data set", name) : CLV_OK;
    clvi_h5_close_id(id);
    clvi_h5_close_id(space);
    clvi_h5_close_id(plan);
    clvi_h5_close_id(type);
    return st;
}

clv_status clvi_h5_create_dataset(clvi_h5 *h5, const char *name, clv_dtype dtype, int ndim, const int64_t *shape)
{
    CLVI_H5_QUIET;
    return create_dataset(h5, name, dtype, ndim, shape);
}

clv_status clvi_h5_adopt(clvi_h5 *h5, const char *name, int ndim, const int64_t *shape, int64_t place)
{
    CLVI_H5_QUIET;
    clvi_h5_info info;
    const int64_t size = count_of(shape, ndim);
    CLV_CHECK(size > 0 && place >= CLVI_H5_HEAD && (uint64_t)(place + size) <= h5->disk.end, CLV_ERR_INVALID,
              "%s: no %" PRId64 " bytes were kept at %" PRId64, h5->path, size, place);
    h5->disk.place = (uint64_t)place;
    h5->disk.size = (uint64_t)size;
    const clv_status st = create_dataset(h5, name, CLV_U8, ndim, shape);
    h5->disk.size = 0;
    CLV_TRY(st);
    CLV_TRY(clvi_h5_stat(h5, name, &info));
    CLV_CHECK(info.offset == place, CLV_ERR_INTERNAL, "%s: HDF5 puts '%.200s' at %" PRId64 ", its bytes are at %" PRId64,
              h5->path, name, info.offset, place);
    return CLV_OK;
}

clv_status clvi_h5_write(clvi_h5 *h5, const char *name, const clv_view *src)
{
    CLVI_H5_QUIET;
    dataset d;
    CLV_TRY(check_host(h5, name, src, clv_view_count(src)));
    CLV_TRY(create_dataset(h5, name, src->dtype, src->ndim, src->shape));
    if (clv_view_count(src) == 0) return CLV_OK;
    CLV_TRY(open_dataset(h5, name, &d));
    const clv_status st = transfer(h5, name, &d, d.space, src, true);
    close_dataset(&d);
    return st == CLV_OK ? clvi_h5_check_disk(h5) : st;
}

clv_status clvi_h5_write_rows(clvi_h5 *h5, const char *name, int64_t first, const clv_view *src)
{
    CLVI_H5_QUIET;
    dataset d;
    CLV_CHECK(src->ndim >= 1, CLV_ERR_SHAPE, "%s: data set '%.200s': the view has no rows", h5->path, name);
    CLV_TRY(open_dataset(h5, name, &d));
    const clv_status st = transfer_rows(h5, name, &d, first, src->shape[0], src, true);
    close_dataset(&d);
    return st == CLV_OK ? clvi_h5_check_disk(h5) : st;
}
