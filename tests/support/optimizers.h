/* optimizers.h: the golden steps of optimisers and what follows them, taken on whatever device a context has. */
#ifndef CLEAVE_TESTS_SUPPORT_OPTIMIZERS_H
#define CLEAVE_TESTS_SUPPORT_OPTIMIZERS_H

#include "tests/support/test.h"

/* Every optimiser takes the steps that PyTorch, or its published formula, takes: golden/optimizers/make.py wrote them. */
void test_optimizers_take_golden_steps(clv_context *ctx);

/* What follows the weights of any optimiser in its steps, frozen ones too, is what follows them after each in passes of
 * its own: to the bit on the host, within 1e-6 elsewhere. */
void test_optimizers_are_followed(clv_context *ctx);

#endif
