/* sync.h: graphs that compute one rank's share of a batch. */
#ifndef CLVI_TENSOR_SYNC_H
#define CLVI_TENSOR_SYNC_H

#include <cleave/graph.h>
#include "device/sync_norm.h"

/* Batch norms added from now on normalise over the batch of all ranks; `ranks` stays where it is. */
void clvi_graph_sync(clv_graph *g, const clvi_rank_sum *ranks);

#endif
