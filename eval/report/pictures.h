/* pictures.h: the data sets of a run, for pictures of its images and names of its classes. */
#ifndef CLVI_EVAL_REPORT_PICTURES_H
#define CLVI_EVAL_REPORT_PICTURES_H

#include "data/resize.h"
#include "eval/report/run.h"
#include "eval/report/text.h"

typedef struct clvi_pictures {
    clv_context *ctx;
    clv_dataset *train, *val;      /* NULL: cannot be opened any more; val is NULL when `held_out` is false, too */
    bool         held_out;         /* examples are images of val, else of train */
    char         why[1024];        /* what was said when one could not be opened; "" */
    clv_decoder *decoder;
    clvi_resizer resizer;
} clvi_pictures;

/* Opens what the run's configuration names. A data set that is gone is no error. Errors: CLV_ERR_NOMEM. Release the
 * pictures in any case. */
clv_status clvi_pictures_open(clv_context *ctx, const clvi_run *run, clvi_pictures *out) CLV_NODISCARD;
void clvi_pictures_release(clvi_pictures *pictures);

/* A class by its name, or its number where there is none; escaped. */
void clvi_pictures_class(const clvi_pictures *pictures, int64_t label, clvi_text *page);

/* The examples with their nearest neighbours. */
void clvi_pictures_neighbours(clvi_pictures *pictures, const clvi_run *run, clvi_text *page);

#endif
