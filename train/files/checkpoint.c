/* checkpoint.c: the part of a checkpoint that is the same for all methods. */
#include "train/files/checkpoint.h"
#include "core/checked.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The file behind a path that may name a run directory. */
static clv_status locate(const char *path, char *file, size_t size)
{
    static const char *const names[] = { "", "/best.h5", "/last.h5" };
    const bool directory = is_directory(path);
    for (int i = directory ? 1 : 0; i < (directory ? 3 : 1); i++) {
        struct stat st;
        const int length = snprintf(file, size, "%s%s", path, names[i]);
        CLV_CHECK(length > 0 && (size_t)length < size, CLV_ERR_INVALID, "checkpoint: path '%.80s...' is too long",
                  path);
        if (!directory || stat(file, &st) == 0) return CLV_OK;
    }
    return clvi_fail(CLV_ERR_IO, "'%s' holds neither best.h5 nor last.h5: is it a run directory?", path);
}

static clv_status read_head(clvi_checkpoint *file, clv_config *config)
{
    char *format = NULL, *text = NULL;
    clv_status st = clvi_h5_attr_text(file->h5, "/", "format", &format);
    if (st != CLV_OK || strcmp(format, CLVI_CHECKPOINT_FORMAT) != 0) {
        clvi_free(file->ctx, format);
        return clvi_fail(CLV_ERR_FORMAT, "'%s' is no checkpoint (format '%s' expected)", file->path,
                         CLVI_CHECKPOINT_FORMAT);
    }
    CLV_TRY_OR_DONE(clvi_h5_attr_text(file->h5, "/", "config", &text));
    CLV_TRY_OR_DONE(clvi_config_parse(config, file->path, text, strlen(text)));
    CLV_TRY_OR_DONE(clvi_h5_attr_text(file->h5, "/", "eval_aug", &file->eval_aug));
    CLV_TRY_OR_DONE(clvi_h5_attr_i64(file->h5, "/", "channels", &file->channels));
    CLV_CHECK_OR_DONE(file->channels >= 1 && file->channels <= CLV_DATA_MAX_CHANNELS, CLV_ERR_FORMAT,
                      "'%s': %" PRId64 " image channels", file->path, file->channels);
done:
    clvi_free(file->ctx, text);
    clvi_free(file->ctx, format);
    return st;
}

clv_status clvi_checkpoint_open(clv_context *ctx, const char *path, clv_config *config, clvi_checkpoint **out)
{
    *out = NULL;
    clvi_checkpoint *file = clvi_calloc(ctx, 1, sizeof *file);
    if (!file) return CLV_ERR_NOMEM;
    file->ctx = ctx;
    clv_status st = locate(path, file->path, sizeof file->path);
    if (st == CLV_OK) st = clvi_h5_open_sealed(ctx, file->path, "checkpoint", &file->h5);
    if (st == CLV_OK) st = read_head(file, config);
    if (st != CLV_OK) {
        clvi_checkpoint_close(file);
        return st;
    }
    *out = file;
    return CLV_OK;
}

void clvi_checkpoint_close(clvi_checkpoint *file)
{
    if (!file) return;
    clvi_h5_close(file->h5);
    clvi_free(file->ctx, file->eval_aug);
    clvi_free(file->ctx, file);
}

/* ---- position: scalar attributes of the root, and the two histograms ---- */

typedef struct position_field {
    const char *name;
    size_t      offset;
    bool        real;
} position_field;

static const position_field position_fields[] = {
    { "epoch", offsetof(clvi_position, epoch), false },
    { "step", offsetof(clvi_position, step), false },
    { "total_step", offsetof(clvi_position, total), false },
    { "skipped", offsetof(clvi_position, skipped), false },
    { "top1_count", offsetof(clvi_position, top1_count), false },
    { "loss_sum", offsetof(clvi_position, loss_sum), true },
    { "top1_sum", offsetof(clvi_position, top1_sum), true },
    { "knn_best", offsetof(clvi_position, best), true },
};
enum { POSITION_FIELDS = sizeof position_fields / sizeof position_fields[0] };

clv_status clvi_checkpoint_position(clvi_checkpoint *file, clvi_position *out)
{
    for (int i = 0; i < POSITION_FIELDS; i++) {
        const position_field *f = &position_fields[i];
        void *field = (char *)out + f->offset;
        CLV_TRY(f->real ? clvi_h5_attr_f64(file->h5, "/", f->name, field)
                        : clvi_h5_attr_i64(file->h5, "/", f->name, field));
    }
    CLV_CHECK(out->epoch >= 0 && out->step >= 0 && out->total >= 0 && out->skipped >= 0, CLV_ERR_FORMAT,
              "'%s': position is negative", file->path);
    const clv_view positive = clv_view_1d(out->positive_histogram, CLV_I64, CLV_SCORE_BINS);
    const clv_view negative = clv_view_1d(out->negative_histogram, CLV_I64, CLV_SCORE_BINS);
    CLV_TRY(clvi_h5_read(file->h5, "scores/positive", &positive));
    return clvi_h5_read(file->h5, "scores/negative", &negative);
}

static clv_status write_head(clvi_h5 *h5, const clv_config *config, const clvi_position *position, int64_t channels,
                             const char *eval_aug)
{
    /* Where a run lies, how it was restarted and who made its views is no part of what it computes. */
    clv_config plain = *config;
    static const char *const neutral[] = { "resume", "results-dir", "workers", "prefetch", "aug-device" };
    for (size_t i = 0; i < CLVI_COUNT(neutral); i++)
        CLV_TRY(clv_config_set(&plain, neutral[i], clvi_settings_find(neutral[i])->info.def));
    char *text = NULL;
    CLV_TRY(clvi_config_text(&plain, &text));
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(clvi_h5_set_attr_text(h5, "/", "format", CLVI_CHECKPOINT_FORMAT));
    CLV_TRY_OR_DONE(clvi_h5_set_attr_text(h5, "/", "version", clv_version()));
    CLV_TRY_OR_DONE(clvi_h5_set_attr_text(h5, "/", "config", text));
    CLV_TRY_OR_DONE(clvi_h5_set_attr_text(h5, "/", "eval_aug", eval_aug));
    CLV_TRY_OR_DONE(clvi_h5_set_attr_i64(h5, "/", "channels", channels));
    for (int i = 0; i < POSITION_FIELDS; i++) {
        const position_field *f = &position_fields[i];
        const void *field = (const char *)position + f->offset;
        CLV_TRY_OR_DONE(f->real ? clvi_h5_set_attr_f64(h5, "/", f->name, *(const double *)field)
                                : clvi_h5_set_attr_i64(h5, "/", f->name, *(const int64_t *)field));
    }
    const clv_view positive = clv_view_1d((void *)position->positive_histogram, CLV_I64, CLV_SCORE_BINS);
    const clv_view negative = clv_view_1d((void *)position->negative_histogram, CLV_I64, CLV_SCORE_BINS);
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "scores/positive", &positive));
    CLV_TRY_OR_DONE(clvi_h5_write(h5, "scores/negative", &negative));
done:
    clvi_free(config->ctx, text);
    return st;
}

clv_status clvi_checkpoint_begin(const clv_config *config, const char *path, const clvi_position *position,
                                 int64_t channels, const char *eval_aug, clvi_h5 **out)
{
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_h5_create(config->ctx, path, true, &h5));
    const clv_status st = write_head(h5, config, position, channels, eval_aug);
    if (st != CLV_OK) {
        clvi_h5_close(h5);
        return st;
    }
    *out = h5;
    return CLV_OK;
}
