/* h5.c: HDF5 files as a whole, read with suspicion and written so that the same content gives the same bytes: opening,
 * groups, creating, committing. Data sets are in h5_data.c, attributes in h5_attr.c, the seal in h5_seal.c. */
#include "core/file.h"
#include "core/h5_parts.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define MAX_NAME   1024
#define ALIGN_FROM 512                   /* data of this size and more starts at a multiple of CLVI_ALIGN */

/* ---- calls into HDF5 ---- */

clvi_h5_quiet clvi_h5_quiet_enter(void)
{
    clvi_h5_quiet s = { NULL, NULL };
    (void)H5Eget_auto2(H5E_DEFAULT, &s.print, &s.arg);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return s;
}

void clvi_h5_quiet_leave(clvi_h5_quiet *s)
{
    (void)H5Eset_auto2(H5E_DEFAULT, s->print, s->arg);
}

static herr_t innermost(unsigned n, const H5E_error2_t *error, void *text)
{
    if (n == 0) snprintf(text, 200, "%s", error->desc ? error->desc : "");
    return 0;
}

clv_status clvi_h5_fail(const clvi_h5 *h5, clv_status status, const char *doing, const char *name)
{
    char why[200] = "no reason given";
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, why);
    return clvi_fail(status, "%s: cannot %s '%.200s': HDF5 says: %s", h5->path, doing, name, why);
}

void clvi_h5_close_id(hid_t id)
{
    if (id >= 0) (void)H5Idec_ref(id);
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
    clvi_h5_close_id(h5->file);
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
    const clv_status st = h5->file < 0 ? clvi_h5_fail(h5, CLV_ERR_FORMAT, "open as HDF5", h5->path) : CLV_OK;
    clvi_h5_close_id(access);
    return st;
}

clv_status clvi_h5_map(const char *path, clvi_map *map, bool *sealed)
{
    CLV_TRY(clvi_map_open(path, map));
    const clv_status st = clvi_h5_verify_bytes(path, map->data, map->size, sealed);
    if (st != CLV_OK) clvi_map_close(map);
    return st;
}

clv_status clvi_h5_open_map(clv_context *ctx, const char *path, clvi_map *map, bool sealed, clvi_h5 **out)
{
    CLVI_H5_QUIET;
    clvi_h5 *h5 = NULL;
    *out = NULL;
    clv_status st = make_handle(ctx, path, &h5);
    if (st != CLV_OK) {
        clvi_map_close(map);
        return st;
    }
    h5->sealed = sealed;
    h5->size = map->size;
    h5->map = *map;
    st = open_file(h5, NULL);
    if (st == CLV_OK) *out = h5;
    else free_handle(h5);
    return st;
}

clv_status clvi_h5_open(clv_context *ctx, const char *path, clvi_h5 **out)
{
    clvi_map map;
    bool sealed;
    *out = NULL;
    CLV_TRY(clvi_h5_map(path, &map, &sealed));
    return clvi_h5_open_map(ctx, path, &map, sealed, out);
}

clv_status clvi_h5_open_memory(clv_context *ctx, const void *bytes, size_t size, clvi_h5 **out)
{
    CLVI_H5_QUIET;
    *out = NULL;
    CLV_CHECK(bytes && size > 0, CLV_ERR_FORMAT, "HDF5 image in memory: it is empty");
    bool sealed;
    clvi_h5 *h5;
    CLV_TRY(clvi_h5_verify_bytes("HDF5 image in memory", bytes, size, &sealed));
    CLV_TRY(make_handle(ctx, "HDF5 image in memory", &h5));
    h5->sealed = sealed;
    h5->size = size;
    const clv_status st = open_file(h5, bytes);
    if (st == CLV_OK) *out = h5;
    else free_handle(h5);
    return st;
}

bool clvi_h5_sealed(const clvi_h5 *h5)
{
    return h5->sealed;
}

void clvi_h5_close(clvi_h5 *h5)
{
    if (!h5) return;
    CLVI_H5_QUIET;
    if (h5->writing) {
        clvi_h5_close_id(h5->file);
        h5->file = H5I_INVALID_HID;
        if (h5->disk.end == 0) (void)unlink(h5->temp);
    }
    free_handle(h5);
}

/* ---- names ---- */

const char *clvi_h5_skip_slashes(const char *name)
{
    return name + strspn(name, "/");
}

bool clvi_h5_exists(const clvi_h5 *h5, const char *name)
{
    char part[MAX_NAME];
    name = clvi_h5_skip_slashes(name);
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
    CLVI_H5_QUIET;
    return clvi_h5_exists(h5, name);
}

clv_status clvi_h5_open_object(const clvi_h5 *h5, const char *name, hid_t *out)
{
    CLV_CHECK(clvi_h5_exists(h5, name), CLV_ERR_FORMAT, "%s: there is no '%.200s'", h5->path, name);
    *out = *clvi_h5_skip_slashes(name) ? H5Oopen(h5->file, clvi_h5_skip_slashes(name), H5P_DEFAULT)
                                       : H5Gopen2(h5->file, "/", H5P_DEFAULT);
    return *out < 0 ? clvi_h5_fail(h5, CLV_ERR_FORMAT, "open", name) : CLV_OK;
}

/* ---- writing ---- */

/* No times, or two files of the same content would differ. Tracked attributes bring the newer object header, which may
 * hold an attribute of more than 64 KiB. */
hid_t clvi_h5_object_plan(hid_t class)
{
    const hid_t plan = H5Pcreate(class);
    (void)H5Pset_obj_track_times(plan, false);
    (void)H5Pset_attr_creation_order(plan, H5P_CRT_ORDER_TRACKED);
    return plan;
}

clv_status clvi_h5_check_disk(const clvi_h5 *h5)
{
    CLV_CHECK(!h5->disk.error, CLV_ERR_IO, "%s: cannot write '%.200s': %s", h5->path, h5->temp,
              strerror(h5->disk.error));
    return CLV_OK;
}

static clv_status create_file(clvi_h5 *h5)
{
    const hid_t access = access_list(), plan = clvi_h5_object_plan(H5P_FILE_CREATE);
    if (h5->sealed) (void)H5Pset_userblock(plan, CLVI_H5_SEAL_SIZE);
    if (h5->disk.end > 0) (void)H5Pset_small_data_block_size(access, 0);   /* each data set asks for room by itself */
    (void)clvi_h5_disk_use(access, &h5->disk);
    h5->file = H5Fcreate(h5->temp, H5F_ACC_TRUNC, plan, access);
    clv_status st = clvi_h5_check_disk(h5);
    if (st == CLV_OK && h5->file < 0) st = clvi_h5_fail(h5, CLV_ERR_IO, "create", h5->temp);
    clvi_h5_close_id(plan);
    clvi_h5_close_id(access);
    return st;
}

static clv_status start_writing(clv_context *ctx, const char *temp, const char *path, bool sealed, int64_t kept,
                                clvi_h5 **out)
{
    clvi_h5 *h5;
    CLV_TRY(make_handle(ctx, path, &h5));
    h5->sealed = sealed;
    h5->size = SIZE_MAX;
    h5->disk.head = kept ? CLVI_H5_HEAD : 0;
    h5->disk.end = (uint64_t)kept;
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

clv_status clvi_h5_create(clv_context *ctx, const char *path, bool sealed, clvi_h5 **out)
{
    CLVI_H5_QUIET;
    char temp[PATH_MAX];
    *out = NULL;
    CLV_TRY(clvi_file_temp(path, temp, sizeof temp));
    return start_writing(ctx, temp, path, sealed, 0, out);
}

/* What an earlier attempt left around the bytes becomes zeros, or the file would tell of it. */
static clv_status clear_around(const char *temp, int64_t end)
{
    static const char zeros[CLVI_H5_HEAD];
    const int fd = open(temp, O_WRONLY | O_CLOEXEC);
    CLV_CHECK(fd >= 0, CLV_ERR_IO, "cannot open '%s': %s", temp, strerror(errno));
    const bool done = pwrite(fd, zeros, sizeof zeros, 0) == (ssize_t)sizeof zeros && ftruncate(fd, end) == 0;
    const int why = errno;
    close(fd);
    CLV_CHECK(done, CLV_ERR_IO, "cannot write '%s': %s", temp, strerror(why));
    return CLV_OK;
}

clv_status clvi_h5_create_around(clv_context *ctx, const char *temp, const char *path, int64_t end, clvi_h5 **out)
{
    CLVI_H5_QUIET;
    *out = NULL;
    CLV_CHECK(end > CLVI_H5_HEAD, CLV_ERR_INVALID, "%s: no bytes to keep", path);
    CLV_TRY(clear_around(temp, end));
    return start_writing(ctx, temp, path, false, end, out);
}

static clv_status make_group(const clvi_h5 *h5, const char *name)
{
    if (clvi_h5_exists(h5, name)) return CLV_OK;
    const hid_t plan = clvi_h5_object_plan(H5P_GROUP_CREATE);
    const hid_t group = H5Gcreate2(h5->file, name, H5P_DEFAULT, plan, H5P_DEFAULT);
    const clv_status st = group < 0 ? clvi_h5_fail(h5, CLV_ERR_IO, "create group", name) : CLV_OK;
    clvi_h5_close_id(group);
    clvi_h5_close_id(plan);
    return st;
}

clv_status clvi_h5_make_groups(const clvi_h5 *h5, const char *name, bool whole)
{
    char part[MAX_NAME];
    name = clvi_h5_skip_slashes(name);
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
    CLVI_H5_QUIET;
    return clvi_h5_make_groups(h5, name, true);
}

clv_status clvi_h5_commit(clvi_h5 *h5)
{
    CLVI_H5_QUIET;
    clv_status st = CLV_OK;
    CLV_CHECK_OR_DONE(h5->writing, CLV_ERR_INVALID, "%s: was opened for reading; nothing to commit", h5->path);
    if (H5Fflush(h5->file, H5F_SCOPE_LOCAL) < 0) st = clvi_h5_fail(h5, CLV_ERR_IO, "write", h5->temp);
    else if (H5Fclose(h5->file) < 0) st = clvi_h5_fail(h5, CLV_ERR_IO, "close", h5->temp);
    else h5->file = H5I_INVALID_HID;
    if (st == CLV_OK) st = clvi_h5_check_disk(h5);
    if (st == CLV_OK && h5->sealed) st = clvi_h5_write_seal(h5->temp);
    CLV_TRY_OR_DONE(st);
    st = clvi_file_commit(h5->temp, h5->path);
    h5->writing = false;   /* renamed or removed: nothing is left to remove */
done:
    clvi_h5_close(h5);
    return st;
}
