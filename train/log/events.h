/* events.h: an event file as TensorBoard reads it: records of protocol buffers, each with checksums, one value a record. */
#ifndef CLVI_TRAIN_EVENTS_H
#define CLVI_TRAIN_EVENTS_H

#include "core/context.h"

typedef struct clvi_events clvi_events;

/* What a histogram is made from: `counts` of values up to `limit[i]`, ascending; from min to max. */
typedef struct clvi_histogram {
    double  min, max, sum, sum_squares;
    int     count;
    double *limit, *counts;
} clvi_histogram;

/* A new file in the directory, events.out.tfevents.SECONDS.HOST.PID.0. What earlier files there say of steps after `step`
 * is void: a resumed run does them again. Errors: CLV_ERR_IO, CLV_ERR_NOMEM. */
clv_status clvi_events_open(clv_context *ctx, const char *directory, int64_t step, clvi_events **out) CLV_NODISCARD;
void clvi_events_close(clvi_events *e);

/* Each appends one record. Errors: CLV_ERR_IO, CLV_ERR_NOMEM. */
clv_status clvi_events_scalar(clvi_events *e, int64_t step, const char *tag, double value) CLV_NODISCARD;
clv_status clvi_events_histogram(clvi_events *e, int64_t step, const char *tag, const clvi_histogram *h) CLV_NODISCARD;
/* png: encoded, of 1 or 3 channels. */
clv_status clvi_events_image(clvi_events *e, int64_t step, const char *tag, const uint8_t *png, size_t size,
                             int64_t height, int64_t width, int64_t channels) CLV_NODISCARD;
clv_status clvi_events_flush(clvi_events *e) CLV_NODISCARD;

#endif
