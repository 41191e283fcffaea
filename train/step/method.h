/* method.h: what a training method is. One file each, listed in registry.def, which says what network it trains, what
 * it computes from the views of a batch, and what losses can be computed from that; method.c does what all methods do:
 * a graph of network and loss, an optimiser, perhaps a momentum encoder, a step, a checkpoint. The trainer owns data,
 * schedule, log and files. */
#ifndef CLVI_TRAIN_METHOD_H
#define CLVI_TRAIN_METHOD_H

#include <cleave/bank.h>
#include <cleave/data.h>
#include <cleave/graph.h>
#include "backbones/backbone.h"
#include "core/h5.h"
#include "device/tape.h"
#include "device/verdict.h"
#include "train/comm/comm.h"
#include "train/config/config.h"
#include "train/step/objective.h"
#include "train/optimizers/optimizer.h"
#include "train/step/parts.h"

#define CLVI_MAX_VIEWS  2
#define CLVI_MAX_BESIDE 2

typedef struct clvi_method_class clvi_method_class;
typedef struct clvi_teacher clvi_teacher;

typedef struct clvi_method_setup {
    clv_context         *ctx;
    const clvi_settings *settings;
    int64_t              channels, height, width;   /* of a view */
    int64_t              classes;                   /* 0: the data have no labels */
    clvi_comm           *comm;                      /* NULL: alone */
} clvi_method_setup;

/* Where in the run a step is. All counts from 0. */
typedef struct clvi_step {
    uint64_t seed;
    int64_t  total;           /* optimiser steps before this one */
    double   epoch;           /* with its fraction */
    double   lr, key_momentum;
    bool     goes_on;         /* the next step comes before anything is saved or measured, ... */
    double   next_momentum;   /* ... and this is its key_momentum */
} clvi_step;

typedef struct clvi_step_result {
    double          loss, grad_norm;
    const char     *bad;          /* the first parameter whose gradient is not finite, where that is known; or NULL */
    clv_view        query, key;   /* unit rows [B,D] of this step, in the order of the batch; borrowed until the next
                                   * step. key.data is NULL for methods of one view */
    const clv_bank *bank;         /* NULL without one */
} clvi_step_result;

/* Bytes of the large blocks that steps work in: all of them are arenas (clvi_arena_alloc). */
typedef struct clvi_method_bytes {
    size_t parameters, gradients, optimizer, activations, bank;
} clvi_method_bytes;

struct clvi_method_class {
    clv_class_info info;
    size_t             size;          /* of its struct, which begins with a clvi_method; 0: it is one */
    int                views;         /* it wants of each image */
    bool               teacher;       /* it has a momentum encoder */
    bool               labels;        /* it cannot do without labels */
    bool               classifies;    /* it trains a classifier (unless its losses need none) */
    bool               reads_images;  /* on the host, before its networks do */
    bool               text;          /* it takes words of a corpus, not images: the view is what data/words.h says */
    const clvi_takes  *takes;         /* losses; the first is its own. Ends with loss NULL */
    const clvi_takes *(*choose_takes)(const clvi_settings *settings);   /* instead, where settings decide */
    const char        *keeps;         /* auxiliary output of its losses that it wants to read after a step, or NULL */
    const char *const *uses;          /* settings that act for some methods only, and do for this one; ends with NULL */
    const char        *head;          /* between features and embedding; NULL: none, the embedding is the features */
    const char *(*choose_head)(const clvi_settings *settings);   /* instead, where settings decide */
    const char        *predictor;     /* the head on top of the embedding; NULL: none */
    const char *(*choose_predictor)(const clvi_settings *settings);   /* instead, where settings decide */
    /* Appends networks to the method's graph and gives what the losses read. */
    clv_status (*build)(clvi_method *m);

    /* What few methods have beside; each may be NULL. */
    clv_status (*open)(clvi_method *m);      /* before build: other members of its struct */
    clv_status (*ready)(clvi_method *m);     /* once everything is built */
    /* Instead of clvi_method_forward's part for all: `out` has the bank only. */
    clv_status (*forward)(clvi_method *m, const clv_batch *batch, const clvi_step *at, clvi_step_result *out);
    clv_status (*rows)(clvi_method *m, clvi_step_result *out);   /* the features of the last step, instead of `unit` */
    clv_status (*update)(clvi_method *m, const clv_batch *batch);    /* after the optimiser's step */
    bool queues;                             /* a device can be given its steps as a whole: nothing is read back before
                                              * they are over, and this is what `update` will do, on the device: */
    clv_status (*enqueue)(clvi_method *m, const clv_batch *batch);
    clv_status (*describe)(clvi_method *m, void (*line)(const char *text, void *user), void *user);
    /* Adds what the method itself holds. */
    void (*memory)(const clvi_method *m, clvi_method_bytes *bytes);
    /* Figures of a step beside those of the losses. */
    clv_status (*look)(clvi_method *m, const clv_batch *batch, clvi_metrics *out);
    void (*close)(clvi_method *m);
};

/* Every method's struct begins with this. */
struct clvi_method {
    const clvi_method_class *cls;
    clv_context             *ctx;
    const clvi_settings     *settings;
    clvi_method_setup        setup;
    clvi_division            division;                /* of the batch */
    int64_t                  batch, dim;              /* dim: of the embedding */
    clvi_objective           objective;
    clv_params              *params;
    clv_graph               *graph, *network;         /* of the losses; of the networks: the same without parts */
    clvi_parts              *parts;                   /* NULL: the batch is computed as a whole */
    clv_node                 images[CLVI_MAX_VIEWS], unit[CLVI_MAX_VIEWS], loss;   /* unit: embeddings, unit rows */
    int                      n_beside;
    struct {
        clv_node node;
        clv_view rows;
    }                        beside[CLVI_MAX_BESIDE]; /* what the network reads of each image beside its pixels */
    int                      n_given;
    clvi_given               given[CLVI_MAX_GIVEN];   /* to the losses */
    clvi_teacher            *teacher;
    clv_bank                *bank;                    /* made by clvi_method_open_bank; else NULL */
    float                   *keys[CLVI_MAX_VIEWS];    /* [B,D] the teacher's unit rows of each view */
    bool                     queued;                  /* steps are given to the device as a whole: the four below */
    float                   *there[CLVI_MAX_VIEWS];   /* keys, on the device */
    clvi_tape               *tape;
    clvi_verdict            *verdict, judged;         /* on the device; of the last step that was collected */
    float                   *loss_there;              /* of the step at work, on the device */
    int64_t                 *marks[2];                /* [B] its ids and labels there, for a bank; or NULL */
    float                   *pushed;                  /* [B,dim of the bank] what repulsor's got there, for the host */
    int64_t                 *labels;                  /* [views B] of the batch at work, for each view again */
    int64_t                  number[1];               /* of the step at work, for draws inside a loss */
    double                   grad_norm;               /* of the step at work */
    clvi_optimizer          *optimizer;
    clv_params              *average;                 /* of the weights over the steps (ema-decay); or NULL */
    float                   *mix;                     /* scratch of its running statistics */
};

/* ---- for the trainer ---- */

/* Errors: CLV_ERR_INVALID with the nearest known name. */
clv_status clvi_method_find(const char *name, const clvi_method_class **out) CLV_NODISCARD;
const clvi_method_class *clvi_method_at(int i);   /* NULL past the end */

/* Whether one of the settings that act for some methods only acts for this one. */
bool clvi_method_uses(const clvi_method_class *cls, const char *setting);

/* Whether a run with these settings measures the accuracy of a classifier. */
bool clvi_classifies(const clvi_settings *settings);

/* The losses it can take with these settings. */
const clvi_takes *clvi_method_takes(const clvi_method_class *cls, const clvi_settings *settings);
/* The head for these settings, or NULL. */
const char *clvi_method_head(const clvi_method_class *cls, const clvi_settings *settings);

/* The method that the settings name. */
clv_status clvi_method_create(const clvi_method_setup *setup, clvi_method **out) CLV_NODISCARD;
void clvi_method_destroy(clvi_method *m);
/* One optimiser step. With several ranks a batch has the images of this rank, but labels and ids of all, one after
 * the other. Two halves, so that the trainer can look at loss and features as the loss saw them (a bank as it
 * was), and can refuse a step that is not finite: forward computes loss and gradients; update applies them. */
clv_status clvi_method_forward(clvi_method *m, const clv_batch *batch, const clvi_step *at,
                               clvi_step_result *out) CLV_NODISCARD;
clv_status clvi_method_update(clvi_method *m, const clv_batch *batch, const clvi_step *at) CLV_NODISCARD;
/* Whether the views of its batches may lie on the context's device (clv_view.device 1). Errors: CLV_ERR_INVALID naming
 * what reads them on the host. */
clv_status clvi_method_check_made_there(const clvi_method *m) CLV_NODISCARD;
/* Where a device is given steps as a whole (queued.c), the next can be on its way before the last is known. Both
 * halves then stand between begin and end, with judge between them, and wait for nothing; a step that is not finite
 * changes nothing but running statistics, and neither does one after it before clvi_method_resume. collect waits for
 * the oldest step; settle does what the host keeps of one (its side of the bank). */
bool clvi_method_is_queued(const clvi_method *m);
bool clvi_method_runs_ahead(const clvi_method *m);   /* it is worth while to queue a step before the last is known */
clv_status clvi_method_begin(clvi_method *m) CLV_NODISCARD;
clv_status clvi_method_judge(clvi_method *m) CLV_NODISCARD;
clv_status clvi_method_end(clvi_method *m, clv_status so_far) CLV_NODISCARD;
/* *stopped: the step was not finite, or came after one. */
clv_status clvi_method_collect(clvi_method *m, clvi_step_result *out, bool *stopped) CLV_NODISCARD;
clv_status clvi_method_settle(clvi_method *m, const clv_batch *batch) CLV_NODISCARD;
/* As after `steps` of the optimiser; nothing is on its way. */
clv_status clvi_method_resume(clvi_method *m, int64_t steps) CLV_NODISCARD;
/* The features of the last step. */
clv_status clvi_method_features(clvi_method *m, clvi_step_result *out) CLV_NODISCARD;
/* Between the two: what else the step came to. */
clv_status clvi_method_look(clvi_method *m, const clv_batch *batch, clvi_metrics *out) CLV_NODISCARD;
/* The networks it keeps, by the names they have in checkpoints, for i from 0: "model", "key_model" (the momentum
 * encoder), "ema_model" (the average of the weights). False past the end; NULL where there is none. */
bool clvi_method_network(const clvi_method *m, int i, const char **name, clv_params **out);
clv_params *clvi_method_params(clvi_method *m, bool key);   /* key: the momentum encoder's; NULL without one */
clv_params *clvi_method_judged(clvi_method *m);   /* what is measured along the way: the average, where one is kept */
clv_status clvi_method_write(const clvi_method *m, clvi_h5 *h5) CLV_NODISCARD;
clv_status clvi_method_read(clvi_method *m, clvi_h5 *h5) CLV_NODISCARD;
clv_status clvi_method_memory(const clvi_method *m, clvi_method_bytes *out) CLV_NODISCARD;
clv_status clvi_method_describe(clvi_method *m, void (*line)(const char *text, void *user), void *user) CLV_NODISCARD;

/* ---- queued.c, for method.c ---- */

/* Decides whether steps are queued; makes what that takes. */
clv_status clvi_method_open_queue(clvi_method *m) CLV_NODISCARD;
void clvi_method_close_queue(clvi_method *m);
clv_status clvi_method_clip_there(clvi_method *m) CLV_NODISCARD;

/* ---- for methods: networks ---- */

/* These three are of the network's graph: clvi_method_rows makes them values of the losses' graph, of which
 * everything after is. */
/* Features and embedding of view `v` (features may be NULL): batch norm sees this view alone. */
clv_node clvi_method_embed(clvi_method *m, int v, clv_node *features);
/* The embedding of view v, computed by the method itself, for what looks at a step's features; returns it. */
clv_node clvi_method_look_at(clvi_method *m, int v, clv_node embedding);
/* Embeddings of both views as one batch: batch norm sees them together, each group both views of its images. */
void clvi_method_embed_jointly(clvi_method *m, clv_node embedding[CLVI_MAX_VIEWS]);
/* An input of the network with something of each image beside its pixels: rows [n,...] of the images of this rank,
 * float32, which are read at every step; the memory stays. */
clv_node clvi_method_beside(clvi_method *m, const char *name, const clv_view *rows);
/* The backbone as a generator, of view 0 with noise; its features are the embedding. */
void clvi_method_generate(clvi_method *m, clv_node time, clvi_generated *out);
/* The method's predictor. */
clv_node clvi_method_predict(clvi_method *m, clv_node embedding);
/* Rows of all images of a batch, from those the network computes at once. */
clv_node clvi_method_rows(clvi_method *m, clv_node rows);

/* ---- for methods: what the losses read ---- */

void clvi_method_give(clvi_method *m, const char *name, clv_node node);
/* An input of the graph, given to the losses under its name. `data` stays; clvi_method_move puts the
 * target of another view in the place of one. */
clv_node clvi_method_give_input(clvi_method *m, const char *name, const clv_view *data);
clv_status clvi_method_move(clvi_method *m, const char *name, int v) CLV_NODISCARD;
/* The labels of the batch, `views` times one below the other, int64 [views B]; what the momentum encoder says of view
 * v, unit rows [B,D]; the number of the step, int64 [1]. */
clv_node clvi_method_give_labels(clvi_method *m, const char *name, int views);
clv_node clvi_method_give_target(clvi_method *m, const char *name, int v);
clv_node clvi_method_give_step(clvi_method *m, const char *name);

/* ---- for methods: a memory bank (bank.c) ---- */

/* To be called from build: the method's bank of this kind, of rows of `dim` values, as the settings moco-k, queue-init,
 * moco-queue-dtype and seed say, with `more` options that the kind has of its own. The losses get its rows as "queue",
 * [K,dim], and which of them take part as "valid", uint8 [K]. */
clv_status clvi_method_open_bank(clvi_method *m, const char *kind, int64_t dim, const clv_option *more,
                                 int n_more) CLV_NODISCARD;
/* For methods that take the loss `repulsor`: what it reads of features x, "row" or "unprojected" and "projection", and
 * its bank, as the settings say; then what to call after a step, which puts the batch into the bank, if there is one. */
clv_status clvi_method_open_repulsor(clvi_method *m, clv_node x) CLV_NODISCARD;
clv_status clvi_method_push_repulsor(clvi_method *m, const clv_batch *batch) CLV_NODISCARD;
clv_status clvi_method_enqueue_repulsor(clvi_method *m, const clv_batch *batch) CLV_NODISCARD;   /* on the device */
/* Rows [B,D] on the device go into the device's copy: those of push number `nth` of `of` at this step. */
void clvi_method_enqueue(clvi_method *m, const float *rows, const clv_batch *batch, int nth, int of);
/* Rows of the batch go into it. */
clv_status clvi_method_push(clvi_method *m, const clv_view *rows, const clv_batch *batch) CLV_NODISCARD;
size_t clvi_method_bank_size(const clvi_method *m);     /* bytes of its rows */
void clvi_method_describe_bank(const clvi_method *m, void (*line)(const char *text, void *user), void *user);

/* ---- for methods: a step ---- */

/* Binds the views, which lie on the host or on the context's device as they say, runs the graph and reads the loss. */
clv_status clvi_method_run(clvi_method *m, const clv_view *view, double *loss) CLV_NODISCARD;
double clvi_method_grad_norm(clvi_method *m);
/* What the momentum encoder says of the images becomes the target of view v; `draw` numbers the shuffles of a step. */
clv_status clvi_method_embed_target(clvi_method *m, const clv_view *images, const clvi_step *at, int draw,
                                    int v) CLV_NODISCARD;
/* "train/acc1": percent of the batch whose label has the highest of its scores [B,C]; -1 is no label. */
clv_status clvi_method_accuracy(clvi_method *m, clv_node scores, const clv_batch *batch,
                                clvi_metrics *out) CLV_NODISCARD;

#endif
