/* losses.h: what tests need to try every loss: one description per variant of sizes that fit, filled at random. */
#ifndef CLEAVE_TESTS_SUPPORT_LOSSES_H
#define CLEAVE_TESTS_SUPPORT_LOSSES_H

#include "tests/support/test.h"
#include <cleave/loss.h>

#define TEST_LOSS_PORTS 16

/* One loss with random inputs in float64, gradients and outputs to match. */
typedef struct test_loss {
    clv_loss       *loss;
    const char     *name, *variant;    /* variant NULL for losses without */
    int             n_in, n_grad, n_out;
    clv_loss_tensor in[TEST_LOSS_PORTS], grad[TEST_LOSS_PORTS], out[TEST_LOSS_PORTS];
    double          value;
} test_loss;

/* Calls fn for every variant of every loss. */
void test_losses_each(void (*fn)(const char *name, const char *variant, void *user), void *user);

/* Length of a letter in shapes ("B,D"). */
typedef int64_t (*test_length_fn)(char letter, void *user);

/* Makes the loss with options `temperature` (or `tau`, where it has either) and `variant`, and inputs of the lengths
 * given: floats normal, masks and labels drawn; the same seed gives the same numbers. With `optional`, optional inputs are there, too. */
test_loss *test_loss_make(clv_context *ctx, const char *name, const char *variant, const char *temperature,
                          bool optional, uint64_t seed, test_length_fn length, void *user);
/* With one more option (NULL: none). */
test_loss *test_loss_make_with(clv_context *ctx, const char *name, const char *variant, const clv_option *more,
                               const char *temperature, bool optional, uint64_t seed, test_length_fn length,
                               void *user);
/* Turns everything that is float64 into float32. */
void test_loss_narrow(test_loss *l);
void test_loss_free(test_loss *l);

/* Evaluates it: value, gradients, outputs. */
clv_status test_loss_eval(test_loss *l);
/* The input or gradient of that name. */
clv_view *test_loss_input(test_loss *l, const char *name);
clv_view *test_loss_grad(test_loss *l, const char *name);
clv_view *test_loss_output(test_loss *l, const char *name);

#endif
