/* test_augment_chain.c: texts, presets, overrides, errors and the limits of the transform. */
#include "tests/support/augment.h"
#include "augment/augment.h"
#include "core/file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static clv_status create(test_env *t, const char *text, const char *name, const char *value)
{
    clv_augment *a = NULL;
    const clv_option option = { name, value };
    const clv_status st = clv_augment_create(t->ctx, text, &option, name ? 1 : 0, &a);
    if (st != CLV_OK) assert_null(a);
    clv_augment_destroy(a);
    return st;
}

static void check_order(test_env *t, const char *preset, const char *const *names)
{
    clv_augment *a = NULL;
    int n = 0;
    assert_ok(clv_augment_create(t->ctx, preset, NULL, 0, &a));
    for (; names[n]; n++) assert_string_equal(clvi_augment_step_at(a, n)->class->info.name, names[n]);
    assert_int_equal(clvi_augment_step_count(a), n);
    clv_augment_destroy(a);
}

static void presets_have_the_published_order_of_steps(void **state)
{
    test_env *t = *state;
    static const char *const v1[] = { "random-resized-crop", "grayscale", "color-jitter", "flip", "normalize", NULL };
    static const char *const v2[] = { "random-resized-crop", "color-jitter", "grayscale", "gaussian-blur", "flip",
                                      "normalize", NULL };
    static const char *const cifar[] = { "random-resized-crop", "flip", "color-jitter", "grayscale", "normalize",
                                         NULL };
    static const char *const glyphs[] = { "random-affine", "random-resized-crop", "normalize", NULL };
    static const char *const eval[] = { "center-crop", "normalize", NULL };
    check_order(t, "moco-v1", v1);
    check_order(t, "moco-v2", v2);
    check_order(t, "moco-cifar", cifar);
    check_order(t, "simclr-cifar", cifar);
    check_order(t, "supcon-cifar", cifar);
    static const char *const kernel[] = { "random-resized-crop", "flip", "color-jitter", "grayscale", "gaussian-blur",
                                          "normalize", NULL };
    static const char *const byol2[] = { "random-resized-crop", "flip", "color-jitter", "grayscale", "gaussian-blur",
                                         "solarize", "normalize", NULL };
    static const char *const mocov3[] = { "random-resized-crop", "color-jitter", "grayscale", "gaussian-blur",
                                          "solarize", "flip", "normalize", NULL };
    static const char *const linear[] = { "random-resized-crop", "flip", "normalize", NULL };
    check_order(t, "simclr", kernel);
    check_order(t, "byol-1", kernel);
    check_order(t, "byol-2", byol2);
    check_order(t, "mocov3-1", v2);
    check_order(t, "mocov3-2", mocov3);
    check_order(t, "swav-multicrop", kernel);
    check_order(t, "swav-multicrop-small", kernel);
    check_order(t, "linear-train", linear);
    check_order(t, "solo-cifar-weak", v2);
    check_order(t, "solo-cifar-multicrop-small", mocov3);
    check_order(t, "lightly-cifar", cifar);
    check_order(t, "glyphs", glyphs);
    check_order(t, "eval", eval);
    check_order(t, "eval_cifar", eval);
}

static void expect_text(test_env *t, const char *preset, const char *part)
{
    clv_augment *a = NULL;
    assert_ok(clv_augment_create(t->ctx, preset, NULL, 0, &a));
    if (!strstr(clv_augment_describe(a), part)) fail_msg("%s: no '%s' in '%s'", preset, part, clv_augment_describe(a));
    clv_augment_destroy(a);
}

static void presets_have_the_published_numbers(void **state)
{
    test_env *t = *state;
    expect_text(t, "moco-v1", "size=224 scale-min=0.2 scale-max=1 ratio-min=0.75 ");
    expect_text(t, "moco-v1", "brightness=0.4 contrast=0.4 saturation=0.4 hue=0.4 p=1;");
    expect_text(t, "moco-v1", "mean=0.485,0.456,0.406 std=0.229,0.224,0.225");
    expect_text(t, "moco-v2", "brightness=0.4 contrast=0.4 saturation=0.4 hue=0.1 p=0.8;");
    expect_text(t, "moco-v2", "sigma-min=0.1 sigma-max=2 mode=pil kernel-size=0 p=0.5;");
    expect_text(t, "moco-v2", "grayscale p=0.2;");
    expect_text(t, "moco-cifar", "size=32 scale-min=0.08 scale-max=1 ratio-min=0.75 ");
    expect_text(t, "moco-cifar", "mean=0.4914,0.4822,0.4465 std=0.2023,0.1994,0.201");
    expect_text(t, "simclr-cifar", "size=32 scale-min=0.08 ");
    expect_text(t, "supcon-cifar", "size=32 scale-min=0.2 ");
    expect_text(t, "supcon-cifar", "hue=0.1 p=0.8;");
    expect_text(t, "simclr", "brightness=0.8 contrast=0.8 saturation=0.8 hue=0.2 p=0.8;");
    expect_text(t, "simclr", "sigma-min=0.1 sigma-max=2 mode=kernel kernel-size=0 p=0.5;");
    expect_text(t, "byol-1", "filter=bicubic;");
    expect_text(t, "byol-1", "brightness=0.4 contrast=0.4 saturation=0.2 hue=0.1 p=0.8;");
    expect_text(t, "byol-1", "mode=kernel kernel-size=0 p=1;");
    expect_text(t, "byol-2", "mode=kernel kernel-size=0 p=0.1; solarize threshold=128 p=0.2;");
    expect_text(t, "mocov3-1", "mode=pil kernel-size=0 p=1;");
    expect_text(t, "mocov3-2", "mode=pil kernel-size=0 p=0.1; solarize threshold=128 p=0.2;");
    expect_text(t, "swav-multicrop", "size=224 scale-min=0.14 scale-max=1 ");
    expect_text(t, "swav-multicrop-small", "size=96 scale-min=0.05 scale-max=0.14 ");
    expect_text(t, "swav-multicrop", "std=0.228,0.224,0.225");
    expect_text(t, "solo-cifar-symmetric", "hue=0.2 p=0.8; grayscale p=0.2; gaussian-blur");
    expect_text(t, "solo-cifar-asymmetric-2", "hue=0.1 p=0.8; grayscale p=0.2; solarize threshold=128 p=0.2;");
    expect_text(t, "solo-cifar-multicrop-1", "size=32 scale-min=0.2 ");
    expect_text(t, "solo-cifar-multicrop-small", "size=18 scale-min=0.08 scale-max=0.5 ");
    expect_text(t, "lightly-cifar", "mean=0.485,0.456,0.406 std=0.229,0.224,0.225");
    expect_text(t, "supcon-cifar100", "mean=0.5071,0.4867,0.4408 std=0.2675,0.2565,0.2761");
    expect_text(t, "eval", "center-crop size=224 margin=1.1428571428571428");
    expect_text(t, "eval-resize-256", "resize=256");
}

static void every_preset_can_be_made_and_names_its_evaluation_preset(void **state)
{
    test_env *t = *state;
    assert_true(clv_augment_preset_count() >= 9);
    for (int i = 0; i < clv_augment_preset_count(); i++) {
        const clv_augment_preset *preset = clv_augment_preset_at(i);
        assert_ok(create(t, preset->name, NULL, NULL));
        assert_true(strlen(preset->summary) > 0 && strlen(preset->source) > 0);
        assert_non_null(clv_augment_preset_find(preset->eval));
        assert_ptr_equal(clv_augment_preset_find(preset->name), preset);
        /* Pictures are normalised for evaluation as they were for training. */
        const clv_augment_preset *eval = clv_augment_preset_find(preset->eval);
        const char *mine = strstr(preset->text, "normalize "), *its = strstr(eval->text, "normalize ");
        assert_true(mine && its);
        assert_string_equal(mine, its);
    }
    assert_null(clv_augment_preset_at(-1));
    assert_null(clv_augment_preset_at(clv_augment_preset_count()));
    assert_null(clv_augment_preset_find("moco"));
}

static void every_step_says_what_it_is_and_where_it_comes_from(void **state)
{
    (void)state;
    for (int i = 0; i < clv_augment_count(); i++) {
        const clv_class_info *info = clv_augment_info_at(i);
        assert_true(strlen(info->summary) > 0);
        assert_true(info->source && strlen(info->source) > 0);
        for (int k = 0; k < info->option_count; k++) assert_true(strlen(clv_augment_option_at(i, k)->help) > 0);
        assert_null(clv_augment_option_at(i, info->option_count));
    }
    assert_null(clv_augment_info_at(clv_augment_count()));
}

/* The section of a step in the manual ends where the next heading starts. */
static void check_section(const char *manual, int i)
{
    char heading[64], part[64];
    snprintf(heading, sizeof heading, "\n### %s\n", clv_augment_info_at(i)->name);
    const char *section = strstr(manual, heading);
    if (!section) fail_msg("docs/augment.md has no section '%s'", clv_augment_info_at(i)->name);
    section++;
    const char *end = strstr(section, "\n#");
    const char *source = strstr(section, "\nSource: ");
    assert_true(end && source && source < end);
    for (int k = 0; k < clv_augment_info_at(i)->option_count; k++) {
        snprintf(part, sizeof part, "`%s`", clv_augment_option_at(i, k)->name);
        const char *at = strstr(section, part);
        const size_t length = strlen(part);
        if (at && at < end) continue;
        part[length - 1] = '=';   /* `mode=pil` is fine, too */
        at = strstr(section, part);
        if (!at || at > end) fail_msg("docs/augment.md: '%s' does not tell of %s", clv_augment_info_at(i)->name, part);
    }
}

static void the_manual_tells_of_every_step_option_and_preset(void **state)
{
    test_env *t = *state;
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(clvi_file_read(t->ctx, "docs/augment.md", 1 << 20, &bytes, &size));
    char *manual = malloc(size + 1);
    memcpy(manual, bytes, size);
    manual[size] = '\0';
    for (int i = 0; i < clv_augment_count(); i++) check_section(manual, i);
    for (int i = 0; i < clv_augment_preset_count(); i++) {
        char row[64];
        snprintf(row, sizeof row, "\n| `%s` | ", clv_augment_preset_at(i)->name);
        if (!strstr(manual, row)) fail_msg("docs/augment.md: no preset '%s'", clv_augment_preset_at(i)->name);
    }
    free(manual);
    clvi_free(t->ctx, bytes);
}

static void the_description_gives_the_same_chain_back(void **state)
{
    test_env *t = *state;
    for (int i = 0; i < clv_augment_preset_count(); i++) {
        clv_augment *a = NULL, *b = NULL;
        assert_ok(clv_augment_create(t->ctx, clv_augment_preset_at(i)->name, NULL, 0, &a));
        assert_ok(clv_augment_create(t->ctx, clv_augment_describe(a), NULL, 0, &b));
        assert_string_equal(clv_augment_describe(a), clv_augment_describe(b));
        clv_augment_destroy(a);
        clv_augment_destroy(b);
    }
}

static void overrides_reach_the_step_that_has_the_option(void **state)
{
    test_env *t = *state;
    clv_augment *a = NULL;
    clv_transform f;
    float mean = 0, std = 0;
    const clv_option options[] = { { "size", "24" }, { "crop-min", "0.3" }, { "flip.p", "0" },
                                   { "mean", "0.1,0.2,0.3" }, { "std", "0.5" } };
    assert_ok(clv_augment_create(t->ctx, "moco-cifar", options, 5, &a));
    assert_ok(clv_augment_transform(a, &f));
    assert_int_equal(f.height, 24);
    assert_int_equal(f.width, 24);
    assert_non_null(strstr(clv_augment_describe(a), "random-resized-crop size=24 scale-min=0.3 "));
    assert_non_null(strstr(clv_augment_describe(a), "flip p=0;"));
    clv_augment_normalization(a, 2, &mean, &std);
    assert_near(mean, 0.3, 1e-7);
    assert_near(std, 0.5, 0);
    clv_augment_destroy(a);
    assert_ok(create(t, "random-resized-crop size=8 crop-min=0.4", NULL, NULL));
}

static void a_wrong_text_is_refused_with_a_useful_message(void **state)
{
    test_env *t = *state;
    assert_fails(create(t, "moco-cifr", NULL, NULL), CLV_ERR_INVALID, "did you mean 'moco-cifar'?");
    assert_fails(create(t, "center-crop size=8; flipp", NULL, NULL), CLV_ERR_INVALID, "did you mean 'flip'?");
    assert_fails(create(t, "center-crop siz=8", NULL, NULL), CLV_ERR_INVALID, "did you mean 'size'?");
    assert_fails(create(t, "center-crop size=0", NULL, NULL), CLV_ERR_INVALID, "augmentation 'center-crop'");
    assert_fails(create(t, "center-crop 8", NULL, NULL), CLV_ERR_INVALID, "'8' is not option=value");
    assert_fails(create(t, "center-crop =8", NULL, NULL), CLV_ERR_INVALID, "is not option=value");
    assert_fails(create(t, "", NULL, NULL), CLV_ERR_INVALID, "at least one step");
    assert_fails(create(t, " ;\n; ", NULL, NULL), CLV_ERR_INVALID, "at least one step");
    assert_fails(create(t, "flip p=0.5", NULL, NULL), CLV_ERR_INVALID, "add random-resized-crop or center-crop");
    assert_fails(create(t, "normalize; center-crop", NULL, NULL), CLV_ERR_INVALID, "must be the last step");
    assert_fails(create(t, "center-crop; normalize mean=a", NULL, NULL), CLV_ERR_INVALID, "mean 'a' is not one number");
    assert_fails(create(t, "center-crop; normalize mean=1,2", NULL, NULL), CLV_ERR_INVALID, "one number or three");
    assert_fails(create(t, "center-crop; normalize mean=1,2,3,4", NULL, NULL), CLV_ERR_INVALID, "one number or three");
    assert_fails(create(t, "center-crop; normalize std=0", NULL, NULL), CLV_ERR_INVALID, "below 1e-6");
    assert_fails(create(t, "random-resized-crop scale-min=0.5 scale-max=0.2", NULL, NULL), CLV_ERR_INVALID,
                 "scale-min 0.5 is above scale-max 0.2");
    assert_fails(create(t, "center-crop size=64 resize=63", NULL, NULL), CLV_ERR_INVALID, "resize 63 is below size 64");
    assert_fails(create(t, "center-crop filter=cubic", NULL, NULL), CLV_ERR_INVALID, "bilinear|bicubic");
    assert_fails(create(t, "center-crop; random-erasing scale-min=0.5", NULL, NULL), CLV_ERR_INVALID,
                 "random-erasing: scale-min 0.5 is above scale-max 0.33");
    assert_fails(create(t, "center-crop; random-erasing ratio-min=5", NULL, NULL), CLV_ERR_INVALID,
                 "random-erasing: ratio-min 5 is above ratio-max 3.3");
    assert_fails(create(t, "center-crop; random-erasing fill=1,2", NULL, NULL), CLV_ERR_INVALID, "one number or three");
    assert_fails(create(t, "center-crop; random-erasing fill=256", NULL, NULL), CLV_ERR_INVALID, "from 0 to 255");
    assert_fails(create(t, "center-crop; random-erasing fill=0.5", NULL, NULL), CLV_ERR_INVALID, "from 0 to 255");
    assert_fails(create(t, "moco-v2 size=8", NULL, NULL), CLV_ERR_INVALID, "'moco-v2' is a preset and stands alone");
    assert_fails(create(t, "flip; moco-v2", NULL, NULL), CLV_ERR_INVALID, "'moco-v2' is a preset and stands alone");
    assert_fails(create(t, "moco-v2", "p", "0"), CLV_ERR_INVALID, "write 'color-jitter.p' or 'grayscale.p'");
    assert_fails(create(t, "moco-v2", "sice", "8"), CLV_ERR_INVALID, "did you mean 'size'?");
    assert_fails(create(t, "moco-v2", "flop.p", "8"), CLV_ERR_INVALID, "did you mean 'flip'?");
    assert_fails(create(t, "moco-cifar", "gaussian-blur.p", "1"), CLV_ERR_INVALID, "gaussian-blur.p");
}

static void a_text_too_long_or_with_too_many_steps_is_refused(void **state)
{
    test_env *t = *state;
    static char text[10000];
    memset(text, ' ', sizeof text - 1);
    assert_fails(create(t, text, NULL, NULL), CLV_ERR_INVALID, "longer than 8192 bytes");
    memset(text, 'a', 500);
    text[500] = '\0';
    assert_fails(create(t, text, NULL, NULL), CLV_ERR_INVALID, "is longer than");
    text[0] = '\0';
    for (int i = 0; i < 40; i++) memcpy(text + i * 5, "flip;", 6);
    assert_fails(create(t, text, NULL, NULL), CLV_ERR_INVALID, "more than 32 steps");
}

static clv_status create_and_destroy(clv_context *ctx, void *arg)
{
    clv_augment *a = NULL;
    const clv_status st = clv_augment_create(ctx, arg, NULL, 0, &a);
    clv_augment_destroy(a);
    return st;
}

static void a_refused_allocation_leaves_nothing_behind(void **state)
{
    char name[] = "moco-v2";
    test_each_allocation_fails(*state, create_and_destroy, name);
}

static clv_status apply(const test_chain *c, const clv_image *image, size_t scratch_size, float *out)
{
    return c->transform.apply(c->transform.user, image, 1, 0, 0, 0, c->scratch, scratch_size, out);
}

static void pictures_that_cannot_be_taken_are_refused(void **state)
{
    test_chain c = test_chain_make(*state, "moco-cifar", 64, 64, 3);
    float out[32 * 32 * 3];
    uint8_t *pixels = test_noise(1, 64, 64, 3);
    clv_image image = clv_image_dense(pixels, 0, 64, 3);
    assert_fails(apply(&c, &image, c.scratch_size, out), CLV_ERR_SHAPE, "got 0 x 64 x 3");
    image = clv_image_dense(pixels, INT64_C(1) << 40, 64, 3);
    assert_fails(apply(&c, &image, c.scratch_size, out), CLV_ERR_SHAPE, "want a picture of 1..32768");
    image = clv_image_dense(pixels, 8, 8, 4);
    assert_fails(apply(&c, &image, c.scratch_size, out), CLV_ERR_SHAPE, "1 or 3 channels");
    image = clv_image_dense(pixels, 8, 8, 1);
    assert_fails(apply(&c, &image, c.scratch_size, out), CLV_ERR_SHAPE, "names 3 channels, the picture has 1");
    image = clv_image_dense(NULL, 8, 8, 3);
    assert_fails(apply(&c, &image, c.scratch_size, out), CLV_ERR_INVALID, "NULL");
    image = clv_image_dense(pixels, 64, 64, 3);
    image.row_stride = 100;
    assert_fails(apply(&c, &image, c.scratch_size, out), CLV_ERR_SHAPE, "rows of 192 bytes are 100 bytes apart");
    image.row_stride = 192;
    assert_fails(apply(&c, &image, c.scratch_size - 1, out), CLV_ERR_INVALID, "of scratch");
    assert_ok(apply(&c, &image, c.scratch_size, out));
    assert_int_equal(c.transform.scratch_size(c.transform.user, 0, 5, 3), -1);
    assert_int_equal(c.transform.scratch_size(c.transform.user, 5, CLV_AUGMENT_MAX_SIDE + 1, 3), -1);
    assert_int_equal(c.transform.scratch_size(c.transform.user, 5, 5, 2), -1);
    free(pixels);
    test_chain_free(&c);
}

/* Everything a step can do to a picture of this size, with bytes around scratch and output that must not change. */
static void run_guarded(test_env *t, const char *text, int64_t height, int64_t width, int64_t channels)
{
    enum { GUARD = 256 };
    test_chain c = test_chain_make(t, text, height, width, channels);
    const size_t floats = (size_t)(c.transform.height * c.transform.width * channels);
    uint8_t *pixels = test_noise(3, height, width, channels);
    uint8_t *scratch = aligned_alloc(64, (c.scratch_size + 2 * GUARD + 63) / 64 * 64);
    float *out = malloc((floats + 1) * sizeof *out);
    const clv_image image = clv_image_dense(pixels, height, width, channels);
    memset(scratch, 0xa5, c.scratch_size + 2 * GUARD);
    out[floats] = 12345.0f;
    for (uint64_t i = 0; i < 20; i++) {
        assert_ok(c.transform.apply(c.transform.user, &image, 9, 0, i, 0, scratch + GUARD, c.scratch_size, out));
        for (size_t k = 0; k < floats; k++) assert_true(isfinite(out[k]));
    }
    for (int i = 0; i < GUARD; i++) {
        assert_int_equal(scratch[i], 0xa5);
        assert_int_equal(scratch[GUARD + c.scratch_size + (size_t)i], 0xa5);
    }
    assert_true(out[floats] == 12345.0f);
    free(out);
    free(scratch);
    free(pixels);
    test_chain_free(&c);
}

static void any_size_works_within_the_scratch_it_was_promised(void **state)
{
    static const char everything[] = "random-affine; flip; gaussian-blur p=1; gaussian-blur mode=kernel p=1; "
                                     "solarize p=1; random-resized-crop size=17; color-jitter p=1; grayscale p=0.5; "
                                     "center-crop size=9";
    static const int64_t sizes[][2] = { { 1, 1 }, { 1, 2 }, { 2, 1 }, { 1, 300 }, { 300, 1 }, { 31, 33 }, { 16, 16 },
                                        { 47, 19 }, { 5, 97 } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int64_t channels = 1; channels <= 3; channels += 2) {
            run_guarded(*state, everything, sizes[i][0], sizes[i][1], channels);
            run_guarded(*state, "random-resized-crop size=40 scale-min=0.001", sizes[i][0], sizes[i][1], channels);
            run_guarded(*state, "center-crop size=13 margin=1.2", sizes[i][0], sizes[i][1], channels);
        }
}

static void scratch_for_a_size_is_enough_for_every_smaller_one(void **state)
{
    test_env *t = *state;
    for (int i = 0; i < clv_augment_preset_count(); i++) {
        test_chain c = test_chain_make(t, clv_augment_preset_at(i)->name, 64, 64, 1);
        for (int64_t h = 1; h <= 64; h += 7)
            for (int64_t w = 1; w <= 64; w += 7)
                assert_true(c.transform.scratch_size(c.transform.user, h, w, 1) <= (int64_t)c.scratch_size);
        test_chain_free(&c);
    }
}

static void rows_may_be_apart(void **state)
{
    test_chain c = test_chain_make(*state, "moco-cifar", 40, 40, 3);
    uint8_t *wide = test_noise(5, 40, 60, 3), dense[40 * 40 * 3];
    float a[32 * 32 * 3], b[32 * 32 * 3];
    for (int y = 0; y < 40; y++) memcpy(dense + y * 120, wide + y * 180 + 30, 120);
    const clv_image strided = { wide + 30, 40, 40, 3, 180 }, image = clv_image_dense(dense, 40, 40, 3);
    assert_ok(apply(&c, &strided, c.scratch_size, a));
    assert_ok(apply(&c, &image, c.scratch_size, b));
    assert_memory_equal(a, b, sizeof a);
    free(wide);
    test_chain_free(&c);
}

static void a_picture_of_the_output_size_passes_the_evaluation_chain_unchanged(void **state)
{
    test_chain c = test_chain_make(*state, "center-crop size=32 margin=1", 32, 32, 3);
    uint8_t *pixels = test_noise(6, 32, 32, 3);
    float out[32 * 32 * 3];
    const clv_image image = clv_image_dense(pixels, 32, 32, 3);
    assert_ok(apply(&c, &image, c.scratch_size, out));
    for (int i = 0; i < 32 * 32 * 3; i++) assert_true(out[i] == (float)pixels[i] / 255.0f);
    free(pixels);
    test_chain_free(&c);
}

TEST_MAIN(TEST(presets_have_the_published_order_of_steps), TEST(presets_have_the_published_numbers),
          TEST(every_preset_can_be_made_and_names_its_evaluation_preset),
          TEST(every_step_says_what_it_is_and_where_it_comes_from),
          TEST(the_manual_tells_of_every_step_option_and_preset), TEST(the_description_gives_the_same_chain_back),
          TEST(overrides_reach_the_step_that_has_the_option), TEST(a_wrong_text_is_refused_with_a_useful_message),
          TEST(a_text_too_long_or_with_too_many_steps_is_refused), TEST(a_refused_allocation_leaves_nothing_behind),
          TEST(pictures_that_cannot_be_taken_are_refused), TEST(any_size_works_within_the_scratch_it_was_promised),
          TEST(scratch_for_a_size_is_enough_for_every_smaller_one), TEST(rows_may_be_apart),
          TEST(a_picture_of_the_output_size_passes_the_evaluation_chain_unchanged))
