/* optimizers.h: the golden steps of optimisers, taken on whatever device a context has. */
#ifndef CLEAVE_TESTS_SUPPORT_OPTIMIZERS_H
#define CLEAVE_TESTS_SUPPORT_OPTIMIZERS_H

#include "tests/support/test.h"

/* Every optimiser takes the steps that PyTorch, or its published formula, takes: golden/optimizers/make.py wrote them. */
void test_optimizers_take_golden_steps(clv_context *ctx);

#endif
