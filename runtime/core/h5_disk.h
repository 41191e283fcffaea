/* h5_disk.h: the HDF5 file driver for writing. HDF5 cannot close a file whose writing failed: it keeps half of it and
 * crashes at exit. So this driver never tells HDF5: the first failure is remembered here, nothing is written after it,
 * and the file's owner asks before believing that anything is on disk. */
#ifndef CLVI_CORE_H5_DISK_H
#define CLVI_CORE_H5_DISK_H

#include <hdf5.h>

/* Makes files created with the access list `access` go through the driver. *error is set to errno at the first failure
 * of one of them; it must be 0 before and outlive the file. Negative: HDF5 refused. */
herr_t clvi_h5_disk_use(hid_t access, int *error);

#endif
