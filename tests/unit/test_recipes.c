/* test_recipes.c: recipes can be started: everything they name is there and goes together. */
#include "core/h5.h"
#include "tests/support/train.h"
#include "train/method.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

typedef struct told {
    char text[8192];
} told;

static void keeps(const char *text, void *user)
{
    told *k = user;
    const size_t length = strlen(k->text);
    snprintf(k->text + length, sizeof k->text - length, "%s\n", text);
}

static void make_pictures(test_env *t, const char *path)
{
    enum { N = 32 };
    static uint8_t pixels[N * 32 * 32 * 3];
    int64_t labels[N];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 37 % 251);
    for (int i = 0; i < N; i++) labels[i] = i % 10;
    const int64_t shape[4] = { N, 32, 32, 3 };
    const clv_view images = clv_view_dense(pixels, CLV_U8, 4, shape), label = clv_view_1d(labels, CLV_I64, N);
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "images", &images));
    assert_ok(clvi_h5_write(h5, "labels", &label));
    assert_ok(clvi_h5_commit(h5));
}

/* With fewer images a step and channels than they say, for the sake of time. */
static void recipes_for_cifar_can_be_started(void **state)
{
    test_env *t = *state;
    glob_t recipes;
    bool seen[32] = { false };
    char data[512], results[512];
    snprintf(data, sizeof data, "%s", test_path(t, "pictures.h5"));
    snprintf(results, sizeof results, "%s", test_path(t, "dry"));
    make_pictures(t, data);
    assert_int_equal(glob("recipes/*-cifar10*.yaml", 0, NULL, &recipes), 0);
    for (size_t i = 0; i < recipes.gl_pathc; i++) {
        const char *const settings[][2] = { { "data", data }, { "batch-size", "16" }, { "workers", "0" },
                                            { "results-dir", results }, { "width", "8" } };
        clv_config *config = NULL;
        clv_trainer *trainer = NULL;
        told k = { "" };
        char method[64];
        assert_ok(clv_config_create(t->ctx, &config));
        assert_ok(clv_config_load(config, recipes.gl_pathv[i]));
        for (int s = 0; s < 5; s++) assert_ok(clv_config_set(config, settings[s][0], settings[s][1]));
        if (clv_trainer_create(t->ctx, config, NULL, NULL, &trainer) != CLV_OK)
            fail_msg("%s: %s", recipes.gl_pathv[i], clv_error_message());
        assert_ok(clv_trainer_describe(trainer, keeps, &k));
        assert_non_null(strstr(k.text, "loss: "));
        assert_ok(clv_config_get(config, "method", method, sizeof method));
        for (int m = 0; clvi_method_at(m); m++) seen[m] |= !strcmp(clvi_method_at(m)->info.name, method);
        clv_trainer_destroy(trainer);
        clv_config_destroy(config);
    }
    for (int m = 0; clvi_method_at(m); m++)
        if (!seen[m]) fail_msg("there is no recipe for %s", clvi_method_at(m)->info.name);
    globfree(&recipes);
}

TEST_MAIN(TEST(recipes_for_cifar_can_be_started))
