/* test_augment.c (golden): each step gives the bytes that Pillow gives for the same numbers (augment/make.py wrote
 * them). The tolerance is 0 grey levels, and 1 for the sampled Gaussian, which Pillow does not have. */
#include "tests/support/test.h"
#include "augment/augment.h"
#include "augment/draws.h"
#include "core/h5.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN  "tests/golden/augment/pixels.h5"
#define MAX_BYTES 65536

typedef struct picture {
    int     height, width, channels;
    uint8_t bytes[MAX_BYTES];
} picture;

static void read_picture(clvi_h5 *h5, const char *name, picture *out)
{
    clvi_h5_info info;
    assert_ok(clvi_h5_stat(h5, name, &info));
    assert_int_equal(info.ndim, 3);
    out->height = (int)info.shape[0];
    out->width = (int)info.shape[1];
    out->channels = (int)info.shape[2];
    assert_true(info.shape[0] * info.shape[1] * info.shape[2] <= MAX_BYTES);
    const clv_view view = clv_view_dense(out->bytes, CLV_U8, 3, info.shape);
    assert_ok(clvi_h5_read(h5, name, &view));
}

/* "name a=1 b=2" to a class and its params. */
static const clvi_augment_class *read_step(char *text, void *params)
{
    clv_option options[8];
    int n = 0;
    char *rest = NULL;
    const clvi_augment_class *class = clvi_augment_class_find(strtok_r(text, " ", &rest));
    assert_non_null(class);
    for (char *word; (word = strtok_r(NULL, " ", &rest));) {
        char *equals = strchr(word, '=');
        *equals = '\0';
        options[n++] = (clv_option) { word, equals + 1 };
    }
    assert_ok(clvi_options_parse(class->options, params, text, options, n));
    if (class->prepare) assert_ok(class->prepare(params));
    return class;
}

/* The golden numbers of a draw to the struct its step expects. */
static void fill_draw(const clvi_augment_class *class, const double *v, unsigned char *draw)
{
    if (class->purpose == CLVI_RNG_CROP) {
        const clvi_crop_draw d = { (int)v[0], (int)v[1], (int)v[2], (int)v[3] };
        memcpy(draw, &d, sizeof d);
    } else if (class->purpose == CLVI_RNG_JITTER) {
        clvi_jitter_draw d;
        for (int i = 0; i < CLVI_JITTER_PARTS; i++) d.order[i] = (uint8_t)v[i];
        memcpy(d.factor, v + CLVI_JITTER_PARTS, sizeof d.factor);
        memcpy(draw, &d, sizeof d);
    } else if (class->purpose == CLVI_RNG_ERASE) {
        const clvi_erase_draw d = { (int)v[0], (int)v[1], (int)v[2], (int)v[3], 0 };
        memcpy(draw, &d, sizeof d);
    } else {
        memcpy(draw, v, class->draw_size);   /* the other structs are doubles only */
    }
}

/* The step on the picture, back as interleaved bytes. */
static void run_step(const clvi_augment_class *class, const void *params, const void *draw, bool plain,
                     const picture *in, picture *out)
{
    const clvi_geometry size = { in->height, in->width, in->channels };
    const size_t temp_size = class->temp_size ? class->temp_size(params, &size) : 0;
    uint8_t *buffers[2] = { calloc(1, MAX_BYTES), calloc(1, MAX_BYTES) };
    uint8_t *temp = aligned_alloc(CLVI_ALIGN, clvi_round_up(temp_size + 1, CLVI_ALIGN));
    clvi_frame f = { in->height, in->width, in->channels, in->bytes, in->width * in->channels, in->channels, 1, NULL,
                     { buffers[0], buffers[1] }, temp, plain, 1 };
    if (!class->resamples) clvi_frame_own(&f);
    assert_ok(class->apply(params, draw, &f));
    assert_non_null(f.planes);
    *out = (picture) { .height = f.height, .width = f.width, .channels = f.channels };
    for (int i = 0; i < f.height * f.width * f.channels; i++)
        out->bytes[i] = f.planes[i % f.channels * f.height * f.width + i / f.channels];
    free(buffers[0]);
    free(buffers[1]);
    free(temp);
}

static int largest_difference(const picture *a, const picture *b)
{
    int largest = 0;
    assert_int_equal(a->height, b->height);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->channels, b->channels);
    for (int i = 0; i < a->height * a->width * a->channels; i++)
        largest = CLVI_MAX(largest, abs(a->bytes[i] - b->bytes[i]));
    return largest;
}

static int check_case(test_env *t, clvi_h5 *h5, const char *name)
{
    static picture in, want, got, got_plain;
    char object[128], path[192], *step = NULL, *source = NULL;
    _Alignas(16) unsigned char params[8192] = { 0 };
    _Alignas(16) unsigned char draw[CLVI_AUGMENT_DRAW_MAX] = { 0 };
    double numbers[8] = { 0 };
    clv_dtype type;
    int64_t count = 0;
    snprintf(object, sizeof object, "cases/%s", name);
    assert_ok(clvi_h5_attr_text(h5, object, "step", &step));
    assert_ok(clvi_h5_attr_text(h5, object, "picture", &source));
    assert_ok(clvi_h5_attr_stat(h5, object, "draw", &type, &count));
    assert_true(count <= 8);
    assert_ok(clvi_h5_attr_f64s(h5, object, "draw", (int)count, numbers));
    snprintf(path, sizeof path, "pictures/%s", source);
    read_picture(h5, path, &in);
    snprintf(path, sizeof path, "%s/output", object);
    read_picture(h5, path, &want);

    const clvi_augment_class *class = read_step(step, params);
    assert_true(class->params_size <= sizeof params);
    fill_draw(class, numbers, draw);
    run_step(class, params, draw, false, &in, &got);
    run_step(class, params, draw, true, &in, &got_plain);
    assert_int_equal(largest_difference(&got, &got_plain), 0);
    const int difference = largest_difference(&got, &want);
    if (difference > (strstr(name, "blur_kernel") ? 1 : 0)) {
        print_error("%s: %d grey levels from Pillow\n", name, difference);
        fail();
    }
    clvi_free(t->ctx, step);
    clvi_free(t->ctx, source);
    return difference;
}

static void every_step_gives_pillows_bytes(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    int64_t count = 0;
    char **names = NULL;
    assert_ok(clvi_h5_open(t->ctx, GOLDEN, &h5));
    assert_ok(clvi_h5_list(h5, "cases", false, &count, &names));
    assert_true(count >= 80);
    for (int64_t i = 0; i < count; i++) check_case(t, h5, names[i]);
    clvi_free(t->ctx, names);
    clvi_h5_close(h5);
}

static void every_step_with_pixels_of_its_own_has_a_golden_case(void **state)
{
    test_env *t = *state;
    clvi_h5 *h5 = NULL;
    int64_t count = 0;
    char **names = NULL;
    assert_ok(clvi_h5_open(t->ctx, GOLDEN, &h5));
    assert_ok(clvi_h5_list(h5, "cases", false, &count, &names));
    for (int i = 0; i < clv_augment_count(); i++) {
        bool found = clvi_augment_class_at(i)->emit != NULL;   /* normalize: the chain below */
        for (int64_t k = 0; k < count && !found; k++) {
            char object[128], *step = NULL;
            snprintf(object, sizeof object, "cases/%s", names[k]);
            assert_ok(clvi_h5_attr_text(h5, object, "step", &step));
            const size_t n = strcspn(step, " ");
            found = strlen(clv_augment_info_at(i)->name) == n && !strncmp(step, clv_augment_info_at(i)->name, n);
            clvi_free(t->ctx, step);
        }
        if (!found) fail_msg("no golden case of '%s'", clv_augment_info_at(i)->name);
    }
    clvi_free(t->ctx, names);
    clvi_h5_close(h5);
}

static void the_evaluation_chain_gives_the_same_floats(void **state)
{
    test_env *t = *state;
    static picture in;
    static float want[12 * 12 * 3], got[12 * 12 * 3];
    clvi_h5 *h5 = NULL;
    clv_augment *a = NULL;
    clv_transform f;
    assert_ok(clvi_h5_open(t->ctx, GOLDEN, &h5));
    read_picture(h5, "pictures/big", &in);
    const clv_view view = clv_view_dense(want, CLV_F32, 3, (int64_t[]) { 12, 12, 3 });
    assert_ok(clvi_h5_read(h5, "chain/output", &view));
    assert_ok(clv_augment_create(t->ctx, "eval", &(clv_option) { "size", "12" }, 1, &a));
    assert_ok(clv_augment_transform(a, &f));
    const clv_image image = clv_image_dense(in.bytes, in.height, in.width, in.channels);
    const size_t size = (size_t)f.scratch_size(f.user, in.height, in.width, in.channels);
    void *scratch = aligned_alloc(CLVI_ALIGN, clvi_round_up(size, CLVI_ALIGN));
    assert_ok(f.apply(f.user, &image, 1, 0, 0, 0, scratch, size, got));
    assert_memory_equal(got, want, sizeof got);
    free(scratch);
    clv_augment_destroy(a);
    clvi_h5_close(h5);
}

TEST_MAIN(TEST(every_step_gives_pillows_bytes), TEST(every_step_with_pixels_of_its_own_has_a_golden_case),
          TEST(the_evaluation_chain_gives_the_same_floats))
