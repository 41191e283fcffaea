/* test_view.c: views and copies that convert. */
#include "tests/support/test.h"
#include "core/checked.h"
#include <cleave/view.h>
#include <float.h>
#include <math.h>
#include <string.h>

static void types_have_sizes_and_names(void **state)
{
    (void)state;
    const size_t sizes[] = { 4, 8, 2, 1, 4, 8 };
    const char *const names[] = { "float32", "float64", "bfloat16", "uint8", "int32", "int64" };
    for (int i = 0; i < CLV_DTYPE_COUNT; i++) {
        assert_int_equal(clv_dtype_size((clv_dtype)i), sizes[i]);
        assert_string_equal(clv_dtype_name((clv_dtype)i), names[i]);
    }
    assert_int_equal(clv_dtype_size(CLV_DTYPE_COUNT), 0);
    assert_int_equal(clv_dtype_size((clv_dtype)-1), 0);
    assert_string_equal(clv_dtype_name((clv_dtype)77), "unknown type");
}

static void dense_views_are_row_major(void **state)
{
    (void)state;
    float x[24];
    const int64_t shape[] = { 2, 3, 4 };
    const clv_view v = clv_view_dense(x, CLV_F32, 3, shape);
    assert_ptr_equal(v.data, x);
    assert_int_equal(v.stride[0], 12);
    assert_int_equal(v.stride[1], 4);
    assert_int_equal(v.stride[2], 1);
    assert_int_equal(clv_view_count(&v), 24);
    assert_true(clv_view_is_dense(&v));
    const clv_view scalar = clv_view_dense(x, CLV_F32, 0, NULL);
    assert_int_equal(clv_view_count(&scalar), 1);
    assert_true(clv_view_is_dense(&scalar));
}

static void nhwc_bytes_are_seen_as_nchw(void **state)
{
    (void)state;
    uint8_t bytes[2 * 2 * 3 * 3];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)i;
    const clv_view v = clv_view_nhwc(bytes, CLV_U8, 2, 3, 2, 3);
    assert_false(clv_view_is_dense(&v));
    uint8_t planes[36];
    const clv_view dst = clv_view_dense(planes, CLV_U8, 4, v.shape);
    assert_ok(clv_view_copy(&dst, &v));
    for (int n = 0; n < 2; n++)
        for (int c = 0; c < 3; c++)
            for (int h = 0; h < 2; h++)
                for (int w = 0; w < 3; w++)
                    assert_int_equal(planes[((n * 3 + c) * 2 + h) * 3 + w], bytes[((n * 2 + h) * 3 + w) * 3 + c]);
}

static void dense_means_without_gaps(void **state)
{
    (void)state;
    clv_view v = clv_view_2d(NULL, CLV_F32, 4, 5);
    v.stride[0] = 6;
    assert_false(clv_view_is_dense(&v));
    v.shape[0] = 1;   /* with a single row its stride does not matter */
    assert_true(clv_view_is_dense(&v));
    v.shape[1] = 0;
    assert_true(clv_view_is_dense(&v));
    v.ndim = 7;
    assert_false(clv_view_is_dense(&v));
}

static void impossible_shapes_have_no_count(void **state)
{
    (void)state;
    const int64_t huge[] = { INT64_MAX, 2 }, negative[] = { 3, -1 }, empty[] = { INT64_MAX, 0, INT64_MAX };
    clv_view v = clv_view_dense(NULL, CLV_F32, 2, huge);
    assert_int_equal(clv_view_count(&v), -1);
    v = clv_view_dense(NULL, CLV_F32, 2, negative);
    assert_int_equal(clv_view_count(&v), -1);
    v.ndim = CLV_MAX_DIMS + 1;
    assert_int_equal(clv_view_count(&v), -1);
    v.ndim = -1;
    assert_int_equal(clv_view_count(&v), -1);
    v = clv_view_dense(NULL, CLV_F32, 2, empty);
    assert_int_equal(clv_view_count(&v), 0);
}

static uint16_t bf16_of(double value, clv_dtype from)
{
    float f = (float)value;
    uint16_t out = 0;
    const clv_view src = clv_view_1d(from == CLV_F32 ? (void *)&f : (void *)&value, from, 1);
    const clv_view dst = clv_view_1d(&out, CLV_BF16, 1);
    assert_ok(clv_view_copy(&dst, &src));
    return out;
}

static void bfloat16_rounds_to_nearest_even(void **state)
{
    (void)state;
    const struct { double value; uint16_t want; } known[] = {
        { 0, 0x0000 }, { -0.0, 0x8000 }, { 1, 0x3f80 }, { -2, 0xc000 }, { 3.140625, 0x4049 },
        { 1 + 0x1p-8, 0x3f80 },                /* a tie goes to the even neighbour, below ... */
        { 1 + 0x1p-7 + 0x1p-8, 0x3f82 },       /* ... and above */
        { 1 + 0x1p-8 + 0x1p-20, 0x3f81 }, { -(1 + 0x1p-8 + 0x1p-20), 0xbf81 },
        { INFINITY, 0x7f80 }, { -INFINITY, 0xff80 }, { FLT_MAX, 0x7f80 }, { 0x1.fep127, 0x7f7f }, { 0x1p-133, 0x0001 },
    };
    for (size_t i = 0; i < CLVI_COUNT(known); i++) {
        assert_int_equal(bf16_of(known[i].value, CLV_F32), known[i].want);
        assert_int_equal(bf16_of(known[i].value, CLV_F64), known[i].want);
    }
    assert_true((bf16_of(NAN, CLV_F32) & 0x7fff) > 0x7f80);
    assert_true((bf16_of(NAN, CLV_F64) & 0x7fff) > 0x7f80);
}

static void float64_is_rounded_to_bfloat16_once(void **state)
{
    (void)state;
    /* Just beside the tie at 1 + 2^-8: through float32, which cannot hold the rest, it would be taken for the tie. */
    assert_int_equal(bf16_of(1 + 0x1p-8 + 0x1p-40, CLV_F64), 0x3f81);
    assert_int_equal(bf16_of(1 + 0x1p-7 + 0x1p-8 - 0x1p-40, CLV_F64), 0x3f81);
    assert_int_equal(bf16_of(-(1 + 0x1p-8 + 0x1p-40), CLV_F64), 0xbf81);
    assert_int_equal(bf16_of(-(1 + 0x1p-7 + 0x1p-8 - 0x1p-40), CLV_F64), 0xbf81);
    assert_int_equal(bf16_of(1e300, CLV_F64), 0x7f80);
    assert_int_equal(bf16_of(-1e-300, CLV_F64), 0x8000);
    assert_int_equal(bf16_of(0x1p-134 + 0x1p-180, CLV_F64), 0x0001);
}

static void each_bfloat16_survives_a_round_trip(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t half = (uint16_t)bits, back = 0;
        double wide;
        const clv_view h = clv_view_1d(&half, CLV_BF16, 1), d = clv_view_1d(&wide, CLV_F64, 1);
        const clv_view b = clv_view_1d(&back, CLV_BF16, 1);
        assert_ok(clv_view_copy(&d, &h));
        assert_ok(clv_view_copy(&b, &d));
        if (isnan(wide)) assert_true((back & 0x7fff) > 0x7f80);
        else assert_int_equal(back, half);
    }
}

static void floats_convert_into_each_other(void **state)
{
    (void)state;
    const double wide[] = { 1.5, -0.1, 1e300, 0 };
    float narrow[4];
    double back[4];
    const clv_view w = clv_view_1d((void *)(uintptr_t)wide, CLV_F64, 4), n = clv_view_1d(narrow, CLV_F32, 4);
    const clv_view b = clv_view_1d(back, CLV_F64, 4);
    assert_ok(clv_view_copy(&n, &w));
    assert_ok(clv_view_copy(&b, &n));
    assert_near(back[0], 1.5, 0);
    assert_near(back[1], (double)-0.1f, 0);
    assert_true(isinf(back[2]));
}

static void integers_convert_when_they_fit(void **state)
{
    (void)state;
    int64_t big[] = { 0, 255, 7 };
    uint8_t small[3];
    int32_t middle[3];
    clv_view b = clv_view_1d(big, CLV_I64, 3), s = clv_view_1d(small, CLV_U8, 3), m = clv_view_1d(middle, CLV_I32, 3);
    assert_ok(clv_view_copy(&s, &b));
    assert_int_equal(small[1], 255);
    assert_ok(clv_view_copy(&m, &s));
    assert_int_equal(middle[1], 255);
    big[2] = 256;
    assert_fails(clv_view_copy(&s, &b), CLV_ERR_NUMERIC, "256 does not fit into uint8");
    big[2] = -1;
    assert_fails(clv_view_copy(&s, &b), CLV_ERR_NUMERIC, "-1 does not fit into uint8");
    assert_ok(clv_view_copy(&m, &b));
    assert_int_equal(middle[2], -1);
    big[2] = (int64_t)INT32_MAX + 1;
    assert_fails(clv_view_copy(&m, &b), CLV_ERR_NUMERIC, "does not fit into int32");
}

static void strides_may_be_zero_negative_or_wide(void **state)
{
    (void)state;
    const float x[6] = { 0, 1, 2, 3, 4, 5 };
    float y[6];
    clv_view src = clv_view_2d((void *)(uintptr_t)&x[5], CLV_F32, 2, 3);
    src.stride[0] = -3;
    src.stride[1] = -1;
    const clv_view dst = clv_view_2d(y, CLV_F32, 2, 3);
    assert_ok(clv_view_copy(&dst, &src));
    for (int i = 0; i < 6; i++) assert_near(y[i], x[5 - i], 0);
    src = clv_view_2d((void *)(uintptr_t)&x[2], CLV_F32, 2, 3);
    src.stride[0] = src.stride[1] = 0;
    assert_ok(clv_view_copy(&dst, &src));
    for (int i = 0; i < 6; i++) assert_near(y[i], 2, 0);
    float wide[12] = { 0 };
    clv_view gaps = clv_view_2d(wide, CLV_F32, 2, 3);
    gaps.stride[0] = 6;
    gaps.stride[1] = 2;
    assert_ok(clv_view_copy(&gaps, &dst));
    assert_near(wide[10], 2, 0);
    assert_near(wide[11], 0, 0);
}

static void scalars_and_empty_views_copy(void **state)
{
    (void)state;
    float a = 3;
    double b = 0;
    clv_view src = clv_view_dense(&a, CLV_F32, 0, NULL), dst = clv_view_dense(&b, CLV_F64, 0, NULL);
    assert_ok(clv_view_copy(&dst, &src));
    assert_near(b, 3, 0);
    src = clv_view_2d(NULL, CLV_F32, 0, 5);
    dst = clv_view_2d(NULL, CLV_F64, 0, 5);
    assert_ok(clv_view_copy(&dst, &src));
}

static void views_that_do_not_match_are_refused(void **state)
{
    (void)state;
    float x[6] = { 0 };
    int32_t i[6];
    const clv_view good = clv_view_2d(x, CLV_F32, 2, 3);
    clv_view bad = clv_view_2d(x, CLV_F32, 3, 2);
    assert_fails(clv_view_copy(&good, &bad), CLV_ERR_SHAPE, "dimension 0 is 2 in dst and 3 in src");
    bad = clv_view_1d(x, CLV_F32, 6);
    assert_fails(clv_view_copy(&good, &bad), CLV_ERR_SHAPE, "dst has 2 dimensions, src has 1");
    bad = clv_view_2d(i, CLV_I32, 2, 3);
    assert_fails(clv_view_copy(&good, &bad), CLV_ERR_INVALID, "cannot convert int32 to float32");
    bad = clv_view_2d(NULL, CLV_F32, 2, 3);
    assert_fails(clv_view_copy(&good, &bad), CLV_ERR_INVALID, "src has no data for its 6 elements");
    bad = good;
    bad.device = 1;
    assert_fails(clv_view_copy(&bad, &good), CLV_ERR_INVALID, "dst is on device 1");
    bad = good;
    bad.dtype = CLV_DTYPE_COUNT;
    assert_fails(clv_view_copy(&good, &bad), CLV_ERR_INVALID, "unknown type");
    bad = good;
    bad.ndim = 9;
    assert_fails(clv_view_copy(&good, &bad), CLV_ERR_INVALID, "src has 9 dimensions");
    bad = good;
    bad.shape[0] = -2;
    assert_fails(clv_view_copy(&good, &bad), CLV_ERR_INVALID, "negative or overflowing");
    assert_fails(clv_view_copy(&good, NULL), CLV_ERR_INVALID, "src is NULL");
}

TEST_MAIN(TEST(types_have_sizes_and_names), TEST(dense_views_are_row_major), TEST(nhwc_bytes_are_seen_as_nchw),
          TEST(dense_means_without_gaps), TEST(impossible_shapes_have_no_count), TEST(bfloat16_rounds_to_nearest_even),
          TEST(float64_is_rounded_to_bfloat16_once), TEST(each_bfloat16_survives_a_round_trip),
          TEST(floats_convert_into_each_other), TEST(integers_convert_when_they_fit),
          TEST(strides_may_be_zero_negative_or_wide), TEST(scalars_and_empty_views_copy),
          TEST(views_that_do_not_match_are_refused))
