/* rules.c: settings that could not act are refused rather than ignored. A setting that something stronger switches off
 * (a recipe's knn-k under the flag --knn-freq 0) is left alone: whoever switched it off knew. */
#include "train/step/method.h"
#include "train/step/network.h"
#include "core/checked.h"

#include <cleave/backbone.h>
#include <stdio.h>
#include <string.h>

/* `name` acts only while `acts`; `by` is the option that decides it, `why` completes "X cannot act ...". */
typedef struct rule {
    bool        acts;
    const char *name, *by, *why;
} rule;

static int source_of(const clv_config *config, const char *name)
{
    return config->source[clvi_settings_find(name) - clvi_settings_table];
}

static clv_status check(const clv_config *config, const rule *r)
{
    const clvi_option *option = clvi_settings_find(r->name);
    char value[CLVI_PATH_SIZE];
    if (r->acts || source_of(config, r->name) < source_of(config, r->by)) return CLV_OK;
    (void)clvi_option_format(option, &config->settings, value, sizeof value);
    CLV_CHECK(!strcmp(value, option->info.def), CLV_ERR_INVALID, "%s '%s' cannot act %s", r->name, value, r->why);
    return CLV_OK;
}

static bool head_has(const char *head, const char *name)
{
    const clv_option_info *o;
    for (int i = 0; head && (o = clv_head_option_at(head, i)); i++)
        if (!strcmp(o->name, name)) return true;
    return false;
}

/* Settings that act for some methods only. */
static clv_status check_method(const clv_config *config)
{
    static const char *const some[] = {
        "mlp",  "moco-k",     "moco-m",     "moco-m-cos",       "symmetric",   "shuffle-bn", "bn-buffers",
        "bank", "queue-init", "queue-mask", "moco-queue-dtype", "fix-pred-lr", "queue-update", "queue-momentum",
        "queue-dim", "flow-time", "freeze", "val-freq", "mixup-alpha", "cutmix-alpha", "context",
        "word-dim", "word-rows", "word-drop", NULL,
    };
    static const char *const of_images[] = {
        "split", "val-split", "aug", "aug-plus", "aug-device", "eval-aug", "size", "crop-min", "workers", "prefetch",
        "exact-decode", "arch", "weights", "stem", "width", "patch", "stop-grad-conv1", "drop-path", "dropout",
        "drop-block", "zero-init-residual", "bn-splits", "cudnn-benchmark",
        "stop-on-collapse", "knn-freq", "knn-k", "knn-t", "knn-layer", "knn-bank", "knn-queries",
    };
    static const char *const of_bank[] = {
        "moco-k", "queue-init", "moco-queue-dtype", "queue-update", "queue-momentum", "queue-dim",
    };
    const clvi_settings *s = &config->settings;
    const clvi_method_class *m = NULL;
    clvi_objective loss;
    char with_method[96], with_loss[160];
    CLV_TRY(clvi_method_find(s->method, &m));
    CLV_TRY(clvi_objective_parse(s->loss, m->info.name, clvi_method_takes(m, s), &loss));
    snprintf(with_method, sizeof with_method, "with method '%s'", m->info.name);
    snprintf(with_loss, sizeof with_loss, "with the loss '%s'", loss.term[0].name);
    for (int i = 0; some[i]; i++) {
        const rule r = { clvi_method_uses(m, some[i]), some[i], "method", with_method };
        CLV_TRY(check(config, &r));
    }
    for (size_t i = 0; i < CLVI_COUNT(of_images); i++)
        CLV_TRY(check(config, &(rule) { !m->text, of_images[i], "method", with_method }));
    const char *head = clvi_method_head(m, s);
    const bool by_mlp = clvi_method_uses(m, "mlp");
    const rule rules[] = {
        { m->text || head_has(head, "dim"), "moco-dim", "method", with_method },
        { head_has(head, "hidden"), "moco-mlp-dim", by_mlp ? "mlp" : "method", by_mlp ? "without mlp" : with_method },
        { head_has(head, "layers"), "proj-layers", "method", with_method },
        { m->predictor, "pred-dim", "method", with_method },
        { m->views > 1, "aug2", "method", with_method },
        { clvi_objective_has(&loss, "temperature"), "moco-t", "loss", with_loss },
        { clvi_objective_reads(&loss, "mask"), "queue-mask", "loss", with_loss },
        { s->queue_update == CLVI_QUEUE_EMA, "queue-momentum", "queue-update", "with queue-update fifo" },
    };
    for (size_t i = 0; i < CLVI_COUNT(of_bank); i++) {
        const bool acts = !clvi_method_uses(m, of_bank[i]) || clvi_objective_reads(&loss, "queue");
        CLV_TRY(check(config, &(rule) { acts, of_bank[i], "loss", with_loss }));
    }
    for (size_t i = 0; i < CLVI_COUNT(rules); i++) CLV_TRY(check(config, &rules[i]));
    return CLV_OK;
}

/* Settings that act for some optimisers only. */
static clv_status check_optimizer(const clv_config *config)
{
    static const char *const some[] = {
        "momentum", "nesterov", "beta1", "beta2", "eps", "trust-coefficient", "clip-lr", "exclude-bias-n-norm-wd",
        "exclude-bias-n-norm-lars", NULL,
    };
    const clvi_optimizer_class *o = NULL;
    char with[160];
    CLV_TRY(clvi_optimizer_find(config->settings.optimizer, &o));
    for (int i = 0; some[i]; i++) {
        const bool always = !strncmp(some[i], "exclude-", 8) && o->no_decay == CLVI_EXCLUDES_ALWAYS;
        snprintf(with, sizeof with, "with optimizer '%s'%s", o->info.name,
                 always ? ": it leaves biases and norms out in any case" : "");
        const rule r = { clvi_optimizer_uses(o, some[i]), some[i], "optimizer", with };
        CLV_TRY(check(config, &r));
    }
    return CLV_OK;
}

clv_status clvi_config_check(const clv_config *config)
{
    const clvi_settings *s = &config->settings;
    const bool knn = s->knn_freq > 0, val = knn || clvi_classifies(s);
    static const char no_knn[] = "with knn-freq 0";
    char with_arch[128];
    snprintf(with_arch, sizeof with_arch, "with arch '%s', which has no batch norm", s->arch);
    const rule rules[] = {
        { !s->aug[0], "aug-plus", "aug", "with an augmentation given by aug" },
        { s->workers > 0, "prefetch", "workers", "with workers 0" },
        { s->dropout > 0, "drop-block", "dropout", "with dropout 0" },
        { s->bn_splits > 1, "shuffle-bn", "bn-splits", "with bn-splits 1" },
        { clvi_network_has_batch_norm(s), "sync-bn", "arch", with_arch },
        { clvi_network_has_batch_norm(s), "bn-splits", "arch", with_arch },
        { s->momentum > 0, "nesterov", "momentum", "with momentum 0" },
        { s->warmup_epochs > 0, "warmup-by", "warmup-epochs", "with warmup-epochs 0" },
        { s->warmup_epochs > 0, "warmup-start-lr", "warmup-epochs", "with warmup-epochs 0" },
        { s->mixup_alpha > 0 || s->cutmix_alpha > 0, "mixup-prob", "mixup-alpha", "without mixup-alpha or cutmix-alpha" },
        { s->mixup_alpha > 0 && s->cutmix_alpha > 0, "mixup-switch-prob", "mixup-alpha",
          "without both mixup-alpha and cutmix-alpha" },
        { s->weight_decay > 0, "exclude-bias-n-norm-wd", "weight-decay", "with weight-decay 0" },
        { !s->cos, "schedule", "cos", "with cos" },
        { !s->cos && s->schedule[0], "lr-drop", "cos", s->cos ? "with cos" : "with an empty schedule" },
        { !s->detect_anomaly, "on-nan", "detect-anomaly", "with detect-anomaly, which ends the run" },
        { !s->freeze, "micro-batch-size", "freeze", "with freeze: no activations are kept" },
        { s->cos, "lr-end", "cos", "without cos" },
        { s->lr > 0, "lr-biases", "lr", "with lr 0" },
        { s->stop_epoch <= s->epochs, "stop-epoch", "epochs", "beyond epochs" },
        { val, "val-data", "knn-freq", no_knn },  { val, "val-split", "knn-freq", no_knn },
        { knn, "knn-k", "knn-freq", no_knn },     { knn, "knn-t", "knn-freq", no_knn },
        { knn, "knn-layer", "knn-freq", no_knn }, { knn, "knn-bank", "knn-freq", no_knn },
        { knn, "knn-queries", "knn-freq", no_knn },
    };
    for (size_t i = 0; i < CLVI_COUNT(rules); i++) CLV_TRY(check(config, &rules[i]));
    CLV_TRY(check_optimizer(config));
    return check_method(config);
}
