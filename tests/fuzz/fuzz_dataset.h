/* fuzz_dataset.h: what fuzz targets do with a data set that opened. */
#ifndef CLEAVE_TESTS_FUZZ_DATASET_H
#define CLEAVE_TESTS_FUZZ_DATASET_H

#include "data/survey.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

/* Looks at every byte of the first images, at labels, names and places. */
static inline void fuzz_read(const clv_dataset *ds)
{
    clv_decoder *decoder = NULL;
    clv_dataset_info info;
    clv_image image;
    uint64_t sum = 0;
    char where[256];
    fuzz_require(clv_decoder_create(fuzz_context(), NULL, &decoder) == CLV_OK);
    clv_dataset_describe(ds, &info);
    for (int64_t i = 0; i < info.count && i < 64; i++) {
        fuzz_require(clv_dataset_label(ds, i) < (info.classes ? info.classes : 1));
        clv_dataset_locate(ds, i, where, sizeof where);
        sum += strlen(where);
        if (clv_dataset_image(ds, i, decoder, &image) != CLV_OK) continue;
        for (int64_t k = 0; k < image.height * image.row_stride; k++) sum += image.pixels[k];
    }
    for (int64_t c = 0; c < info.classes; c++)
        if (clv_dataset_class_name(ds, c)) sum += strlen(clv_dataset_class_name(ds, c));
    fuzz_require(sum != UINT64_MAX);
    clv_decoder_destroy(decoder);
}

/* A set at `path` from the survey in the file `survey`. */
static inline void fuzz_survey(const char *path, const char *survey)
{
    clv_dataset *ds = clvi_calloc(fuzz_context(), 1, sizeof *ds);
    fuzz_require(ds);
    ds->ctx = fuzz_context();
    ds->path = clvi_strdup(ds->ctx, path);
    fuzz_require(ds->path);
    if (clvi_map_open(survey, &ds->map[0]) == CLV_OK && clvi_dataset_from_survey(ds, NULL) == CLV_OK) fuzz_read(ds);
    clv_dataset_destroy(ds);
}

#endif
