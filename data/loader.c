/* loader.c: batches of augmented views, made ahead by worker threads in a ring of slots.
 *
 * A batch is known by its ordinal, epoch * steps + step. `head` is the one handed out next, `fill` the one being begun;
 * the ring has one slot more than batches are made ahead, because the caller still holds batch head - 1. All counters
 * are under one mutex; pixels are written outside it, each image by one thread. What an image becomes depends on
 * (seed, epoch, sample, view) alone, so it does not matter who makes it. */
#include "data/dataset.h"
#include "core/bf16.h"
#include "core/checked.h"
#include "core/rng.h"
#include "data/decode.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define CHUNK        8      /* images a worker takes at once */
#define MAX_WORKERS  1024
#define MAX_PREFETCH 1024
#define MAX_VIEWS    256

typedef struct slot {
    int64_t    ordinal;     /* of the batch in it, or -1 */
    int64_t    todo;        /* images not yet made */
    clv_status status;      /* of the failing image with the smallest index, `bad` */
    int64_t    bad;
    char       message[1024];
    uint8_t   *pixels;      /* the views one after another */
    clv_view  *view;
    int64_t   *labels, *ids;
} slot;

/* What one thread needs to make images. */
typedef struct maker {
    clv_loader  *loader;
    clv_decoder *decoder;
    clvi_buffer  scratch;
    pthread_t    thread;
    bool         started;
} maker;

struct clv_loader {
    clv_context       *ctx;
    const clv_dataset *ds;
    clv_loader_desc    desc;
    clv_transform     *transforms;
    clv_dataset_info   info;
    clv_form           form;
    int64_t            steps, global_batch;

    int                slot_count, maker_count;
    slot              *slots;
    maker             *makers;
    size_t             slot_bytes;

    pthread_mutex_t    lock;
    pthread_cond_t     work;       /* there may be something to take */
    pthread_cond_t     ready;      /* a batch is complete, or a worker is idle */
    bool               has_lock;
    int64_t            head, fill, fill_item;
    int                busy;       /* workers making images */
    bool               begun;      /* a batch was asked for; a run that is only described makes none */
    bool               paused, stop;
    atomic_bool        cancel;     /* what is being made is not wanted any more */

    double             started, finished, waited;
};

typedef struct chunk {
    slot   *slot;
    int64_t ordinal, first, count;
} chunk;

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is in a batch ---- */

static int64_t batch_start(const clv_loader *l, int64_t ordinal)
{
    return ordinal % l->steps * l->global_batch + l->desc.rank * l->desc.batch_size;
}

static int64_t batch_count(const clv_loader *l, int64_t ordinal)
{
    const int64_t left = l->info.count - batch_start(l, ordinal);
    return CLVI_MAX(0, CLVI_MIN(left, l->desc.batch_size));
}

static int64_t sample_at(const clv_loader *l, int64_t ordinal, int64_t item)
{
    const int64_t i = batch_start(l, ordinal) + item;
    if (!l->desc.shuffle) return i;
    const uint32_t epoch = (uint32_t)(ordinal / l->steps);
    return (int64_t)clvi_rng_permute(l->desc.seed, CLVI_RNG_ORDER, epoch, (uint64_t)l->info.count, (uint64_t)i);
}

/* ---- making images ---- */

/* The transform of a loader without transforms. */
static clv_status scale_to_unit(void *user, const clv_part *part, uint64_t seed, uint32_t epoch, uint64_t sample,
                                uint32_t view, void *scratch, size_t scratch_size, const clv_form *form, void *out)
{
    (void)user, (void)seed, (void)epoch, (void)sample, (void)view, (void)scratch, (void)scratch_size;
    const clv_image *in = &part->image;
    float *floats = out;
    uint16_t *halves = out;
    for (int64_t y = 0; y < in->height; y++)
        for (int64_t x = 0; x < in->width; x++)
            for (int64_t c = 0; c < form->channels; c++) {
                const uint8_t *pixel = in->pixels + y * in->row_stride + x * in->channels;
                const float value = c < in->channels ? (float)pixel[c] / 255.0f : 0.0f;
                if (form->dtype == CLV_BF16) *halves++ = clvi_bf16_round(value);
                else *floats++ = value;
            }
    return CLV_OK;
}

static clv_status reserve_scratch(maker *m, int64_t height, int64_t width)
{
    for (int64_t v = 0; v < m->loader->desc.views; v++) {
        const clv_transform *t = &m->loader->transforms[v];
        const int64_t size = t->scratch_size ? t->scratch_size(t->user, height, width, m->loader->info.channels) : 0;
        CLV_CHECK(size >= 0, CLV_ERR_INVALID, "the transform of view %" PRId64 " wants %" PRId64 " bytes of scratch", v,
                  size);
        CLV_TRY(clvi_buffer_reserve(m->loader->ctx, &m->scratch, (size_t)size));
    }
    return CLV_OK;
}

/* One sample on its way into its views. */
typedef struct sampled {
    maker   *maker;
    uint32_t epoch;
    int64_t  sample;
} sampled;

/* The smallest window that holds those of all views, reduced by what all of them allow. */
static void choose_window(void *user, int64_t height, int64_t width, clv_window *window)
{
    const sampled *w = user;
    const clv_loader *l = w->maker->loader;
    int64_t top = height, left = width, bottom = 0, right = 0, reduce = INT64_MAX;
    for (int64_t v = 0; v < l->desc.views; v++) {
        const clv_transform *t = &l->transforms[v];
        clv_window one = *window;
        if (t->window)
            t->window(t->user, height, width, l->info.channels, l->desc.seed, w->epoch, (uint64_t)w->sample,
                      (uint32_t)v, &one);
        top = CLVI_MIN(top, one.y);
        left = CLVI_MIN(left, one.x);
        bottom = CLVI_MAX(bottom, one.y + one.height);
        right = CLVI_MAX(right, one.x + one.width);
        reduce = CLVI_MIN(reduce, one.reduce);
    }
    *window = (clv_window){ top, left, bottom - top, right - left, reduce };
}

static clv_status make_view(const sampled *w, const clv_part *part, int64_t v, void *out)
{
    const maker *m = w->maker;
    const clv_loader *l = m->loader;
    const clv_transform *t = &l->transforms[v];
    const uint64_t seed = l->desc.seed, sample = (uint64_t)w->sample;
    if (t->apply_part)
        return t->apply_part(t->user, part, seed, w->epoch, sample, (uint32_t)v, m->scratch.data, m->scratch.capacity,
                             &l->form, out);
    return t->apply(t->user, &part->image, seed, w->epoch, sample, (uint32_t)v, m->scratch.data, m->scratch.capacity,
                    out);
}

static clv_status make_views(maker *m, const slot *s, uint32_t epoch, int64_t sample, int64_t item)
{
    clv_loader *l = m->loader;
    sampled w = { m, epoch, sample };
    clv_part part = { .reduced = 1 };
    if (!l->desc.exact_decode) m->decoder->plan = (clvi_decode_plan){ choose_window, &w };
    const clv_status st = clv_dataset_image(l->ds, sample, m->decoder, &part.image);
    m->decoder->plan = (clvi_decode_plan){ 0 };
    if (st != CLV_OK) return st;
    if (!l->info.raw) part.reduced = m->decoder->reduced;
    CLV_TRY(reserve_scratch(m, part.image.height, part.image.width));
    for (int64_t v = 0; v < l->desc.views; v++) {
        const size_t at = (size_t)(item * s->view[v].stride[0]) * clv_dtype_size(l->form.dtype);
        CLV_TRY(make_view(&w, &part, v, (uint8_t *)s->view[v].data + at));
    }
    return CLV_OK;
}

/* Makes one image of a batch; a failure carries the image's place. */
static clv_status make_image(maker *m, const chunk *c, int64_t item)
{
    clv_loader *l = m->loader;
    const int64_t sample = sample_at(l, c->ordinal, item);
    c->slot->ids[item] = sample;
    c->slot->labels[item] = clv_dataset_label(l->ds, sample);
    const clv_status st = make_views(m, c->slot, (uint32_t)(c->ordinal / l->steps), sample, item);
    int64_t there = sample;
    if (st == CLV_OK || clvi_dataset_holder(l->ds, &there)->file_at) return st;   /* the decoder names files */
    char where[256];
    snprintf(where, sizeof where, "image %" PRId64, sample);
    return clvi_fail_in(st, where);
}

/* Makes a chunk; on failure *bad is the item and the thread's message is set. */
static clv_status make_chunk(maker *m, const chunk *c, int64_t *bad)
{
    for (int64_t i = c->first; i < c->first + c->count; i++) {
        if (atomic_load_explicit(&m->loader->cancel, memory_order_relaxed)) return CLV_STOPPED;
        const clv_status st = make_image(m, c, i);
        *bad = i;
        if (st != CLV_OK) return st;
    }
    return CLV_OK;
}

/* ---- the ring; everything here is called with the lock held ---- */

static slot *slot_of(clv_loader *l, int64_t ordinal)
{
    return &l->slots[ordinal % l->slot_count];
}

static void begin_batch(clv_loader *l, int64_t ordinal)
{
    slot *s = slot_of(l, ordinal);
    s->ordinal = ordinal;
    s->todo = batch_count(l, ordinal);
    s->status = CLV_OK;
    s->bad = INT64_MAX;
}

/* The next images to make, if the ring has room. */
static bool take_chunk(clv_loader *l, chunk *out)
{
    while (l->begun && !l->paused && l->fill < l->head + l->slot_count - 1) {
        if (l->fill_item == 0) begin_batch(l, l->fill);
        const int64_t left = batch_count(l, l->fill) - l->fill_item;
        if (left > 0) {
            *out = (chunk){ slot_of(l, l->fill), l->fill, l->fill_item, CLVI_MIN(left, CHUNK) };
            l->fill_item += out->count;
            return true;
        }
        /* All of it is being made, or this rank has no image in the last batch. */
        if (slot_of(l, l->fill)->todo == 0) pthread_cond_broadcast(&l->ready);
        l->fill++;
        l->fill_item = 0;
    }
    return false;
}

static void finish_chunk(const chunk *c, clv_status st, int64_t bad)
{
    slot *s = c->slot;
    s->todo -= c->count;
    if (st == CLV_OK || st == CLV_STOPPED || bad >= s->bad) return;
    s->status = st;
    s->bad = bad;
    snprintf(s->message, sizeof s->message, "%s", clv_error_message());
}

/* Forgets what was made ahead and goes on from `ordinal`. */
static void restart(clv_loader *l, int64_t ordinal)
{
    l->paused = true;
    atomic_store(&l->cancel, true);
    while (l->busy > 0) pthread_cond_wait(&l->ready, &l->lock);
    for (int i = 0; i < l->slot_count; i++) l->slots[i].ordinal = -1;
    l->head = l->fill = ordinal;
    l->fill_item = 0;
    l->paused = false;
    atomic_store(&l->cancel, false);
    pthread_cond_broadcast(&l->work);
}

static void *worker_main(void *arg)
{
    maker *m = arg;
    clv_loader *l = m->loader;
    chunk c;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        if (!take_chunk(l, &c)) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        int64_t bad = 0;
        l->busy++;
        pthread_mutex_unlock(&l->lock);
        const clv_status st = make_chunk(m, &c, &bad);
        pthread_mutex_lock(&l->lock);
        l->busy--;
        finish_chunk(&c, st, bad);
        if (c.slot->todo == 0 || l->busy == 0) pthread_cond_broadcast(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- creation ---- */

static clv_status import_desc(clv_loader *l, const clv_loader_desc *desc)
{
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID,
              "clv_loader_desc: struct_size is %zu; start from CLV_LOADER_DESC_INIT", desc->struct_size);
    l->desc = *desc;
    if (desc->ranks == 0 && desc->rank == 0) l->desc.ranks = 1;
    CLV_CHECK(desc->batch_size >= 1 && desc->batch_size <= INT32_MAX, CLV_ERR_INVALID,
              "clv_loader_create: batch_size is %" PRId64 ", expected at least 1", desc->batch_size);
    CLV_CHECK(desc->views >= 1 && desc->views <= MAX_VIEWS, CLV_ERR_INVALID,
              "clv_loader_create: views is %" PRId64 ", expected 1 to %d", desc->views, MAX_VIEWS);
    CLV_CHECK(desc->workers >= 0 && desc->workers <= MAX_WORKERS, CLV_ERR_INVALID,
              "clv_loader_create: workers is %d, expected 0 to %d", desc->workers, MAX_WORKERS);
    CLV_CHECK(desc->prefetch >= 1 && desc->prefetch <= MAX_PREFETCH, CLV_ERR_INVALID,
              "clv_loader_create: prefetch is %d, expected 1 to %d", desc->prefetch, MAX_PREFETCH);
    CLV_CHECK(l->desc.rank >= 0 && l->desc.rank < l->desc.ranks, CLV_ERR_INVALID,
              "clv_loader_create: rank %d of %d ranks", desc->rank, desc->ranks);
    return CLV_OK;
}

static clv_status plan_steps(clv_loader *l)
{
    l->global_batch = l->desc.batch_size * l->desc.ranks;
    l->steps = l->info.count / l->global_batch;
    if (!l->desc.drop_last && l->info.count % l->global_batch) l->steps++;
    CLV_CHECK(l->steps >= 1, CLV_ERR_INVALID,
              "clv_loader_create: '%s' has %" PRId64 " images, fewer than the batch of %" PRId64 " with drop_last",
              l->info.path, l->info.count, l->global_batch);
    CLV_CHECK(l->steps <= INT32_MAX, CLV_ERR_INVALID, "clv_loader_create: %" PRId64 " steps an epoch are too many",
              l->steps);
    return CLV_OK;
}

static clv_status choose_form(clv_loader *l)
{
    const int64_t have = l->info.channels, want = l->desc.channels ? l->desc.channels : have;
    CLV_CHECK(l->desc.dtype == CLV_F32 || l->desc.dtype == CLV_BF16, CLV_ERR_INVALID,
              "clv_loader_create: views are float32 or bfloat16, not %s", clv_dtype_name(l->desc.dtype));
    CLV_CHECK(want == have || (want > have && (want == 4 || want == CLV_FORM_MAX_CHANNELS)), CLV_ERR_INVALID,
              "clv_loader_create: the images of '%s' have %" PRId64 " channels; views have as many, 4 or %d, not %"
              PRId64, l->info.path, have, CLV_FORM_MAX_CHANNELS, want);
    l->form = (clv_form){ l->desc.dtype, want };
    return CLV_OK;
}

static clv_status check_transform(const clv_loader *l, const clv_transform *t, int64_t v)
{
    const bool plain = l->form.dtype == CLV_F32 && l->form.channels == l->info.channels;
    CLV_CHECK(!t->window || t->apply_part, CLV_ERR_INVALID,
              "clv_loader_create: the transform of view %" PRId64 " has a window and no apply_part", v);
    CLV_CHECK(plain || t->apply_part, CLV_ERR_INVALID,
              "clv_loader_create: the transform of view %" PRId64 " has no apply_part: its views are float32 with the "
              "images' channels", v);
    CLV_CHECK((t->apply || t->apply_part) && t->height >= 1 && t->width >= 1 && t->height <= CLV_DATA_MAX_SIDE &&
              t->width <= CLV_DATA_MAX_SIDE, CLV_ERR_INVALID,
              "clv_loader_create: the transform of view %" PRId64 " gives %" PRId64 "x%" PRId64 " pixels", v, t->width,
              t->height);
    return CLV_OK;
}

static clv_status copy_transforms(clv_loader *l)
{
    const int64_t views = l->desc.views;
    const clv_transform *given = l->desc.transforms;
    CLV_CHECK(given || l->info.height > 0, CLV_ERR_SHAPE,
              "clv_loader_create: the images of '%s' vary in size, so transforms must bring them to one", l->info.path);
    l->transforms = clvi_calloc(l->ctx, (size_t)views, sizeof *l->transforms);
    if (!l->transforms) return CLV_ERR_NOMEM;
    for (int64_t v = 0; v < views; v++) {
        clv_transform *t = &l->transforms[v];
        *t = given ? given[v]
                   : (clv_transform){ .apply_part = scale_to_unit, .height = l->info.height, .width = l->info.width };
        CLV_TRY(check_transform(l, t, v));
    }
    return CLV_OK;
}

/* Bytes of view v of a batch, so that the next one is aligned. False on overflow. */
static bool view_bytes(const clv_loader *l, int64_t v, size_t *bytes)
{
    const clv_transform *t = &l->transforms[v];
    const size_t image = (size_t)(t->height * t->width * l->form.channels) * clv_dtype_size(l->form.dtype);
    if (!clvi_mul_size(image, (size_t)l->desc.batch_size, bytes) || !clvi_add_size(*bytes, CLVI_ALIGN - 1, bytes))
        return false;
    *bytes -= *bytes % CLVI_ALIGN;
    return true;
}

static clv_status make_slot(clv_loader *l, slot *s)
{
    const int64_t batch = l->desc.batch_size;
    s->ordinal = -1;
    s->pixels = clvi_arena_alloc(l->ctx, l->slot_bytes);
    s->view = clvi_calloc(l->ctx, (size_t)l->desc.views, sizeof *s->view);
    s->labels = clvi_calloc(l->ctx, (size_t)batch, sizeof *s->labels);
    s->ids = clvi_calloc(l->ctx, (size_t)batch, sizeof *s->ids);
    if (!s->pixels || !s->view || !s->labels || !s->ids) return CLV_ERR_NOMEM;
    uint8_t *at = s->pixels;
    for (int64_t v = 0; v < l->desc.views; v++) {
        const clv_transform *t = &l->transforms[v];
        size_t bytes = 0;
        (void)view_bytes(l, v, &bytes);   /* make_slots has seen that it is representable */
        s->view[v] = clv_view_nhwc(at, l->form.dtype, batch, l->form.channels, t->height, t->width);
        at += bytes;
    }
    return CLV_OK;
}

static clv_status make_slots(clv_loader *l)
{
    for (int64_t v = 0; v < l->desc.views; v++) {
        size_t view = 0;
        CLV_CHECK(view_bytes(l, v, &view) && clvi_add_size(l->slot_bytes, view, &l->slot_bytes), CLV_ERR_INVALID,
                  "clv_loader_create: a batch is too large");
    }
    l->slot_count = l->desc.workers ? l->desc.prefetch + 1 : 1;
    l->slots = clvi_calloc(l->ctx, (size_t)l->slot_count, sizeof *l->slots);
    if (!l->slots) return CLV_ERR_NOMEM;
    for (int i = 0; i < l->slot_count; i++) CLV_TRY(make_slot(l, &l->slots[i]));
    return CLV_OK;
}

static clv_status make_makers(clv_loader *l)
{
    clv_decoder_desc desc = CLV_DECODER_DESC_INIT;
    desc.exif_orientation = l->desc.exif_orientation;
    l->maker_count = CLVI_MAX(l->desc.workers, 1);
    l->makers = clvi_calloc(l->ctx, (size_t)l->maker_count, sizeof *l->makers);
    if (!l->makers) return CLV_ERR_NOMEM;
    for (int i = 0; i < l->maker_count; i++) {
        maker *m = &l->makers[i];
        m->loader = l;
        CLV_TRY(clv_decoder_create(l->ctx, &desc, &m->decoder));
        if (l->info.height > 0) CLV_TRY(reserve_scratch(m, l->info.height, l->info.width));
    }
    return CLV_OK;
}

/* Workers take no signals: those are the application's business, in its own threads. */
static clv_status start_workers(clv_loader *l)
{
    sigset_t all, before;
    int error = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < l->desc.workers && !error; i++) {
        error = pthread_create(&l->makers[i].thread, NULL, worker_main, &l->makers[i]);
        l->makers[i].started = error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    CLV_CHECK(!error, CLV_ERR_IO, "clv_loader_create: cannot start a worker thread: %s", strerror(error));
    return CLV_OK;
}

static clv_status loader_init(clv_loader *l, const clv_loader_desc *desc)
{
    CLV_TRY(import_desc(l, desc));
    clv_dataset_describe(l->ds, &l->info);
    CLV_TRY(plan_steps(l));
    CLV_TRY(choose_form(l));
    CLV_TRY(copy_transforms(l));
    CLV_TRY(make_slots(l));
    CLV_TRY(make_makers(l));
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    l->has_lock = true;
    return start_workers(l);
}

clv_status clv_loader_create(clv_context *ctx, const clv_dataset *ds, const clv_loader_desc *desc, clv_loader **out)
{
    CLV_CHECK(ctx && ds && desc && out, CLV_ERR_INVALID, "clv_loader_create: an argument is NULL");
    *out = NULL;
    clv_loader *l = clvi_calloc(ctx, 1, sizeof *l);
    if (!l) return CLV_ERR_NOMEM;
    l->ctx = ctx;
    l->ds = ds;
    const clv_status st = loader_init(l, desc);
    if (st != CLV_OK) {
        clv_loader_destroy(l);
        return st;
    }
    *out = l;
    return CLV_OK;
}

static void stop_workers(clv_loader *l)
{
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    atomic_store(&l->cancel, true);
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->maker_count; i++)
        if (l->makers[i].started) pthread_join(l->makers[i].thread, NULL);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    pthread_mutex_destroy(&l->lock);
}

void clv_loader_destroy(clv_loader *l)
{
    if (!l) return;
    if (l->has_lock) stop_workers(l);
    for (int i = 0; l->makers && i < l->maker_count; i++) {
        clv_decoder_destroy(l->makers[i].decoder);
        clvi_free(l->ctx, l->makers[i].scratch.data);
    }
    for (int i = 0; l->slots && i < l->slot_count; i++) {
        clvi_arena_free(l->ctx, l->slots[i].pixels, l->slot_bytes);
        clvi_free(l->ctx, l->slots[i].view);
        clvi_free(l->ctx, l->slots[i].labels);
        clvi_free(l->ctx, l->slots[i].ids);
    }
    clvi_free(l->ctx, l->makers);
    clvi_free(l->ctx, l->slots);
    clvi_free(l->ctx, l->transforms);
    clvi_free(l->ctx, l);
}

/* ---- handing out ---- */

/* Without workers the caller makes the batch. */
static void make_batch_here(clv_loader *l, slot *s)
{
    begin_batch(l, l->head);
    const chunk c = { s, l->head, 0, batch_count(l, l->head) };
    int64_t bad = 0;
    const clv_status st = make_chunk(&l->makers[0], &c, &bad);
    finish_chunk(&c, st, bad);
}

static void hand_out(clv_loader *l, slot *s, clv_batch *out)
{
    const int64_t count = batch_count(l, s->ordinal);
    for (int64_t v = 0; v < l->desc.views; v++) s->view[v].shape[0] = count;
    *out = (clv_batch){ .epoch = (uint32_t)(s->ordinal / l->steps), .step = s->ordinal % l->steps, .count = count,
                        .views = l->desc.views, .view = s->view, .labels = s->labels, .ids = s->ids };
}

clv_status clv_loader_next(clv_loader *l, clv_batch *out)
{
    CLV_CHECK(l && out, CLV_ERR_INVALID, "clv_loader_next: an argument is NULL");
    const double start = now_seconds();
    if (l->started == 0) l->started = start;
    pthread_mutex_lock(&l->lock);
    if (!l->begun) {
        l->begun = true;
        pthread_cond_broadcast(&l->work);
    }
    slot *s = slot_of(l, l->head);
    if (l->desc.workers == 0) make_batch_here(l, s);
    while (s->ordinal != l->head || s->todo > 0) pthread_cond_wait(&l->ready, &l->lock);
    const clv_status st = s->status;
    if (st != CLV_OK) {
        (void)clvi_fail(st, "%s", s->message);
        restart(l, l->head);
    } else {
        hand_out(l, s, out);
        l->head++;
        pthread_cond_broadcast(&l->work);
    }
    pthread_mutex_unlock(&l->lock);
    l->finished = now_seconds();
    l->waited += l->finished - start;
    return st;
}

clv_status clv_loader_seek(clv_loader *l, uint32_t epoch, int64_t step)
{
    CLV_CHECK(l, CLV_ERR_INVALID, "clv_loader_seek: loader is NULL");
    CLV_CHECK(step >= 0 && step < l->steps, CLV_ERR_INVALID,
              "clv_loader_seek: step %" PRId64 ", but an epoch has %" PRId64 " steps", step, l->steps);
    pthread_mutex_lock(&l->lock);
    restart(l, (int64_t)epoch * l->steps + step);
    pthread_mutex_unlock(&l->lock);
    return CLV_OK;
}

size_t clv_loader_memory(const clv_loader *l)
{
    return (size_t)l->slot_count * l->slot_bytes;
}

int64_t clv_loader_steps_per_epoch(const clv_loader *l)
{
    return l->steps;
}

void clv_loader_times(const clv_loader *l, double *waited, double *total)
{
    *waited = l->waited;
    *total = l->finished - l->started;
}
