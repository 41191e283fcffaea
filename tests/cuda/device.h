/* device.h: the device that the tests of this folder run on: the emulator, or what CLEAVE_TEST_DEVICE names. */
#ifndef CLEAVE_TESTS_CUDA_DEVICE_H
#define CLEAVE_TESTS_CUDA_DEVICE_H

#include "device/backend.h"
#include "tests/support/test.h"

/* A context on the test's heap that uses the device. */
clv_context *test_device_context(test_env *t);
bool test_device_is_emulated(void);
/* Another order for the emulator's threads; 0: by index. Nothing on a device. */
void test_device_order(uint64_t seed);
/* Makes the emulator known to the library: once, first thing in main. */
void test_device_register(void);

#endif
