/* h5_heap.h: strings of variable length, found in an HDF5 file's global heap without HDF5's help: its own reader
 * (H5HG_read) trusts the index and the length that the file gives, and a damaged file makes it crash or never end. */
#ifndef CLVI_CORE_H5_HEAP_H
#define CLVI_CORE_H5_HEAP_H

#include "core/status.h"
#include <hdf5.h>

#define CLVI_H5_REF_SIZE 16   /* length (4), address of a collection (8), index in it (4), little-endian */

/* Reads `count` references of the attribute, CLVI_H5_REF_SIZE bytes each, as they are in the file. */
clv_status clvi_h5_heap_refs(hid_t attr, int64_t count, uint8_t *refs) CLV_NODISCARD;

/* The text a reference leads to, borrowed from the file's bytes. `base` is added to addresses (size of the user block).
 * Errors: CLV_ERR_FORMAT. Specification: HDF5 File Format 3.0, III.E "Global Heap". */
clv_status clvi_h5_heap_text(const uint8_t *file, size_t size, uint64_t base, const uint8_t *ref, const char **text,
                             size_t *length) CLV_NODISCARD;

#endif
