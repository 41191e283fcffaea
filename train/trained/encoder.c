/* encoder.c: images to features with a trained network: batch norm in evaluation mode, the evaluation transform, one
 * batch at a time. */
#include "train/trained/encoder.h"
#include "train/files/checkpoint.h"
#include "train/files/foreign.h"
#include "train/step/method.h"
#include "train/step/network.h"
#include "train/files/weights.h"
#include "core/checked.h"
#include "core/parallel.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct clv_encoder {
    clv_context   *ctx;
    clv_config    *config;          /* own copy */
    clv_layer      layer;
    clv_params    *params;
    bool           owns_params;
    clv_graph     *graph;
    clv_node       images, out;
    clv_augment   *augment;
    clv_transform  transform;
    int64_t        channels, batch, dim;
    float         *pixels;          /* [batch, H, W, C] */
    clv_decoder  **decoder;         /* one a thread, as the two below */
    void         **scratch;
    size_t        *scratch_size;
};

/* ---- chains ---- */

const char *clvi_train_chain(const clvi_settings *s)
{
    return s->aug[0] ? s->aug : s->aug_plus ? "moco-v2" : "moco-v1";
}

const char *clvi_eval_chain(const clvi_settings *s)
{
    if (s->eval_aug[0]) return s->eval_aug;
    const clv_augment_preset *preset = clv_augment_preset_find(clvi_train_chain(s));
    return preset && preset->eval ? preset->eval : "eval";
}

clv_status clvi_chain_create(clv_context *ctx, const char *chain, const clvi_settings *s, bool training,
                             clv_augment **out)
{
    char size[24], crop[32];
    clv_option overrides[2];
    int n = 0;
    snprintf(size, sizeof size, "%" PRId64, s->size);
    snprintf(crop, sizeof crop, "%.17g", s->crop_min);
    if (s->size) overrides[n++] = (clv_option){ "size", size };
    if (s->crop_min > 0 && training) overrides[n++] = (clv_option){ "crop-min", crop };
    return clv_augment_create(ctx, chain, overrides, n, out);
}

/* ---- building ---- */

/* The classifier in the parameters, as wide as it is there. Only one of cosines has no bias. */
static clv_status scores_node(clv_encoder *e, clv_node embedding, clv_node *out)
{
    clv_param_info weight;
    CLV_TRY(clv_params_info(e->params, clv_params_find(e->params, "classifier.weight"), &weight));
    const bool margin = clv_params_find(e->params, "classifier.bias") < 0;
    *out = clvi_classifier_node(e->graph, embedding, weight.shape[0], margin, false, NULL);
    return CLV_OK;
}

static clv_status build_graph(clv_encoder *e, int layer)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = e->params;
    CLV_TRY(clv_graph_create(e->ctx, &desc, &e->graph));
    e->images = clv_input_image(e->graph, "images", e->batch, e->channels, e->transform.height, e->transform.width);
    clv_node features, embedding;
    CLV_TRY(clvi_network_nodes(e->graph, &e->config->settings, 1, e->images, &features, &embedding));
    e->out = layer == CLV_LAYER_BACKBONE ? features : embedding;
    if (layer == CLVI_LAYER_SCORES) CLV_TRY(scores_node(e, embedding, &e->out));
    clv_graph_output(e->graph, e->out);
    CLV_TRY(clv_graph_finish(e->graph));
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    (void)clv_node_shape(e->graph, e->out, shape);
    e->dim = shape[1];
    return CLV_OK;
}

static clv_status build_buffers(clv_encoder *e)
{
    const size_t threads = (size_t)clv_context_threads(e->ctx);
    const int64_t pixels = e->batch * e->transform.height * e->transform.width * e->channels;
    e->pixels = clvi_calloc(e->ctx, (size_t)pixels, sizeof *e->pixels);
    e->decoder = clvi_calloc(e->ctx, threads, sizeof *e->decoder);
    e->scratch = clvi_calloc(e->ctx, threads, sizeof *e->scratch);
    e->scratch_size = clvi_calloc(e->ctx, threads, sizeof *e->scratch_size);
    if (!e->pixels || !e->decoder || !e->scratch || !e->scratch_size) return CLV_ERR_NOMEM;
    for (size_t t = 0; t < threads; t++) CLV_TRY(clv_decoder_create(e->ctx, NULL, &e->decoder[t]));
    return CLV_OK;
}

void clv_encoder_destroy(clv_encoder *e)
{
    if (!e) return;
    for (int t = 0; t < clv_context_threads(e->ctx); t++) {
        if (e->decoder) clv_decoder_destroy(e->decoder[t]);
        if (e->scratch) clvi_free(e->ctx, e->scratch[t]);
    }
    clvi_free(e->ctx, e->decoder);
    clvi_free(e->ctx, e->scratch);
    clvi_free(e->ctx, e->scratch_size);
    clvi_free(e->ctx, e->pixels);
    clv_graph_destroy(e->graph);
    if (e->owns_params) clv_params_destroy(e->params);
    clv_augment_destroy(e->augment);
    clv_config_destroy(e->config);
    clvi_free(e->ctx, e);
}

static clv_status create(const clv_config *config, clv_params *params, int64_t channels, const char *eval_aug,
                         int layer, int64_t batch_size, clv_encoder *e)
{
    CLV_CHECK(batch_size >= 1, CLV_ERR_INVALID, "encoder: batch size %" PRId64 ", expected at least 1", batch_size);
    CLV_TRY(clv_config_create(e->ctx, &e->config));
    e->config->settings = config->settings;
    e->channels = channels;
    e->batch = batch_size;
    e->layer = (clv_layer)layer;
    e->params = params;
    if (!params) {
        CLV_TRY(clv_params_create(e->ctx, CLV_F32, &e->params));
        e->owns_params = true;
    }
    CLV_TRY(clvi_chain_create(e->ctx, eval_aug, &e->config->settings, false, &e->augment));
    CLV_TRY(clv_augment_transform(e->augment, &e->transform));
    CLV_TRY(build_graph(e, layer));
    return build_buffers(e);
}

clv_status clvi_encoder_over(const clv_config *config, clv_params *params, int64_t channels, const char *eval_aug,
                             int layer, int64_t batch_size, clv_encoder **out)
{
    *out = NULL;
    clv_encoder *e = clvi_calloc(config->ctx, 1, sizeof *e);
    if (!e) return CLV_ERR_NOMEM;
    e->ctx = config->ctx;
    const clv_status st = create(config, params, channels, eval_aug, layer, batch_size, e);
    if (st != CLV_OK) {
        clv_encoder_destroy(e);
        return st;
    }
    *out = e;
    return CLV_OK;
}

static clv_status check_key(const clv_config *config, const clv_encoder_desc *desc)
{
    const clvi_method_class *method = NULL;
    CLV_TRY(clvi_method_find(config->settings.method, &method));
    CLV_CHECK(!method->text, CLV_ERR_INVALID, "'%s' is a tagger: it has no features of images", desc->checkpoint);
    CLV_CHECK(!desc->key || method->teacher, CLV_ERR_INVALID, "'%s': method '%s' has no momentum encoder",
              desc->checkpoint, method->info.name);
    CLV_CHECK(!desc->ema || config->settings.ema_decay > 0, CLV_ERR_INVALID,
              "'%s': no average of the weights was kept (ema-decay)", desc->checkpoint);
    CLV_CHECK(!desc->ema || !desc->key, CLV_ERR_INVALID,
              "'%s': the momentum encoder or the average of the weights, not both", desc->checkpoint);
    return CLV_OK;
}

static clv_status open_checkpoint(clv_context *ctx, const clv_encoder_desc *desc, clv_config *config, clv_encoder **out)
{
    clv_encoder *e = NULL;
    clvi_checkpoint *file = NULL;
    clv_status st = CLV_OK;
    CLV_TRY_OR_DONE(clvi_checkpoint_open(ctx, desc->checkpoint, config, &file));
    CLV_TRY_OR_DONE(check_key(config, desc));
    CLV_TRY_OR_DONE(clvi_encoder_over(config, NULL, file->channels, file->eval_aug, desc->layer, desc->batch_size, &e));
    if (desc->untrained)
        CLV_TRY_OR_DONE(clv_params_init(e->params, (uint64_t)config->settings.seed));
    else
        CLV_TRY_OR_DONE(clvi_weights_read(ctx, e->params, file->h5,
                                          desc->ema ? "ema_model" : desc->key ? "key_model" : "model"));
    *out = e;
    e = NULL;
done:
    clv_encoder_destroy(e);
    clvi_checkpoint_close(file);
    return st;
}

static void log_line(const char *text, void *user)
{
    clvi_log(user, CLV_LOG_INFO, "%s", text);
}

/* How pictures are prepared for a network of which nothing is known but its weights. */
static const char *foreign_chain(const clvi_settings *s, const clvi_foreign *f)
{
    return s->eval_aug[0] ? s->eval_aug : f->small ? "eval-cifar" : "eval";
}

static clv_status open_weights(clv_context *ctx, const clv_encoder_desc *desc, clv_config *config, clv_encoder **out)
{
    clvi_foreign f;
    clv_encoder *e = NULL;
    if (desc->config) {
        config->settings = desc->config->settings;
        memcpy(config->source, desc->config->source, sizeof config->source);
    }
    clv_status st = clvi_foreign_open(config, desc->weights, desc->key, &f);
    if (st != CLV_OK) goto done;
    const clvi_settings *s = &config->settings;
    CLV_CHECK_OR_DONE(f.head || desc->layer == CLV_LAYER_BACKBONE, CLV_ERR_INVALID,
                      "'%s' holds no head (fc.*) that is known: only the backbone's features can be had",
                      desc->weights);
    CLV_TRY_OR_DONE(clvi_encoder_over(config, NULL, f.channels, foreign_chain(s, &f), desc->layer, desc->batch_size,
                                      &e));
    char stem[32];
    CLV_TRY_OR_DONE(clv_config_get(config, "stem", stem, sizeof stem));
    clvi_log(ctx, CLV_LOG_INFO, "weights: '%s', %s: arch %s, stem %s", desc->weights, f.file->kind, s->arch, stem);
    CLV_TRY_OR_DONE(clv_params_init(e->params, (uint64_t)s->seed));
    if (!desc->untrained) CLV_TRY_OR_DONE(clvi_foreign_read(&f, s, e->params, log_line, ctx));
    *out = e;
    e = NULL;
done:
    clv_encoder_destroy(e);
    clvi_foreign_release(&f);
    return st;
}

clv_status clv_encoder_open(clv_context *ctx, const clv_encoder_desc *desc, clv_encoder **out)
{
    CLV_CHECK(ctx && desc && out, CLV_ERR_INVALID, "clv_encoder_open: an argument is NULL");
    *out = NULL;
    CLV_CHECK(!desc->checkpoint != !desc->weights, CLV_ERR_INVALID,
              "clv_encoder_open: expected a checkpoint, or a file of weights");
    CLV_CHECK(!desc->weights || !desc->ema, CLV_ERR_INVALID,
              "clv_encoder_open: only a checkpoint holds an average of the weights");
    clv_config *config = NULL;
    CLV_TRY(clv_config_create(ctx, &config));
    const clv_status st = (desc->weights ? open_weights : open_checkpoint)(ctx, desc, config, out);
    clv_config_destroy(config);
    return st;
}

clvi_encoder_parts clvi_encoder_look(const clv_encoder *e)
{
    return (clvi_encoder_parts) {
        .ctx = e->ctx, .config = e->config, .params = e->params, .layer = e->layer, .channels = e->channels,
        .height = e->transform.height, .width = e->transform.width, .eval_aug = clv_augment_describe(e->augment),
    };
}

int64_t clv_encoder_dim(const clv_encoder *e)
{
    return e->dim;
}

const clv_config *clv_encoder_config(const clv_encoder *e)
{
    return e->config;
}

/* ---- embedding ---- */

typedef struct fill_job {
    clv_encoder       *encoder;
    const clv_dataset *ds;
    const int64_t     *ids;
    int64_t            first;       /* image of row 0 when ids is NULL */
    atomic_int         status;      /* the first failure */
    char               message[512];
} fill_job;

/* Scratch of this thread, grown to what the picture needs. */
static clv_status need_scratch(clv_encoder *e, int thread, const clv_image *image)
{
    const int64_t size = e->transform.scratch_size(e->transform.user, image->height, image->width, image->channels);
    CLV_CHECK(size >= 0, CLV_ERR_SHAPE, "an image of %" PRId64 "x%" PRId64 "x%" PRId64 " cannot be transformed",
              image->height, image->width, image->channels);
    if ((size_t)size <= e->scratch_size[thread]) return CLV_OK;
    clvi_free(e->ctx, e->scratch[thread]);
    e->scratch_size[thread] = 0;
    e->scratch[thread] = clvi_calloc(e->ctx, 1, (size_t)size);
    if (!e->scratch[thread]) return CLV_ERR_NOMEM;
    e->scratch_size[thread] = (size_t)size;
    return CLV_OK;
}

static clv_status fill_row(fill_job *job, int64_t row)
{
    clv_encoder *e = job->encoder;
    const int thread = clvi_thread_index();
    const int64_t id = job->ids ? job->ids[row] : job->first + row;
    clv_image image;
    CLV_TRY(clv_dataset_image(job->ds, id, e->decoder[thread], &image));
    CLV_CHECK(image.channels == e->channels, CLV_ERR_SHAPE, "image %" PRId64 " has %" PRId64
              " channels, the encoder takes %" PRId64, id, image.channels, e->channels);
    CLV_TRY(need_scratch(e, thread, &image));
    float *out = e->pixels + row * e->transform.height * e->transform.width * e->channels;
    return e->transform.apply(e->transform.user, &image, 0, 0, (uint64_t)id, 0, e->scratch[thread],
                              e->scratch_size[thread], out);
}

static void fill_rows(void *arg, int64_t begin, int64_t end)
{
    fill_job *job = arg;
    for (int64_t row = begin; row < end; row++) {
        const clv_status st = fill_row(job, row);
        int none = CLV_OK;
        if (st != CLV_OK && atomic_compare_exchange_strong(&job->status, &none, (int)st))
            snprintf(job->message, sizeof job->message, "%s", clv_error_message());
    }
}

clv_status clvi_encoder_embed_ids(clv_encoder *e, const clv_dataset *ds, const int64_t *ids, int64_t first,
                                  int64_t count, const clv_view *features, bool (*progress)(int64_t, int64_t, void *),
                                  void *user)
{
    CLV_CHECK(features->dtype == CLV_F32 && features->ndim == 2 && features->shape[0] == count
                  && features->shape[1] == e->dim && clv_view_is_dense(features),
              CLV_ERR_SHAPE, "embed: features must be dense float32 [%" PRId64 ", %" PRId64 "]", count, e->dim);
    const clv_view pixels = clv_view_nhwc(e->pixels, CLV_F32, e->batch, e->channels, e->transform.height,
                                          e->transform.width);
    CLV_TRY(clv_graph_bind(e->graph, e->images, &pixels));
    for (int64_t done = 0; done < count; done += e->batch) {
        const int64_t n = CLVI_MIN(e->batch, count - done);
        fill_job job = { .encoder = e, .ds = ds, .ids = ids ? ids + done : NULL, .first = first + done };
        clvi_parallel_for(e->ctx, n, 4, fill_rows, &job);
        CLV_CHECK(job.status == CLV_OK, (clv_status)job.status, "embed: %s", job.message);
        CLV_TRY(clv_graph_run(e->graph));
        clv_view out;
        CLV_TRY(clv_graph_read(e->graph, e->out, &out));
        memcpy((float *)features->data + done * e->dim, out.data, (size_t)(n * e->dim) * sizeof(float));
        if (progress && !progress(done + n, count, user)) return CLV_STOPPED;
    }
    return CLV_OK;
}

clv_status clv_encoder_embed(clv_encoder *e, const clv_dataset *ds, int64_t first, int64_t count,
                             const clv_view *features, bool (*progress)(int64_t done, int64_t total, void *user),
                             void *user)
{
    CLV_CHECK(e && ds && features, CLV_ERR_INVALID, "clv_encoder_embed: an argument is NULL");
    clv_dataset_info info;
    clv_dataset_describe(ds, &info);
    CLV_CHECK(first >= 0 && count >= 0 && count <= info.count - first, CLV_ERR_INVALID,
              "clv_encoder_embed: images %" PRId64 "..%" PRId64 " of a set of %" PRId64, first, first + count,
              info.count);
    return clvi_encoder_embed_ids(e, ds, NULL, first, count, features, progress, user);
}
