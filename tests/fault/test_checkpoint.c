/* test_checkpoint.c: a run survives damaged checkpoints, full disks and numbers that are not finite, and says what is
 * wrong with a checkpoint that cannot be used. */
#include "tests/support/train.h"
#include "core/file.h"
#include "core/h5.h"
#include "train/trainer.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what a run says, and stopping it ---- */

typedef struct listener {
    int64_t stop_at;          /* total step; 0: never */
    char    notes[4096];
    int     steps;
} listener;

static bool listens(const clv_progress *p, void *user)
{
    listener *l = user;
    const size_t length = strlen(l->notes);
    if (p->kind == CLV_PROGRESS_NOTE) snprintf(l->notes + length, sizeof l->notes - length, "%s\n", p->note);
    if (p->kind == CLV_PROGRESS_STEP) l->steps++;
    return p->kind != CLV_PROGRESS_STEP || p->total_step != l->stop_at;
}

/* A run of two epochs that is stopped at step 15 with last.h5 (step 15), previous.h5 (step 12) and
 * checkpoint_0000.h5. */
static void stopped_run(test_env *t, const char *name)
{
    listener l = { .stop_at = 15 };
    assert_int_equal(test_run(t, test_run_config(t, name, "save-steps", "4", "save-freq", "1", NULL), listens, &l),
                     CLV_STOPPED);
}

static clv_status resume(test_env *t, const char *name, listener *l)
{
    *l = (listener){ .stop_at = 0 };
    return test_run(t, test_run_config(t, name, "save-steps", "4", "save-freq", "1", "resume", "auto", NULL), listens,
                    l);
}

static void whole_run(test_env *t)
{
    assert_ok(test_run(t, test_run_config(t, "whole", "save-steps", "4", "save-freq", "1", NULL), NULL, NULL));
}

static void assert_says(const listener *l, const char *text)
{
    if (!strstr(l->notes, text)) fail_msg("want a note with \"%s\", got:\n%s", text, l->notes);
}

static char *in(char path[64], const char *directory, const char *name)
{
    snprintf(path, 64, "%s/%s", directory, name);
    return path;
}

/* ---- damage ---- */

static void a_damaged_last_checkpoint_is_named_and_the_one_before_is_used(void **state)
{
    test_env *t = *state;
    static const long places[] = { 3, 20, 600, 40000, -1 };      /* magic, checksum, superblock, data, end */
    whole_run(t);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char name[8], path[64];
        listener l;
        snprintf(name, sizeof name, "d%d", (int)i);
        stopped_run(t, name);
        test_damage_file(t, in(path, name, "last.h5"), places[i]);
        assert_ok(resume(t, name, &l));
        assert_says(&l, "damaged checkpoint skipped");
        assert_says(&l, "last.h5");
        assert_says(&l, "previous.h5': epoch 2, step 3");
        assert_int_equal(l.steps, 8);
        assert_true(test_same_file(t, "whole/last.h5", in(path, name, "last.h5")));
    }
}

static void without_last_and_previous_a_numbered_checkpoint_is_used(void **state)
{
    test_env *t = *state;
    listener l;
    whole_run(t);
    stopped_run(t, "a");
    assert_int_equal(remove(test_path(t, "a/last.h5")), 0);
    test_damage_file(t, "a/previous.h5", -1);
    assert_ok(resume(t, "a", &l));
    assert_says(&l, "checkpoint_0000.h5': epoch 2, step 1");
    assert_true(test_same_file(t, "whole/last.h5", "a/last.h5"));
    assert_true(test_same_file(t, "whole/checkpoint_0001.h5", "a/checkpoint_0001.h5"));
}

static void weights_from_a_damaged_checkpoint_are_refused_as_such(void **state)
{
    test_env *t = *state;
    char path[512];
    assert_ok(test_run(t, test_run_config(t, "a", "epochs", "1", NULL), NULL, NULL));
    test_damage_file(t, "a/last.h5", -5000);
    snprintf(path, sizeof path, "%s", test_path(t, "a/last.h5"));
    assert_fails(test_run(t, test_run_config(t, "b", "weights", path, NULL), NULL, NULL), CLV_ERR_FORMAT,
                 "damaged: checksum");
}

static void a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(void **state)
{
    test_env *t = *state;
    listener l;
    stopped_run(t, "a");
    test_damage_file(t, "a/last.h5", 5000);
    test_damage_file(t, "a/previous.h5", 5000);
    test_damage_file(t, "a/checkpoint_0000.h5", 5000);
    assert_fails(resume(t, "a", &l), CLV_ERR_FORMAT, "every checkpoint is damaged");
    assert_fails(resume(t, "a", &l), CLV_ERR_FORMAT, "checkpoint_0000.h5");
}

static void files_that_are_no_checkpoints_are_named(void **state)
{
    test_env *t = *state;
    char path[512];
    uint8_t *bytes = NULL;
    size_t size = 0;
    stopped_run(t, "a");
    assert_ok(clvi_file_read(t->ctx, test_path(t, "a/last.h5"), 1 << 24, &bytes, &size));
    assert_ok(clvi_file_write(test_path(t, "cut.h5"), bytes, size / 2));
    assert_ok(clvi_file_write(test_path(t, "head.h5"), bytes, 300));
    assert_ok(
        clvi_file_write(test_path(t, "headless.h5"), bytes + 512, size - 512)); /* HDF5, whole, without its seal */
    assert_ok(clvi_file_write(test_path(t, "empty.h5"), "", 0));
    assert_ok(clvi_file_write(test_path(t, "text.h5"), "this is no HDF5 file at all, but it is long enough", 50));
    clvi_free(t->ctx, bytes);
    static const char *const files[][2] = {
        { "cut.h5", "damaged" },           { "head.h5", "damaged" },       { "headless.h5", "no checkpoint" },
        { "empty.h5", "no checkpoint" },   { "text.h5", "no checkpoint" }, { "data.h5", "no checkpoint" },
        { "a/examples.h5", "no checkpoint" },
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s", test_path(t, files[i][0]));
        assert_fails(test_run(t, test_run_config(t, "b", "resume", path, NULL), NULL, NULL), CLV_ERR_FORMAT,
                     files[i][1]);
        assert_fails(test_run(t, test_run_config(t, "b", "resume", path, NULL), NULL, NULL), CLV_ERR_FORMAT,
                     files[i][0]);
        clv_encoder *encoder = NULL;
        clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
        desc.checkpoint = path;
        assert_fails(clv_encoder_open(t->ctx, &desc, &encoder), CLV_ERR_FORMAT, files[i][1]);
        assert_null(encoder);
    }
    snprintf(path, sizeof path, "%s", test_path(t, "absent.h5"));
    assert_fails(test_run(t, test_run_config(t, "b", "resume", path, NULL), NULL, NULL), CLV_ERR_IO, "absent.h5");
    assert_false(test_has_file(t, "b"));
}

static void a_checkpoint_of_another_configuration_is_refused_by_option(void **state)
{
    test_env *t = *state;
    static const char *const others[][3] = {
        { "lr", "0.06", "lr '0.05', this run says '0.06'" },
        { "width", "8", "width" },
        { "seed", "6", "seed" },
        { "moco-k", "128", "moco-k" },
        { "epochs", "3", "epochs" },
        { "mlp", "true", "mlp" },
        { "aug", "eval-glyphs", "aug" },
    };
    stopped_run(t, "a");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_fails(
            test_run(t, test_run_config(t, "a", "resume", "auto", others[i][0], others[i][1], NULL), NULL, NULL),
            CLV_ERR_INVALID, others[i][2]);
}

/* ---- the run directory ---- */

static void an_earlier_run_is_not_overwritten(void **state)
{
    test_env *t = *state;
    stopped_run(t, "a");
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(clvi_file_read(t->ctx, test_path(t, "a/last.h5"), 1 << 24, &bytes, &size));
    assert_ok(clvi_file_write(test_path(t, "copy.h5"), bytes, size));
    clvi_free(t->ctx, bytes);
    assert_fails(test_run(t, test_run_config(t, "a", NULL), NULL, NULL), CLV_ERR_INVALID, "resume: auto");
    assert_true(test_same_file(t, "a/last.h5", "copy.h5"));
}

static void a_directory_somebody_trains_in_is_refused(void **state)
{
    test_env *t = *state;
    assert_ok(clvi_mkdirs(test_path(t, "a")));
    const int fd = open(test_path(t, "a"), O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    assert_fails(test_run(t, test_run_config(t, "a", NULL), NULL, NULL), CLV_ERR_IO, "in use");
    close(fd);
    assert_ok(test_run(t, test_run_config(t, "a", "epochs", "1", NULL), NULL, NULL));
}

static void temporary_files_of_killed_trainers_are_removed_and_no_others(void **state)
{
    test_env *t = *state;
    static const char *const stale[] = {
        "a/next.h5.tmp-4711-0",     "a/last.h5.tmp-1-12",
        "a/best.h5.tmp-99-1",       "a/examples.h5.tmp-4-3",
        "a/config.yaml.tmp-4711-0", "a/metrics.jsonl.tmp-4711-3",
        "a/log.csv.tmp-4711-4",     "a/checkpoint_0012.h5.tmp-4711-17",
    };
    static const char *const kept[] = {
        "a/notes.tmp-1-2", "a/mine.h5.tmp-4711-0", "a/next.h5.tmp-4711", "a/next.h5.tmp-a-b", "a/next.h5.tmp-1-2x",
        "a/checkpoint_x.h5.tmp-1-2", "a/.tmp-1-2", "a/results.csv",
    };
    assert_ok(clvi_mkdirs(test_path(t, "a")));
    for (size_t i = 0; i < sizeof stale / sizeof stale[0]; i++)
        assert_ok(clvi_file_write(test_path(t, stale[i]), "x", 1));
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) assert_ok(clvi_file_write(test_path(t, kept[i]), "x", 1));
    assert_ok(test_run(t, test_run_config(t, "a", "epochs", "1", NULL), NULL, NULL));
    for (size_t i = 0; i < sizeof stale / sizeof stale[0]; i++)
        if (test_has_file(t, stale[i])) fail_msg("%s is still there", stale[i]);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (!test_has_file(t, kept[i])) fail_msg("%s is gone", kept[i]);
}

static void a_directory_that_cannot_be_made_is_named(void **state)
{
    test_env *t = *state;
    clv_config *config = test_run_config(t, "a", NULL);
    assert_ok(clvi_file_write(test_path(t, "file"), "x", 1));
    assert_ok(clv_config_set(config, "results-dir", test_path(t, "file/run")));
    assert_fails(test_run(t, config, NULL, NULL), CLV_ERR_IO, "file");
    if (geteuid() == 0) return;                  /* root writes wherever it likes */
    assert_ok(clvi_mkdirs(test_path(t, "locked")));
    assert_int_equal(chmod(test_path(t, "locked"), 0555), 0);
    assert_fails(test_run(t, test_run_config(t, "locked", NULL), NULL, NULL), CLV_ERR_IO, "locked");
    assert_fails(test_run(t, test_run_config(t, "locked/run", NULL), NULL, NULL), CLV_ERR_IO, "locked");
    assert_int_equal(chmod(test_path(t, "locked"), 0755), 0);
}

/* ---- writing fails ---- */

/* From step `at` on, files may grow to 60,000 bytes: enough for the log, too little for a checkpoint. */
typedef struct full_disk {
    int64_t at;
    int     steps;
} full_disk;

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static bool fills_the_disk(const clv_progress *p, void *user)
{
    full_disk *d = user;
    if (p->kind != CLV_PROGRESS_STEP) return true;
    d->steps++;
    if (p->total_step == d->at) limit_files(60000);
    return true;
}

static void a_full_disk_leaves_the_checkpoints_before_it_whole(void **state)
{
    test_env *t = *state;
    char last[512];
    full_disk d = { .at = 13 };
    listener l;
    whole_run(t);
    signal(SIGXFSZ, SIG_IGN);
    const clv_status st = test_run(t, test_run_config(t, "a", "save-steps", "4", "save-freq", "1", NULL),
                                   fills_the_disk, &d);
    limit_files(RLIM_INFINITY);
    signal(SIGXFSZ, SIG_DFL);
    assert_fails(st, CLV_ERR_IO, "next.h5");
    assert_int_equal(d.steps, 16);               /* the save after step 16 failed */
    assert_true(test_has_file(t, "a/last.h5") && test_has_file(t, "a/previous.h5"));
    snprintf(last, sizeof last, "%s", test_path(t, "a/last.h5"));
    assert_true(clvi_h5_is_sealed(last));
    assert_ok(resume(t, "a", &l));
    assert_says(&l, "last.h5': epoch 2, step 3");
    assert_true(test_same_file(t, "whole/last.h5", "a/last.h5"));
}

static void numbers_that_are_not_finite_end_the_run_and_reach_no_checkpoint(void **state)
{
    test_env *t = *state;
    listener l = { .stop_at = 0 };
    const clv_status st = test_run(
        t, test_run_config(t, "a", "lr", "1e6", "weight-decay", "1e6", "save-steps", "1", "cos", "false", NULL),
        listens, &l);
    assert_fails(st, CLV_ERR_NUMERIC, "not finite");
    assert_true(strchr(clv_error_message(), '\'') != NULL || strstr(clv_error_message(), "loss") != NULL);
    assert_true(l.steps >= 1 && l.steps < 12);
    assert_true(test_has_file(t, "a/last.h5"));
    clv_encoder *encoder = NULL;
    clv_dataset *ds = NULL;
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    static float rows[16 * 32];
    char path[512];
    desc.batch_size = 16;
    snprintf(path, sizeof path, "%s", test_path(t, "a/last.h5"));
    desc.checkpoint = path;
    assert_ok(clv_encoder_open(t->ctx, &desc, &encoder));
    assert_true(clv_encoder_dim(encoder) <= 32);
    const clv_view features = clv_view_2d(rows, CLV_F32, 16, clv_encoder_dim(encoder));
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "data.h5"), NULL, &ds));
    assert_ok(clv_encoder_embed(encoder, ds, 0, 16, &features, NULL, NULL));
    clv_dataset_destroy(ds);
    clv_encoder_destroy(encoder);
}

/* An update can leave the finite numbers at the very step after which a checkpoint is due. */
static void a_network_that_is_not_finite_is_not_saved(void **state)
{
    test_env *t = *state;
    clv_trainer *trainer = NULL;
    clv_config *config = test_run_config(t, "a", NULL);
    assert_ok(clvi_mkdirs(test_path(t, "a")));
    assert_ok(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer));
    clv_config_destroy(config);
    assert_ok(clvi_save_last(trainer));
    clv_params *params = clvi_method_params(trainer->method, false);
    float bias[16] = { [3] = INFINITY };
    const clv_view view = clv_view_1d(bias, CLV_F32, 16);
    assert_ok(clv_params_write(params, clv_params_find(params, "fc.bias"), &view));
    assert_fails(clvi_save_last(trainer), CLV_ERR_NUMERIC, "parameter 'fc.bias' is not finite");
    assert_fails(clvi_save_best(trainer), CLV_ERR_NUMERIC, "fc.bias");
    assert_true(test_has_file(t, "a/last.h5"));
    assert_false(test_has_file(t, "a/previous.h5"));
    assert_false(test_has_file(t, "a/best.h5"));
    clv_trainer_destroy(trainer);
}

TEST_MAIN(TEST(a_network_that_is_not_finite_is_not_saved),
          TEST(a_damaged_last_checkpoint_is_named_and_the_one_before_is_used),
          TEST(without_last_and_previous_a_numbered_checkpoint_is_used),
          TEST(weights_from_a_damaged_checkpoint_are_refused_as_such),
          TEST(a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew),
          TEST(files_that_are_no_checkpoints_are_named),
          TEST(a_checkpoint_of_another_configuration_is_refused_by_option), TEST(an_earlier_run_is_not_overwritten),
          TEST(a_directory_somebody_trains_in_is_refused),
          TEST(temporary_files_of_killed_trainers_are_removed_and_no_others),
          TEST(a_directory_that_cannot_be_made_is_named), TEST(a_full_disk_leaves_the_checkpoints_before_it_whole),
          TEST(numbers_that_are_not_finite_end_the_run_and_reach_no_checkpoint))
