/* save.c: the checkpoints of a run directory: last.h5 and the one before it (previous.h5), best.h5,
 * checkpoint_NNNN.h5. */
#include "train/text.h"
#include "core/checked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>

#define FILE_PATH_SIZE (CLVI_PATH_SIZE + 64)

static void run_path(const clv_trainer *t, const char *name, char *path)
{
    snprintf(path, FILE_PATH_SIZE, "%s/%s", t->settings->results_dir, name);
}

static clv_status save(clv_trainer *t, const char *name)
{
    char path[FILE_PATH_SIZE];
    if (!clvi_trainer_speaks(t)) return CLV_OK;
    run_path(t, name, path);
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_guard_check(t));                          /* an update can leave the finite numbers */
    CLV_TRY(clvi_checkpoint_begin(t->config, path, &t->at, t->info.channels, t->eval_aug, &h5));
    clv_status st = clvi_method_write(t->method, h5);
    if (st == CLV_OK && t->text) st = clvi_text_write(t->text, h5);
    if (st != CLV_OK) {
        clvi_h5_close(h5);
        return st;
    }
    return clvi_h5_commit(h5);
}

clv_status clvi_save_last(clv_trainer *t)
{
    char next[FILE_PATH_SIZE], last[FILE_PATH_SIZE], previous[FILE_PATH_SIZE];
    if (!clvi_trainer_speaks(t)) return CLV_OK;
    run_path(t, "next.h5", next);
    run_path(t, "last.h5", last);
    run_path(t, "previous.h5", previous);
    CLV_TRY(save(t, "next.h5"));                           /* whole before any other one is touched */
    CLV_CHECK(rename(last, previous) == 0 || errno == ENOENT, CLV_ERR_IO, "cannot rename '%s': %s", last,
              strerror(errno));
    CLV_CHECK(rename(next, last) == 0, CLV_ERR_IO, "cannot rename '%s': %s", next, strerror(errno));
    return CLV_OK;
}

clv_status clvi_save_best(clv_trainer *t)
{
    return save(t, "best.h5");
}

clv_status clvi_save_numbered(clv_trainer *t)
{
    char name[32];
    snprintf(name, sizeof name, "checkpoint_%04d.h5", (int)(t->at.epoch - 1));      /* the last whole epoch, from 0 */
    return save(t, name);
}

/* ---- going on ---- */

/* Options that may differ between the parts of one run: they do not change what it computes up to where it is. */
static bool may_change(const char *name)
{
    static const char *const free_options[] = {
        "data",      "val-data",   "val-split",   "workers",  "prefetch",   "print-freq",  "aug-device",
        "save-freq", "save-steps", "results-dir", "resume",   "stop-epoch", "stop-on-collapse",
        "on-nan",    "device",    "precision",  "profile",     "recompute", "knn-k",     "knn-t",
        "knn-layer", "knn-freq",   "knn-bank",    "knn-queries", "weights",  "micro-batch-size",
        "cudnn-benchmark", "detect-anomaly",
    };
    for (size_t i = 0; i < CLVI_COUNT(free_options); i++)
        if (!strcmp(free_options[i], name)) return true;
    return false;
}

static clv_status same_run(const clv_trainer *t, const clv_config *saved, const char *path)
{
    for (const clvi_option *o = clvi_settings_table; o->info.name; o++) {
        char now[4096], then[4096];
        if (may_change(o->info.name)) continue;
        clvi_option_format(o, t->settings, now, sizeof now);
        clvi_option_format(o, &saved->settings, then, sizeof then);
        CLV_CHECK(!strcmp(now, then), CLV_ERR_INVALID, "'%s' was made with %s '%s', this run says '%s'", path,
                  o->info.name, then, now);
    }
    return CLV_OK;
}

static clv_status load(clv_trainer *t, const char *path)
{
    clv_config *saved = NULL;
    clvi_checkpoint *file = NULL;
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(clv_config_create(t->ctx, &saved));
    CLV_TRY_OR_DONE(clvi_checkpoint_open(t->ctx, path, saved, &file));
    CLV_TRY_OR_DONE(same_run(t, saved, path));
    clvi_position at;
    CLV_TRY_OR_DONE(clvi_checkpoint_position(file, &at));
    CLV_CHECK_OR_DONE(at.step < t->steps_per_epoch, CLV_ERR_INVALID,
                      "'%s' stands at step %" PRId64 ", an epoch of this data set has %" PRId64, path, at.step,
                      t->steps_per_epoch);
    if (t->text) CLV_TRY_OR_DONE(clvi_text_check(t, file->h5, path));
    CLV_TRY_OR_DONE(clvi_method_read(t->method, file->h5));
    t->at = at;
    clvi_trainer_note(t, "resumed from '%s': epoch %" PRId64 ", step %" PRId64, path, at.epoch + 1, at.step + 1);
done:
    clvi_checkpoint_close(file);
    clv_config_destroy(saved);
    return st;
}

/* Numbered checkpoints from the newest; -1 ends. */
static int next_numbered(const clv_trainer *t, int below)
{
    DIR *dir = opendir(t->settings->results_dir);
    int best = -1;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        int number = 0, used = 0;
        if (sscanf(e->d_name, "checkpoint_%d.h5%n", &number, &used) == 1 && used && !e->d_name[used] && number < below
            && number > best)
            best = number;
    }
    if (dir) closedir(dir);
    return best;
}

/* Tries one file of the run directory. Absent or damaged is no end: *loaded stays false, and `damaged` counts. */
static clv_status try_load(clv_trainer *t, const char *name, bool *loaded, int *damaged)
{
    char path[FILE_PATH_SIZE];
    struct stat st;
    run_path(t, name, path);
    if (stat(path, &st) != 0) return CLV_OK;
    const clv_status status = load(t, path);
    if (status == CLV_ERR_INVALID || status == CLV_ERR_NOMEM) return status;       /* whole, but not of this run */
    *loaded = status == CLV_OK;
    if (!*loaded) {
        ++*damaged;
        clvi_trainer_note(t, "damaged checkpoint skipped: %s", clv_error_message());
    }
    return CLV_OK;
}

clv_status clvi_resume(clv_trainer *t)
{
    const char *resume = t->settings->resume;
    if (!resume[0]) return clvi_rundir_check_unused(t);
    if (strcmp(resume, "auto") != 0) return load(t, resume);
    bool loaded = false;
    int damaged = 0;
    CLV_TRY(try_load(t, "last.h5", &loaded, &damaged));
    if (!loaded) CLV_TRY(try_load(t, "previous.h5", &loaded, &damaged));
    for (int n = next_numbered(t, 1 << 30); !loaded && n >= 0; n = next_numbered(t, n)) {
        char name[32];
        snprintf(name, sizeof name, "checkpoint_%04d.h5", n);
        CLV_TRY(try_load(t, name, &loaded, &damaged));
    }
    CLV_CHECK(loaded || !damaged, CLV_ERR_FORMAT, "'%s': every checkpoint is damaged; the last one: %s",
              t->settings->results_dir, clv_error_message());
    if (!loaded) clvi_trainer_note(t, "nothing to resume in '%s': starting anew", t->settings->results_dir);
    return CLV_OK;
}
