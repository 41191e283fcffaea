/* zip.h: members of a zip archive in memory, stored or deflated, as torch.save and zip write them. Every place is
 * checked against the bytes there are, and what inflating may take against their number. */
#ifndef CLVI_BACKBONES_ZIP_H
#define CLVI_BACKBONES_ZIP_H

#include "backbones/tensor_file.h"

typedef struct clvi_zip_entry {
    const char    *name;          /* not terminated */
    size_t         length;        /* of the name */
    unsigned       method;        /* 0 stored, 8 deflated */
    uint64_t       packed, size, header;
    const uint8_t *data;          /* `size` bytes, once asked for */
} clvi_zip_entry;

typedef struct clvi_zip {
    clvi_tensor_file *file;       /* owns what is inflated */
    const uint8_t    *bytes;
    size_t            size;
    clvi_zip_entry   *entry;      /* sorted by name */
    int64_t           count;
    uint64_t          inflated;   /* bytes so far */
} clvi_zip;

/* The table of members; their memory belongs to `file`. Errors: CLV_ERR_FORMAT, CLV_ERR_UNSUPPORTED, CLV_ERR_NOMEM. */
clv_status clvi_zip_open(clvi_tensor_file *file, const uint8_t *bytes, size_t size, clvi_zip *out) CLV_NODISCARD;
/* The member of that name, or NULL. */
clvi_zip_entry *clvi_zip_find(clvi_zip *zip, const char *name, size_t length);
/* The member's bytes: in place, or inflated at the first call. */
clv_status clvi_zip_data(clvi_zip *zip, clvi_zip_entry *entry) CLV_NODISCARD;

#endif
