/* rig.c: a training method with a configuration and one batch. */
#include "tests/support/rig.h"
#include "core/rng.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fill(rig *r, const clvi_comm *comm)
{
    const int64_t local = RIG_BATCH / (comm ? comm->ranks : 1), first = comm ? comm->rank * local : 0;
    for (int v = 0; v < 2; v++) {
        clvi_rng rng = clvi_rng_make(9, CLVI_RNG_TEST, 0, 0, (uint32_t)v);
        for (int i = 0; i < RIG_PIXELS; i++) {                  /* each image has waves of its own, and noise */
            const int image = i / (RIG_PIXELS / RIG_BATCH);
            const int column = i / 3 % RIG_SIDE, row = i / 3 / RIG_SIDE % RIG_SIDE;
            const double wave = sin(0.4 * (image / 4 + 1) * column + 0.5 * (image % 4) * row + i % 3);
            r->pixels[v][i] = (float)(2 * wave + 0.3 * clvi_rng_normal(&rng));
        }
        r->view[v] = clv_view_nhwc(r->pixels[v] + first * (RIG_PIXELS / RIG_BATCH), CLV_F32, local, 3, RIG_SIDE,
                                   RIG_SIDE);
    }
    for (int i = 0; i < RIG_BATCH; i++) {
        r->ids[i] = 1000 + i;
        r->labels[i] = i % RIG_CLASSES;
    }
    r->batch.view = r->view;
    r->batch.ids = r->ids;
    r->batch.labels = r->labels;
}

/* Some features are missing. */
static void fill_words(rig *r, const clvi_comm *comm)
{
    const int64_t local = RIG_BATCH / (comm ? comm->ranks : 1), first = comm ? comm->rank * local : 0;
    clvi_rng rng = clvi_rng_make(9, CLVI_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < RIG_BATCH * RIG_NUMBERS; i++) r->numbers[i] = (int64_t)clvi_rng_below(&rng, RIG_ROWS + 8) - 8;
    for (int i = 0; i < RIG_BATCH * RIG_NUMBERS; i++) r->numbers[i] = r->numbers[i] < 0 ? -1 : r->numbers[i];
    r->view[0] = clv_view_2d(r->numbers + first * RIG_NUMBERS, CLV_I64, local, RIG_NUMBERS);
}

static clv_status try_make(test_env *t, const char *method, const char *loss, int64_t classes, clvi_comm *comm,
                           rig **out, va_list args)
{
    const bool generates = !strcmp(method, "flow_matching");
    const char *const settings[][2] = {
        { "arch", generates ? "uvit" : "resnet8" }, { "width", generates ? "8" : "4" }, { "batch-size", "16" },
        { "moco-dim", "16" },  { "moco-k", "32" },
        { "moco-t", "0.2" },   { "moco-mlp-dim", "24" }, { "seed", "5" },    { "weight-decay", "0" },
        { "context", "1" },    { "word-dim", "8" }, { "word-rows", "64" },
        { "method", method },  { "loss", loss },
    };
    rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    *out = r;
    r->ctx = test_context(t, 1);
    assert_ok(clv_config_create(r->ctx, &r->config));
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        assert_ok(clv_config_set(r->config, settings[i][0], settings[i][1]));
    for (const char *name; (name = va_arg(args, const char *));)
        assert_ok(clv_config_set(r->config, name, va_arg(args, const char *)));
    fill(r, comm);
    const clvi_method_class *cls = NULL;
    if (clvi_method_find(method, &cls) == CLV_OK && cls->text) fill_words(r, comm);
    const clvi_method_setup setup = { r->ctx, &r->config->settings, 3, RIG_SIDE, RIG_SIDE, classes, comm };
    return clvi_method_create(&setup, &r->method);
}

clv_status rig_try_make(test_env *t, const char *method, const char *loss, int64_t classes, clvi_comm *comm,
                        rig **out, ...)
{
    va_list args;
    va_start(args, out);
    const clv_status st = try_make(t, method, loss, classes, comm, out, args);
    va_end(args);
    return st;
}

rig *rig_make(test_env *t, const char *method, ...)
{
    rig *r = NULL;
    va_list args;
    va_start(args, method);
    assert_ok(try_make(t, method, "", RIG_CLASSES, NULL, &r, args));
    va_end(args);
    return r;
}

void rig_destroy(rig *r)
{
    clvi_method_destroy(r->method);
    clv_config_destroy(r->config);
    clv_context_destroy(r->ctx);
    free(r);
}

clvi_step_result rig_forward(rig *r, int64_t total, double key_momentum)
{
    const clvi_step at = { .seed = 5, .total = total, .epoch = (double)total / 4, .lr = 0.1,
                           .key_momentum = key_momentum };
    clvi_step_result result;
    assert_ok(clvi_method_forward(r->method, &r->batch, &at, &result));
    assert_true(isfinite(result.loss) && isfinite(result.grad_norm) && result.grad_norm > 0);
    return result;
}

double rig_metric(rig *r, const char *name)
{
    clvi_metrics m;
    assert_ok(clvi_method_look(r->method, &r->batch, &m));
    for (int i = 0; i < m.count; i++)
        if (!strcmp(m.at[i].name, name)) return m.at[i].value;
    fail_msg("no metric '%s'", name);
    return 0;
}

void rig_loss_text(const clvi_takes *takes, char *text, size_t size)
{
    const char *variant = takes->variant;
    snprintf(text, size, "%s%s%s", takes->loss, variant ? " variant=" : "", variant ? variant : "");
}
