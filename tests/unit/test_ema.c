/* test_ema.c: the average of the weights that ema-decay keeps for evaluation. */
#include "tests/support/rig.h"
#include "tests/support/train.h"
#include "tensor/params.h"

#include <cleave/eval.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 16 };

static int64_t weights(clv_params *params, float *out)
{
    clv_view flat;
    assert_ok(clv_params_flat(params, CLV_PARAM_VALUE, &flat));
    assert_true(clv_view_count(&flat) <= MOST);
    memcpy(out, flat.data, (size_t)clv_view_count(&flat) * sizeof *out);
    return clv_view_count(&flat);
}

/* a = d a + (1 - d) w after each step, from a = w. */
static void the_average_follows_the_weights(void **state)
{
    test_env *t = *state;
    static float now[MOST], average[MOST], wanted[MOST];
    rig *r = rig_make(t, "simclr", "ema-decay", "0.75", NULL);
    const int64_t n = weights(r->method->params, wanted);
    for (int step = 0; step < 3; step++) {
        const clvi_step at = { .seed = 5, .total = step, .lr = 0.1, .key_momentum = 0.9 };
        rig_forward(r, step, 0.9);
        assert_ok(clvi_method_update(r->method, &r->batch, &at));
        weights(r->method->params, now);
        for (int64_t i = 0; i < n; i++) wanted[i] = 0.75f * wanted[i] + 0.25f * now[i];
        weights(r->method->average, average);
        for (int64_t i = 0; i < n; i++) assert_near(average[i], wanted[i], 1e-6);
    }
    assert_true(memcmp(average, now, (size_t)n * sizeof *now) != 0);
    rig_destroy(r);
}

static void running_statistics_are_averaged_alike(void **state)
{
    test_env *t = *state;
    rig *r = rig_make(t, "simclr", "ema-decay", "0.5", NULL);
    const float *of_network = clvi_params_buffers(r->method->params), *of_average = clvi_params_buffers(r->method->average);
    const float before = of_average[0];
    const clvi_step at = { .seed = 5, .total = 0, .lr = 0.1, .key_momentum = 0.9 };
    rig_forward(r, 0, 0.9);
    assert_ok(clvi_method_update(r->method, &r->batch, &at));
    assert_true(of_network[0] != before);
    assert_near(of_average[0], 0.5 * before + 0.5 * of_network[0], 1e-6);
    rig_destroy(r);
}

static bool stops(const clv_progress *p, void *user)
{
    const int64_t *at = user;
    return p->kind != CLV_PROGRESS_STEP || p->total_step != *at;
}

static void a_run_with_an_average_goes_on_to_the_same_bits(void **state)
{
    test_env *t = *state;
    int64_t at = 7;
    assert_ok(test_run(t, test_run_config(t, "a", "ema-decay", "0.9", NULL), NULL, NULL));
    assert_int_equal(test_run(t, test_run_config(t, "b", "ema-decay", "0.9", NULL), stops, &at), CLV_STOPPED);
    assert_ok(test_run(t, test_run_config(t, "b", "ema-decay", "0.9", "resume", "auto", NULL), NULL, NULL));
    assert_true(test_same_file(t, "a/last.h5", "b/last.h5"));
}

/* What the run says last. */
static bool remembers(const clv_progress *p, void *user)
{
    if (p->kind != CLV_PROGRESS_EPOCH) return true;
    *(double *)user = p->knn_top1;
    assert_non_null(strstr(p->knn_protocol, "averaged query encoder"));
    return true;
}

/* kNN among all images on features of the last checkpoint of the folder "run". */
static double knn(test_env *t, bool ema)
{
    enum { IMAGES = 160, MOST_DIM = 64 };
    static float rows[IMAGES * MOST_DIM];
    int64_t labels[IMAGES];
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    clv_knn_desc how = CLV_KNN_DESC_INIT;
    clv_knn_result result;
    clv_encoder *e = NULL;
    clv_dataset *ds = NULL;
    desc.checkpoint = test_path(t, "run/last.h5");
    desc.layer = CLV_LAYER_EMBEDDING;
    desc.ema = ema;
    desc.batch_size = 16;
    how.k = IMAGES - 1;
    how.temperature = 0.3;
    how.leave_one_out = true;
    assert_ok(clv_encoder_open(t->ctx, &desc, &e));
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "data.h5"), NULL, &ds));
    const clv_view view = clv_view_2d(rows, CLV_F32, IMAGES, clv_encoder_dim(e));
    assert_true(clv_encoder_dim(e) <= MOST_DIM);
    assert_ok(clv_encoder_embed(e, ds, 0, IMAGES, &view, NULL, NULL));
    for (int64_t i = 0; i < IMAGES; i++) labels[i] = clv_dataset_label(ds, i);
    assert_ok(clv_knn_classify(t->ctx, &how, &view, labels, &view, labels, NULL, &result));
    clv_encoder_destroy(e);
    clv_dataset_destroy(ds);
    return result.top1;
}

/* Nearest neighbours alone would be right by either network: all images vote, so that the figures are far apart. */
static void a_run_measures_the_average(void **state)
{
    test_env *t = *state;
    double top1 = -1;
    assert_ok(test_run(t, test_run_config(t, "run", "ema-decay", "0.999", "knn-k", "159", "knn-t", "0.3", NULL), remembers,
                       &top1));
    assert_near(top1, knn(t, true), 1e-9);
    assert_true(fabs(top1 - knn(t, false)) > 10);
}

static void encoders_are_opened_from_the_average(void **state)
{
    test_env *t = *state;
    static float last[16 * 64], average[16 * 64];
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    clv_encoder *e = NULL;
    assert_ok(test_run(t, test_run_config(t, "run", "epochs", "1", "ema-decay", "0.9", NULL), NULL, NULL));
    desc.checkpoint = test_path(t, "run");
    test_embed(t, &desc, last);
    desc.ema = true;
    test_embed(t, &desc, average);
    assert_true(memcmp(last, average, sizeof last) != 0);
    desc.key = true;
    assert_fails(clv_encoder_open(t->ctx, &desc, &e), CLV_ERR_INVALID, "not both");
    assert_ok(test_run(t, test_run_config(t, "plain", "epochs", "1", NULL), NULL, NULL));
    desc.key = false;
    desc.checkpoint = test_path(t, "plain");
    assert_fails(clv_encoder_open(t->ctx, &desc, &e), CLV_ERR_INVALID, "no average of the weights was kept (ema-decay)");
}

TEST_MAIN(TEST(the_average_follows_the_weights), TEST(running_statistics_are_averaged_alike),
          TEST(a_run_with_an_average_goes_on_to_the_same_bits), TEST(a_run_measures_the_average),
          TEST(encoders_are_opened_from_the_average))
