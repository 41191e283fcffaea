/* pictures.h: small images and data sets for tests. */
#ifndef CLEAVE_TESTS_SUPPORT_PICTURES_H
#define CLEAVE_TESTS_SUPPORT_PICTURES_H

#include "tests/support/test.h"
#include <cleave/data.h>
#include <stddef.h>

/* Channel c of pixel (y, x) of picture i in every set made here; smooth, so that JPEG keeps it. */
uint8_t picture_value(int64_t i, int64_t y, int64_t x, int64_t c);
void picture_fill(uint8_t *pixels, int64_t i, int64_t height, int64_t width, int64_t channels);

/* Encodes picture i; returns the size. */
size_t picture_jpeg(int64_t i, int height, int width, uint8_t *out, size_t capacity);
size_t picture_png(int64_t i, int height, int width, uint8_t *out, size_t capacity);

/* Writes one such file. */
void picture_write_jpeg(const char *path, int64_t i, int height, int width);
void picture_write_png(const char *path, int64_t i, int height, int width);

/* A raw HDF5 data set: `count` pictures in `split` ("": the root) with labels i % 3 and class names "a", "b", "c" when
 * labelled. */
void picture_write_h5(test_env *t, const char *path, const char *split, int64_t count, int64_t height, int64_t width,
                      int64_t channels, bool labelled);

/* An encoded one, every second picture a PNG, sizes 16 + i by 20. */
void picture_write_encoded_h5(test_env *t, const char *path, int64_t count);

#endif
