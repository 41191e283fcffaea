/* fuzz.h: what the fuzz targets share. Each defines LLVMFuzzerTestOneInput: libFuzzer calls it (make fuzz), and so does
 * replay.c with the files of a corpus and mutations of them (make fuzz-replay). */
#ifndef CLEAVE_TESTS_FUZZ_H
#define CLEAVE_TESTS_FUZZ_H

#include <cleave/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One context for the whole process, kept reachable. */
static inline clv_context *fuzz_context(void)
{
    static clv_context *ctx;
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    desc.threads = 1;
    if (!ctx && clv_context_create(&desc, &ctx) != CLV_OK) abort();
    return ctx;
}

/* What must hold whatever the bytes are. */
static inline void fuzz_require(bool held)
{
    if (!held) abort();
}

/* A file in memory, and a path to it. */
static inline int fuzz_file(const uint8_t *data, size_t size, char *path, size_t path_size)
{
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, path_size, "/proc/self/fd/%d", fd);
    return fd;
}

#endif
