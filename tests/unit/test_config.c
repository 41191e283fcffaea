/* test_config.c: where settings come from, and what is said about wrong ones. */
#include "tests/support/test.h"
#include "core/file.h"
#include "train/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static clv_config *make(test_env *t)
{
    clv_config *config = NULL;
    assert_ok(clv_config_create(t->ctx, &config));
    return config;
}

static const char *write(test_env *t, const char *text)
{
    const char *path = test_path(t, "run.yaml");
    assert_ok(clvi_file_write(path, text, strlen(text)));
    return path;
}

static void assert_value(const clv_config *config, const char *name, const char *want)
{
    char text[256];
    assert_ok(clv_config_get(config, name, text, sizeof text));
    assert_string_equal(text, want);
}

static void defaults_are_moco_v1s(void **state)
{
    clv_config *config = make(*state);
    assert_value(config, "arch", "resnet50");
    assert_value(config, "moco-k", "65536");
    assert_value(config, "moco-m", "0.999");
    assert_value(config, "moco-t", "0.07");
    assert_value(config, "lr", "0.03");
    assert_value(config, "schedule", "120,160");
    clv_config_destroy(config);
}

static void a_file_an_environment_and_a_flag_override_in_this_order(void **state)
{
    test_env *t = *state;
    clv_config *config = make(t);
    assert_ok(clv_config_load(config, write(t, "lr: 0.5 # high\nepochs: 7\nmoco_dim: 64\n")));
    setenv("CLEAVE_EPOCHS", "9", 1);
    setenv("CLEAVE_GRAPH", "0", 1);                 /* the library's, no option */
    setenv("CLEAVE_CACHE_DIR", "plans", 1);
    const clv_status st = clv_config_env(config);
    unsetenv("CLEAVE_EPOCHS");
    unsetenv("CLEAVE_GRAPH");
    unsetenv("CLEAVE_CACHE_DIR");
    assert_ok(st);
    assert_ok(clv_config_set(config, "moco-dim", "32"));
    assert_value(config, "lr", "0.5");
    assert_value(config, "epochs", "9");
    assert_value(config, "moco-dim", "32");
    clv_config_destroy(config);
}

static void names_that_users_type_from_memory_work(void **state)
{
    clv_config *config = make(*state);
    assert_ok(clv_config_set(config, "wd", "0.5"));
    assert_ok(clv_config_set(config, "learning_rate", "0.25"));
    assert_ok(clv_config_set(config, "batch_size", "64"));
    assert_value(config, "weight-decay", "0.5");
    assert_value(config, "lr", "0.25");
    assert_value(config, "batch-size", "64");
    clv_config_destroy(config);
}

static void an_unknown_key_is_an_error_with_the_nearest_name(void **state)
{
    test_env *t = *state;
    clv_config *config = make(t);
    assert_fails(clv_config_load(config, write(t, "lr: 0.1\nmoco-kk: 5\n")), CLV_ERR_INVALID, "line 2");
    assert_fails(clv_config_load(config, write(t, "moco-kk: 5\n")), CLV_ERR_INVALID, "moco-k");
    assert_fails(clv_config_set(config, "epoch", "5"), CLV_ERR_INVALID, "epochs");
    setenv("CLEAVE_NO_SUCH_THING", "1", 1);
    const clv_status st = clv_config_env(config);
    unsetenv("CLEAVE_NO_SUCH_THING");
    assert_fails(st, CLV_ERR_INVALID, "environment");
    clv_config_destroy(config);
}

static void values_out_of_range_and_of_the_wrong_type_are_refused(void **state)
{
    test_env *t = *state;
    clv_config *config = make(t);
    assert_fails(clv_config_load(config, write(t, "epochs: many\n")), CLV_ERR_INVALID, "epochs");
    assert_fails(clv_config_load(config, write(t, "batch-size: 0\n")), CLV_ERR_INVALID, "batch-size");
    assert_fails(clv_config_load(config, write(t, "lr: nan\n")), CLV_ERR_INVALID, "lr");
    assert_fails(clv_config_load(config, write(t, "stem: huge\n")), CLV_ERR_INVALID, "cifar");
    clv_config_destroy(config);
}

static void a_file_that_is_no_flat_mapping_is_refused_by_line(void **state)
{
    test_env *t = *state;
    clv_config *config = make(t);
    assert_fails(clv_config_load(config, write(t, "- a\n- b\n")), CLV_ERR_FORMAT, "mapping");
    assert_fails(clv_config_load(config, write(t, "lr: 1\nmoco:\n  k: 5\n")), CLV_ERR_FORMAT, "line 3");
    assert_fails(clv_config_load(config, write(t, "lr: 1\nlr: 2\n")), CLV_ERR_FORMAT, "set twice");
    assert_fails(clv_config_load(config, write(t, "wd: 1\nweight-decay: 2\n")), CLV_ERR_FORMAT, "set twice");
    assert_fails(clv_config_load(config, write(t, "lr: [1, 2]\n")), CLV_ERR_FORMAT, "one plain value");
    assert_fails(clv_config_load(config, write(t, "lr: \"unclosed\n")), CLV_ERR_FORMAT, "line");
    assert_fails(clv_config_load(config, "/nonexistent/run.yaml"), CLV_ERR_IO, "run.yaml");
    assert_ok(clv_config_load(config, write(t, "# nothing\n")));
    clv_config_destroy(config);
}

static void what_is_saved_loads_to_the_same(void **state)
{
    test_env *t = *state;
    clv_config *a = make(t), *b = make(t);
    char path[512], first[64], second[64];
    snprintf(path, sizeof path, "%s", test_path(t, "saved.yaml"));
    assert_ok(clv_config_set(a, "lr", "0.1"));
    assert_ok(clv_config_set(a, "data", "a \"strange\" path: with # signs\\"));
    assert_ok(clv_config_set(a, "aug", "flip p=0.3;\nnormalize"));
    assert_ok(clv_config_set(a, "symmetric", "yes"));
    assert_ok(clv_config_save(a, path));
    assert_ok(clv_config_load(b, path));
    const clv_option_info *o;
    for (int i = 0; (o = clv_train_option_at(i)); i++) {
        assert_ok(clv_config_get(a, o->name, first, sizeof first));
        assert_ok(clv_config_get(b, o->name, second, sizeof second));
        assert_string_equal(first, second);
    }
    clv_config_destroy(a);
    clv_config_destroy(b);
}

TEST_MAIN(TEST(defaults_are_moco_v1s), TEST(a_file_an_environment_and_a_flag_override_in_this_order),
          TEST(names_that_users_type_from_memory_work), TEST(an_unknown_key_is_an_error_with_the_nearest_name),
          TEST(values_out_of_range_and_of_the_wrong_type_are_refused), TEST(a_file_that_is_no_flat_mapping_is_refused_by_line),
          TEST(what_is_saved_loads_to_the_same))
