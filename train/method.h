/* method.h: what a training method is: networks, a step, and what must be kept to go on. One file each, listed in
 * registry.def. The trainer owns data, schedule, log and files; a method owns parameters, bank and loss. */
#ifndef CLVI_TRAIN_METHOD_H
#define CLVI_TRAIN_METHOD_H

#include <cleave/bank.h>
#include <cleave/data.h>
#include <cleave/graph.h>
#include "core/h5.h"
#include "train/config.h"

typedef struct clvi_method clvi_method;

typedef struct clvi_method_setup {
    clv_context         *ctx;
    const clvi_settings *settings;
    int64_t              channels, height, width;   /* of a view */
} clvi_method_setup;

/* Where in the run a step is. All counts from 0. */
typedef struct clvi_step {
    uint64_t seed;
    int64_t  total;           /* optimiser steps before this one */
    double   lr, key_momentum;
} clvi_step;

typedef struct clvi_step_result {
    double          loss, grad_norm;
    clv_view query, key; /* unit rows [B,D] of this step, in the order of the batch; borrowed until the next step */
    const clv_bank *bank;         /* NULL for methods without */
} clvi_step_result;

typedef struct clvi_method_class {
    clv_class_info info;
    int            views;         /* it wants per sample */
    clv_status (*create)(const clvi_method_setup *setup, clvi_method **out);
    /* One optimiser step. Two halves, so that the trainer can look at loss and features as the loss saw them (the bank
     * as it was), and can refuse a step that is not finite: `forward` computes loss and gradients; `update` applies
     * them and moves bank and schedule on. */
    clv_status (*forward)(clvi_method *m, const clv_batch *batch, const clvi_step *at, clvi_step_result *out);
    clv_status (*update)(clvi_method *m, const clv_batch *batch, const clvi_step *at);
    clv_params *(*params)(clvi_method *m, bool key);     /* key: NULL for methods without a momentum encoder */
    clv_status (*write)(const clvi_method *m, clvi_h5 *h5);
    clv_status (*read)(clvi_method *m, clvi_h5 *h5);
    clv_status (*describe)(clvi_method *m, void (*line)(const char *text, void *user), void *user);
    void (*destroy)(clvi_method *m);
} clvi_method_class;

/* Every method struct begins with this. */
struct clvi_method {
    const clvi_method_class *cls;
    clv_context             *ctx;
};

/* Errors: CLV_ERR_INVALID with the nearest known name. */
clv_status clvi_method_find(const char *name, const clvi_method_class **out) CLV_NODISCARD;
const clvi_method_class *clvi_method_at(int i);   /* NULL past the end */

#endif
