/* anomaly.c: graphs that make a NaN, and what is told of it. */
#include "tests/support/anomaly.h"
#include <math.h>

static clv_node row(clv_graph *g, const char *name, float *data, clv_view *view)
{
    *view = clv_view_2d(data, CLV_F32, 1, 4);
    for (int i = 0; i < 4; i++) data[i] = 1;
    return clv_input(g, name, CLV_F32, 2, (int64_t[]) { 1, 4 });
}

void test_anomaly_make(clv_context *ctx, test_anomaly *a)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_view view[3];
    desc.training = true;
    assert_ok(clv_graph_create(ctx, &desc, &a->g));
    const clv_node x = row(a->g, "x", a->x, &view[0]), y = row(a->g, "y", a->y, &view[1]);
    const clv_node w = row(a->g, "w", a->w, &view[2]);
    const clv_node loss = clv_reduce(a->g, clv_relu(a->g, clv_sub(a->g, y, clv_mul(a->g, x, w))), -1, false);
    assert_ok(clv_graph_backward(a->g, loss));
    clv_graph_output(a->g, clv_graph_gradient(a->g, w));
    assert_ok(clv_graph_finish(a->g));
    assert_ok(clv_graph_bind(a->g, x, &view[0]));
    assert_ok(clv_graph_bind(a->g, y, &view[1]));
    assert_ok(clv_graph_bind(a->g, w, &view[2]));
}

void test_anomaly_is_named(clv_context *ctx)
{
    test_anomaly a;
    test_anomaly_make(ctx, &a);
    for (int i = 0; i < 3; i++) assert_ok(clv_graph_run(a.g));       /* a device has recorded it by now */
    a.x[2] = a.y[2] = INFINITY;
    assert_ok(clv_graph_run(a.g));                                   /* nobody looks */
    assert_ok(clv_context_detect_anomaly(ctx, true));
    assert_fails(clv_graph_run(a.g), CLV_ERR_NUMERIC, "forward pass, operation 2 of ");
    assert_fails(clv_graph_run(a.g), CLV_ERR_NUMERIC, ", sub (kernel ");
    assert_fails(clv_graph_run(a.g), CLV_ERR_NUMERIC, "result 0, float32 [1,4], has a NaN; its operand 0 'y' has an infinity");
    a.x[2] = NAN;
    assert_fails(clv_graph_run(a.g), CLV_ERR_NUMERIC, "operation 1 of ");
    assert_fails(clv_graph_run(a.g), CLV_ERR_NUMERIC, "its operand 0 'x' has a NaN");
    a.x[2] = INFINITY, a.y[2] = 1;                                   /* -inf, relu 0; its gradient 0 inf */
    assert_fails(clv_graph_run(a.g), CLV_ERR_NUMERIC, "backward pass, operation ");
    assert_fails(clv_graph_run(a.g), CLV_ERR_NUMERIC, "'x' has an infinity");
    a.x[2] = 1;
    assert_ok(clv_graph_run(a.g));
    a.x[2] = NAN;
    assert_ok(clv_context_detect_anomaly(ctx, false));
    for (int i = 0; i < 3; i++) assert_ok(clv_graph_run(a.g));
    clv_graph_destroy(a.g);
}
