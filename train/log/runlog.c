/* runlog.c: the run's numbers as lines of JSON and CSV. */
#include "train/log/runlog.h"
#include "core/checked.h"
#include "core/file.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH_SIZE 1200
#define LOG_LIMIT ((size_t)1 << 30)
#define CSV_HEADER "epoch,train_loss,test_acc@1,lr,pretext_top1,images_per_second,health_std,health_eff_rank,val_acc@1\n"

struct clvi_runlog {
    clv_context *ctx;
    FILE        *metrics, *csv;
};

/* ---- dropping what a resumed run does again ---- */

static bool keep_metrics(const char *line, size_t size, int64_t total_step, int64_t epochs)
{
    json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
    if (!object) return false;                             /* the half line of a killed run */
    const char *kind = json_string_value(json_object_get(object, "kind"));
    const bool epoch = kind && !strcmp(kind, "epoch");
    const json_int_t at = json_integer_value(json_object_get(object, epoch ? "epoch" : "total_step"));
    json_decref(object);
    return at <= (epoch ? epochs : total_step);
}

static bool keep_csv(const char *line, size_t size, int64_t total_step, int64_t epochs)
{
    (void)total_step;
    char number[32] = "";
    memcpy(number, line, CLVI_MIN(size, sizeof number - 1));
    long long epoch = 0;
    return sscanf(number, "%lld,", &epoch) != 1 || epoch <= epochs;     /* the header stays */
}

typedef bool (*keep_fn)(const char *line, size_t size, int64_t total_step, int64_t epochs);

static clv_status filter(clv_context *ctx, const char *path, keep_fn keep, int64_t total_step, int64_t epochs)
{
    FILE *probe = fopen(path, "rb");
    if (!probe) return CLV_OK;
    fclose(probe);
    uint8_t *bytes = NULL;
    size_t size = 0, kept = 0;
    CLV_TRY(clvi_file_read(ctx, path, LOG_LIMIT, &bytes, &size));
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(bytes + at, '\n', size - at);
        if (!end) break;
        const size_t length = (size_t)(end - bytes) + 1 - at;
        if (keep((const char *)bytes + at, length, total_step, epochs)) {
            memmove(bytes + kept, bytes + at, length);
            kept += length;
        }
        at += length;
    }
    const clv_status st = clvi_file_write(path, bytes, kept);
    clvi_free(ctx, bytes);
    return st;
}

static clv_status open_one(clv_context *ctx, const char *directory, const char *name, keep_fn keep, int64_t total_step,
                           int64_t epochs, FILE **out)
{
    char path[PATH_SIZE];
    const int length = snprintf(path, sizeof path, "%s/%s", directory, name);
    CLV_CHECK(length > 0 && length < PATH_SIZE, CLV_ERR_INVALID, "run directory's path is too long");
    if (total_step > 0) CLV_TRY(filter(ctx, path, keep, total_step, epochs));
    *out = fopen(path, total_step > 0 ? "ab" : "wb");
    CLV_CHECK(*out, CLV_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    return CLV_OK;
}

clv_status clvi_runlog_open(clv_context *ctx, const char *directory, int64_t total_step, int64_t epochs,
                            clvi_runlog **out)
{
    *out = NULL;
    clvi_runlog *log = clvi_calloc(ctx, 1, sizeof *log);
    if (!log) return CLV_ERR_NOMEM;
    log->ctx = ctx;
    clv_status st = open_one(ctx, directory, "metrics.jsonl", keep_metrics, total_step, epochs, &log->metrics);
    if (st == CLV_OK) st = open_one(ctx, directory, "log.csv", keep_csv, total_step, epochs, &log->csv);
    if (st == CLV_OK && fseek(log->csv, 0, SEEK_END) == 0 && ftell(log->csv) == 0)
        st = fputs(CSV_HEADER, log->csv) >= 0 ? CLV_OK : clvi_fail(CLV_ERR_IO, "log.csv: %s", strerror(errno));
    if (st != CLV_OK) {
        clvi_runlog_close(log);
        return st;
    }
    *out = log;
    return CLV_OK;
}

void clvi_runlog_close(clvi_runlog *log)
{
    if (!log) return;
    if (log->metrics) fclose(log->metrics);
    if (log->csv) fclose(log->csv);
    clvi_free(log->ctx, log);
}

/* ---- writing ---- */

/* A line under construction; `full` once something did not fit. */
typedef struct json_line {
    char   text[8192];
    size_t size;
    bool   full;
} json_line;

static void put(json_line *line, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(json_line *line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const size_t room = sizeof line->text - line->size;
    const int n = vsnprintf(line->text + line->size, room, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room) line->full = true;
    else line->size += (size_t)n;
}

static void put_number(json_line *line, const char *name, double value)
{
    if (isfinite(value)) put(line, ", \"%s\": %.9g", name, value);
    else put(line, ", \"%s\": null", name);                 /* JSON has no NaN */
}

static void put_counts(json_line *line, const char *name, const int64_t *counts)
{
    put(line, ", \"%s\": [", name);
    for (int i = 0; i < CLV_SCORE_BINS; i++) put(line, "%s%" PRId64, i ? ", " : "", counts[i]);
    put(line, "]");
}

typedef struct metric {
    const char *name;
    size_t      offset;
} metric;

#define METRIC(NAME, FIELD) { NAME, offsetof(clv_progress, FIELD) }

static const metric both_metrics[] = {
    METRIC("train/lr", lr), METRIC("health/std", health.std), METRIC("health/eff_rank", health.effective_rank),
    METRIC("health/uniformity", health.uniformity), METRIC("health/alignment", health.alignment),
};
static const metric teacher_metrics[] = { METRIC("train/key_momentum", momentum) };
static const metric bank_metrics[] = { METRIC("train/queue_fill", queue_fill), METRIC("train/queue_age", queue_age) };
static const metric score_metrics[] = {
    METRIC("scores/positive_mean", scores.positive_mean), METRIC("scores/positive_var", scores.positive_variance),
    METRIC("scores/negative_mean", scores.negative_mean), METRIC("scores/negative_var", scores.negative_variance),
};
static const metric step_metrics[] = {
    METRIC("train/loss", loss), METRIC("train/loss_mean", loss_mean), METRIC("train/time_step", seconds_step),
    METRIC("train/time_data", seconds_data),
};
static const metric knn_metrics[] = { METRIC("val/knn_top1", knn_top1), METRIC("val/knn_best", knn_best) };
static const metric val_metrics[] = { METRIC("val/acc1", val_top1), METRIC("val/acc5", val_top5) };
static const metric span_metrics[] = {
    METRIC("val/span_precision", spans.precision), METRIC("val/span_recall", spans.recall),
    METRIC("val/span_f1", spans.f1),
};
static const metric epoch_metrics[] = {
    METRIC("train/loss", loss_mean), METRIC("train/time_step", mean_seconds_step),
    METRIC("train/time_data", mean_seconds_data), METRIC("train/images_per_second", images_per_second),
};

typedef void (*visit_fn)(const char *name, double value, void *user);

static void visit(const clv_progress *p, const metric *metrics, size_t count, visit_fn fn, void *user)
{
    for (size_t i = 0; i < count; i++)
        fn(metrics[i].name, *(const double *)((const char *)p + metrics[i].offset), user);
}

void clvi_runlog_each(const clv_progress *p, double grad_norm, visit_fn fn, void *user)
{
    const bool epoch = p->kind == CLV_PROGRESS_EPOCH;
    if (epoch) visit(p, epoch_metrics, CLVI_COUNT(epoch_metrics), fn, user);
    else visit(p, step_metrics, CLVI_COUNT(step_metrics), fn, user);
    fn("train/grad_norm", grad_norm, user);
    visit(p, both_metrics, CLVI_COUNT(both_metrics), fn, user);
    if (p->has_teacher) visit(p, teacher_metrics, CLVI_COUNT(teacher_metrics), fn, user);
    if (p->has_scores) fn("train/pretext_top1", epoch ? p->pretext_top1_mean : p->pretext_top1, user);
    if (p->has_bank) visit(p, bank_metrics, CLVI_COUNT(bank_metrics), fn, user);
    if (p->has_scores) visit(p, score_metrics, CLVI_COUNT(score_metrics), fn, user);
    for (int i = 0; i < p->metric_count; i++) fn(p->metrics[i].name, p->metrics[i].value, user);
    if (epoch && p->knn_top1 >= 0) visit(p, knn_metrics, CLVI_COUNT(knn_metrics), fn, user);
    if (epoch && p->val_top1 >= 0) visit(p, val_metrics, CLVI_COUNT(val_metrics), fn, user);
    if (epoch && p->has_spans) visit(p, span_metrics, CLVI_COUNT(span_metrics), fn, user);
}

static void put_visited(const char *name, double value, void *user)
{
    put_number(user, name, value);
}

static clv_status put_line(FILE *file, const char *text, const char *what)
{
    CLV_CHECK(fputs(text, file) >= 0 && fflush(file) == 0, CLV_ERR_IO, "%s: %s", what, strerror(errno));
    return CLV_OK;
}

static clv_status write_csv(clvi_runlog *log, const clv_progress *p)
{
    char text[512], knn[32] = "", pretext[32] = "", val[32] = "";
    if (p->knn_top1 >= 0) snprintf(knn, sizeof knn, "%.4f", p->knn_top1);
    if (p->val_top1 >= 0) snprintf(val, sizeof val, "%.4f", p->val_top1);
    if (p->has_scores) snprintf(pretext, sizeof pretext, "%.3f", p->pretext_top1_mean);
    snprintf(text, sizeof text, "%" PRId64 ",%.6f,%s,%.8g,%s,%.2f,%.5f,%.3f,%s\n", p->epoch, p->loss_mean, knn, p->lr,
             pretext, p->images_per_second, p->health.std, p->health.effective_rank, val);
    return put_line(log->csv, text, "log.csv");
}

clv_status clvi_runlog_write(clvi_runlog *log, const clv_progress *p, double grad_norm)
{
    if (!log) return CLV_OK;
    const bool epoch = p->kind == CLV_PROGRESS_EPOCH;
    json_line line = { .size = 0 };
    put(&line, "{\"kind\": \"%s\", \"epoch\": %" PRId64 ", \"step\": %" PRId64 ", \"total_step\": %" PRId64,
        epoch ? "epoch" : "step", p->epoch, p->step, p->total_step);
    clvi_runlog_each(p, grad_norm, put_visited, &line);
    if (epoch && p->knn_top1 >= 0) put(&line, ", \"val/knn_protocol\": \"%s\"", p->knn_protocol);
    if (epoch && p->has_spans) put(&line, ", \"val/span_protocol\": \"%s\"", p->spans_protocol);
    if (epoch && p->has_scores) {
        put_counts(&line, "scores/positive_histogram", p->scores.positive_histogram);
        put_counts(&line, "scores/negative_histogram", p->scores.negative_histogram);
    }
    put(&line, "}\n");
    CLV_CHECK(!line.full, CLV_ERR_INTERNAL, "metrics.jsonl: a line is longer than %zu bytes", sizeof line.text);
    CLV_TRY(put_line(log->metrics, line.text, "metrics.jsonl"));
    return epoch ? write_csv(log, p) : CLV_OK;
}
