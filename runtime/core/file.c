/* file.c: bounded reads, mappings, whole-or-absent writes, CRC-32C. */
#include "core/file.h"
#include "core/checked.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static clv_status io_error(const char *what, const char *path)
{
    return clvi_fail(CLV_ERR_IO, "cannot %s '%s': %s", what, path, strerror(errno));
}

/* Opens a regular file for reading and tells its size. O_NONBLOCK: opening a pipe must not hang. */
static clv_status open_regular(const char *path, int *fd, size_t *size)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return io_error("open", path);
    struct stat info;
    clv_status st = CLV_OK;
    if (fstat(*fd, &info) != 0) st = io_error("examine", path);
    else if (!S_ISREG(info.st_mode)) st = clvi_fail(CLV_ERR_IO, "cannot read '%s': not a regular file", path);
    else *size = (size_t)info.st_size;
    if (st != CLV_OK) close(*fd);
    return st;
}

static clv_status read_all(int fd, const char *path, uint8_t *bytes, size_t *size)
{
    size_t have = 0;
    while (have < *size) {
        const ssize_t got = read(fd, bytes + have, *size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return io_error("read", path);
        if (got == 0) break;   /* the file became shorter meanwhile */
        have += (size_t)got;
    }
    *size = have;
    return CLV_OK;
}

clv_status clvi_file_read(clv_context *ctx, const char *path, size_t limit, uint8_t **bytes, size_t *size)
{
    int fd;
    size_t length;
    CLV_TRY(open_regular(path, &fd, &length));
    clv_status st = CLV_OK;
    uint8_t *memory = NULL;
    CLV_CHECK_OR_DONE(length <= limit, CLV_ERR_FORMAT, "'%s' has %zu bytes, more than the %zu allowed", path, length,
                      limit);
    memory = clvi_calloc(ctx, length + 1, 1);
    if (!memory) st = clvi_fail_in(CLV_ERR_NOMEM, path);
    else st = read_all(fd, path, memory, &length);
done:
    close(fd);
    if (st != CLV_OK) {
        clvi_free(ctx, memory);
        return st;
    }
    *bytes = memory;
    *size = length;
    return CLV_OK;
}

clv_status clvi_map_open(const char *path, clvi_map *out)
{
    int fd;
    size_t size;
    *out = (clvi_map) { 0 };
    CLV_TRY(open_regular(path, &fd, &size));
    clv_status st = CLV_OK;
    if (size > 0) {
        void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) st = io_error("map", path);
        else *out = (clvi_map) { data, size };
    }
    close(fd);
    return st;
}

void clvi_map_close(clvi_map *map)
{
    if (map->data) (void)munmap((void *)(uintptr_t)map->data, map->size);
    *map = (clvi_map) { 0 };
}

clv_status clvi_file_temp(const char *path, char *temp, size_t size)
{
    static atomic_uint running;   /* two writers of one path must not share a temporary file */
    const int length = snprintf(temp, size, "%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&running, 1));
    CLV_CHECK(length > 0 && (size_t)length < size, CLV_ERR_INVALID, "the path '%.80s...' is too long", path);
    return CLV_OK;
}

bool clvi_file_is_temp(const char *name, size_t *length)
{
    const char *tail = strstr(name, ".tmp-");
    long pid = 0;
    unsigned count = 0;
    int used = 0;
    if (!tail || sscanf(tail, ".tmp-%ld-%u%n", &pid, &count, &used) != 2 || tail[used]) return false;
    *length = (size_t)(tail - name);
    return true;
}

void clvi_file_sweep(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char folder[PATH_MAX] = ".";
    size_t length;
    if (slash) snprintf(folder, sizeof folder, "%.*s", (int)(slash == path ? 1 : slash - path), path);
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (clvi_file_is_temp(e->d_name, &length) && length == strlen(base) && !memcmp(e->d_name, base, length))
            (void)unlinkat(dirfd(dir), e->d_name, 0);
    if (dir) closedir(dir);
}

static clv_status sync_path(const char *path, int flags)
{
    const int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) return io_error("open", path);
    clv_status st = CLV_OK;
    /* Some file systems cannot sync a directory and say EINVAL: there is nothing left to do for those. */
    if (fsync(fd) != 0 && !(errno == EINVAL && (flags & O_DIRECTORY))) st = io_error("sync", path);
    close(fd);
    return st;
}

static clv_status sync_parent(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash) return sync_path(".", O_RDONLY | O_DIRECTORY);
    const size_t length = slash == path ? 1 : (size_t)(slash - path);
    CLV_CHECK(length < sizeof parent, CLV_ERR_INVALID, "the path '%.80s...' is too long", path);
    memcpy(parent, path, length);
    parent[length] = 0;
    return sync_path(parent, O_RDONLY | O_DIRECTORY);
}

clv_status clvi_file_commit(const char *temp, const char *path)
{
    clv_status st = sync_path(temp, O_RDONLY);
    if (st == CLV_OK && rename(temp, path) != 0)
        st = clvi_fail(CLV_ERR_IO, "cannot rename '%s' to '%s': %s", temp, path, strerror(errno));
    if (st != CLV_OK) {
        (void)unlink(temp);
        return st;
    }
    return sync_parent(path);
}

static clv_status write_all(int fd, const char *path, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t put = write(fd, bytes, size);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return io_error("write", path);
        bytes += put;
        size -= (size_t)put;
    }
    return CLV_OK;
}

clv_status clvi_file_write(const char *path, const void *bytes, size_t size)
{
    char temp[PATH_MAX];
    CLV_TRY(clvi_file_temp(path, temp, sizeof temp));
    const int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return io_error("create", temp);
    clv_status st = write_all(fd, temp, bytes, size);
    if (close(fd) != 0 && st == CLV_OK) st = io_error("close", temp);
    if (st != CLV_OK) {
        (void)unlink(temp);
        return st;
    }
    return clvi_file_commit(temp, path);
}

static clv_status make_directory(const char *path)
{
    struct stat info;
    if (mkdir(path, 0777) == 0) return CLV_OK;
    const int why = errno;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return CLV_OK;
    errno = why;
    return io_error("create directory", path);
}

clv_status clvi_mkdirs(const char *path)
{
    char part[PATH_MAX];
    const size_t length = strlen(path);
    CLV_CHECK(length > 0 && length < sizeof part, CLV_ERR_INVALID, "a directory's path has %zu characters, want 1 to"
              " %zu", length, sizeof part - 1);
    memcpy(part, path, length + 1);
    for (size_t i = 1; i < length; i++) {
        if (part[i] != '/') continue;
        part[i] = 0;
        CLV_TRY(make_directory(part));
        part[i] = '/';
    }
    return make_directory(part);
}

/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), four bits at a time. */
uint32_t clvi_crc32c_portable(uint32_t crc, const void *bytes, size_t size)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const uint8_t *p = bytes;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint64_t state = ~crc;
    for (; size >= 8; p += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        state = _mm_crc32_u64(state, word);
    }
    for (; size > 0; p++, size--) state = _mm_crc32_u8((uint32_t)state, *p);
    return ~(uint32_t)state;
}

uint32_t clvi_crc32c(uint32_t crc, const void *bytes, size_t size)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(crc, bytes, size) : clvi_crc32c_portable(crc, bytes, size);
}
#else
uint32_t clvi_crc32c(uint32_t crc, const void *bytes, size_t size)
{
    return clvi_crc32c_portable(crc, bytes, size);
}
#endif
