/* anomaly.h: a graph that makes a NaN where one asks for it, on the host and on devices. */
#ifndef TESTS_SUPPORT_ANOMALY_H
#define TESTS_SUPPORT_ANOMALY_H

#include "tests/support/test.h"
#include <cleave/graph.h>

typedef struct test_anomaly {
    clv_graph *g;
    float      x[4], y[4], w[4];
} test_anomaly;

/* loss = sum relu(y - x w): x, y and w are inputs of the context's memory, all 1; the gradient of w is asked for. */
void test_anomaly_make(clv_context *ctx, test_anomaly *a);
/* What each of the three does, in words: run with x, y or w spoilt. */
void test_anomaly_is_named(clv_context *ctx);

#endif
