/* test_train_api.c: functions of <cleave/train.h> that the command alone would use: what they give and refuse. */
#include "tests/support/test.h"
#include "tests/support/train.h"
#include "core/file.h"

#include <cleave/train.h>
#include <stdio.h>
#include <string.h>

static void aliases_are_names_of_options(void **state)
{
    test_env *t = *state;
    const char *alias = NULL, *name = NULL;
    char value[16];
    clv_config *config = NULL;
    bool weight_decay = false;
    int n = 0;
    for (; clv_train_alias_at(n, &alias, &name); n++) {
        bool known = false;
        for (int i = 0; clv_train_option_at(i); i++) known = known || !strcmp(clv_train_option_at(i)->name, name);
        if (!known) fail_msg("alias '%s' of '%s', which is no option", alias, name);
        weight_decay = weight_decay || (!strcmp(alias, "wd") && !strcmp(name, "weight-decay"));
    }
    assert_ok(clv_config_create(t->ctx, &config));
    assert_ok(clv_config_set(config, "wd", "0.25"));
    assert_ok(clv_config_get(config, "weight-decay", value, sizeof value));
    assert_string_equal(value, "0.25");
    clv_config_destroy(config);
    assert_true(weight_decay && !clv_train_alias_at(-1, &alias, &name) && !clv_train_alias_at(n, &alias, &name));
    assert_null(clv_train_option_at(-1));
}

static void a_run_that_is_alone_is_the_first_rank(void **state)
{
    test_env *t = *state;
    clv_trainer *trainer = NULL;
    clv_config *config = test_run_config(t, "run", NULL);
    assert_ok(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer));
    assert_int_equal(clv_trainer_rank(trainer), 0);
    assert_int_equal(clv_trainer_rank(NULL), 0);
    assert_fails(clv_trainer_describe(trainer, NULL, NULL), CLV_ERR_INVALID, "an argument is NULL");
    assert_fails(clv_trainer_run(NULL), CLV_ERR_INVALID, "trainer must not be NULL");
    clv_trainer_destroy(trainer);
    clv_trainer_destroy(NULL);
    clv_config_destroy(config);
}

static void an_encoder_knows_its_run_and_is_saved_by_name(void **state)
{
    test_env *t = *state;
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    clv_encoder *encoder = NULL;
    char width[16];
    float first[16 * 64] = { 0 }, again[16 * 64] = { 0 };
    assert_ok(test_run(t, test_run_config(t, "run", "epochs", "1", NULL), NULL, NULL));
    desc.checkpoint = test_path(t, "run");
    test_embed(t, &desc, first);
    assert_ok(clv_encoder_open(t->ctx, &desc, &encoder));
    assert_ok(clv_config_get(clv_encoder_config(encoder), "width", width, sizeof width));
    assert_string_equal(width, "4");
    assert_fails(clv_encoder_save(encoder, test_path(t, "encoder.pth")), CLV_ERR_INVALID,
                 "expected a name that ends in .safetensors, .onnx or .h5");
    assert_fails(clv_encoder_save(encoder, test_path(t, "no/folder.h5")), CLV_ERR_IO, "no/folder.h5");
    assert_ok(clv_encoder_save(encoder, test_path(t, "encoder.h5")));
    clv_encoder_destroy(encoder);
    desc.checkpoint = test_path(t, "encoder.h5");
    test_embed(t, &desc, again);
    assert_memory_equal(first, again, sizeof first);
}

static void features_are_saved_in_three_forms(void **state)
{
    test_env *t = *state;
    static const char *const names[] = { "f.h5", "f.npy", "f.safetensors" };
    float rows[6] = { 1, 2, 3, 4, 5, 6 };
    const int64_t labels[2] = { 1, -1 }, ids[2] = { 7, 8 };
    const clv_view features = clv_view_2d(rows, CLV_F32, 2, 3), flat = clv_view_1d(rows, CLV_F32, 6);
    const clv_option from[] = { { "checkpoint", "run/best.h5" } };
    for (int i = 0; i < 3; i++) {
        uint8_t *bytes = NULL;
        size_t size = 0;
        assert_ok(clv_features_save(t->ctx, test_path(t, names[i]), &features, i ? NULL : labels, ids, from, 1));
        assert_ok(clvi_file_read(t->ctx, test_path(t, names[i]), 1 << 20, &bytes, &size));
        bool there = false;
        for (size_t at = 0; at + sizeof rows <= size; at++) there = there || !memcmp(bytes + at, rows, sizeof rows);
        if (!there) fail_msg("%s does not hold the rows", names[i]);
        clvi_free(t->ctx, bytes);
        assert_fails(clv_features_save(t->ctx, test_path(t, names[i]), &flat, NULL, ids, NULL, 0), CLV_ERR_SHAPE,
                     "features must be dense float32 [n, D]");
    }
    assert_fails(clv_features_save(t->ctx, test_path(t, "no/f.npy"), &features, NULL, ids, NULL, 0), CLV_ERR_IO,
                 "no/f.npy");
}

static void keep_line(const char *text, void *user)
{
    char *all = user;
    snprintf(all + strlen(all), 8192 - strlen(all), "%s\n", text);
}

static void what_a_file_is_can_be_asked(void **state)
{
    test_env *t = *state;
    static char text[8192];
    text[0] = 0;
    assert_ok(test_run(t, test_run_config(t, "run", "epochs", "1", NULL), NULL, NULL));
    assert_ok(clv_inspect(t->ctx, test_path(t, "run/last.h5"), keep_line, text));
    assert_non_null(strstr(text, "sealed, checksum right"));
    assert_non_null(strstr(text, "cleave-checkpoint-1"));
    assert_fails(clv_inspect(t->ctx, test_path(t, "nothing.h5"), keep_line, text), CLV_ERR_IO, "nothing.h5");
    test_damage_file(t, "run/last.h5", 40000);
    assert_fails(clv_inspect(t->ctx, test_path(t, "run/last.h5"), keep_line, text), CLV_ERR_FORMAT, "last.h5");
}

TEST_MAIN(
    TEST(aliases_are_names_of_options),
    TEST(a_run_that_is_alone_is_the_first_rank),
    TEST(an_encoder_knows_its_run_and_is_saved_by_name),
    TEST(features_are_saved_in_three_forms),
    TEST(what_a_file_is_can_be_asked),
)
