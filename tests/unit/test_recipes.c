/* test_recipes.c: every recipe trains: what it names is there, goes together, and makes twenty steps. Sizes are cut down
 * for the sake of time; tests/cli/recipes.sh starts the recipes as they are. */
#include "core/h5.h"
#include "tests/support/train.h"
#include "core/checked.h"
#include "train/step/method.h"

#include <cleave/augment.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 20, BATCH = 16, IMAGES = STEPS * BATCH, SIDE = 32 };

typedef struct seen {
    bool   method[32];
    int    steps;
    double loss;
} seen;

static void make_pictures(test_env *t, const char *path)
{
    static uint8_t pixels[IMAGES * SIDE * SIDE * 3];
    int64_t labels[IMAGES];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * (37 + i / (SIDE * SIDE * 3) % 10) % 251);
    for (int i = 0; i < IMAGES; i++) labels[i] = i % 10;
    const int64_t shape[4] = { IMAGES, SIDE, SIDE, 3 };
    const clv_view images = clv_view_dense(pixels, CLV_U8, 4, shape), label = clv_view_1d(labels, CLV_I64, IMAGES);
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "images", &images));
    assert_ok(clvi_h5_write(h5, "labels", &label));
    assert_ok(clvi_h5_commit(h5));
}

/* Words and tags for as many steps; the first letter tells the tag. */
static void make_words(const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < STEPS * BATCH; i++)
        fprintf(file, "%c%d\t%s\n%s", 'a' + i % 3, i * 7 % 11, i % 3 ? "O" : "B-thing", i % 9 ? "" : "\n");
    assert_int_equal(fclose(file), 0);
}

/* In place of every "size=224" of a chain: the pictures are small. */
static void shrink_chain(char *chain)
{
    for (char *at = chain; (at = strstr(at, " size=")); at += 6) {
        char *end = at + 6 + strspn(at + 6, "0123456789");
        memmove(at + 8, end, strlen(end) + 1);
        memcpy(at + 6, "32", 2);
    }
}

static void replace(char *text, const char *what, const char *by)
{
    char *at = strstr(text, what);
    if (!at) return;
    memmove(at + strlen(by), at + strlen(what), strlen(at + strlen(what)) + 1);
    memcpy(at, by, strlen(by));
}

/* Directly, so that the rules which judge a caller's settings still judge the recipe's. */
static void cut_down(clvi_settings *s)
{
    const bool vit = !strncmp(s->arch, "vit", 3);
    s->width = vit ? 48 : 8;
    if (vit) s->patch = 8;
    s->batch_size = BATCH;
    s->bn_splits = s->bn_splits > 1 ? 2 : 1;
    if (!strcmp(s->method, "moco")) s->moco_k = 64;
    if (s->moco_dim != 128) s->moco_dim = CLVI_MIN(s->moco_dim, INT64_C(32));   /* the default may be out of use */
    s->moco_mlp_dim = CLVI_MIN(s->moco_mlp_dim, INT64_C(32));
    s->pred_dim = CLVI_MIN(s->pred_dim, INT64_C(32));
    s->workers = 0;
    s->lr = CLVI_MIN(s->lr, 0.05);                         /* the pictures mean nothing */
    s->lr_scaling = CLVI_LR_AS_GIVEN;
    s->epochs = s->stop_epoch = 1;
    s->knn_bank = 32;
    if (clv_augment_preset_find(s->aug) && strcmp(s->aug, "glyphs") != 0) s->size = SIDE;
    shrink_chain(s->aug);
    shrink_chain(s->aug2);
    shrink_chain(s->eval_aug);
    replace(s->loss, "N=1024", "N=32");                    /* of a shorter bank */
    replace(s->loss, "s=512", "s=8");
    replace(s->loss, "s=1024", "s=8");
    replace(s->loss, "warmup-epochs=10", "warmup-epochs=0");
}

static bool listen(const clv_progress *p, void *user)
{
    seen *s = user;
    if (p->kind == CLV_PROGRESS_STEP) s->steps++;
    if (p->kind == CLV_PROGRESS_STEP) s->loss = p->loss;
    return true;
}

static void note_method(seen *s, const char *name)
{
    for (int m = 0; clvi_method_at(m); m++) s->method[m] |= !strcmp(clvi_method_at(m)->info.name, name);
}

static void train(test_env *t, const char *recipe, const char *data, seen *s)
{
    char results[512];
    clv_config *config = NULL;
    snprintf(results, sizeof results, "%s", test_path(t, strrchr(recipe, '/') + 1));
    assert_ok(clv_config_create(t->ctx, &config));
    if (clv_config_load(config, recipe) != CLV_OK) fail_msg("%s", clv_error_message());
    assert_ok(clv_config_set(config, "data", data));
    assert_ok(clv_config_set(config, "results-dir", results));
    note_method(s, config->settings.method);
    cut_down(&config->settings);
    if (config->settings.freeze) assert_non_null(strstr(recipe, "/linear-"));
    s->steps = 0;
    if (test_run(t, config, listen, s) != CLV_OK) fail_msg("%s: %s", recipe, clv_error_message());
    assert_int_equal(s->steps, STEPS);
    assert_true(s->loss == s->loss);
}

static void every_recipe_makes_twenty_steps(void **state)
{
    test_env *t = *state;
    static seen s;
    glob_t recipes;
    char data[512], words[512];
    snprintf(data, sizeof data, "%s", test_path(t, "pictures.h5"));
    snprintf(words, sizeof words, "%s", test_path(t, "words"));
    make_pictures(t, data);
    make_words(words);
    assert_int_equal(glob("recipes/*.yaml", 0, NULL, &recipes), 0);
    for (size_t i = 0; i < recipes.gl_pathc; i++)
        if (!strstr(recipes.gl_pathv[i], "glyphs") && !strstr(recipes.gl_pathv[i], "mnist"))   /* one channel: the demo's */
            train(t, recipes.gl_pathv[i], strstr(recipes.gl_pathv[i], "tagging") ? words : data, &s);
    for (int m = 0; clvi_method_at(m); m++)
        if (!s.method[m]) fail_msg("there is no recipe for %s", clvi_method_at(m)->info.name);
    globfree(&recipes);
}

/* What a header promises is there: the probe it names, and itself in the table of recipes. */
static void headers_name_what_is_there(void **state)
{
    (void)state;
    static char readme[1 << 17];
    glob_t recipes;
    FILE *table = fopen("recipes/README.md", "rb");
    assert_non_null(table);
    readme[fread(readme, 1, sizeof readme - 1, table)] = 0;
    fclose(table);
    assert_int_equal(glob("recipes/*.yaml", 0, NULL, &recipes), 0);
    for (size_t i = 0; i < recipes.gl_pathc; i++) {
        char line[512], name[256], probe[256];
        FILE *file = fopen(recipes.gl_pathv[i], "rb");
        assert_non_null(file);
        while (fgets(line, sizeof line, file)) {
            if (sscanf(line, "# Probe: %200[^\n]", name) != 1) continue;
            snprintf(probe, sizeof probe, "recipes/%.200s.yaml", name);
            FILE *found = fopen(probe, "rb");
            if (!found) fail_msg("%s names the probe %s, which is not there", recipes.gl_pathv[i], name);
            fclose(found);
        }
        fclose(file);
        snprintf(name, sizeof name, "(%.200s)", strrchr(recipes.gl_pathv[i], '/') + 1);
        if (!strstr(readme, name)) fail_msg("recipes/README.md does not list %s", recipes.gl_pathv[i]);
    }
    globfree(&recipes);
}

TEST_MAIN(TEST(every_recipe_makes_twenty_steps), TEST(headers_name_what_is_there))
