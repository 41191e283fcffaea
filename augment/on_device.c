/* on_device.c: rooms to the device with the step at work, and one launch there. */
#include "augment/on_device.h"
#include "augment/chain.h"
#include "augment/lower.h"
#include "core/profile.h"
#include "device/backend.h"
#include "device/tape.h"
#include <string.h>

struct clvi_view_maker {
    clv_context       *ctx;
    const clvi_packer *packer;
    clvi_pixel_batch   batch;           /* but for its rooms */
    void              *rooms, *values;  /* on the device; rooms: of a step that is not recorded */
    size_t             rooms_size, values_size, scratch_size, out_size;
};

/* What every byte becomes in each view. */
static clv_status send_values(clvi_view_maker *m)
{
    const clvi_packer *p = m->packer;
    for (int v = 0; v < p->views; v++) {
        const clvi_normalize *norm = clvi_chain_normalize(p->chain[v]);
        CLV_TRY(clvi_device_copy(m->ctx, (char *)m->values + (size_t)v * sizeof norm->table, norm->table,
                                 sizeof norm->table, CLVI_COPY_TO_DEVICE));
    }
    return CLV_OK;
}

static clv_status init(clvi_view_maker *m, int64_t pictures)
{
    const clvi_packer *p = m->packer;
    const size_t views = (size_t)p->views, image = (size_t)p->size * (size_t)p->size * (size_t)p->channels;
    const size_t apart = clvi_round_up((size_t)pictures * image, CLVI_ALIGN);
    m->rooms_size = (size_t)pictures * p->room;
    m->values_size = views * sizeof ((clvi_normalize *)NULL)->table;
    m->scratch_size = (size_t)pictures * views * (2 * p->picture + p->temp);
    m->out_size = views * apart * sizeof(float);
    m->rooms = clvi_device_alloc(m->ctx, m->rooms_size);
    m->values = clvi_device_alloc(m->ctx, m->values_size);
    m->batch = (clvi_pixel_batch) {
        .values = m->values, .scratch = clvi_device_alloc(m->ctx, m->scratch_size),
        .out = clvi_device_alloc(m->ctx, m->out_size), .pictures = pictures, .views = p->views,
        .room = (int64_t)p->room, .picture = (int64_t)p->picture, .temp = (int64_t)p->temp, .apart = (int64_t)apart,
        .height = p->size, .width = p->size, .channels = p->channels,
    };
    if (!m->rooms || !m->values || !m->batch.scratch || !m->batch.out) return CLV_ERR_NOMEM;
    return send_values(m);
}

clv_status clvi_view_maker_create(clv_context *ctx, const clvi_packer *packer, int64_t pictures, clvi_view_maker **out)
{
    *out = NULL;
    CLV_CHECK(ctx->device, CLV_ERR_UNSUPPORTED, "augmentation on a device: the context computes on the processor");
    clvi_view_maker *m = clvi_calloc(ctx, 1, sizeof *m);
    if (!m) return CLV_ERR_NOMEM;
    m->ctx = ctx;
    m->packer = packer;
    const clv_status st = init(m, pictures);
    if (st != CLV_OK) {
        clvi_view_maker_destroy(m);
        return st;
    }
    *out = m;
    return CLV_OK;
}

void clvi_view_maker_destroy(clvi_view_maker *m)
{
    if (!m) return;
    clvi_device_free(m->ctx, m->rooms, m->rooms_size);
    clvi_device_free(m->ctx, m->values, m->values_size);
    clvi_device_free(m->ctx, m->batch.scratch, m->scratch_size);
    clvi_device_free(m->ctx, m->batch.out, m->out_size);
    clvi_free(m->ctx, m);
}

size_t clvi_view_maker_memory(const clvi_view_maker *m)
{
    return m->rooms_size + m->values_size + m->scratch_size + m->out_size;
}

/* A profile waits for the views. */
static clv_status launch(clvi_view_maker *m)
{
    clvi_device *d = m->ctx->device;
    const int64_t begin = clv_profile_begin(m->ctx);
    CLV_TRY(d->backend->augment(d, &m->batch));
    if (!m->ctx->profile) return CLV_OK;
    CLV_TRY(clvi_device_wait(m->ctx));
    clvi_profile_add(m->ctx->profile, begin, clvi_profile_clock(), &(clvi_profile_work) {
        .name = "augment", .kernel = d->backend->name, .bytes = (double)m->rooms_size + (double)m->out_size });
    return CLV_OK;
}

clv_status clvi_view_maker_queue(clvi_view_maker *m, const void *rooms, clv_view *view)
{
    const clvi_packer *p = m->packer;
    m->batch.rooms = clvi_tape_bring(m->ctx, rooms, m->rooms_size, m->rooms);
    for (int v = 0; v < p->views; v++) {
        view[v] = clv_view_nhwc(m->batch.out + v * m->batch.apart, CLV_F32, m->batch.pictures, p->channels, p->size,
                                p->size);
        view[v].device = 1;
    }
    return clvi_tape_plays(m->ctx) ? CLV_OK : launch(m);
}
