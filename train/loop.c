/* loop.c: the training loop. Every number it writes is a function of configuration, data and seed; the clock only
 * enters what it tells the user. */
#include "train/text.h"
#include "core/checked.h"
#include "core/file.h"
#include "device/flat.h"

#include <cleave/profile.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds since this process began the epoch, and how many steps they cover. */
typedef struct epoch_clock {
    double  begin, data;
    int64_t steps;
} epoch_clock;

/* A step on its way, from its batch to what is told of it. */
typedef struct flight {
    clv_batch batch;
    clvi_step step;
    double    begin, data;              /* the clock, and seconds waited for the batch */
    int64_t   mark;                     /* of a profile */
    int64_t   optimized;                /* steps of the optimiser before it */
    bool      logged;
} flight;

/* An epoch on its way. */
typedef struct running_epoch {
    epoch_clock  clock;
    clv_progress last;
    flight       queued[CLVI_SLOTS];    /* steps that a device was given and the host knows nothing of, oldest first */
    int          n_queued;
} running_epoch;

static void tell(clv_trainer *t, const clv_progress *p)
{
    if (clvi_trainer_speaks(t) && t->progress && !t->progress(p, t->user)) t->stop = true;
}

/* All ranks stop when the first is told to. */
static clv_status agree_to_stop(clv_trainer *t)
{
    return clvi_comm_broadcast(t->comm, &t->stop, sizeof t->stop);
}

/* Ranks that went on from different checkpoints, or whose processors round differently, would train different networks
 * without anybody noticing. */
static clv_status check_ranks(clv_trainer *t)
{
    const int ranks = t->method->division.ranks, rank = t->method->division.rank;
    typedef struct mark {
        double  weights;
        int64_t total;
    } mark;
    clv_view w;
    if (ranks == 1) return CLV_OK;
    mark *marks = clvi_calloc(t->ctx, (size_t)ranks, sizeof *marks);
    if (!marks) return CLV_ERR_NOMEM;
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(clv_params_flat(clvi_method_params(t->method, false), CLV_PARAM_VALUE, &w));
    marks[rank] = (mark){ clvi_flat_norm2(t->ctx, w.dtype, clv_view_count(&w), w.data), t->at.total };
    CLV_TRY_OR_DONE(clvi_comm_all_gather(t->comm, marks, sizeof *marks));
    for (int r = 1; r < ranks; r++)
        CLV_CHECK_OR_DONE(marks[r].total == marks[0].total &&
                          fabs(marks[r].weights - marks[0].weights) <= 1e-4 * fabs(marks[0].weights), CLV_ERR_INVALID,
                          "rank %d has other weights than rank 0 (after %" PRId64 " and %" PRId64 " steps): do all see "
                          "the same run directory?", r, marks[r].total, marks[0].total);
done:
    clvi_free(t->ctx, marks);
    return st;
}

/* Labels and ids of all ranks beside this rank's images. */
static clv_status next_batch(clv_trainer *t, clv_batch *batch)
{
    if (t->text) clvi_words_next(clvi_text_words(t->text), batch);
    else CLV_TRY(clv_loader_next(t->loader, batch));
    if (!t->labels) return CLV_OK;
    const clvi_division *d = &t->method->division;
    const size_t size = (size_t)d->local * sizeof *t->labels;
    memcpy(t->labels + d->rank * d->local, batch->labels, size);
    memcpy(t->ids + d->rank * d->local, batch->ids, size);
    batch->labels = t->labels;
    batch->ids = t->ids;
    CLV_TRY(clvi_comm_all_gather(t->comm, t->labels, size));
    return clvi_comm_all_gather(t->comm, t->ids, size);
}

/* A batch of packed pictures as one of views, which the device makes as part of the step at work. */
static clv_status make_views(clv_trainer *t, const clv_batch *batch, clv_batch *out)
{
    *out = *batch;
    if (!t->maker) return CLV_OK;
    out->view = t->made;
    out->views = t->packer.views;
    return clvi_view_maker_queue(t->maker, batch->view[0].data, t->made);
}

/* Here and below, of the step after `ahead` more. */
static double epochs_done(const clv_trainer *t, int64_t ahead)
{
    return (double)t->at.epoch + (double)(t->at.step + ahead) / (double)t->steps_per_epoch;
}

static double key_momentum(const clv_trainer *t, int64_t ahead)
{
    const clvi_settings *s = t->settings;
    const double epoch = epochs_done(t, ahead);
    return s->moco_m_cos ? clvi_momentum_cosine(s->moco_m, epoch, (double)s->epochs) : s->moco_m;
}

static bool saves_inside(const clv_trainer *t, int64_t total)
{
    return t->settings->save_steps > 0 && total % t->settings->save_steps == 0;
}

/* Whether the step at hand is the last before a checkpoint; one that is written because the run is stopped comes
 * unforeseen. */
static bool is_saved(const clv_trainer *t, int64_t ahead)
{
    return t->at.step + ahead + 1 == t->steps_per_epoch || saves_inside(t, t->at.total + ahead + 1);
}

static bool is_logged(const clv_trainer *t, int64_t ahead)
{
    return (t->at.step + ahead) % t->settings->print_freq == 0 || t->at.step + ahead + 1 == t->steps_per_epoch;
}

static void add_scores(clvi_position *at, const clv_scores *scores)
{
    at->top1_sum += scores->pretext_top1;
    at->top1_count++;
    for (int i = 0; i < CLV_SCORE_BINS; i++) {
        at->positive_histogram[i] += scores->positive_histogram[i];
        at->negative_histogram[i] += scores->negative_histogram[i];
    }
}

/* Without a look at the rows themselves, as clv_bank_stats has: those are many. */
static void fill_bank(clv_progress *p, const clv_bank *bank)
{
    if (!bank) return;
    const clv_view valid = clv_bank_valid(bank), born = clv_bank_born(bank);
    const int64_t capacity = clv_bank_capacity(bank), pushes = clv_bank_pushes(bank);
    int64_t rows = 0;
    double ages = 0.0;
    for (int64_t i = 0; i < capacity; i++) {
        if (!((const uint8_t *)valid.data)[i]) continue;
        ages += (double)(pushes - ((const int64_t *)born.data)[i]);
        rows++;
    }
    p->queue_fill = (double)rows / (double)capacity;
    p->queue_age = rows ? ages / (double)rows : 0.0;
}

/* What step and epoch lines share. */
static clv_progress progress_now(const clv_trainer *t, const epoch_clock *clock)
{
    const double elapsed = now() - clock->begin, steps = (double)CLVI_MAX(clock->steps, INT64_C(1));
    const int64_t taken = t->at.step - t->at.skipped;
    return (clv_progress){
        .epoch = t->at.epoch + 1,
        .epochs = t->settings->epochs,
        .step = t->at.step,
        .steps_per_epoch = t->steps_per_epoch,
        .total_step = t->at.total,
        .loss_mean = taken ? t->at.loss_sum / (double)taken : 0.0,
        .pretext_top1_mean = t->at.top1_count ? t->at.top1_sum / (double)t->at.top1_count : 0.0,
        .mean_seconds_step = elapsed / steps,
        .mean_seconds_data = clock->data / steps,
        .images_per_second = elapsed > 0 ? steps * (double)t->settings->batch_size / elapsed : 0.0,
        .unit = t->text ? "words" : "img",
        .knn_top1 = -1.0, .val_top1 = -1.0, .val_top5 = -1.0,
        .knn_best = t->text ? -1.0 : t->at.best,
    };
}

static clv_status next_flight(clv_trainer *t, flight *f)
{
    *f = (flight){ .begin = now(), .mark = clv_profile_begin(t->ctx) };
    CLV_TRY(next_batch(t, &f->batch));
    clv_profile_end(t->ctx, f->mark, "wait for data");
    f->data = now() - f->begin;
    return CLV_OK;
}

/* The numbers of the step after `ahead` more. */
static void number(const clv_trainer *t, int64_t ahead, flight *f)
{
    f->step = (clvi_step){
        .seed = (uint64_t)t->settings->seed,
        .total = t->at.total + ahead,
        .epoch = epochs_done(t, ahead),
        .lr = clvi_schedule_at(&t->schedule, t->at.epoch, t->at.step + ahead, t->steps_per_epoch),
        .key_momentum = key_momentum(t, ahead),
        .goes_on = !is_saved(t, ahead),
        .next_momentum = key_momentum(t, ahead + 1),
    };
    f->logged = is_logged(t, ahead);
}

/* What the loss saw, as it saw it: before the bank has moved on. */
static clv_status look(clv_trainer *t, const flight *f, const clvi_step_result *result, clv_progress *measured)
{
    *measured = (clv_progress){ .kind = CLV_PROGRESS_STEP };
    t->skipped_in_a_row = 0;
    if (!f->logged) return CLV_OK;
    CLV_TRY(clvi_method_look(t->method, &f->batch, &t->metrics));
    return clvi_monitor_step(t, result, measured);
}

/* A step that was taken is counted, told and written down. */
static clv_status tell_step(clv_trainer *t, running_epoch *e, const flight *f, const clvi_step_result *result,
                            const clv_progress *measured)
{
    const bool logged = f->logged;
    t->grad_norm = result->grad_norm;
    t->at.loss_sum += result->loss;
    t->at.step++;
    t->at.total++;
    if (logged && result->bank && result->key.data) add_scores(&t->at, &measured->scores);
    e->clock.steps++;
    e->clock.data += f->data;
    clv_progress p = progress_now(t, &e->clock);
    p.loss = result->loss;
    p.lr = f->step.lr;
    p.momentum = f->step.key_momentum;
    p.has_bank = result->bank != NULL;
    p.has_scores = result->bank && result->key.data;
    p.has_teacher = t->method->cls->teacher;
    p.metrics = t->metrics.at;
    p.metric_count = t->metrics.count;
    p.seconds_step = now() - f->begin;
    p.seconds_data = f->data;
    p.pretext_top1 = measured->scores.pretext_top1;
    p.health = logged ? measured->health : e->last.health;
    p.scores = logged ? measured->scores : e->last.scores;
    p.queue_fill = e->last.queue_fill;
    p.queue_age = e->last.queue_age;
    if (logged) fill_bank(&p, result->bank);
    e->last = p;
    if (logged) CLV_TRY(clvi_runlog_write(t->log, &p, t->grad_norm));
    if (logged)
        CLV_TRY(clvi_tensorboard_step(t->tensorboard, &p, t->grad_norm, t->maker ? t->made : f->batch.view,
                                      t->method->cls->views));
    clv_profile_end(t->ctx, f->mark, CLV_PROFILE_STEP);
    tell(t, &p);
    return CLV_OK;
}

/* A step whose two halves are waited for. */
static clv_status take(clv_trainer *t, running_epoch *e, flight *f)
{
    clvi_step_result result = { .bank = NULL };
    clv_progress measured;
    clv_batch batch;
    number(t, 0, f);
    CLV_TRY(clvi_guard_begin(t));
    CLV_TRY(make_views(t, &f->batch, &batch));
    CLV_TRY(clvi_method_forward(t->method, &batch, &f->step, &result));
    if (!isfinite(result.loss) || !isfinite(result.grad_norm)) return clvi_guard_refuse(t, &result);
    CLV_TRY(look(t, f, &result, &measured));
    CLV_TRY(clvi_method_update(t->method, &batch, &f->step));
    return tell_step(t, e, f, &result, &measured);
}

/* ---- steps that a device is given as a whole ---- */

static clv_status queue_halves(clv_trainer *t, const flight *f)
{
    clvi_step_result unknown;
    clv_batch batch;
    CLV_TRY(clvi_guard_begin(t));
    CLV_TRY(make_views(t, &f->batch, &batch));
    CLV_TRY(clvi_method_forward(t->method, &batch, &f->step, &unknown));
    CLV_TRY(clvi_method_judge(t->method));
    CLV_TRY(clvi_method_update(t->method, &batch, &f->step));
    clvi_guard_end(t);
    return CLV_OK;
}

static clv_status queue(clv_trainer *t, running_epoch *e, flight *f)
{
    number(t, e->n_queued, f);
    f->optimized = t->method->optimizer->steps;
    CLV_TRY(clvi_method_begin(t->method));
    CLV_TRY(clvi_method_end(t->method, queue_halves(t, f)));
    e->queued[e->n_queued++] = *f;
    return CLV_OK;
}

/* Ids and labels of a batch, of which the loader keeps none but the latest. */
static clv_status keep_marks(clv_trainer *t, flight *f)
{
    const int64_t batch = t->settings->batch_size;
    int64_t *kept = t->kept[0];
    t->kept[0] = t->kept[1];
    if (!kept) kept = clvi_calloc(t->ctx, (size_t)(2 * batch), sizeof *kept);
    if (!(t->kept[1] = kept)) return CLV_ERR_NOMEM;
    memcpy(kept, f->batch.ids, (size_t)batch * sizeof *kept);
    memcpy(kept + batch, f->batch.labels, (size_t)batch * sizeof *kept);
    f->batch.ids = kept;
    f->batch.labels = kept + batch;
    return CLV_OK;
}

/* The oldest step was not finite. What the device was given after it has changed nothing: it is given again. */
static clv_status refuse(clv_trainer *t, running_epoch *e, const flight *f, const clvi_step_result *result)
{
    const bool again = e->n_queued > 0;
    flight next = e->queued[0];
    clvi_step_result nothing;
    bool stopped;
    CLV_TRY(clvi_guard_refuse(t, result));
    if (again) CLV_TRY(clvi_method_collect(t->method, &nothing, &stopped));
    CLV_TRY(clvi_method_resume(t->method, f->optimized));
    e->n_queued = 0;
    return again ? queue(t, e, &next) : CLV_OK;
}

/* What became of the oldest step. */
static clv_status land(clv_trainer *t, running_epoch *e)
{
    const flight f = e->queued[0];
    clvi_step_result result;
    clv_progress measured;
    bool stopped;
    CLV_TRY(clvi_method_collect(t->method, &result, &stopped));
    e->queued[0] = e->queued[1];
    e->n_queued--;
    if (stopped) return refuse(t, e, &f, &result);
    if (f.logged) CLV_TRY(clvi_method_features(t->method, &result));
    CLV_TRY(look(t, &f, &result, &measured));
    CLV_TRY(clvi_method_settle(t->method, &f.batch));
    return tell_step(t, e, &f, &result, &measured);
}

static clv_status land_all(clv_trainer *t, running_epoch *e)
{
    while (e->n_queued > 0) CLV_TRY(land(t, e));
    return CLV_OK;
}

/* The step before is known once this one is queued; this one, too, if somebody wants to see it or what it leaves. */
static clv_status fly(clv_trainer *t, running_epoch *e, flight *f)
{
    CLV_TRY(keep_marks(t, f));
    CLV_TRY(queue(t, e, f));
    if (e->n_queued == CLVI_SLOTS) CLV_TRY(land(t, e));
    const flight *latest = &e->queued[0];
    const bool waits = e->n_queued > 0 && (latest->logged || !latest->step.goes_on);
    return waits || t->stop || !clvi_method_runs_ahead(t->method) ? land_all(t, e) : CLV_OK;
}

static clv_status one_step(clv_trainer *t, running_epoch *e)
{
    flight f;
    CLV_TRY(next_flight(t, &f));
    return clvi_method_is_queued(t->method) ? fly(t, e, &f) : take(t, e, &f);
}

static void next_epoch(clvi_position *at)
{
    const double best = at->best;
    const int64_t epoch = at->epoch + 1, total = at->total;
    memset(at, 0, sizeof *at);
    at->epoch = epoch;
    at->total = total;
    at->best = best;
}

static int64_t last_epoch(const clv_trainer *t)
{
    const clvi_settings *s = t->settings;
    return s->stop_epoch ? CLVI_MIN(s->stop_epoch, s->epochs) : s->epochs;
}

static bool is_due(const clv_trainer *t, int64_t every)
{
    return every > 0 && ((t->at.epoch + 1) % every == 0 || t->at.epoch + 1 == last_epoch(t));
}

/* Measures, logs and keeps what an epoch came to. */
static clv_status end_epoch(clv_trainer *t, const running_epoch *e)
{
    const clv_progress *last = &e->last;
    const clvi_settings *s = t->settings;
    CLV_CHECK(t->at.skipped < t->steps_per_epoch, CLV_ERR_NUMERIC, "epoch %" PRId64 ": no step of it was finite",
              t->at.epoch + 1);
    clv_progress p = progress_now(t, &e->clock);
    double top1 = -1.0;
    const int64_t mark = clv_profile_begin(t->ctx);
    if (is_due(t, s->knn_freq) && !t->text && clvi_trainer_speaks(t)) CLV_TRY(clvi_monitor_knn(t, &top1));
    if (is_due(t, s->val_freq) && clvi_trainer_speaks(t))
        CLV_TRY(t->text ? clvi_text_measure(t, &p) : clvi_monitor_classifier(t, &p.val_top1, &p.val_top5));
    clv_profile_end(t->ctx, mark, "evaluation");
    p.kind = CLV_PROGRESS_EPOCH;
    p.loss = p.loss_mean;
    p.lr = last->lr;
    p.momentum = last->momentum;
    p.has_bank = last->has_bank;
    p.has_scores = last->has_scores;
    p.has_teacher = last->has_teacher;
    p.metrics = last->metrics;
    p.metric_count = last->metric_count;
    p.health = last->health;
    p.scores = last->scores;
    p.queue_fill = last->queue_fill;
    p.queue_age = last->queue_age;
    memcpy(p.scores.positive_histogram, t->at.positive_histogram, sizeof p.scores.positive_histogram);
    memcpy(p.scores.negative_histogram, t->at.negative_histogram, sizeof p.scores.negative_histogram);
    p.knn_top1 = top1;
    p.knn_protocol = t->protocol;
    const double figure = p.has_spans ? p.spans.f1 : top1;
    const bool better = figure > t->at.best;
    if (better) t->at.best = figure;
    if (!t->text) p.knn_best = t->at.best;
    CLV_TRY(clvi_runlog_write(t->log, &p, t->grad_norm));
    CLV_TRY(clvi_tensorboard_epoch(t->tensorboard, &p, t->grad_norm, clvi_method_params(t->method, false)));
    next_epoch(&t->at);
    t->collapse_told = false;
    if (better) CLV_TRY(clvi_save_best(t));
    if (s->save_freq > 0 && t->at.epoch % s->save_freq == 0) CLV_TRY(clvi_save_numbered(t));
    CLV_TRY(clvi_save_last(t));
    CLV_TRY(check_ranks(t));
    tell(t, &p);
    return agree_to_stop(t);
}

static clv_status one_epoch(clv_trainer *t)
{
    running_epoch e = { .clock = { .begin = now() }, .last = { .kind = CLV_PROGRESS_STEP } };
    while (t->at.step < t->steps_per_epoch) {
        CLV_TRY(one_step(t, &e));
        CLV_TRY(agree_to_stop(t));
        if (t->at.step == t->steps_per_epoch) break;       /* the end of the epoch saves */
        if (t->stop) return clvi_save_last(t);
        if (saves_inside(t, t->at.total)) CLV_TRY(clvi_save_last(t));
    }
    return end_epoch(t, &e);
}

static clv_status all_epochs(clv_trainer *t)
{
    while (t->at.epoch < last_epoch(t) && !t->stop) CLV_TRY(one_epoch(t));
    return t->stop && t->at.epoch < last_epoch(t) ? CLV_STOPPED : CLV_OK;
}

static void note_line(const char *text, void *user)
{
    clvi_trainer_note(user, "%s", text);
}

/* The table, and the trace beside the other files of the run. */
static clv_status tell_profile(clv_trainer *t, const clv_profile *profile)
{
    char path[CLVI_PATH_SIZE + 16];
    if (!clvi_trainer_speaks(t)) return CLV_OK;
    snprintf(path, sizeof path, "%s/trace.json", t->settings->results_dir);
    CLV_TRY(clv_profile_print(profile, note_line, t));
    CLV_TRY(clv_profile_write_trace(profile, path));
    clvi_trainer_note(t, "the last operations one by one: %s (for ui.perfetto.dev)", path);
    return CLV_OK;
}

static clv_status all_epochs_timed(clv_trainer *t)
{
    clv_profile *profile = NULL;
    CLV_TRY(clv_profile_start(t->ctx, &profile));
    clv_status st = all_epochs(t);
    clv_profile_stop(profile);
    if (st == CLV_OK || st == CLV_STOPPED) {
        const clv_status told = tell_profile(t, profile);
        if (told != CLV_OK) st = told;
    }
    clv_profile_destroy(profile);
    return st;
}

/* Which rank an error is of. */
static clv_status fail_rank(const clv_trainer *t, clv_status st)
{
    char where[32];
    snprintf(where, sizeof where, "rank %d", t->comm->rank);
    return clvi_fail_in(st, where);
}

/* What only the rank that writes files needs. */
static clv_status open_files(clv_trainer *t)
{
    char path[CLVI_PATH_SIZE + 16];
    if (!clvi_trainer_speaks(t)) return CLV_OK;
    CLV_TRY(clvi_rundir_claim(t));
    snprintf(path, sizeof path, "%s/config.yaml", t->settings->results_dir);
    CLV_TRY(clv_config_save(t->config, path));
    if (t->settings->tensorboard && !t->tensorboard)
        CLV_TRY(clvi_tensorboard_open(t->ctx, t->settings->results_dir, t->at.total, &t->tensorboard));
    return t->log ? CLV_OK : clvi_runlog_open(t->ctx, t->settings->results_dir, t->at.total, t->at.epoch, &t->log);
}

/* What the ranks have said to each other. */
static void tell_ranks(clv_trainer *t, int64_t steps, double seconds)
{
    const clvi_comm *c = t->comm;
    if (c->ranks == 1 || steps == 0) return;
    if (t->ctx->device) {
        clvi_trainer_note(t, "%d ranks: each step took %.1f ms; rank 0 sent %.3f MB in it, and waited %.1f ms for "
                          "words of the others; what goes between devices has no time of its own", c->ranks,
                          1e3 * seconds / (double)steps, 1e-6 * (double)c->bytes / (double)steps,
                          1e3 * c->seconds / (double)steps);
        return;
    }
    clvi_trainer_note(t, "%d ranks: each step took %.1f ms, of which rank 0 spent %.1f ms sending %.3f MB and waiting "
                      "for the others; %.1f ms of that more were beside the backward pass", c->ranks,
                      1e3 * seconds / (double)steps, 1e3 * c->seconds / (double)steps,
                      1e-6 * (double)c->bytes / (double)steps, 1e3 * c->beside / (double)steps);
}

static clv_status seek(clv_trainer *t)
{
    const uint32_t epoch = (uint32_t)t->at.epoch;
    return t->text ? clvi_words_seek(clvi_text_words(t->text), epoch, t->at.step)
                   : clv_loader_seek(t->loader, epoch, t->at.step);
}

static clv_status run(clv_trainer *t)
{
    CLV_TRY(check_ranks(t));
    CLV_TRY(open_files(t));
    CLV_TRY(seek(t));
    const double begin = now();
    const int64_t first = t->at.total;
    const clv_status st = t->settings->profile ? all_epochs_timed(t) : all_epochs(t);
    tell_ranks(t, t->at.total - first, now() - begin);
    return st;
}

clv_status clv_trainer_run(clv_trainer *t)
{
    CLV_CHECK(t, CLV_ERR_INVALID, "clv_trainer_run: trainer must not be NULL");
    const clv_status st = run(t);
    t->failed = st != CLV_OK && st != CLV_STOPPED;
    return t->failed && t->method->division.ranks > 1 ? fail_rank(t, st) : st;
}
