/* test_augment_draws.c: the random parameters of each step: distribution, range, determinism. */
#include "tests/support/test.h"
#include "augment/augment.h"
#include "augment/draws.h"
#include <math.h>
#include <string.h>

#define DRAWS 20000

static clv_augment *make(test_env *t, const char *text)
{
    clv_augment *a = NULL;
    assert_ok(clv_augment_create(t->ctx, text, NULL, 0, &a));
    return a;
}

static bool draw_step(const clv_augment *a, int step, clvi_geometry g, uint64_t sample, void *draw)
{
    return clvi_augment_draw(a, step, &g, 11, 2, sample, 1, draw);
}

static void a_crop_has_the_area_and_ratio_asked_for(void **state)
{
    clv_augment *a = make(*state, "random-resized-crop size=32 scale-min=0.2");
    const clvi_geometry g = { 300, 400, 3 };
    double area_sum = 0, log_ratio_sum = 0, x_sum = 0, area_low = 1, area_high = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        clvi_crop_draw d;
        unsigned char room[CLVI_AUGMENT_DRAW_MAX];
        assert_true(draw_step(a, 0, g, i, room));
        memcpy(&d, room, sizeof d);
        assert_true(d.y >= 0 && d.x >= 0 && d.y + d.height <= g.height && d.x + d.width <= g.width);
        const double area = (double)d.height * d.width / (g.height * g.width), ratio = (double)d.width / d.height;
        assert_true(ratio > 0.74 && ratio < 1.35);
        area_low = fmin(area_low, area);
        area_high = fmax(area_high, area);
        area_sum += area;
        log_ratio_sum += log(ratio);
        if (d.width < g.width) x_sum += (double)d.x / (g.width - d.width);
        else x_sum += 0.5;
    }
    assert_true(area_low > 0.19 && area_low < 0.21 && area_high > 0.95);
    /* Large boxes often do not fit and are drawn again, which lowers the area and widens the box. The two means are of
     * 400,000 draws of the published procedure by an independent program; the tolerance is four standard errors. */
    assert_near(area_sum / DRAWS, 0.4957, 0.006);
    assert_near(log_ratio_sum / DRAWS, 0.0372, 0.005);
    assert_near(x_sum / DRAWS, 0.5, 0.01);
    clv_augment_destroy(a);
}

static void a_picture_too_narrow_for_any_ratio_gets_the_central_box(void **state)
{
    clv_augment *a = make(*state, "random-resized-crop size=32 scale-min=0.9");
    unsigned char room[CLVI_AUGMENT_DRAW_MAX];
    clvi_crop_draw d;
    assert_true(draw_step(a, 0, (clvi_geometry) { 100, 9, 3 }, 5, room));
    memcpy(&d, room, sizeof d);
    assert_int_equal(d.width, 9);
    assert_int_equal(d.height, 12);
    assert_int_equal(d.y, 44);
    assert_true(draw_step(a, 0, (clvi_geometry) { 9, 100, 3 }, 5, room));
    memcpy(&d, room, sizeof d);
    assert_int_equal(d.height, 9);
    assert_int_equal(d.width, 12);
    assert_int_equal(d.x, 44);
    clv_augment_destroy(a);
}

static void jitter_orders_are_equally_frequent_and_factors_in_range(void **state)
{
    clv_augment *a = make(*state, "center-crop size=8; color-jitter contrast=1.5 saturation=0.2");
    int acts = 0, orders[256] = { 0 }, kinds = 0;
    double hue_sum = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        unsigned char room[CLVI_AUGMENT_DRAW_MAX];
        clvi_jitter_draw d;
        if (!draw_step(a, 1, (clvi_geometry) { 8, 8, 3 }, i, room)) continue;
        memcpy(&d, room, sizeof d);
        acts++;
        orders[d.order[0] << 6 | d.order[1] << 4 | d.order[2] << 2 | d.order[3]]++;
        assert_true(d.factor[CLVI_JITTER_BRIGHTNESS] >= 0.6 && d.factor[CLVI_JITTER_BRIGHTNESS] < 1.4);
        assert_true(d.factor[CLVI_JITTER_CONTRAST] >= 0.0 && d.factor[CLVI_JITTER_CONTRAST] < 2.5);
        assert_true(d.factor[CLVI_JITTER_SATURATION] >= 0.8 && d.factor[CLVI_JITTER_SATURATION] < 1.2);
        assert_true(fabs(d.factor[CLVI_JITTER_HUE]) <= 0.1);
        hue_sum += d.factor[CLVI_JITTER_HUE];
    }
    assert_near((double)acts / DRAWS, 0.8, 0.01);
    assert_near(hue_sum / acts, 0.0, 0.002);
    for (int i = 0; i < 256; i++)
        if (orders[i]) {
            kinds++;
            assert_near((double)orders[i] / acts, 1.0 / 24, 0.008);
        }
    assert_int_equal(kinds, 24);
    clv_augment_destroy(a);
}

static void every_step_with_p_acts_that_often(void **state)
{
    clv_augment *a = make(*state, "center-crop size=8; flip p=0.3; grayscale p=0.2; gaussian-blur p=0.6; "
                                  "solarize p=0.1; random-affine p=0.7; flip p=0; flip p=1; "
                                  "random-erasing p=0.4 scale-max=0.1 ratio-min=0.5 ratio-max=2");
    const double want[] = { 1, 0.3, 0.2, 0.6, 0.1, 0.7, 0, 1, 0.4 };
    for (int step = 1; step < 9; step++) {
        int acts = 0;
        for (uint64_t i = 0; i < DRAWS; i++) {
            unsigned char room[CLVI_AUGMENT_DRAW_MAX];
            acts += draw_step(a, step, (clvi_geometry) { 8, 8, 3 }, i, room);
        }
        assert_near((double)acts / DRAWS, want[step], want[step] == 0 || want[step] == 1 ? 0 : 0.012);
    }
    clv_augment_destroy(a);
}

static void affine_and_blur_draws_stay_in_their_ranges(void **state)
{
    clv_augment *a = make(*state, "random-affine degrees=25 translate=0.1 zoom-min=0.8 zoom-max=1.1 shear=12; "
                                  "center-crop size=8; gaussian-blur sigma-min=0.5 sigma-max=0.75 p=1");
    double sigma_sum = 0, angle_low = 0, angle_high = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        unsigned char room[CLVI_AUGMENT_DRAW_MAX];
        clvi_affine_draw d;
        clvi_blur_draw b;
        assert_true(draw_step(a, 0, (clvi_geometry) { 28, 40, 1 }, i, room));
        memcpy(&d, room, sizeof d);
        assert_true(fabs(d.shift_x) <= 4 && d.shift_x == rint(d.shift_x));
        assert_true(fabs(d.shift_y) <= 3 && d.shift_y == rint(d.shift_y));
        assert_true(d.zoom >= 0.8 && d.zoom < 1.1 && fabs(d.shear_x) <= 12 && fabs(d.shear_y) <= 12);
        angle_low = fmin(angle_low, d.angle);
        angle_high = fmax(angle_high, d.angle);
        assert_true(draw_step(a, 2, (clvi_geometry) { 8, 8, 1 }, i, room));
        memcpy(&b, room, sizeof b);
        assert_true(b.sigma >= 0.5 && b.sigma < 0.75);
        sigma_sum += b.sigma;
    }
    assert_true(angle_low >= -25 && angle_low < -24.9 && angle_high <= 25 && angle_high > 24.9);
    assert_near(sigma_sum / DRAWS, 0.625, 0.002);
    clv_augment_destroy(a);
}

static void an_erased_box_has_the_area_and_ratio_asked_for(void **state)
{
    clv_augment *a = make(*state, "center-crop size=224; random-erasing p=1");
    double area_low = 1, area_high = 0, log_ratio_sum = 0, x_sum = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        unsigned char room[CLVI_AUGMENT_DRAW_MAX];
        clvi_erase_draw d;
        assert_true(draw_step(a, 1, (clvi_geometry) { 224, 224, 3 }, i, room));
        memcpy(&d, room, sizeof d);
        assert_true(d.y >= 0 && d.x >= 0 && d.y + d.height <= 224 && d.x + d.width <= 224);
        const double area = (double)d.height * d.width / (224 * 224), ratio = (double)d.height / d.width;
        assert_true(ratio > 0.28 && ratio < 3.5);
        area_low = fmin(area_low, area);
        area_high = fmax(area_high, area);
        log_ratio_sum += log(ratio);
        x_sum += (double)d.x / (224 - d.width);
    }
    assert_true(area_low > 0.019 && area_low < 0.022 && area_high > 0.32 && area_high < 0.335);
    assert_near(log_ratio_sum / DRAWS, (log(0.3) + log(3.3)) / 2, 0.02);
    assert_near(x_sum / DRAWS, 0.5, 0.01);
    clv_augment_destroy(a);
}

static void a_picture_that_no_box_fits_is_not_erased(void **state)
{
    clv_augment *a = make(*state, "center-crop size=8; random-erasing p=1 scale-min=1 scale-max=1");
    unsigned char room[CLVI_AUGMENT_DRAW_MAX];
    for (uint64_t i = 0; i < 200; i++) assert_false(draw_step(a, 1, (clvi_geometry) { 8, 8, 3 }, i, room));
    clv_augment_destroy(a);
}

static void a_draw_depends_on_seed_epoch_sample_and_view_and_on_nothing_else(void **state)
{
    clv_augment *a = make(*state, "random-resized-crop size=32; random-resized-crop size=32");
    const clvi_geometry g = { 300, 400, 3 };
    unsigned char base[CLVI_AUGMENT_DRAW_MAX] = { 0 }, other[CLVI_AUGMENT_DRAW_MAX] = { 0 };
    clvi_augment_draw(a, 0, &g, 1, 2, 3, 4, base);
    clvi_augment_draw(a, 0, &g, 1, 2, 3, 4, other);
    assert_memory_equal(base, other, sizeof base);
    clvi_augment_draw(a, 0, &g, 2, 2, 3, 4, other);
    assert_memory_not_equal(base, other, sizeof(clvi_crop_draw));
    clvi_augment_draw(a, 0, &g, 1, 3, 3, 4, other);
    assert_memory_not_equal(base, other, sizeof(clvi_crop_draw));
    clvi_augment_draw(a, 0, &g, 1, 2, 4, 4, other);
    assert_memory_not_equal(base, other, sizeof(clvi_crop_draw));
    clvi_augment_draw(a, 0, &g, 1, 2, 3, 5, other);
    assert_memory_not_equal(base, other, sizeof(clvi_crop_draw));
    clvi_augment_draw(a, 1, &g, 1, 2, 3, 4, other);   /* a second step of the class */
    assert_memory_not_equal(base, other, sizeof(clvi_crop_draw));
    clv_augment_destroy(a);
}

TEST_MAIN(TEST(a_crop_has_the_area_and_ratio_asked_for), TEST(a_picture_too_narrow_for_any_ratio_gets_the_central_box),
          TEST(jitter_orders_are_equally_frequent_and_factors_in_range), TEST(every_step_with_p_acts_that_often),
          TEST(affine_and_blur_draws_stay_in_their_ranges),
          TEST(an_erased_box_has_the_area_and_ratio_asked_for), TEST(a_picture_that_no_box_fits_is_not_erased),
          TEST(a_draw_depends_on_seed_epoch_sample_and_view_and_on_nothing_else))
