/* h5_seal.c: the block in front of a file that tells the length and checksum of the rest, so that damage is found before
 * HDF5 parses a byte. */
#include "core/file.h"
#include "core/h5_parts.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SEAL_MAGIC "CLEAVE1\n"

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
static void make_seal(uint8_t seal[CLVI_H5_SEAL_SIZE], const uint8_t *rest, size_t size)
{
    memset(seal, 0, CLVI_H5_SEAL_SIZE);
    memcpy(seal, SEAL_MAGIC, 8);
    put_le(seal + 8, size, 8);
    put_le(seal + 16, clvi_crc32c(0, rest, size), 4);
}

/* A length that fits behind other first bytes is a seal whose magic is damaged, not a foreign file. */
static bool begins_sealed(const uint8_t *bytes, size_t size)
{
    if (size < 16) return false;
    return memcmp(bytes, SEAL_MAGIC, 8) == 0 ||
           (size > CLVI_H5_SEAL_SIZE && get_le(bytes + 8, 8) == size - CLVI_H5_SEAL_SIZE);
}

clv_status clvi_h5_verify_bytes(const char *path, const uint8_t *bytes, size_t size, bool *sealed)
{
    *sealed = begins_sealed(bytes, size);
    if (!*sealed) return CLV_OK;
    CLV_CHECK(size > CLVI_H5_SEAL_SIZE, CLV_ERR_FORMAT, "%s: damaged: the seal takes %d bytes, the file has %zu", path,
              CLVI_H5_SEAL_SIZE, size);
    const uint64_t promised = get_le(bytes + 8, 8);
    CLV_CHECK(promised == size - CLVI_H5_SEAL_SIZE, CLV_ERR_FORMAT,
              "%s: damaged: the seal promises %" PRIu64 " bytes, %zu follow", path, promised, size - CLVI_H5_SEAL_SIZE);
    uint8_t seal[CLVI_H5_SEAL_SIZE];
    make_seal(seal, bytes + CLVI_H5_SEAL_SIZE, size - CLVI_H5_SEAL_SIZE);
    CLV_CHECK(memcmp(seal, bytes, CLVI_H5_SEAL_SIZE) == 0, CLV_ERR_FORMAT,
              "%s: damaged: checksum %08" PRIx64 " in the seal, %08" PRIx64 " in the content", path,
              get_le(bytes + 16, 4), get_le(seal + 16, 4));
    return CLV_OK;
}

bool clvi_h5_is_sealed(const char *path)
{
    clvi_map map;
    if (clvi_map_open(path, &map) != CLV_OK) return false;
    const bool sealed = begins_sealed(map.data, map.size);
    clvi_map_close(&map);
    return sealed;
}

clv_status clvi_h5_write_seal(const char *path)
{
    clvi_map map;
    uint8_t seal[CLVI_H5_SEAL_SIZE];
    CLV_TRY(clvi_map_open(path, &map));
    const bool whole = map.size > CLVI_H5_SEAL_SIZE;
    if (whole) make_seal(seal, map.data + CLVI_H5_SEAL_SIZE, map.size - CLVI_H5_SEAL_SIZE);
    clvi_map_close(&map);
    CLV_CHECK(whole, CLV_ERR_INTERNAL, "%s: HDF5 wrote less than its user block", path);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    CLV_CHECK(fd >= 0, CLV_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    clv_status st = CLV_OK;
    if (pwrite(fd, seal, CLVI_H5_SEAL_SIZE, 0) != CLVI_H5_SEAL_SIZE)
        st = clvi_fail(CLV_ERR_IO, "cannot write the seal of '%s': %s", path, strerror(errno));
    close(fd);
    return st;
}
