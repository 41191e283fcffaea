/* test_classifier.c: a run with the method supervised: the accuracy it tells on held-out images is that of its classifier,
 * and with `freeze` it is a linear probe, which leaves the network under it as it was. */
#include "tests/support/train.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 160, CLASSES = 4, DIM = 16 };

typedef struct told {
    double top1, top5, first_loss, last_loss;
    int    measured;
} told;

static bool listen(const clv_progress *p, void *user)
{
    told *t = user;
    if (p->kind != CLV_PROGRESS_EPOCH) return true;
    if (p->epoch == 1) t->first_loss = p->loss_mean;
    t->last_loss = p->loss_mean;
    if (p->val_top1 < 0) return true;
    t->top1 = p->val_top1;
    t->top5 = p->val_top5;
    t->measured++;
    return true;
}

static clv_config *supervised(test_env *t, const char *directory)
{
    clv_config *config = test_run_config(t, directory, "method", "supervised", "moco-dim", "128", "moco-k", "65536",
                                         "moco-m", "0.999", NULL);
    assert_ok(clv_config_set(config, "val-data", test_path(t, "data.h5")));
    assert_ok(clv_config_set(config, "weight-decay", "5e-4"));
    return config;
}

/* All values of the parameters whose name begins so, or does not. */
static float *values(const clv_params *params, const char *prefix, bool begins, int64_t *count)
{
    float *all = NULL;
    *count = 0;
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        assert_ok(clv_params_info(params, i, &info));
        if (begins != !strncmp(info.name, prefix, strlen(prefix))) continue;
        clv_view view = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        const int64_t n = clv_view_count(&view);
        all = realloc(all, (size_t)(*count + n) * sizeof *all);
        assert_non_null(all);
        view.data = all + *count;
        assert_ok(clv_params_read(params, i, CLV_PARAM_VALUE, &view));
        *count += n;
    }
    return all;
}

/* By hand, from the features of the last checkpoint and the classifier's weights. */
static double accuracy(test_env *t, const char *checkpoint, const clv_params *params)
{
    static float rows[IMAGES * DIM];
    int64_t n = 0, right = 0;
    float *w = values(params, "classifier.weight", true, &n), *bias = values(params, "classifier.bias", true, &n);
    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
    clv_encoder *e = NULL;
    clv_dataset *ds = NULL;
    desc.checkpoint = checkpoint;
    desc.batch_size = 16;
    assert_ok(clv_encoder_open(t->ctx, &desc, &e));
    assert_int_equal(clv_encoder_dim(e), DIM);
    assert_ok(clv_dataset_open(t->ctx, test_path(t, "data.h5"), NULL, &ds));
    const clv_view view = clv_view_2d(rows, CLV_F32, IMAGES, DIM);
    assert_ok(clv_encoder_embed(e, ds, 0, IMAGES, &view, NULL, NULL));
    for (int i = 0; i < IMAGES; i++) {
        double best = -1e30;
        int at = -1;
        for (int c = 0; c < CLASSES; c++) {
            double score = bias[c];
            for (int d = 0; d < DIM; d++) score += (double)w[c * DIM + d] * rows[i * DIM + d];
            if (score > best) at = c;
            best = score > best ? score : best;
        }
        right += at == clv_dataset_label(ds, i);
    }
    clv_dataset_destroy(ds);
    clv_encoder_destroy(e);
    free(w);
    free(bias);
    return 100.0 * (double)right / IMAGES;
}

static void the_accuracy_told_is_that_of_the_classifier(void **state)
{
    test_env *t = *state;
    clv_context *ctx = test_context(t, 1);
    clv_config *config = supervised(t, "run");
    clv_trainer *trainer = NULL;
    told out = { 0 };
    assert_ok(clv_config_set(config, "epochs", "3"));
    assert_ok(clv_config_set(config, "val-freq", "2"));
    assert_ok(clv_trainer_create(ctx, config, listen, &out, &trainer));
    assert_ok(clv_trainer_run(trainer));
    assert_int_equal(out.measured, 2);                                   /* after epoch 2, and the last */
    assert_near(out.top1, accuracy(t, test_path(t, "run/last.h5"), clvi_method_params(trainer->method, false)), 0);
    assert_near(out.top5, 100, 0);                                       /* of four classes */
    clv_trainer_destroy(trainer);
    clv_config_destroy(config);
    clv_context_destroy(ctx);
}

static void without_held_out_images_there_is_no_accuracy(void **state)
{
    test_env *t = *state;
    told out = { 0 };
    clv_config *config = test_run_config(t, "run", "method", "supervised", "moco-dim", "128", "moco-k", "65536", "moco-m",
                                         "0.999", "epochs", "1", NULL);
    assert_ok(test_run(t, config, listen, &out));
    assert_int_equal(out.measured, 0);
}

static void a_probe_trains_the_classifier_and_nothing_else(void **state)
{
    test_env *t = *state;
    clv_context *ctx = test_context(t, 1);
    clv_config *config = supervised(t, "probe");
    clv_trainer *trainer = NULL;
    told out = { 0 };
    int64_t n[4];
    assert_ok(test_run(t, test_run_config(t, "pretrained", NULL), NULL, NULL));
    const char *const settings[][2] = { { "freeze", "true" }, { "lr", "1" }, { "epochs", "8" } };
    for (int i = 0; i < 3; i++) assert_ok(clv_config_set(config, settings[i][0], settings[i][1]));
    assert_ok(clv_config_set(config, "weights", test_path(t, "pretrained")));
    assert_ok(clv_trainer_create(ctx, config, listen, &out, &trainer));
    clv_params *params = clvi_method_params(trainer->method, false);
    float *network = values(params, "classifier.", false, &n[0]), *head = values(params, "classifier.", true, &n[1]);
    assert_ok(clv_trainer_run(trainer));
    float *network_now = values(params, "classifier.", false, &n[2]), *head_now = values(params, "classifier.", true, &n[3]);
    assert_int_equal(n[0], n[2]);
    assert_memory_equal(network, network_now, (size_t)n[0] * sizeof(float));   /* running statistics, too */
    assert_memory_not_equal(head, head_now, (size_t)n[1] * sizeof(float));
    for (int64_t i = n[1] - CLASSES; i < n[1]; i++) assert_near(head[i], 0, 0);     /* biases */
    assert_true(out.last_loss < 0.9 * out.first_loss);
    float *const all[] = { network, head, network_now, head_now };
    for (int i = 0; i < 4; i++) free(all[i]);
    clv_trainer_destroy(trainer);
    clv_config_destroy(config);
    clv_context_destroy(ctx);
}

static void a_probe_needs_a_loss_of_logits_and_the_method_supervised(void **state)
{
    test_env *t = *state;
    clv_trainer *trainer = NULL;
    clv_config *config = supervised(t, "run");
    assert_ok(clv_config_set(config, "freeze", "true"));
    assert_ok(clv_config_set(config, "loss", "cosface"));
    assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID, "must be one of logits");
    clv_config_destroy(config);
    config = supervised(t, "run");
    assert_ok(clv_config_set(config, "freeze", "true"));
    assert_ok(clv_config_set(config, "micro-batch-size", "8"));
    assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID,
                 "micro-batch-size '8' cannot act with freeze");
    clv_config_destroy(config);
    config = test_run_config(t, "run", "freeze", "true", NULL);
    assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID,
                 "freeze 'true' cannot act with method 'moco'");
    clv_config_destroy(config);
}

/* lr-biases: tensors of one dimension move at their own rate from the first step on. */
static void biases_have_a_rate_of_their_own(void **state)
{
    test_env *t = *state;
    double moved[2] = { 0 };
    for (int i = 0; i < 2; i++) {
        clv_config *config = supervised(t, i ? "slow" : "plain");
        clv_context *ctx = test_context(t, 1);
        clv_trainer *trainer = NULL;
        int64_t n;
        assert_ok(clv_config_set(config, "lr-biases", i ? "0.0005" : "0"));   /* a hundredth of lr */
        assert_ok(clv_config_set(config, "weight-decay", "0"));
        assert_ok(clv_trainer_create(ctx, config, NULL, NULL, &trainer));
        clv_params *params = clvi_method_params(trainer->method, false);
        float *before = values(params, "classifier.bias", true, &n);
        clv_batch batch;
        clvi_step_result result;
        const clvi_step at = { .lr = 0.05 };
        assert_ok(clv_loader_next(trainer->loader, &batch));
        assert_ok(clvi_method_forward(trainer->method, &batch, &at, &result));
        assert_ok(clvi_method_update(trainer->method, &batch, &at));
        float *after = values(params, "classifier.bias", true, &n);
        for (int64_t c = 0; c < n; c++) moved[i] += (double)(after[c] - before[c]) * (after[c] - before[c]);
        free(before);
        free(after);
        clv_trainer_destroy(trainer);
        clv_context_destroy(ctx);
        clv_config_destroy(config);
    }
    assert_true(moved[0] > 0);
    assert_near(moved[1] / moved[0], 1e-4, 1e-6);
}

TEST_MAIN(TEST(the_accuracy_told_is_that_of_the_classifier), TEST(without_held_out_images_there_is_no_accuracy),
          TEST(a_probe_trains_the_classifier_and_nothing_else),
          TEST(a_probe_needs_a_loss_of_logits_and_the_method_supervised), TEST(biases_have_a_rate_of_their_own))
