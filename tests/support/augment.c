/* augment.c (tests): a chain with its transform and scratch, and pictures to feed it. */
#include "tests/support/augment.h"
#include <stdlib.h>

test_chain test_chain_make(test_env *t, const char *text, int64_t height, int64_t width, int64_t channels)
{
    test_chain c = { 0 };
    assert_ok(clv_augment_create(t->ctx, text, NULL, 0, &c.augment));
    assert_ok(clv_augment_transform(c.augment, &c.transform));
    const int64_t size = c.transform.scratch_size(c.transform.user, height, width, channels);
    assert_true(size >= 0);
    c.scratch_size = (size_t)size;
    c.scratch = aligned_alloc(64, (c.scratch_size + 64) / 64 * 64);
    assert_non_null(c.scratch);
    return c;
}

void test_chain_free(test_chain *chain)
{
    clv_augment_destroy(chain->augment);
    free(chain->scratch);
}

uint8_t *test_noise(uint32_t seed, int64_t height, int64_t width, int64_t channels)
{
    uint8_t *pixels = malloc((size_t)(height * width * channels));
    assert_non_null(pixels);
    for (int64_t i = 0; i < height * width * channels; i++) {
        seed = seed * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)((i / (width * channels) * 160 / height) + (seed >> 25) % 96);
    }
    return pixels;
}
