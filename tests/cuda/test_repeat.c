/* test_repeat.c: the same run again has the same bits: weights, momentum encoder, optimiser, bank; and so has one whose
 * graphs are not recorded. */
#include "tests/cuda/device.h"
#include "tests/support/train.h"
#include "core/checked.h"
#include <stdio.h>
#include <stdlib.h>

static void run_to(test_env *t, const char *folder, const char *method, const char *loss)
{
    clv_context *device = test_device_context(t);
    assert_ok(test_run_in(device, test_run_config(t, folder, "method", method, "loss", loss, "stop-epoch", "1", NULL), NULL, NULL));
    clv_context_destroy(device);
}

static void the_same_seed_gives_the_same_bits(void **state)
{
    run_to(*state, "one", "moco", "moco_queue");
    test_device_order(77);
    run_to(*state, "two", "moco", "moco_queue");
    test_device_order(0);
    assert_true(test_same_file(*state, "one/last.h5", "two/last.h5"));
}

/* Runs of graphs are recorded once and played, unless CLEAVE_GRAPH=0: two graphs, a bank, negatives made of it. */
static void recorded_runs_have_the_bits_of_eager_ones(void **state)
{
    static const char *const cases[][2] = {
        { "moco", "moco_queue" }, { "moco", "mochi N=32 s=8 s-prime=4" }, { "moco", "feature_transform" },
    };
    for (size_t c = 0; c < CLVI_COUNT(cases); c++) {
        char folder[2][32], file[2][96];
        for (int eager = 0; eager < 2; eager++) {
            snprintf(folder[eager], sizeof folder[eager], "%s%zu", eager ? "eager" : "recorded", c);
            snprintf(file[eager], sizeof file[eager], "%s/last.h5", folder[eager]);
            assert_int_equal(setenv("CLEAVE_GRAPH", eager ? "0" : "1", 1), 0);
            run_to(*state, folder[eager], cases[c][0], cases[c][1]);
        }
        assert_int_equal(unsetenv("CLEAVE_GRAPH"), 0);
        assert_true(test_same_file(*state, file[0], file[1]));
    }
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(the_same_seed_gives_the_same_bits),
        TEST(recorded_runs_have_the_bits_of_eager_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
