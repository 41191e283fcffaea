/* trainer.c: a run put together: data, augmentation, method, schedule, files. */
#include "train/trainer.h"
#include "train/files/foreign.h"
#include "train/step/network.h"
#include "train/text.h"
#include "core/checked.h"
#include "core/file.h"
#include "core/memory.h"
#include "device/backend.h"
#include "tensor/op.h"

#include <cleave/device.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MIB 1048576.0
#define GIB (1024.0 * MIB)

bool clvi_trainer_speaks(const clv_trainer *t)
{
    return !t->comm || t->comm->rank == 0;
}

int clv_trainer_rank(const clv_trainer *t)
{
    return t && t->comm ? t->comm->rank : 0;
}

void clvi_trainer_note(clv_trainer *t, const char *fmt, ...)
{
    if (!clvi_trainer_speaks(t)) return;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const clv_progress p = { .kind = CLV_PROGRESS_NOTE, .note = text };
    if (t->progress && !t->progress(&p, t->user)) t->stop = true;
}

/* ---- data ---- */

static const char *or_null(const char *text)
{
    return text[0] ? text : NULL;
}

/* Sets whose classes are called differently count them differently. */
static clv_status check_classes(const clv_trainer *t)
{
    clv_dataset_info train, val;
    clv_dataset_describe(t->train, &train);
    clv_dataset_describe(t->val, &val);
    for (int64_t c = 0; c < train.classes && c < val.classes; c++) {
        const char *a = clv_dataset_class_name(t->train, c), *b = clv_dataset_class_name(t->val, c);
        CLV_CHECK(!a || !b || strcmp(a, b) == 0, CLV_ERR_INVALID,
                  "class %" PRId64 " is called '%.60s' in '%s' and '%.60s' in '%s'", c, a, train.path, b, val.path);
    }
    return CLV_OK;
}

/* The split to classify: the one given, or "test" or "val" where the set has one. */
static clv_status open_val(clv_trainer *t)
{
    const clvi_settings *s = t->settings;
    const char *path = s->val_data[0] ? s->val_data : s->data, *split = or_null(s->val_split);
    clv_dataset_splits splits;
    CLV_TRY(clv_dataset_list_splits(t->ctx, path, &splits));
    if (!split) split = clv_dataset_held_out(&splits);
    if (!split && !s->val_data[0]) return CLV_OK;             /* nothing held out */
    CLV_TRY(clv_dataset_open(t->ctx, path, split, &t->val));
    clv_dataset_info info;
    clv_dataset_describe(t->val, &info);
    if (info.has_labels) return check_classes(t);
    CLV_CHECK(!s->val_data[0] && !s->val_split[0], CLV_ERR_INVALID,
              "'%s' has no labels to compare with", path);
    clv_dataset_destroy(t->val);
    t->val = NULL;
    return CLV_OK;
}

/* What the kNN monitor will not do, although the settings ask for it, and a bank that is too long. */
static void tell_limits(clv_trainer *t)
{
    const clvi_settings *s = t->settings;
    if (t->method->bank && s->moco_k > t->info.count / 2)
        clvi_trainer_note(t,
                          "moco-k %" PRId64 " is more than half of the %" PRId64
                          " images: the bank holds each image's own "
                          "recent features as negatives; %" PRId64 " is a usual choice here",
                          s->moco_k, t->info.count, CLVI_MAX(t->info.count / 10, INT64_C(1)));
    if (s->knn_freq > 0 && !t->info.has_labels)
        clvi_trainer_note(t, "'%s' has no labels: no kNN accuracy is measured", s->data);
    else if (s->knn_freq > 0 && !t->val && s->knn_queries > 0)
        clvi_trainer_note(t, "'%s' holds nothing out: the kNN monitor leaves one out, and knn-queries does not act",
                          s->data);
}

static clv_status open_data(clv_trainer *t)
{
    const clvi_settings *s = t->settings;
    const clvi_method_class *method = NULL;
    CLV_CHECK(s->data[0], CLV_ERR_INVALID, "no data set given: name one ('data: PATH', or PATH on the command line)");
    CLV_TRY(clvi_method_find(s->method, &method));
    if (method->text) return clvi_text_open(t);
    CLV_TRY(clv_dataset_open(t->ctx, s->data, or_null(s->split), &t->train));
    clv_dataset_describe(t->train, &t->info);
    CLV_CHECK(t->info.count >= s->batch_size, CLV_ERR_INVALID,
              "'%s' has %" PRId64 " images, fewer than one batch of %" PRId64, s->data, t->info.count, s->batch_size);
    if ((s->knn_freq > 0 || clvi_classifies(s)) && t->info.has_labels) CLV_TRY(open_val(t));
    return CLV_OK;
}

/* The loader packs pictures, of which a device makes the views. */
static clv_status open_maker(clv_trainer *t, const clv_augment *const *chains, clv_transform *pack)
{
    _Static_assert(CLVI_MAX_VIEWS <= CLVI_PACK_VIEWS, "all views of a picture travel together");
    CLV_TRY(clvi_method_check_made_there(t->method));
    CLV_TRY(clvi_packer_init(chains, t->method->cls->views, t->info.channels, &t->packer));
    clvi_packer_transform(&t->packer, pack);
    return clvi_view_maker_create(t->ctx, &t->packer, t->method->division.local, &t->maker);
}

static clv_status open_images(clv_trainer *t)
{
    const clvi_settings *s = t->settings;
    const clv_augment *const chains[CLVI_MAX_VIEWS] = { t->augment, t->augment2 ? t->augment2 : t->augment };
    clv_transform transforms[CLVI_MAX_VIEWS];
    const bool packs = s->aug_device == CLVI_AUG_ON_GPU;
    const int views = packs ? 1 : t->method->cls->views;
    for (int v = 0; v < views && !packs; v++) CLV_TRY(clv_augment_transform(chains[v], &transforms[v]));
    if (packs) CLV_TRY(open_maker(t, chains, &transforms[0]));
    clv_loader_desc desc = CLV_LOADER_DESC_INIT;
    desc.batch_size = t->method->division.local;
    desc.rank = t->method->division.rank;
    desc.ranks = t->method->division.ranks;
    desc.views = views;
    desc.transforms = transforms;
    desc.seed = (uint64_t)s->seed;
    desc.workers = (int)s->workers;
    desc.prefetch = (int)s->prefetch;
    desc.exact_decode = s->exact_decode;
    CLV_TRY(clv_loader_create(t->ctx, t->train, &desc, &t->loader));
    t->steps_per_epoch = clv_loader_steps_per_epoch(t->loader);
    return CLV_OK;
}

static clv_status open_words(clv_trainer *t)
{
    CLV_TRY(clvi_text_open_words(t));
    t->steps_per_epoch = clvi_words_steps_per_epoch(clvi_text_words(t->text));
    return CLV_OK;
}

static clv_status open_loader(clv_trainer *t)
{
    const size_t batch = (size_t)t->settings->batch_size;
    CLV_TRY(t->text ? open_words(t) : open_images(t));
    if (t->method->division.ranks == 1) return CLV_OK;
    t->labels = clvi_calloc(t->ctx, batch, sizeof *t->labels);
    t->ids = clvi_calloc(t->ctx, batch, sizeof *t->ids);
    return t->labels && t->ids ? CLV_OK : CLV_ERR_NOMEM;
}

/* ---- the rest ---- */

static clv_status make_schedule(clv_trainer *t)
{
    const clvi_settings *s = t->settings;
    t->schedule = (clvi_schedule){
        .base = clvi_schedule_base(s), .cosine = s->cos, .by_step = s->schedule_by == CLVI_SCHEDULE_BY_STEP,
        .warmup = s->warmup_epochs, .warmup_start = s->warmup_start_lr,
        .warmup_by_epoch = s->warmup_by == CLVI_WARMUP_BY_EPOCH, .horizon = (double)s->epochs, .end = s->lr_end, .drop = s->lr_drop,
        .start = s->schedule_start,
    };
    return s->cos ? CLV_OK : clvi_schedule_milestones(&t->schedule, s->schedule);
}

static clv_status make_chains(clv_trainer *t, clv_transform *view)
{
    clv_augment *eval = NULL;
    CLV_TRY(clvi_chain_create(t->ctx, clvi_train_chain(t->settings), t->settings, true, &t->augment));
    CLV_TRY(clv_augment_transform(t->augment, view));
    if (t->settings->aug2[0]) {
        clv_transform second;
        CLV_TRY(clvi_chain_create(t->ctx, t->settings->aug2, t->settings, true, &t->augment2));
        CLV_TRY(clv_augment_transform(t->augment2, &second));
        CLV_CHECK(second.height == view->height && second.width == view->width, CLV_ERR_INVALID,
                  "aug2 makes pictures of %" PRId64 "x%" PRId64 ", aug of %" PRId64 "x%" PRId64, second.height,
                  second.width, view->height, view->width);
    }
    CLV_TRY(clvi_chain_create(t->ctx, clvi_eval_chain(t->settings), t->settings, false, &eval));
    t->eval_aug = clvi_strdup(t->ctx, clv_augment_describe(eval));
    clv_augment_destroy(eval);
    return t->eval_aug ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status make_method(clv_trainer *t)
{
    clv_transform view = { .height = 0 };
    if (!t->text) CLV_TRY(make_chains(t, &view));
    else if (!(t->eval_aug = clvi_strdup(t->ctx, ""))) return CLV_ERR_NOMEM;
    const clvi_method_setup setup = {
        .ctx = t->ctx,
        .settings = t->settings,
        .channels = t->info.channels,
        .height = view.height,
        .width = view.width,
        .classes = t->info.has_labels ? t->info.classes : 0,
        .comm = t->comm,
    };
    CLV_TRY(clvi_method_create(&setup, &t->method));
    if (!t->text) tell_limits(t);
    return CLV_OK;
}

static void note_line(const char *text, void *user)
{
    clvi_trainer_note(user, "%s", text);
}

/* A fresh run starts from the weights of another. */
static clv_status load_weights(clv_trainer *t)
{
    const char *name;
    clv_params *params;
    for (int i = 0; clvi_method_network(t->method, i, &name, &params); i++)
        if (params)
            CLV_TRY(clvi_foreign_load(t->ctx, t->settings, t->info.channels, params, i == 0 ? note_line : NULL, t));
    return CLV_OK;
}

/* A context that has a device already keeps it: its owner chose. Of several ranks on a machine each has its own. */
static clv_status use_device(clv_trainer *t)
{
    const char *device = t->settings->device;
    char own[24];
    snprintf(own, sizeof own, "%s:%d", device, t->comm->local);
    if (strcmp(device, "cpu") != 0 && !t->ctx->device)
        CLV_TRY(clv_context_use(t->ctx, t->comm->ranks > 1 && !strchr(device, ':') ? own : device));
    if (t->settings->detect_anomaly) CLV_TRY(clv_context_detect_anomaly(t->ctx, true));
    return t->settings->cudnn_benchmark ? clv_context_benchmark(t->ctx, true) : CLV_OK;
}

/* What a run was computed in is part of what it says of itself, so "auto" becomes what it found. */
static clv_status settle_precision(clv_trainer *t)
{
    clv_precision resolved;
    CLV_TRY(clvi_precision_settle(t->ctx, (clv_precision)t->settings->precision, &resolved));
    t->settings->precision = (int)resolved;
    return CLV_OK;
}

/* What batch norm sees is part of what the run is, however it is computed later. */
static void settle_division(clv_trainer *t)
{
    if (clvi_network_has_batch_norm(t->settings)) clvi_division_settle(t->settings, t->comm);
}

/* What steps work in, before any of it is used. */
typedef struct planned {
    clvi_method_bytes steps;
    size_t            loader, all;
} planned;

static clv_status plan_memory(clv_trainer *t, planned *p)
{
    CLV_TRY(clvi_method_memory(t->method, &p->steps));
    p->loader = t->text ? clvi_words_memory(clvi_text_words(t->text)) : clv_loader_memory(t->loader);
    p->all = p->steps.parameters + p->steps.gradients + p->steps.optimizer + p->steps.activations + p->steps.bank +
             p->loader;
    return CLV_OK;
}

/* The system lets a process have more memory than there is, and ends it when it writes there, without a word: better
 * one beforehand. A device has memory of its own, and says itself when that is short. */
static clv_status note_memory(clv_trainer *t)
{
    const size_t available = clvi_memory_available();
    planned p;
    if (!clvi_trainer_speaks(t) || strcmp(t->settings->device, "cpu") != 0 || available == 0) return CLV_OK;
    CLV_TRY(plan_memory(t, &p));
    if (p.all > available)
        clvi_trainer_note(t, "this run works in %.1f GiB of memory, %.1f GiB of them for batches loaded ahead, and "
                          "%.1f GiB are available: the system may end it. A smaller micro-batch-size, recompute, or a "
                          "smaller prefetch takes less", (double)p.all / GIB, (double)p.loader / GIB,
                          (double)available / GIB);
    return CLV_OK;
}

static clv_status build(clv_trainer *t, const clv_config *config)
{
    CLV_TRY(clv_config_create(t->ctx, &t->config));
    t->config->settings = config->settings;
    memcpy(t->config->source, config->source, sizeof config->source);
    t->settings = &t->config->settings;
    CLV_TRY(clvi_comm_open(t->ctx, t->settings->device, &t->comm));
    settle_division(t);
    CLV_CHECK(t->settings->results_dir[0], CLV_ERR_INVALID, "no run directory given (results-dir)");
    CLV_TRY(clvi_config_check(t->config));
    t->at.best = -1.0;
    CLV_TRY(use_device(t));
    CLV_TRY(settle_precision(t));
    CLV_TRY(make_schedule(t));
    CLV_TRY(open_data(t));
    CLV_TRY(make_method(t));
    CLV_TRY(open_loader(t));
    CLV_TRY(note_memory(t));
    CLV_TRY(clvi_resume(t));
    return t->settings->weights[0] && t->at.total == 0 ? load_weights(t) : CLV_OK;
}

clv_status clv_trainer_create(clv_context *ctx, const clv_config *config, clv_progress_fn progress, void *user,
                              clv_trainer **out)
{
    CLV_CHECK(ctx && config && out, CLV_ERR_INVALID, "clv_trainer_create: an argument is NULL");
    *out = NULL;
    clv_trainer *t = clvi_calloc(ctx, 1, sizeof *t);
    if (!t) return CLV_ERR_NOMEM;
    t->ctx = ctx;
    t->progress = progress;
    t->user = user;
    t->directory = -1;
    const clv_status st = build(t, config);
    if (st != CLV_OK) {
        t->failed = true;
        clv_trainer_destroy(t);
        return st;
    }
    *out = t;
    return CLV_OK;
}

void clv_trainer_destroy(clv_trainer *t)
{
    if (!t) return;
    clvi_monitor_release(t);
    clvi_guard_release(t);
    clvi_tensorboard_close(t->tensorboard);
    clvi_runlog_close(t->log);
    clvi_rundir_release(t);
    clv_loader_destroy(t->loader);
    clvi_view_maker_destroy(t->maker);
    clvi_method_destroy(t->method);
    clv_augment_destroy(t->augment2);
    clv_augment_destroy(t->augment);
    clvi_text_release(t);
    clvi_free(t->ctx, t->eval_aug);
    clv_dataset_destroy(t->val);
    clv_dataset_destroy(t->train);
    clv_config_destroy(t->config);
    for (int i = 0; i < CLVI_SLOTS; i++) clvi_free(t->ctx, t->kept[i]);
    clvi_free(t->ctx, t->labels);
    clvi_free(t->ctx, t->ids);
    clvi_comm_close(t->comm, t->failed);
    clvi_free(t->ctx, t);
}

static clv_status describe_memory(clv_trainer *t, void (*line)(const char *text, void *user), void *user)
{
    planned m;
    char text[320];
    CLV_TRY(plan_memory(t, &m));
    snprintf(text, sizeof text,
             "memory in bytes: parameters %zu, gradients %zu, optimiser %zu, activations %zu, bank %zu, loader %zu; "
             "in all %zu (%.1f MiB)", m.steps.parameters, m.steps.gradients, m.steps.optimizer, m.steps.activations,
             m.steps.bank, m.loader, m.all, (double)m.all / MIB);
    line(text, user);
    return CLV_OK;
}

static void describe_data(const clv_trainer *t, void (*line)(const char *text, void *user), void *user)
{
    const clv_dataset_info *i = &t->info;
    char text[CLVI_PATH_SIZE + 256], channels[48];
    snprintf(channels, sizeof channels, ", %" PRId64 " channels", i->channels);
    snprintf(text, sizeof text, "data: %s '%s'%s%s, %" PRId64 " %s%s, %" PRId64 " %s", i->kind, t->settings->data,
             i->split[0] ? " split " : "", i->split, i->count, t->text ? "words" : "images", t->text ? "" : channels,
             i->classes, t->text ? "tags" : "classes");
    line(text, user);
}

static void describe_chains(const clv_trainer *t, void (*line)(const char *text, void *user), void *user)
{
    char text[8192];                       /* room for a chain */
    snprintf(text, sizeof text, "augmentation: %s", clv_augment_describe(t->augment));
    line(text, user);
    if (t->augment2) {
        snprintf(text, sizeof text, "augmentation of the second view: %s", clv_augment_describe(t->augment2));
        line(text, user);
    }
    if (t->maker) {
        snprintf(text, sizeof text, "views: made by the device, of %zu bytes a picture; %.1f MiB there", t->packer.room,
                 (double)clvi_view_maker_memory(t->maker) / 1048576.0);
        line(text, user);
    }
    snprintf(text, sizeof text, "evaluation: %s", t->eval_aug);
    line(text, user);
}

static const char *const precisions[] = {
    [CLV_PRECISION_FULL] = "fp32",
    [CLV_PRECISION_TF32] = "tf32 (operands of convolutions and matrix products rounded; the rest float32)",
    [CLV_PRECISION_BF16] = "bf16 (convolutions and what lies between; the rest float32)",
};

clv_status clv_trainer_describe(clv_trainer *t, void (*line)(const char *text, void *user), void *user)
{
    CLV_CHECK(t && line, CLV_ERR_INVALID, "clv_trainer_describe: an argument is NULL");
    const clvi_settings *s = t->settings;
    char text[512];
    if (!clvi_trainer_speaks(t)) return CLV_OK;
    describe_data(t, line, user);
    snprintf(text, sizeof text,
             "schedule: %" PRId64 " epochs of %" PRId64 " steps of %" PRId64 " %s; learning rate %g, first %g",
             s->epochs, t->steps_per_epoch, s->batch_size, t->text ? "words" : "images", t->schedule.base,
             clvi_schedule_at(&t->schedule, 0, 0, t->steps_per_epoch));
    line(text, user);
    if (s->lr_scaling != CLVI_LR_AS_GIVEN) {
        const bool linear = s->lr_scaling == CLVI_LR_LINEAR;
        snprintf(text, sizeof text, "lr-scaling: %s; learning rate %g = lr %g x %s%" PRId64 "%s",
                 linear ? "linear" : "sqrt", t->schedule.base, s->lr, linear ? "" : "sqrt(", s->batch_size,
                 linear ? " / 256" : ")");
        line(text, user);
    }
    snprintf(text, sizeof text, "precision: %s", precisions[s->precision]);
    line(text, user);
    CLV_TRY(clvi_method_describe(t->method, line, user));
    CLV_TRY(describe_memory(t, line, user));
    int64_t trainable = 0;
    const clv_params *params = clvi_method_params(t->method, false);
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        CLV_TRY(clv_params_info(params, i, &info));
        const clv_view shape = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        if (info.kind == CLV_PARAM_TRAINABLE) trainable += clv_view_count(&shape);
    }
    snprintf(text, sizeof text, "parameters: %" PRId64 " trainable; optimizer %s, weight decay %g, see each below",
             trainable, s->optimizer, s->weight_decay);
    line(text, user);
    if (!t->text) describe_chains(t, line, user);
    if (t->at.total > 0) {
        snprintf(text, sizeof text, "resumed: epoch %" PRId64 ", step %" PRId64, t->at.epoch + 1, t->at.step + 1);
        line(text, user);
    }
    return clvi_optimizer_describe(t->method->optimizer, line, user);
}
