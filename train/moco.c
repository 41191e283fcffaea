/* moco.c: momentum contrast. He et al. 2020, arXiv:1911.05722, algorithm 1 (v1); Chen et al. 2020, arXiv:2003.04297
 * (v2: the mlp head and stronger augmentation are settings, not another method).
 *
 * A step: the key encoder follows the query encoder (theta_k = m theta_k + (1-m) theta_q); keys without gradient, their
 * batch shuffled over the groups of split batch norm; InfoNCE against the bank as it was; SGD; then the keys are
 * enqueued. With several groups, batch norm sees what it would see on as many devices (section 3.3, "Shuffling BN"). */
#include "train/method.h"
#include "train/network.h"
#include "train/optimizer.h"
#include "train/weights.h"
#include "core/rng.h"
#include "memorybank/bank.h"
#include "device/cpu/flat.h"

#include <cleave/loss.h>
#include <cleave/profile.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* One encoder at work: a graph, its input, and what is read from it. */
typedef struct encoder {
    clv_graph *graph;
    clv_node   images, unit;        /* unit: embedding with unit rows [B,D] */
    clv_node   key, loss;           /* query encoder only */
} encoder;

typedef struct moco {
    clvi_method          base;
    const clvi_settings *settings;
    int64_t              batch, image_size;     /* floats of one view */
    clv_params          *query_params, *key_params;
    encoder              query, keyer;
    clvi_optimizer      *optimizer;
    clv_bank            *bank;
    float               *shuffled;              /* [B, image] the key batch in the order the groups see it */
    int64_t             *order;                 /* [B] */
    float               *keys[2], *queries;     /* [B,D], in the order of the batch; keys[1]: symmetric only */
    float               *mix;                   /* scratch of running statistics that follow the query's */
    void                *sum;                   /* symmetric: gradient arena of the first direction */
    size_t               sum_size;
} moco;

static bool shuffles(const moco *m)
{
    return m->settings->bn_splits > 1 && m->settings->shuffle_bn;
}

/* ---- building ---- */

static clv_status query_graph(moco *m, const clvi_method_setup *setup)
{
    clv_context *ctx = setup->ctx;
    const clvi_settings *s = setup->settings;
    CLV_TRY(clv_params_create(ctx, CLV_F32, &m->query_params));
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = m->query_params;
    desc.training = true;
    CLV_TRY(clv_graph_create(ctx, &desc, &m->query.graph));
    clv_graph *g = m->query.graph;
    m->query.images = clv_input_image(g, "images", m->batch, setup->channels, setup->height, setup->width);
    clv_node features, embedding;
    CLV_TRY(clvi_network_nodes(g, s, m->query.images, &features, &embedding));
    m->query.unit = clv_l2norm_rows(g, embedding, 1e-12);
    const int64_t key_shape[2] = { m->batch, s->moco_dim }, bank_shape[2] = { s->moco_k, s->moco_dim };
    m->query.key = clv_input(g, "key", CLV_F32, 2, key_shape);
    const clv_view rows = clv_bank_rows(m->bank), mask = clv_bank_valid(m->bank);
    const clv_node queue = clv_input(g, "queue", rows.dtype, 2, bank_shape);
    const clv_node valid = clv_input(g, "queue_valid", CLV_U8, 1, bank_shape);
    char temperature[32];
    snprintf(temperature, sizeof temperature, "%.17g", s->moco_t);
    const clv_option options[] = { { "temperature", temperature }, { "normalize", "true" } };
    const clv_loss_value inputs[] = {
        { "query", embedding }, { "key", m->query.key }, { "queue", queue }, { "queue_valid", valid },
    };
    m->query.loss = clv_loss_node(g, "moco_queue", options, 2, inputs, 4, NULL, 0);
    CLV_TRY(clv_graph_backward(g, m->query.loss));
    clv_graph_output(g, m->query.loss);
    clv_graph_output(g, m->query.unit);
    CLV_TRY(clv_graph_finish(g));
    CLV_TRY(clv_graph_bind(g, queue, &rows));
    CLV_TRY(clv_graph_bind(g, valid, &mask));
    const clv_view keys = clv_view_2d(m->keys[0], CLV_F32, m->batch, s->moco_dim);
    return clv_graph_bind(g, m->query.key, &keys);
}

static clv_status key_graph(moco *m, const clvi_method_setup *setup)
{
    CLV_TRY(clv_params_clone(m->query_params, &m->key_params));      /* the key encoder starts as a copy */
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = m->key_params;
    desc.training = true;                                            /* batch statistics, as published */
    CLV_TRY(clv_graph_create(setup->ctx, &desc, &m->keyer.graph));
    clv_graph *g = m->keyer.graph;
    m->keyer.images = clv_input_image(g, "images", m->batch, setup->channels, setup->height, setup->width);
    clv_node features, embedding;
    CLV_TRY(clvi_network_nodes(g, setup->settings, m->keyer.images, &features, &embedding));
    m->keyer.unit = clv_l2norm_rows(g, embedding, 1e-12);
    clv_graph_output(g, m->keyer.unit);
    return clv_graph_finish(g);
}

static clv_status make_bank(moco *m, const clvi_method_setup *setup)
{
    const clvi_settings *s = setup->settings;
    char capacity[24], dim[24], seed[24];
    snprintf(capacity, sizeof capacity, "%" PRId64, s->moco_k);
    snprintf(dim, sizeof dim, "%" PRId64, s->moco_dim);
    snprintf(seed, sizeof seed, "%" PRId64, s->seed);
    const clv_option options[] = {
        { "capacity", capacity }, { "dim", dim }, { "seed", seed }, { "init", s->queue_init ? "empty" : "random" },
        { "dtype", s->moco_queue_dtype == CLVI_QUEUE_BF16 ? "bfloat16" : "float32" },
    };
    return clv_bank_create(setup->ctx, "fifo", options, 5, &m->bank);
}

static clv_status make_buffers(moco *m, const clvi_settings *s)
{
    clv_context *ctx = m->base.ctx;
    const size_t rows = (size_t)(m->batch * s->moco_dim);
    m->keys[0] = clvi_calloc(ctx, rows, sizeof(float));
    m->keys[1] = clvi_calloc(ctx, s->symmetric ? rows : 1, sizeof(float));
    m->queries = clvi_calloc(ctx, s->symmetric ? rows : 1, sizeof(float));
    m->shuffled = clvi_calloc(ctx, shuffles(m) ? (size_t)(m->batch * m->image_size) : 1, sizeof(float));
    m->order = clvi_calloc(ctx, (size_t)m->batch, sizeof *m->order);
    return m->keys[0] && m->keys[1] && m->queries && m->shuffled && m->order ? CLV_OK : CLV_ERR_NOMEM;
}

static void moco_destroy(clvi_method *base)
{
    moco *m = (moco *)base;
    if (!m) return;
    clv_context *ctx = base->ctx;
    clv_graph_destroy(m->query.graph);
    clv_graph_destroy(m->keyer.graph);
    clvi_optimizer_destroy(m->optimizer);
    clv_params_destroy(m->key_params);
    clv_params_destroy(m->query_params);
    clv_bank_destroy(m->bank);
    if (m->sum) clvi_arena_free(ctx, m->sum, m->sum_size);
    clvi_free(ctx, m->shuffled);
    clvi_free(ctx, m->order);
    clvi_free(ctx, m->keys[0]);
    clvi_free(ctx, m->keys[1]);
    clvi_free(ctx, m->queries);
    clvi_free(ctx, m->mix);
    clvi_free(ctx, m);
}

static clv_status moco_init(moco *m, const clvi_method_setup *setup)
{
    const clvi_settings *s = setup->settings;
    CLV_CHECK(s->batch_size % s->bn_splits == 0, CLV_ERR_INVALID,
              "batch-size %" PRId64 " is no multiple of bn-splits %" PRId64, s->batch_size, s->bn_splits);
    m->settings = s;
    m->batch = s->batch_size;
    m->image_size = setup->channels * setup->height * setup->width;
    CLV_TRY(make_bank(m, setup));
    CLV_TRY(make_buffers(m, s));
    CLV_TRY(query_graph(m, setup));
    CLV_TRY(clv_params_init(m->query_params, (uint64_t)s->seed));
    CLV_TRY(key_graph(m, setup));
    CLV_TRY(clvi_optimizer_create(m->query_params, setup->ctx, s, &m->optimizer));
    m->mix = clvi_calloc(setup->ctx, (size_t)clvi_weights_mix_scratch(m->key_params), sizeof(float));
    if (!m->mix) return CLV_ERR_NOMEM;
    if (!s->symmetric) return CLV_OK;
    m->sum_size = clvi_params_arena_size(m->query_params);
    m->sum = clvi_arena_alloc(setup->ctx, m->sum_size);
    return m->sum ? CLV_OK : CLV_ERR_NOMEM;
}

/* ---- a step ---- */

/* Order in which the groups of the key encoder see the batch: a permutation drawn for this step. */
static void draw_order(moco *m, const clvi_step *at)
{
    for (int64_t i = 0; i < m->batch; i++)
        m->order[i] = (int64_t)clvi_rng_permute(at->seed ^ (uint64_t)at->total << 20, CLVI_RNG_SHUFFLE,
                                                (uint32_t)at->total, (uint64_t)m->batch, (uint64_t)i);
}

/* Keys of one view, in the order of the batch. */
static clv_status make_keys(moco *m, const clv_view *images, const clvi_step *at, float *keys)
{
    clv_view view = *images, unit;
    if (shuffles(m)) {
        draw_order(m, at);
        const float *pixels = images->data;
        for (int64_t i = 0; i < m->batch; i++)
            memcpy(m->shuffled + i * m->image_size, pixels + m->order[i] * m->image_size,
                   (size_t)m->image_size * sizeof(float));
        view.data = m->shuffled;
    }
    CLV_TRY(clv_graph_bind(m->keyer.graph, m->keyer.images, &view));
    CLV_TRY(clv_graph_run(m->keyer.graph));
    CLV_TRY(clv_graph_read(m->keyer.graph, m->keyer.unit, &unit));
    const float *rows = unit.data;
    const int64_t dim = m->settings->moco_dim;
    for (int64_t i = 0; i < m->batch; i++)
        memcpy(keys + (shuffles(m) ? m->order[i] : i) * dim, rows + i * dim, (size_t)dim * sizeof(float));
    return CLV_OK;
}

/* Loss and gradients of queries against keys and bank. */
static clv_status run_query(moco *m, const clv_view *images, const float *keys, double *loss)
{
    const clv_view key_view = clv_view_2d((void *)keys, CLV_F32, m->batch, m->settings->moco_dim);
    CLV_TRY(clv_graph_bind(m->query.graph, m->query.key, &key_view));
    CLV_TRY(clv_graph_bind(m->query.graph, m->query.images, images));
    CLV_TRY(clv_graph_run(m->query.graph));
    clv_view value;
    CLV_TRY(clv_graph_read(m->query.graph, m->query.loss, &value));
    *loss = *(const float *)value.data;
    return CLV_OK;
}

/* theta_k = m theta_k + (1-m) theta_q, with the buffers' policy. */
static clv_status follow(moco *m, double momentum)
{
    clv_view k, q;
    CLV_TRY(clv_params_flat(m->key_params, CLV_PARAM_VALUE, &k));
    CLV_TRY(clv_params_flat(m->query_params, CLV_PARAM_VALUE, &q));
    clvi_flat_ema(m->base.ctx, k.dtype, clv_view_count(&k), k.data, q.data, momentum);
    switch (m->settings->bn_buffers) {
    case CLVI_BN_BUFFERS_COPY: return clvi_weights_mix_buffers(m->key_params, m->query_params, 1.0, m->mix);
    case CLVI_BN_BUFFERS_AVERAGE:
        return clvi_weights_mix_buffers(m->key_params, m->query_params, 1.0 - momentum, m->mix);
    default: return CLV_OK;
    }
}

/* The second direction: its loss and gradients are added to the first's. */
static clv_status other_direction(moco *m, const clv_batch *batch, const clvi_step *at, double *loss)
{
    clv_view g, unit;
    double second = 0.0;
    CLV_TRY(clv_params_flat(m->query_params, CLV_PARAM_GRADIENT, &g));
    memcpy(m->sum, g.data, (size_t)clv_view_count(&g) * clv_dtype_size(g.dtype));
    CLV_TRY(clv_graph_read(m->query.graph, m->query.unit, &unit));
    memcpy(m->queries, unit.data, (size_t)clv_view_count(&unit) * sizeof(float));
    const clvi_step half = { at->seed + 1, at->total, at->lr, at->key_momentum };     /* its own shuffle */
    CLV_TRY(make_keys(m, &batch->view[0], &half, m->keys[1]));
    CLV_TRY(run_query(m, &batch->view[1], m->keys[1], &second));
    clvi_flat_axpy(m->base.ctx, g.dtype, clv_view_count(&g), 1.0, m->sum, g.data);
    *loss += second;
    return CLV_OK;
}

static clv_status moco_forward(clvi_method *base, const clv_batch *batch, const clvi_step *at, clvi_step_result *out)
{
    moco *m = (moco *)base;
    CLV_TRY(follow(m, at->key_momentum));
    CLV_TRY(make_keys(m, &batch->view[1], at, m->keys[0]));
    CLV_TRY(run_query(m, &batch->view[0], m->keys[0], &out->loss));
    CLV_TRY(clv_graph_read(m->query.graph, m->query.unit, &out->query));
    if (m->settings->symmetric) {
        CLV_TRY(other_direction(m, batch, at, &out->loss));
        out->query.data = m->queries;
    }
    clv_view g;
    CLV_TRY(clv_params_flat(m->query_params, CLV_PARAM_GRADIENT, &g));
    out->grad_norm = sqrt(clvi_flat_norm2(base->ctx, g.dtype, clv_view_count(&g), g.data));
    out->key = clv_view_2d(m->keys[0], CLV_F32, m->batch, m->settings->moco_dim);
    out->bank = m->bank;
    return CLV_OK;
}

static clv_status moco_update(clvi_method *base, const clv_batch *batch, const clvi_step *at)
{
    moco *m = (moco *)base;
    m->optimizer->cls->step(m->optimizer, at->lr);
    for (int i = m->settings->symmetric; i >= 0; i--) {      /* the demo enqueues the first view's keys first */
        const clv_view keys = clv_view_2d(m->keys[i], CLV_F32, m->batch, m->settings->moco_dim);
        const int64_t begin = clv_profile_begin(base->ctx);
        CLV_TRY(clv_bank_push(m->bank, &keys, batch->ids, batch->labels));
        clv_profile_end(base->ctx, begin, "bank push");
    }
    return CLV_OK;
}

/* ---- keeping and telling ---- */

static clv_params *moco_params(clvi_method *base, bool key)
{
    moco *m = (moco *)base;
    return key ? m->key_params : m->query_params;
}

static clv_status describe_graph(clv_graph *g, const char *name, void (*line)(const char *text, void *user), void *user)
{
    clv_graph_memory_t memory;
    CLV_TRY(clv_graph_memory(g, &memory));
    char text[256];
    snprintf(text, sizeof text,
             "%s: parameters %.1f MiB, gradients %.1f MiB, activations %.1f MiB (%.1f unshared), scratch %.1f MiB",
             name, (double)memory.parameters / 1048576.0, (double)memory.gradients / 1048576.0,
             (double)memory.activations / 1048576.0, (double)memory.unplanned / 1048576.0,
             (double)memory.scratch / 1048576.0);
    line(text, user);
    return CLV_OK;
}

static clv_status moco_describe(clvi_method *base, void (*line)(const char *text, void *user), void *user)
{
    moco *m = (moco *)base;
    CLV_TRY(describe_graph(m->query.graph, "query encoder", line, user));
    CLV_TRY(describe_graph(m->keyer.graph, "key encoder", line, user));
    char text[256];
    const clv_view rows = clv_bank_rows(m->bank);
    snprintf(text, sizeof text,
             "bank: fifo, %" PRId64 " x %" PRId64 " %s, %.1f MiB; every query sees %" PRId64 " negatives", rows.shape[0],
             rows.shape[1], clv_dtype_name(rows.dtype),
             (double)clv_view_count(&rows) * (double)clv_dtype_size(rows.dtype) / 1048576.0, rows.shape[0]);
    line(text, user);
    return CLV_OK;
}

static clv_status moco_write(const clvi_method *base, clvi_h5 *h5)
{
    const moco *m = (const moco *)base;
    CLV_TRY(clvi_weights_write(base->ctx, m->query_params, h5, "model"));
    CLV_TRY(clvi_weights_write(base->ctx, m->key_params, h5, "key_model"));
    CLV_TRY(clvi_optimizer_write(m->optimizer, h5, "optimizer"));
    return clvi_bank_write(m->bank, h5, "bank");
}

static clv_status moco_read(clvi_method *base, clvi_h5 *h5)
{
    moco *m = (moco *)base;
    CLV_TRY(clvi_weights_read(base->ctx, m->query_params, h5, "model"));
    CLV_TRY(clvi_weights_read(base->ctx, m->key_params, h5, "key_model"));
    CLV_TRY(clvi_optimizer_read(m->optimizer, h5, "optimizer"));
    return clvi_bank_read(m->bank, h5, "bank");
}

static clv_status moco_create(const clvi_method_setup *setup, clvi_method **out);

extern const clvi_method_class clvi_method_moco;
const clvi_method_class clvi_method_moco = {
    .info = { "moco", "momentum contrast, v1 and v2, asymmetric or symmetric", "arXiv:1911.05722, arXiv:2003.04297",
              0 },
    .views = 2,
    .create = moco_create,
    .forward = moco_forward,
    .update = moco_update,
    .params = moco_params,
    .write = moco_write,
    .read = moco_read,
    .describe = moco_describe,
    .destroy = moco_destroy,
};

static clv_status moco_create(const clvi_method_setup *setup, clvi_method **out)
{
    moco *m = clvi_calloc(setup->ctx, 1, sizeof *m);
    if (!m) return CLV_ERR_NOMEM;
    m->base = (clvi_method){ &clvi_method_moco, setup->ctx };
    const clv_status st = moco_init(m, setup);
    if (st != CLV_OK) {
        moco_destroy(&m->base);
        return st;
    }
    *out = &m->base;
    return CLV_OK;
}
