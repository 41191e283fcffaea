/* pack_file.h: one HDF5 file of packed images in the making: NAME.part holds the images' bytes at their places from the
 * start, and becomes NAME when HDF5's own part is put around them. */
#ifndef CLVI_DATA_PACK_FILE_H
#define CLVI_DATA_PACK_FILE_H

#include <cleave/data.h>
#include "core/context.h"
#include "core/h5.h"
#include <limits.h>

typedef struct clvi_pack_split {
    const char *name;
    int64_t     place, count, room;              /* of its bytes in the file; images it has, and may get */
    bool        labelled;
    int64_t    *offsets, *labels, *checksums;    /* [room + 1], [room], [room] */
} clvi_pack_split;

typedef struct clvi_pack_file {
    clv_context    *ctx;
    char            path[PATH_MAX], part[PATH_MAX];
    int             fd;
    bool            finished;                    /* an interrupted pack has renamed it already: it is only read */
    int64_t         end;                         /* of the bytes so far */
    clvi_pack_split split[CLV_DATA_MAX_SPLITS];
    int             split_count;
} clvi_pack_file;

/* Opens what an interrupted pack left of `path` (resume), or an empty part. Close it whatever the result. */
clv_status clvi_pack_file_open(clv_context *ctx, const char *path, bool resume, clvi_pack_file *out) CLV_NODISCARD;
/* The images from here on belong to a split, which gets at most `room` of them. */
clv_status clvi_pack_file_begin(clvi_pack_file *f, const char *split, int64_t room, bool labelled) CLV_NODISCARD;
/* Notes one image in the current split and returns the place of its bytes. */
int64_t clvi_pack_file_add(clvi_pack_file *f, int64_t size, int64_t label, uint32_t checksum);

/* Bytes of images noted before. Threads: any number at once. */
clv_status clvi_pack_file_write(const clvi_pack_file *f, int64_t place, const uint8_t *bytes, size_t size) CLV_NODISCARD;
bool clvi_pack_file_read(const clvi_pack_file *f, int64_t place, uint8_t *bytes, size_t size);

/* Throws away what follows the end: it is made anew. */
clv_status clvi_pack_file_cut(clvi_pack_file *f) CLV_NODISCARD;
/* Forgets images noted last, until the current split has `count` of them. */
void clvi_pack_file_take_back(clvi_pack_file *f, int64_t count);

/* Puts HDF5's part around the bytes: pixels [count, height, width, channels], or encoded files when height is 0. The
 * caller adds attributes and commits, or closes the handle to try again later. */
clv_status clvi_pack_file_build(clvi_pack_file *f, int64_t height, int64_t width, int64_t channels, clvi_h5 **out)
    CLV_NODISCARD;

/* Releases everything; `discard` removes the part, and the file if it was finished. */
void clvi_pack_file_close(clvi_pack_file *f, bool discard);

#endif
