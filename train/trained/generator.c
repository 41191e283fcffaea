/* generator.c: noise to images with a network trained by flow matching: dx/dt = v(x, t) from t = 0 to 1. */
#include <cleave/augment.h>
#include "train/files/checkpoint.h"
#include "train/trained/encoder.h"
#include "train/step/network.h"
#include "train/files/weights.h"
#include "core/checked.h"
#include "core/parallel.h"
#include "core/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct clv_generator {
    clv_context       *ctx;
    clv_generator_desc desc;
    clv_config        *config;
    clv_params        *params;
    clv_graph         *graph;
    clv_node           images, time, velocity;
    int64_t            channels, height, width, patch;
    float              mean[CLV_DATA_MAX_CHANNELS], std[CLV_DATA_MAX_CHANNELS];   /* of the pixels it was trained on */
    float             *at, *next;      /* [batch,H,W,C]: where each image is; where a first slope leads */
    float             *slope;          /* [batch,H,W,C] */
    float             *times;          /* [batch,CLVI_TIME_VALUES] */
};

static int64_t image_size(const clv_generator *g)
{
    return g->channels * g->height * g->width;
}

/* ---- opening ---- */

/* A generator is not chosen by the kNN monitor: of a run, the last checkpoint counts. */
static const char *locate(const char *path, char last[CLVI_PATH_SIZE + 16])
{
    struct stat info;
    snprintf(last, CLVI_PATH_SIZE + 16, "%.*s/last.h5", CLVI_PATH_SIZE - 1, path);
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? last : path;
}

static clv_status read_chain(clv_generator *g, const char *chain)
{
    clv_augment *augment = NULL;
    clv_transform transform = { .height = 0 };
    CLV_TRY(clvi_chain_create(g->ctx, chain, &g->config->settings, false, &augment));
    const clv_status st = clv_augment_transform(augment, &transform);
    g->height = transform.height;
    g->width = transform.width;
    for (int64_t c = 0; c < g->channels; c++) clv_augment_normalization(augment, c, &g->mean[c], &g->std[c]);
    clv_augment_destroy(augment);
    return st;
}

static clv_status build(clv_generator *g)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clvi_generated made;
    const int64_t n = g->desc.batch_size, time[2] = { n, CLVI_TIME_VALUES };
    CLV_TRY(clv_params_create(g->ctx, CLV_F32, &g->params));
    desc.params = g->params;
    CLV_TRY(clv_graph_create(g->ctx, &desc, &g->graph));
    g->images = clv_input_image(g->graph, "images", n, g->channels, g->height, g->width);
    g->time = clv_input(g->graph, "time", CLV_F32, 2, time);
    CLV_TRY(clvi_network_generator(g->graph, &g->config->settings, 1, g->images, g->time, &made));
    g->velocity = made.velocity;
    g->patch = made.patch;
    clv_graph_output(g->graph, g->velocity);
    return clv_graph_finish(g->graph);
}

static clv_status make_buffers(clv_generator *g)
{
    const size_t n = (size_t)g->desc.batch_size, size = (size_t)image_size(g);
    g->at = clvi_calloc(g->ctx, n * size, sizeof *g->at);
    g->next = clvi_calloc(g->ctx, n * size, sizeof *g->next);
    g->slope = clvi_calloc(g->ctx, n * size, sizeof *g->slope);
    g->times = clvi_calloc(g->ctx, n * CLVI_TIME_VALUES, sizeof *g->times);
    return g->at && g->next && g->slope && g->times ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status open_checkpoint(clv_generator *g)
{
    char last[CLVI_PATH_SIZE + 16];
    clvi_checkpoint *file = NULL;
    clv_status st = CLV_OK;
    CLV_TRY(clv_config_create(g->ctx, &g->config));
    CLV_TRY(clvi_checkpoint_open(g->ctx, locate(g->desc.checkpoint, last), g->config, &file));
    CLV_CHECK_OR_DONE(!strcmp(g->config->settings.method, "flow_matching"), CLV_ERR_INVALID,
                      "'%s' was trained by the method '%s', which generates nothing; expected flow_matching",
                      file->path, g->config->settings.method);
    g->channels = file->channels;
    CLV_TRY_OR_DONE(read_chain(g, file->eval_aug));
    CLV_TRY_OR_DONE(build(g));
    CLV_TRY_OR_DONE(clvi_weights_read(g->ctx, g->params, file->h5, "model"));
    CLV_TRY_OR_DONE(make_buffers(g));
done:
    clvi_checkpoint_close(file);
    return st;
}

clv_status clv_generator_open(clv_context *ctx, const clv_generator_desc *desc, clv_generator **out)
{
    CLV_CHECK(ctx && desc && out, CLV_ERR_INVALID, "clv_generator_open: an argument is NULL");
    *out = NULL;
    CLV_CHECK(desc->struct_size == sizeof *desc && desc->checkpoint, CLV_ERR_INVALID,
              "clv_generator_open: start from CLV_GENERATOR_DESC_INIT and name a checkpoint");
    CLV_CHECK(desc->steps >= 1 && desc->batch_size >= 1, CLV_ERR_INVALID,
              "generator: %" PRId64 " steps, batches of %" PRId64 "; expected at least 1", desc->steps,
              desc->batch_size);
    clv_generator *g = clvi_calloc(ctx, 1, sizeof *g);
    if (!g) return CLV_ERR_NOMEM;
    g->ctx = ctx;
    g->desc = *desc;
    const clv_status st = open_checkpoint(g);
    if (st != CLV_OK) {
        clv_generator_destroy(g);
        return st;
    }
    *out = g;
    return CLV_OK;
}

void clv_generator_destroy(clv_generator *g)
{
    if (!g) return;
    clvi_free(g->ctx, g->at);
    clvi_free(g->ctx, g->next);
    clvi_free(g->ctx, g->slope);
    clvi_free(g->ctx, g->times);
    clv_graph_destroy(g->graph);
    clv_params_destroy(g->params);
    clv_config_destroy(g->config);
    clvi_free(g->ctx, g);
}

void clv_generator_shape(const clv_generator *g, int64_t *height, int64_t *width, int64_t *channels)
{
    *height = g->height;
    *width = g->width;
    *channels = g->channels;
}

/* ---- sampling ---- */

typedef struct sample_job {
    clv_generator *g;
    int64_t        first;      /* image of row 0 */
    const float   *rows;       /* velocities in the network's order */
    float         *slope;
    uint8_t       *pixels;
} sample_job;

static void begin_rows(void *arg, int64_t begin, int64_t end)
{
    const sample_job *job = arg;
    const int64_t size = image_size(job->g);
    for (int64_t i = begin; i < end; i++) {
        clvi_rng rng = clvi_rng_make(job->g->desc.seed, CLVI_RNG_SAMPLE, 0, (uint64_t)(job->first + i), 0);
        for (int64_t k = 0; k < size; k++) job->g->at[i * size + k] = (float)clvi_rng_normal(&rng);
    }
}

static void order_rows(void *arg, int64_t begin, int64_t end)
{
    const sample_job *job = arg;
    const clv_generator *g = job->g;
    const int64_t size = image_size(g);
    for (int64_t i = begin; i < end; i++)
        for (int64_t at = 0, y = 0; y < g->height; y++)
            for (int64_t x = 0; x < g->width; x++)
                for (int64_t c = 0; c < g->channels; c++, at++)
                    job->slope[i * size + at] =
                        job->rows[i * size + clvi_patch_place(g->patch, g->width, g->channels, y, x, c)];
}

static void pixel_rows(void *arg, int64_t begin, int64_t end)
{
    const sample_job *job = arg;
    const clv_generator *g = job->g;
    const int64_t size = image_size(g);
    for (int64_t k = begin * size; k < end * size; k++) {
        const float value = g->at[k] * g->std[k % g->channels] + g->mean[k % g->channels];
        job->pixels[k] = (uint8_t)lrintf(255 * fminf(fmaxf(value, 0), 1));
    }
}

/* v(x, t) of the whole batch into slope. */
static clv_status velocity(clv_generator *g, float *x, double t, float *slope)
{
    const int64_t n = g->desc.batch_size;
    const clv_view images = clv_view_nhwc(x, CLV_F32, n, g->channels, g->height, g->width);
    const clv_view times = clv_view_2d(g->times, CLV_F32, n, CLVI_TIME_VALUES);
    clv_view rows;
    clvi_time_values(1 - t, g->times);
    for (int64_t i = 1; i < n; i++)
        memcpy(g->times + i * CLVI_TIME_VALUES, g->times, CLVI_TIME_VALUES * sizeof *g->times);
    CLV_TRY(clv_graph_bind(g->graph, g->images, &images));
    CLV_TRY(clv_graph_bind(g->graph, g->time, &times));
    CLV_TRY(clv_graph_run(g->graph));
    CLV_TRY(clv_graph_read(g->graph, g->velocity, &rows));
    sample_job job = { .g = g, .rows = rows.data, .slope = slope };
    clvi_parallel_for(g->ctx, n, 4, order_rows, &job);
    return CLV_OK;
}

static clv_status step(clv_generator *g, int64_t k)
{
    const int64_t count = g->desc.batch_size * image_size(g);
    const double t = (double)k / (double)g->desc.steps, next = (double)(k + 1) / (double)g->desc.steps;
    const float length = (float)(next - t);
    CLV_TRY(velocity(g, g->at, t, g->slope));
    if (g->desc.solver == CLV_SOLVER_EULER) {
        for (int64_t i = 0; i < count; i++) g->at[i] += length * g->slope[i];
        return CLV_OK;
    }
    for (int64_t i = 0; i < count; i++) {
        g->next[i] = g->at[i] + length * g->slope[i];
        g->at[i] += length / 2 * g->slope[i];
    }
    CLV_TRY(velocity(g, g->next, next, g->slope));
    for (int64_t i = 0; i < count; i++) g->at[i] += length / 2 * g->slope[i];
    return CLV_OK;
}

static clv_status check_finite(const clv_generator *g)
{
    for (int64_t i = 0; i < g->desc.batch_size * image_size(g); i++)
        CLV_CHECK(isfinite(g->at[i]), CLV_ERR_NUMERIC, "generator: an image is not finite after %" PRId64 " steps",
                  g->desc.steps);
    return CLV_OK;
}

clv_status clv_generator_sample(clv_generator *g, int64_t first, int64_t count, const clv_view *images,
                                bool (*progress)(int64_t done, int64_t total, void *user), void *user)
{
    CLV_CHECK(g && images, CLV_ERR_INVALID, "clv_generator_sample: an argument is NULL");
    CLV_CHECK(first >= 0 && count >= 0, CLV_ERR_INVALID, "generator: %" PRId64 " images from %" PRId64, count, first);
    CLV_CHECK(images->dtype == CLV_U8 && images->ndim == 4 && images->shape[0] == count
                  && images->shape[1] == g->height && images->shape[2] == g->width && images->shape[3] == g->channels
                  && clv_view_is_dense(images),
              CLV_ERR_SHAPE, "generator: images must be dense uint8 [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "]",
              count, g->height, g->width, g->channels);
    for (int64_t done = 0; done < count; done += g->desc.batch_size) {
        const int64_t n = CLVI_MIN(g->desc.batch_size, count - done);
        sample_job job = { .g = g, .first = first + done, .pixels = (uint8_t *)images->data + done * image_size(g) };
        clvi_parallel_for(g->ctx, g->desc.batch_size, 4, begin_rows, &job);
        for (int64_t k = 0; k < g->desc.steps; k++) CLV_TRY(step(g, k));
        CLV_TRY(check_finite(g));
        clvi_parallel_for(g->ctx, n, 4, pixel_rows, &job);
        if (progress && !progress(done + n, count, user)) return CLV_STOPPED;
    }
    return CLV_OK;
}

clv_status clv_images_save(clv_context *ctx, const char *path, const clv_view *images)
{
    CLV_CHECK(ctx && path && images, CLV_ERR_INVALID, "clv_images_save: an argument is NULL");
    CLV_CHECK(images->dtype == CLV_U8 && images->ndim == 4, CLV_ERR_SHAPE, "images must be uint8 [n,H,W,C]");
    clvi_h5 *h5 = NULL;
    CLV_TRY(clvi_h5_create(ctx, path, false, &h5));
    const clv_status st = clvi_h5_write(h5, "images", images);
    if (st == CLV_OK) return clvi_h5_commit(h5);
    clvi_h5_close(h5);
    return st;
}
