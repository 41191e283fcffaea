/* test_ref_values.c: reference kernels of everything but networks, with numbers worked out by hand, in both types. */
#include "tests/support/kernel.h"
#include <math.h>

#define EACH_TYPE(f) for (clv_dtype f = CLV_F32; f <= CLV_F64; f++)

static void elementwise_operations(void **state)
{
    static const char *const ops[] = { "add", "sub", "mul", "relu_bwd" };
    static const double want[][4] = { { 1, -4, 0, 5 }, { 3, 0, 6, -1 }, { -2, 4, -9, 6 }, { 0, 0, 0, 2 } };
    const clvi_add_attr plain = { false }, relu = { true };
    EACH_TYPE(f) {
        for (int i = 0; i < 4; i++) {
            test_kernel k = test_kernel_make(*state, ops[i], &plain);
            test_kernel_in(&k, f, 1, SHAPE(4), NUMBERS(2, -2, 3, 2));
            test_kernel_in(&k, f, 1, SHAPE(4), NUMBERS(-1, -2, -3, 3));
            test_kernel_out(&k, f, 1, SHAPE(4));
            test_kernel_run(&k);
            for (int j = 0; j < 4; j++) assert_near(test_kernel_value(&k, 0, j), want[i][j], 0);
            test_kernel_free(&k);
        }
        test_kernel k = test_kernel_make(*state, "add", &relu);
        test_kernel_in(&k, f, 1, SHAPE(4), NUMBERS(2, -2, 3, NAN));
        test_kernel_in(&k, f, 1, SHAPE(4), NUMBERS(-1, -2, -3, 3));
        test_kernel_out(&k, f, 1, SHAPE(4));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 1, 0, 0);
        assert_true(isnan(test_kernel_value(&k, 0, 3)));
        test_kernel_free(&k);
    }
}

static void scale_and_relu(void **state)
{
    const clvi_scale_attr attr = { .factor = -2, .offset = 1 };
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "scale", &attr);
        test_kernel_in(&k, f, 1, SHAPE(3), NUMBERS(0, 1, -3));
        test_kernel_out(&k, f, 1, SHAPE(3));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 1, -1, 7);
        test_kernel_free(&k);
        k = test_kernel_make(*state, "relu", NULL);
        test_kernel_in(&k, f, 1, SHAPE(3), NUMBERS(-1, 2, NAN));
        test_kernel_out(&k, f, 1, SHAPE(3));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 0, 2);
        assert_true(isnan(test_kernel_value(&k, 0, 2)));
        test_kernel_free(&k);
    }
}

static void products_of_rows(void **state)
{
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "add_row", NULL);
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_in(&k, f, 1, SHAPE(2), NUMBERS(10, 20));
        test_kernel_out(&k, f, 2, SHAPE(2, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 11, 22, 13, 24);
        test_kernel_free(&k);
        k = test_kernel_make(*state, "scale_rows", NULL);
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_in(&k, f, 1, SHAPE(2), NUMBERS(10, -1));
        test_kernel_out(&k, f, 2, SHAPE(2, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 10, 20, -3, -4);
        test_kernel_free(&k);
        k = test_kernel_make(*state, "row_dot", NULL);
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(5, 6, 7, 8));
        test_kernel_out(&k, f, 1, SHAPE(2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 17, 53);
        test_kernel_free(&k);
    }
}

static void batched_row_dot_and_its_gradients(void **state)
{
    const double *b = NUMBERS(1, 0, 0, 1, 2, 2, 3, -1);
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "batched_row_dot", NULL);
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_in(&k, f, 3, SHAPE(2, 2, 2), b);
        test_kernel_out(&k, f, 2, SHAPE(2, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 1, 2, 14, 5);
        test_kernel_free(&k);
        k = test_kernel_make(*state, "batched_row_dot_bwd_a", NULL);
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_in(&k, f, 3, SHAPE(2, 2, 2), b);
        test_kernel_out(&k, f, 2, SHAPE(2, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 1, 2, 18, 2);
        test_kernel_free(&k);
        k = test_kernel_make(*state, "batched_row_dot_bwd_b", NULL);
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_out(&k, f, 3, SHAPE(2, 2, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 1, 2, 2, 4, 9, 12, 12, 16);
        test_kernel_free(&k);
    }
}

static void matmul_in_all_four_orders(void **state)
{
    for (int order = 0; order < 4; order++) {
        const clvi_matmul_attr attr = { .trans_a = order % 2, .trans_b = order / 2 };
        EACH_TYPE(f) {
            test_kernel k = test_kernel_make(*state, "matmul", &attr);
            if (attr.trans_a) test_kernel_in(&k, f, 2, SHAPE(3, 2), NUMBERS(1, 4, 2, 5, 3, 6));
            else test_kernel_in(&k, f, 2, SHAPE(2, 3), NUMBERS(1, 2, 3, 4, 5, 6));
            if (attr.trans_b) test_kernel_in(&k, f, 2, SHAPE(1, 3), NUMBERS(1, 10, 100));
            else test_kernel_in(&k, f, 2, SHAPE(3, 1), NUMBERS(1, 10, 100));
            test_kernel_out(&k, f, 2, SHAPE(2, 1));
            test_kernel_run(&k);
            assert_output(&k, 0, 0, 321, 654);
            test_kernel_free(&k);
        }
    }
}

static void matmul_over_nothing_is_zero(void **state)
{
    const clvi_matmul_attr attr = { false, false };
    test_kernel k = test_kernel_make(*state, "matmul", &attr);
    test_kernel_in(&k, CLV_F32, 2, SHAPE(2, 0), NUMBERS(0));
    test_kernel_in(&k, CLV_F32, 2, SHAPE(0, 2), NUMBERS(0));
    test_kernel_out(&k, CLV_F32, 2, SHAPE(2, 2));
    test_kernel_run(&k);
    assert_output(&k, 0, 0, 0, 0, 0, 0);
    test_kernel_free(&k);
}

static void zero_rows_normalise_to_zero_with_zero_gradient(void **state)
{
    const clvi_l2norm_attr attr = { .eps = 1e-12 };
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "l2norm_rows", &attr), b;
        test_kernel_in(&k, f, 2, SHAPE(3, 3), NUMBERS(0, 0, 0, 3, 0, 4, 1e-13, 0, 0));
        test_kernel_out(&k, f, 2, SHAPE(3, 3));
        test_kernel_out(&k, f, 1, SHAPE(3));
        test_kernel_run(&k);
        assert_output(&k, 0, 1e-7, 0, 0, 0, 0.6, 0, 0.8, 0.1, 0, 0);
        assert_output(&k, 1, 1e-7, 0, 5, 1e-13);
        b = test_kernel_make(*state, "l2norm_rows_bwd", &attr);
        test_kernel_in(&b, f, 2, SHAPE(3, 3), NUMBERS(1, 2, 3, 1, 2, 3, 1, 2, 3));
        test_kernel_in(&b, f, 2, SHAPE(3, 3), NUMBERS(0, 0, 0, 0.6, 0, 0.8, 0.1, 0, 0));
        test_kernel_in(&b, f, 1, SHAPE(3), NUMBERS(0, 5, 1e-13));
        test_kernel_out(&b, f, 2, SHAPE(3, 3));
        test_kernel_run(&b);
        assert_output(&b, 0, 1e-7, 0, 0, 0, (1 - 0.6 * 3) / 5, 0.4, (3 - 0.8 * 3) / 5, 0, 0, 0);
        test_kernel_free(&b);
        test_kernel_free(&k);
    }
}

static void reductions_and_their_gradients(void **state)
{
    static const struct {
        int axis;
        bool mean;
        int64_t out[2];
        double want[6], back[6];
    } cases[] = {
        { 0, false, { 3 }, { 5, 7, 9 }, { 1, 2, 3, 1, 2, 3 } },
        { 0, true, { 3 }, { 2.5, 3.5, 4.5 }, { 0.5, 1, 1.5, 0.5, 1, 1.5 } },
        { 1, false, { 2 }, { 6, 15 }, { 1, 1, 1, 2, 2, 2 } },
        { -1, true, { 1 }, { 3.5 }, { 1 / 6.0, 1 / 6.0, 1 / 6.0, 1 / 6.0, 1 / 6.0, 1 / 6.0 } },
    };
    EACH_TYPE(f) {
        for (int i = 0; i < 4; i++) {
            const int axis = cases[i].axis, ndim = axis < 0 ? 0 : 1;
            const clvi_reduce_attr attr = { .axis = axis, .mean = cases[i].mean, .ndim = 2, .shape = { 2, 3 } };
            test_kernel k = test_kernel_make(*state, "reduce", &attr);
            test_kernel_in(&k, f, 2, SHAPE(2, 3), NUMBERS(1, 2, 3, 4, 5, 6));
            test_kernel_out(&k, f, ndim, cases[i].out);
            test_kernel_run(&k);
            for (int j = 0; j < (ndim ? cases[i].out[0] : 1); j++)
                assert_near(test_kernel_value(&k, 0, j), cases[i].want[j], 1e-12);
            test_kernel_free(&k);
            k = test_kernel_make(*state, "reduce_bwd", &attr);
            test_kernel_in(&k, f, ndim, cases[i].out, NUMBERS(1, 2, 3));
            test_kernel_out(&k, f, 2, SHAPE(2, 3));
            test_kernel_run(&k);
            for (int j = 0; j < 6; j++) assert_near(test_kernel_value(&k, 0, j), cases[i].back[j], 1e-7);
            test_kernel_free(&k);
        }
    }
}

static void a_mean_over_nothing_is_zero(void **state)
{
    const clvi_reduce_attr attr = { .axis = 0, .mean = true, .ndim = 2, .shape = { 0, 2 } };
    test_kernel k = test_kernel_make(*state, "reduce", &attr);
    test_kernel_in(&k, CLV_F32, 2, SHAPE(0, 2), NUMBERS(0));
    test_kernel_out(&k, CLV_F32, 1, SHAPE(2));
    test_kernel_run(&k);
    assert_output(&k, 0, 0, 0, 0);
    test_kernel_free(&k);
}

static void concat_and_slice_along_any_axis(void **state)
{
    EACH_TYPE(f) {
        const clvi_concat_attr rows = { 0 }, cols = { 1 };
        test_kernel k = test_kernel_make(*state, "concat", &rows);
        test_kernel_in(&k, f, 2, SHAPE(1, 2), NUMBERS(1, 2));
        test_kernel_in(&k, f, 2, SHAPE(0, 2), NUMBERS(0));
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(3, 4, 5, 6));
        test_kernel_out(&k, f, 2, SHAPE(3, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 1, 2, 3, 4, 5, 6);
        test_kernel_free(&k);
        k = test_kernel_make(*state, "concat", &cols);
        test_kernel_in(&k, f, 2, SHAPE(2, 1), NUMBERS(1, 2));
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(3, 4, 5, 6));
        test_kernel_out(&k, f, 2, SHAPE(2, 3));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 1, 3, 4, 2, 5, 6);
        test_kernel_free(&k);
        const clvi_slice_attr middle = { .axis = 1, .begin = 1, .length = 1, .full = 3 };
        k = test_kernel_make(*state, "slice", &middle);
        test_kernel_in(&k, f, 3, SHAPE(2, 3, 2), NUMBERS(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
        test_kernel_out(&k, f, 3, SHAPE(2, 1, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 2, 3, 8, 9);
        test_kernel_free(&k);
        k = test_kernel_make(*state, "slice_bwd", &middle);
        test_kernel_in(&k, f, 3, SHAPE(2, 1, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_out(&k, f, 3, SHAPE(2, 3, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3, 4, 0, 0);
        test_kernel_free(&k);
    }
}

static void fill_iota_and_masks(void **state)
{
    const clvi_shape_attr half = { .ndim = 1, .shape = { 2 }, .value = 0.5 };
    const clvi_iota_attr odd = { .dtype = CLV_I64, .length = 3, .first = 7, .step = -2 };
    const unsigned char keep[] = { 1, 0, 0, 1 };
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "fill", &half);
        test_kernel_out(&k, f, 1, SHAPE(2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 0.5, 0.5);
        test_kernel_free(&k);
        for (int ndim = 1; ndim <= 2; ndim++) {
            k = test_kernel_make(*state, "mask", NULL);
            test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, NAN, 3, 4));
            test_kernel_in(&k, CLV_U8, ndim, SHAPE(2, 2), keep);
            test_kernel_out(&k, f, 2, SHAPE(2, 2));
            test_kernel_run(&k);
            assert_output(&k, 0, 0, 1, 0, ndim == 1 ? 3 : 0, ndim == 1 ? 0 : 4);
            test_kernel_free(&k);
        }
    }
    test_kernel k = test_kernel_make(*state, "iota", &odd);
    test_kernel_out(&k, CLV_I64, 1, SHAPE(3));
    test_kernel_run(&k);
    assert_output(&k, 0, 0, 7, 5, 3);
    test_kernel_free(&k);
    k = test_kernel_make(*state, "ids_differ", NULL);
    test_kernel_in(&k, CLV_I64, 1, SHAPE(2), ((int64_t[]){ 4, -1 }));
    test_kernel_in(&k, CLV_I64, 1, SHAPE(3), ((int64_t[]){ 4, 5, -1 }));
    test_kernel_out(&k, CLV_U8, 2, SHAPE(2, 3));
    test_kernel_run(&k);
    assert_output(&k, 0, 0, 0, 1, 1, 1, 1, 1);
    test_kernel_free(&k);
}

static void reorder_between_any_two_layouts(void **state)
{
    test_kernel k = test_kernel_make(*state, "reorder", NULL);
    test_kernel_in(&k, CLV_F32, 4, SHAPE(1, 2, 2, 3), NUMBERS(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
    test_kernel_out(&k, CLV_F32, 4, SHAPE(1, 2, 2, 3));
    clvi_desc_make_nhwc(&k.call.out[0]);
    test_kernel_run(&k);
    assert_output(&k, 0, 0, 0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11);
    test_kernel_free(&k);
    k = test_kernel_make(*state, "reorder", NULL);
    test_kernel_in(&k, CLV_U8, 2, SHAPE(2, 3), ((unsigned char[]){ 1, 2, 3, 4, 5, 6 }));
    k.call.in[0].stride[0] = 1, k.call.in[0].stride[1] = 2;   /* columns first */
    test_kernel_out(&k, CLV_U8, 2, SHAPE(2, 3));
    test_kernel_run(&k);
    assert_output(&k, 0, 0, 1, 3, 5, 2, 4, 6);
    test_kernel_free(&k);
}

/* logits [3,3]: a plain row, a row left with its target, an ignored one. */
static void softmax_xent_with_mask_and_ignored_rows(void **state)
{
    const int64_t targets[] = { 2, 1, -1 };
    const unsigned char mask[] = { 1, 0, 1, 0, 0, 0, 1, 1, 1 };   /* a target counts even when its mask is 0 */
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "softmax_xent", NULL), b;
        test_kernel_in(&k, f, 2, SHAPE(3, 3), NUMBERS(1000, 5000, 1000, 7, -30, 7, 1, 2, 3));
        test_kernel_in(&k, CLV_I64, 1, SHAPE(3), targets);
        test_kernel_in(&k, CLV_U8, 2, SHAPE(3, 3), mask);
        test_kernel_out(&k, f, 1, SHAPE(3));
        test_kernel_out(&k, f, 1, SHAPE(3));
        test_kernel_run(&k);
        assert_output(&k, 0, 1e-6, log(2));
        assert_near(test_kernel_value(&k, 0, 1), 0, 0);
        assert_near(test_kernel_value(&k, 0, 2), 0, 0);
        assert_near(test_kernel_value(&k, 1, 1), -30, 0);
        b = test_kernel_make(*state, "softmax_xent_bwd", NULL);
        test_kernel_in(&b, f, 1, SHAPE(3), NUMBERS(2, 3, 4));
        test_kernel_in(&b, f, 2, SHAPE(3, 3), NUMBERS(1000, 5000, 1000, 7, -30, 7, 1, 2, 3));
        test_kernel_in(&b, CLV_I64, 1, SHAPE(3), targets);
        test_kernel_in(&b, CLV_U8, 2, SHAPE(3, 3), mask);
        test_kernel_in(&b, f, 1, SHAPE(3), NUMBERS(1000 + log(2), -30, 0));
        test_kernel_out(&b, f, 2, SHAPE(3, 3));
        test_kernel_run(&b);
        assert_output(&b, 0, f == CLV_F64 ? 1e-12 : 1e-4, 1, 0, -1);
        for (int i = 3; i < 9; i++) assert_near(test_kernel_value(&b, 0, i), 0, 0);
        test_kernel_free(&b);
        test_kernel_free(&k);
    }
}

static void bank_nce_leaves_out_what_does_not_count(void **state)
{
    const clvi_bank_nce_attr attr = { .temperature = 0.5 };
    const unsigned char valid[] = { 1, 1, 0, 1 };
    const int64_t ids[] = { 3, -1 }, bank_ids[] = { 3, 9, 9, -1 };
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "bank_nce", &attr);
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, 0, 0, 1));
        test_kernel_in(&k, f, 2, SHAPE(2, 2), NUMBERS(1, 0, 1, 0));
        test_kernel_in(&k, f, 2, SHAPE(4, 2), NUMBERS(5, 0, 1, 0, 9, 9, 0, 1));
        test_kernel_in(&k, CLV_U8, 1, SHAPE(4), valid);
        test_kernel_in(&k, CLV_I64, 1, SHAPE(2), ids);
        test_kernel_in(&k, CLV_I64, 1, SHAPE(4), bank_ids);
        for (int i = 0; i < 2; i++) test_kernel_out(&k, f, 1, SHAPE(2));
        test_kernel_out(&k, f, 2, SHAPE(2, 2));
        test_kernel_run(&k);
        /* query 0: positive 2, negatives 2 and 0; query 1: positive 0, negatives 0, 0 and 2 */
        const double z0 = 2 * exp(2) + 1, z1 = 3 + exp(2);
        assert_output(&k, 0, 1e-6, log(z0) - 2, log(z1));
        assert_output(&k, 1, 1e-6, exp(2) / z0, 1 / z1);
        assert_output(&k, 2, 2e-6, 2 * (2 * exp(2) / z0 - 1), 2 / z0, 2 * (7 / z1 - 1), 2 * exp(2) / z1);
        test_kernel_free(&k);
    }
}

TEST_MAIN(
    TEST(elementwise_operations),
    TEST(scale_and_relu),
    TEST(products_of_rows),
    TEST(batched_row_dot_and_its_gradients),
    TEST(matmul_in_all_four_orders),
    TEST(matmul_over_nothing_is_zero),
    TEST(zero_rows_normalise_to_zero_with_zero_gradient),
    TEST(reductions_and_their_gradients),
    TEST(a_mean_over_nothing_is_zero),
    TEST(concat_and_slice_along_any_axis),
    TEST(fill_iota_and_masks),
    TEST(reorder_between_any_two_layouts),
    TEST(softmax_xent_with_mask_and_ignored_rows),
    TEST(bank_nce_leaves_out_what_does_not_count),
)
