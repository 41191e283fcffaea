/* test_anomaly.c: the operation that makes the first NaN is named, and looking for it changes nothing. */
#include "tests/support/anomaly.h"
#include "tests/support/train.h"

#include <math.h>

static void the_first_operation_with_a_nan_is_named(void **state)
{
    test_env *t = *state;
    assert_fails(clv_context_detect_anomaly(NULL, true), CLV_ERR_INVALID, "an argument is NULL");
    test_anomaly_is_named(t->ctx);
}

static void float64_is_looked_at_like_float32(void **state)
{
    test_env *t = *state;
    static const clv_dtype types[] = { CLV_F64, CLV_F32 };
    clv_context *ctx = test_context(t, 1);
    assert_ok(clv_context_detect_anomaly(ctx, true));
    for (int f = 0; f < 2; f++) {
        clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
        clv_graph *g = NULL;
        double x64[2] = { 1, INFINITY };
        float x32[2] = { 1, INFINITY };
        desc.dtype = types[f];
        assert_ok(clv_graph_create(ctx, &desc, &g));
        const clv_node x = clv_input(g, "x", types[f], 1, (int64_t[]) { 2 });
        clv_graph_output(g, clv_sub(g, x, x));
        assert_ok(clv_graph_finish(g));
        const clv_view view = clv_view_1d(f == 0 ? (void *)x64 : x32, types[f], 2);
        assert_ok(clv_graph_bind(g, x, &view));
        assert_fails(clv_graph_run(g), CLV_ERR_NUMERIC, f == 0 ? "float64 [2], has a NaN" : "float32 [2], has a NaN");
        x64[1] = x32[1] = 2;
        assert_ok(clv_graph_run(g));
        clv_graph_destroy(g);
    }
    clv_context_destroy(ctx);
}

static bool adds_losses(const clv_progress *p, void *user)
{
    if (p->kind == CLV_PROGRESS_STEP) *(double *)user += p->loss;
    return true;
}

static void a_run_that_is_looked_at_has_the_same_numbers(void **state)
{
    test_env *t = *state;
    static const char *const precisions[] = { "fp32", "bf16" };
    for (int i = 0; i < 2; i++) {
        double plain = 0, watched = 0;
        const char *p = precisions[i];
        assert_ok(test_run(t, test_run_config(t, p, "epochs", "1", "precision", p, NULL), adds_losses, &plain));
        assert_ok(test_run(t, test_run_config(t, i ? "b" : "a", "epochs", "1", "precision", p, "detect-anomaly", "true",
                                              NULL), adds_losses, &watched));
        assert_true(plain > 0 && plain == watched);
    }
}

static void a_run_names_the_operation(void **state)
{
    test_env *t = *state;
    assert_fails(test_run(t, test_run_config(t, "c", "epochs", "1", "lr", "1e6", "detect-anomaly", "true", NULL), NULL,
                          NULL), CLV_ERR_NUMERIC, "has a NaN; its operand");
    clv_config *config = test_run_config(t, "d", "detect-anomaly", "true", "on-nan", "skip", NULL);
    assert_fails(test_run(t, config, NULL, NULL), CLV_ERR_INVALID, "on-nan 'skip' cannot act with detect-anomaly");
}

TEST_MAIN(
    TEST(the_first_operation_with_a_nan_is_named),
    TEST(float64_is_looked_at_like_float32),
    TEST(a_run_that_is_looked_at_has_the_same_numbers),
    TEST(a_run_names_the_operation),
)
