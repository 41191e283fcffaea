/* parse.h: the parsers of bytes behind the readers, on their own so that they can be fuzzed. `path` opens messages. */
#ifndef CLVI_DATA_PARSE_H
#define CLVI_DATA_PARSE_H

#include "core/context.h"
#include <stddef.h>

/* Records of `labels_each` (1: CIFAR-10, 2: CIFAR-100) label bytes and 3072 planar pixels to NHWC. With pixels NULL
 * only the size is checked and *count set; else there must be room for *count images and labels. */
clv_status clvi_cifar_parse(const char *path, const uint8_t *bytes, size_t size, int labels_each, uint8_t *pixels,
                            int64_t *labels, int64_t *count) CLV_NODISCARD;

#define CLVI_IDX_MAX_DIMS 4
typedef struct clvi_idx {
    int     ndim;
    int64_t dim[CLVI_IDX_MAX_DIMS];
    size_t  header;      /* bytes before the values */
    size_t  values;      /* number of values, one byte each */
} clvi_idx;

/* The header of an IDX file of unsigned bytes; *out->values is not yet compared with what follows. */
clv_status clvi_idx_parse(const char *path, const uint8_t *bytes, size_t size, clvi_idx *out) CLV_NODISCARD;

/* The pictures a text file lists: places in the text, which now holds 0s between its parts. */
typedef struct clvi_file_entry {
    int64_t path, class, line;
} clvi_file_entry;

typedef struct clvi_file_list {
    char            *text;     /* what was given */
    clvi_file_entry *entry;    /* [count]; clvi_free it, whatever the result */
    int64_t          count;
    int64_t          root;     /* of #root, or -1 */
    bool             classes;
} clvi_file_list;

/* text[size] is the caller's to write on, too. */
clv_status clvi_list_parse(clv_context *ctx, const char *path, char *text, size_t size, clvi_file_list *out)
    CLV_NODISCARD;

#endif
