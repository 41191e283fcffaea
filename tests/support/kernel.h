/* kernel.h: calls one kernel with dense values, for tests with numbers worked out by hand. */
#ifndef CLEAVE_TESTS_SUPPORT_KERNEL_H
#define CLEAVE_TESTS_SUPPORT_KERNEL_H

#include "device/attr.h"
#include "device/device.h"
#include "tests/support/test.h"

/* A call under construction: test_kernel_in and _out in order, then test_kernel_run. */
typedef struct test_kernel {
    clvi_op_call call;
    void        *owned[CLVI_MAX_IN + CLVI_MAX_OUT + 1];
    int          owns;
} test_kernel;

test_kernel test_kernel_make(test_env *t, const char *op, const void *attr);
/* An input of `ndim` dimensions. Float inputs are given as double and rounded to `type`; others are used in place. */
void test_kernel_in(test_kernel *k, clv_dtype type, int ndim, const int64_t *shape, const void *data);
void test_kernel_no_input(test_kernel *k);
/* A workspace made by an earlier call. */
void test_kernel_in_workspace(test_kernel *k, const test_kernel *from, int output);
void test_kernel_out(test_kernel *k, clv_dtype type, int ndim, const int64_t *shape);
/* Prepares and runs the reference kernel. Outputs are poisoned first. */
void test_kernel_run(test_kernel *k);
/* Element i of output or input `which`, as double. */
double test_kernel_value(const test_kernel *k, int which, int64_t i);
double test_kernel_input(const test_kernel *k, int which, int64_t i);
void test_kernel_free(test_kernel *k);

/* Shapes and number lists in place. */
#define SHAPE(...) ((const int64_t[]){ __VA_ARGS__ })
#define NUMBERS(...) ((const double[]){ __VA_ARGS__ })

/* Output `which` holds exactly these numbers, within tolerance. */
#define assert_output(k, which, tolerance, ...)                                                                        \
    do {                                                                                                               \
        const double expected_[] = { __VA_ARGS__ };                                                                    \
        for (size_t i_ = 0; i_ < sizeof expected_ / sizeof *expected_; i_++)                                           \
            assert_near(test_kernel_value((k), (which), (int64_t)i_), expected_[i_], (tolerance));                     \
    } while (0)

#endif
