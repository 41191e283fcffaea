/* test_training.c: a run on a device takes the steps that the host's takes, and its checkpoint goes on on the host. */
#include "tests/cuda/device.h"
#include "core/checked.h"
#include "tests/support/train.h"
#include <math.h>

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

static void a_run_follows_the_hosts(test_env *t, const char *method)
{
    losses host = { .count = 0 }, other = { .count = 0 };
    clv_context *device = test_device_context(t);
    assert_ok(test_run(t, config_of(t, "host", method, "stop-epoch", "1"), collect, &host));
    assert_ok(test_run_in(device, config_of(t, "device", method, "stop-epoch", "1"), collect, &other));
    assert_true(host.count >= 5);
    assert_int_equal(other.count, host.count);
    /* The same arithmetic in another order: the runs part, tenfold a step at this learning rate. */
    double allowed = 1e-5;
    for (int i = 0; i < host.count; i++, allowed = fmin(10 * allowed, 0.05))
        assert_near(other.loss[i], host.loss[i], allowed * (1 + fabs(host.loss[i])));
    clv_context_destroy(device);
}

static void simclr_follows_the_hosts(void **state)
{
    a_run_follows_the_hosts(*state, "simclr");
}

static void byol_follows_the_hosts(void **state)
{
    a_run_follows_the_hosts(*state, "byol");
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
        TEST(byol_follows_the_hosts),
        TEST(a_run_begun_on_the_device_goes_on_on_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
