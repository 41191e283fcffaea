/* library.h: shared objects that belong to this one and are opened at run time, so that the program runs without
 * them. */
#ifndef CLVI_CORE_LIBRARY_H
#define CLVI_CORE_LIBRARY_H

#include <stddef.h>

/* Opens `name` where the variable CLEAVE_BACKENDS says, else beside this code, else where the loader looks; NULL: `why`
 * says why, `absent` if there is no such file. It stays open: its code may be in use for as long as the process lives.
 * Thread-safe. */
void *clvi_library_open(const char *name, const char *absent, char *why, size_t size);
/* The function of that name, or NULL. */
void *clvi_library_find(void *library, const char *name);

#endif
