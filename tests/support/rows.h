/* rows.h: feature rows and labels that a few lines of any language make again, so that other programs' figures for them can
 * be compared. */
#ifndef CLEAVE_TESTS_SUPPORT_ROWS_H
#define CLEAVE_TESTS_SUPPORT_ROWS_H

#include <stdint.h>

/* s = (1103515245 s + 12345) mod 2^31 from s = seed; a value is (s >> 8) / 2^23 - 0.5. */
static inline void test_rows(float *out, int64_t count, uint32_t seed)
{
    for (int64_t i = 0; i < count; i++) {
        seed = (seed * 1103515245u + 12345u) & 0x7fffffffu;
        out[i] = (float)((double)(seed >> 8) / (double)(1 << 23) - 0.5);
    }
}

/* (7 i + i / 5) mod classes */
static inline void test_labels(int64_t *out, int64_t n, int64_t classes)
{
    for (int64_t i = 0; i < n; i++) out[i] = (7 * i + i / 5) % classes;
}

#endif
