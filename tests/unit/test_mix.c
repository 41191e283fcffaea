/* test_mix.c: MixUp and CutMix: what is drawn, what becomes of images and labels, and what a classifier learns from. */
#include "tests/support/rig.h"
#include "train/step/method.h"
#include "train/step/mix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { H = 6, W = 4, C = 3, N = 5 };

static clvi_settings settings_of(double mixup, double cutmix)
{
    clvi_settings s;
    memset(&s, 0, sizeof s);
    s.seed = 3;
    s.mixup_alpha = mixup;
    s.cutmix_alpha = cutmix;
    s.mixup_prob = 1;
    s.mixup_switch_prob = 0.5;
    return s;
}

static float value_at(int64_t i, int64_t y, int64_t x, int64_t c)
{
    return (float)(sin((double)(i * 1000 + y * 100 + x * 10 + c)) * 2);
}

static void fill(float *images)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t p = 0; p < H * W * C; p++)
            images[i * H * W * C + p] = value_at(i, p / (W * C), p / C % W, p % C);
}

static void images_are_mixed_by_the_formula(void **state)
{
    (void)state;
    static float images[N * H * W * C];
    clv_view view = clv_view_nhwc(images, CLV_F32, N, C, H, W);
    const clvi_mix mixes[] = {
        { .lambda = 0.3 },
        { .cut = true, .lambda = 1 - 6.0 / 24, .top = 1, .bottom = 4, .left = 2, .right = 4 },
        { .cut = true, .lambda = 0, .top = 0, .bottom = H, .left = 0, .right = W },
        { .lambda = 1 },
    };
    for (int k = 0; k < 4; k++) {
        const clvi_mix *m = &mixes[k];
        fill(images);
        clvi_mix_images(m, &view, NULL);
        for (int64_t i = 0; i < N; i++)
            for (int64_t p = 0; p < H * W * C; p++) {
                const int64_t y = p / (W * C), x = p / C % W, c = p % C;
                const double own = value_at(i, y, x, c), other = value_at(N - 1 - i, y, x, c);
                const bool inside = y >= m->top && y < m->bottom && x >= m->left && x < m->right;
                const double expected = m->cut ? (inside ? other : own) : m->lambda * own + (1 - m->lambda) * other;
                assert_near(images[i * H * W * C + p], expected, 1e-6);
            }
    }
}

/* timm gives the own class 1 - e + e/C and all others e/C, and then mixes; the loss smooths what was mixed. */
static void labels_are_mixed_and_smoothing_them_after_is_smoothing_them_before(void **state)
{
    (void)state;
    const int64_t labels[N] = { 2, 0, 1, 2, 3 };
    const double e = 0.1, l = 0.7, on = 1 - e + e / 4, off = e / 4;
    float shares[N * 4];
    const clvi_mix m = { .lambda = l };
    clvi_mix_targets(&m, labels, N, 4, shares);
    for (int i = 0; i < N; i++) {
        for (int c = 0; c < 4; c++) {
            const double first = labels[i] == c ? on : off, second = labels[N - 1 - i] == c ? on : off;
            assert_near((1 - e) * shares[i * 4 + c] + e / 4, l * first + (1 - l) * second, 1e-7);
        }
    }
    assert_near(shares[2 * 4 + 1], 1, 1e-7);          /* the middle one meets itself */
    clvi_mix_targets(&m, (const int64_t[]) { -1, 1 }, 2, 4, shares);
    assert_near(shares[1], 1 - l, 1e-7);              /* a label that is not known has no share */
    assert_near(shares[4 + 1], l, 1e-7);
    assert_near(shares[0] + shares[2] + shares[3] + shares[4] + shares[6] + shares[7], 0, 0);
}

static void draws_are_a_function_of_seed_epoch_and_step(void **state)
{
    (void)state;
    const clvi_settings s = settings_of(0.4, 1), other = settings_of(0.4, 1);
    clvi_settings seeded = s;
    seeded.seed = 4;
    int same_step = 0, same_epoch = 0, same_seed = 0;
    for (uint64_t step = 0; step < 50; step++) {
        const clvi_mix a = clvi_mix_draw(&s, 2, step, 32, 24), b = clvi_mix_draw(&other, 2, step, 32, 24);
        assert_true(a.lambda == b.lambda && a.cut == b.cut && a.top == b.top && a.bottom == b.bottom &&
                    a.left == b.left && a.right == b.right);
        same_step += a.lambda == clvi_mix_draw(&s, 2, step + 1, 32, 24).lambda;
        same_epoch += a.lambda == clvi_mix_draw(&s, 3, step, 32, 24).lambda;
        same_seed += a.lambda == clvi_mix_draw(&seeded, 2, step, 32, 24).lambda;
    }
    assert_true(same_step < 5 && same_epoch < 5 && same_seed < 5);   /* boxes of the same size happen */
}

/* Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)). */
static void shares_follow_beta_and_probabilities_are_kept(void **state)
{
    (void)state;
    enum { DRAWS = 20000 };
    const double alphas[] = { 0.2, 1, 4 };
    for (int k = 0; k < 3; k++) {
        const clvi_settings s = settings_of(alphas[k], 0);
        double sum = 0, square = 0;
        for (uint64_t i = 0; i < DRAWS; i++) {
            const clvi_mix m = clvi_mix_draw(&s, 0, i, 8, 8);
            assert_true(!m.cut && m.lambda >= 0 && m.lambda <= 1);
            sum += m.lambda;
            square += m.lambda * m.lambda;
        }
        const double mean = sum / DRAWS, variance = 1 / (4 * (2 * alphas[k] + 1));
        assert_near(mean, 0.5, 5 * sqrt(variance / DRAWS));
        assert_near(square / DRAWS - mean * mean, variance, 0.03 * variance);
    }
    clvi_settings s = settings_of(1, 1);
    s.mixup_prob = 0.25;
    s.mixup_switch_prob = 0.8;
    int mixed = 0, cut = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        const clvi_mix m = clvi_mix_draw(&s, 0, i, 1000, 1000);
        mixed += m.lambda < 1;
        cut += m.cut && m.lambda < 1;
    }
    assert_near((double)mixed / DRAWS, 0.25, 0.02);
    assert_near((double)cut / mixed, 0.8, 0.03);
}

/* Inside the image an edge of 2 floor(side / 2); at its border less. lambda is what is left, whatever was drawn. */
static void a_box_lies_in_the_image_and_its_share_is_its_area(void **state)
{
    (void)state;
    const clvi_settings s = settings_of(0, 1);
    const int64_t sizes[][2] = { { 224, 224 }, { 32, 17 }, { 1, 1 }, { 2, 300 } };
    for (int k = 0; k < 4; k++) {
        const int64_t height = sizes[k][0], width = sizes[k][1];
        bool touched[4] = { false };
        for (uint64_t i = 0; i < 2000; i++) {
            const clvi_mix m = clvi_mix_draw(&s, 1, i, height, width);
            assert_true(m.cut && 0 <= m.top && m.top <= m.bottom && m.bottom <= height);
            assert_true(0 <= m.left && m.left <= m.right && m.right <= width);
            const double area = (double)((m.bottom - m.top) * (m.right - m.left));
            assert_near(m.lambda, 1 - area / (double)(height * width), 1e-12);
            const bool borders[4] = { m.top == 0, m.left == 0, m.bottom == height, m.right == width };
            for (int b = 0; b < 4; b++) touched[b] = touched[b] || (borders[b] && area > 0);
        }
        for (int b = 0; b < 4 && height > 2; b++) assert_true(touched[b]);
    }
}

/* The loss of mixed images is the mixture of two losses of a classifier that sees the same mixed images. */
static void the_loss_is_the_mixture_of_the_losses_of_both_labels(void **state)
{
    test_env *t = *state;
    for (int cut = 0; cut < 2; cut++) {
        rig *mixed = NULL, *plain = NULL;
        const char *loss = "cross_entropy label-smoothing=0.1";
        assert_ok(rig_try_make(t, "supervised", loss, RIG_CLASSES, NULL, &mixed, cut ? "cutmix-alpha" : "mixup-alpha", "4",
                               NULL));
        assert_ok(rig_try_make(t, "supervised", loss, RIG_CLASSES, NULL, &plain, NULL));
        const clvi_mix m = clvi_mix_draw(mixed->method->settings, 1, 7, RIG_SIDE, RIG_SIDE);   /* as rig_forward */
        assert_true(m.cut == cut && m.lambda > 0.01 && m.lambda < 0.99);
        clvi_mix_images(&m, &plain->view[0], NULL);
        const double own = rig_forward(plain, 7, 0.9).loss;
        int64_t reversed[RIG_BATCH];
        for (int i = 0; i < RIG_BATCH; i++) reversed[i] = plain->labels[RIG_BATCH - 1 - i];
        memcpy(plain->labels, reversed, sizeof reversed);
        const double other = rig_forward(plain, 7, 0.9).loss, expected = m.lambda * own + (1 - m.lambda) * other;
        assert_true(fabs(own - other) > 1e-4);
        assert_near(rig_forward(mixed, 7, 0.9).loss, expected, 1e-5 * fabs(expected));
        rig_destroy(mixed);
        rig_destroy(plain);
    }
}

static void other_losses_and_methods_refuse_mixed_images(void **state)
{
    test_env *t = *state;
    const char *const cases[][6] = {
        { "simclr", "mixup-alpha", "0.2", NULL, NULL, "mixup-alpha '0.2' cannot act with method 'simclr'" },
        { "supervised", "mixup-prob", "0.5", NULL, NULL,
          "mixup-prob '0.5' cannot act without mixup-alpha or cutmix-alpha" },
        { "supervised", "cutmix-alpha", "1", "mixup-switch-prob", "1",
          "mixup-switch-prob '1' cannot act without both mixup-alpha and cutmix-alpha" },
    };
    rig *r = NULL;
    assert_fails(rig_try_make(t, "supervised", "opl", RIG_CLASSES, NULL, &r, "mixup-alpha", "0.2", NULL), CLV_ERR_INVALID,
                 "cannot take the loss opl; it takes cross_entropy variant=soft");
    rig_destroy(r);
    for (int i = 0; i < 3; i++) {
        clv_config *config = NULL;
        assert_ok(clv_config_create(t->ctx, &config));
        assert_ok(clv_config_set(config, "method", cases[i][0]));
        for (int k = 1; k < 5 && cases[i][k]; k += 2) assert_ok(clv_config_set(config, cases[i][k], cases[i][k + 1]));
        assert_fails(clvi_config_check(config), CLV_ERR_INVALID, cases[i][5]);
        assert_fails(clv_config_set(config, "cutmix-alpha", "-1"), CLV_ERR_INVALID, "cutmix-alpha");
        clv_config_destroy(config);
    }
}

TEST_MAIN(
    TEST(images_are_mixed_by_the_formula),
    TEST(labels_are_mixed_and_smoothing_them_after_is_smoothing_them_before),
    TEST(draws_are_a_function_of_seed_epoch_and_step),
    TEST(shares_follow_beta_and_probabilities_are_kept),
    TEST(a_box_lies_in_the_image_and_its_share_is_its_area),
    TEST(the_loss_is_the_mixture_of_the_losses_of_both_labels),
    TEST(other_losses_and_methods_refuse_mixed_images),
)
