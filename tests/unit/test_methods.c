/* test_methods.c: what holds for every training method of the registry and every loss it takes, and what each does that
 * the others do not. */
#include "tests/support/rig.h"
#include "tests/support/train.h"
#include "tensor/params.h"
#include "train/step/method.h"

#include <cleave/loss.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = RIG_BATCH, SIDE = RIG_SIDE, CLASSES = RIG_CLASSES, PIXELS = RIG_PIXELS };

static clv_status try_make(test_env *t, const char *method, const char *loss, const char *name, const char *value,
                           int64_t classes, rig **out)
{
    return rig_try_make(t, method, loss, classes, NULL, out, name, value, NULL);
}

static rig *make(test_env *t, const char *method, const char *loss, const char *name, const char *value)
{
    rig *r = NULL;
    assert_ok(try_make(t, method, loss, name, value, CLASSES, &r));
    return r;
}

static void update(rig *r, int64_t total, double lr)
{
    const clvi_step at = { .seed = 5, .total = total, .lr = lr, .key_momentum = 0.9 };
    assert_ok(clvi_method_update(r->method, &r->batch, &at));
}

/* ---- every method, every loss ---- */

/* A short step along the gradient lowers the loss by step length times squared gradient: the gradient is that of the
 * loss, through every network that it is meant to go through. */
static void a_step_lowers_the_loss_by_what_the_gradient_says(void **state)
{
    test_env *t = *state;
    const clvi_method_class *cls;
    for (int i = 0; (cls = clvi_method_at(i)); i++) {
        for (const clvi_takes *takes = cls->takes; takes->loss; takes++) {
            char text[128];
            rig_loss_text(takes, text, sizeof text);
            rig *r = make(t, cls->info.name, text, NULL, NULL);
            const clvi_step_result first = rig_forward(r, 0, 1.0);
            const double wanted = 2e-3 * fmax(fabs(first.loss), 0.1), lr = wanted / (first.grad_norm * first.grad_norm);
            assert_ok(clvi_optimizer_step(r->method->optimizer, lr, NULL));
            const double fell = first.loss - rig_forward(r, 0, 1.0).loss;
            if (fell < 0.6 * wanted || fell > 1.4 * wanted)
                fail_msg("%s, %s: the loss fell by %g, expected about %g", cls->info.name, text, fell, wanted);
            rig_destroy(r);
        }
    }
}

/* Five steps, the third refused after its forward pass. */
static void take_steps(rig *r, bool jointly)
{
    static const double momentum[] = { 0.9, 0.5, 0.8, 0.7, 0.6, 0.4 };
    for (int64_t i = 0; i < 5; i++) {
        const clvi_step at = { .seed = 5, .total = i, .lr = 0.1, .key_momentum = momentum[i],
                               .goes_on = jointly && i < 4, .next_momentum = momentum[i + 1] };
        rig_forward(r, i, momentum[i]);
        if (i != 2) assert_ok(clvi_method_update(r->method, &r->batch, &at));
    }
}

static void assert_same_networks(const rig *a, const rig *b)
{
    const char *name;
    clv_params *x, *y;
    for (int i = 0; clvi_method_network(a->method, i, &name, &x) && clvi_method_network(b->method, i, &name, &y); i++) {
        clv_view v, w;
        if (!x) continue;
        assert_ok(clv_params_flat(x, CLV_PARAM_VALUE, &v));
        assert_ok(clv_params_flat(y, CLV_PARAM_VALUE, &w));
        assert_memory_equal(v.data, w.data, clvi_params_arena_size(x));
        assert_memory_equal(clvi_params_buffers(x), clvi_params_buffers(y), clvi_params_buffer_size(x));
    }
}

/* What follows in the optimiser's pass, one step ahead, is what follows in a pass of its own when the step begins. */
static void a_momentum_encoder_is_led_to_the_bits_it_would_follow_to(void **state)
{
    test_env *t = *state;
    static const char *const optimizers[] = { "sgd", "lars_moco_v3", "adamw", "lamb" };
    static const char *const policies[] = { "own", "copy", "average", "own" };
    const clvi_method_class *cls;
    for (int i = 0; (cls = clvi_method_at(i)); i++)
        for (size_t o = 0; cls->teacher && o < sizeof optimizers / sizeof *optimizers; o++) {
            rig *r[2];
            for (int jointly = 0; jointly < 2; jointly++) {
                assert_ok(rig_try_make(t, cls->info.name, "", CLASSES, NULL, &r[jointly], "optimizer", optimizers[o],
                                       "bn-buffers", policies[o], "ema-decay", o % 2 ? "0.9" : "0", NULL));
                take_steps(r[jointly], jointly);
            }
            assert_same_networks(r[0], r[1]);
            for (int jointly = 0; jointly < 2; jointly++) rig_destroy(r[jointly]);
        }
}

static void embeddings_are_looked_at_as_unit_rows_in_the_order_of_the_batch(void **state)
{
    test_env *t = *state;
    const clvi_method_class *cls;
    for (int i = 0; (cls = clvi_method_at(i)); i++) {
        rig *r = make(t, cls->info.name, "", NULL, NULL);
        const clvi_step_result result = rig_forward(r, 0, 0.9);
        const clv_view *rows[2] = { &result.query, &result.key };
        for (int v = 0; v < cls->views; v++) {
            assert_true(rows[v]->shape[0] == BATCH && rows[v]->shape[1] == r->method->dim);
            for (int n = 0; n < BATCH; n++) {
                double norm = 0;
                for (int64_t d = 0; d < r->method->dim; d++)
                    norm += pow(((const float *)rows[v]->data)[n * r->method->dim + d], 2);
                assert_near(norm, 1, 1e-5);
            }
        }
        assert_true((result.key.data != NULL) == (cls->views > 1));
        assert_true((clvi_method_params(r->method, true) != NULL) == cls->teacher);
        rig_destroy(r);
    }
}

static void a_loss_a_method_cannot_take_is_refused_with_those_it_can(void **state)
{
    test_env *t = *state;
    const clvi_method_class *cls;
    for (int i = 0; (cls = clvi_method_at(i)); i++) {
        clv_class_info loss;
        for (int k = 0; clv_loss_info_at(k, &loss); k++) {
            const clvi_takes *takes = cls->takes;
            while (takes->loss && strcmp(takes->loss, loss.name) != 0) takes++;
            if (takes->loss) continue;
            char message[256];
            rig *r = NULL;
            snprintf(message, sizeof message, "method '%s' cannot take the loss %s; it takes %s", cls->info.name,
                     loss.name, cls->takes->loss);
            assert_fails(try_make(t, cls->info.name, loss.name, NULL, NULL, CLASSES, &r), CLV_ERR_INVALID, message);
            assert_null(r->method);
            rig_destroy(r);
        }
    }
    rig *r = NULL;
    assert_fails(try_make(t, "mocov3", "info_nce variant=explicit", NULL, NULL, CLASSES, &r), CLV_ERR_INVALID,
                 "cannot take the loss info_nce variant=explicit; it takes info_nce variant=moco_v3");
    rig_destroy(r);
}

static void methods_of_labels_refuse_data_without(void **state)
{
    test_env *t = *state;
    const clvi_method_class *cls;
    for (int i = 0; (cls = clvi_method_at(i)); i++) {
        rig *r = NULL;
        const clv_status st = try_make(t, cls->info.name, "", NULL, NULL, 0, &r);
        if (cls->labels) assert_fails(st, CLV_ERR_INVALID, "needs data with labels");
        else assert_ok(st);
        rig_destroy(r);
    }
}

static void every_loss_can_be_named_in_a_recipe(void **state)
{
    (void)state;
    clv_class_info loss;
    for (int k = 0; clv_loss_info_at(k, &loss); k++) {
        const clvi_method_class *cls;
        bool found = false;
        for (int i = 0; !found && (cls = clvi_method_at(i)); i++)
            for (const clvi_takes *takes = cls->takes; takes->loss; takes++) found |= !strcmp(takes->loss, loss.name);
        if (!found) fail_msg("no method takes the loss %s", loss.name);
    }
}

/* ---- runs ---- */

/* The first method from *i on that takes images; runs on words are in test_tagger.c. */
static const clvi_method_class *next_of_images(int *i)
{
    while (clvi_method_at(*i) && clvi_method_at(*i)->text) ++*i;
    return clvi_method_at(*i);
}

/* Whether the method's own loss reads a bank. */
static bool has_bank(const clvi_method_class *cls)
{
    for (size_t r = 0; cls->takes->reads[r].port; r++)
        if (!strcmp(cls->takes->reads[r].value, "queue")) return true;
    return false;
}

/* A configuration of the tiny run for a method: settings that it does not have at their defaults. */
static clv_config *run_config(test_env *t, const clvi_method_class *cls, const char *directory, const char *name,
                              const char *value)
{
    const bool teacher = cls->teacher, bank = has_bank(cls), generates = !strcmp(cls->info.name, "flow_matching");
    return test_run_config(t, directory, "method", cls->info.name, "arch", generates ? "uvit" : "resnet8", "moco-k", bank ? "64" : "65536", "moco-m",
                           teacher ? "0.9" : "0.999", "moco-dim", cls->head || bank ? "16" : "128", name, value, NULL);
}

typedef struct watch {
    int64_t stop_at;           /* -1: never */
    double  epoch_loss[2];
    bool    bank, teacher, scores;
    double  fill;
} watch;

static bool watches(const clv_progress *p, void *user)
{
    watch *w = user;
    if (p->kind == CLV_PROGRESS_EPOCH) w->epoch_loss[p->epoch - 1] = p->loss_mean;
    if (p->kind != CLV_PROGRESS_STEP) return true;
    w->bank = p->has_bank;
    w->scores = p->has_scores;
    w->fill = p->queue_fill;
    w->teacher = p->has_teacher;
    return p->total_step != w->stop_at;
}

static void every_method_learns_and_goes_on_to_the_same_bits(void **state)
{
    test_env *t = *state;
    const clvi_method_class *cls;
    for (int i = 0; (cls = next_of_images(&i)); i++) {
        char whole[32], cut[32], files[2][48];
        snprintf(whole, sizeof whole, "whole-%s", cls->info.name);
        snprintf(cut, sizeof cut, "cut-%s", cls->info.name);
        snprintf(files[0], sizeof files[0], "%s/last.h5", whole);
        snprintf(files[1], sizeof files[1], "%s/last.h5", cut);
        watch w = { .stop_at = -1 }, stop = { .stop_at = 7 };
        assert_ok(test_run(t, run_config(t, cls, whole, "workers", "0"), watches, &w));
        assert_true(isfinite(w.epoch_loss[0]) && isfinite(w.epoch_loss[1]));
        assert_true(w.bank == has_bank(cls) && w.teacher == cls->teacher);
        if (!w.bank && w.epoch_loss[1] >= w.epoch_loss[0])              /* while a bank fills, the loss rises */
            fail_msg("%s: loss %g, then %g", cls->info.name, w.epoch_loss[0], w.epoch_loss[1]);
        assert_int_equal(test_run(t, run_config(t, cls, cut, "workers", "2"), watches, &stop), CLV_STOPPED);
        stop.stop_at = -1;
        assert_ok(test_run(t, run_config(t, cls, cut, "resume", "auto"), watches, &stop));
        assert_true(test_same_file(t, files[0], files[1]));
    }
}

typedef struct told {
    char text[8192];
} told;

static void keeps(const char *text, void *user)
{
    told *k = user;
    const size_t length = strlen(k->text);
    snprintf(k->text + length, sizeof k->text - length, "%s\n", text);
}

static void every_method_says_what_it_would_do(void **state)
{
    test_env *t = *state;
    const clvi_method_class *cls;
    for (int i = 0; (cls = next_of_images(&i)); i++) {
        clv_trainer *trainer = NULL;
        clv_config *config = run_config(t, cls, "dry", "workers", "0");
        told k = { "" };
        char want[96];
        assert_ok(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer));
        clv_config_destroy(config);
        assert_ok(clv_trainer_describe(trainer, keeps, &k));
        snprintf(want, sizeof want, "method: %s; %d view", cls->info.name, cls->views);
        assert_non_null(strstr(k.text, want));
        snprintf(want, sizeof want, "loss: %s", cls->takes->loss);
        assert_non_null(strstr(k.text, want));
        assert_true((strstr(k.text, "key encoder: parameters") != NULL) == cls->teacher);
        clv_trainer_destroy(trainer);
        assert_false(test_has_file(t, "dry"));
    }
}

static void features_of_every_method_can_be_embedded(void **state)
{
    test_env *t = *state;
    const clvi_method_class *cls;
    for (int i = 0; (cls = next_of_images(&i)); i++) {
        clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;
        clv_encoder *e = NULL;
        float rows[16 * 64];
        assert_ok(test_run(t, run_config(t, cls, cls->info.name, "epochs", "1"), NULL, NULL));
        desc.checkpoint = test_path(t, cls->info.name);
        desc.layer = CLV_LAYER_EMBEDDING;
        test_embed(t, &desc, rows);
        desc.key = true;
        const clv_status st = clv_encoder_open(t->ctx, &desc, &e);
        if (cls->teacher) assert_ok(st);
        else assert_fails(st, CLV_ERR_INVALID, "has no momentum encoder");
        clv_encoder_destroy(e);
    }
}

static void settings_of_other_methods_are_refused(void **state)
{
    test_env *t = *state;
    static const char *const cases[][4] = {
        { "simclr", "moco-k", "64", "moco-k '64' cannot act with method 'simclr'" },
        { "simclr", "mlp", "true", "mlp 'true' cannot act with method 'simclr'" },
        { "barlow", "moco-m", "0.9", "moco-m '0.9' cannot act with method 'barlow'" },
        { "barlow", "pred-dim", "32", "pred-dim '32' cannot act with method 'barlow'" },
        { "barlow", "moco-t", "0.5", "moco-t '0.5' cannot act with the loss 'barlow_twins'" },
        { "byol", "fix-pred-lr", "true", "fix-pred-lr 'true' cannot act with method 'byol'" },
        { "byol", "bank", "labelled", "bank 'labelled' cannot act with method 'byol'" },
        { "simsiam", "symmetric", "true", "symmetric 'true' cannot act with method 'simsiam'" },
        { "supervised", "aug2", "glyphs", "aug2 'glyphs' cannot act with method 'supervised'" },
        { "supervised", "moco-dim", "32", "moco-dim '32' cannot act with method 'supervised'" },
        { "supervised", "moco-k", "64", "moco-k '64' cannot act with the loss 'cross_entropy'" },
        { "supervised", "queue-dim", "8", "queue-dim '8' cannot act with the loss 'cross_entropy'" },
        { "moco", "queue-update", "ema", "queue-update 'ema' cannot act with method 'moco'" },
        { "moco", "queue-dim", "8", "queue-dim '8' cannot act with method 'moco'" },
        { "supervised", "word-dim", "8", "word-dim '8' cannot act with method 'supervised'" },
        { "supcon", "proj-layers", "3", "proj-layers '3' cannot act with method 'supcon'" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clv_trainer *trainer = NULL;
        const char *const *c = cases[i];
        clv_config *config = test_run_config(t, "a", "moco-k", "65536", "moco-m", "0.999", "moco-dim", "128", "method",
                                             c[0], c[1], c[2], NULL);
        assert_fails(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer), CLV_ERR_INVALID, c[3]);
        clv_config_destroy(config);
    }
}

/* ---- what each does ---- */

/* Does the first view's embedding depend on the second view? */
static bool sees_both(rig *r)
{
    static float before[BATCH * 64];
    const clvi_step_result first = rig_forward(r, 0, 1.0);
    const size_t bytes = (size_t)(BATCH * r->method->dim) * sizeof(float);
    assert_true(bytes <= sizeof before);
    memcpy(before, first.query.data, bytes);
    for (int i = 0; i < PIXELS; i++) r->pixels[1][i] = 3 * r->pixels[1][i] + 1;
    const clvi_step_result second = rig_forward(r, 0, 1.0);
    return memcmp(before, second.query.data, bytes) != 0;
}

static void batch_norm_sees_the_views_as_the_authors_code_has_it(void **state)
{
    test_env *t = *state;
    static const struct {
        const char *method;
        bool        both;
    } cases[] = { { "simclr", true }, { "supcon", true },   { "barlow", false }, { "vicreg", false },
                  { "byol", false },  { "mocov3", false }, { "moco", false },   { "simsiam", false } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rig *r = make(t, cases[i].method, "", NULL, NULL);
        if (sees_both(r) != cases[i].both) fail_msg("%s", cases[i].method);
        rig_destroy(r);
    }
}

static double read_first(clvi_method *m, const char *name)
{
    static float values[1 << 16];
    clv_params *params = clvi_method_params(m, false);
    const int64_t i = clv_params_find(params, name);
    clv_param_info info;
    assert_true(i >= 0);
    assert_ok(clv_params_info(params, i, &info));
    clv_view view = clv_view_dense(values, CLV_F32, info.ndim, info.shape);
    assert_true(clv_view_count(&view) <= 1 << 16);
    assert_ok(clv_params_read(params, i, CLV_PARAM_VALUE, &view));
    return values[0];
}

static void a_held_predictor_keeps_its_learning_rate(void **state)
{
    test_env *t = *state;
    static const char predictor[] = "predictor.fc.0.weight", backbone[] = "conv1.weight";
    for (int held = 0; held < 2; held++) {
        rig *r = make(t, "simsiam", "", "fix-pred-lr", held ? "true" : "false");
        const double before[2] = { read_first(r->method, predictor), read_first(r->method, backbone) };
        rig_forward(r, 0, 1.0);
        update(r, 0, 0.0);                                     /* the schedule says 0 */
        assert_true((read_first(r->method, predictor) != before[0]) == held);
        assert_near(read_first(r->method, backbone), before[1], 0);
        rig_destroy(r);
    }
}

static void a_classifier_learns_its_batch_by_heart(void **state)
{
    test_env *t = *state;
    static const char *const losses[] = { "cross_entropy label-smoothing=0.1", "focal", "arcface s=8 m=0.1",
                                          "cosface s=8 m=0.1", "unpg s=8 m=0.1" };
    for (int i = 0; i < 5; i++) {
        rig *r = make(t, "supervised", losses[i], NULL, NULL);
        const double first = rig_forward(r, 0, 0).loss;
        for (int step = 1; step <= 60; step++) {
            update(r, step, 0.05);
            rig_forward(r, step, 0);
        }
        assert_true(rig_forward(r, 61, 0).loss < 0.8 * first);
        if (rig_metric(r, "train/acc1") < 90) fail_msg("%s: %g %%", losses[i], rig_metric(r, "train/acc1"));
        rig_destroy(r);
    }
}

static void losses_add_up_with_their_weights(void **state)
{
    test_env *t = *state;
    rig *both = make(t, "supervised", "cross_entropy; opl weight=0.5 gamma=2", NULL, NULL);
    rig *one = make(t, "supervised", "cross_entropy", NULL, NULL);
    rig *two = make(t, "supervised", "opl gamma=2", NULL, NULL);
    const double sum = rig_forward(both, 0, 0).loss, ce = rig_forward(one, 0, 0).loss, opl = rig_forward(two, 0, 0).loss;
    assert_near(sum, ce + 0.5 * opl, 1e-5);
    assert_near(rig_metric(both, "cross_entropy/loss"), ce, 1e-5);
    assert_near(rig_metric(both, "opl/loss"), opl, 1e-5);
    const double s = rig_metric(both, "opl/pos_mean"), d = rig_metric(both, "opl/neg_term");
    assert_near(opl, 1 - s + 2 * d, 1e-5);
    rig *r = NULL;
    assert_fails(try_make(t, "supervised", "cross_entropy; arcface", NULL, NULL, CLASSES, &r), CLV_ERR_INVALID,
                 "two different classifiers");
    rig_destroy(r);
    rig_destroy(both);
    rig_destroy(one);
    rig_destroy(two);
}

/* ---- repulsor: a bank beside a classifier ---- */

static void features_are_kept_away_from_those_of_earlier_batches(void **state)
{
    test_env *t = *state;
    static const char text[] = "cross_entropy; repulsor weight=0.5 tau=0.5";
    rig *r = make(t, "supervised", text, "queue-init", "empty");
    rig *plain = make(t, "supervised", "cross_entropy", NULL, NULL);
    const clv_bank *bank = r->method->bank;
    assert_non_null(bank);
    assert_string_equal(clv_bank_kind(bank), "repulsor");
    assert_true(clv_bank_capacity(bank) == 32 && clv_bank_dim(bank) == r->method->dim);
    const clvi_step_result first = rig_forward(r, 0, 0);
    assert_ptr_equal(first.bank, bank);
    assert_near(first.loss, rig_forward(plain, 0, 0).loss, 1e-6);          /* nothing to keep away from yet */
    assert_near(rig_metric(r, "repulsor/loss"), 0, 0);

    const size_t bytes = (size_t)(BATCH * r->method->dim) * sizeof(float);
    float *unit = malloc(bytes);
    assert_non_null(unit);
    memcpy(unit, first.query.data, bytes);
    update(r, 0, 0);                                                   /* the network stays as it is */
    const float *rows = clv_bank_rows(bank).data;
    for (int64_t i = 0; i < BATCH * r->method->dim; i++) assert_near(rows[i], unit[i], 1e-6);
    for (int i = 0; i < BATCH; i++) assert_int_equal(((const int64_t *)clv_bank_ids(bank).data)[i], r->ids[i]);

    double sum = 0;                                                    /* the formula, on unit rows and tau 0.5 */
    const int64_t dim = r->method->dim;
    for (int b = 0; b < BATCH; b++)
        for (int j = 0; j < BATCH; j++) {
            double squares = 0;
            for (int64_t d = 0; d < dim; d++) squares += pow(unit[b * dim + d] - unit[j * dim + d], 2);
            sum += exp(-squares / 0.5);
        }
    const double wanted = 0.5 * log(sum / (BATCH * BATCH));            /* the option of the loss, not of the term */
    const double loss = rig_forward(r, 1, 0).loss;
    assert_near(rig_metric(r, "repulsor/loss"), wanted, 1e-5);
    assert_near(loss, rig_metric(r, "cross_entropy/loss") + wanted, 1e-5);
    free(unit);
    rig_destroy(plain);
    rig_destroy(r);
}

static void features_go_into_the_bank_projected_and_as_the_settings_say(void **state)
{
    test_env *t = *state;
    rig *r = make(t, "supervised", "cross_entropy; repulsor", "queue-dim", "8");
    assert_int_equal(clv_bank_dim(r->method->bank), 8);
    const double before = read_first(r->method, "repulsor.weight");
    for (int step = 0; step < 3; step++) {
        rig_forward(r, step, 0);
        update(r, step, 0.05);
    }
    assert_true(read_first(r->method, "repulsor.weight") != before);   /* it is trained */
    assert_int_equal(clv_bank_pushes(r->method->bank), 3);
    assert_int_equal(clv_bank_pointer(r->method->bank), 3 * BATCH % 32);
    rig_destroy(r);

    rig *raw = make(t, "supervised", "opl normalize=true; repulsor normalize=false", "queue-init", "empty");
    rig_forward(raw, 0, 0);
    update(raw, 0, 0);
    clv_bank_statistics kept;
    assert_ok(clv_bank_stats(raw->method->bank, &kept));
    assert_true(fabs(kept.norm_mean - 1) > 1e-2);                      /* the loss's own option, not that of opl */
    rig_destroy(raw);
    rig *moved = make(t, "supervised", "repulsor", "queue-update", "ema");
    rig *replaced = make(t, "supervised", "repulsor", NULL, NULL);
    for (int i = 0; i < 2; i++) {
        rig *one = i ? replaced : moved;
        rig_forward(one, 0, 0);
        update(one, 0, 0);
    }
    assert_memory_not_equal(clv_bank_rows(moved->method->bank).data, clv_bank_rows(replaced->method->bank).data,
                            (size_t)(BATCH * moved->method->dim) * sizeof(float));
    rig_destroy(moved);
    rig_destroy(replaced);
}

static clv_config *repulsor_config(test_env *t, const char *directory, const char *name, const char *value)
{
    return test_run_config(t, directory, "method", "supervised", "loss", "cross_entropy; repulsor weight=0.5", "moco-m",
                           "0.999", "moco-dim", "128", "moco-k", "48", "queue-init", "empty", "queue-update", "ema",
                           "queue-momentum", "0.5", "queue-dim", "8", "print-freq", "1", name, value, NULL);
}

static void a_run_with_a_bank_of_features_goes_on_to_the_same_bits(void **state)
{
    test_env *t = *state;
    watch w = { .stop_at = -1 }, stop = { .stop_at = 7 };
    assert_ok(test_run(t, repulsor_config(t, "whole", "workers", "0"), watches, &w));
    assert_true(w.bank && !w.teacher && !w.scores && isfinite(w.epoch_loss[1]) && w.fill == 1);
    assert_int_equal(test_run(t, repulsor_config(t, "cut", "workers", "2"), watches, &stop), CLV_STOPPED);
    stop.stop_at = -1;
    assert_ok(test_run(t, repulsor_config(t, "cut", "resume", "auto"), watches, &stop));
    assert_true(test_same_file(t, "whole/last.h5", "cut/last.h5"));

    clv_encoder_desc desc = CLV_ENCODER_DESC_INIT;                     /* the projection stays behind */
    clv_encoder *e = NULL;
    desc.checkpoint = test_path(t, "whole");
    assert_ok(clv_encoder_open(t->ctx, &desc, &e));
    clv_encoder_destroy(e);
}

static void a_run_with_a_bank_of_features_says_so(void **state)
{
    test_env *t = *state;
    clv_trainer *trainer = NULL;
    clv_config *config = repulsor_config(t, "dry", "workers", "0");
    told k = { "" };
    assert_ok(clv_trainer_create(t->ctx, config, NULL, NULL, &trainer));
    clv_config_destroy(config);
    assert_ok(clv_trainer_describe(trainer, keeps, &k));
    assert_non_null(strstr(k.text, "bank: repulsor, 48 x 8 float32"));
    assert_non_null(strstr(k.text, "bank 1536, "));                    /* bytes */
    clv_trainer_destroy(trainer);
    static const char *const cases[][3] = {
        { "queue-update", "fifo", "queue-momentum '0.5' cannot act with queue-update fifo" },
        { "queue-update", "lifo", "queue-update" },
        { "loss", "repulsor; repulsr", "did you mean 'repulsor'" },
        { "loss", "repulsor update=ema", "update" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        config = repulsor_config(t, "dry", NULL, NULL);
        clv_status st = clv_config_set(config, cases[i][0], cases[i][1]);
        if (st == CLV_OK) st = clv_trainer_create(t->ctx, config, NULL, NULL, &trainer);
        assert_fails(st, CLV_ERR_INVALID, cases[i][2]);
        clv_config_destroy(config);
    }
}

TEST_MAIN(TEST(a_step_lowers_the_loss_by_what_the_gradient_says),
          TEST(a_momentum_encoder_is_led_to_the_bits_it_would_follow_to),
          TEST(embeddings_are_looked_at_as_unit_rows_in_the_order_of_the_batch),
          TEST(a_loss_a_method_cannot_take_is_refused_with_those_it_can), TEST(methods_of_labels_refuse_data_without),
          TEST(every_loss_can_be_named_in_a_recipe),
          TEST(every_method_learns_and_goes_on_to_the_same_bits), TEST(every_method_says_what_it_would_do),
          TEST(features_of_every_method_can_be_embedded), TEST(settings_of_other_methods_are_refused),
          TEST(batch_norm_sees_the_views_as_the_authors_code_has_it), TEST(a_held_predictor_keeps_its_learning_rate),
          TEST(a_classifier_learns_its_batch_by_heart),
          TEST(losses_add_up_with_their_weights), TEST(features_are_kept_away_from_those_of_earlier_batches),
          TEST(features_go_into_the_bank_projected_and_as_the_settings_say),
          TEST(a_run_with_a_bank_of_features_goes_on_to_the_same_bits), TEST(a_run_with_a_bank_of_features_says_so))
