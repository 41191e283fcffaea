/* library.c: opening shared objects that lie beside this code. */
#include "core/library.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of the program or library this code is in, links followed; "" when the system cannot tell. */
static void own_folder(char folder[PATH_MAX])
{
    Dl_info self;
    folder[0] = '\0';
    if (!dladdr((void *)(uintptr_t)own_folder, &self) || !self.dli_fname || !realpath(self.dli_fname, folder))
        folder[0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash) *slash = '\0';
}

void *clvi_library_open(const char *name, const char *absent, char *why, size_t size)
{
    char folder[PATH_MAX], path[PATH_MAX + 64];
    const char *told = getenv("CLEAVE_BACKENDS");
    own_folder(folder);
    snprintf(path, sizeof path, "%s/%s", told ? told : folder, name);
    const int there = access(path, F_OK) == 0;
    void *library = dlopen(there || told ? path : name, RTLD_NOW | RTLD_LOCAL);
    if (!library) snprintf(why, size, "%s", there ? dlerror() : absent);
    return library;
}

void *clvi_library_find(void *library, const char *name)
{
    return dlsym(library, name);
}
