/* slice.h: a part of a split by fractions. */
#ifndef CLVI_DATA_SLICE_H
#define CLVI_DATA_SLICE_H

#include "data/dataset.h"

typedef struct clvi_slice {
    const char *split;         /* to open; NULL: as clv_dataset_open */
    const char *text;          /* "[:90%]", in what was parsed; NULL: all of the split */
    int64_t     begin, end;    /* thousandths of a percent */
    char        name[64];
} clvi_slice;

/* Takes "NAME[A%:B%]" apart; anything without a bracket is a name. *out must not be moved. CLV_ERR_INVALID. */
clv_status clvi_slice_parse(const char *split, clvi_slice *out) CLV_NODISCARD;
/* That part of `whole`, which becomes the new set's; on error it stays the caller's. */
clv_status clvi_slice_make(clv_dataset *whole, const clvi_slice *slice, clv_dataset **out) CLV_NODISCARD;
/* Number in ds->whole of image i. */
int64_t clvi_slice_image(const clv_dataset *ds, int64_t i);

#endif
