/* h5.c: HDF5 files, read with suspicion and written so that the same content gives the same bytes. */
#include "core/h5.h"
#include "core/checked.h"
#include "core/file.h"
#include "core/h5_disk.h"
#include "core/h5_heap.h"
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEAL_SIZE   512                  /* the user block */
#define SEAL_MAGIC  "CLEAVE1\n"
#define MAX_NAME    1024
#define MAX_TEXT    ((size_t)1 << 20)
#define MAX_TEXTS   ((size_t)64 << 20)
#define MAX_ENTRIES 1000000
#define MAX_PACKING 4096                 /* deflate cannot reach this, so a larger promise is a lie */
#define MAX_CHUNK   ((size_t)1 << 30)
#define ALIGN_FROM  512                  /* data of this size and more starts at a multiple of CLVI_ALIGN */

struct clvi_h5 {
    clv_context *ctx;
    hid_t        file;
    size_t       size;                   /* of the file being read; no limit while writing */
    clvi_map     map;                    /* of a file on disk being read */
    bool         writing, sealed;
    int          disk_error;             /* errno of the first write that failed; HDF5 does not know */
    char        *path, *temp;
};

/* ---- calls into HDF5 ---- */

/* Turns HDF5's printing of errors off for the scope it is declared in: the setting is the thread's, and the application
 * may use HDF5 too. */
typedef struct quiet_scope {
    H5E_auto2_t print;
    void       *arg;
} quiet_scope;

static quiet_scope quiet_enter(void)
{
    quiet_scope s = { NULL, NULL };
    (void)H5Eget_auto2(H5E_DEFAULT, &s.print, &s.arg);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return s;
}

static void quiet_leave(quiet_scope *s)
{
    (void)H5Eset_auto2(H5E_DEFAULT, s->print, s->arg);
}

#define QUIET __attribute__((cleanup(quiet_leave), unused)) quiet_scope quiet = quiet_enter()

static herr_t innermost(unsigned n, const H5E_error2_t *error, void *text)
{
    if (n == 0) snprintf(text, 200, "%s", error->desc ? error->desc : "");
    return 0;
}

/* Fails with HDF5's own words for the deepest cause. Must come right after the call that failed. */
static clv_status fail_hdf5(const clvi_h5 *h5, clv_status status, const char *doing, const char *name)
{
    char why[200] = "no reason given";
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, why);
    return clvi_fail(status, "%s: cannot %s '%.200s': HDF5 says: %s", h5->path, doing, name, why);
}

/* Closes any kind of identifier; negative ones were never opened. */
static void close_id(hid_t id)
{
    if (id >= 0) (void)H5Idec_ref(id);
}

/* ---- the seal ---- */

static void put_le(uint8_t *p, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_le(const uint8_t *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)p[i] << 8 * i;
    return value;
}

/* Magic, length of what follows the block, its CRC-32C, zeros. */
static void make_seal(uint8_t seal[SEAL_SIZE], const uint8_t *rest, size_t size)
{
    memset(seal, 0, SEAL_SIZE);
    memcpy(seal, SEAL_MAGIC, 8);
    put_le(seal + 8, size, 8);
    put_le(seal + 16, clvi_crc32c(0, rest, size), 4);
}

static clv_status verify_bytes(const char *path, const uint8_t *bytes, size_t size, bool *sealed)
{
    *sealed = false;
    if (size < 16) return CLV_OK;
    const bool magic = memcmp(bytes, SEAL_MAGIC, 8) == 0;
    /* A length that fits behind other first bytes is a seal whose magic is damaged, not a foreign file. */
    if (!magic && (size <= SEAL_SIZE || get_le(bytes + 8, 8) != size - SEAL_SIZE)) return CLV_OK;
    *sealed = true;
    CLV_CHECK(size > SEAL_SIZE, CLV_ERR_FORMAT, "%s: damaged: the seal takes %d bytes, the file has %zu", path,
              SEAL_SIZE, size);
    const uint64_t promised = get_le(bytes + 8, 8);
    CLV_CHECK(promised == size - SEAL_SIZE, CLV_ERR_FORMAT,
              "%s: damaged: the seal promises %" PRIu64 " bytes, %zu follow", path, promised, size - SEAL_SIZE);
    uint8_t seal[SEAL_SIZE];
    make_seal(seal, bytes + SEAL_SIZE, size - SEAL_SIZE);
    CLV_CHECK(memcmp(seal, bytes, SEAL_SIZE) == 0, CLV_ERR_FORMAT,
              "%s: damaged: checksum %08" PRIx64 " in the seal, %08" PRIx64 " in the content", path,
              get_le(bytes + 16, 4), get_le(seal + 16, 4));
    return CLV_OK;
}

clv_status clvi_h5_verify(const char *path, bool *sealed)
{
    clvi_map map;
    *sealed = false;
    CLV_TRY(clvi_map_open(path, &map));
    const clv_status st = verify_bytes(path, map.data, map.size, sealed);
    clvi_map_close(&map);
    return st;
}

static clv_status write_seal(const char *path)
{
    clvi_map map;
    uint8_t seal[SEAL_SIZE];
    CLV_TRY(clvi_map_open(path, &map));
    const bool whole = map.size > SEAL_SIZE;
    if (whole) make_seal(seal, map.data + SEAL_SIZE, map.size - SEAL_SIZE);
    clvi_map_close(&map);
    CLV_CHECK(whole, CLV_ERR_INTERNAL, "%s: HDF5 wrote less than its user block", path);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    CLV_CHECK(fd >= 0, CLV_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    clv_status st = CLV_OK;
    if (pwrite(fd, seal, SEAL_SIZE, 0) != SEAL_SIZE)
        st = clvi_fail(CLV_ERR_IO, "cannot write the seal of '%s': %s", path, strerror(errno));
    close(fd);
    return st;
}

/* ---- opening and closing ---- */

static clv_status make_handle(clv_context *ctx, const char *path, clvi_h5 **out)
{
    clvi_h5 *h5 = clvi_calloc(ctx, 1, sizeof *h5);
    if (!h5) return CLV_ERR_NOMEM;
    h5->ctx = ctx;
    h5->file = H5I_INVALID_HID;
    h5->path = clvi_strdup(ctx, path);
    if (!h5->path) {
        clvi_free(ctx, h5);
        return CLV_ERR_NOMEM;
    }
    *out = h5;
    return CLV_OK;
}

/* Closing the file closes whatever is still open in it. Locks are not taken: a reader needs none on a file that is
 * replaced as a whole, and some network file systems have none to give. */
static hid_t access_list(void)
{
    const hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    (void)H5Pset_fclose_degree(list, H5F_CLOSE_STRONG);
    (void)H5Pset_file_locking(list, false, true);
    (void)H5Pset_alignment(list, ALIGN_FROM, CLVI_ALIGN);   /* data that can be used where it is mapped */
    return list;
}

static void free_handle(clvi_h5 *h5)
{
    close_id(h5->file);
    clvi_map_close(&h5->map);
    clvi_free(h5->ctx, h5->temp);
    clvi_free(h5->ctx, h5->path);
    clvi_free(h5->ctx, h5);
}

static clv_status open_file(clvi_h5 *h5, const void *image)
{
    const hid_t access = access_list();
    if (image) {
        (void)H5Pset_fapl_core(access, (size_t)1 << 16, false);
        (void)H5Pset_file_image(access, (void *)(uintptr_t)image, h5->size);   /* copied */
    }
    h5->file = H5Fopen(h5->path, H5F_ACC_RDONLY, access);
    const clv_status st = h5->file < 0 ? fail_hdf5(h5, CLV_ERR_FORMAT, "open as HDF5", h5->path) : CLV_OK;
    close_id(access);
    return st;
}

clv_status clvi_h5_open(clv_context *ctx, const char *path, clvi_h5 **out)
{
    QUIET;
    clvi_map map;
    *out = NULL;
    CLV_TRY(clvi_map_open(path, &map));
    bool sealed;
    clvi_h5 *h5 = NULL;
    clv_status st = verify_bytes(path, map.data, map.size, &sealed);
    if (st == CLV_OK) st = make_handle(ctx, path, &h5);
    if (st != CLV_OK) {
        clvi_map_close(&map);
        return st;
    }
    h5->sealed = sealed;
    h5->size = map.size;
    h5->map = map;
    st = open_file(h5, NULL);
    if (st == CLV_OK) *out = h5;
    else free_handle(h5);
    return st;
}

clv_status clvi_h5_open_memory(clv_context *ctx, const void *bytes, size_t size, clvi_h5 **out)
{
    QUIET;
    *out = NULL;
    CLV_CHECK(bytes && size > 0, CLV_ERR_FORMAT, "HDF5 image in memory: it is empty");
    bool sealed;
    clvi_h5 *h5;
    CLV_TRY(verify_bytes("HDF5 image in memory", bytes, size, &sealed));
    CLV_TRY(make_handle(ctx, "HDF5 image in memory", &h5));
    h5->sealed = sealed;
    h5->size = size;
    const clv_status st = open_file(h5, bytes);
    if (st == CLV_OK) *out = h5;
    else free_handle(h5);
    return st;
}

void clvi_h5_close(clvi_h5 *h5)
{
    if (!h5) return;
    QUIET;
    if (h5->writing) {
        close_id(h5->file);
        h5->file = H5I_INVALID_HID;
        (void)unlink(h5->temp);
    }
    free_handle(h5);
}

/* ---- names ---- */

static const char *skip_slashes(const char *name)
{
    return name + strspn(name, "/");
}

/* Every part of the path must be a plain link: soft and external ones could lead round in circles or to other files. */
static bool exists(const clvi_h5 *h5, const char *name)
{
    char part[MAX_NAME];
    name = skip_slashes(name);
    const size_t length = strlen(name);
    if (length >= sizeof part) return false;
    memcpy(part, name, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (name[i] != '/' && name[i] != 0) continue;
        H5L_info_t info;
        part[i] = 0;
        if (H5Lexists(h5->file, part, H5P_DEFAULT) <= 0) return false;
        if (H5Lget_info(h5->file, part, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD) return false;
        part[i] = name[i];
    }
    return true;
}

bool clvi_h5_has(clvi_h5 *h5, const char *name)
{
    QUIET;
    return exists(h5, name);
}

/* Opens a group or data set for its attributes, or a group for its members. */
static clv_status open_object(const clvi_h5 *h5, const char *name, hid_t *out)
{
    CLV_CHECK(exists(h5, name), CLV_ERR_FORMAT, "%s: there is no '%.200s'", h5->path, name);
    *out = *skip_slashes(name) ? H5Oopen(h5->file, skip_slashes(name), H5P_DEFAULT)
                               : H5Gopen2(h5->file, "/", H5P_DEFAULT);
    return *out < 0 ? fail_hdf5(h5, CLV_ERR_FORMAT, "open", name) : CLV_OK;
}

/* ---- types ---- */

/* HDF5 has no bfloat16 of its own, but can describe it and convert it. */
static hid_t make_bf16(void)
{
    const hid_t type = H5Tcopy(H5T_NATIVE_FLOAT);
    if (H5Tset_fields(type, 15, 7, 8, 0, 7) < 0 || H5Tset_precision(type, 16) < 0 || H5Tset_size(type, 2) < 0 ||
        H5Tset_ebias(type, 127) < 0) {
        close_id(type);
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

/* Truth values are written by others as enumerations of whole numbers. */
static H5T_class_t class_of(hid_t type)
{
    const H5T_class_t class = H5Tget_class(type);
    return class == H5T_ENUM ? H5T_INTEGER : class;
}

/* The type here that holds all values of a type in a file; false for what is no number. */
static bool dtype_of(hid_t type, clv_dtype *out)
{
    const size_t size = H5Tget_size(type);
    const H5T_class_t class = class_of(type);
    if (size == 0 || size > 8) return false;
    if (class == H5T_FLOAT) {
        const hid_t bf16 = make_bf16();
        *out = H5Tequal(type, bf16) > 0 ? CLV_BF16 : size > 4 ? CLV_F64 : CLV_F32;
        close_id(bf16);
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
    close_id(d->plan);
    close_id(d->space);
    close_id(d->type);
    close_id(d->id);
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
    close_id(native);
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
    CLV_CHECK(exists(h5, name), CLV_ERR_FORMAT, "%s: there is no data set '%.200s'", h5->path, name);
    d.id = H5Dopen2(h5->file, skip_slashes(name), H5P_DEFAULT);
    if (d.id < 0) return fail_hdf5(h5, CLV_ERR_FORMAT, "open data set", name);
    d.type = H5Dget_type(d.id);
    d.space = H5Dget_space(d.id);
    d.plan = H5Dget_create_plist(d.id);
    if (d.type < 0 || d.space < 0 || d.plan < 0) st = fail_hdf5(h5, CLV_ERR_FORMAT, "describe data set", name);
    else st = examine(h5, name, &d);
    if (st != CLV_OK) close_dataset(&d);
    else *out = d;
    return st;
}

clv_status clvi_h5_stat(clvi_h5 *h5, const char *name, clvi_h5_info *out)
{
    QUIET;
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

/* Moves the selected part of a data set from or to dense memory of the same count. */
static clv_status transfer(const clvi_h5 *h5, const char *name, const dataset *d, hid_t selection, const clv_view *v,
                           bool write)
{
    const hsize_t count = (hsize_t)clv_view_count(v);
    const hid_t type = memory_type(v->dtype), plan = H5Pcreate(H5P_DATASET_XFER);
    const hid_t space = H5Screate_simple(1, &count, NULL);
    if (v->dtype == CLV_U8 || v->dtype == CLV_I32 || v->dtype == CLV_I64)
        (void)H5Pset_type_conv_cb(plan, refuse_inexact, NULL);
    clv_status st = CLV_OK;
    if (type < 0 || plan < 0 || space < 0)
        st = fail_hdf5(h5, CLV_ERR_NOMEM, "prepare access to", name);
    else if (write && H5Dwrite(d->id, type, space, selection, plan, v->data) < 0)
        st = fail_hdf5(h5, CLV_ERR_IO, "write data set", name);
    else if (!write && H5Dread(d->id, type, space, selection, plan, v->data) < 0)
        st = fail_hdf5(h5, CLV_ERR_FORMAT, "read data set", name);
    close_id(space);
    close_id(plan);
    close_id(type);
    return st;
}

static int64_t count_of(const int64_t *shape, int ndim)
{
    int64_t count = 1;
    for (int i = 0; i < ndim; i++) count *= shape[i];
    return count;
}

clv_status clvi_h5_read(clvi_h5 *h5, const char *name, const clv_view *dst)
{
    QUIET;
    dataset d;
    CLV_TRY(open_dataset(h5, name, &d));
    clv_status st = check_host(h5, name, dst, count_of(d.info.shape, d.info.ndim));
    if (st == CLV_OK && clv_view_count(dst) > 0) st = transfer(h5, name, &d, d.space, dst, false);
    close_dataset(&d);
    return st;
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
        return fail_hdf5(h5, CLV_ERR_FORMAT, "select rows of", name);
    return transfer(h5, name, d, d->space, v, write);
}

clv_status clvi_h5_read_rows(clvi_h5 *h5, const char *name, int64_t first, int64_t count, const clv_view *dst)
{
    QUIET;
    dataset d;
    CLV_TRY(open_dataset(h5, name, &d));
    const clv_status st = transfer_rows(h5, name, &d, first, count, dst, false);
    close_dataset(&d);
    return st;
}

/* ---- lists of texts: one block of pointers and characters ---- */

typedef struct text_list {
    clv_context *ctx;
    const char  *path;        /* of the file, for messages */
    char        *chars;       /* each text with its terminating 0 */
    size_t       used, room;
    int64_t      count;
    clv_status   st;
} text_list;

static bool list_add(text_list *list, const char *text, size_t length)
{
    if (list->count >= MAX_ENTRIES || length > MAX_TEXT || list->used + length + 1 > MAX_TEXTS) {
        list->st = clvi_fail(CLV_ERR_FORMAT, "%s: more than %d entries or %zu bytes of text", list->path, MAX_ENTRIES,
                             MAX_TEXTS);
        return false;
    }
    if (list->room - list->used < length + 1) {
        const size_t room = 2 * list->room + length + 1;
        char *grown = clvi_realloc(list->ctx, list->chars, room);
        if (!grown) {
            list->st = CLV_ERR_NOMEM;
            return false;
        }
        list->chars = grown;
        list->room = room;
    }
    memcpy(list->chars + list->used, text, length);
    list->chars[list->used + length] = 0;
    list->used += length + 1;
    list->count++;
    return true;
}

/* Makes the block and frees the list. */
static clv_status list_finish(text_list *list, int64_t *count, char ***out)
{
    const size_t pointers = (size_t)list->count * sizeof(char *);
    char **block = list->st == CLV_OK ? clvi_calloc(list->ctx, 1, pointers + list->used) : NULL;
    if (block) {
        char *chars = (char *)block + pointers;
        if (list->used) memcpy(chars, list->chars, list->used);
        for (int64_t i = 0; i < list->count; i++, chars += strlen(chars) + 1) block[i] = chars;
        *count = list->count;
        *out = block;
    } else if (list->st == CLV_OK) {
        list->st = CLV_ERR_NOMEM;
    }
    clvi_free(list->ctx, list->chars);
    return list->st;
}

static herr_t add_member(hid_t group, const char *name, const H5L_info_t *info, void *arg)
{
    (void)group, (void)info;
    return list_add(arg, name, strlen(name)) ? 0 : -1;
}

static herr_t add_attribute(hid_t object, const char *name, const H5A_info_t *info, void *arg)
{
    (void)object, (void)info;
    return list_add(arg, name, strlen(name)) ? 0 : -1;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

clv_status clvi_h5_list(clvi_h5 *h5, const char *group, bool attributes, int64_t *count, char ***names)
{
    QUIET;
    hid_t object;
    CLV_TRY(open_object(h5, group, &object));
    text_list list = { .ctx = h5->ctx, .path = h5->path };
    hsize_t index = 0;
    const herr_t result = attributes ? H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_NATIVE, &index, add_attribute, &list)
                                     : H5Literate(object, H5_INDEX_NAME, H5_ITER_NATIVE, &index, add_member, &list);
    if (result < 0 && list.st == CLV_OK) list.st = fail_hdf5(h5, CLV_ERR_FORMAT, "list", group);
    close_id(object);
    CLV_TRY(list_finish(&list, count, names));
    qsort(*names, (size_t)*count, sizeof **names, compare_texts);
    return CLV_OK;
}

/* ---- attributes, reading ---- */

typedef struct attribute {
    hid_t       id, type, space;
    H5T_class_t class;
    size_t      item;         /* bytes of an entry */
    int64_t     count;
} attribute;

static void close_attr(attribute *a)
{
    close_id(a->space);
    close_id(a->type);
    close_id(a->id);
}

static clv_status examine_attr(const clvi_h5 *h5, const char *object, const char *name, attribute *a)
{
    a->type = H5Aget_type(a->id);
    a->space = H5Aget_space(a->id);
    if (a->type < 0 || a->space < 0) return fail_hdf5(h5, CLV_ERR_FORMAT, "describe attribute", name);
    a->class = class_of(a->type);
    a->item = H5Tget_size(a->type);
    a->count = H5Sget_simple_extent_npoints(a->space);
    size_t bytes;
    CLV_CHECK(a->count >= 0 && a->count <= MAX_ENTRIES && clvi_mul_size((size_t)a->count, a->item, &bytes) &&
                  bytes <= MAX_TEXTS && bytes <= h5->size,
              CLV_ERR_FORMAT, "%s: attribute '%.200s' of '%.200s' is too large", h5->path, name, object);
    return CLV_OK;
}

static clv_status open_attr(const clvi_h5 *h5, const char *object, const char *name, attribute *out)
{
    hid_t owner;
    attribute a = { .type = H5I_INVALID_HID, .space = H5I_INVALID_HID };
    CLV_TRY(open_object(h5, object, &owner));
    const bool there = H5Aexists(owner, name) > 0;
    a.id = there ? H5Aopen(owner, name, H5P_DEFAULT) : H5I_INVALID_HID;
    clv_status st = CLV_OK;
    if (!there)
        st = clvi_fail(CLV_ERR_FORMAT, "%s: '%.200s' has no attribute '%.200s'", h5->path, *object ? object : "/",
                       name);
    else if (a.id < 0) st = fail_hdf5(h5, CLV_ERR_FORMAT, "open attribute", name);
    close_id(owner);
    if (st == CLV_OK) st = examine_attr(h5, object, name, &a);
    if (st != CLV_OK) close_attr(&a);
    else *out = a;
    return st;
}

bool clvi_h5_has_attr(clvi_h5 *h5, const char *object, const char *attr)
{
    QUIET;
    hid_t owner;
    if (!exists(h5, object)) return false;
    if (open_object(h5, object, &owner) != CLV_OK) return false;
    const bool there = H5Aexists(owner, attr) > 0;
    close_id(owner);
    return there;
}

clv_status clvi_h5_attr_stat(clvi_h5 *h5, const char *object, const char *attr, clv_dtype *dtype, int64_t *count)
{
    QUIET;
    attribute a;
    CLV_TRY(open_attr(h5, object, attr, &a));
    clv_status st = CLV_OK;
    if (a.class == H5T_FLOAT) *dtype = CLV_F64;
    else if (a.class == H5T_INTEGER) *dtype = CLV_I64;
    else if (a.class == H5T_STRING) *dtype = CLV_U8;
    else st = clvi_fail(CLV_ERR_FORMAT, "%s: attribute '%.200s' is neither number nor text", h5->path, attr);
    *count = a.count;
    close_attr(&a);
    return st;
}

/* Exactly n numbers; integers only where `integers` says so. */
static clv_status read_numbers(const clvi_h5 *h5, const char *object, const char *attr, int64_t n, bool integers,
                               void *out)
{
    attribute a;
    CLV_TRY(open_attr(h5, object, attr, &a));
    clv_status st = CLV_OK;
    CLV_CHECK_OR_DONE(a.class == H5T_INTEGER || (a.class == H5T_FLOAT && !integers), CLV_ERR_FORMAT,
                      "%s: attribute '%.200s' of '%.200s' is not %s", h5->path, attr, object,
                      integers ? "a whole number" : "a number");
    CLV_CHECK_OR_DONE(a.count == n, CLV_ERR_FORMAT,
                      "%s: attribute '%.200s' of '%.200s' has %" PRId64 " entries, want %" PRId64, h5->path, attr,
                      object, a.count, n);
    if (n > 0 && H5Aread(a.id, integers ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE, out) < 0)
        st = fail_hdf5(h5, CLV_ERR_FORMAT, "read attribute", attr);
done:
    close_attr(&a);
    return st;
}

clv_status clvi_h5_attr_f64(clvi_h5 *h5, const char *object, const char *attr, double *out)
{
    QUIET;
    return read_numbers(h5, object, attr, 1, false, out);
}

clv_status clvi_h5_attr_f64s(clvi_h5 *h5, const char *object, const char *attr, int n, double *out)
{
    QUIET;
    return read_numbers(h5, object, attr, n, false, out);
}

clv_status clvi_h5_attr_i64(clvi_h5 *h5, const char *object, const char *attr, int64_t *out)
{
    QUIET;
    return read_numbers(h5, object, attr, 1, true, out);
}

/* Strings of fixed length: padded with zeros or blanks, perhaps without a terminating 0. */
static clv_status add_fixed(const clvi_h5 *h5, const char *attr, const attribute *a, text_list *list)
{
    char *raw = clvi_calloc(h5->ctx, (size_t)a->count, a->item);
    if (!raw) return CLV_ERR_NOMEM;
    const bool blanks = H5Tget_strpad(a->type) == H5T_STR_SPACEPAD;
    clv_status st = CLV_OK;
    if (a->count > 0 && H5Aread(a->id, a->type, raw) < 0) st = fail_hdf5(h5, CLV_ERR_FORMAT, "read attribute", attr);
    for (int64_t i = 0; i < a->count && st == CLV_OK; i++) {
        const char *text = raw + (size_t)i * a->item;
        size_t length = strnlen(text, a->item);
        while (blanks && length > 0 && text[length - 1] == ' ') length--;
        if (!list_add(list, text, length)) st = list->st;
    }
    clvi_free(h5->ctx, raw);
    return st;
}

/* The file's bytes, where they are mapped or where HDF5 keeps its copy of an image, and its user block's size. */
static clv_status file_bytes(const clvi_h5 *h5, const uint8_t **bytes, uint64_t *base)
{
    void *image = NULL;
    hsize_t block = 0;   /* the user block's size */
    size_t address_size = 0, length_size = 0;
    const hid_t plan = H5Fget_create_plist(h5->file);
    const bool known = H5Pget_userblock(plan, &block) >= 0 && H5Pget_sizes(plan, &address_size, &length_size) >= 0;
    close_id(plan);
    CLV_CHECK(known && address_size == 8 && length_size == 8 && !h5->writing, CLV_ERR_UNSUPPORTED,
              "%s: texts of variable length are read only from finished files with 8-byte addresses", h5->path);
    if (!h5->map.data && H5Fget_vfd_handle(h5->file, H5P_DEFAULT, &image) < 0)
        return fail_hdf5(h5, CLV_ERR_FORMAT, "find the bytes of", h5->path);
    *bytes = h5->map.data ? h5->map.data : *(const uint8_t **)image;
    *base = block;
    return CLV_OK;
}

static clv_status add_variable(const clvi_h5 *h5, const char *attr, const attribute *a, text_list *list)
{
    const uint8_t *bytes = NULL;
    uint64_t base = 0;
    CLV_TRY(file_bytes(h5, &bytes, &base));
    uint8_t *refs = clvi_calloc(h5->ctx, (size_t)a->count, CLVI_H5_REF_SIZE);
    if (!refs) return CLV_ERR_NOMEM;
    clv_status st = CLV_OK;
    if (clvi_h5_heap_refs(a->id, a->count, refs) != CLV_OK) st = fail_hdf5(h5, CLV_ERR_FORMAT, "read attribute", attr);
    for (int64_t i = 0; i < a->count && st == CLV_OK; i++) {
        const char *text;
        size_t length;
        st = clvi_h5_heap_text(bytes, h5->size, base, refs + i * CLVI_H5_REF_SIZE, &text, &length);
        if (st != CLV_OK) st = clvi_fail(st, "%s: attribute '%.200s': %s", h5->path, attr, clv_error_message());
        else if (!list_add(list, text, length)) st = list->st;
    }
    clvi_free(h5->ctx, refs);
    return st;
}

static clv_status read_texts(const clvi_h5 *h5, const char *object, const char *attr, int64_t *count, char ***out)
{
    attribute a;
    CLV_TRY(open_attr(h5, object, attr, &a));
    text_list list = { .ctx = h5->ctx, .path = h5->path };
    if (a.class != H5T_STRING)
        list.st = clvi_fail(CLV_ERR_FORMAT, "%s: attribute '%.200s' of '%.200s' is not text", h5->path, attr, object);
    else if (H5Tis_variable_str(a.type) > 0) list.st = add_variable(h5, attr, &a, &list);
    else list.st = add_fixed(h5, attr, &a, &list);
    close_attr(&a);
    return list_finish(&list, count, out);
}

clv_status clvi_h5_attr_texts(clvi_h5 *h5, const char *object, const char *attr, int64_t *count, char ***out)
{
    QUIET;
    return read_texts(h5, object, attr, count, out);
}

clv_status clvi_h5_attr_text(clvi_h5 *h5, const char *object, const char *attr, char **out)
{
    QUIET;
    int64_t count;
    char **texts;
    CLV_TRY(read_texts(h5, object, attr, &count, &texts));
    clv_status st = CLV_OK;
    CLV_CHECK_OR_DONE(count == 1, CLV_ERR_FORMAT, "%s: attribute '%.200s' of '%.200s' has %" PRId64 " entries, want 1",
                      h5->path, attr, object, count);
    *out = clvi_strdup(h5->ctx, texts[0]);
    if (!*out) st = CLV_ERR_NOMEM;
done:
    clvi_free(h5->ctx, texts);
    return st;
}

/* ---- writing ---- */

/* No times, or two files of the same content would differ. Tracked attributes bring the newer object header, which may
 * hold an attribute of more than 64 KiB. */
static hid_t object_plan(hid_t class)
{
    const hid_t plan = H5Pcreate(class);
    (void)H5Pset_obj_track_times(plan, false);
    (void)H5Pset_attr_creation_order(plan, H5P_CRT_ORDER_TRACKED);
    return plan;
}

static clv_status check_disk(const clvi_h5 *h5)
{
    CLV_CHECK(!h5->disk_error, CLV_ERR_IO, "%s: cannot write '%.200s': %s", h5->path, h5->temp,
              strerror(h5->disk_error));
    return CLV_OK;
}

static clv_status create_file(clvi_h5 *h5)
{
    const hid_t access = access_list(), plan = object_plan(H5P_FILE_CREATE);
    if (h5->sealed) (void)H5Pset_userblock(plan, SEAL_SIZE);
    (void)clvi_h5_disk_use(access, &h5->disk_error);
    h5->file = H5Fcreate(h5->temp, H5F_ACC_TRUNC, plan, access);
    clv_status st = check_disk(h5);
    if (st == CLV_OK && h5->file < 0) st = fail_hdf5(h5, CLV_ERR_IO, "create", h5->temp);
    close_id(plan);
    close_id(access);
    return st;
}

clv_status clvi_h5_create(clv_context *ctx, const char *path, bool sealed, clvi_h5 **out)
{
    QUIET;
    char temp[PATH_MAX];
    clvi_h5 *h5;
    *out = NULL;
    CLV_TRY(clvi_file_temp(path, temp, sizeof temp));
    CLV_TRY(make_handle(ctx, path, &h5));
    h5->sealed = sealed;
    h5->size = SIZE_MAX;
    h5->temp = clvi_strdup(ctx, temp);
    clv_status st = h5->temp ? create_file(h5) : CLV_ERR_NOMEM;
    if (st != CLV_OK) {
        free_handle(h5);
        return st;
    }
    h5->writing = true;
    *out = h5;
    return CLV_OK;
}

static clv_status make_group(const clvi_h5 *h5, const char *name)
{
    if (exists(h5, name)) return CLV_OK;
    const hid_t plan = object_plan(H5P_GROUP_CREATE);
    const hid_t group = H5Gcreate2(h5->file, name, H5P_DEFAULT, plan, H5P_DEFAULT);
    const clv_status st = group < 0 ? fail_hdf5(h5, CLV_ERR_IO, "create group", name) : CLV_OK;
    close_id(group);
    close_id(plan);
    return st;
}

/* The groups above `name`, and itself if `whole`. */
static clv_status make_groups(const clvi_h5 *h5, const char *name, bool whole)
{
    char part[MAX_NAME];
    name = skip_slashes(name);
    const size_t length = strlen(name);
    CLV_CHECK(length < sizeof part, CLV_ERR_INVALID, "%s: the name '%.80s...' is too long", h5->path, name);
    memcpy(part, name, length + 1);
    for (size_t i = 1; i < length; i++) {
        if (name[i] != '/') continue;
        part[i] = 0;
        CLV_TRY(make_group(h5, part));
        part[i] = '/';
    }
    return whole && length > 0 ? make_group(h5, part) : CLV_OK;
}

clv_status clvi_h5_group(clvi_h5 *h5, const char *name)
{
    QUIET;
    return make_groups(h5, name, true);
}

static clv_status create_dataset(const clvi_h5 *h5, const char *name, clv_dtype dtype, int ndim, const int64_t *shape)
{
    hsize_t dims[CLV_MAX_DIMS] = { 0 };
    CLV_CHECK(ndim >= 0 && ndim <= CLV_MAX_DIMS, CLV_ERR_INVALID, "%s: data set '%.200s' would have %d dimensions",
              h5->path, name, ndim);
    for (int i = 0; i < ndim; i++) {
        CLV_CHECK(shape[i] >= 0, CLV_ERR_INVALID, "%s: data set '%.200s' would have a negative size", h5->path, name);
        dims[i] = (hsize_t)shape[i];
    }
    CLV_TRY(make_groups(h5, name, false));
    const hid_t type = memory_type(dtype), plan = object_plan(H5P_DATASET_CREATE);
    const hid_t space = ndim > 0 ? H5Screate_simple(ndim, dims, NULL) : H5Screate(H5S_SCALAR);
    (void)H5Pset_layout(plan, H5D_CONTIGUOUS);
    (void)H5Pset_alloc_time(plan, H5D_ALLOC_TIME_EARLY);
    const hid_t id = H5Dcreate2(h5->file, skip_slashes(name), type, space, H5P_DEFAULT, plan, H5P_DEFAULT);
    const clv_status st = id < 0 ? fail_hdf5(h5, CLV_ERR_IO, "create data set", name) : CLV_OK;
    close_id(id);
    close_id(space);
    close_id(plan);
    close_id(type);
    return st;
}

clv_status clvi_h5_create_dataset(clvi_h5 *h5, const char *name, clv_dtype dtype, int ndim, const int64_t *shape)
{
    QUIET;
    return create_dataset(h5, name, dtype, ndim, shape);
}

clv_status clvi_h5_write(clvi_h5 *h5, const char *name, const clv_view *src)
{
    QUIET;
    dataset d;
    CLV_TRY(check_host(h5, name, src, clv_view_count(src)));
    CLV_TRY(create_dataset(h5, name, src->dtype, src->ndim, src->shape));
    if (clv_view_count(src) == 0) return CLV_OK;
    CLV_TRY(open_dataset(h5, name, &d));
    const clv_status st = transfer(h5, name, &d, d.space, src, true);
    close_dataset(&d);
    return st == CLV_OK ? check_disk(h5) : st;
}

clv_status clvi_h5_write_rows(clvi_h5 *h5, const char *name, int64_t first, const clv_view *src)
{
    QUIET;
    dataset d;
    CLV_CHECK(src->ndim >= 1, CLV_ERR_SHAPE, "%s: data set '%.200s': the view has no rows", h5->path, name);
    CLV_TRY(open_dataset(h5, name, &d));
    const clv_status st = transfer_rows(h5, name, &d, first, src->shape[0], src, true);
    close_dataset(&d);
    return st == CLV_OK ? check_disk(h5) : st;
}

/* Writes n entries, or one without dimensions when n is negative. An attribute of that name is replaced. */
static clv_status set_attr(const clvi_h5 *h5, const char *object, const char *attr, hid_t type, int64_t n,
                           const void *values)
{
    hid_t owner;
    CLV_TRY(open_object(h5, object, &owner));
    const hsize_t count = n < 0 ? 1 : (hsize_t)n;
    const hid_t space = n < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, NULL);
    if (H5Aexists(owner, attr) > 0) (void)H5Adelete(owner, attr);
    const hid_t id = H5Acreate2(owner, attr, type, space, H5P_DEFAULT, H5P_DEFAULT);
    clv_status st = CLV_OK;
    if (id < 0 || (count > 0 && H5Awrite(id, type, values) < 0))
        st = fail_hdf5(h5, CLV_ERR_IO, "write attribute", attr);
    close_id(id);
    close_id(space);
    close_id(owner);
    return st;
}

clv_status clvi_h5_set_attr_f64(clvi_h5 *h5, const char *object, const char *attr, double v)
{
    QUIET;
    return set_attr(h5, object, attr, H5T_NATIVE_DOUBLE, -1, &v);
}

clv_status clvi_h5_set_attr_f64s(clvi_h5 *h5, const char *object, const char *attr, int n, const double *v)
{
    QUIET;
    CLV_CHECK(n >= 0, CLV_ERR_INVALID, "%s: attribute '%.200s' would have %d entries", h5->path, attr, n);
    return set_attr(h5, object, attr, H5T_NATIVE_DOUBLE, n, v);
}

clv_status clvi_h5_set_attr_i64(clvi_h5 *h5, const char *object, const char *attr, int64_t v)
{
    QUIET;
    return set_attr(h5, object, attr, H5T_NATIVE_INT64, -1, &v);
}

/* Fixed-length UTF-8. Variable-length strings would go through a heap that other files fill differently, and reading
 * them back makes HDF5 believe lengths found in the file. */
static clv_status set_texts(const clvi_h5 *h5, const char *object, const char *attr, int64_t n, const char *const *v)
{
    const int64_t count = n < 0 ? 1 : n;
    size_t width = 1, bytes;
    for (int64_t i = 0; i < count; i++) width = CLVI_MAX(width, strlen(v[i]) + 1);
    CLV_CHECK(count <= MAX_ENTRIES && width <= MAX_TEXT + 1 && clvi_mul_size((size_t)count, width, &bytes) &&
                  bytes <= MAX_TEXTS,
              CLV_ERR_INVALID, "%s: attribute '%.200s' is too large: %" PRId64 " texts of %zu bytes", h5->path, attr,
              count, width);
    char *packed = clvi_calloc(h5->ctx, (size_t)count, width);
    if (!packed) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < count; i++) memcpy(packed + (size_t)i * width, v[i], strlen(v[i]));
    const hid_t type = H5Tcopy(H5T_C_S1);
    (void)H5Tset_size(type, width);
    (void)H5Tset_cset(type, H5T_CSET_UTF8);
    const clv_status st = set_attr(h5, object, attr, type, n, packed);
    close_id(type);
    clvi_free(h5->ctx, packed);
    return st;
}

clv_status clvi_h5_set_attr_text(clvi_h5 *h5, const char *object, const char *attr, const char *v)
{
    QUIET;
    return set_texts(h5, object, attr, -1, &v);
}

clv_status clvi_h5_set_attr_texts(clvi_h5 *h5, const char *object, const char *attr, int64_t n, const char *const *v)
{
    QUIET;
    CLV_CHECK(n >= 0, CLV_ERR_INVALID, "%s: attribute '%.200s' would have %" PRId64 " entries", h5->path, attr, n);
    return set_texts(h5, object, attr, n, v);
}

clv_status clvi_h5_commit(clvi_h5 *h5)
{
    QUIET;
    clv_status st = CLV_OK;
    CLV_CHECK_OR_DONE(h5->writing, CLV_ERR_INVALID, "%s: was opened for reading; nothing to commit", h5->path);
    if (H5Fflush(h5->file, H5F_SCOPE_LOCAL) < 0) st = fail_hdf5(h5, CLV_ERR_IO, "write", h5->temp);
    else if (H5Fclose(h5->file) < 0) st = fail_hdf5(h5, CLV_ERR_IO, "close", h5->temp);
    else h5->file = H5I_INVALID_HID;
    if (st == CLV_OK) st = check_disk(h5);
    if (st == CLV_OK && h5->sealed) st = write_seal(h5->temp);
    CLV_TRY_OR_DONE(st);
    st = clvi_file_commit(h5->temp, h5->path);
    h5->writing = false;   /* renamed or removed: nothing is left to remove */
done:
    clvi_h5_close(h5);
    return st;
}
