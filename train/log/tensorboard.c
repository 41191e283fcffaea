/* tensorboard.c: what a run tells TensorBoard. */
#include "train/log/tensorboard.h"
#include "train/log/events.h"
#include "train/log/runlog.h"
#include "core/checked.h"
#include "core/file.h"
#include "core/png.h"
#include "device/backend.h"
#include "eval/report/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_SIZE     2048
#define BINS          64
#define SHOWN         8          /* images whose views are shown */
#define MOST_ROWS     2000       /* in the projector */
#define MOST_VALUES   2000000    /* of features in its file, which is text */
#define THUMBNAIL     32

struct clvi_tensorboard {
    clv_context *ctx;
    clvi_events *events;
    char         directory[PATH_SIZE];
};

clv_status clvi_tensorboard_open(clv_context *ctx, const char *directory, int64_t step, clvi_tensorboard **out)
{
    *out = NULL;
    clvi_tensorboard *tb = clvi_calloc(ctx, 1, sizeof *tb);
    if (!tb) return CLV_ERR_NOMEM;
    tb->ctx = ctx;
    snprintf(tb->directory, sizeof tb->directory, "%s", directory);
    const clv_status st = clvi_events_open(ctx, directory, step, &tb->events);
    if (st != CLV_OK) {
        clvi_tensorboard_close(tb);
        return st;
    }
    *out = tb;
    return CLV_OK;
}

void clvi_tensorboard_close(clvi_tensorboard *tb)
{
    if (!tb) return;
    clvi_events_close(tb->events);
    clvi_free(tb->ctx, tb);
}

/* ---- scalars ---- */

typedef struct scalars {
    clvi_events *events;
    int64_t      step;
    bool         epoch;
    clv_status   status;         /* the first failure */
} scalars;

/* An epoch repeats what its last step has said already, but for what was measured at its end. */
static void put_scalar(const char *name, double value, void *user)
{
    scalars *s = user;
    if (s->status != CLV_OK || !isfinite(value)) return;
    if (s->epoch && strncmp(name, "val/", 4) != 0 && strcmp(name, "train/images_per_second") != 0) return;
    s->status = clvi_events_scalar(s->events, s->step, name, value);
}

static clv_status put_scalars(clvi_tensorboard *tb, const clv_progress *p, double grad_norm)
{
    scalars s = { .events = tb->events, .step = p->total_step, .epoch = p->kind == CLV_PROGRESS_EPOCH };
    clvi_runlog_each(p, grad_norm, put_scalar, &s);
    return s.status;
}

/* ---- views ---- */

/* Rows of images, columns of views; each channel of the sheet is stretched over 0..255, since views are normalised. */
static void draw_sheet(const int64_t *shape, float *const *view, int views, int64_t shown, uint8_t *sheet)
{
    const int64_t channels = shape[1], height = shape[2], width = shape[3], size = height * width * channels;
    for (int64_t c = 0; c < channels; c++) {
        float low = INFINITY, high = -INFINITY;
        for (int v = 0; v < views; v++)
            for (int64_t i = c; i < shown * size; i += channels) {
                low = fminf(low, view[v][i]);
                high = fmaxf(high, view[v][i]);
            }
        const float scale = high > low ? 255.0f / (high - low) : 0.0f;
        for (int v = 0; v < views; v++)
            for (int64_t i = 0; i < shown * height * width; i++) {
                const int64_t y = i / width, x = v * width + i % width;
                const float value = view[v][i * channels + c];
                sheet[(y * views * width + x) * channels + c] = (uint8_t)lrintf((value - low) * scale);
            }
    }
}

static clv_status put_sheet(clvi_tensorboard *tb, int64_t step, const int64_t *shape, float *const *view, int views,
                            int64_t shown)
{
    const int64_t height = shown * shape[2], width = views * shape[3];
    uint8_t *png = NULL;
    size_t size = 0;
    uint8_t *sheet = clvi_calloc(tb->ctx, (size_t)(height * width * shape[1]), 1);
    if (!sheet) return CLV_ERR_NOMEM;
    draw_sheet(shape, view, views, shown, sheet);
    clv_status st = clvi_png_encode(tb->ctx, sheet, shape[1], height, width, &png, &size);
    if (st == CLV_OK) st = clvi_events_image(tb->events, step, "train/views", png, size, height, width, shape[1]);
    clvi_free(tb->ctx, png);
    clvi_free(tb->ctx, sheet);
    return st;
}

/* The first images of each view, N,H,W,C. */
static clv_status put_views(clvi_tensorboard *tb, int64_t step, const clv_view *view, int views)
{
    const int64_t *shape = view[0].shape;                           /* N,C,H,W */
    const int64_t shown = CLVI_MIN(shape[0], (int64_t)SHOWN);
    const size_t size = (size_t)(shown * shape[1] * shape[2] * shape[3]) * sizeof(float);
    clv_status st = CLV_OK;
    float *first[CLVI_MAX_VIEWS] = { NULL };
    if (shape[1] != 1 && shape[1] != 3) return CLV_OK;              /* no picture to look at */
    for (int v = 0; v < views; v++) {
        first[v] = clvi_calloc(tb->ctx, size, 1);
        if (!first[v]) st = CLV_ERR_NOMEM;
        else if (!view[v].device) memcpy(first[v], view[v].data, size);
        else if (st == CLV_OK) st = clvi_device_copy(tb->ctx, first[v], view[v].data, size, CLVI_COPY_TO_HOST);
    }
    if (st == CLV_OK) st = put_sheet(tb, step, shape, first, views, shown);
    for (int v = 0; v < views; v++) clvi_free(tb->ctx, first[v]);
    return st;
}

clv_status clvi_tensorboard_step(clvi_tensorboard *tb, const clv_progress *p, double grad_norm, const clv_view *view,
                                 int views)
{
    if (!tb) return CLV_OK;
    CLV_TRY(put_scalars(tb, p, grad_norm));
    if (p->step == 1) CLV_TRY(put_views(tb, p->total_step, view, views));
    return clvi_events_flush(tb->events);
}

/* ---- histograms ---- */

static clv_status put_counts(clvi_tensorboard *tb, int64_t step, const char *tag, const int64_t *bins)
{
    double limit[CLV_SCORE_BINS], counts[CLV_SCORE_BINS];
    clvi_histogram h = { .count = CLV_SCORE_BINS, .limit = limit, .counts = counts };
    int first = CLV_SCORE_BINS, last = -1;
    for (int i = 0; i < CLV_SCORE_BINS; i++) {
        const double middle = (i + 0.5) * 2.0 / CLV_SCORE_BINS - 1.0;
        limit[i] = (i + 1) * 2.0 / CLV_SCORE_BINS - 1.0;
        counts[i] = (double)bins[i];
        h.sum += counts[i] * middle;
        h.sum_squares += counts[i] * middle * middle;
        if (bins[i] && first > i) first = i;
        if (bins[i]) last = i;
    }
    if (last < 0) return CLV_OK;
    h.min = limit[first] - 2.0 / CLV_SCORE_BINS;
    h.max = limit[last];
    return clvi_events_histogram(tb->events, step, tag, &h);
}

static clv_status put_values(clvi_tensorboard *tb, int64_t step, const char *tag, const float *value, int64_t n)
{
    double limit[BINS], counts[BINS] = { 0 };
    clvi_histogram h = { .min = (double)INFINITY, .max = -(double)INFINITY, .count = BINS, .limit = limit,
                         .counts = counts };
    for (int64_t i = 0; i < n; i++) {
        h.min = fmin(h.min, (double)value[i]);
        h.max = fmax(h.max, (double)value[i]);
        h.sum += (double)value[i];
        h.sum_squares += (double)value[i] * (double)value[i];
    }
    if (!isfinite(h.min) || !isfinite(h.max)) return CLV_OK;
    const double width = h.max > h.min ? (h.max - h.min) / BINS : 1.0 / BINS;
    for (int b = 0; b < BINS; b++) limit[b] = h.min + (b + 1) * width;
    for (int64_t i = 0; i < n; i++) counts[CLVI_MIN((int)(((double)value[i] - h.min) / width), BINS - 1)]++;
    return clvi_events_histogram(tb->events, step, tag, &h);
}

static clv_status put_parameter(clvi_tensorboard *tb, int64_t step, const clv_params *params, int64_t index,
                                const clv_param_info *info, float *values)
{
    static const struct {
        const char    *folder;
        clv_param_part part;
    } parts[] = { { "weights", CLV_PARAM_VALUE }, { "gradients", CLV_PARAM_GRADIENT } };
    clv_view view = clv_view_dense(values, CLV_F32, info->ndim, info->shape);
    for (size_t i = 0; i < CLVI_COUNT(parts); i++) {
        char tag[512];
        CLV_TRY(clv_params_read(params, index, parts[i].part, &view));
        snprintf(tag, sizeof tag, "%s/%s", parts[i].folder, info->name);
        CLV_TRY(put_values(tb, step, tag, values, clv_view_count(&view)));
    }
    return CLV_OK;
}

static clv_status put_parameters(clvi_tensorboard *tb, int64_t step, const clv_params *params)
{
    for (int64_t i = 0; i < clv_params_count(params); i++) {
        clv_param_info info;
        CLV_TRY(clv_params_info(params, i, &info));
        if (info.kind != CLV_PARAM_TRAINABLE) continue;
        const clv_view shape = clv_view_dense(NULL, CLV_F32, info.ndim, info.shape);
        float *values = clvi_calloc(tb->ctx, (size_t)clv_view_count(&shape), sizeof *values);
        if (!values) return CLV_ERR_NOMEM;
        const clv_status st = put_parameter(tb, step, params, i, &info, values);
        clvi_free(tb->ctx, values);
        CLV_TRY(st);
    }
    return CLV_OK;
}

clv_status clvi_tensorboard_epoch(clvi_tensorboard *tb, const clv_progress *p, double grad_norm, clv_params *params)
{
    if (!tb) return CLV_OK;
    CLV_TRY(put_scalars(tb, p, grad_norm));
    if (p->has_scores) CLV_TRY(put_counts(tb, p->total_step, "scores/positive", p->scores.positive_histogram));
    if (p->has_scores) CLV_TRY(put_counts(tb, p->total_step, "scores/negative", p->scores.negative_histogram));
    CLV_TRY(put_parameters(tb, p->total_step, params));
    return clvi_events_flush(tb->events);
}

/* ---- projector ---- */

/* The central square of a picture, its pixels picked, not averaged: enough to recognise it by. */
static void pick_thumbnail(const clv_image *image, int64_t channels, int64_t stride, uint8_t *out)
{
    const int64_t side = CLVI_MIN(image->height, image->width);
    const int64_t top = (image->height - side) / 2, left = (image->width - side) / 2;
    for (int64_t y = 0; y < THUMBNAIL; y++)
        for (int64_t x = 0; x < THUMBNAIL; x++)
            memcpy(out + y * stride + x * channels,
                   image->pixels + (top + y * side / THUMBNAIL) * image->row_stride +
                       (left + x * side / THUMBNAIL) * image->channels, (size_t)channels);
}

static clv_status fill_sprite(clvi_tensorboard *tb, const clv_dataset *ds, const int64_t *ids, int64_t rows,
                              int64_t columns, int64_t channels, uint8_t *sprite)
{
    clv_decoder *decoder = NULL;
    CLV_TRY(clv_decoder_create(tb->ctx, NULL, &decoder));
    clv_status st = CLV_OK;
    const int64_t stride = columns * THUMBNAIL * channels;
    for (int64_t i = 0; i < rows && st == CLV_OK; i++) {
        clv_image image;
        st = clv_dataset_image(ds, ids[i], decoder, &image);
        if (st != CLV_OK || image.channels < channels) continue;
        pick_thumbnail(&image, channels, stride,
                       sprite + (i / columns * THUMBNAIL) * stride + i % columns * THUMBNAIL * channels);
    }
    clv_decoder_destroy(decoder);
    return st;
}

static clv_status write_file(const clvi_tensorboard *tb, const char *name, const void *bytes, size_t size)
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/%s", tb->directory, name);
    return clvi_file_write(path, bytes, size);
}

/* Writes and frees the text. */
static clv_status write_text(const clvi_tensorboard *tb, const char *name, clvi_text *text)
{
    const clv_status st = text->status != CLV_OK ? text->status : write_file(tb, name, text->bytes, text->size);
    clvi_text_free(text);
    return st;
}

static clv_status write_sprite(clvi_tensorboard *tb, const clv_dataset *ds, const int64_t *ids, int64_t rows)
{
    clv_dataset_info info;
    clv_dataset_describe(ds, &info);
    const int64_t columns = (int64_t)ceil(sqrt((double)rows)), channels = info.channels >= 3 ? 3 : 1;
    const int64_t side = columns * THUMBNAIL;                     /* a square: empty rows at its end */
    uint8_t *png = NULL;
    size_t size = 0;
    uint8_t *sprite = clvi_calloc(tb->ctx, (size_t)(side * side * channels), 1);
    if (!sprite) return CLV_ERR_NOMEM;
    clv_status st = fill_sprite(tb, ds, ids, rows, columns, channels, sprite);
    if (st == CLV_OK) st = clvi_png_encode(tb->ctx, sprite, channels, side, side, &png, &size);
    if (st == CLV_OK) st = write_file(tb, "projector/sprite.png", png, size);
    clvi_free(tb->ctx, png);
    clvi_free(tb->ctx, sprite);
    return st;
}

static clv_status write_features(clvi_tensorboard *tb, const clv_view *features, int64_t rows)
{
    const int64_t dim = features->shape[1];
    clvi_text text = { .ctx = tb->ctx };
    for (int64_t i = 0; i < rows * dim; i++)
        clvi_text_print(&text, "%.6g%c", (double)((const float *)features->data)[i], (i + 1) % dim ? '\t' : '\n');
    return write_text(tb, "projector/features.tsv", &text);
}

/* A class by its name, without what separates columns and lines. */
static void put_class(char *out, size_t size, const clv_dataset *ds, int64_t label)
{
    const char *name = label >= 0 ? clv_dataset_class_name(ds, label) : NULL;
    if (!name) {
        snprintf(out, size, "%" PRId64, label);
        return;
    }
    snprintf(out, size, "%s", name);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20) *c = ' ';
}

static clv_status write_labels(clvi_tensorboard *tb, const clv_dataset *ds, const int64_t *ids, const int64_t *labels,
                               int64_t rows)
{
    clvi_text text = { .ctx = tb->ctx };
    clvi_text_put(&text, "class\tid\n");
    for (int64_t i = 0; i < rows; i++) {
        char name[256];
        put_class(name, sizeof name, ds, labels[i]);
        clvi_text_print(&text, "%s\t%" PRId64 "\n", name, ids[i]);
    }
    return write_text(tb, "projector/labels.tsv", &text);
}

clv_status clvi_tensorboard_projector(clvi_tensorboard *tb, const clv_view *features, const int64_t *ids,
                                      const int64_t *labels, const clv_dataset *ds)
{
    char path[PATH_SIZE + 64], config[512];
    if (!tb) return CLV_OK;
    const int64_t most = CLVI_MAX(MOST_VALUES / features->shape[1], INT64_C(1));
    const int64_t rows = CLVI_MIN(features->shape[0], CLVI_MIN(most, (int64_t)MOST_ROWS));
    snprintf(path, sizeof path, "%s/projector", tb->directory);
    CLV_CHECK(mkdir(path, 0777) == 0 || errno == EEXIST, CLV_ERR_IO, "cannot make '%s': %s", path, strerror(errno));
    CLV_TRY(write_features(tb, features, rows));
    CLV_TRY(write_labels(tb, ds, ids, labels, rows));
    CLV_TRY(write_sprite(tb, ds, ids, rows));
    const int n = snprintf(config, sizeof config,
                           "embeddings {\n  tensor_name: \"features\"\n  tensor_path: \"projector/features.tsv\"\n"
                           "  metadata_path: \"projector/labels.tsv\"\n  sprite {\n    image_path: "
                           "\"projector/sprite.png\"\n    single_image_dim: %d\n    single_image_dim: %d\n  }\n}\n",
                           THUMBNAIL, THUMBNAIL);
    return write_file(tb, "projector_config.pbtxt", config, (size_t)n);
}
