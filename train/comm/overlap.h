/* overlap.h: sums over ranks that a thread makes while the one that wants them computes: clvi_comm_begin and
 * clvi_comm_end of comm.h. */
#ifndef CLVI_TRAIN_OVERLAP_H
#define CLVI_TRAIN_OVERLAP_H

#include "train/comm/comm.h"

typedef struct clvi_overlap clvi_overlap;

/* Ends the thread, once it has made what was begun. NULL is accepted. */
void clvi_overlap_destroy(clvi_overlap *o);

#endif
