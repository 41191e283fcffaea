/* train.c: training runs that take a fraction of a second. */
#include "tests/support/train.h"
#include "core/file.h"
#include "core/h5.h"
#include "core/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { IMAGES = 160, SIDE = 16, CLASSES = 4 };

/* Stripes, another period and brightness for each class, under noise. */
static void make_data(test_env *t, const char *path)
{
    static uint8_t pixels[IMAGES][SIDE * SIDE];
    int64_t labels[IMAGES];
    clvi_rng rng = clvi_rng_make(11, CLVI_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < IMAGES; i++) {
        labels[i] = i % CLASSES;
        for (int p = 0; p < SIDE * SIDE; p++)
            pixels[i][p] = (uint8_t)(30 * (i % CLASSES) + (p % (4 + i % CLASSES) < 2 ? 80 : 0) +
                                     (int)clvi_rng_below(&rng, 60));
    }
    const int64_t shape[4] = { IMAGES, SIDE, SIDE, 1 };
    const clv_view images = clv_view_dense(pixels, CLV_U8, 4, shape), label = clv_view_1d(labels, CLV_I64, IMAGES);
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "images", &images));
    assert_ok(clvi_h5_write(h5, "labels", &label));
    assert_ok(clvi_h5_commit(h5));
}

clv_config *test_run_config(test_env *t, const char *directory, ...)
{
    static const char *const tiny[][2] = {
        { "arch", "resnet8" }, { "width", "4" },     { "aug", "glyphs" },    { "size", "16" },  { "batch-size", "16" },
        { "moco-dim", "16" },  { "moco-k", "64" },   { "moco-m", "0.9" },    { "lr", "0.05" },  { "cos", "true" },
        { "epochs", "2" },     { "knn-k", "5" },     { "print-freq", "3" },  { "seed", "5" },
    };
    clv_config *config = NULL;
    if (!test_has_file(t, "data.h5")) make_data(t, test_path(t, "data.h5"));
    assert_ok(clv_config_create(t->ctx, &config));
    assert_ok(clv_config_set(config, "data", test_path(t, "data.h5")));
    assert_ok(clv_config_set(config, "results-dir", test_path(t, directory)));
    for (size_t i = 0; i < sizeof tiny / sizeof tiny[0]; i++) assert_ok(clv_config_set(config, tiny[i][0], tiny[i][1]));
    va_list args;
    va_start(args, directory);
    for (const char *name; (name = va_arg(args, const char *));)
        assert_ok(clv_config_set(config, name, va_arg(args, const char *)));
    va_end(args);
    return config;
}

clv_status test_run_in(clv_context *ctx, clv_config *config, clv_progress_fn progress, void *user)
{
    clv_trainer *trainer = NULL;
    clv_status st = clv_trainer_create(ctx, config, progress, user, &trainer);
    clv_config_destroy(config);
    if (st == CLV_OK) st = clv_trainer_run(trainer);
    clv_trainer_destroy(trainer);
    return st;
}

clv_status test_run(test_env *t, clv_config *config, clv_progress_fn progress, void *user)
{
    clv_context *ctx = test_context(t, 1);
    const clv_status st = test_run_in(ctx, config, progress, user);
    clv_context_destroy(ctx);
    return st;
}

bool test_has_file(test_env *t, const char *name)
{
    struct stat st;
    return stat(test_path(t, name), &st) == 0;
}

bool test_same_file(test_env *t, const char *a, const char *b)
{
    uint8_t *bytes[2] = { NULL, NULL };
    size_t size[2] = { 0, 0 };
    assert_ok(clvi_file_read(t->ctx, test_path(t, a), 1 << 26, &bytes[0], &size[0]));
    assert_ok(clvi_file_read(t->ctx, test_path(t, b), 1 << 26, &bytes[1], &size[1]));
    const bool same = size[0] == size[1] && !memcmp(bytes[0], bytes[1], size[0]);
    clvi_free(t->ctx, bytes[0]);
    clvi_free(t->ctx, bytes[1]);
    return same;
}

void test_damage_file(test_env *t, const char *name, long offset)
{
    FILE *file = fopen(test_path(t, name), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET), 0);
    const int byte = fgetc(file);
    assert_true(byte != EOF);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    assert_true(fputc(byte ^ 4, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

void test_embed(test_env *t, const clv_encoder_desc *desc, float rows[16 * 64])
{
    clv_encoder_desc at = *desc;
    clv_encoder *encoder = NULL;
    clv_dataset *ds = NULL;
    at.batch_size = 16;
    assert_ok(clv_encoder_open(t->ctx, &at, &encoder));
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "data.h5"), NULL, &ds));
    const clv_view view = clv_view_2d(rows, CLV_F32, 16, clv_encoder_dim(encoder));
    assert_true(clv_encoder_dim(encoder) <= 64);
    assert_ok(clv_encoder_embed(encoder, ds, 0, 16, &view, NULL, NULL));
    clv_encoder_destroy(encoder);
    clv_dataset_destroy(ds);
}
