/* test_repeat.c: the same run again has the same bits: weights, momentum encoder, optimiser, bank. */
#include "tests/cuda/device.h"
#include "tests/support/train.h"

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

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(the_same_seed_gives_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
