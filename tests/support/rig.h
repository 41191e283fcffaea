/* rig.h: a training method with a configuration and one batch of 16 pictures that differ, or of 16 words in windows. */
#ifndef CLEAVE_TESTS_SUPPORT_RIG_H
#define CLEAVE_TESTS_SUPPORT_RIG_H

#include "tests/support/test.h"
#include "train/step/method.h"

enum { RIG_BATCH = 16, RIG_SIDE = 16, RIG_CLASSES = 3, RIG_PIXELS = RIG_BATCH * RIG_SIDE * RIG_SIDE * 3,
       RIG_NUMBERS = 3 * 8, RIG_ROWS = 64 };        /* of a word: the window's and its own; of their table */

typedef struct rig {
    clv_context *ctx;
    clv_config  *config;
    clvi_method *method;
    clv_batch    batch;
    clv_view     view[2];
    int64_t      ids[RIG_BATCH], labels[RIG_BATCH];
    float        pixels[2][RIG_PIXELS];
    int64_t      numbers[RIG_BATCH * RIG_NUMBERS];
} rig;

/* resnet8 of width 4 (flow_matching: uvit of width 8), a bank of 32 rows, then settings: name, value, ..., NULL (a NULL
 * name ends them). A rank of `comm` (NULL: alone) has its share of the pictures. *out is made in any case. */
clv_status rig_try_make(test_env *t, const char *method, const char *loss, int64_t classes, clvi_comm *comm,
                        rig **out, ...) __attribute__((sentinel));

/* The same with the method's own loss, alone; it must succeed. */
rig *rig_make(test_env *t, const char *method, ...) __attribute__((sentinel));
void rig_destroy(rig *r);

/* Step `total`: loss and gradients, which must be finite and not zero. */
clvi_step_result rig_forward(rig *r, int64_t total, double key_momentum);

/* A number that the method tells about the step before; fails where there is none of that name. */
double rig_metric(rig *r, const char *name);

/* "supcon variant=..." of an entry of a method's losses. */
void rig_loss_text(const clvi_takes *takes, char *text, size_t size);

#endif
