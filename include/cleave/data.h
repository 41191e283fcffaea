/* data.h: labelled images from files nobody trusts: reading, batching, packing. File layouts: docs/formats.md. */
#ifndef CLEAVE_DATA_H
#define CLEAVE_DATA_H

#include <cleave/base.h>
#include <cleave/option.h>
#include <cleave/transform.h>
#include <cleave/view.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLV_DATA_MAX_CHANNELS 4
#define CLV_DATA_MAX_SPLITS   16
#define CLV_DATA_MAX_SIDE     65500                /* pixels on a side; JPEG's own limit */
#define CLV_DATA_MAX_PIXELS   INT64_C(178956970)   /* pixels of one image */

/* ---- data sets ---- */

/* A set of images, read-only once opened. Threads: all functions below may be called from several threads at once
 * on one data set, except destroy. */
typedef struct clv_dataset clv_dataset;

typedef struct clv_dataset_info {
    const char *kind;          /* "h5", "cifar", "idx", "list", "imagefolder" */
    const char *path;          /* as opened; borrowed from the data set */
    const char *split;         /* "" when the set has no splits; borrowed */
    int64_t count;             /* images */
    int64_t height, width;     /* of every image; 0 when they vary or are not known before decoding */
    int64_t channels;          /* 1..CLV_DATA_MAX_CHANNELS; encoded images are always 3 (RGB) */
    int64_t classes;           /* 1 + the largest class id, or the number of class names; 0 without labels */
    bool    has_labels;
    bool    has_class_names;
    bool    raw;               /* pixels need no decoding: clv_dataset_image borrows them */
    bool    has_stats;         /* mean and std below are given by the file */
    double  mean[CLV_DATA_MAX_CHANNELS], std[CLV_DATA_MAX_CHANNELS];   /* per channel, of pixels scaled to 0..1 */
} clv_dataset_info;

/* Opens `path`, whatever its kind (decided by looking at it, see clv_dataset_kind_at).
 *
 *   split   "train", "test", ...; NULL: "train" if the set has splits and one is called so, the only split if there
 *           is one, everything if the set has no splits. "train[:90%]" is a part of it, drawn the same way every
 *           time, and "train[90%:]" the rest; "[:90%]" likewise of what NULL stands for.
 *
 * Errors: CLV_ERR_IO if a file cannot be read; CLV_ERR_FORMAT, naming file and expectation, if it is damaged or of no
 * known kind; CLV_ERR_INVALID if there is no such split (the message lists those there are) or part of one;
 * CLV_ERR_UNSUPPORTED for an image format this library does not decode; CLV_ERR_NOMEM. *out is NULL on error.
 * HDF5 files are parsed in a child process, so that a hostile one cannot take this process down: docs/formats.md. */
CLV_API clv_status clv_dataset_open(clv_context *ctx, const char *path, const char *split, clv_dataset **out)
    CLV_NODISCARD;

/* NULL is accepted. No loader may still use it. */
CLV_API void clv_dataset_destroy(clv_dataset *ds);

/* Fills *out; what it points to lives as long as the data set. */
CLV_API void clv_dataset_describe(const clv_dataset *ds, clv_dataset_info *out);

/* Class id of image i, or -1 without labels or for i outside the set. */
CLV_API int64_t clv_dataset_label(const clv_dataset *ds, int64_t i);

/* Name of a class, or NULL when the set names none or c is not a class. Borrowed from the data set. */
CLV_API const char *clv_dataset_class_name(const clv_dataset *ds, int64_t c);

/* Where image i comes from, for messages: a file's path, or "train.h5 [17]". Writes at most `size` bytes with the
 * terminating 0. */
CLV_API void clv_dataset_locate(const clv_dataset *ds, int64_t i, char *text, size_t size);

/* What a thread needs to decode: buffers that grow to the largest image seen (bounded by CLV_DATA_MAX_PIXELS).
 * Threads: one call at a time per decoder. */
typedef struct clv_decoder clv_decoder;

typedef struct clv_decoder_desc {
    size_t struct_size;        /* set by CLV_DECODER_DESC_INIT */
    bool   exif_orientation;   /* turn pictures as their EXIF tag asks; off, as in torchvision's default loader */
} clv_decoder_desc;

#define CLV_DECODER_DESC_INIT { .struct_size = sizeof(clv_decoder_desc) }

/* desc may be NULL for the defaults. Errors: CLV_ERR_INVALID, CLV_ERR_NOMEM. */
CLV_API clv_status clv_decoder_create(clv_context *ctx, const clv_decoder_desc *desc, clv_decoder **out) CLV_NODISCARD;
CLV_API void clv_decoder_destroy(clv_decoder *decoder);

/* Pixels of image i. They are borrowed: from the data set when it is .raw, else from the decoder until its next use.
 * Errors: CLV_ERR_INVALID (no such image); CLV_ERR_FORMAT, CLV_ERR_UNSUPPORTED, CLV_ERR_IO naming the file or record;
 * CLV_ERR_NOMEM. A truncated image is an error, never a half-grey picture. */
CLV_API clv_status clv_dataset_image(const clv_dataset *ds, int64_t i, clv_decoder *decoder, clv_image *out)
    CLV_NODISCARD;

/* Decodes one JPEG or PNG file in memory to RGB; `what` opens error messages. Otherwise as clv_dataset_image. */
CLV_API clv_status clv_decoder_decode(clv_decoder *decoder, const char *what, const void *bytes, size_t size,
                                      clv_image *out) CLV_NODISCARD;

/* The splits of a set in alphabetical order; count 0 for a set without splits. Errors as clv_dataset_open. */
typedef struct clv_dataset_splits {
    int64_t count;
    char    name[CLV_DATA_MAX_SPLITS][64];
} clv_dataset_splits;
CLV_API clv_status clv_dataset_list_splits(clv_context *ctx, const char *path, clv_dataset_splits *out) CLV_NODISCARD;
/* The split that is held out to classify when none is named: "test", else "val", else NULL. Static storage. */
CLV_API const char *clv_dataset_held_out(const clv_dataset_splits *splits);

/* The kinds of data set this build reads. info->source says where the layout is defined. False past the end. */
CLV_API bool clv_dataset_kind_at(int index, clv_class_info *info);

/* ---- loader ---- */

/* Batches of augmented views in a seeded order, made ahead of time by worker threads. Pixels are a pure function of
 * (seed, epoch, sample, view) and the order one of (seed, epoch): neither depends on the number of workers. */
typedef struct clv_loader clv_loader;

typedef struct clv_loader_desc {
    size_t   struct_size;      /* set by CLV_LOADER_DESC_INIT */
    int64_t  batch_size;       /* images of a batch on this rank */
    int64_t  views;            /* per image, at least 1; every image is decoded once for all of them */
    const clv_transform *transforms;   /* [views], copied; the user pointers must outlive the loader. NULL: pixels
                                          scaled to 0..1, for sets whose images are all of one size */
    uint64_t seed;
    int      workers;          /* threads; 0: everything happens inside clv_loader_next */
    int      prefetch;         /* batches made ahead, at least 1; without workers it has no effect */
    bool     shuffle;          /* false: 0, 1, 2, ... in every epoch */
    bool     drop_last;        /* leave out an incomplete last batch */
    bool     exif_orientation; /* see clv_decoder_desc */
    bool     exact_decode;     /* decode whole pictures in full size; otherwise a JPEG file is decoded where the windows
                                  of its views lie, and reduced where all of them allow it */
    clv_dtype dtype;           /* of views: CLV_F32, or CLV_BF16, the float32 values rounded (clv_form) */
    int64_t  channels;         /* of views: 0, the images'; 4 or 8: those beyond the images' are 0 */
    int      rank, ranks;      /* of step s, rank r takes the r-th run of batch_size images of a global batch of
                                  ranks * batch_size; 0, 0 means alone */
} clv_loader_desc;

#define CLV_LOADER_DESC_INIT                                                                                           \
    { .struct_size = sizeof(clv_loader_desc), .batch_size = 256, .views = 2, .workers = 1, .prefetch = 2,              \
      .shuffle = true, .drop_last = true }

typedef struct clv_batch {
    uint32_t epoch;            /* counts from 0 */
    int64_t  step;             /* within the epoch, counts from 0 */
    int64_t  count;            /* images: batch_size, or fewer in the last batch without drop_last */
    int64_t  views;
    const clv_view *view;      /* [views]: [count, C, H, W] by shape, NHWC in memory; type and C: clv_loader_desc */
    const int64_t  *labels;    /* [count]; -1 without labels */
    const int64_t  *ids;       /* [count]: index in the data set */
} clv_batch;

/* Allocates everything a run needs and starts the workers, who begin when the first batch is asked for. The data set is
 * borrowed. Errors: CLV_ERR_INVALID; CLV_ERR_SHAPE if transforms is NULL and image sizes vary; CLV_ERR_NOMEM;
 * CLV_ERR_IO if a thread cannot start. */
CLV_API clv_status clv_loader_create(clv_context *ctx, const clv_dataset *ds, const clv_loader_desc *desc,
                                     clv_loader **out) CLV_NODISCARD;
/* Stops the workers at once, wherever they are. NULL is accepted. */
CLV_API void clv_loader_destroy(clv_loader *loader);

/* The next batch; after the last one of an epoch comes the first of the next epoch. Valid until the next call on this
 * loader. Errors: what decoding or the transform of one of its images said, naming the image; the same batch is tried
 * again by the next call. Threads: one call at a time per loader (this holds for all functions below). */
CLV_API clv_status clv_loader_next(clv_loader *loader, clv_batch *out) CLV_NODISCARD;

/* Makes (epoch, step) the next batch. O(1). Errors: CLV_ERR_INVALID if the epoch has no such step. */
CLV_API clv_status clv_loader_seek(clv_loader *loader, uint32_t epoch, int64_t step) CLV_NODISCARD;

/* Batches of one epoch on this rank: the same number on every rank. */
CLV_API int64_t clv_loader_steps_per_epoch(const clv_loader *loader);

/* Bytes of the batches it makes ahead, the one handed out included. */
CLV_API size_t clv_loader_memory(const clv_loader *loader);

/* Seconds spent waiting inside clv_loader_next, and seconds from its first call to the return of the last one.
 * waited / total is the share of time that training waited for data. */
CLV_API void clv_loader_times(const clv_loader *loader, double *waited, double *total);

/* ---- packing ---- */

#define CLV_PACK_MAX_SHARDS 1024

typedef enum clv_pack_format {
    CLV_PACK_RAW,       /* decoded pixels of one size: read without decoding */
    CLV_PACK_JPEG,      /* decoded, resized if asked, encoded again as JPEG */
    CLV_PACK_ORIGINAL   /* the encoded files as they are */
} clv_pack_format;

typedef struct clv_pack_desc {
    size_t struct_size;            /* set by CLV_PACK_DESC_INIT */
    const char *const *sources;    /* data sets of any kind; splits of the same name are joined in this order, and a
                                      source without splits counts as "train" */
    int64_t source_count;
    const char *output;            /* the HDF5 file to write; it appears whole or not at all */
    int     shards;                /* 1: one file. More: the images, in order, in so many files beside it, called
                                      OUT-00000-of-00008.h5 and so on; output itself names them and is opened like any
                                      data set, with the same images under the same numbers */
    clv_pack_format format;
    int64_t size;                  /* 0: as it is (raw: all images must be of one size). Raw: shorter side to `size`,
                                      then the centre size x size. JPEG: shorter side to at most `size` */
    int     quality;               /* of CLV_PACK_JPEG, 1..100 */
    int     jobs;                  /* threads */
    bool    verify;                /* CLV_PACK_ORIGINAL: decode everything first (the others do so anyway) */
    bool    skip_bad;              /* leave images out that cannot be decoded; their places are listed in the output's
                                      attribute `skipped`. Otherwise they fail the whole pack, after all are named */
    bool    exif_orientation;      /* see clv_decoder_desc; needs CLV_PACK_RAW or CLV_PACK_JPEG */
    bool    restart;               /* throw away what an interrupted pack to this output left, instead of going on */
} clv_pack_desc;

#define CLV_PACK_DESC_INIT                                                                                             \
    { .struct_size = sizeof(clv_pack_desc), .shards = 1, .quality = 95, .jobs = 1, .verify = true }

typedef struct clv_pack_progress {
    const char *split;
    int64_t done, total;       /* images over all splits */
    int64_t bad;               /* images so far that cannot be decoded */
    const char *bad_message;   /* not NULL: this call reports one of them, by name */
    const char *note;          /* not NULL: this call tells how much of an interrupted pack was taken over */
} clv_pack_progress;

/* False stops: clv_pack returns CLV_STOPPED. Called from the caller's thread only. */
typedef bool (*clv_pack_fn)(const clv_pack_progress *progress, void *user);

/* Writes the splits of the sources into one HDF5 file, with labels, class names, mean and std of the train split (of
 * all images without one; not for CLV_PACK_ORIGINAL without verify).
 *
 * A pack that was killed or stopped, or that ran out of room, leaves OUT.part (of each shard that is not whole) and
 * OUT.journal; the same call goes on from there, after comparing all that is there with its checksums, and writes the
 * same bytes as one that was never interrupted. jobs, skip_bad and restart may differ.
 *
 * Errors: those of reading; CLV_ERR_FORMAT if an image is bad and skip_bad is off, or if what is left of an interrupted
 * pack is damaged beyond going on; CLV_ERR_INVALID if it was begun with other settings or sources, naming the first that
 * differs, or if another pack is writing; CLV_ERR_SHAPE if sizes, channels or class names of the sources do not agree. */
CLV_API clv_status clv_pack(clv_context *ctx, const clv_pack_desc *desc, clv_pack_fn progress, void *user)
    CLV_NODISCARD;

/* Compares the bytes of every image, as they are stored, with the checksum that clv_pack wrote beside them, on the
 * context's threads. progress may be NULL; false stops with CLV_STOPPED. Errors: CLV_ERR_UNSUPPORTED if the set has no
 * checksums; CLV_ERR_FORMAT with how many differ and the place of the first. */
CLV_API clv_status clv_dataset_verify(clv_context *ctx, const clv_dataset *ds, clv_pack_fn progress, void *user)
    CLV_NODISCARD;

/* ---- statistics ---- */

typedef struct clv_stats_desc {
    size_t  struct_size;       /* set by CLV_STATS_DESC_INIT */
    int64_t size;              /* as clv_pack_desc with CLV_PACK_RAW: shorter side to `size`, then the centre; 0: as is */
    int     jobs;              /* threads */
    bool    exif_orientation;  /* see clv_decoder_desc */
} clv_stats_desc;

#define CLV_STATS_DESC_INIT { .struct_size = sizeof(clv_stats_desc), .jobs = 1 }

typedef struct clv_stats {
    int64_t images, pixels, channels;
    double  mean[CLV_DATA_MAX_CHANNELS], std[CLV_DATA_MAX_CHANNELS];   /* of pixels scaled to 0..1; every pixel counts
                                                                          the same, the deviation is that of all */
} clv_stats;

/* Measures every image of an open data set, with `jobs` threads; the result does not depend on their number. progress
 * may be NULL; it is called from the caller's thread, and false stops with CLV_STOPPED. Errors: CLV_ERR_INVALID; those
 * of clv_dataset_image for the first bad image; CLV_ERR_UNSUPPORTED beyond 2^47 pixels; CLV_ERR_NOMEM. *out is filled on
 * success only. */
CLV_API clv_status clv_dataset_stats(clv_context *ctx, const clv_dataset *ds, const clv_stats_desc *desc,
                                     clv_pack_fn progress, void *user, clv_stats *out) CLV_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
