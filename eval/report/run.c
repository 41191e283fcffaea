/* run.c: reading a run directory: config.yaml, metrics.jsonl, examples.h5 and a checkpoint's version. */
#include "eval/report/run.h"
#include "core/checked.h"
#include "core/file.h"
#include "core/h5.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#define PATH_SIZE      4352
#define CONFIG_LIMIT   ((size_t)1 << 20)
#define METRICS_LIMIT  ((size_t)1 << 30)
#define LINE_LIMIT     ((size_t)1 << 16)
#define MAX_OPTIONS    512
#define MAX_STEPS      (INT64_C(1) << 21)
#define MAX_EPOCHS     (INT64_C(1) << 16)
#define MAX_ROWS       4096
#define MAX_DIM        65536
#define MAX_FEATURES   (INT64_C(1) << 25)
#define MAX_EXAMPLES   64
#define MAX_NEIGHBOURS 64
#define MAX_VALUE      1e12 /* beyond it a number is damage, and no axis could show it */

static clv_status path_in(const char *directory, const char *name, char path[PATH_SIZE])
{
    const int n = snprintf(path, PATH_SIZE, "%s/%s", directory, name);
    CLV_CHECK(n > 0 && n < PATH_SIZE, CLV_ERR_INVALID, "the run directory's path is longer than %d bytes", PATH_SIZE);
    return CLV_OK;
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* Makes room for one more entry in an array that doubles. */
static clv_status grow(clv_context *ctx, void *array, int64_t count, size_t size)
{
    if (count & (count - 1)) return CLV_OK; /* full exactly at powers of two */
    void *now;
    memcpy(&now, array, sizeof now);
    void *grown = clvi_realloc(ctx, now, (size_t)CLVI_MAX(2 * count, 1) * size);
    if (!grown) return CLV_ERR_NOMEM;
    memcpy(array, &grown, sizeof grown);
    return CLV_OK;
}

/* ---- config.yaml: one flat mapping of names to scalars ---- */

/* Next event that is not the start of the stream or document. */
static clv_status next_event(yaml_parser_t *parser, const char *path, yaml_event_t *event)
{
    for (;;) {
        CLV_CHECK(yaml_parser_parse(parser, event), CLV_ERR_FORMAT, "%s, line %zu: %s", path,
                  parser->problem_mark.line + 1, parser->problem ? parser->problem : "not YAML");
        if (event->type != YAML_STREAM_START_EVENT && event->type != YAML_DOCUMENT_START_EVENT) return CLV_OK;
        yaml_event_delete(event);
    }
}

/* *text is NULL at the end of the mapping. */
static clv_status read_scalar(clv_context *ctx, yaml_parser_t *parser, const char *path, char **text)
{
    yaml_event_t event;
    clv_status st = CLV_OK;
    *text = NULL;
    CLV_TRY(next_event(parser, path, &event));
    if (event.type == YAML_MAPPING_END_EVENT) goto done;
    CLV_CHECK_OR_DONE(event.type == YAML_SCALAR_EVENT && !memchr(event.data.scalar.value, 0, event.data.scalar.length),
                      CLV_ERR_FORMAT, "%s, line %zu: expected one plain value", path, event.start_mark.line + 1);
    *text = clvi_strdup(ctx, (const char *)event.data.scalar.value);
    if (!*text) st = CLV_ERR_NOMEM;
done:
    yaml_event_delete(&event);
    return st;
}

static clv_status read_options(clvi_run *run, yaml_parser_t *parser, const char *path)
{
    yaml_event_t event;
    CLV_TRY(next_event(parser, path, &event));
    const bool mapping = event.type == YAML_MAPPING_START_EVENT;
    yaml_event_delete(&event);
    CLV_CHECK(mapping, CLV_ERR_FORMAT, "%s: expected a mapping of options, 'key: value' on each line", path);
    for (;;) {
        char *name = NULL;
        CLV_TRY(read_scalar(run->ctx, parser, path, &name));
        if (!name) return CLV_OK;
        clv_status st = run->option_count < MAX_OPTIONS
                            ? grow(run->ctx, &run->options, run->option_count, sizeof *run->options)
                            : clvi_fail(CLV_ERR_FORMAT, "%s: more than %d options", path, MAX_OPTIONS);
        if (st != CLV_OK) {
            clvi_free(run->ctx, name);
            return st;
        }
        clvi_run_option *option = &run->options[run->option_count++];
        *option = (clvi_run_option){ .name = name };
        CLV_TRY(read_scalar(run->ctx, parser, path, &option->value));
        CLV_CHECK(option->value, CLV_ERR_FORMAT, "%s: '%s' has no value", path, name);
    }
}

static clv_status read_config(clvi_run *run, const char *path)
{
    yaml_parser_t parser;
    uint8_t *bytes = NULL;
    size_t size = 0;
    CLV_TRY(clvi_file_read(run->ctx, path, CONFIG_LIMIT, &bytes, &size));
    clv_status st = CLV_ERR_NOMEM;
    if (yaml_parser_initialize(&parser)) {
        yaml_parser_set_input_string(&parser, bytes, size);
        st = read_options(run, &parser, path);
        yaml_parser_delete(&parser);
    } else {
        clvi_fail(st, "%s: libyaml has no memory", path);
    }
    clvi_free(run->ctx, bytes);
    return st;
}

int64_t clvi_run_find_epoch(const clvi_run *run, clvi_run_metric metric, bool best)
{
    int64_t found = -1;
    for (int64_t i = 0; i < run->epoch_count; i++) {
        const float value = run->epochs[i].line.value[metric];
        if (isfinite(value) && (found < 0 || !best || value > run->epochs[found].line.value[metric])) found = i;
    }
    return found;
}

const char *clvi_run_option_value(const clvi_run *run, const char *name)
{
    for (int64_t i = 0; i < run->option_count; i++)
        if (!strcmp(run->options[i].name, name)) return run->options[i].value;
    return "";
}

/* ---- metrics.jsonl ---- */

static void read_values(const json_t *object, clvi_run_line *line)
{
#define NAME_OF(ID, NAME) NAME,
    static const char *const names[] = { CLVI_RUN_METRICS(NAME_OF) };
#undef NAME_OF
    for (int i = 0; i < CLVI_RUN_METRIC_COUNT; i++) {
        const json_t *number = json_object_get(object, names[i]);
        const double value = json_is_number(number) ? json_number_value(number) : (double)NAN;
        line->value[i] = fabs(value) <= MAX_VALUE ? (float)value : NAN;
    }
}

/* Counts to shares; false without a usable histogram. */
static bool read_histogram(const json_t *array, float *share)
{
    double sum = 0.0;
    if (json_array_size(array) != CLV_SCORE_BINS) return false;
    for (size_t i = 0; i < CLV_SCORE_BINS; i++) {
        const double count = json_number_value(json_array_get(array, i));
        if (!(count >= 0.0 && count <= MAX_VALUE)) return false;
        sum += count;
    }
    if (sum <= 0.0) return false;
    for (size_t i = 0; i < CLV_SCORE_BINS; i++) share[i] = (float)(json_number_value(json_array_get(array, i)) / sum);
    return true;
}

static clv_status add_step(clvi_run *run, const clvi_run_line *line, const char *path)
{
    CLV_CHECK(run->step_count < MAX_STEPS, CLV_ERR_FORMAT, "%s: more than %" PRId64 " lines of steps", path, MAX_STEPS);
    CLV_TRY(grow(run->ctx, &run->steps, run->step_count, sizeof *run->steps));
    run->steps[run->step_count++] = *line;
    return CLV_OK;
}

static clv_status add_epoch(clvi_run *run, const json_t *object, const clvi_run_line *line, const char *path)
{
    CLV_CHECK(run->epoch_count < MAX_EPOCHS, CLV_ERR_FORMAT, "%s: more than %" PRId64 " lines of epochs", path,
              MAX_EPOCHS);
    CLV_TRY(grow(run->ctx, &run->epochs, run->epoch_count, sizeof *run->epochs));
    clvi_run_epoch *epoch = &run->epochs[run->epoch_count++];
    *epoch = (clvi_run_epoch){ .epoch = json_integer_value(json_object_get(object, "epoch")), .line = *line };
    epoch->has_histograms = read_histogram(json_object_get(object, "scores/positive_histogram"), epoch->positive) &&
                            read_histogram(json_object_get(object, "scores/negative_histogram"), epoch->negative);
    const char *protocol = json_string_value(json_object_get(object, "val/knn_protocol"));
    if (protocol && !run->protocol) {
        run->protocol = clvi_strdup(run->ctx, protocol);
        if (!run->protocol) return CLV_ERR_NOMEM;
    }
    return CLV_OK;
}

/* Steps and epochs only grow; a line that says otherwise is as damaged as one that is no JSON. */
static bool in_order(const clvi_run *run, const json_t *object, bool epoch, int64_t step)
{
    if (step < 0 || step > (INT64_C(1) << 53)) return false;
    if (!epoch) return run->step_count == 0 || run->steps[run->step_count - 1].step < step;
    const json_int_t number = json_integer_value(json_object_get(object, "epoch"));
    if (number < 1 || number > (INT64_C(1) << 31)) return false;
    if (run->epoch_count == 0) return true;
    const clvi_run_epoch *last = &run->epochs[run->epoch_count - 1];
    return last->epoch < number && last->line.step < step;
}

static clv_status read_line(clvi_run *run, const char *text, size_t size, const char *path)
{
    json_t *object = size <= LINE_LIMIT ? json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *kind = json_string_value(json_object_get(object, "kind"));
    const bool epoch = kind && !strcmp(kind, "epoch"), step = kind && !strcmp(kind, "step");
    clvi_run_line line = { .step = json_integer_value(json_object_get(object, "total_step")) };
    clv_status st = CLV_OK;
    if ((epoch || step) && in_order(run, object, epoch, line.step)) {
        read_values(object, &line);
        st = epoch ? add_epoch(run, object, &line, path) : add_step(run, &line, path);
    } else {
        run->bad_lines++;
    }
    json_decref(object);
    return st;
}

static clv_status read_metrics(clvi_run *run, const char *path)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    CLV_TRY(clvi_file_read(run->ctx, path, METRICS_LIMIT, &bytes, &size));
    clv_status st = CLV_OK;
    for (size_t at = 0; at < size && st == CLV_OK;) {
        const uint8_t *end = memchr(bytes + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - bytes) - at : size - at;
        if (length > 0) st = read_line(run, (const char *)bytes + at, length, path);
        at += length + 1;
    }
    clvi_free(run->ctx, bytes);
    return st;
}

/* ---- examples.h5 ---- */

/* Reads a data set of the shape given into new memory. */
static clv_status read_array(clvi_run *run, clvi_h5 *h5, const char *name, clv_dtype dtype, int64_t rows, int64_t cols,
                             void *out)
{
    void *memory = clvi_calloc(run->ctx, (size_t)(rows * CLVI_MAX(cols, 1)), clv_dtype_size(dtype));
    if (!memory) return CLV_ERR_NOMEM;
    memcpy(out, &memory, sizeof memory); /* the run owns it from here on */
    const clv_view view = cols > 0 ? clv_view_2d(memory, dtype, rows, cols) : clv_view_1d(memory, dtype, rows);
    return clvi_h5_read(h5, name, &view);
}

/* Shape of a matrix within bounds. */
static clv_status matrix_shape(clvi_h5 *h5, const char *name, int64_t max_rows, int64_t max_cols, int64_t *rows,
                               int64_t *cols)
{
    clvi_h5_info info;
    CLV_TRY(clvi_h5_stat(h5, name, &info));
    CLV_CHECK(info.ndim == 2 && info.shape[0] >= 1 && info.shape[0] <= max_rows && info.shape[1] >= 1 &&
                  info.shape[1] <= max_cols,
              CLV_ERR_FORMAT, "'%s': expected a matrix of at most %" PRId64 " x %" PRId64, name, max_rows, max_cols);
    *rows = info.shape[0];
    *cols = info.shape[1];
    return CLV_OK;
}

static clv_status read_arrays(clvi_run *run, clvi_h5 *h5)
{
    int64_t rows, dim, examples, neighbours;
    CLV_TRY(matrix_shape(h5, "features", MAX_ROWS, MAX_DIM, &rows, &dim));
    CLV_TRY(matrix_shape(h5, "neighbour_ids", MAX_EXAMPLES, MAX_NEIGHBOURS, &examples, &neighbours));
    CLV_CHECK(rows * dim <= MAX_FEATURES, CLV_ERR_FORMAT, "'features': more than %" PRId64 " numbers", MAX_FEATURES);
    CLV_TRY(read_array(run, h5, "features", CLV_F32, rows, dim, &run->features));
    CLV_TRY(read_array(run, h5, "labels", CLV_I64, rows, 0, &run->labels));
    CLV_TRY(read_array(run, h5, "example_ids", CLV_I64, examples, 0, &run->example_ids));
    CLV_TRY(read_array(run, h5, "example_labels", CLV_I64, examples, 0, &run->example_labels));
    CLV_TRY(read_array(run, h5, "neighbour_ids", CLV_I64, examples, neighbours, &run->neighbour_ids));
    CLV_TRY(read_array(run, h5, "neighbour_similarity", CLV_F32, examples, neighbours, &run->similarity));
    for (int64_t i = 0; i < rows * dim; i++)
        CLV_CHECK(fabsf(run->features[i]) <= (float)MAX_VALUE, CLV_ERR_FORMAT,
                  "'features': row %" PRId64 " is not finite", i / dim);
    run->rows = rows;
    run->dim = dim;
    run->examples = examples;
    run->neighbours = neighbours;
    return CLV_OK;
}

static clv_status read_examples(clvi_run *run, const char *path)
{
    clvi_h5 *h5 = NULL;
    if (!exists(path)) return CLV_OK; /* a run without labels has none */
    CLV_TRY(clvi_h5_open_untrusted(run->ctx, path, &h5));
    const clv_status st = read_arrays(run, h5);
    clvi_h5_close(h5);
    return st == CLV_OK ? CLV_OK : clvi_fail_in(st, path);
}

/* A checkpoint that is not there, damaged or from elsewhere leaves the version unknown. */
static clv_status read_version(clvi_run *run, const char *path)
{
    clvi_h5 *h5 = NULL;
    clv_status st = exists(path) ? clvi_h5_open_untrusted(run->ctx, path, &h5) : CLV_ERR_IO;
    if (st == CLV_OK) st = clvi_h5_attr_text(h5, "/", "version", &run->version);
    clvi_h5_close(h5);
    return st == CLV_ERR_NOMEM ? st : CLV_OK;
}

/* ---- all of it ---- */

clv_status clvi_run_read(clv_context *ctx, const char *directory, clvi_run *out)
{
    char path[PATH_SIZE];
    *out = (clvi_run){ .ctx = ctx };
    struct stat st;
    CLV_CHECK(stat(directory, &st) == 0 && S_ISDIR(st.st_mode), CLV_ERR_IO,
              "'%s' is not a run directory: no such folder", directory);
    CLV_TRY(path_in(directory, "config.yaml", path));
    CLV_CHECK(exists(path), CLV_ERR_IO, "'%s' is not a run directory: it has no config.yaml", directory);
    CLV_TRY(read_config(out, path));
    CLV_TRY(path_in(directory, "metrics.jsonl", path));
    CLV_CHECK(exists(path), CLV_ERR_IO, "'%s' has no metrics.jsonl: nothing was trained yet", directory);
    CLV_TRY(read_metrics(out, path));
    CLV_TRY(path_in(directory, "examples.h5", path));
    CLV_TRY(read_examples(out, path));
    CLV_TRY(path_in(directory, "last.h5", path));
    return read_version(out, path);
}

void clvi_run_release(clvi_run *run)
{
    for (int64_t i = 0; i < run->option_count; i++) {
        clvi_free(run->ctx, run->options[i].name);
        clvi_free(run->ctx, run->options[i].value);
    }
    clvi_free(run->ctx, run->options);
    clvi_free(run->ctx, run->steps);
    clvi_free(run->ctx, run->epochs);
    clvi_free(run->ctx, run->protocol);
    clvi_free(run->ctx, run->version);
    clvi_free(run->ctx, run->features);
    clvi_free(run->ctx, run->labels);
    clvi_free(run->ctx, run->example_ids);
    clvi_free(run->ctx, run->example_labels);
    clvi_free(run->ctx, run->neighbour_ids);
    clvi_free(run->ctx, run->similarity);
}
