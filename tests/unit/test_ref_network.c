/* test_ref_network.c: reference kernels of convolution, pooling, batch norm, with numbers worked out by hand. */
#include "tests/support/kernel.h"
#include <math.h>

#define EACH_TYPE(f) for (clv_dtype f = CLV_F32; f <= CLV_F64; f++)

static const clvi_conv2d_attr conv_s2p1 = {
    .stride = { 2, 2 }, .pad = { 1, 1 }, .in_size = { 3, 3 }, .kernel = { 2, 2 }, .groups = 1,
};

static void convolution_with_stride_and_padding(void **state)
{
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "conv2d", &conv_s2p1);
        test_kernel_in(&k, f, 4, SHAPE(1, 1, 3, 3), NUMBERS(1, 2, 3, 4, 5, 6, 7, 8, 9));
        test_kernel_in(&k, f, 4, SHAPE(2, 1, 2, 2), NUMBERS(1, 10, 100, 1000, 0, 0, 0, 1));
        test_kernel_out(&k, f, 4, SHAPE(1, 2, 2, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 1000, 3200, 7040, 9865, 1, 3, 7, 9);
        test_kernel_free(&k);
    }
}

static void convolution_gradients(void **state)
{
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "conv2d_bwd_data", &conv_s2p1);
        test_kernel_in(&k, f, 4, SHAPE(1, 1, 2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_in(&k, f, 4, SHAPE(1, 1, 2, 2), NUMBERS(1, 10, 100, 1000));
        test_kernel_out(&k, f, 4, SHAPE(1, 1, 3, 3));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 1000, 200, 2000, 30, 4, 40, 3000, 400, 4000);
        test_kernel_free(&k);
        k = test_kernel_make(*state, "conv2d_bwd_weights", &conv_s2p1);
        test_kernel_in(&k, f, 4, SHAPE(1, 1, 3, 3), NUMBERS(1, 2, 3, 4, 5, 6, 7, 8, 9));
        test_kernel_in(&k, f, 4, SHAPE(1, 1, 2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_out(&k, f, 4, SHAPE(1, 1, 2, 2));
        test_kernel_run(&k);
        /* taps: w00 sees x at (-1,-1) (-1,1) (1,-1) (1,1), w01 at (.,0) (.,2), and so on */
        assert_output(&k, 0, 0, 4 * 5, 3 * 4 + 4 * 6, 2 * 2 + 4 * 8, 1 * 1 + 2 * 3 + 3 * 7 + 4 * 9);
        test_kernel_free(&k);
    }
}

static const clvi_pool2d_attr pool_k2s2 = { .kernel = { 2, 2 }, .stride = { 2, 2 }, .in_size = { 2, 4 } };
static const clvi_pool2d_attr pool_k3s2p1 = {
    .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1 }, .in_size = { 3, 3 },
};

static void max_pooling_gives_ties_to_the_first_index(void **state)
{
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "max_pool2d", &pool_k2s2), b;
        test_kernel_in(&k, f, 4, SHAPE(1, 1, 2, 4), NUMBERS(5, 5, -1, -2, 5, 5, -2, -1));
        test_kernel_out(&k, f, 4, SHAPE(1, 1, 1, 2));
        test_kernel_out(&k, CLV_U8, 1, SHAPE(1));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 5, -1);
        b = test_kernel_make(*state, "max_pool2d_bwd", &pool_k2s2);
        test_kernel_in(&b, f, 4, SHAPE(1, 1, 1, 2), NUMBERS(3, 4));
        test_kernel_in_workspace(&b, &k, 1);
        test_kernel_out(&b, f, 4, SHAPE(1, 1, 2, 4));
        test_kernel_run(&b);
        assert_output(&b, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0);
        test_kernel_free(&b);
        test_kernel_free(&k);
    }
}

static void padding_never_wins_a_maximum_and_overlaps_add_up(void **state)
{
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "max_pool2d", &pool_k3s2p1), b;
        test_kernel_in(&k, f, 4, SHAPE(1, 1, 3, 3), NUMBERS(-9, -8, -7, -6, -1, -5, -4, -3, -2));
        test_kernel_out(&k, f, 4, SHAPE(1, 1, 2, 2));
        test_kernel_out(&k, CLV_U8, 1, SHAPE(1));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, -1, -1, -1, -1);
        b = test_kernel_make(*state, "max_pool2d_bwd", &pool_k3s2p1);
        test_kernel_in(&b, f, 4, SHAPE(1, 1, 2, 2), NUMBERS(1, 2, 3, 4));
        test_kernel_in_workspace(&b, &k, 1);
        test_kernel_out(&b, f, 4, SHAPE(1, 1, 3, 3));
        test_kernel_run(&b);
        assert_output(&b, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0);
        test_kernel_free(&b);
        test_kernel_free(&k);
    }
}

static void padding_is_not_counted_in_an_average(void **state)
{
    EACH_TYPE(f) {
        test_kernel k = test_kernel_make(*state, "avg_pool2d", &pool_k3s2p1), b;
        test_kernel_in(&k, f, 4, SHAPE(1, 1, 3, 3), NUMBERS(1, 2, 3, 4, 5, 6, 7, 8, 9));
        test_kernel_out(&k, f, 4, SHAPE(1, 1, 2, 2));
        test_kernel_run(&k);
        assert_output(&k, 0, 0, 3, 4, 6, 7);
        b = test_kernel_make(*state, "avg_pool2d_bwd", &pool_k3s2p1);
        test_kernel_in(&b, f, 4, SHAPE(1, 1, 2, 2), NUMBERS(4, 8, 12, 16));
        test_kernel_out(&b, f, 4, SHAPE(1, 1, 3, 3));
        test_kernel_run(&b);
        assert_output(&b, 0, 0, 1, 3, 2, 4, 10, 6, 3, 7, 4);
        test_kernel_free(&b);
        test_kernel_free(&k);
    }
}

/* ---- batch norm ---- */

/* x [4,2] in two groups. */
static test_kernel run_batch_norm(test_env *t, clv_dtype f, const clvi_batch_norm_attr *attr, const double *x,
                                  int64_t n)
{
    test_kernel k = test_kernel_make(t, "batch_norm", attr);
    const int64_t groups = attr->training ? attr->groups : 1;
    test_kernel_in(&k, f, 2, SHAPE(n, 2), x);
    test_kernel_in(&k, f, 1, SHAPE(2), NUMBERS(2, 1));     /* gamma */
    test_kernel_in(&k, f, 1, SHAPE(2), NUMBERS(0, 10));    /* beta */
    test_kernel_in(&k, f, 1, SHAPE(2), NUMBERS(1, 0));     /* running mean */
    test_kernel_in(&k, f, 1, SHAPE(2), NUMBERS(1, 4));     /* running variance */
    test_kernel_out(&k, f, 2, SHAPE(n, 2));
    test_kernel_out(&k, f, 2, SHAPE(groups, 2));
    test_kernel_out(&k, f, 2, SHAPE(groups, 2));
    test_kernel_out(&k, CLV_U8, 1, SHAPE(1));
    test_kernel_run(&k);
    return k;
}

static void each_group_of_a_split_batch_norm_has_its_own_statistics(void **state)
{
    const clvi_batch_norm_attr attr = { .groups = 2, .eps = 0, .momentum = 0.1, .training = true };
    EACH_TYPE(f) {
        test_kernel k = run_batch_norm(*state, f, &attr, NUMBERS(1, 5, 3, 9, 10, 0, 20, 2), 4);
        assert_output(&k, 0, 1e-6, -2, 9, 2, 11, -2, 9, 2, 11);
        assert_output(&k, 1, 1e-6, 2, 7, 15, 1);
        assert_output(&k, 2, 1e-6, 1, 4, 25, 1);
        /* unbiased variances are twice the biased ones: (2 + 50) / 2 and (8 + 2) / 2 */
        assert_near(test_kernel_input(&k, 3, 0), 0.9 * 1 + 0.1 * 8.5, 1e-6);
        assert_near(test_kernel_input(&k, 3, 1), 0.1 * 4, 1e-6);
        assert_near(test_kernel_input(&k, 4, 0), 0.9 * 1 + 0.1 * 26, 1e-6);
        assert_near(test_kernel_input(&k, 4, 1), 0.9 * 4 + 0.1 * 5, 1e-6);
        test_kernel_free(&k);
    }
}

static void one_value_a_channel_gives_beta_and_no_nan(void **state)
{
    const clvi_batch_norm_attr attr = { .groups = 1, .eps = 1e-5, .momentum = 0.1, .training = true };
    EACH_TYPE(f) {
        test_kernel k = run_batch_norm(*state, f, &attr, NUMBERS(7, 8), 1);
        assert_output(&k, 0, 1e-6, 0, 10);
        assert_near(test_kernel_input(&k, 4, 0), 0.9, 1e-6);
        assert_near(test_kernel_input(&k, 4, 1), 3.6, 1e-6);
        test_kernel_free(&k);
    }
}

static void without_training_the_running_statistics_are_used_and_kept(void **state)
{
    const clvi_batch_norm_attr attr = { .groups = 2, .eps = 0, .momentum = 0.1, .training = false };
    EACH_TYPE(f) {
        test_kernel k = run_batch_norm(*state, f, &attr, NUMBERS(1, 2, 2, 4, 3, 6), 3);   /* 3 is no multiple of 2 */
        assert_output(&k, 0, 1e-6, 0, 11, 2, 12, 4, 13);
        assert_near(test_kernel_input(&k, 3, 0), 1, 0);
        assert_near(test_kernel_input(&k, 4, 1), 4, 0);
        test_kernel_free(&k);
    }
}

/* sum of dy * y as a function of x [4,2]: its gradient by differences. */
static double bn_loss(test_env *t, const clvi_batch_norm_attr *attr, const double *x, const double *dy)
{
    test_kernel k = run_batch_norm(t, CLV_F64, attr, x, 4);
    double sum = 0;
    for (int i = 0; i < 8; i++) sum += dy[i] * test_kernel_value(&k, 0, i);
    test_kernel_free(&k);
    return sum;
}

static void batch_norm_gradient_matches_differences(void **state)
{
    const double dy[] = { 1, -2, 0.5, 3, -1, 1, 2, 0.25 };
    for (int variant = 0; variant < 8; variant++) {
        const clvi_batch_norm_attr attr = { .groups = 1 + variant % 2, .eps = 1e-3, .momentum = 0.1,
                                            .training = variant / 2 % 2, .relu = variant / 4 };
        double x[] = { 1.5, 5, 3.5, -9, 10, 0.5, -20, 2 };
        test_kernel k = run_batch_norm(*state, CLV_F64, &attr, x, 4);
        test_kernel b = test_kernel_make(*state, "batch_norm_bwd", &attr);
        const int64_t groups = attr.training ? attr.groups : 1;
        double stats[2][4];
        for (int64_t i = 0; i < groups * 2; i++)
            for (int s = 0; s < 2; s++) stats[s][i] = test_kernel_value(&k, 1 + s, i);
        test_kernel_in(&b, CLV_F64, 2, SHAPE(4, 2), dy);
        test_kernel_in(&b, CLV_F64, 2, SHAPE(4, 2), x);
        test_kernel_in(&b, CLV_F64, 1, SHAPE(2), NUMBERS(2, 1));
        test_kernel_in(&b, CLV_F64, 2, SHAPE(groups, 2), stats[0]);
        test_kernel_in(&b, CLV_F64, 2, SHAPE(groups, 2), stats[1]);
        test_kernel_in_workspace(&b, &k, 3);
        test_kernel_out(&b, CLV_F64, 2, SHAPE(4, 2));
        test_kernel_out(&b, CLV_F64, 1, SHAPE(2));
        test_kernel_out(&b, CLV_F64, 1, SHAPE(2));
        test_kernel_run(&b);
        for (int i = 0; i < 8; i++) {
            const double at = x[i];
            x[i] = at + 1e-6;
            const double up = bn_loss(*state, &attr, x, dy);
            x[i] = at - 1e-6;
            const double down = bn_loss(*state, &attr, x, dy);
            x[i] = at;
            assert_near(test_kernel_value(&b, 0, i), (up - down) / 2e-6, 1e-7);
        }
        double dgamma = 0, dbeta = 0;
        for (int i = 0; i < 8; i += 2) {
            const double y = test_kernel_value(&k, 0, i), through = attr.relu && y <= 0 ? 0 : dy[i];
            dbeta += through;
            dgamma += through * y / 2;   /* gamma 2, beta 0 */
        }
        assert_near(test_kernel_value(&b, 1, 0), dgamma, 1e-12);
        assert_near(test_kernel_value(&b, 2, 0), dbeta, 1e-12);
        test_kernel_free(&b);
        test_kernel_free(&k);
    }
}

static void an_empty_batch_is_no_trouble(void **state)
{
    const clvi_batch_norm_attr attr = { .groups = 1, .eps = 1e-5, .momentum = 0.1, .training = true };
    test_kernel k = run_batch_norm(*state, CLV_F32, &attr, NUMBERS(0), 0);
    assert_near(test_kernel_input(&k, 3, 0), 1, 0);
    assert_near(test_kernel_input(&k, 4, 1), 4, 0);
    test_kernel_free(&k);
    k = test_kernel_make(*state, "conv2d", &conv_s2p1);
    test_kernel_in(&k, CLV_F32, 4, SHAPE(0, 1, 3, 3), NUMBERS(0));
    test_kernel_in(&k, CLV_F32, 4, SHAPE(1, 1, 2, 2), NUMBERS(1, 2, 3, 4));
    test_kernel_out(&k, CLV_F32, 4, SHAPE(0, 1, 2, 2));
    test_kernel_run(&k);
    test_kernel_free(&k);
}

TEST_MAIN(
    TEST(convolution_with_stride_and_padding),
    TEST(convolution_gradients),
    TEST(max_pooling_gives_ties_to_the_first_index),
    TEST(padding_never_wins_a_maximum_and_overlaps_add_up),
    TEST(padding_is_not_counted_in_an_average),
    TEST(each_group_of_a_split_batch_norm_has_its_own_statistics),
    TEST(one_value_a_channel_gives_beta_and_no_nan),
    TEST(without_training_the_running_statistics_are_used_and_kept),
    TEST(batch_norm_gradient_matches_differences),
    TEST(an_empty_batch_is_no_trouble),
)
