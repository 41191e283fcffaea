/* h5_parts.h: what the files h5*.c share: the handle, calls into HDF5, names, the seal. */
#ifndef CLVI_CORE_H5_PARTS_H
#define CLVI_CORE_H5_PARTS_H

#include "core/file.h"
#include "core/h5.h"
#include "core/h5_disk.h"
#include <hdf5.h>

struct clvi_h5 {
    clv_context *ctx;
    hid_t        file;
    size_t       size;                   /* of the file being read; no limit while writing */
    clvi_map     map;                    /* of a file on disk being read */
    bool         writing, sealed;
    clvi_h5_disk disk;                   /* of a file being written: what failed, which HDF5 does not know */
    char        *path, *temp;
};

/* Turns HDF5's printing of errors off for the scope it is declared in: the setting is the thread's, and the application
 * may use HDF5 too. */
typedef struct clvi_h5_quiet {
    H5E_auto2_t print;
    void       *arg;
} clvi_h5_quiet;
clvi_h5_quiet clvi_h5_quiet_enter(void);
void clvi_h5_quiet_leave(clvi_h5_quiet *s);
#define CLVI_H5_QUIET __attribute__((cleanup(clvi_h5_quiet_leave), unused)) clvi_h5_quiet quiet = clvi_h5_quiet_enter()

/* Fails with HDF5's own words for the deepest cause. Must come right after the call that failed. */
clv_status clvi_h5_fail(const clvi_h5 *h5, clv_status status, const char *doing, const char *name) CLV_NODISCARD;
/* Closes any kind of identifier; negative ones were never opened. */
void clvi_h5_close_id(hid_t id);

/* ---- opening a file that is mapped, its seal verified once ---- */

clv_status clvi_h5_map(const char *path, clvi_map *map, bool *sealed) CLV_NODISCARD;
/* The map is the handle's from here on; on error it is closed. */
clv_status clvi_h5_open_map(clv_context *ctx, const char *path, clvi_map *map, bool sealed, clvi_h5 **out)
    CLV_NODISCARD;

/* ---- names ---- */

const char *clvi_h5_skip_slashes(const char *name);
/* Every part of the path must be a plain link: soft and external ones could lead round in circles or to other files. */
bool clvi_h5_exists(const clvi_h5 *h5, const char *name);
/* Opens a group or data set for its attributes, or a group for its members. */
clv_status clvi_h5_open_object(const clvi_h5 *h5, const char *name, hid_t *out) CLV_NODISCARD;

/* ---- types ---- */

/* Truth values are written by others as enumerations of whole numbers. */
H5T_class_t clvi_h5_class_of(hid_t type);

/* ---- writing ---- */

/* Creation properties of a file, group or data set. */
hid_t clvi_h5_object_plan(hid_t class);
/* The groups above `name`, and itself if `whole`. */
clv_status clvi_h5_make_groups(const clvi_h5 *h5, const char *name, bool whole) CLV_NODISCARD;
/* Whether everything so far is on disk. */
clv_status clvi_h5_check_disk(const clvi_h5 *h5) CLV_NODISCARD;

/* ---- the seal ---- */

#define CLVI_H5_SEAL_SIZE 512            /* the user block */

clv_status clvi_h5_verify_bytes(const char *path, const uint8_t *bytes, size_t size, bool *sealed) CLV_NODISCARD;
clv_status clvi_h5_write_seal(const char *path) CLV_NODISCARD;

#endif
