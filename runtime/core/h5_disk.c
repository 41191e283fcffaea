/* h5_disk.c: see h5_disk.h. Otherwise as plain as a driver can be: pread, pwrite, ftruncate. */
#include "core/h5_disk.h"
#include "core/context.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_ADDRESS ((haddr_t)INT64_MAX)

/* What the access list carries. */
typedef struct disk_info {
    clvi_h5_disk *shared;
} disk_info;

typedef struct disk_file {
    H5FD_t    base;           /* HDF5's part, first */
    int       fd;
    clvi_h5_disk *shared;
    haddr_t   allocated, end; /* what HDF5 counts on, and what is in the file */
    haddr_t   low;            /* what of the room before kept bytes is taken */
    dev_t     device;
    ino_t     inode;
} disk_file;

static H5FD_t *disk_open(const char *name, unsigned flags, hid_t access, haddr_t max)
{
    (void)max;
    struct stat info;
    const disk_info *given = H5Pget_driver_info(access);
    disk_file *file = given ? calloc(1, sizeof *file) : NULL;   /* HDF5's side: it has no context */
    if (!file) return NULL;
    file->shared = given->shared;
    const bool kept = file->shared->end > 0;
    const int how = (flags & H5F_ACC_RDWR ? O_RDWR : O_RDONLY) | (flags & H5F_ACC_TRUNC && !kept ? O_TRUNC : 0) |
                    (flags & H5F_ACC_CREAT ? O_CREAT : 0) | (flags & H5F_ACC_EXCL ? O_EXCL : 0);
    file->fd = open(name, how | O_CLOEXEC, 0666);
    if (file->fd < 0 || fstat(file->fd, &info) != 0) {
        file->shared->error = errno;
        if (file->fd >= 0) (void)close(file->fd);
        free(file);
        return NULL;
    }
    file->shared->error = 0;   /* HDF5 looks for the file before it creates it */
    file->end = kept ? 0 : (haddr_t)info.st_size;   /* an empty file is what HDF5 expects to create */
    file->device = info.st_dev;
    file->inode = info.st_ino;
    return &file->base;
}

static disk_file *of(const H5FD_t *base)
{
    return (disk_file *)(uintptr_t)base;
}

/* Closing can be where a network file system admits that it did not write. */
static herr_t disk_close(H5FD_t *base)
{
    disk_file *file = of(base);
    if (close(file->fd) != 0 && !file->shared->error) file->shared->error = errno;
    free(file);
    return 0;
}

static int disk_compare(const H5FD_t *a, const H5FD_t *b)
{
    const disk_file *x = of(a), *y = of(b);
    if (x->device != y->device) return x->device < y->device ? -1 : 1;
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static herr_t disk_query(const H5FD_t *base, unsigned long *flags)
{
    (void)base;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t disk_get_eoa(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return of(base)->allocated;
}

static herr_t disk_set_eoa(H5FD_t *base, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    of(base)->allocated = address;
    return 0;
}

/* Without kept bytes: at the end. Else what is announced lies where it lies, and the rest goes before the kept bytes while
 * there is room, then behind them. What HDF5 counts on stays a multiple of the alignment, so that it adds nothing. */
static haddr_t disk_alloc(H5FD_t *base, H5FD_mem_t type, hid_t plan, hsize_t size)
{
    (void)plan;
    disk_file *file = of(base);
    clvi_h5_disk *shared = file->shared;
    if (shared->end == 0) {
        file->allocated += size;
        return file->allocated - size;
    }
    const haddr_t rounded = (size + CLVI_ALIGN - 1) / CLVI_ALIGN * CLVI_ALIGN;
    if (file->allocated == 0) file->allocated = (shared->end + CLVI_ALIGN - 1) / CLVI_ALIGN * CLVI_ALIGN;
    if (type == H5FD_MEM_DRAW && shared->size == size && size > 0) return shared->place;
    if (rounded <= shared->head - file->low) {
        file->low += rounded;
        return file->low - rounded;
    }
    file->allocated += rounded;
    return file->allocated - rounded;
}

static haddr_t disk_get_eof(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return of(base)->end;
}

/* What was never written, or could not be, is zeros. */
static herr_t disk_read(H5FD_t *base, H5FD_mem_t type, hid_t plan, haddr_t address, size_t size, void *buffer)
{
    (void)type, (void)plan;
    char *to = buffer;
    while (size > 0) {
        const ssize_t got = pread(of(base)->fd, to, size, (off_t)address);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            if (got < 0 && !of(base)->shared->error) of(base)->shared->error = errno;
            memset(to, 0, size);
            return 0;
        }
        to += got;
        address += (haddr_t)got;
        size -= (size_t)got;
    }
    return 0;
}

static herr_t disk_write(H5FD_t *base, H5FD_mem_t type, hid_t plan, haddr_t address, size_t size, const void *buffer)
{
    (void)type, (void)plan;
    disk_file *file = of(base);
    const char *from = buffer;
    while (size > 0 && !file->shared->error) {
        const ssize_t put = pwrite(file->fd, from, size, (off_t)address);
        if (put < 0 && errno != EINTR) file->shared->error = errno;
        if (put <= 0) continue;
        from += put;
        address += (haddr_t)put;
        size -= (size_t)put;
    }
    address += size;
    if (address > file->end) file->end = address;
    return 0;
}

static herr_t disk_truncate(H5FD_t *base, hid_t plan, hbool_t closing)
{
    (void)plan, (void)closing;
    disk_file *file = of(base);
    if (file->allocated == file->end) return 0;
    if (!file->shared->error && ftruncate(file->fd, (off_t)file->allocated) != 0) file->shared->error = errno;
    file->end = file->allocated;
    return 0;
}

static const H5FD_class_t disk_class = {
    .name = "cleave_disk", .maxaddr = MAX_ADDRESS, .fc_degree = H5F_CLOSE_WEAK, .fapl_size = sizeof(disk_info),
    .open = disk_open, .close = disk_close, .cmp = disk_compare, .query = disk_query,
    .alloc = disk_alloc, .get_eoa = disk_get_eoa, .set_eoa = disk_set_eoa, .get_eof = disk_get_eof,
    .read = disk_read, .write = disk_write, .truncate = disk_truncate, .fl_map = H5FD_FLMAP_DICHOTOMY,
};

/* Registered once and kept until the process ends: HDF5 closes a file by giving up its driver first and asking it for its
 * close afterwards, so the last file must not be what the driver lives by. */
static hid_t driver = H5I_INVALID_HID;

static void register_driver(void)
{
    driver = H5FDregister(&disk_class);
}

herr_t clvi_h5_disk_use(hid_t access, clvi_h5_disk *disk)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const disk_info info = { disk };
    (void)pthread_once(&once, register_driver);
    return driver < 0 ? -1 : H5Pset_driver(access, driver, &info);
}
