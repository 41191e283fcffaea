/* record.h: how a bench hands tensors to the program it is compared with: for each a line "name ndim d0 d1 ...", then
 * the values as float32 of this machine. */
#ifndef CLEAVE_BENCH_RECORD_H
#define CLEAVE_BENCH_RECORD_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

static inline bool write_record(FILE *file, const char *prefix, const char *name, int ndim, const int64_t *shape,
                                const float *data)
{
    int64_t count = 1;
    (void)fprintf(file, "%s%s %d", prefix, name, ndim);
    for (int i = 0; i < ndim; i++) {
        (void)fprintf(file, " %" PRId64, shape[i]);
        count *= shape[i];
    }
    (void)fputc('\n', file);
    return fwrite(data, sizeof *data, (size_t)count, file) == (size_t)count;
}

#endif
