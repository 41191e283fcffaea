/* optimizer.h: what an optimiser is: one pass over the flat arena, and a state laid out like it. One file each. */
#ifndef CLVI_TRAIN_OPTIMIZER_H
#define CLVI_TRAIN_OPTIMIZER_H

#include "core/h5.h"
#include "tensor/params.h"
#include "train/config.h"

typedef struct clvi_optimizer clvi_optimizer;

typedef struct clvi_optimizer_class {
    clv_class_info info;
    int            states;                  /* arenas of state */
    const char    *state_name[2];           /* as in a checkpoint: "momentum" */
    void (*step)(clvi_optimizer *o, double lr);  /* takes `lr` up to `held_from`, held_lr from there on */
} clvi_optimizer_class;

struct clvi_optimizer {
    const clvi_optimizer_class *cls;
    clv_context                *ctx;
    clv_params                 *params;     /* borrowed */
    double                      momentum, weight_decay;
    bool                        nesterov;
    int64_t                     held_from;  /* element of the arena; its end unless something is held */
    double                      held_lr;
    int64_t                     steps;      /* taken so far: the first one starts the momentum */
    void                       *state[2];
    size_t                      state_size; /* bytes of each */
};

/* `params` must be laid out and have gradients. Errors: CLV_ERR_INVALID (unknown name), CLV_ERR_NOMEM. */
clv_status clvi_optimizer_create(clv_params *params, clv_context *ctx, const clvi_settings *settings,
                                 clvi_optimizer **out) CLV_NODISCARD;
void clvi_optimizer_destroy(clvi_optimizer *o);
/* From the first parameter whose name begins with `prefix` on, the learning rate stays at `lr`: those must be the last
 * ones of the set. */
clv_status clvi_optimizer_hold(clvi_optimizer *o, const char *prefix, double lr) CLV_NODISCARD;

/* State under `group` by parameter name, in plain order. */
clv_status clvi_optimizer_write(const clvi_optimizer *o, clvi_h5 *h5, const char *group) CLV_NODISCARD;
clv_status clvi_optimizer_read(clvi_optimizer *o, clvi_h5 *h5, const char *group) CLV_NODISCARD;

clv_status clvi_optimizer_find(const char *name, const clvi_optimizer_class **out) CLV_NODISCARD;

#endif
