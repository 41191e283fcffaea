/* kept.h: small things worth keeping between runs (plans), a file each in the user's cache folder: CLEAVE_CACHE_DIR (empty:
 * nothing is kept), else XDG_CACHE_HOME/cleave, else ~/.cache/cleave. Nothing here is an error: what is not there, damaged,
 * of another version or somebody else's is made anew. */
#ifndef CLVI_DEVICE_CUDA_KEPT_H
#define CLVI_DEVICE_CUDA_KEPT_H

#include <stdbool.h>
#include <stddef.h>

#define CLVI_KEPT_MOST 65536      /* bytes of one */

/* What was kept under a key of one line, and its size; 0: nothing. */
size_t clvi_kept_read(const char *key, char data[CLVI_KEPT_MOST]);
void clvi_kept_write(const char *key, const char *data, size_t size);

#endif
