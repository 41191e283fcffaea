/* test_frechet.c: the Frechet distance, against normal distributions worked by hand. */
#include "tests/support/rows.h"
#include "tests/support/test.h"
#include <cleave/eval.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static clv_frechet_result distance(test_env *t, float *a, int64_t n, float *b, int64_t m, int64_t dim)
{
    const clv_view left = clv_view_2d(a, CLV_F32, n, dim), right = clv_view_2d(b, CLV_F32, m, dim);
    clv_frechet_result r;
    assert_ok(clv_frechet_distance(t->ctx, &left, &right, &r));
    assert_near(r.distance, r.mean + r.covariance, 1e-12);
    assert_true(r.a == n && r.b == m);
    return r;
}

/* One dimension: (mu_a - mu_b)^2 + (sigma_a - sigma_b)^2. -1, 0, 1 has variance 1; 3, 6, 9 has 9 about 6. */
static void one_dimension_is_as_by_hand(void **state)
{
    float a[] = { -1, 0, 1 }, b[] = { 3, 6, 9 };
    const clv_frechet_result r = distance(*state, a, 3, b, 3, 1);
    assert_near(r.mean, 36, 1e-9);
    assert_near(r.covariance, 4, 1e-9);
}

/* Two dimensions whose covariances do not commute. Points +-(u, 0), +-(0, v) have the covariance 2/3 diag(u^2, v^2).
 * Turned by 45 degrees: 1/3 [u^2 + v^2, u^2 - v^2]. With C_a = 2/3 diag(4, 1), C_b = 1/3 [[5, 3], [3, 5]]: the product's
 * eigenvalues have the sum 2/9 (20 + 5) = 50/9 and the product 4/9 4 * 16/9 = 256/81, so the trace of its root is
 * sqrt(50/9 + 2 * 16/9) = sqrt(82)/3; tr C_a = tr C_b = 10/3. */
static void covariances_that_do_not_commute_are_as_by_hand(void **state)
{
    const float r = (float)sqrt(0.5);
    float a[] = { 2, 0, -2, 0, 0, 1, 0, -1 };
    float b[] = { 2 * r, 2 * r, -2 * r, -2 * r, -r, r, r, -r };
    const clv_frechet_result got = distance(*state, a, 4, b, 4, 2);
    assert_near(got.mean, 0, 1e-12);
    assert_near(got.covariance, 20.0 / 3 - 2 * sqrt(82) / 3, 1e-6);
    const clv_frechet_result back = distance(*state, b, 4, a, 4, 2);
    assert_near(got.distance, back.distance, 1e-9);
}

static void equal_sets_are_at_distance_zero_also_with_fewer_rows_than_dimensions(void **state)
{
    enum { N = 6, D = 24 };
    float a[N * D], moved[N * D];
    test_rows(a, N * D, 3);
    for (int i = 0; i < N * D; i++) moved[i] = a[i] + 0.5f;
    assert_near(distance(*state, a, N, a, N, D).distance, 0, 1e-6);
    const clv_frechet_result r = distance(*state, a, N, moved, N, D);
    assert_near(r.mean, D * 0.25, 1e-4);
    assert_near(r.covariance, 0, 1e-5);
}

/* Turning both sets alike, or the number of threads, makes no difference. */
static void it_depends_on_neither_order_of_rows_nor_threads(void **state)
{
    enum { N = 60, M = 45, D = 19 };
    test_env *t = *state;
    float a[N * D], b[M * D], reversed[N * D];
    test_rows(a, N * D, 1);
    test_rows(b, M * D, 2);
    for (int i = 0; i < N; i++) memcpy(reversed + i * D, a + (N - 1 - i) * D, D * sizeof *a);
    const double want = distance(t, a, N, b, M, D).distance;
    assert_near(distance(t, reversed, N, b, M, D).distance, want, 1e-9 * want);
    test_env other = *t;
    other.ctx = test_context(t, 3);
    assert_true(distance(&other, a, N, b, M, D).distance == want);
    clv_context_destroy(other.ctx);
}

static void what_cannot_be_measured_is_refused(void **state)
{
    test_env *t = *state;
    float a[12] = { 1, 2, 3, 4 }, b[12] = { 0 };
    clv_frechet_result r;
    clv_view left = clv_view_2d(a, CLV_F32, 4, 3), right = clv_view_2d(b, CLV_F32, 3, 4);
    assert_fails(clv_frechet_distance(t->ctx, &left, &right, &r), CLV_ERR_SHAPE, "rows of 3 values and of 4");
    right = clv_view_2d(b, CLV_F32, 1, 3);
    assert_fails(clv_frechet_distance(t->ctx, &left, &right, &r), CLV_ERR_INVALID, "4 and 1 rows");
    right = clv_view_2d(b, CLV_F32, 4, 3);
    b[5] = NAN;
    assert_fails(clv_frechet_distance(t->ctx, &left, &right, &r), CLV_ERR_NUMERIC, "frechet: b");
}

TEST_MAIN(TEST(one_dimension_is_as_by_hand), TEST(covariances_that_do_not_commute_are_as_by_hand),
          TEST(equal_sets_are_at_distance_zero_also_with_fewer_rows_than_dimensions),
          TEST(it_depends_on_neither_order_of_rows_nor_threads), TEST(what_cannot_be_measured_is_refused))
