/* dataset.h: the inside of a data set and the class every reader fills in. */
#ifndef CLVI_DATA_DATASET_H
#define CLVI_DATA_DATASET_H

#include <cleave/data.h>
#include "core/isolate.h"
#include "core/context.h"
#include "core/file.h"

#define CLVI_DATA_MAX_COUNT   (INT64_C(1) << 40)
#define CLVI_DATA_MAX_CLASSES 1000000
#define CLVI_DATA_MAX_LOADED  CLVI_ISOLATED_BYTES   /* bytes a reader may hold in memory when it cannot map the file */

struct clv_dataset;

/* A kind of data set; data/registry.def lists them in the order in which they are tried. */
typedef struct clvi_reader {
    const char *name, *summary, *source;
    /* Does `path` look like this kind? A cheap look at names and first bytes; open() is the judge. */
    bool (*probe)(const char *path);
    /* Fills ds: pixels, labels, names and info. On failure the caller releases whatever was filled in. */
    clv_status (*open)(struct clv_dataset *ds, const char *split);
    clv_status (*splits)(clv_context *ctx, const char *path, clv_dataset_splits *out);
} clvi_reader;

/* Exactly one source of pixels is set: pixels (raw), offsets (encoded, one run of bytes), file_at (one file each),
 * shard (sets that follow one another) or whole (a part of that set: slice.c). */
struct clv_dataset {
    clv_context      *ctx;
    clv_dataset_info  info;
    char             *path;
    char              split[64];

    const uint8_t    *pixels;        /* raw: [count, H, W, C] dense */
    const uint8_t    *bytes;         /* encoded: image i is bytes[offsets[i] .. offsets[i+1]) */
    const int64_t    *offsets;       /* [count + 1], checked */
    char             *file_text;     /* files: paths below file_root or absolute, each ending with 0 */
    const char       *file_root;
    int64_t          *file_at;       /* [count]: where in file_text */

    struct clv_dataset **shard;      /* [shard_count] */
    int64_t          *shard_first;   /* [shard_count + 1]: number of the first image of each */
    int64_t           shard_count;

    struct clv_dataset *whole;       /* owned */
    int64_t           slice_first;

    const int64_t    *labels;        /* [count] or NULL */
    const int64_t    *checksums;     /* [count] or NULL: CRC-32C of each image's bytes as they are stored */
    const char *const *class_names;  /* [info.classes] or NULL */

    void             *owned[5];      /* released with clvi_free */
    clvi_map          map[2];        /* closed */
};

/* The set that holds image *i itself, which becomes its number there: ds, what it is a part of, or one of its shards. */
const struct clv_dataset *clvi_dataset_holder(const struct clv_dataset *ds, int64_t *i);

/* The encoded bytes of image i of a set that is not raw; borrowed from the set or from the decoder. `what` is how
 * messages call it (clv_dataset_locate). */
clv_status clvi_dataset_encoded(const struct clv_dataset *ds, int64_t i, const char *what, clv_decoder *decoder,
                                const uint8_t **bytes, size_t *size) CLV_NODISCARD;

/* A checksum of what the set consists of, as far as it is known without reading images: names, labels, geometry, and size
 * and time of its file. Another one means another set. */
uint32_t clvi_dataset_identity(const struct clv_dataset *ds);

#define CLVI_DATA_MAX_LOCATION 4352   /* room for what clv_dataset_locate writes */

/* Copies a split's name into ds; CLV_ERR_INVALID when it is too long. */
clv_status clvi_dataset_set_split(struct clv_dataset *ds, const char *split) CLV_NODISCARD;

/* The split `wanted` stands for among those there are (see clv_dataset_open): "" when there are none. The result
 * points into `splits`. Errors: CLV_ERR_INVALID listing them. */
clv_status clvi_choose_split(const clv_dataset_splits *splits, const char *path, const char *wanted, const char **out)
    CLV_NODISCARD;
/* Adds a name, keeping alphabetical order. CLV_ERR_FORMAT when there are too many or the name is too long. */
clv_status clvi_splits_add(clv_dataset_splits *splits, const char *path, const char *name) CLV_NODISCARD;

/* Checks labels (-1 or 0..), sets info.classes from them when no class names are given, and has_labels. */
clv_status clvi_dataset_set_labels(struct clv_dataset *ds, const int64_t *labels) CLV_NODISCARD;

/* Checks the geometry of raw images, each side and the total; *bytes is count * height * width * channels. */
clv_status clvi_check_geometry(const char *path, int64_t count, int64_t height, int64_t width, int64_t channels,
                               size_t *bytes) CLV_NODISCARD;

/* The class names in a text file, one a line, in ds->owned[slot]; an absent file is fine. */
clv_status clvi_dataset_read_names(struct clv_dataset *ds, const char *path, int slot) CLV_NODISCARD;

#endif
