/* schedule.h: learning rate and key-encoder momentum as closed forms of the step: a resume cannot drift. */
#ifndef CLVI_TRAIN_SCHEDULE_H
#define CLVI_TRAIN_SCHEDULE_H

#include "core/status.h"
#include "train/config/config.h"

#include <stdbool.h>

#define CLVI_MAX_MILESTONES 32

typedef struct clvi_schedule {
    double  base;
    bool    cosine;                           /* base (1 + cos(pi e / horizon)) / 2; else drops at milestones */
    bool    by_step;                          /* e advances with every step, else with every epoch */
    double  warmup, warmup_start;             /* epochs of linear rise, from this rate; the cosine spans the rest */
    bool    warmup_by_epoch;                  /* the rise is in one step an epoch */
    double  end;                              /* where the cosine ends, as a share of base */
    double  horizon;                          /* epochs */
    int64_t start;                            /* number of the first epoch in the formula: 0, or 1 as in MoCo's demo */
    double  drop;                             /* factor at a milestone */
    int     milestone_count;
    double  milestone[CLVI_MAX_MILESTONES];   /* epochs */
} clvi_schedule;

/* "120,160" into milestones; "" has none. Errors: CLV_ERR_INVALID unless they are rising numbers. */
clv_status clvi_schedule_milestones(clvi_schedule *schedule, const char *text) CLV_NODISCARD;

/* The learning rate that the settings ask for: lr, or scaled by the batch as in MoCo v3 (lr batch / 256, Goyal et al.
 * 2017, arXiv:1706.02677) or SimCLR (lr sqrt(batch), arXiv:2002.05709, B.1). */
double clvi_schedule_base(const clvi_settings *settings);

/* Learning rate of step `step` (from 0) of epoch `epoch` (from 0). */
double clvi_schedule_at(const clvi_schedule *schedule, int64_t epoch, int64_t step, int64_t steps_per_epoch);

/* MoCo v3's momentum: 1 - (1 - base) (1 + cos(pi epoch / epochs)) / 2; epoch may be fractional. */
double clvi_momentum_cosine(double base, double epoch, double epochs);

#endif
