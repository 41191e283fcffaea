/* h5.h: the small part of HDF5 that Cleave writes and reads, with every size checked before it is believed.
 * HDF5's own error printing is off. All calls are serialised by the HDF5 library; keep them out of hot loops. */
#ifndef CLVI_CORE_H5_H
#define CLVI_CORE_H5_H

#include "core/context.h"
#include <cleave/view.h>

typedef struct clvi_h5 clvi_h5;

/* ---- reading ---- */

/* Errors: CLV_ERR_IO (cannot open), CLV_ERR_FORMAT (not HDF5). Messages carry the path from here on. */
clv_status clvi_h5_open(clv_context *ctx, const char *path, clvi_h5 **out) CLV_NODISCARD;
/* Opens an image of a file in memory (fuzzing, embedded files). The bytes are copied. */
clv_status clvi_h5_open_memory(clv_context *ctx, const void *bytes, size_t size, clvi_h5 **out) CLV_NODISCARD;

/* The same for a file from a stranger: a child process opens it first and reads all that HDF5 has to interpret (names,
 * attributes, chunked data), so that a file which crashes libhdf5 is CLV_ERR_FORMAT here. h5_untrusted.c */
clv_status clvi_h5_open_untrusted(clv_context *ctx, const char *path, clvi_h5 **out) CLV_NODISCARD;
/* And one that HDF5 is not to see without a seal. `what` it is to be ("checkpoint") is for the message. */
clv_status clvi_h5_open_sealed(clv_context *ctx, const char *path, const char *what, clvi_h5 **out) CLV_NODISCARD;

bool clvi_h5_sealed(const clvi_h5 *h5);     /* the file has a seal (see clvi_h5_create), and it is right */

typedef struct clvi_h5_info {
    clv_dtype dtype;
    int       ndim;                 /* 0: a scalar */
    int64_t   shape[CLV_MAX_DIMS];
    int64_t   offset;               /* of contiguous unfiltered data in the file, or -1: then it must be read */
} clvi_h5_info;

bool clvi_h5_has(clvi_h5 *h5, const char *name);                 /* group or data set; "a/b/c" */
/* Type, shape and place of a data set. Errors: CLV_ERR_FORMAT naming the data set (absent, type, rank). */
clv_status clvi_h5_stat(clvi_h5 *h5, const char *name, clvi_h5_info *out) CLV_NODISCARD;
/* Reads a whole data set into a dense host view of the same count; HDF5 converts types. */
clv_status clvi_h5_read(clvi_h5 *h5, const char *name, const clv_view *dst) CLV_NODISCARD;
/* Rows [first, first + count) of the first dimension. */
clv_status clvi_h5_read_rows(clvi_h5 *h5, const char *name, int64_t first, int64_t count, const clv_view *dst)
    CLV_NODISCARD;

/* Attributes of a group or data set ("/" or "" for the root). A missing one is CLV_ERR_FORMAT naming it. */
bool clvi_h5_has_attr(clvi_h5 *h5, const char *object, const char *attr);
clv_status clvi_h5_attr_f64(clvi_h5 *h5, const char *object, const char *attr, double *out) CLV_NODISCARD;
clv_status clvi_h5_attr_i64(clvi_h5 *h5, const char *object, const char *attr, int64_t *out) CLV_NODISCARD;
/* Number arrays of exactly n entries. */
clv_status clvi_h5_attr_f64s(clvi_h5 *h5, const char *object, const char *attr, int n, double *out) CLV_NODISCARD;
/* A string (fixed or variable), newly allocated: clvi_free it. At most 1 MiB. */
clv_status clvi_h5_attr_text(clvi_h5 *h5, const char *object, const char *attr, char **out) CLV_NODISCARD;
/* An array of strings: one block holding pointers and text, clvi_free it once. At most 1,000,000 entries, 64 MiB. */
clv_status clvi_h5_attr_texts(clvi_h5 *h5, const char *object, const char *attr, int64_t *count, char ***out)
    CLV_NODISCARD;
/* Names of the members of a group, sorted; one block. `attributes` lists attributes instead of members. */
clv_status clvi_h5_list(clvi_h5 *h5, const char *group, bool attributes, int64_t *count, char ***names) CLV_NODISCARD;
/* Type of an attribute: CLV_F64 for any float, CLV_I64 for any integer, CLV_U8 for strings; count of entries. */
clv_status clvi_h5_attr_stat(clvi_h5 *h5, const char *object, const char *attr, clv_dtype *dtype, int64_t *count)
    CLV_NODISCARD;

/* ---- writing: everything goes to a temporary file beside `path`; clvi_h5_commit makes it appear, whole ---- */

/* sealed: the file starts with a 512-byte user block (HDF5 readers skip it) holding "CLEAVE1\n", the length of the rest
 * and its CRC-32C, so that damage is found before HDF5 parses a byte. Used for checkpoints and banks. */
clv_status clvi_h5_create(clv_context *ctx, const char *path, bool sealed, clvi_h5 **out) CLV_NODISCARD;
clv_status clvi_h5_group(clvi_h5 *h5, const char *name) CLV_NODISCARD;   /* parents are made as needed, here and below */
clv_status clvi_h5_write(clvi_h5 *h5, const char *name, const clv_view *src) CLV_NODISCARD;   /* contiguous */
/* A contiguous data set to be filled row by row with clvi_h5_write_rows. */
clv_status clvi_h5_create_dataset(clvi_h5 *h5, const char *name, clv_dtype dtype, int ndim, const int64_t *shape)
    CLV_NODISCARD;
clv_status clvi_h5_write_rows(clvi_h5 *h5, const char *name, int64_t first, const clv_view *src) CLV_NODISCARD;
clv_status clvi_h5_set_attr_f64(clvi_h5 *h5, const char *object, const char *attr, double v) CLV_NODISCARD;
clv_status clvi_h5_set_attr_f64s(clvi_h5 *h5, const char *object, const char *attr, int n, const double *v) CLV_NODISCARD;
clv_status clvi_h5_set_attr_i64(clvi_h5 *h5, const char *object, const char *attr, int64_t v) CLV_NODISCARD;
clv_status clvi_h5_set_attr_text(clvi_h5 *h5, const char *object, const char *attr, const char *v) CLV_NODISCARD;
clv_status clvi_h5_set_attr_texts(clvi_h5 *h5, const char *object, const char *attr, int64_t n, const char *const *v)
    CLV_NODISCARD;

/* A file around bytes that are already there: those of `temp` at [CLVI_H5_HEAD, end) stay, all others go. Commit renames
 * `temp` to `path`; giving up leaves it with those bytes, so that it can be tried again. */
#define CLVI_H5_HEAD 16384
clv_status clvi_h5_create_around(clv_context *ctx, const char *temp, const char *path, int64_t end, clvi_h5 **out)
    CLV_NODISCARD;
/* A data set of CLV_U8 whose bytes lie at `place` of such a file. */
clv_status clvi_h5_adopt(clvi_h5 *h5, const char *name, int ndim, const int64_t *shape, int64_t place) CLV_NODISCARD;

/* Closes, seals if asked, syncs and renames. The handle is gone afterwards, whatever the result. */
clv_status clvi_h5_commit(clvi_h5 *h5) CLV_NODISCARD;

/* Closes a reader; for a writer, gives up and removes the temporary file (not one from clvi_h5_create_around). NULL is
 * accepted. */
void clvi_h5_close(clvi_h5 *h5);

/* Whether a file begins as a sealed one does; clvi_h5_open verifies the seal. */
bool clvi_h5_is_sealed(const char *path);

#endif
