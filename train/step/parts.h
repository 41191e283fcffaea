/* parts.h: a batch whose network is computed part by part: on one machine to save memory, over several ranks to save
 * time. The losses see all of it at once, so that loss and gradient are those of one large batch: rows of embeddings
 * are computed and put together, the losses say what each row's gradient is, and the network's backward pass takes it
 * from there, computing a part again where it is no longer in memory. Gao et al. 2021, arXiv:2101.06983, section 3.2.
 *
 * Batch norm sees each part alone, or in groups; running statistics move once a step, by the mean over all groups, as
 * in split batch norm. A batch in parts is therefore one large batch with as many groups. */
#ifndef CLVI_TRAIN_PARTS_H
#define CLVI_TRAIN_PARTS_H

#include <cleave/graph.h>
#include "train/comm/comm.h"
#include "train/config/config.h"

typedef struct clvi_method clvi_method;
struct clvi_method_bytes;

/* How a batch is divided. */
typedef struct clvi_division {
    int     rank, ranks;
    int64_t batch;                  /* images of a step, on all ranks together */
    int64_t local, part;            /* images of a rank, which are computed `part` at a time */
    int64_t groups;                 /* of batch norm in a part */
    bool    sync;                   /* batch norm is over the parts of all ranks */
} clvi_division;

/* As the settings batch-size, micro-batch-size and bn-splits have it. Errors: CLV_ERR_INVALID if something is no
 * multiple of what it is divided by. */
clv_status clvi_divide(const clvi_settings *settings, const clvi_comm *comm, clvi_division *out) CLV_NODISCARD;
/* Makes bn-splits say what batch norm will see: at least one group a part. */
void clvi_division_settle(clvi_settings *settings, const clvi_comm *comm);
/* More than one part: `n` of them on this rank. */
bool clvi_is_divided(const clvi_division *d);
int64_t clvi_parts_here(const clvi_division *d);
/* First image of part k of this rank, counted over the whole batch. */
int64_t clvi_part_first(const clvi_division *d, int64_t k);
/* Images first.. of a batch; `batch` gets as many as `count`. */
clv_view clvi_part_of(const clv_view *images, int64_t first, int64_t count);
/* Images for the next run, which lie on the host or on the context's device as they say. */
clv_status clvi_bind_images(clv_graph *g, clv_node input, const clv_view *images) CLV_NODISCARD;

/* Running statistics over the parts of a step: every part starts from those before the step, and in the end they move
 * by the mean of what the parts moved them by. Does nothing for a batch that is not divided. */
typedef struct clvi_statistics {
    clv_context         *ctx;
    clvi_comm           *comm;
    const clvi_division *division;
    clv_params          *params;
    void                *before, *moved;
} clvi_statistics;

/* `params` are laid out; they and the division stay. */
clv_status clvi_statistics_create(clv_context *ctx, clvi_comm *comm, const clvi_division *division, clv_params *params,
                                  clvi_statistics *out) CLV_NODISCARD;
void clvi_statistics_destroy(clvi_statistics *s);
clv_status clvi_statistics_begin(clvi_statistics *s) CLV_NODISCARD;    /* of a step */
clv_status clvi_statistics_restore(clvi_statistics *s) CLV_NODISCARD;  /* before each part */
void clvi_statistics_add(clvi_statistics *s);                          /* after it */
clv_status clvi_statistics_end(clvi_statistics *s) CLV_NODISCARD;
size_t clvi_statistics_bytes(const clvi_statistics *s);

/* ---- the network and the losses of a method as two graphs ---- */

typedef struct clvi_parts clvi_parts;

/* An empty one, for the method's two graphs. */
clv_status clvi_parts_create(clvi_method *m, clvi_parts **out) CLV_NODISCARD;
void clvi_parts_destroy(clvi_parts *p);
/* Rows [part,...] of the network's graph as rows [batch,...] of the losses' graph. */
clv_node clvi_parts_cross(clvi_parts *p, clv_node rows);
/* Once the losses have their backward pass: that of the network, from what they say; finishes both graphs. */
clv_status clvi_parts_finish(clvi_parts *p) CLV_NODISCARD;
/* Makes what steps of several parts take that a device is given as a whole. */
clv_status clvi_parts_queue(clvi_parts *p) CLV_NODISCARD;
/* A step: images of this rank to loss and gradients of the batch. Where steps are queued the loss is the device's
 * (loss_there). */
clv_status clvi_parts_run(clvi_parts *p, const clv_view *view, double *loss) CLV_NODISCARD;
/* Adds what the two graphs and their sums take. */
clv_status clvi_parts_memory(const clvi_parts *p, struct clvi_method_bytes *bytes) CLV_NODISCARD;

#endif
