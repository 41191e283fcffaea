/* noise.h: a file of CIFAR-10 records for benches of data. */
#ifndef CLEAVE_BENCH_NOISE_H
#define CLEAVE_BENCH_NOISE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define NOISE_RECORD 3073      /* bytes: a label and 32x32 pixels of three channels */

/* `records` CIFAR-10 records of noise, the same every time. */
static inline bool noise_write(const char *path, int records)
{
    FILE *file = fopen(path, "wb");
    if (!file) return false;
    uint32_t noise = 1;
    for (int i = 0; i < records * NOISE_RECORD; i++) {
        noise = noise * 1664525u + 1013904223u;
        putc(i % NOISE_RECORD == 0 ? i / NOISE_RECORD % 10 : (int)(noise >> 24), file);
    }
    return fclose(file) == 0;
}

#endif
