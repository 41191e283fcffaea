/* checked.h: arithmetic on sizes that come from files or callers. True when the result is exact. */
#ifndef CLVI_CORE_CHECKED_H
#define CLVI_CORE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool clvi_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool clvi_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool clvi_add_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool clvi_mul_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }

#define CLVI_MIN(a, b) ((a) < (b) ? (a) : (b))
#define CLVI_MAX(a, b) ((a) > (b) ? (a) : (b))
#define CLVI_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
