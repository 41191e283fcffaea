/* Principal components. */
#include "eval/pca.h"
#include "tests/support/test.h"
#include <math.h>

#define ROWS 200
#define DIM  12

/* Three axes of known spread (6, 3, 1), turned by a rotation in each of two planes. */
static void fill(float *rows, double *first, double *second)
{
    for (int i = 0; i < ROWS; i++) {
        const double t = 6.283185307179586 * i / ROWS;
        const double a = 6.0 * cos(t), b = 3.0 * sin(t), c = cos(7 * t);
        first[i] = a;
        second[i] = b;
        for (int j = 0; j < DIM; j++) rows[i * DIM + j] = 10.0f; /* a mean that must not count */
        rows[i * DIM + 2] += (float)(0.8 * a - 0.6 * b);
        rows[i * DIM + 5] += (float)(0.6 * a + 0.8 * b);
        rows[i * DIM + 7] += (float)c;
    }
}

static void the_two_widest_axes_come_first(void **state)
{
    test_env *t = *state;
    static float rows[ROWS * DIM];
    static double first[ROWS], second[ROWS], xy[2 * ROWS];
    double share[2];
    fill(rows, first, second);
    assert_ok(clvi_pca(t->ctx, rows, ROWS, DIM, xy, share));
    for (int i = 0; i < ROWS; i++) {
        assert_near(xy[2 * i], first[i], 1e-5);
        assert_near(xy[2 * i + 1], second[i], 1e-5);
    }
    assert_near(share[0], 36.0 / 46.0, 1e-6);
    assert_near(share[1], 9.0 / 46.0, 1e-6);
}

static void axes_of_nearly_equal_spread_are_told_apart(void **state)
{
    test_env *t = *state;
    static float rows[ROWS * DIM];
    static double xy[2 * ROWS];
    double share[2], total = 0.0;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < DIM; j++) { /* cosines of different frequency are orthogonal */
            const double scale = 1.0 - 0.01 * j;
            rows[i * DIM + j] = (float)(scale * cos(6.283185307179586 * (j + 1) * i / ROWS));
            if (i == 0) total += scale * scale;
        }
    assert_ok(clvi_pca(t->ctx, rows, ROWS, DIM, xy, share));
    assert_near(share[0], 1.0 / total, 0.002);
    assert_true(share[0] >= share[1]);
}

static void equal_rows_and_a_single_row_have_no_spread(void **state)
{
    test_env *t = *state;
    float rows[4] = { 3, 3, 3, 3 };
    double xy[8], share[2];
    assert_ok(clvi_pca(t->ctx, rows, 4, 1, xy, share));
    for (int i = 0; i < 8; i++) assert_near(xy[i], 0.0, 0.0);
    assert_near(share[0], 0.0, 0.0);
    assert_ok(clvi_pca(t->ctx, rows, 1, 4, xy, share));
    assert_near(xy[0], 0.0, 0.0);
    assert_near(xy[1], 0.0, 0.0);
}

TEST_MAIN(TEST(the_two_widest_axes_come_first), TEST(axes_of_nearly_equal_spread_are_told_apart),
          TEST(equal_rows_and_a_single_row_have_no_spread))
