/* file.h: reading bytes with a limit, mapping files, writing files that are either whole or absent. */
#ifndef CLVI_CORE_FILE_H
#define CLVI_CORE_FILE_H

#include "core/context.h"
#include <stdio.h>

/* Whole regular file into memory (clvi_free it), followed by a 0 that *size does not count.
 * Errors: CLV_ERR_IO; CLV_ERR_NOMEM; CLV_ERR_FORMAT when it is larger than `limit`. */
clv_status clvi_file_read(clv_context *ctx, const char *path, size_t limit, uint8_t **bytes, size_t *size) CLV_NODISCARD;

typedef struct clvi_map {
    const uint8_t *data;
    size_t         size;
} clvi_map;
/* Read-only mapping of a regular file; an empty file maps to data NULL, size 0. */
clv_status clvi_map_open(const char *path, clvi_map *out) CLV_NODISCARD;
void clvi_map_close(clvi_map *map);

/* Path of the temporary file beside `path` that clvi_file_commit renames. */
clv_status clvi_file_temp(const char *path, char *temp, size_t size) CLV_NODISCARD;
/* fsync(temp), rename(temp, path), fsync(directory). On error the temporary file is removed. */
clv_status clvi_file_commit(const char *temp, const char *path) CLV_NODISCARD;
/* Whether `name`, without folders, is that of a temporary file; *length is that of the name it stands for. */
bool clvi_file_is_temp(const char *name, size_t *length);
/* Removes temporary files of `path` that killed writers left. For those who keep other writers away. */
void clvi_file_sweep(const char *path);
/* Both around one write of a small file. */
clv_status clvi_file_write(const char *path, const void *bytes, size_t size) CLV_NODISCARD;

/* Creates the directory and its parents; existing ones are fine. */
clv_status clvi_mkdirs(const char *path) CLV_NODISCARD;

/* CRC-32C of bytes, continuing from `crc` (0 to start). */
uint32_t clvi_crc32c(uint32_t crc, const void *bytes, size_t size);
/* The same without special instructions; what clvi_crc32c falls back to. */
uint32_t clvi_crc32c_portable(uint32_t crc, const void *bytes, size_t size);

#endif
