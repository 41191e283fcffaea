/* teacher.c: the momentum encoder. */
#include "train/step/teacher.h"
#include "train/step/network.h"
#include "train/files/weights.h"
#include "core/rng.h"
#include "device/backend.h"
#include "device/tape.h"
#include "tensor/op.h"

#include <string.h>

static bool shuffles(const clvi_settings *s)
{
    return s->bn_splits > 1 && s->shuffle_bn;
}

static clv_status build(clvi_teacher *t, const clvi_method_setup *setup)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    desc.params = t->params;
    desc.training = true;                                            /* batch statistics, as published */
    desc.precision = (clv_precision)t->settings->precision;
    CLV_TRY(clv_graph_create(t->ctx, &desc, &t->graph));
    if (t->division.sync) clvi_graph_sync(t->graph, &t->comm->sum);
    t->images = clv_input_image(t->graph, "images", t->division.part, setup->channels, setup->height, setup->width);
    clv_node features, embedding;
    CLV_TRY(clvi_network_nodes(t->graph, t->settings, t->division.groups, t->images, &features, &embedding));
    t->unit = clv_l2norm_rows(t->graph, embedding, 1e-12);
    clv_graph_output(t->graph, t->unit);
    CLV_TRY(clv_graph_finish(t->graph));
    int64_t shape[CLV_MAX_DIMS] = { 0 };
    (void)clv_node_shape(t->graph, t->unit, shape);
    t->dim = shape[1];
    return CLV_OK;
}

static size_t part_size(const clvi_teacher *t)
{
    return (size_t)(t->division.part * t->image_size) * sizeof(float);
}

static size_t order_size(const clvi_teacher *t)
{
    return (size_t)t->division.batch * sizeof *t->order;
}

static size_t rows_size(const clvi_teacher *t)
{
    return (size_t)(t->division.batch * t->dim) * sizeof(float);
}

static size_t shuffled_there_size(const clvi_teacher *t)
{
    return (size_t)(t->division.local * t->image_size) * sizeof(float);
}

static size_t shown_size(const clvi_teacher *t)
{
    return (size_t)t->division.ranks * part_size(t);
}

/* Of images in the order they are seen, and of those of all ranks on their way there, which a device has itself. */
static size_t shuffled_size(const clvi_teacher *t)
{
    const clvi_division *d = &t->division;
    const int64_t images = !shuffles(t->settings) ? 0 : d->ranks == 1 ? d->part : t->ctx->device ? 0 : d->local;
    return (size_t)(images * t->image_size) * sizeof(float);
}

static size_t exchanged_size(const clvi_teacher *t)
{
    const clvi_division *d = &t->division;
    const int64_t images = d->ranks > 1 && shuffles(t->settings) && !t->ctx->device ? d->ranks * d->part : 0;
    return (size_t)(images * t->image_size) * sizeof(float);
}

size_t clvi_teacher_image_bytes(const clvi_teacher *t) { return shuffled_size(t) + exchanged_size(t); }

static clv_status make_there(clvi_teacher *t)
{
    const bool ranks = t->division.ranks > 1, in_parts = clvi_parts_here(&t->division) > 1;
    t->order_there = clvi_device_alloc(t->ctx, order_size(t));
    if (in_parts) t->part = clvi_device_alloc(t->ctx, part_size(t));
    if (ranks) t->spread = clvi_device_alloc(t->ctx, rows_size(t));
    if (!t->order_there || (in_parts && !t->part) || (ranks && !t->spread)) return CLV_ERR_NOMEM;
    if (!shuffles(t->settings) || (!ranks && t->settings->aug_device == CLVI_AUG_ON_CPU)) return CLV_OK;
    t->places = clvi_calloc(t->ctx, order_size(t), 1);
    t->places_there = clvi_device_alloc(t->ctx, order_size(t));
    t->shuffled_there = clvi_device_alloc(t->ctx, shuffled_there_size(t));
    if (ranks) t->shown = clvi_device_alloc(t->ctx, shown_size(t));
    return t->places && t->places_there && t->shuffled_there && (t->shown || !ranks) ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status init(clvi_teacher *t, const clvi_method_setup *setup, const clv_params *student)
{
    t->settings = setup->settings;
    t->comm = setup->comm;
    CLV_TRY(clvi_divide(t->settings, t->comm, &t->division));
    t->image_size = setup->channels * setup->height * setup->width;
    CLV_TRY(clv_params_clone(student, &t->params));
    CLV_TRY(build(t, setup));
    t->mix = clvi_calloc(t->ctx, (size_t)clvi_weights_mix_scratch(t->params), sizeof(float));
    t->order = clvi_calloc(t->ctx, (size_t)t->division.batch, sizeof *t->order);
    t->embedded = clvi_calloc(t->ctx, (size_t)(t->division.batch * t->dim), sizeof(float));
    t->shuffled = clvi_arena_alloc(t->ctx, shuffled_size(t));
    t->exchanged = clvi_arena_alloc(t->ctx, exchanged_size(t));
    CLV_TRY(clvi_statistics_create(t->ctx, t->comm, &t->division, t->params, &t->statistics));
    if (t->ctx->device) CLV_TRY(make_there(t));
    return t->mix && t->order && t->embedded && t->shuffled && t->exchanged ? CLV_OK : CLV_ERR_NOMEM;
}

clv_status clvi_teacher_create(const clvi_method_setup *setup, const clv_params *student, clvi_teacher **out)
{
    *out = NULL;
    clvi_teacher *t = clvi_calloc(setup->ctx, 1, sizeof *t);
    if (!t) return CLV_ERR_NOMEM;
    t->ctx = setup->ctx;
    const clv_status st = init(t, setup, student);
    if (st != CLV_OK) {
        clvi_teacher_destroy(t);
        return st;
    }
    *out = t;
    return CLV_OK;
}

void clvi_teacher_destroy(clvi_teacher *t)
{
    if (!t) return;
    clv_graph_destroy(t->graph);
    clvi_statistics_destroy(&t->statistics);
    clv_params_destroy(t->params);
    clvi_free(t->ctx, t->embedded);
    clvi_arena_free(t->ctx, t->shuffled, shuffled_size(t));
    clvi_arena_free(t->ctx, t->exchanged, exchanged_size(t));
    clvi_free(t->ctx, t->order);
    clvi_device_free(t->ctx, t->part, part_size(t));
    clvi_free(t->ctx, t->places);
    clvi_device_free(t->ctx, t->order_there, order_size(t));
    clvi_device_free(t->ctx, t->places_there, order_size(t));
    clvi_device_free(t->ctx, t->shuffled_there, shuffled_there_size(t));
    clvi_device_free(t->ctx, t->shown, shown_size(t));
    clvi_device_free(t->ctx, t->spread, rows_size(t));
    clvi_free(t->ctx, t->mix);
    clvi_free(t->ctx, t);
}

clv_status clvi_teacher_follow(clvi_teacher *t, clv_params *student, double momentum)
{
    if (!t->ahead || t->ctx->device) CLV_TRY(clv_params_follow(t->params, student, t->ahead ? 1.0 : momentum));
    t->ahead = false;
    switch (t->settings->bn_buffers) {
    case CLVI_BN_BUFFERS_COPY: return clvi_weights_mix_buffers(t->ctx, t->params, student, 1.0, t->mix);
    case CLVI_BN_BUFFERS_AVERAGE: return clvi_weights_mix_buffers(t->ctx, t->params, student, 1.0 - momentum, t->mix);
    default: return CLV_OK;
    }
}

clvi_follower clvi_teacher_lead(clvi_teacher *t, double momentum)
{
    t->ahead = true;
    return (clvi_follower){ t->params, momentum };
}

/* The place in the batch of what is seen at each place. */
static void draw_order(clvi_teacher *t, const clvi_step *at, uint64_t draw)
{
    const int64_t batch = t->division.batch;
    const uint64_t seed = (at->seed + draw) ^ (uint64_t)at->total << 20;
    for (int64_t i = 0; i < batch; i++)
        t->order[i] = shuffles(t->settings) ? (int64_t)clvi_rng_permute(seed, CLVI_RNG_SHUFFLE, (uint32_t)at->total,
                                                                        (uint64_t)batch, (uint64_t)i)
                                            : i;
}

/* Where this rank sees the images that the ranks show each other, a part of each at a time; of one rank, all. */
static const int64_t *draw_places(clvi_teacher *t)
{
    const clvi_division *d = &t->division;
    for (int64_t i = 0; i < d->batch; i++) {
        const int64_t rank = t->order[i] / d->local, k = t->order[i] % d->local / d->part, mine = i - d->rank * d->local;
        t->places[(k * d->ranks + rank) * d->part + t->order[i] % d->part] = mine >= 0 && mine < d->local ? mine : -1;
    }
    return clvi_tape_bring(t->ctx, t->places, order_size(t), t->places_there);
}

/* All images of a batch, which lie on the device, in the order in which they are seen. */
static void shuffle_there(clvi_teacher *t, clv_view *images)
{
    if (!images->device || !shuffles(t->settings)) return;
    clvi_rows_place(t->ctx, t->division.batch, t->image_size, images->data, draw_places(t), t->shuffled_there);
    images->data = t->shuffled_there;
}

/* Images that lie one after the other from `first` on, where they are seen among those of this rank. */
static void pick(clvi_teacher *t, const int64_t *order, int64_t count, const float *images, int64_t first, int64_t n)
{
    for (int64_t i = 0; i < count; i++)
        if (order[i] >= first && order[i] < first + n)
            memcpy(t->shuffled + i * t->image_size, images + (order[i] - first) * t->image_size,
                   (size_t)t->image_size * sizeof(float));
}

/* Every rank shows the others its images, a part at a time, and each keeps those that it will see. */
static clv_status exchange(clvi_teacher *t, const clv_view *images)
{
    const clvi_division *d = &t->division;
    const int64_t part = d->part * t->image_size;
    if (!shuffles(t->settings) || d->ranks == 1) return CLV_OK;
    for (int64_t k = 0; k < clvi_parts_here(d); k++) {
        memcpy(t->exchanged + d->rank * part, (const float *)images->data + k * part, (size_t)part * sizeof(float));
        CLV_TRY(clvi_comm_all_gather(t->comm, t->exchanged, (size_t)part * sizeof(float)));
        for (int r = 0; r < d->ranks; r++)
            pick(t, t->order + d->rank * d->local, d->local, t->exchanged + r * part, r * d->local + k * d->part,
                 d->part);
    }
    return CLV_OK;
}

/* The images of part k, as the order has it. */
static clv_view images_of(clvi_teacher *t, const clv_view *images, int64_t k)
{
    const clvi_division *d = &t->division;
    clv_view part = clvi_part_of(images, k * d->part, d->part);
    if (!shuffles(t->settings) || images->device) return part;
    if (d->ranks == 1) pick(t, t->order + k * d->part, d->part, images->data, 0, d->batch);
    part.data = t->shuffled + (d->ranks == 1 ? 0 : k * d->part * t->image_size);
    return part;
}

static clv_status embed_part(clvi_teacher *t, const clv_view *images, int64_t k)
{
    const clvi_division *d = &t->division;
    const clv_view part = images_of(t, images, k);
    clv_view unit;
    CLV_TRY(clvi_bind_images(t->graph, t->images, &part));
    CLV_TRY(clvi_statistics_restore(&t->statistics));
    clvi_graph_set_piece(t->graph, clvi_part_first(d, k) / d->part);
    CLV_TRY(clv_graph_run(t->graph));
    clvi_statistics_add(&t->statistics);
    CLV_TRY(clv_graph_read(t->graph, t->unit, &unit));
    memcpy(t->embedded + clvi_part_first(d, k) * t->dim, unit.data, (size_t)(d->part * t->dim) * sizeof(float));
    return CLV_OK;
}

/* A batch on its way through the momentum encoder, on the device. */
typedef struct passage {
    clvi_teacher   *teacher;
    const clv_view *images;             /* of this rank */
    const float    *sent;               /* all of them, where the device reads them; NULL: they are on the host */
    const int64_t  *order, *places;     /* on the device */
    const int64_t  *seen;               /* which of them are seen one after the other; NULL: as they lie */
    float          *rows;
} passage;

static void send(passage *p)
{
    const clvi_teacher *t = p->teacher;
    const size_t size = (size_t)clvi_parts_here(&t->division) * part_size(t);
    p->sent = p->images->device ? p->images->data : clvi_tape_lend(t->ctx, p->images->data, size);
}

/* Part k of them. */
static clv_status bring_part(const passage *p, int64_t k, float *to)
{
    clvi_teacher *t = p->teacher;
    const int64_t part = t->division.part;
    if (p->sent) {
        clvi_rows_pick(t->ctx, part, t->image_size, p->sent, p->seen, to);
        return CLV_OK;
    }
    const clv_view images = p->seen ? images_of(t, p->images, k) : clvi_part_of(p->images, k * part, part);
    return clvi_device_copy(t->ctx, to, images.data, part_size(t), CLVI_COPY_TO_DEVICE);
}

/* Every rank shows the others part k of its images, and each keeps those that it will see. */
static clv_status exchange_part(void *user, int64_t k)
{
    const passage *p = user;
    clvi_teacher *t = p->teacher;
    const clvi_division *d = &t->division;
    CLV_TRY(bring_part(p, k, t->shown + d->rank * d->part * t->image_size));
    CLV_TRY(clvi_comm_all_gather_arena(t->comm, t->shown, part_size(t)));
    clvi_rows_place(t->ctx, d->ranks * d->part, t->image_size, t->shown, p->places, t->shuffled_there);
    return CLV_OK;
}

static clv_status exchange_there(passage *p)
{
    clvi_teacher *t = p->teacher;
    send(p);
    p->places = draw_places(t);
    CLV_TRY(clvi_tape_repeat(t->ctx, clvi_parts_here(&t->division), exchange_part, NULL, p));
    p->sent = t->shuffled_there;
    return CLV_OK;
}

/* What the graph says of the images that it was given: to where the batch has them, or to those that other ranks get. */
static clv_status run_there(const passage *p)
{
    clvi_teacher *t = p->teacher;
    const clvi_division *d = &t->division;
    const bool alone = d->ranks == 1;
    CLV_TRY(clvi_statistics_restore(&t->statistics));
    clvi_graph_number_pieces(t->graph, clvi_part_first(d, 0) / d->part, clvi_tape_pass(t->ctx));
    CLV_TRY(clv_graph_run(t->graph));
    clvi_statistics_add(&t->statistics);
    clvi_rows_place(t->ctx, d->part, t->dim, clvi_graph_place_of(t->graph, t->unit), alone ? p->order : NULL,
                    alone ? p->rows : t->spread + clvi_part_first(d, 0) * t->dim);
    return CLV_OK;
}

static clv_status embed_part_there(void *user, int64_t k)
{
    const passage *p = user;
    CLV_TRY(bring_part(p, k, p->teacher->part));
    return run_there(p);
}

/* All parts, without a wait in between. */
static clv_status embed_parts_there(passage *p)
{
    clvi_teacher *t = p->teacher;
    if (!t->shown) send(p);
    p->seen = !t->shown && shuffles(t->settings) ? p->order : NULL;
    CLV_TRY(clvi_graph_feed(t->graph, t->images, t->part));
    return clvi_tape_repeat(t->ctx, clvi_parts_here(&t->division), embed_part_there, NULL, p);
}

static clv_status embed_at_once_there(const passage *p)
{
    clvi_teacher *t = p->teacher;
    clv_view seen = *p->images;
    if (t->shown) {
        CLV_TRY(clvi_graph_feed(t->graph, t->images, t->shuffled_there));
        return run_there(p);
    }
    shuffle_there(t, &seen);
    seen = images_of(t, &seen, 0);
    CLV_TRY(clvi_bind_images(t->graph, t->images, &seen));
    return run_there(p);
}

clv_status clvi_teacher_embed_there(clvi_teacher *t, const clv_view *images, const clvi_step *at, uint64_t draw,
                                    float *rows)
{
    const clvi_division *d = &t->division;
    passage p = { .teacher = t, .images = images, .rows = rows };
    draw_order(t, at, draw);
    p.order = clvi_tape_bring(t->ctx, t->order, order_size(t), t->order_there);
    CLV_TRY(clvi_statistics_begin(&t->statistics));
    if (t->shown) CLV_TRY(exchange_there(&p));
    CLV_TRY(t->part ? embed_parts_there(&p) : embed_at_once_there(&p));
    CLV_TRY(clvi_statistics_end(&t->statistics));
    if (d->ranks == 1) return CLV_OK;
    CLV_TRY(clvi_comm_all_gather_arena(t->comm, t->spread, (size_t)(d->local * t->dim) * sizeof(float)));
    clvi_rows_place(t->ctx, d->batch, t->dim, t->spread, p.order, rows);
    return CLV_OK;
}

clv_status clvi_teacher_embed(clvi_teacher *t, const clv_view *images, const clvi_step *at, uint64_t draw, float *rows)
{
    clv_view seen = *images;
    draw_order(t, at, draw);
    shuffle_there(t, &seen);
    CLV_TRY(clvi_statistics_begin(&t->statistics));
    CLV_TRY(exchange(t, &seen));
    for (int64_t k = 0; k < clvi_parts_here(&t->division); k++) CLV_TRY(embed_part(t, &seen, k));
    CLV_TRY(clvi_comm_all_gather(t->comm, t->embedded, (size_t)(t->division.local * t->dim) * sizeof(float)));
    CLV_TRY(clvi_statistics_end(&t->statistics));
    for (int64_t i = 0; i < t->division.batch; i++)
        memcpy(rows + t->order[i] * t->dim, t->embedded + i * t->dim, (size_t)t->dim * sizeof(float));
    return CLV_OK;
}
