/* random_graph.h: graphs nobody would write: random operations on random earlier values, with weights and a loss. */
#ifndef CLEAVE_TESTS_SUPPORT_RANDOM_GRAPH_H
#define CLEAVE_TESTS_SUPPORT_RANDOM_GRAPH_H

#include "tests/support/test.h"
#include "tensor/graph.h"

#define RANDOM_OUTPUTS 4

typedef struct random_graph {
    clv_graph *g;
    clv_node   matrix, image, loss;         /* two inputs, one result */
    clv_node   output[RANDOM_OUTPUTS];      /* some values kept on the way */
    _Alignas(16) double data[2][512];       /* what the inputs are bound to */
} random_graph;

/* Builds, differentiates, finishes, binds, and fills the parameters; all of it depends on (seed, desc) only. */
void random_graph_make(clv_context *ctx, const clv_graph_desc *desc, uint64_t seed, random_graph *out);
void random_graph_destroy(random_graph *r);

#endif
