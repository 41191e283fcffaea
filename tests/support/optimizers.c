/* optimizers.c: the golden steps of optimisers, and what follows them. */
#include "tests/support/optimizers.h"
#include "core/h5.h"
#include "device/backend.h"
#include "train/optimizers/optimizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 4, TENSORS = 4, MOST = 128 };

static const struct {
    const char *name;
    int         ndim;
    int64_t     shape[2];
} tensors[TENSORS] = {
    { "a.weight", 2, { 5, 7 } }, { "b.weight", 2, { 33, 3 } }, { "c.bias", 1, { 6 } }, { "d.zero", 2, { 2, 2 } },
};

static const double lr[STEPS] = { 0.3, 0.2, 0.1, 0.05 };

static const struct {
    const char *golden, *settings[6][2];
} cases[] = {
    { "sgd", { { "optimizer", "sgd" } } },
    { "sgd-nesterov-exclude", { { "nesterov", "true" }, { "exclude-bias-n-norm-wd", "true" } } },
    { "adamw", { { "optimizer", "adamw" } } },
    { "adamw-betas-exclude", { { "optimizer", "adamw" }, { "beta1", "0.8" }, { "beta2", "0.95" }, { "eps", "1e-3" },
                               { "exclude_bias_n_norm_wd", "true" } } },
    { "lars-moco-v3", { { "optimizer", "lars-moco-v3" } } },
    { "lars-moco-v3-nesterov", { { "optimizer", "lars_moco_v3" }, { "nesterov", "true" }, { "eta", "0.1" } } },
    { "lars-simclr", { { "optimizer", "lars-simclr" } } },
    { "lars-simclr-nesterov", { { "optimizer", "lars-simclr" }, { "nesterov", "true" },
                                { "trust-coefficient", "0.1" } } },
    { "lars-solo-learn", { { "optimizer", "lars-solo-learn" } } },
    { "lars-solo-learn-clip", { { "optimizer", "lars-solo-learn" }, { "clip_lars_lr", "true" }, { "eta_lars", "0.02" },
                                { "exclude-bias-n-norm-lars", "true" } } },
    { "lamb", { { "optimizer", "lamb" } } },
    { "lamb-exclude", { { "optimizer", "lamb" }, { "exclude-bias-n-norm-wd", "true" },
                        { "exclude-bias-n-norm-lars", "true" } } },
};
enum { CASES = sizeof cases / sizeof cases[0] };

static clv_view tensor(int i, double *data)
{
    return clv_view_dense(data, CLV_F64, tensors[i].ndim, tensors[i].shape);
}

static void read_tensor(clvi_h5 *h5, const char *group, int i, int steps, double *out)
{
    char name[64];
    int64_t shape[3] = { steps, tensors[i].shape[0], tensors[i].shape[1] };
    const clv_view view = clv_view_dense(out, CLV_F64, tensors[i].ndim + (steps > 0), shape + (steps == 0));
    snprintf(name, sizeof name, "%s/%s", group, tensors[i].name);
    assert_ok(clvi_h5_read(h5, name, &view));
}

static clv_params *make_params(clv_context *ctx, clv_dtype dtype, clvi_h5 *h5)
{
    clv_params *params = NULL;
    const clv_init init = { .kind = CLV_INIT_CONSTANT };
    double values[MOST];
    assert_ok(clv_params_create(ctx, dtype, &params));
    for (int i = 0; i < TENSORS; i++) {
        int64_t at;
        assert_ok(clvi_params_add(params, tensors[i].name, CLV_PARAM_TRAINABLE, tensors[i].ndim, tensors[i].shape, init,
                                  &at));
        assert_int_equal(at, i);
    }
    assert_ok(clvi_params_lay_out(params));
    assert_ok(clvi_params_need_gradients(params));
    for (int i = 0; i < TENSORS; i++) {
        read_tensor(h5, "start", i, 0, values);
        const clv_view view = tensor(i, values);
        assert_ok(clv_params_write(params, i, &view));
    }
    return params;
}

static void set_gradients(clv_context *ctx, clv_params *params, clv_dtype dtype, clvi_h5 *h5, int step)
{
    for (int i = 0; i < TENSORS; i++) {
        double all[STEPS * MOST];
        float narrow[MOST];
        const clv_view view = tensor(i, all);
        const int64_t n = clv_view_count(&view);
        const void *wanted = dtype == CLV_F64 ? (const void *)(all + step * n) : narrow;
        read_tensor(h5, "gradient", i, STEPS, all);
        for (int64_t k = 0; k < n; k++) narrow[k] = (float)all[step * n + k];
        assert_ok(clvi_device_copy(ctx, clvi_params_data(params, i, CLV_PARAM_GRADIENT), wanted,
                                   (size_t)n * clv_dtype_size(dtype), CLVI_COPY_TO_DEVICE));
    }
}

static clv_config *configure(clv_context *ctx, int c)
{
    clv_config *config = NULL;
    assert_ok(clv_config_create(ctx, &config));
    assert_ok(clv_config_set(config, "weight-decay", "0.05"));
    for (int i = 0; i < 6 && cases[c].settings[i][0]; i++)
        assert_ok(clv_config_set(config, cases[c].settings[i][0], cases[c].settings[i][1]));
    return config;
}

static void check(clv_context *ctx, clvi_h5 *h5, int c, clv_dtype dtype)
{
    clv_config *config = configure(ctx, c);
    clv_params *params = make_params(ctx, dtype, h5);
    clvi_optimizer *o = NULL;
    assert_ok(clvi_optimizer_create(params, ctx, &config->settings, &o));
    for (int step = 0; step < STEPS; step++) {
        set_gradients(ctx, params, dtype, h5, step);
        assert_ok(clvi_optimizer_step(o, lr[step], NULL));
    }
    for (int i = 0; i < TENSORS; i++) {
        double want[MOST], got[MOST];
        const clv_view view = tensor(i, got);
        read_tensor(h5, cases[c].golden, i, 0, want);
        assert_ok(clv_params_read(params, i, CLV_PARAM_VALUE, &view));
        for (int64_t k = 0; k < clv_view_count(&view); k++) {
            const double off = got[k] > want[k] ? got[k] - want[k] : want[k] - got[k];
            if (!(off < (dtype == CLV_F64 ? 1e-13 : 2e-6)))
                fail_msg("%s, %s: %s[%d] is %.17g, expected %.17g", cases[c].golden, clv_dtype_name(dtype),
                         tensors[i].name, (int)k, got[k], want[k]);
        }
    }
    clvi_optimizer_destroy(o);
    clv_params_destroy(params);
    clv_config_destroy(config);
}

void test_optimizers_take_golden_steps(clv_context *ctx)
{
    clvi_h5 *h5 = NULL;
    bool seen[32] = { false };
    assert_ok(clvi_h5_open(ctx, "tests/golden/optimizers/optimizers.h5", &h5));
    for (int c = 0; c < CASES; c++) {
        check(ctx, h5, c, CLV_F64);
        check(ctx, h5, c, CLV_F32);
        clv_config *config = configure(ctx, c);
        const clvi_optimizer_class *cls = NULL;
        assert_ok(clvi_optimizer_find(config->settings.optimizer, &cls));
        for (int i = 0; clvi_optimizer_at(i); i++) seen[i] |= clvi_optimizer_at(i) == cls;
        clv_config_destroy(config);
    }
    for (int i = 0; clvi_optimizer_at(i); i++)
        if (!seen[i]) fail_msg("nothing golden for %s", clvi_optimizer_at(i)->info.name);
    clvi_h5_close(h5);
}

/* ---- followers ---- */

/* A network that is trained, and two that follow it. */
typedef struct followed {
    clv_params     *params[1 + CLVI_FLAT_FOLLOWERS];
    clvi_optimizer *optimizer;
} followed;

static const double momentum[CLVI_FLAT_FOLLOWERS] = { 0.9, 0.6 };

/* Followers begin elsewhere, so that they move where weights do not. */
static void open_followed(clv_context *ctx, clvi_h5 *h5, const clv_config *config, bool frozen, followed *out)
{
    out->params[0] = make_params(ctx, CLV_F32, h5);
    for (int f = 1; f <= CLVI_FLAT_FOLLOWERS; f++) {
        clv_view flat;
        assert_ok(clv_params_clone(out->params[0], &out->params[f]));
        assert_ok(clv_params_flat(out->params[f], CLV_PARAM_VALUE, &flat));
        clvi_flat_scale(ctx, flat.dtype, clv_view_count(&flat), 0.5, flat.data);
    }
    assert_ok(clvi_optimizer_create(out->params[0], ctx, &config->settings, &out->optimizer));
    if (frozen) clvi_optimizer_only(out->optimizer, "b.");
}

static void close_followed(followed *f)
{
    clvi_optimizer_destroy(f->optimizer);
    for (int i = CLVI_FLAT_FOLLOWERS; i >= 0; i--) clv_params_destroy(f->params[i]);
}

static void step_followed(clv_context *ctx, clvi_h5 *h5, followed *f, int step, bool jointly)
{
    clvi_follower follower[CLVI_FLAT_FOLLOWERS];
    for (int i = 0; i < CLVI_FLAT_FOLLOWERS; i++) follower[i] = (clvi_follower){ f->params[1 + i], momentum[i] };
    set_gradients(ctx, f->params[0], CLV_F32, h5, step);
    assert_ok(clvi_optimizer_step(f->optimizer, lr[step], jointly ? follower : NULL));
    for (int i = 0; i < CLVI_FLAT_FOLLOWERS && !jointly; i++)
        assert_ok(clv_params_follow(f->params[1 + i], f->params[0], momentum[i]));
}

static void compare_followed(clv_context *ctx, followed f[2])
{
    for (int p = 0; p <= CLVI_FLAT_FOLLOWERS; p++)
        for (int i = 0; i < TENSORS; i++) {
            float values[2][MOST];
            int64_t n = 0;
            for (int k = 0; k < 2; k++) {
                const clv_view view = clv_view_dense(values[k], CLV_F32, tensors[i].ndim, tensors[i].shape);
                n = clv_view_count(&view);
                assert_ok(clv_params_read(f[k].params[p], i, CLV_PARAM_VALUE, &view));
            }
            if (!ctx->device) assert_memory_equal(values[0], values[1], (size_t)n * sizeof(float));
            for (int64_t k = 0; k < n; k++) assert_near(values[0][k], values[1][k], 1e-6);
        }
}

void test_optimizers_are_followed(clv_context *ctx)
{
    clvi_h5 *h5 = NULL;
    assert_ok(clvi_h5_open(ctx, "tests/golden/optimizers/optimizers.h5", &h5));
    for (int c = 0; c < 2 * CASES; c++) {
        followed f[2];
        clv_config *config = configure(ctx, c / 2);
        for (int k = 0; k < 2; k++) open_followed(ctx, h5, config, c % 2, &f[k]);
        for (int step = 0; step < STEPS; step++)
            for (int k = 0; k < 2; k++) step_followed(ctx, h5, &f[k], step, k == 0);
        compare_followed(ctx, f);
        for (int k = 0; k < 2; k++) close_followed(&f[k]);
        clv_config_destroy(config);
    }
    clvi_h5_close(h5);
}
