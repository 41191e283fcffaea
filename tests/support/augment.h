/* augment.h (tests): a chain with its transform and scratch, and pictures to feed it. */
#ifndef CLEAVE_TESTS_SUPPORT_AUGMENT_H
#define CLEAVE_TESTS_SUPPORT_AUGMENT_H

#include "tests/support/test.h"
#include <cleave/augment.h>
#include <stddef.h>

typedef struct test_chain {
    clv_augment  *augment;
    clv_transform transform;
    void         *scratch;
    size_t        scratch_size;
} test_chain;

/* For pictures of at most height x width x channels. */
test_chain test_chain_make(test_env *t, const char *text, int64_t height, int64_t width, int64_t channels);
void test_chain_free(test_chain *chain);

/* A dense picture of seeded noise over a slope; free(). */
uint8_t *test_noise(uint32_t seed, int64_t height, int64_t width, int64_t channels);

#endif
