/* test_optimizers.c: every optimiser takes the published steps on a device, too. */
#include "tests/cuda/device.h"
#include "tests/support/optimizers.h"

static void every_optimizer_takes_the_published_steps(void **state)
{
    clv_context *device = test_device_context(*state);
    test_optimizers_take_golden_steps(device);
    clv_context_destroy(device);
}

static void followers_see_what_passes_of_their_own_would(void **state)
{
    clv_context *device = test_device_context(*state);
    test_optimizers_are_followed(device);
    clv_context_destroy(device);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(every_optimizer_takes_the_published_steps),
        TEST(followers_see_what_passes_of_their_own_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
