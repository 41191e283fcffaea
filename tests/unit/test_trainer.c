/* test_trainer.c: what is said about settings that do not fit the data or each other, and what a run writes. */
#include "tests/support/pictures.h"
#include "tests/support/train.h"
#include "core/file.h"
#include "core/h5.h"
#include "train/config/config.h"

#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static clv_status create(test_env *t, clv_config *config)
{
    clv_trainer *trainer = NULL;
    const clv_status st = clv_trainer_create(t->ctx, config, NULL, NULL, &trainer);
    clv_config_destroy(config);
    assert_true((st == CLV_OK) == (trainer != NULL));
    clv_trainer_destroy(trainer);
    return st;
}

/* ---- settings ---- */

static void settings_that_do_not_fit_the_data_are_refused(void **state)
{
    test_env *t = *state;
    assert_fails(create(t, test_run_config(t, "a", "data", "", NULL)), CLV_ERR_INVALID, "no data set given");
    assert_fails(create(t, test_run_config(t, "a", "data", "/nonexistent/x.h5", NULL)), CLV_ERR_IO,
                 "/nonexistent/x.h5");
    assert_fails(create(t, test_run_config(t, "a", "batch-size", "161", NULL)), CLV_ERR_INVALID, "160 images");
    assert_ok(create(t, test_run_config(t, "a", "batch-size", "160", NULL)));
    assert_fails(create(t, test_run_config(t, "a", "bn-splits", "3", NULL)), CLV_ERR_INVALID, "bn-splits 3");
    assert_fails(create(t, test_run_config(t, "a", "split", "nope", NULL)), CLV_ERR_INVALID, "nope");
    assert_fails(create(t, test_run_config(t, "a", "results-dir", "", NULL)), CLV_ERR_INVALID, "results-dir");
    assert_fails(create(t, test_run_config(t, "a", "arch", "resnet81", NULL)), CLV_ERR_INVALID, "resnet18");
    assert_fails(create(t, test_run_config(t, "a", "method", "moko", NULL)), CLV_ERR_INVALID, "did you mean 'moco'");
    assert_fails(create(t, test_run_config(t, "a", "optimizer", "sdg", NULL)), CLV_ERR_INVALID, "did you mean 'sgd'");
    assert_fails(create(t, test_run_config(t, "a", "optimizer", "lars", NULL)), CLV_ERR_INVALID,
                 "optimizer 'lars' has several forms: lars_moco_v3, lars_simclr, lars_solo_learn");
    assert_fails(create(t, test_run_config(t, "a", "optimizer", "quite another", NULL)), CLV_ERR_INVALID,
                 "there are sgd, adamw, lars_moco_v3");
    assert_fails(create(t, test_run_config(t, "a", "aug", "glyps", NULL)), CLV_ERR_INVALID, "glyphs");
    assert_fails(create(t, test_run_config(t, "a", "cos", "false", "schedule", "9,5", NULL)), CLV_ERR_INVALID, "rise");
    assert_fails(create(t, test_run_config(t, "a", "cos", "false", "schedule", "5;9", NULL)), CLV_ERR_INVALID,
                 "commas");
    assert_false(test_has_file(t, "a"));
}

static void settings_that_cannot_act_are_refused(void **state)
{
    test_env *t = *state;
    static const char *const cases[][5] = {      /* a setting, what switches it off, what the message says */
        { "moco-mlp-dim", "32", "mlp", "false", "moco-mlp-dim '32' cannot act without mlp" },
        { "schedule", "30,40", "cos", "true", "schedule '30,40' cannot act with cos" },
        { "nesterov", "true", "momentum", "0", "nesterov 'true' cannot act with momentum 0" },
        { "momentum", "0.8", "optimizer", "adamw", "momentum '0.8' cannot act with optimizer 'adamw'" },
        { "nesterov", "true", "optimizer", "lamb", "nesterov 'true' cannot act with optimizer 'lamb'" },
        { "beta2", "0.95", "optimizer", "sgd", "beta2 '0.95' cannot act with optimizer 'sgd'" },
        { "eps", "1e-6", "optimizer", "lars-simclr", "cannot act with optimizer 'lars_simclr'" },
        { "eta", "0.02", "optimizer", "adamw", "trust-coefficient '0.02' cannot act" },
        { "clip-lr", "true", "optimizer", "lars-moco-v3", "cannot act with optimizer 'lars_moco_v3'" },
        { "exclude-bias-n-norm-lars", "true", "optimizer", "sgd", "cannot act with optimizer 'sgd'" },
        { "exclude-bias-n-norm-wd", "true", "optimizer", "lars-simclr", "leaves biases and norms out in any case" },
        { "exclude-bias-n-norm-wd", "true", "weight-decay", "0", "cannot act with weight-decay 0" },
        { "warmup-start-lr", "0.01", "warmup-epochs", "0", "cannot act with warmup-epochs 0" },
        { "warmup-by", "epoch", "warmup-epochs", "0", "cannot act with warmup-epochs 0" },
        { "shuffle-bn", "false", "bn-splits", "1", "cannot act with bn-splits 1" },
        { "prefetch", "4", "workers", "0", "cannot act with workers 0" },
        { "aug-plus", "true", "aug", "glyphs", "cannot act with an augmentation given" },
        { "stop-epoch", "3", "epochs", "2", "cannot act beyond epochs" },
        { "knn-k", "7", "knn-freq", "0", "cannot act with knn-freq 0" },
        { "knn-layer", "backbone", "knn-freq", "0", "knn-layer 'backbone' cannot act with knn-freq 0" },
        { "val-split", "test", "knn-freq", "0", "val-split 'test' cannot act with knn-freq 0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const *c = cases[i];
        assert_fails(create(t, test_run_config(t, "a", "knn-k", "200", c[0], c[1], c[2], c[3], NULL)), CLV_ERR_INVALID,
                     c[4]);
    }
}

static void what_a_stronger_source_switches_off_is_left_alone(void **state)
{
    test_env *t = *state;
    static const char recipe[] = "knn-k: 7\nmlp: true\nmoco-mlp-dim: 32\nschedule: '30,40'\ncos: false\nprefetch: 4\n";
    char path[512];
    snprintf(path, sizeof path, "%s", test_path(t, "recipe.yaml"));
    assert_ok(clvi_file_write(path, recipe, strlen(recipe)));
    clv_config *config = test_run_config(t, "a", NULL);
    assert_ok(clv_config_load(config, path));
    assert_ok(clv_config_set(config, "knn-freq", "0"));
    assert_ok(clv_config_set(config, "mlp", "false"));
    assert_ok(clv_config_set(config, "cos", "true"));
    assert_ok(clv_config_set(config, "workers", "0"));
    assert_ok(create(t, config));
    config = test_run_config(t, "a", "knn-freq", "0", "knn-k", "200", NULL);
    assert_ok(clv_config_load(config, path));
    assert_ok(clv_config_set(config, "schedule", "50")); /* stronger than the recipe, which does not switch it off */
    assert_ok(clv_config_set(config, "knn-freq", "1"));
    assert_ok(create(t, config));
}

static void recipes_ask_for_nothing_that_cannot_act(void **state)
{
    test_env *t = *state;
    glob_t recipes;
    assert_int_equal(glob("recipes/*.yaml", 0, NULL, &recipes), 0);
    for (size_t i = 0; i < recipes.gl_pathc; i++) {
        clv_config *config = NULL;
        assert_ok(clv_config_create(t->ctx, &config));
        assert_ok(clv_config_load(config, recipes.gl_pathv[i]));
        assert_ok(clvi_config_check(config));
        clv_config_destroy(config);
    }
    globfree(&recipes);
}

/* ---- data without labels ---- */

typedef struct told {
    char notes[2048];
} told;

static bool notes(const clv_progress *p, void *user)
{
    told *n = user;
    const size_t length = strlen(n->notes);
    if (p->kind == CLV_PROGRESS_NOTE) snprintf(n->notes + length, sizeof n->notes - length, "%s\n", p->note);
    return true;
}

static void make_unlabelled(test_env *t, const char *path)
{
    static uint8_t pixels[32][16 * 16];
    for (size_t i = 0; i < sizeof pixels; i++) ((uint8_t *)pixels)[i] = (uint8_t)(i * 37 % 251);
    const int64_t shape[4] = { 32, 16, 16, 1 };
    const clv_view images = clv_view_dense(pixels, CLV_U8, 4, shape);
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_create(t->ctx, path, false, &h5));
    assert_ok(clvi_h5_write(h5, "images", &images));
    assert_ok(clvi_h5_commit(h5));
}

static void without_labels_a_run_goes_on_and_says_what_it_leaves_out(void **state)
{
    test_env *t = *state;
    told n = { "" };
    char path[512];
    snprintf(path, sizeof path, "%s", test_path(t, "plain.h5"));
    make_unlabelled(t, path);
    assert_ok(test_run(t, test_run_config(t, "a", "data", path, "epochs", "1", NULL), notes, &n));
    assert_non_null(strstr(n.notes, "has no labels: no kNN accuracy is measured"));
    assert_false(test_has_file(t, "a/best.h5"));
    n.notes[0] = 0;
    assert_ok(test_run(t, test_run_config(t, "b", "epochs", "1", "knn-queries", "9", NULL), notes, &n));
    assert_non_null(strstr(n.notes, "knn-queries does not act"));
    assert_fails(create(t, test_run_config(t, "c", "val-data", path, NULL)), CLV_ERR_INVALID,
                 "plain.h5' has no labels");
}

static char *write_list(test_env *t, const char *name, const char *line, int lines)
{
    char *path = strdup(test_path(t, name));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < lines; i++) fprintf(file, "%s %s\n", line, i % 2 ? "cat" : "dog");
    assert_int_equal(fclose(file), 0);
    return path;
}

static void training_and_validation_are_two_lists_or_two_parts(void **state)
{
    test_env *t = *state;
    picture_write_png(test_path(t, "x.png"), 1, 16, 16);
    char *train = write_list(t, "train.txt", "x.png", 32), *val = write_list(t, "val.txt", "x.png", 2);
    char *one = write_list(t, "one.txt", "x.png", 1);
    assert_ok(create(t, test_run_config(t, "a", "data", train, "val-data", val, "moco-k", "16", NULL)));
    assert_fails(create(t, test_run_config(t, "a", "data", train, "val-data", one, "moco-k", "16", NULL)),
                 CLV_ERR_INVALID, "class 0 is called 'cat' in '");
    assert_ok(test_run(t, test_run_config(t, "b", "split", "[:90%]", "val-split", "[90%:]", "epochs", "1", NULL), NULL,
                       NULL));
    assert_true(test_has_file(t, "b/best.h5"));
    assert_fails(create(t, test_run_config(t, "c", "split", "[:9%]", NULL)), CLV_ERR_INVALID, "14 images");
    free(one);
    free(val);
    free(train);
}

/* ---- collapse ---- */

typedef struct warnings {
    int collapse, steps;
} warnings;

static bool counts(const clv_progress *p, void *user)
{
    warnings *w = user;
    if (p->kind == CLV_PROGRESS_NOTE && strstr(p->note, "collaps")) w->collapse++;
    if (p->kind == CLV_PROGRESS_STEP) w->steps++;
    return true;
}

/* Without weights that grow apart, a huge weight decay makes all features one. */
static void a_collapse_is_told_once_an_epoch_or_ends_the_run(void **state)
{
    test_env *t = *state;
    warnings w = { 0, 0 };
    assert_ok(test_run(t, test_run_config(t, "a", "weight-decay", "15", "print-freq", "1", NULL), counts, &w));
    assert_int_equal(w.collapse, 2);
    assert_int_equal(w.steps, 20);
    w = (warnings){ 0, 0 };
    assert_fails(
        test_run(t, test_run_config(t, "b", "weight-decay", "15", "print-freq", "1", "stop-on-collapse", "true", NULL),
                 counts, &w),
        CLV_ERR_NUMERIC, "collapsed (std");
    assert_true(w.steps < 10);
    assert_false(test_has_file(t, "b/last.h5"));
}

/* ---- what a run writes ---- */

static void the_log_has_a_line_for_each_logged_step_and_each_epoch(void **state)
{
    test_env *t = *state;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int steps = 0, epochs = 0;
    assert_ok(test_run(t, test_run_config(t, "a", NULL), NULL, NULL));
    assert_ok(clvi_file_read(t->ctx, test_path(t, "a/metrics.jsonl"), 1 << 24, &bytes, &size));
    for (char *line = (char *)bytes, *end; (end = strchr(line, '\n')); line = end + 1) {
        json_t *object = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(object);
        const char *kind = json_string_value(json_object_get(object, "kind"));
        assert_non_null(kind);
        const bool epoch = !strcmp(kind, "epoch");
        static const char *const numbers[] = {
            "train/loss", "train/lr", "train/pretext_top1", "train/grad_norm", "train/queue_fill", "train/queue_age",
            "health/std", "health/eff_rank", "scores/positive_mean", "train/time_step",
        };
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
            if (!json_is_number(json_object_get(object, numbers[i])))
                fail_msg("no number '%s' in %s", numbers[i], kind);
        if (epoch) {
            assert_int_equal(json_integer_value(json_object_get(object, "epoch")), ++epochs);
            assert_true(json_is_number(json_object_get(object, "val/knn_top1")));
            const json_t *counted = json_object_get(object, "scores/positive_histogram");
            assert_int_equal(json_array_size(counted), CLV_SCORE_BINS);
            int64_t sum = 0;
            for (size_t i = 0; i < json_array_size(counted); i++) sum += json_integer_value(json_array_get(counted, i));
            assert_int_equal(sum, 4 * 16);        /* logged steps 1, 4, 7, 10 of 16 queries each */
        } else {
            static const int at[] = { 1, 4, 7, 10, 11, 14, 17, 20 };
            assert_true(steps < 8);
            assert_int_equal(json_integer_value(json_object_get(object, "total_step")), at[steps]);
            steps++;
        }
        json_decref(object);
    }
    assert_int_equal(steps, 8);
    assert_int_equal(epochs, 2);
    clvi_free(t->ctx, bytes);
}

static void the_queue_is_told_to_fill_up_and_its_rows_to_age(void **state)
{
    test_env *t = *state;
    clv_config *config = test_run_config(t, "a", "queue-init", "empty", "epochs", "1", "print-freq", "1", NULL);
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(test_run(t, config, NULL, NULL));
    assert_ok(clvi_file_read(t->ctx, test_path(t, "a/metrics.jsonl"), 1 << 24, &bytes, &size));
    static const double fill[] = { 0.25, 0.5, 0.75, 1, 1 }, age[] = { 0, 0.5, 1, 1.5, 1.5 };    /* 64 rows, 16 a step */
    char *line = (char *)bytes;
    for (int i = 0; i < 5; i++) {
        char *end = strchr(line, '\n');
        json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);
        assert_near(json_number_value(json_object_get(object, "train/queue_fill")), fill[i], 1e-9);
        assert_near(json_number_value(json_object_get(object, "train/queue_age")), age[i], 1e-9);
        json_decref(object);
        line = end + 1;
    }
    clvi_free(t->ctx, bytes);
}

TEST_MAIN(TEST(training_and_validation_are_two_lists_or_two_parts),
          TEST(settings_that_do_not_fit_the_data_are_refused), TEST(settings_that_cannot_act_are_refused),
          TEST(what_a_stronger_source_switches_off_is_left_alone), TEST(recipes_ask_for_nothing_that_cannot_act),
          TEST(without_labels_a_run_goes_on_and_says_what_it_leaves_out),
          TEST(a_collapse_is_told_once_an_epoch_or_ends_the_run),
          TEST(the_log_has_a_line_for_each_logged_step_and_each_epoch),
          TEST(the_queue_is_told_to_fill_up_and_its_rows_to_age))
