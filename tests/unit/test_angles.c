/* test_angles.c: angles within and between classes, against values worked by hand. */
#include "tests/support/rows.h"
#include "tests/support/test.h"
#include <cleave/eval.h>

#include <math.h>
#include <string.h>

static clv_angles_result angles(clv_context *ctx, float *rows, const int64_t *labels, int64_t n, int64_t dim)
{
    const clv_view view = clv_view_2d(rows, CLV_F32, n, dim);
    clv_angles_result r;
    assert_ok(clv_angles_measure(ctx, &view, labels, &r));
    assert_int_equal(r.rows, n);
    return r;
}

/* Class 2: at 0 and 60 degrees, of different lengths, centre at 30. Class 5: at 120 and 120. Class 9: at 180. */
static void three_classes_are_as_by_hand(void **state)
{
    const float c = 0.5f, s = (float)sqrt(0.75);
    float rows[] = { 7, 0, c, s, -c, s, -3 * c, 3 * s, -2, 0 };
    const int64_t labels[] = { 2, 2, 5, 5, 9 };
    test_env *t = *state;
    const clv_angles_result r = angles(t->ctx, rows, labels, 5, 2);
    assert_int_equal(r.classes, 3);
    assert_near(r.intra, (30 + 30 + 0 + 0 + 0) / 5.0, 1e-3);
    assert_near(r.inter, (90 + 150 + 60) / 3.0, 1e-3);
    assert_near(r.nearest, (90 + 60 + 60) / 3.0, 1e-3);
}

static void what_has_no_direction_is_at_right_angles(void **state)
{
    float rows[] = { 0, 0, 0, 3, 1, 0, -1, 0 };     /* class 0: nothing and up; class 1: left and right cancel */
    const int64_t labels[] = { 0, 0, 1, 1 };
    test_env *t = *state;
    const clv_angles_result r = angles(t->ctx, rows, labels, 4, 2);
    assert_near(r.intra, (90 + 0 + 90 + 90) / 4.0, 1e-6);
    assert_near(r.inter, 90, 1e-9);
    assert_near(r.nearest, 90, 1e-9);
}

static void neither_order_nor_names_nor_lengths_nor_threads_matter(void **state)
{
    enum { N = 90, D = 7, CLASSES = 30 };
    test_env *t = *state;
    float rows[N * D], other[N * D];
    int64_t labels[N], names[N];
    test_rows(rows, N * D, 4);
    for (int i = 0; i < N; i++) {
        labels[i] = i % CLASSES;
        names[N - 1 - i] = 1000 - 3 * labels[i];
        for (int k = 0; k < D; k++) other[(N - 1 - i) * D + k] = rows[i * D + k] * (float)(1 + i % 4);
    }
    const clv_angles_result want = angles(t->ctx, rows, labels, N, D);
    const clv_angles_result got = angles(t->ctx, other, names, N, D);
    assert_near(got.intra, want.intra, 1e-4);
    assert_near(got.inter, want.inter, 1e-4);
    assert_near(got.nearest, want.nearest, 1e-4);
    clv_context *three = test_context(t, 3);
    const clv_angles_result same = angles(three, rows, labels, N, D);
    assert_memory_equal(&same, &want, sizeof same);
    clv_context_destroy(three);
}

static void what_cannot_be_measured_is_refused(void **state)
{
    test_env *t = *state;
    float rows[6] = { 1, 2, 3, 4, 5, 6 };
    int64_t labels[3] = { 4, 4, 4 };
    clv_angles_result r;
    clv_view view = clv_view_2d(rows, CLV_F32, 3, 2);
    assert_fails(clv_angles_measure(t->ctx, &view, labels, &r), CLV_ERR_INVALID, "of 1 classes");
    labels[1] = -1;
    assert_fails(clv_angles_measure(t->ctx, &view, labels, &r), CLV_ERR_INVALID, "label -1 of row 1");
    labels[1] = INT64_MAX;
    assert_fails(clv_angles_measure(t->ctx, &view, labels, &r), CLV_ERR_INVALID, "of row 1");
    labels[1] = 0;
    rows[3] = NAN;
    assert_fails(clv_angles_measure(t->ctx, &view, labels, &r), CLV_ERR_NUMERIC, "row 1, column 1");
    view.shape[0] = 0;
    assert_fails(clv_angles_measure(t->ctx, &view, labels, &r), CLV_ERR_INVALID, "classes");
}

TEST_MAIN(TEST(three_classes_are_as_by_hand), TEST(what_has_no_direction_is_at_right_angles),
          TEST(neither_order_nor_names_nor_lengths_nor_threads_matter), TEST(what_cannot_be_measured_is_refused))
