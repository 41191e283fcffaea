/* test_half_training.c: a run in bfloat16 learns what a run in float32 learns, is as repeatable, and their checkpoints
 * are the same kind of thing. Skipped on processors that do not multiply bfloat16. */
#include "core/context.h"
#include "core/file.h"
#include "core/h5.h"
#include "core/rng.h"
#include "device/device.h"
#include "tests/support/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool missing(void)
{
    return clvi_cpu_isa() < CLVI_ISA_AVX512_BF16;
}

/* ---- what it learns ---- */

enum { FIRST_STEPS = 12 };

typedef struct course {
    double loss[FIRST_STEPS], knn;      /* of the first steps; the last accuracy */
    int    steps;
} course;

static bool follow(const clv_progress *p, void *user)
{
    course *c = user;
    if (p->kind == CLV_PROGRESS_STEP && c->steps < FIRST_STEPS) c->loss[c->steps++] = p->loss;
    if (p->kind == CLV_PROGRESS_EPOCH) c->knn = p->knn_top1;
    return true;
}

enum { IMAGES = 384, SIDE = 16, CLASSES = 6, NOISE = 130 };

/* Waves of three lengths, across or down, each shifted at random, under noise half again as large. */
static void make_waves(test_env *t, const char *path)
{
    static uint8_t pixels[IMAGES][SIDE * SIDE];
    int64_t labels[IMAGES];
    clvi_rng rng = clvi_rng_make(12, CLVI_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < IMAGES; i++) {
        labels[i] = i % CLASSES;
        const double length = 3.0 + 2.0 * (double)(labels[i] / 2), shift = clvi_rng_uniform(&rng, 0, 6.28);
        for (int p = 0; p < SIDE * SIDE; p++) {
            const int along = labels[i] % 2 ? p / SIDE : p % SIDE;
            pixels[i][p] = (uint8_t)(60 + 55 * sin(6.2832 * along / length + shift) + (int)clvi_rng_below(&rng, NOISE));
        }
    }
    const clv_view images = clv_view_dense(pixels, CLV_U8, 4, (int64_t[]){ IMAGES, SIDE, SIDE, 1 });
    const clv_view label = clv_view_1d(labels, CLV_I64, IMAGES);
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "images", &images));
    assert_ok(clvi_h5_write(h5, "labels", &label));
    assert_ok(clvi_h5_commit(h5));
}

static course train(test_env *t, const char *precision, const char *seed)
{
    course c = { .knn = -1 };
    char directory[32];
    if (!test_has_file(t, "waves.h5")) make_waves(t, test_path(t, "waves.h5"));
    snprintf(directory, sizeof directory, "%s-%s", precision, seed);
    clv_config *config = test_run_config(t, directory, "precision", precision, "seed", seed, "width", "8", "epochs",
                                         "16", "batch-size", "32", "moco-k", "96", "moco-t", "0.2", "lr", "0.1",
                                         "knn-freq", "16", "knn-layer", "backbone", "print-freq", "1", NULL);
    assert_ok(clv_config_set(config, "data", test_path(t, "waves.h5")));
    assert_ok(test_run(t, config, follow, &c));
    return c;
}

/* Step by step at first; then the two wander apart as two seeds do (standard deviation 5 points), to the same place. */
static void it_learns_what_float32_learns(void **state)
{
    test_env *t = *state;
    if (missing()) skip();
    double full_knn = 0, half_knn = 0;
    for (int seed = 1; seed <= 2; seed++) {
        const char name[] = { (char)('0' + seed), 0 };
        const course full = train(t, "fp32", name), half = train(t, "bf16", name);
        bool same = true;
        for (int i = 0; i < FIRST_STEPS; i++) {
            assert_near(half.loss[i], full.loss[i], 0.02 * full.loss[i]);
            same = same && half.loss[i] == full.loss[i];
        }
        assert_false(same);
        full_knn += full.knn / 2;
        half_knn += half.knn / 2;
    }
    print_message("kNN top-1: float32 %.2f, bfloat16 %.2f\n", full_knn, half_knn);
    assert_true(full_knn > 70 && half_knn > 70);        /* by chance: 17 */
    assert_near(half_knn, full_knn, 10.0);
}

/* ---- the same bits, and checkpoints ---- */

static bool stops_at_seven(const clv_progress *p, void *user)
{
    (void)user;
    return p->kind != CLV_PROGRESS_STEP || p->total_step != 7;
}

static void a_run_stopped_and_resumed_ends_with_the_same_bits(void **state)
{
    test_env *t = *state;
    if (missing()) skip();
    assert_ok(test_run(t, test_run_config(t, "whole", "precision", "bf16", NULL), NULL, NULL));
    assert_int_equal(test_run(t, test_run_config(t, "cut", "precision", "bf16", NULL), stops_at_seven, NULL),
                     CLV_STOPPED);
    assert_ok(test_run(t, test_run_config(t, "cut", "precision", "bf16", "resume", "auto", NULL), NULL, NULL));
    assert_true(test_same_file(t, "whole/last.h5", "cut/last.h5"));
}

static void a_run_goes_on_in_the_other_precision(void **state)
{
    test_env *t = *state;
    static const char *const precision[] = { "bf16", "fp32" };
    if (missing()) skip();
    for (int i = 0; i < 2; i++) {
        course c = { .knn = -1 };
        assert_int_equal(test_run(t, test_run_config(t, precision[i], "precision", precision[i], NULL), stops_at_seven,
                                  NULL), CLV_STOPPED);
        assert_ok(test_run(t, test_run_config(t, precision[i], "precision", precision[!i], "resume", "auto", NULL),
                           follow, &c));
        assert_true(c.knn > 0 && c.steps > 0);
    }
}

static void what_auto_found_is_written_down(void **state)
{
    test_env *t = *state;
    uint8_t *text = NULL;
    size_t size;
    assert_ok(test_run(t, test_run_config(t, "a", "precision", "auto", "epochs", "1", NULL), NULL, NULL));
    assert_ok(clvi_file_read(t->ctx, test_path(t, "a/config.yaml"), 1 << 20, &text, &size));
    const char *want = missing() ? "precision: fp32" : "precision: bf16";
    assert_non_null(memmem(text, size, want, strlen(want)));
    clvi_free(t->ctx, text);
}

TEST_MAIN(TEST(it_learns_what_float32_learns), TEST(a_run_stopped_and_resumed_ends_with_the_same_bits),
          TEST(a_run_goes_on_in_the_other_precision), TEST(what_auto_found_is_written_down))
