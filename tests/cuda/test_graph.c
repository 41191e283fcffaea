/* test_graph.c: graphs on a device: inputs and outputs cross the border, parameters live there, and what a kernel finds
 * wrong with its data is an error of the next read. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include <cleave/device.h>
#include <cleave/graph.h>

static clv_graph *make_graph(clv_context *ctx)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_graph *g = NULL;
    desc.training = true;
    assert_ok(clv_graph_create(ctx, &desc, &g));
    return g;
}

static void a_graph_on_the_device_gives_the_hosts_numbers(void **state)
{
    test_env *t = *state;
    clv_context *contexts[2] = { t->ctx, test_device_context(t) };
    float data[2][3] = { { 3, -4, 0 }, { -1, 0.5f, 2 } }, got[2][6];
    for (int d = 0; d < 2; d++) {
        clv_graph *g = make_graph(contexts[d]);
        const clv_node x = clv_input(g, "x", CLV_F32, 2, (const int64_t[]) { 2, 3 });
        const clv_node y = clv_l2norm_rows(g, clv_relu(g, x), 1e-12);
        clv_graph_output(g, y);
        assert_ok(clv_graph_finish(g));
        const clv_view in = clv_view_2d(data, CLV_F32, 2, 3);
        clv_view out;
        for (int run = 0; run < 2; run++) {
            assert_ok(clv_graph_bind(g, x, &in));
            assert_ok(clv_graph_run(g));
            assert_ok(clv_graph_read(g, y, &out));
        }
        for (int i = 0; i < 6; i++) got[d][i] = ((const float *)out.data)[i];
        clv_graph_destroy(g);
    }
    for (int i = 0; i < 6; i++) assert_near(got[1][i], got[0][i], 1e-6);
    clv_context_destroy(contexts[1]);
}

static void an_input_that_is_not_bound_is_told(void **state)
{
    clv_context *ctx = test_device_context(*state);
    clv_graph *g = make_graph(ctx);
    clv_graph_output(g, clv_relu(g, clv_input(g, "x", CLV_F32, 1, (const int64_t[]) { 4 })));
    assert_ok(clv_graph_finish(g));
    assert_fails(clv_graph_run(g), CLV_ERR_INVALID, "input 'x' is not bound");
    clv_graph_destroy(g);
    clv_context_destroy(ctx);
}

static void devices_that_are_not_there_are_refused_by_name(void **state)
{
    test_env *t = *state;
    clv_context *ctx = test_context(t, 1);
    assert_fails(clv_context_use(ctx, "gpu"), CLV_ERR_INVALID, "device 'gpu': want cpu, cuda or cuda:N");
    assert_fails(clv_context_use(ctx, "cuda:x"), CLV_ERR_INVALID, "device 'cuda:x': want cpu");
    assert_fails(clv_context_use(ctx, "emu:1"), CLV_ERR_INVALID, "there is only 1");
    assert_ok(clv_context_use(ctx, "cpu"));
    assert_ok(clv_context_use(ctx, "emu:0"));
    assert_fails(clv_context_use(ctx, "cpu"), CLV_ERR_INVALID, "has a device already");
    clv_context_destroy(ctx);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(a_graph_on_the_device_gives_the_hosts_numbers),
        TEST(an_input_that_is_not_bound_is_told),
        TEST(devices_that_are_not_there_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
