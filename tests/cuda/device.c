/* device.c: the tests' device. */
#include "tests/cuda/device.h"
#include <cleave/device.h>
#include <stdlib.h>

extern const clvi_backend clvi_backend_emu;
void clvi_emu_set_order(uint64_t seed);

clv_context *test_device_context(test_env *t)
{
    const char *name = getenv("CLEAVE_TEST_DEVICE");
    clv_context *ctx = test_context(t, 1);
    assert_ok(clv_context_use(ctx, name ? name : "emu"));
    return ctx;
}

bool test_device_is_emulated(void)
{
    return getenv("CLEAVE_TEST_DEVICE") == NULL;
}

void test_device_order(uint64_t seed)
{
    clvi_emu_set_order(seed);
}

void test_device_register(void)
{
    if (clvi_backend_register(&clvi_backend_emu) != CLV_OK) abort();
}
