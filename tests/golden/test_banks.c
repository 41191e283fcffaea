/* test_banks.c: the repulsor's bank after a push, as the golden vectors of its loss have it: losses/repulsor.h5 holds
 * for each case the bank before, what was projected, and the bank after. */
#include "tests/support/test.h"
#include "memorybank/bank.h"
#include "core/h5.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/losses/repulsor.h5"

typedef struct golden_case {
    clvi_h5    *h5;
    const char *name;
} golden_case;

/* Reads a data set of any shape; NULL when there is none. */
static void *read_values(const golden_case *c, const char *name, clv_dtype dtype, int64_t shape[2])
{
    char path[128];
    clvi_h5_info info;
    snprintf(path, sizeof path, "%s/%s", c->name, name);
    if (!clvi_h5_has(c->h5, path)) return NULL;
    assert_ok(clvi_h5_stat(c->h5, path, &info));
    clv_view view = clv_view_dense(NULL, dtype, info.ndim, info.shape);
    view.data = malloc((size_t)clv_view_count(&view) * clv_dtype_size(dtype));
    assert_non_null(view.data);
    assert_ok(clvi_h5_read(c->h5, path, &view));
    for (int i = 0; shape && i < 2; i++) shape[i] = info.shape[i];
    return view.data;
}

static int64_t read_position(const golden_case *c, const char *name)
{
    int64_t *value = read_values(c, name, CLV_I64, NULL);
    assert_non_null(value);
    const int64_t position = *value;
    free(value);
    return position;
}

static clv_bank *make_bank(test_env *t, const golden_case *c, const char *dtype, const int64_t shape[2])
{
    char capacity[24], dim[24];
    clv_bank *bank = NULL;
    snprintf(capacity, sizeof capacity, "%" PRId64, shape[0]);
    snprintf(dim, sizeof dim, "%" PRId64, shape[1]);
    const clv_option options[] = { { "capacity", capacity }, { "dim", dim }, { "dtype", dtype }, { "init", "random" },
                                   { "normalize", strstr(c->name, "unnormalised") ? "false" : "true" } };
    assert_ok(clv_bank_create(t->ctx, "repulsor", options, 5, &bank));
    return bank;
}

static void check_case(test_env *t, const golden_case *c, const char *dtype, double tolerance)
{
    int64_t shape[2], pushed[2];
    double *before = read_values(c, "inputs/bank", CLV_F64, shape);
    double *projected = read_values(c, "outputs/projected", CLV_F64, pushed);
    double *after = read_values(c, "outputs/bank_after", CLV_F64, NULL);
    uint8_t *valid = read_values(c, "inputs/bank_valid", CLV_U8, NULL);
    uint8_t *valid_after = read_values(c, "outputs/bank_valid_after", CLV_U8, NULL);
    clv_bank *bank = make_bank(t, c, dtype, shape);
    const int64_t n = shape[0] * shape[1];
    for (int64_t i = 0; i < n; i++) clvi_bank_set_value(bank, i, before[i]);
    if (valid) memcpy(bank->valid, valid, (size_t)shape[0]);
    bank->cursor = read_position(c, "inputs/bank_ptr");
    const clv_view rows = clv_view_2d(projected, CLV_F64, pushed[0], pushed[1]);
    assert_ok(clv_bank_push(bank, &rows, NULL, NULL));
    assert_int_equal(clv_bank_pointer(bank), read_position(c, "outputs/bank_ptr_after"));
    for (int64_t i = 0; i < n; i++)
        assert_near(clvi_bank_value(bank, i), after[i], tolerance * fmax(fabs(after[i]), 0.01));
    for (int64_t j = 0; j < shape[0]; j++) assert_int_equal(bank->valid[j], valid_after ? valid_after[j] : 1);
    clv_bank_destroy(bank);
    free(before), free(projected), free(after), free(valid), free(valid_after);
}

static void check_all(test_env *t, const char *dtype, double tolerance)
{
    clvi_h5 *h5 = NULL;
    int64_t count = 0;
    char **names = NULL;
    assert_ok(clvi_h5_open(t->ctx, GOLDEN, &h5));
    assert_ok(clvi_h5_list(h5, "/", false, &count, &names));
    assert_int_equal(count, 7);
    for (int64_t i = 0; i < count; i++) check_case(t, &(golden_case){ h5, names[i] }, dtype, tolerance);
    clvi_free(t->ctx, names);
    clvi_h5_close(h5);
}

static void the_bank_after_a_push_is_the_published_one(void **state)
{
    check_all(*state, "float64", 1e-13);
}

static void stored_types_round_it(void **state)
{
    check_all(*state, "float32", 0x1p-24);
    check_all(*state, "bfloat16", 0x1p-8);
}

TEST_MAIN(TEST(the_bank_after_a_push_is_the_published_one), TEST(stored_types_round_it))
