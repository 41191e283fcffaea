/* test_views.c: training whose views the device makes (aug-device gpu) has the bits of training whose views the host
 * makes, of pictures that travel whole, cut out or reduced; its steps are one copy and one launch; it goes on where the
 * other stopped; what it cannot do is said. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include "tests/support/pictures.h"
#include "tests/support/train.h"
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* device/cuda/emu.h, for C */
typedef struct counts { int64_t launches, copies, plays, sends, waits; } counts;
extern counts clvi_emu_count(clvi_device *device);

enum { MORE = 9, STEPS = 32 };

typedef struct trial {
    const char *data, *what[MORE][2];
    int         plays;                  /* recordings that a steady step is: a batch in parts has some */
} trial;

static const trial trials[] = {
    { "grey", { { "aug", "glyphs" }, { "size", "16" }, { "method", "moco" }, { "moco-k", "64" }, { "bn-splits", "2" } },
      1 },
    { "grey", { { "aug", "glyphs" }, { "size", "8" }, { "method", "moco" }, { "moco-k", "64" }, { "bn-splits", "4" },
                { "symmetric", "true" }, { "bank", "labelled" }, { "queue-mask", "class" }, { "clip-grad", "0.5" } },
      1 },
    { "rgb", { { "aug", "byol-1" }, { "aug2", "byol-2" }, { "size", "16" }, { "method", "byol" },
               { "optimizer", "adamw" }, { "ema-decay", "0.9" } }, 1 },
    { "rgb", { { "aug", "random-resized-crop; random-erasing mode=noise p=1; normalize mean=0.4,0.5,0.6 std=0.2" },
               { "size", "12" }, { "method", "supervised" }, { "workers", "0" } }, 1 },
    { "rgb", { { "aug", "moco-cifar" }, { "size", "16" }, { "method", "supervised" }, { "mixup-alpha", "0.4" },
               { "cutmix-alpha", "1" } }, 1 },
    { "folder", { { "aug", "byol-1" }, { "aug2", "byol-2" }, { "size", "16" }, { "method", "mocov3" },
                  { "workers", "3" } }, 1 },
    { "folder", { { "aug", "moco-v2" }, { "size", "24" }, { "method", "simclr" }, { "exact-decode", "true" } }, 1 },
    { "rgb", { { "aug", "moco-v2" }, { "size", "16" }, { "method", "moco" }, { "moco-k", "64" }, { "bn-splits", "2" },
               { "micro-batch-size", "8" } }, 4 + 3 * 2 },
    { "folder", { { "aug", "byol-1" }, { "size", "16" }, { "method", "simclr" }, { "micro-batch-size", "4" } },
      3 + 2 * 4 },
};

/* Sides from 20 to 90 pixels, one of 300: reduced when it is decoded, cut out by the host. */
static void make_folder(test_env *t)
{
    for (int c = 0; c < 2; c++) {
        char path[64];
        snprintf(path, sizeof path, "folder/%c", 'a' + c);
        if (c == 0) assert_int_equal(mkdir(test_path(t, "folder"), 0777), 0);
        assert_int_equal(mkdir(test_path(t, path), 0777), 0);
        for (int i = 0; i < 40; i++) {
            const int height = i == 7 ? 300 : 20 + 7 * (i % 11), width = i == 7 ? 400 : 24 + 5 * (i % 9);
            snprintf(path, sizeof path, "folder/%c/%d.%s", 'a' + c, i, i % 5 ? "jpg" : "png");
            if (i % 5) picture_write_jpeg(test_path(t, path), 40 * c + i, height, width);
            else picture_write_png(test_path(t, path), 40 * c + i, height, width);
        }
    }
}

static void make_data(test_env *t, const char *data)
{
    if (!strcmp(data, "grey")) clv_config_destroy(test_run_config(t, "unused", NULL));      /* it makes data.h5 */
    else if (!strcmp(data, "folder") && !test_has_file(t, "folder")) make_folder(t);
    else if (!strcmp(data, "rgb") && !test_has_file(t, "rgb.h5"))
        picture_write_h5(t, test_path(t, "rgb.h5"), "", 80, 20, 18, 3, true);
}

/* One epoch of five or ten steps of sixteen images. */
static clv_config *config_of(test_env *t, const trial *of, const char *aug_device, const char *folder)
{
    static const char *const all[][2] = {
        { "arch", "resnet8" }, { "width", "4" }, { "batch-size", "16" }, { "lr", "0.05" }, { "cos", "true" },
        { "epochs", "2" }, { "stop-epoch", "1" }, { "seed", "5" }, { "knn-freq", "0" }, { "print-freq", "100" },
    };
    const bool grey = !strcmp(of->data, "grey"), rgb = !strcmp(of->data, "rgb");
    clv_config *c = NULL;
    make_data(t, of->data);
    assert_ok(clv_config_create(t->ctx, &c));
    assert_ok(clv_config_set(c, "data", test_path(t, grey ? "data.h5" : rgb ? "rgb.h5" : "folder")));
    assert_ok(clv_config_set(c, "results-dir", test_path(t, folder)));
    assert_ok(clv_config_set(c, "aug-device", aug_device));
    for (size_t i = 0; i < CLVI_COUNT(all); i++) assert_ok(clv_config_set(c, all[i][0], all[i][1]));
    for (int i = 0; i < MORE && of->what[i][0]; i++)
        assert_ok(clv_config_set(c, of->what[i][0], of->what[i][1]));
    return c;
}

/* ---- a run ---- */

typedef struct watch {
    clv_context *ctx;
    int          plays, steps, steady;  /* steady: of one copy and so many launches */
    double       loss[STEPS];
} watch;

static bool see(const clv_progress *p, void *user)
{
    watch *w = user;
    if (p->kind != CLV_PROGRESS_STEP) return true;
    if (w->steps < STEPS) w->loss[w->steps] = p->loss;
    w->steps++;
    if (!test_device_is_emulated()) return true;
    const counts c = clvi_emu_count(w->ctx->device);
    w->steady += c.plays == w->plays && c.sends == 1 && c.launches == 0 && c.copies == 0 && c.waits == 0;
    return true;
}

static watch run(test_env *t, clv_config *c, int plays)
{
    watch w = { .ctx = test_device_context(t), .plays = plays };
    assert_ok(test_run_in(w.ctx, c, see, &w));
    clv_context_destroy(w.ctx);
    return w;
}

static void views_of_the_device_train_to_the_bits_of_the_hosts(void **state)
{
    test_env *t = *state;
    for (size_t i = 0; i < CLVI_COUNT(trials); i++) {
        static const char *const where[] = { "cpu", "gpu" };
        char folder[2][32], file[2][64];
        watch w[2];
        for (int d = 0; d < 2; d++) {
            snprintf(folder[d], sizeof folder[d], "%s%zu", where[d], i);
            snprintf(file[d], sizeof file[d], "%s/last.h5", folder[d]);
            w[d] = run(t, config_of(t, &trials[i], where[d], folder[d]), trials[i].plays);
        }
        assert_true(w[0].steps >= 5);
        assert_int_equal(w[0].steps, w[1].steps);
        for (int s = 0; s < w[0].steps; s++)
            if (memcmp(&w[0].loss[s], &w[1].loss[s], sizeof(double)) != 0)
                fail_msg("trial %zu, step %d: a loss of %.17g, of the host's views %.17g", i, s + 1, w[1].loss[s],
                         w[0].loss[s]);
        if (!test_same_file(t, file[0], file[1])) fail_msg("trial %zu: other weights", i);
        if (!test_device_is_emulated()) continue;
        assert_int_equal(w[1].steady, w[0].steady);
        if (w[1].steady == 0) fail_msg("trial %zu: no step was one copy and %d launches", i, trials[i].plays);
    }
}

/* Who makes the views may change on the way. */
static void a_run_goes_on_with_views_of_the_other(void **state)
{
    test_env *t = *state;
    static const char *const where[][2] = { { "gpu", "gpu" }, { "cpu", "gpu" }, { "gpu", "cpu" } };
    clv_config *c = config_of(t, &trials[2], "gpu", "at once");
    assert_ok(clv_config_set(c, "stop-epoch", "0"));
    (void)run(t, c, 1);
    for (size_t i = 0; i < CLVI_COUNT(where); i++) {
        char folder[16], file[32];
        snprintf(folder, sizeof folder, "twice%zu", i);
        snprintf(file, sizeof file, "%s/last.h5", folder);
        (void)run(t, config_of(t, &trials[2], where[i][0], folder), 1);
        c = config_of(t, &trials[2], where[i][1], folder);
        assert_ok(clv_config_set(c, "stop-epoch", "0"));
        assert_ok(clv_config_set(c, "resume", "auto"));
        (void)run(t, c, 1);
        assert_true(test_same_file(t, file, "at once/last.h5"));
    }
}

/* ---- what there is not ---- */

static void refuse(test_env *t, clv_context *ctx, const char *name, const char *value, const char *why)
{
    clv_config *c = config_of(t, &trials[3], "gpu", "refused");
    clv_trainer *trainer = NULL;
    if (name) assert_ok(clv_config_set(c, name, value));
    if (name && !strcmp(value, "flow_matching")) assert_ok(clv_config_set(c, "arch", "uvit"));
    assert_fails(clv_trainer_create(ctx, c, NULL, NULL, &trainer), CLV_ERR_INVALID, why);
    clv_config_destroy(c);
}

static void what_cannot_be_done_is_said(void **state)
{
    test_env *t = *state;
    clv_context *device = test_device_context(t);
    refuse(t, t->ctx, NULL, NULL, "aug-device 'gpu' cannot act with device 'cpu'");
    refuse(t, device, "method", "flow_matching", "aug-device 'gpu' cannot act with method 'flow_matching'");
    refuse(t, device, "aug", "random-resized-crop; normalize mean=0.5,0.5 std=1", "mean '0.5,0.5'");
    clv_context_destroy(device);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(views_of_the_device_train_to_the_bits_of_the_hosts),
        TEST(a_run_goes_on_with_views_of_the_other),
        TEST(what_cannot_be_done_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
