/* test_isa.c: the vector exponential is as exact as it says, and ends where floats end. */
#include "device/cpu/isa.h"
#include "tests/support/isa.h"
#include "tests/support/test.h"
#include <math.h>

/* x[i] becomes e^x[i], 16 at a time. */
CLVI_INLINE void exp_body(void *arg, int64_t begin, int64_t end)
{
    float *x = arg;
    clvi_v16f v;
    for (int64_t i = begin; i < end; i += CLVI_LANES) {
        clvi_load16(&v, x, i, end, 0);
        clvi_exp16(&v);
        clvi_store16(&v, x, i, end);
    }
}
CLVI_ISA_VARIANTS(exp_body)

static void exp_is_exact_to_two_units(void **state)
{
    (void)state;
    enum { STEPS = 200003 };
    static float x[STEPS], e[STEPS];
    for (int i = 0; i < STEPS; i++) x[i] = e[i] = (float)(-86.9 + 175.1 * i / STEPS);
    clvi_isa_pick(exp_body_table)(e, 0, STEPS);
    for (int i = 0; i < STEPS; i++) assert_near(e[i] / exp((double)x[i]), 1, 2e-7);
}

static void exp_ends_where_floats_end(void **state)
{
    (void)state;
    float x[] = { 0, -0.0f, -87.5f, -1e30f, -INFINITY, 89, 1e30f, INFINITY, NAN };
    clvi_isa_pick(exp_body_table)(x, 0, 9);
    const float want[] = { 1, 1, 0, 0, 0, INFINITY, INFINITY, INFINITY };
    for (int i = 0; i < 8; i++) assert_true(x[i] == want[i]);
    assert_true(isnan(x[8]));
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(exp_is_exact_to_two_units),
        TEST(exp_ends_where_floats_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return test_each_isa(run_all);
}
