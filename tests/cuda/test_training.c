/* test_training.c: a run on a device takes the steps that the host's takes, and its checkpoint goes on on the host. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include "tests/support/train.h"
#include <math.h>
#include <string.h>

#define STEPS 20

typedef struct losses {
    double loss[STEPS];
    int    count;
} losses;

static bool collect(const clv_progress *p, void *user)
{
    losses *l = user;
    if (p->kind == CLV_PROGRESS_STEP && l->count < STEPS) l->loss[l->count++] = p->loss;
    return true;
}

/* One epoch of ten steps, or all there are; no kNN monitor. */
static clv_config *config_of(test_env *t, const char *folder, const char *method, const char *more, const char *value)
{
    char data[512];
    clv_config *made = test_run_config(t, folder, NULL), *c = NULL;      /* it makes the pictures */
    assert_ok(clv_config_get(made, "data", data, sizeof data));
    clv_config_destroy(made);
    const char *const settings[][2] = {
        { "data", data }, { "results-dir", test_path(t, folder) }, { "method", method }, { "arch", "resnet8" },
        { "width", "4" }, { "aug", "glyphs" }, { "size", "16" }, { "batch-size", "16" }, { "moco-dim", "16" },
        { "epochs", "2" }, { "lr", "0.05" }, { "cos", "true" }, { "seed", "5" }, { "knn-freq", "0" },
        { "print-freq", "1" }, { more, value },
    };
    assert_ok(clv_config_create(t->ctx, &c));
    for (size_t i = 0; i < CLVI_COUNT(settings); i++) assert_ok(clv_config_set(c, settings[i][0], settings[i][1]));
    return c;
}

static const char *const plain[][2] = { { NULL, NULL } };

static void set_all(clv_config *c, const char *const more[][2])
{
    for (int i = 0; more[i][0]; i++) assert_ok(clv_config_set(c, more[i][0], more[i][1]));
}

/* The same arithmetic in another order: the runs part, tenfold a step at these
 * learning rates. */
static void a_run_follows_the_hosts(test_env *t, const char *method, const char *const more[][2])
{
    losses run[2] = { { .count = 0 }, { .count = 0 } };
    clv_context *device = test_device_context(t);
    for (int d = 0; d < 2; d++) {
        clv_config *c = config_of(t, d ? "device" : "host", method, "stop-epoch", "1");
        set_all(c, more);
        assert_ok(d ? test_run_in(device, c, collect, &run[1]) : test_run(t, c, collect, &run[0]));
    }
    assert_true(run[0].count >= 5);
    assert_int_equal(run[1].count, run[0].count);
    double allowed = 1e-5;
    for (int i = 0; i < run[0].count; i++, allowed = fmin(10 * allowed, 0.05))
        assert_near(run[1].loss[i], run[0].loss[i], allowed * (1 + fabs(run[0].loss[i])));
    clv_context_destroy(device);
}

static void simclr_follows_the_hosts(void **state)
{
    a_run_follows_the_hosts(*state, "simclr", plain);
}

/* At a learning rate at which runs part slowly, from a first step that differs by what TF32 rounds. It is not float32
 * under another name. */
static void a_run_in_tf32_follows_the_hosts_in_float32(void **state)
{
    test_env *t = *state;
    losses run[3] = { { .count = 0 } };
    clv_context *device = test_device_context(t);
    for (int d = 0; d < 3; d++) {
        clv_config *c = config_of(t, d == 0 ? "host" : d == 1 ? "fp32" : "tf32", "simclr", "stop-epoch", "1");
        assert_ok(clv_config_set(c, "lr", "1e-4"));
        assert_ok(clv_config_set(c, "precision", d == 2 ? "tf32" : "fp32"));
        assert_ok(d ? test_run_in(device, c, collect, &run[d]) : test_run(t, c, collect, &run[0]));
    }
    assert_true(run[2].count == run[0].count && run[2].count >= 5);
    assert_true(run[2].loss[0] != run[1].loss[0]);
    for (int i = 0; i < run[0].count; i++)
        assert_near(run[2].loss[i], run[0].loss[i], (i ? 1e-2 : 1e-3) * fabs(run[0].loss[i]));
    clv_context_destroy(device);
}

static void byol_follows_the_hosts(void **state)
{
    a_run_follows_the_hosts(*state, "byol", plain);
}

static void rates_of_tensors_and_clipped_gradients_follow_the_hosts(void **state)
{
    static const char *const more[][2] = { { "optimizer", "lars-simclr" }, { "clip-grad", "0.5" }, { NULL, NULL } };
    a_run_follows_the_hosts(*state, "simclr", more);
}

static void a_batch_in_parts_follows_the_hosts(void **state)
{
    static const char *const more[][2] = {
        { "micro-batch-size", "4" }, { "bn-splits", "8" }, { "moco-k", "64" }, { NULL, NULL } };
    a_run_follows_the_hosts(*state, "moco", more);
}

static void a_part_drops_the_paths_of_its_rows_in_the_batch(void **state)
{
    static const char *const more[][2] = {
        { "micro-batch-size", "8" }, { "arch", "vit_small" }, { "width", "12" }, { "patch", "8" }, { "size", "8" },
        { "drop-path", "0.5" }, { "lr", "0.01" }, { NULL, NULL } };
    a_run_follows_the_hosts(*state, "simclr", more);
}

/* Weight decay at this rate multiplies the weights by a million a step. Whether products of what is left are NaN or
 * infinite first, in the loss, the gradient or the update, is for the kernels to say. */
static void a_run_that_is_lost_ends_as_on_the_host(void **state)
{
    static const char *const more[][2] = { { "lr", "1e6" }, { "wd", "1" }, { NULL, NULL } };
    test_env *t = *state;
    losses none = { .count = 0 };
    clv_context *device = test_device_context(t);
    for (int d = 0; d < 2; d++) {
        clv_config *c = config_of(t, d ? "device" : "host", "simclr", "stop-epoch", "1");
        set_all(c, more);
        assert_fails(d ? test_run_in(device, c, collect, &none) : test_run(t, c, collect, &none), CLV_ERR_NUMERIC,
                     " is not finite");
    }
    clv_context_destroy(device);
}

static void a_run_begun_on_the_device_goes_on_on_the_host(void **state)
{
    test_env *t = *state;
    losses first = { .count = 0 }, second = { .count = 0 };
    clv_context *device = test_device_context(t);
    assert_ok(test_run_in(device, config_of(t, "run", "simclr", "stop-epoch", "1"), collect, &first));
    assert_ok(test_run(t, config_of(t, "run", "simclr", "resume", "auto"), collect, &second));
    assert_true(first.count > 0 && second.count > 0);
    assert_true(second.loss[second.count - 1] < first.loss[0]);
    clv_context_destroy(device);
}

int main(void)
{
    test_device_register();
    const struct CMUnitTest tests[] = {
        TEST(simclr_follows_the_hosts),
        TEST(a_run_in_tf32_follows_the_hosts_in_float32),
        TEST(byol_follows_the_hosts),
        TEST(rates_of_tensors_and_clipped_gradients_follow_the_hosts),
        TEST(a_batch_in_parts_follows_the_hosts),
        TEST(a_part_drops_the_paths_of_its_rows_in_the_batch),
        TEST(a_run_that_is_lost_ends_as_on_the_host),
        TEST(a_run_begun_on_the_device_goes_on_on_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
