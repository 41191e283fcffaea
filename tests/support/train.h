/* train.h: training runs that take a fraction of a second. */
#ifndef CLEAVE_TESTS_SUPPORT_TRAIN_H
#define CLEAVE_TESTS_SUPPORT_TRAIN_H

#include <cleave/train.h>
#include "tests/support/test.h"

/* A configuration of a tiny run on 160 raw images of 16x16 (made at the first call, `data.h5` in the test's folder):
 * resnet8 of width 4, batches of 16, 10 steps an epoch, 2 epochs. `directory` is the run directory's name in the test's
 * folder. Then name, value, name, value, ..., NULL. */
clv_config *test_run_config(test_env *t, const char *directory, ...) __attribute__((sentinel));
/* Builds a trainer and runs it. NULL progress: none. Destroys the configuration. test_run computes on one thread. */
clv_status test_run_in(clv_context *ctx, clv_config *config, clv_progress_fn progress, void *user);
clv_status test_run(test_env *t, clv_config *config, clv_progress_fn progress, void *user);

/* Opens what `desc` says and embeds the first 16 images of `data.h5`: at most 64 numbers each, row after row. */
void test_embed(test_env *t, const clv_encoder_desc *desc, float rows[16 * 64]);

/* Whether the files "a/last.h5" of the test's folder and such have the same bytes. Both must exist. */
bool test_same_file(test_env *t, const char *a, const char *b);
bool test_has_file(test_env *t, const char *name);
/* Turns one bit of the byte at `offset` (from the end when negative). */
void test_damage_file(test_env *t, const char *name, long offset);

#endif
