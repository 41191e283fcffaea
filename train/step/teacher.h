/* teacher.h: the momentum encoder: a copy of the trained network that follows it slowly and whose features are
 * constants. He et al. 2020, arXiv:1911.05722, eq. 2 and section 3.3. */
#ifndef CLVI_TRAIN_TEACHER_H
#define CLVI_TRAIN_TEACHER_H

#include "train/step/method.h"

struct clvi_teacher {
    clv_context         *ctx;
    const clvi_settings *settings;
    clvi_comm           *comm;
    clvi_division        division;
    int64_t              image_size, dim;
    clv_params          *params;
    clv_graph           *graph;
    clv_node             images, unit;
    clvi_statistics      statistics;
    float               *shuffled;          /* [part or local, image] in the order the groups see them */
    float               *exchanged;         /* [ranks part, image] of all ranks, on their way to where they are seen */
    float               *embedded;          /* [B,D] in that order */
    int64_t             *order;             /* [B] */
    float               *part;              /* [part, image] of the part at work, there; NULL: all are computed at once */
    int64_t             *order_there;       /* the same on the context's device; NULL: it is the host */
    int64_t             *places, *places_there;      /* [B] where this rank sees each image: of images on the device */
    float               *shuffled_there;    /* [local, image] these, in the order the groups see them; or NULL */
    float               *shown;             /* [ranks part, image] a part of each rank; NULL: one, or no shuffles */
    float               *spread;            /* [B,D] of all ranks on the device, in that order; NULL: one */
    float               *mix;               /* scratch of running statistics that follow the student's */
    bool                 ahead;             /* its weights have followed for the next step already */
};

/* Starts as a copy of `student`, which must have been initialised. */
clv_status clvi_teacher_create(const clvi_method_setup *setup, const clv_params *student,
                               clvi_teacher **out) CLV_NODISCARD;
/* NULL is accepted. */
void clvi_teacher_destroy(clvi_teacher *t);

/* Of the arenas that hold images in the order they are seen. */
size_t clvi_teacher_image_bytes(const clvi_teacher *t);

/* What a step begins with: theta_t = m theta_t + (1-m) theta_s, unless the step before did that on its way (a device
 * does the same at every step: a pass that then changes nothing, and returns at once), and the
 * running statistics as the setting bn-buffers says. */
clv_status clvi_teacher_follow(clvi_teacher *t, clv_params *student, double momentum) CLV_NODISCARD;
/* For the optimiser's step: the weights, which follow now for the next step, at its momentum. A checkpoint that is
 * written in between says so (`ahead`). */
clvi_follower clvi_teacher_lead(clvi_teacher *t, double momentum);

/* Unit rows [B,D] of a batch of images, in its order. With several groups of batch norm and shuffle-bn, the batch is
 * spread over the groups in an order drawn for this step and `draw`. */
clv_status clvi_teacher_embed(clvi_teacher *t, const clv_view *images, const clvi_step *at, uint64_t draw,
                              float *rows) CLV_NODISCARD;

/* The same to rows on the context's device, without waiting for them. */
clv_status clvi_teacher_embed_there(clvi_teacher *t, const clv_view *images, const clvi_step *at, uint64_t draw,
                                    float *rows) CLV_NODISCARD;

#endif
