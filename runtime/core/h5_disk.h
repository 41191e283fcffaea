/* h5_disk.h: the HDF5 file driver for writing. HDF5 cannot close a file whose writing failed: it keeps half of it and
 * crashes at exit. So this driver never tells HDF5: the first failure is remembered here, nothing is written after it,
 * and the file's owner asks before believing that anything is on disk. It can also leave bytes alone that were written
 * into the file before HDF5 saw it, and give them to a data set. */
#ifndef CLVI_CORE_H5_DISK_H
#define CLVI_CORE_H5_DISK_H

#include <hdf5.h>
#include <stdint.h>

/* What the driver and the owner of a file tell each other. It must outlive the file. */
typedef struct clvi_h5_disk {
    int      error;          /* errno of the first write that failed; 0 before */
    uint64_t head, end;      /* bytes [head, end) are in the file already and stay; both 0 for a new file */
    uint64_t place, size;    /* those of them that the next data set consists of; size 0: none, it gets room of its own */
} clvi_h5_disk;

/* Makes files created with the access list `access` go through the driver. Negative: HDF5 refused. */
herr_t clvi_h5_disk_use(hid_t access, clvi_h5_disk *disk);

#endif
