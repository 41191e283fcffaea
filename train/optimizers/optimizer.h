/* optimizer.h: what an optimiser is: passes over the flat arena, and a state laid out like it. One file each. */
#ifndef CLVI_TRAIN_OPTIMIZER_H
#define CLVI_TRAIN_OPTIMIZER_H

#include "core/h5.h"
#include "device/flat.h"
#include "tensor/params.h"
#include "train/config/config.h"

typedef struct clvi_optimizer clvi_optimizer;

/* Neighbours in the arena that are treated alike: one tensor, or several where its norm is not asked for. */
typedef struct clvi_span {
    int64_t begin, end;                     /* elements of the arena */
    bool    decay, adapt, held;             /* weight decay acts; the tensor has a rate of its own; lr is held_lr */
    bool    bias, frozen;                   /* the setting lr-biases acts; nothing does */
} clvi_span;

/* A set that follows the weights: k = m k + (1 - m) w after the step. */
typedef struct clvi_follower {
    clv_params *params;                     /* a clone of the optimiser's; NULL, and none from there on */
    double      momentum;
} clvi_follower;

/* What a step does to one span: values, gradients and state from its first element on. */
typedef struct clvi_update {
    clv_dtype           dtype;
    int64_t             n;
    void               *w, *g, *state[2];
    double              lr, weight_decay;   /* of this span */
    const double       *squares;            /* what `measure` found, on the context's device */
    bool                adapt;
    clvi_flat_followers followers;          /* of this span */
} clvi_update;

/* Which tensors are left out of weight decay, or of having a rate of their own. */
typedef enum clvi_excludes {
    CLVI_EXCLUDES_NONE,                     /* nothing is */
    CLVI_EXCLUDES_IF_TOLD,                  /* biases and norms, if the setting says so */
    CLVI_EXCLUDES_ALWAYS,                   /* biases and norms: it is part of the definition */
} clvi_excludes;

typedef struct clvi_optimizer_class {
    clv_class_info     info;
    int                states;              /* arenas of state */
    const char        *state_name[2];       /* as in a checkpoint: "momentum" */
    const char *const *uses;                /* settings that act for some optimisers only, and do here; NULL ends */
    bool               adapts;              /* tensors have rates of their own */
    clvi_excludes      no_decay, no_adapt;
    double             eps;                 /* where the setting does not say */
    /* What an update must know of a whole span first: two sums, to memory of the context's device. NULL: nothing. */
    void (*measure)(clvi_optimizer *o, const clvi_update *u, double *sum);
    /* One pass over the span, which takes its followers along. */
    void (*update)(clvi_optimizer *o, const clvi_update *u);
} clvi_optimizer_class;

struct clvi_optimizer {
    const clvi_optimizer_class *cls;
    clv_context                *ctx;
    clv_params                 *params;     /* borrowed */
    const clvi_settings        *settings;   /* borrowed */
    double                      eps;
    clvi_span                  *span;
    int64_t                     spans;
    double                     *sums;       /* two of each span, on the context's device; NULL: not measured */
    size_t                      sums_size;
    double                      held_lr;
    const char                 *held, *only; /* beginnings of names: of what is held; of what is trained. NULL: none, all */
    int64_t                     steps;      /* taken so far */
    void                       *state[2];
    size_t                      state_size; /* bytes of each */
};

/* `params` must be laid out and have gradients; they and the settings stay. Errors: CLV_ERR_INVALID (unknown name),
 * CLV_ERR_NOMEM. */
clv_status clvi_optimizer_create(clv_params *params, clv_context *ctx, const clvi_settings *settings,
                                 clvi_optimizer **out) CLV_NODISCARD;
void clvi_optimizer_destroy(clvi_optimizer *o);
/* The learning rate of parameters whose name begins with `prefix` stays at `lr`. */
clv_status clvi_optimizer_hold(clvi_optimizer *o, const char *prefix, double lr) CLV_NODISCARD;
/* Parameters whose name does not begin with `prefix` stay as they are. */
void clvi_optimizer_only(clvi_optimizer *o, const char *prefix);

/* Shortens the gradients to the setting clip-grad when they are longer: `norm` is their length. As PyTorch has it,
 * times clip-grad / (norm + 1e-6). */
void clvi_optimizer_clip(clvi_optimizer *o, double norm);
/* One step, and in the same walk over the arena what follows the weights, frozen ones too; `follower` NULL: nothing
 * does. Errors: CLV_ERR_DEVICE. */
clv_status clvi_optimizer_step(clvi_optimizer *o, double lr,
                               const clvi_follower follower[CLVI_FLAT_FOLLOWERS]) CLV_NODISCARD;

/* A line for each trainable parameter: shape, whether weight decay acts and the tensor has a rate of its own. */
clv_status clvi_optimizer_describe(const clvi_optimizer *o, void (*line)(const char *text, void *user),
                                   void *user) CLV_NODISCARD;

/* State under `group` by parameter name, in plain order. */
clv_status clvi_optimizer_write(const clvi_optimizer *o, clvi_h5 *h5, const char *group) CLV_NODISCARD;
clv_status clvi_optimizer_read(clvi_optimizer *o, clvi_h5 *h5, const char *group) CLV_NODISCARD;

/* Errors: CLV_ERR_INVALID with the nearest known name and all there are. */
clv_status clvi_optimizer_find(const char *name, const clvi_optimizer_class **out) CLV_NODISCARD;
const clvi_optimizer_class *clvi_optimizer_at(int i);   /* NULL past the end */
/* Whether one of the settings that act for some optimisers only acts for this one. */
bool clvi_optimizer_uses(const clvi_optimizer_class *cls, const char *setting);

#endif
