/* parse.h: the parsers of bytes behind the readers, on their own so that they can be fuzzed. `path` opens messages. */
#ifndef CLVI_DATA_PARSE_H
#define CLVI_DATA_PARSE_H

#include "core/status.h"
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

#endif
