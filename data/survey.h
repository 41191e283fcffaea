/* survey.h: what an HDF5 data set consists of, as plain memory. Made where crashing is allowed, checked where not. */
#ifndef CLVI_DATA_SURVEY_H
#define CLVI_DATA_SURVEY_H

#include "core/h5.h"
#include "data/dataset.h"

#define CLVI_SURVEY_MAGIC UINT64_C(0x31594556525553ff)

/* Starts the survey's file. Places ("_at") count bytes from its start and are multiples of 8; -1 means absent. */
typedef struct clvi_survey {
    uint64_t magic;
    clv_dataset_splits splits;
    char     split[64];             /* the one that is described */
    int64_t  encoded;               /* 0: pixels; 1: one run of encoded bytes with offsets */
    int64_t  count, height, width, channels;
    int64_t  blob_size;             /* bytes of pixels or encoded images */
    int64_t  blob_in_file;          /* their place in the HDF5 file, or -1 */
    int64_t  blob_at;               /* else their place here */
    int64_t  offsets_at, labels_at, checksums_at;   /* int64 [count + 1], [count], [count] */
    int64_t  names_at, names_size, names_count;   /* strings, each with its terminating 0 */
    int64_t  shards_at, shards_size, shards_count;   /* likewise; with them, the images are in other files */
    int64_t  has_stats;
    double   mean[CLV_DATA_MAX_CHANNELS], std[CLV_DATA_MAX_CHANNELS];
} clvi_survey;

/* Surveys one split of an open HDF5 file of `file_size` bytes into the empty file `fd`; `wanted` is as in
 * clv_dataset_open. `list`: only the splits. */
clv_status clvi_survey_write(clv_context *ctx, clvi_h5 *h5, const char *path, int64_t file_size, const char *wanted,
                             bool list, int fd) CLV_NODISCARD;

/* The other side: fills ds, whose path is set, from a survey in ds->map[0], believing nothing of it. The set of a survey
 * that names shards is put together from theirs. */
clv_status clvi_dataset_from_survey(struct clv_dataset *ds, const char *split) CLV_NODISCARD;

#endif
