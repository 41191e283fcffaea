/* rules.c: settings that could not act are refused rather than ignored. A setting that something stronger switches off
 * (a recipe's knn-k under the flag --knn-freq 0) is left alone: whoever switched it off knew. */
#include "train/config.h"
#include "core/checked.h"

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

clv_status clvi_config_check(const clv_config *config)
{
    const clvi_settings *s = &config->settings;
    const bool knn = s->knn_freq > 0;
    static const char no_knn[] = "with knn-freq 0";
    const rule rules[] = {
        { !s->aug[0], "aug-plus", "aug", "with an augmentation given by aug" },
        { s->workers > 0, "prefetch", "workers", "with workers 0" },
        { s->mlp, "moco-mlp-dim", "mlp", "without mlp" },
        { s->bn_splits > 1, "shuffle-bn", "bn-splits", "with bn-splits 1" },
        { s->momentum > 0, "nesterov", "momentum", "with momentum 0" },
        { !s->cos, "schedule", "cos", "with cos" },
        { s->stop_epoch <= s->epochs, "stop-epoch", "epochs", "beyond epochs" },
        { knn, "val-data", "knn-freq", no_knn },  { knn, "val-split", "knn-freq", no_knn },
        { knn, "knn-k", "knn-freq", no_knn },     { knn, "knn-t", "knn-freq", no_knn },
        { knn, "knn-layer", "knn-freq", no_knn }, { knn, "knn-bank", "knn-freq", no_knn },
        { knn, "knn-queries", "knn-freq", no_knn },
    };
    for (size_t i = 0; i < CLVI_COUNT(rules); i++) CLV_TRY(check(config, &rules[i]));
    return CLV_OK;
}
