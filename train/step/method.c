/* method.c: what all methods do: one graph of network and loss, its optimiser, perhaps a momentum encoder; a step; what
 * a checkpoint keeps of it. */
#include "train/step/method.h"
#include "train/step/network.h"
#include "train/step/teacher.h"
#include "train/files/weights.h"
#include "core/checked.h"
#include "device/flat.h"
#include "memorybank/bank.h"
#include "tensor/op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- networks ---- */

static clv_node image_input(clvi_method *m, int v)
{
    const clvi_method_setup *s = &m->setup;
    char name[16];
    snprintf(name, sizeof name, m->cls->views > 1 ? "images%d" : "images", v + 1);
    m->images[v] = clv_input_image(m->network, name, m->division.part, s->channels, s->height, s->width);
    return m->images[v];
}

/* A failure of a builder that has no place for it goes to the graph's, which clv_graph_finish reports. */
static clv_node network(clvi_method *m, clv_node images, clv_node *features)
{
    clv_node embedding = CLV_NONE, unused;
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    const clv_status st = clvi_network_nodes(m->network, m->settings, m->division.groups, images,
                                             features ? features : &unused, &embedding);
    if (st != CLV_OK) clvi_graph_fail(m->network, st, "%s", clv_error_message());
    (void)clv_node_shape(m->network, embedding, shape);
    m->dim = shape[1];
    return embedding;
}

clv_node clvi_method_rows(clvi_method *m, clv_node rows)
{
    return m->parts ? clvi_parts_cross(m->parts, rows) : rows;
}

clv_node clvi_method_look_at(clvi_method *m, int v, clv_node embedding)
{
    m->unit[v] = clv_l2norm_rows(m->graph, clvi_method_rows(m, embedding), 1e-12);
    clv_graph_output(m->graph, m->unit[v]);
    return embedding;
}

clv_node clvi_method_embed(clvi_method *m, int v, clv_node *features)
{
    return clvi_method_look_at(m, v, network(m, image_input(m, v), features));
}

void clvi_method_embed_jointly(clvi_method *m, clv_node embedding[CLVI_MAX_VIEWS])
{
    clv_graph *g = m->network;
    const clvi_method_setup *s = &m->setup;
    const int64_t part = m->division.part;
    /* What is drawn for a row is drawn by its place (drop_path), which must not depend on how the batch is divided. */
    const int64_t groups = clvi_network_draws(m->settings) ? part : m->division.groups, each = part / groups;
    const int64_t cut[4] = { groups, each * s->channels, s->height, s->width };
    const int64_t together[4] = { 2 * part, s->channels, s->height, s->width };
    clv_node side[2] = { image_input(m, 0), image_input(m, 1) };
    for (int v = 0; groups > 1 && v < 2; v++) side[v] = clv_reshape(g, side[v], 4, cut);
    clv_node images = clv_concat(g, side, 2, groups > 1 ? 1 : 0);
    if (groups > 1) images = clv_reshape(g, images, 4, together);
    const clv_node both = network(m, images, NULL);
    const int64_t rows[2] = { groups, 2 * each * m->dim }, apart[2] = { part, m->dim };
    const clv_node cut_rows = clv_reshape(g, both, 2, rows);
    for (int v = 0; v < 2; v++) {
        const clv_node one = clv_slice(g, cut_rows, 1, v * each * m->dim, each * m->dim);
        embedding[v] = clvi_method_look_at(m, v, clv_reshape(g, one, 2, apart));
    }
}

clv_node clvi_method_beside(clvi_method *m, const char *name, const clv_view *rows)
{
    int64_t shape[CLV_MAX_DIMS];
    if (m->n_beside == CLVI_MAX_BESIDE) {
        clvi_graph_fail(m->network, CLV_ERR_INTERNAL, "more inputs beside pictures than a method may have");
        return CLV_NONE;
    }
    memcpy(shape, rows->shape, sizeof shape);
    shape[0] = m->division.part;
    m->beside[m->n_beside].rows = *rows;
    m->beside[m->n_beside].node = clv_input(m->network, name, rows->dtype, rows->ndim, shape);
    return m->beside[m->n_beside++].node;
}

void clvi_method_generate(clvi_method *m, clv_node time, clvi_generated *out)
{
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    *out = (clvi_generated){ CLV_NONE, CLV_NONE, 0 };
    const clv_status st = clvi_network_generator(m->network, m->settings, m->division.groups, image_input(m, 0), time,
                                                 out);
    if (st != CLV_OK) clvi_graph_fail(m->network, st, "%s", clv_error_message());
    (void)clv_node_shape(m->network, out->features, shape);
    m->dim = shape[1];
    (void)clvi_method_look_at(m, 0, out->features);
}

clv_node clvi_method_predict(clvi_method *m, clv_node embedding)
{
    clv_node out = CLV_NONE;
    const char *head = m->cls->choose_predictor ? m->cls->choose_predictor(m->settings) : m->cls->predictor;
    const clv_status st = clvi_predictor_node(m->network, m->settings, m->division.groups, head, embedding, &out);
    if (st != CLV_OK) clvi_graph_fail(m->network, st, "%s", clv_error_message());
    return out;
}

/* ---- what the losses read ---- */

static void give(clvi_method *m, const char *name, clv_node node, const clv_view *view)
{
    if (m->n_given == CLVI_MAX_GIVEN) clvi_graph_fail(m->graph, CLV_ERR_INTERNAL, "more values than a method may give");
    else m->given[m->n_given++] = (clvi_given) { name, node, view ? *view : (clv_view) { .data = NULL } };
}

void clvi_method_give(clvi_method *m, const char *name, clv_node node)
{
    give(m, name, node, NULL);
}

clv_node clvi_method_give_input(clvi_method *m, const char *name, const clv_view *data)
{
    const clv_node node = clv_input(m->graph, name, data->dtype, data->ndim, data->shape);
    give(m, name, node, data);
    return node;
}

clv_node clvi_method_give_labels(clvi_method *m, const char *name, int views)
{
    const clv_view view = clv_view_1d(m->labels, CLV_I64, views * m->batch);
    return clvi_method_give_input(m, name, &view);
}

clv_node clvi_method_give_target(clvi_method *m, const char *name, int v)
{
    if (!m->keys[v]) m->keys[v] = clvi_calloc(m->ctx, (size_t)CLVI_MAX(m->batch * m->dim, 1), sizeof(float));
    if (!m->keys[v]) {
        clvi_graph_fail(m->graph, CLV_ERR_NOMEM, "no memory for what the momentum encoder says");
        return CLV_NONE;
    }
    const clv_view view = clv_view_2d(m->keys[v], CLV_F32, m->batch, m->dim);
    return clvi_method_give_input(m, name, &view);
}

clv_node clvi_method_give_step(clvi_method *m, const char *name)
{
    const clv_view view = clv_view_1d(m->number, CLV_I64, 1);
    return clvi_method_give_input(m, name, &view);
}

/* The keys of view v to an input of the losses. */
static clv_status bind_target(clvi_method *m, clvi_given *given, int v)
{
    given->view.data = m->keys[v];
    return m->queued ? clvi_graph_feed(m->graph, given->node, m->there[v])
                     : clv_graph_bind(m->graph, given->node, &given->view);
}

clv_status clvi_method_move(clvi_method *m, const char *name, int v)
{
    for (int i = 0; i < m->n_given; i++)
        if (strcmp(m->given[i].name, name) == 0) return bind_target(m, &m->given[i], v);
    return clvi_fail(CLV_ERR_INTERNAL, "no value '%s'", name);
}

static clv_status bind_given(clvi_method *m)
{
    for (int i = 0; i < m->n_given; i++) {
        clvi_given *given = &m->given[i];
        int v = 0;
        while (v < CLVI_MAX_VIEWS && given->view.data != m->keys[v]) v++;
        if (!given->view.data) continue;
        CLV_TRY(v < CLVI_MAX_VIEWS ? bind_target(m, given, v) : clv_graph_bind(m->graph, given->node, &given->view));
    }
    return CLV_OK;
}

/* ---- making ---- */

bool clvi_method_uses(const clvi_method_class *cls, const char *setting)
{
    for (const char *const *name = cls->uses; name && *name; name++)
        if (!strcmp(*name, setting)) return true;
    return false;
}

bool clvi_classifies(const clvi_settings *s)
{
    const clvi_method_class *cls = NULL;
    return s->val_freq > 0 && clvi_method_find(s->method, &cls) == CLV_OK && cls->classifies;
}

const clvi_takes *clvi_method_takes(const clvi_method_class *cls, const clvi_settings *settings)
{
    return cls->choose_takes ? cls->choose_takes(settings) : cls->takes;
}

const char *clvi_method_head(const clvi_method_class *cls, const clvi_settings *settings)
{
    return cls->choose_head ? cls->choose_head(settings) : cls->head;
}

static clv_status parse_loss(clvi_method *m)
{
    const clvi_settings *s = m->settings;
    char number[40];
    CLV_TRY(clvi_objective_parse(s->loss, m->cls->info.name, clvi_method_takes(m->cls, s), &m->objective));
    snprintf(number, sizeof number, "%.17g", s->moco_t);
    CLV_TRY(clvi_objective_set(&m->objective, "temperature", number, "is the setting moco-t"));
    snprintf(number, sizeof number, "%" PRId64, s->seed);
    return clvi_objective_set(&m->objective, "seed", number, "is the setting of the run");
}

/* One graph, or, for a batch in parts, one of the networks and one of the losses. */
static clv_status make_graphs(clvi_method *m)
{
    CLV_TRY(clv_params_create(m->ctx, CLV_F32, &m->params));
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = m->params;
    desc.training = !m->settings->freeze;
    desc.recompute = m->settings->recompute;
    desc.precision = (clv_precision)m->settings->precision;
    CLV_TRY(clv_graph_create(m->ctx, &desc, &m->graph));
    m->network = m->graph;
    if (!clvi_is_divided(&m->division)) return CLV_OK;
    CLV_TRY(clv_graph_create(m->ctx, &desc, &m->network));
    if (m->division.sync) clvi_graph_sync(m->network, &m->setup.comm->sum);
    return clvi_parts_create(m, &m->parts);
}

static clv_status build_graph(clvi_method *m)
{
    CLV_TRY(make_graphs(m));
    CLV_TRY(m->cls->build(m));
    if (m->parts) CLV_TRY(clvi_graph_status(m->network));
    m->loss = clvi_objective_node(&m->objective, m->graph, m->given, m->n_given, m->cls->keeps);
    CLV_TRY(clv_graph_backward(m->graph, m->loss));
    clv_graph_output(m->graph, m->loss);
    CLV_TRY(m->parts ? clvi_parts_finish(m->parts) : clv_graph_finish(m->graph));
    CLV_TRY(clvi_method_open_queue(m));
    CLV_TRY(bind_given(m));
    return clvi_objective_prepare(&m->objective, m->ctx, m->graph, m->given, m->n_given);
}

/* Starts as a copy, as timm has it. */
static clv_status create_average(clvi_method *m)
{
    CLV_TRY(clv_params_clone(m->params, &m->average));
    m->mix = clvi_calloc(m->ctx, (size_t)clvi_weights_mix_scratch(m->params), sizeof(float));
    return m->mix ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status init(clvi_method *m)
{
    const clvi_settings *s = m->settings;
    m->batch = s->batch_size;
    CLV_TRY(clvi_divide(s, m->setup.comm, &m->division));
    CLV_CHECK(!m->cls->labels || m->setup.classes > 0, CLV_ERR_INVALID, "method '%s' needs data with labels",
              m->cls->info.name);
    m->labels = clvi_calloc(m->ctx, (size_t)(m->cls->views * m->batch), sizeof *m->labels);
    if (!m->labels) return CLV_ERR_NOMEM;
    CLV_TRY(parse_loss(m));
    if (m->cls->open) CLV_TRY(m->cls->open(m));
    CLV_TRY(build_graph(m));
    CLV_TRY(clv_params_init(m->params, (uint64_t)s->seed));
    CLV_CHECK(!m->bank || s->sync_bn != CLVI_SYNC_BN_ON, CLV_ERR_INVALID,
              "sync-bn with a memory bank: a query and its key share their statistics, and the network learns to tell "
              "them by these (sync-bn 'force' does it all the same)");
    if (s->ema_decay > 0) CLV_TRY(create_average(m));
    if (m->cls->teacher) CLV_TRY(clvi_teacher_create(&m->setup, m->params, &m->teacher));
    CLV_TRY(clvi_optimizer_create(m->params, m->ctx, s, &m->optimizer));
    return m->cls->ready ? m->cls->ready(m) : CLV_OK;
}

clv_status clvi_method_create(const clvi_method_setup *setup, clvi_method **out)
{
    const clvi_method_class *cls = NULL;
    *out = NULL;
    CLV_TRY(clvi_method_find(setup->settings->method, &cls));
    clvi_method *m = clvi_calloc(setup->ctx, 1, cls->size ? cls->size : sizeof *m);
    if (!m) return CLV_ERR_NOMEM;
    m->cls = cls;
    m->ctx = setup->ctx;
    m->settings = setup->settings;
    m->setup = *setup;
    for (int v = 0; v < CLVI_MAX_VIEWS; v++) m->images[v] = m->unit[v] = CLV_NONE;
    const clv_status st = init(m);
    if (st != CLV_OK) {
        clvi_method_destroy(m);
        return st;
    }
    *out = m;
    return CLV_OK;
}

void clvi_method_destroy(clvi_method *m)
{
    if (!m) return;
    if (m->cls->close) m->cls->close(m);
    clvi_objective_release(&m->objective);
    clvi_parts_destroy(m->parts);
    clvi_method_close_queue(m);
    if (m->network != m->graph) clv_graph_destroy(m->network);
    clv_graph_destroy(m->graph);
    clvi_teacher_destroy(m->teacher);
    clv_bank_destroy(m->bank);
    clvi_optimizer_destroy(m->optimizer);
    clv_params_destroy(m->average);
    clvi_free(m->ctx, m->mix);
    clv_params_destroy(m->params);
    for (int v = 0; v < CLVI_MAX_VIEWS; v++) clvi_free(m->ctx, m->keys[v]);
    clvi_free(m->ctx, m->labels);
    clvi_free(m->ctx, m);
}

/* ---- a step ---- */

clv_status clvi_method_run(clvi_method *m, const clv_view *view, double *loss)
{
    clv_view value;
    if (m->parts) return clvi_parts_run(m->parts, view, loss);
    for (int v = 0; v < m->cls->views; v++)
        if (!clvi_node_none(m->images[v])) CLV_TRY(clvi_bind_images(m->graph, m->images[v], &view[v]));
    for (int i = 0; i < m->n_beside; i++) CLV_TRY(clv_graph_bind(m->graph, m->beside[i].node, &m->beside[i].rows));
    CLV_TRY(clv_graph_run(m->graph));
    m->loss_there = clvi_graph_place_of(m->graph, m->loss);
    if (m->queued) return CLV_OK;
    CLV_TRY(clv_graph_read(m->graph, m->loss, &value));
    *loss = *(const float *)value.data;
    return CLV_OK;
}

double clvi_method_grad_norm(clvi_method *m)
{
    clv_view g;
    if (clv_params_flat(m->params, CLV_PARAM_GRADIENT, &g) != CLV_OK) return NAN;
    return sqrt(clvi_flat_norm2(m->ctx, g.dtype, clv_view_count(&g), g.data));
}

clv_status clvi_method_embed_target(clvi_method *m, const clv_view *images, const clvi_step *at, int draw, int v)
{
    return m->queued ? clvi_teacher_embed_there(m->teacher, images, at, (uint64_t)draw, m->there[v])
                     : clvi_teacher_embed(m->teacher, images, at, (uint64_t)draw, m->keys[v]);
}

clv_status clvi_method_features(clvi_method *m, clvi_step_result *out)
{
    if (m->cls->rows) return m->cls->rows(m, out);
    CLV_TRY(clv_graph_read(m->graph, m->unit[0], &out->query));
    return m->cls->views > 1 ? clv_graph_read(m->graph, m->unit[1], &out->key) : CLV_OK;
}

/* Two views as two inputs of one graph, each with a target of the momentum encoder where there is one. */
static clv_status forward(clvi_method *m, const clv_batch *batch, const clvi_step *at, clvi_step_result *out)
{
    if (m->teacher) {
        CLV_TRY(clvi_teacher_follow(m->teacher, m->params, at->key_momentum));
        for (int v = 0; v < m->cls->views; v++)
            CLV_TRY(clvi_method_embed_target(m, &batch->view[v], at, v, v));
    }
    m->number[0] = at->total;
    return clvi_method_run(m, batch->view, &out->loss);
}

clv_status clvi_method_forward(clvi_method *m, const clv_batch *batch, const clvi_step *at, clvi_step_result *out)
{
    *out = (clvi_step_result) { .bank = m->bank };
    for (int v = 0; v < m->cls->views; v++)
        memcpy(m->labels + v * m->batch, batch->labels, (size_t)m->batch * sizeof *m->labels);
    CLV_TRY((m->cls->forward ? m->cls->forward : forward)(m, batch, at, out));
    if (m->queued) return CLV_OK;
    out->grad_norm = m->grad_norm = clvi_method_grad_norm(m);
    return clvi_method_features(m, out);
}

/* What follows the weights goes along with the optimiser, while they are in a cache: the average, and the momentum
 * encoder, with what the next step would begin with. */
static clv_status descend(clvi_method *m, const clvi_step *at)
{
    clvi_follower follower[CLVI_FLAT_FOLLOWERS] = { { NULL, 0 } };
    int n = 0;
    if (m->average) follower[n++] = (clvi_follower) { m->average, m->settings->ema_decay };
    if (m->teacher && at->goes_on) follower[n++] = clvi_teacher_lead(m->teacher, at->next_momentum);
    return clvi_optimizer_step(m->optimizer, at->lr, follower);
}

clv_status clvi_method_check_made_there(const clvi_method *m)
{
    const clvi_settings *s = m->settings;
    static const char what[] = "aug-device 'gpu' cannot act";
    CLV_CHECK(m->ctx->device, CLV_ERR_INVALID, "%s with device '%s': there must be one that makes the views", what,
              s->device);
    CLV_CHECK(!m->cls->reads_images, CLV_ERR_INVALID, "%s with method '%s', which adds noise to them on the processor",
              what, m->cls->info.name);
    return CLV_OK;
}

clv_status clvi_method_update(clvi_method *m, const clv_batch *batch, const clvi_step *at)
{
    if (m->queued) CLV_TRY(clvi_method_clip_there(m));
    else clvi_optimizer_clip(m->optimizer, m->grad_norm);
    CLV_TRY(descend(m, at));
    if (m->average)
        CLV_TRY(clvi_weights_mix_buffers(m->ctx, m->average, m->params, 1.0 - m->settings->ema_decay, m->mix));
    clv_status (*const last)(clvi_method *, const clv_batch *) = m->queued ? m->cls->enqueue : m->cls->update;
    return last ? last(m, batch) : CLV_OK;
}

clv_status clvi_method_look(clvi_method *m, const clv_batch *batch, clvi_metrics *out)
{
    out->count = 0;
    CLV_TRY(clvi_objective_look(&m->objective, m->graph, out));
    return m->cls->look ? m->cls->look(m, batch, out) : CLV_OK;
}

clv_status clvi_method_accuracy(clvi_method *m, clv_node scores, const clv_batch *batch, clvi_metrics *out)
{
    const int64_t classes = m->setup.classes;
    clv_view view;
    int64_t right = 0, known = 0;
    CLV_TRY(clv_graph_read(m->graph, scores, &view));
    for (int64_t i = 0; i < m->batch; i++) {
        const float *row = (const float *)view.data + i * classes;
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (row[c] > row[best]) best = c;
        right += best == batch->labels[i];
        known += batch->labels[i] >= 0;
    }
    if (out->count < CLVI_MAX_METRICS)
        out->at[out->count++] = (clv_metric) { "train/acc1", known ? 100.0 * (double)right / (double)known : 0.0 };
    return CLV_OK;
}

/* ---- keeping and telling ---- */

bool clvi_method_network(const clvi_method *m, int i, const char **name, clv_params **out)
{
    static const char *const names[] = { "model", "key_model", "ema_model" };
    clv_params *const networks[] = { m->params, m->teacher ? m->teacher->params : NULL, m->average };
    if (i >= (int)CLVI_COUNT(names)) return false;
    *name = names[i];
    *out = networks[i];
    return true;
}

clv_params *clvi_method_params(clvi_method *m, bool key)
{
    return !key ? m->params : m->teacher ? m->teacher->params : NULL;
}

clv_params *clvi_method_judged(clvi_method *m)
{
    return m->average ? m->average : m->params;
}

clv_status clvi_method_write(const clvi_method *m, clvi_h5 *h5)
{
    const char *name;
    clv_params *params;
    for (int i = 0; clvi_method_network(m, i, &name, &params); i++)
        if (params) CLV_TRY(clvi_weights_write(m->ctx, params, h5, name));
    if (m->teacher && m->teacher->ahead) CLV_TRY(clvi_h5_set_attr_i64(h5, "key_model", "ahead", 1));
    CLV_TRY(clvi_optimizer_write(m->optimizer, h5, "optimizer"));
    return m->bank ? clvi_bank_write(m->bank, h5, "bank") : CLV_OK;
}

clv_status clvi_method_read(clvi_method *m, clvi_h5 *h5)
{
    const char *name;
    clv_params *params;
    for (int i = 0; clvi_method_network(m, i, &name, &params); i++)
        if (params) CLV_TRY(clvi_weights_read(m->ctx, params, h5, name));
    if (m->teacher) m->teacher->ahead = clvi_h5_has_attr(h5, "key_model", "ahead");
    CLV_TRY(clvi_optimizer_read(m->optimizer, h5, "optimizer"));
    return m->bank ? clvi_bank_read(m->bank, h5, "bank") : CLV_OK;
}

static clv_status describe_graph(clv_graph *g, const char *name, void (*line)(const char *text, void *user), void *user)
{
    clv_graph_memory_t memory;
    CLV_TRY(clv_graph_memory(g, &memory));
    char text[256];
    snprintf(text, sizeof text,
             "%s: parameters %.1f MiB, gradients %.1f MiB, activations %.1f MiB (%.1f unshared; largest scratch %.1f MiB)",
             name, (double)memory.parameters / 1048576.0, (double)memory.gradients / 1048576.0,
             (double)memory.activations / 1048576.0, (double)memory.unplanned / 1048576.0,
             (double)memory.scratch / 1048576.0);
    line(text, user);
    return CLV_OK;
}

static void describe_parts(const clvi_method *m, void (*line)(const char *text, void *user), void *user)
{
    const clvi_division *d = &m->division;
    char text[256];
    snprintf(text, sizeof text,
             "batch: %" PRId64 " %s on %d rank%s, %" PRId64 " at a time; loss and gradient are those of all; batch "
             "norm sees %" PRId64 " at once", d->batch, m->cls->text ? "words" : "images", d->ranks,
             d->ranks > 1 ? "s" : "", d->part,
             d->sync ? d->batch : d->part / d->groups);
    line(text, user);
}

static void describe_term(const clvi_term *term, void (*line)(const char *text, void *user), void *user)
{
    char text[1024];
    int used = snprintf(text, sizeof text, "loss: %s", term->takes->loss);
    if (term->weight != 1) used += snprintf(text + used, sizeof text - (size_t)used, " weight=%g", term->weight);
    for (int i = 0; i < term->n_options && used < (int)sizeof text - 1; i++) {
        char value[64];
        char *end = NULL;
        const double number = strtod(term->options[i].value, &end);       /* 0.07, not 0.070000000000000007 */
        snprintf(value, sizeof value, "%.10g", number);
        used += snprintf(text + used, sizeof text - (size_t)used, " %s=%s", term->options[i].name,
                         *end ? term->options[i].value : value);
    }
    line(text, user);
}

static clv_status add_graph(const clv_graph *g, clvi_method_bytes *out)
{
    clv_graph_memory_t memory;
    CLV_TRY(clv_graph_memory(g, &memory));
    out->parameters += memory.parameters;
    out->gradients += memory.gradients;
    out->activations += memory.activations;
    return CLV_OK;
}

clv_status clvi_method_memory(const clvi_method *m, clvi_method_bytes *out)
{
    *out = (clvi_method_bytes) { .optimizer = (size_t)m->optimizer->cls->states * m->optimizer->state_size };
    CLV_TRY(add_graph(m->graph, out));
    if (m->parts) CLV_TRY(clvi_parts_memory(m->parts, out));
    if (m->average) out->parameters += clvi_params_arena_size(m->average) + clvi_params_buffer_size(m->average);
    if (m->teacher) CLV_TRY(add_graph(m->teacher->graph, out));
    if (m->teacher) out->parameters += clvi_statistics_bytes(&m->teacher->statistics);
    if (m->teacher) out->activations += clvi_teacher_image_bytes(m->teacher);
    if (m->bank) out->bank += clvi_method_bank_size(m);
    if (m->cls->memory) m->cls->memory(m, out);
    return CLV_OK;
}

clv_status clvi_method_describe(clvi_method *m, void (*line)(const char *text, void *user), void *user)
{
    char text[160];
    snprintf(text, sizeof text, "method: %s; %d view%s of %s", m->cls->info.name, m->cls->views,
             m->cls->views > 1 ? "s" : "", m->cls->text ? "a word" : "an image");
    line(text, user);
    if (m->parts) describe_parts(m, line, user);
    for (int i = 0; i < m->objective.n_terms; i++) describe_term(&m->objective.term[i], line, user);
    CLV_TRY(describe_graph(m->network, m->teacher ? "query encoder" : "network", line, user));
    if (m->parts) CLV_TRY(describe_graph(m->graph, "losses", line, user));
    if (m->teacher) CLV_TRY(describe_graph(m->teacher->graph, "key encoder", line, user));
    if (m->bank) clvi_method_describe_bank(m, line, user);
    return m->cls->describe ? m->cls->describe(m, line, user) : CLV_OK;
}
