/* test_graph.c: graphs on a device: inputs and outputs cross the border, banks lie beyond it, and runs that are recorded
 * do what the others do. */
#include "tests/cuda/device.h"
#include "tests/support/anomaly.h"
#include "core/checked.h"
#include "device/cuda/arch.h"
#include <cleave/device.h>
#include <cleave/bank.h>
#include <cleave/graph.h>
#include "tensor/graph.h"
#include <stdlib.h>
#include <string.h>

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

/* ---- recorded runs ---- */

enum { RUNS = 5 };

/* The output of each run; the input changes in place, and for the last run lies elsewhere. */
static void run_often(test_env *t, bool record, float out[RUNS][6])
{
    clv_context *ctx = test_device_context(t);
    clv_graph *g = make_graph(ctx);
    float data[2][6];
    const clv_node x = clv_input(g, "x", CLV_F32, 2, (const int64_t[]) { 2, 3 });
    const clv_node y = clv_l2norm_rows(g, clv_relu(g, x), 1e-12);
    clv_graph_output(g, y);
    assert_ok(clv_graph_finish(g));
    for (int run = 0; run < RUNS; run++) {
        const clv_view in = clv_view_2d(data[run == RUNS - 1], CLV_F32, 2, 3);
        clv_view view;
        for (int i = 0; i < 6; i++) ((float *)in.data)[i] = (float)((i + 1) * (run + 2) % 7) - 3;
        if (run == 0 || run == RUNS - 1) assert_ok(clv_graph_bind(g, x, &in));
        assert_ok(clv_graph_run(g));
        assert_ok(clv_graph_read(g, y, &view));
        memcpy(out[run], view.data, sizeof out[run]);
        assert_int_equal(g->recording != NULL, record && run > 0);
    }
    clv_graph_destroy(g);
    clv_context_destroy(ctx);
}

static void a_recorded_run_has_the_bits_of_the_others(void **state)
{
    float recorded[RUNS][6], eager[RUNS][6];
    run_often(*state, true, recorded);
    assert_int_equal(setenv("CLEAVE_GRAPH", "0", 1), 0);
    run_often(*state, false, eager);
    assert_int_equal(unsetenv("CLEAVE_GRAPH"), 0);
    assert_memory_equal(recorded, eager, sizeof eager);
}

static void what_cannot_be_recorded_is_told(void **state)
{
    if (!test_device_is_emulated()) skip();
    clv_context *ctx = test_device_context(*state);
    const clvi_backend *backend = ctx->device->backend;
    clvi_recording *recording = NULL;
    char there[4];
    char *memory = clvi_device_alloc(ctx, sizeof there);
    assert_ok(backend->record(ctx->device));
    assert_null(clvi_device_alloc(ctx, 8));
    assert_non_null(strstr(clv_error_message(), "memory is taken while a run is recorded"));
    assert_fails(clvi_device_copy(ctx, there, memory, 4, CLVI_COPY_TO_HOST), CLV_ERR_DEVICE, "to the host while");
    assert_fails(clvi_device_wait(ctx), CLV_ERR_DEVICE, "waiting while");
    assert_ok(clvi_device_fill(ctx, memory, 7, 4));
    assert_ok(backend->recorded(ctx->device, &recording));
    assert_ok(clvi_device_copy(ctx, there, memory, 4, CLVI_COPY_TO_HOST));
    assert_int_equal(there[3], 0);                                /* it has not run */
    assert_ok(backend->play(ctx->device, recording));
    assert_ok(clvi_device_copy(ctx, there, memory, 4, CLVI_COPY_TO_HOST));
    assert_int_equal(there[3], 7);
    backend->forget(ctx->device, recording);
    clvi_device_free(ctx, memory, sizeof there);
    clv_context_destroy(ctx);
}

/* ---- banks ---- */

static float first_sum(clv_graph *g, clv_node sums, int row)
{
    clv_view view;
    assert_ok(clv_graph_run(g));
    assert_ok(clv_graph_read(g, sums, &view));
    return ((const float *)view.data)[row];
}

/* Values of a bank are changed behind its back: what a graph reads then are those of the copy. */
static void only_rows_that_were_pushed_cross_the_border(void **state)
{
    static const clv_option options[] = { { "capacity", "5" }, { "dim", "2" }, { "init", "empty" } };
    clv_context *ctx = test_device_context(*state);
    clv_bank *bank = NULL;
    float pushed[3][2] = { { 1, 2 }, { 3, 4 }, { 5, 6 } };
    const clv_view three = clv_view_2d(pushed, CLV_F32, 3, 2);
    assert_ok(clv_bank_create(ctx, "fifo", options, 3, &bank));
    clv_graph *g = make_graph(ctx);
    const clv_view rows = clv_bank_rows(bank);
    const clv_node queue = clv_input(g, "queue", CLV_F32, 2, rows.shape), sums = clv_reduce(g, queue, 1, false);
    clv_graph_output(g, sums);
    assert_ok(clv_graph_finish(g));
    assert_ok(clv_graph_bind(g, queue, &rows));
    assert_ok(clv_bank_push(bank, &three, NULL, NULL));
    assert_near(first_sum(g, sums, 2), 11, 0);
    ((float *)rows.data)[4] = 100;                                /* row 2, and nobody is told */
    assert_near(first_sum(g, sums, 2), 11, 0);
    assert_ok(clv_bank_push(bank, &three, NULL, NULL));           /* rows 3, 4, 0 */
    assert_near(first_sum(g, sums, 2), 11, 0);
    assert_near(first_sum(g, sums, 4), 7, 0);
    assert_near(first_sum(g, sums, 0), 11, 0);
    clv_graph_destroy(g);
    clv_bank_destroy(bank);
    clv_context_destroy(ctx);
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

static void only_a_gpu_has_plans_to_choose_from(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    static const char why[] = ": only a GPU has plans of cuDNN to choose from";
    assert_fails(clv_context_benchmark(NULL, true), CLV_ERR_INVALID, "an argument is NULL");
    assert_fails(clv_context_benchmark(t->ctx, true), CLV_ERR_UNSUPPORTED, "cannot act with device 'cpu'");
    assert_fails(clv_context_benchmark(t->ctx, true), CLV_ERR_UNSUPPORTED, why);
    if (test_device_is_emulated())
        assert_fails(clv_context_benchmark(device, true), CLV_ERR_UNSUPPORTED, "cannot act with device 'emu'");
    else assert_ok(clv_context_benchmark(device, true));
    clv_context_destroy(device);
}

static void kernels_run_on_devices_of_their_generation(void **state)
{
    (void)state;
    assert_true(clvi_cuda_arch_runs_on(90, 9, 0));
    assert_true(clvi_cuda_arch_runs_on(80, 8, 0) && clvi_cuda_arch_runs_on(80, 8, 9) && clvi_cuda_arch_runs_on(86, 8, 9));
    assert_true(clvi_cuda_arch_runs_on(100, 10, 3) && clvi_cuda_arch_runs_on(120, 12, 0));
    assert_false(clvi_cuda_arch_runs_on(90, 8, 0) || clvi_cuda_arch_runs_on(90, 10, 0));
    assert_false(clvi_cuda_arch_runs_on(89, 8, 0) || clvi_cuda_arch_runs_on(120, 10, 0));
}

static void the_first_operation_with_a_nan_is_named(void **state)
{
    clv_context *device = test_device_context(*state);
    test_anomaly_is_named(device);
    clv_context_destroy(device);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(a_graph_on_the_device_gives_the_hosts_numbers),
        TEST(a_recorded_run_has_the_bits_of_the_others),
        TEST(what_cannot_be_recorded_is_told),
        TEST(only_rows_that_were_pushed_cross_the_border),
        TEST(an_input_that_is_not_bound_is_told),
        TEST(devices_that_are_not_there_are_refused_by_name),
        TEST(only_a_gpu_has_plans_to_choose_from),
        TEST(kernels_run_on_devices_of_their_generation),
        TEST(the_first_operation_with_a_nan_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
