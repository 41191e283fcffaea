/* tape.c: steps of a device, recorded and played. */
#include "device/tape.h"
#include "device/backend.h"
#include "core/checked.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_FETCHED = 16, MOST_STRETCHES = 32, ALIGN = 256 };

typedef enum way { LAUNCHES, RECORDS, PLAYS } way;

typedef struct fetched {
    void  *to;
    size_t at, size;
} fetched;

/* A stretch of a step, and how often it is played. */
typedef struct stretch {
    clvi_recording *recording;
    int64_t         times;
} stretch;

typedef struct slot {
    void   *block;                  /* on the device: what a step is sent */
    char   *bytes;                  /* on the host: the same, on its way */
    char   *lent;                   /* on the host: what the device reads there */
    char   *results;                /* on the host: first the fault, then what was fetched */
    stretch stretch[MOST_STRETCHES];
    int     n_stretches;            /* 0: not recorded yet */
    fetched fetch[MOST_FETCHED];
    int     n_fetch;
    bool    queued;                 /* to be waited for */
} slot;

struct clvi_tape {
    clv_context *ctx;
    way          way;               /* of the step at work */
    bool         seen, broken;      /* a step has run; one could not be recorded */
    bool         over;              /* the step at work asked for more than the first */
    bool         repeats;           /* it is in a pass of clvi_tape_repeat, */
    int64_t     *number;            /* whose number is here, on the device, */
    int64_t      times;             /* and which stands for so many */
    int          turn, waiting;     /* the slot of the next step, or of the one at work; steps not collected */
    size_t       sent, lent, fetched;                /* by the step at work so far */
    size_t       sent_size, lent_size, fetched_size;
    slot         slot[CLVI_SLOTS];
};

/* ---- making ---- */

clv_status clvi_tape_create(clv_context *ctx, clvi_tape **out)
{
    *out = NULL;
    if (!ctx->device) return CLV_OK;
    *out = clvi_calloc(ctx, 1, sizeof **out);
    if (!*out) return CLV_ERR_NOMEM;
    (*out)->ctx = ctx;
    (*out)->number = clvi_device_alloc(ctx, sizeof *(*out)->number);
    if ((*out)->number) return CLV_OK;
    clvi_free(ctx, *out);
    *out = NULL;
    return CLV_ERR_NOMEM;
}

static void forget(clvi_tape *t, slot *s)
{
    for (int i = 0; i < s->n_stretches; i++)
        t->ctx->device->backend->forget(t->ctx->device, s->stretch[i].recording);
    s->n_stretches = 0;
}

void clvi_tape_destroy(clvi_tape *t)
{
    if (!t) return;
    clvi_device *d = t->ctx->device;
    clvi_tape_drop(t);
    if (t->waiting > 0) (void)d->backend->wait(d);
    for (int i = 0; i < CLVI_SLOTS; i++) {
        slot *s = &t->slot[i];
        forget(t, s);
        if (s->block) d->backend->free(d, s->block);
        d->backend->free_host(d, s->bytes);
        d->backend->free_host(d, s->lent);
        d->backend->free_host(d, s->results);
    }
    clvi_device_free(t->ctx, t->number, sizeof *t->number);
    clvi_free(t->ctx, t);
}

/* Memory for what the first step sent and fetched. */
static clv_status make_slots(clvi_tape *t)
{
    clvi_device *d = t->ctx->device;
    for (int i = 0; i < CLVI_SLOTS; i++) {
        slot *s = &t->slot[i];
        if (s->block) continue;
        CLV_TRY(d->backend->alloc_host(d, t->sent_size, (void **)&s->bytes));
        if (t->lent_size > 0) CLV_TRY(d->backend->alloc_host(d, t->lent_size, (void **)&s->lent));
        CLV_TRY(d->backend->alloc_host(d, t->fetched_size, (void **)&s->results));
        CLV_TRY(d->backend->alloc(d, t->sent_size, &s->block));
        CLV_TRY(d->backend->leave(d, i));       /* nothing is sent before the memory is cleared */
    }
    return CLV_OK;
}

/* ---- a step ---- */

bool clvi_device_may_record(const clv_context *ctx)
{
    const char *wish = getenv("CLEAVE_GRAPH");
    return ctx->device && !ctx->profile && !ctx->detect_anomaly && !(wish && strcmp(wish, "0") == 0);
}

clv_status clvi_tape_begin(clvi_tape *t)
{
    if (!t) return CLV_OK;
    clvi_device *d = t->ctx->device;
    slot *s = &t->slot[t->turn];
    CLV_CHECK(!d->tape && t->waiting < CLVI_SLOTS, CLV_ERR_INTERNAL, "a step begins while %d are at work",
              t->waiting + (d->tape != NULL));
    t->sent = t->lent = 0;
    t->fetched = CLVI_FAULT_SIZE;
    t->over = t->repeats = s->queued = false;
    t->times = 1;
    s->n_fetch = 0;
    t->way = LAUNCHES;
    if (t->seen && !t->broken && clvi_device_may_record(t->ctx)) {
        CLV_TRY(make_slots(t));
        CLV_TRY(d->backend->reach(d, t->turn, true));          /* the bytes of the slot's last step were copied */
        if (s->n_stretches == 0) CLV_TRY(d->backend->record(d));
        t->way = s->n_stretches > 0 ? PLAYS : RECORDS;
    }
    d->tape = t;
    return CLV_OK;
}

/* The bytes, then what was recorded. */
static clv_status queue(clvi_tape *t)
{
    clvi_device *d = t->ctx->device;
    slot *s = &t->slot[t->turn];
    if (t->sent > 0) CLV_TRY(d->backend->send(d, t->turn, s->block, s->bytes, t->sent));
    CLV_TRY(d->backend->enter(d, t->turn));
    for (int i = 0; i < s->n_stretches; i++)
        for (int64_t k = 0; k < s->stretch[i].times; k++) CLV_TRY(d->backend->play(d, s->stretch[i].recording));
    CLV_TRY(d->backend->leave(d, t->turn));
    s->queued = true;
    return CLV_OK;
}

/* What was recorded since the last cut is a stretch. */
static clv_status cut(clvi_tape *t, int64_t times)
{
    clvi_device *d = t->ctx->device;
    slot *s = &t->slot[t->turn];
    clvi_recording *recording = NULL;
    CLV_TRY(d->backend->recorded(d, s->n_stretches < MOST_STRETCHES ? &recording : NULL));
    CLV_CHECK(recording, CLV_ERR_INTERNAL, "a step of more than %d stretches", MOST_STRETCHES);
    s->stretch[s->n_stretches++] = (stretch) { recording, times };
    return CLV_OK;
}

static clv_status end_recording(clvi_tape *t)
{
    clvi_device *d = t->ctx->device;
    CLV_TRY(d->backend->copy(d, t->slot[t->turn].results, d->fault, CLVI_FAULT_SIZE, CLVI_COPY_LATER));
    return cut(t, 1);
}

clv_status clvi_tape_end(clvi_tape *t)
{
    if (!t) return CLV_OK;
    if (t->way == RECORDS) CLV_TRY(end_recording(t));
    t->ctx->device->tape = NULL;
    CLV_CHECK(!t->over, CLV_ERR_INTERNAL, "a step sends or fetches more than the first one did");
    if (t->way != LAUNCHES) CLV_TRY(queue(t));
    t->sent_size = CLVI_MAX(t->sent_size, t->sent);
    t->lent_size = CLVI_MAX(t->lent_size, t->lent);
    t->fetched_size = CLVI_MAX(t->fetched_size, t->fetched);
    t->seen = true;
    t->turn = (t->turn + 1) % CLVI_SLOTS;
    t->waiting++;
    return CLV_OK;
}

void clvi_tape_drop(clvi_tape *t)
{
    if (!t || t->ctx->device->tape != t) return;
    if (t->way == RECORDS) {
        (void)t->ctx->device->backend->recorded(t->ctx->device, NULL);
        forget(t, &t->slot[t->turn]);
    }
    t->ctx->device->tape = NULL;
}

/* What a slot's step fetched, to where it was wanted. */
static clv_status deliver(clvi_tape *t, int i)
{
    slot *s = &t->slot[i];
    int fault;
    if (!s->queued) return CLV_OK;
    CLV_TRY(t->ctx->device->backend->reach(t->ctx->device, i, false));
    s->queued = false;
    memcpy(&fault, s->results, sizeof fault);
    for (int f = 0; f < s->n_fetch; f++) memcpy(s->fetch[f].to, s->results + s->fetch[f].at, s->fetch[f].size);
    s->n_fetch = 0;
    return fault ? clvi_device_wait(t->ctx) : CLV_OK;
}

clv_status clvi_tape_collect(clvi_tape *t)
{
    if (!t) return CLV_OK;
    CLV_CHECK(t->waiting > 0, CLV_ERR_INTERNAL, "no step is at work");
    return deliver(t, (t->turn + CLVI_SLOTS - t->waiting--) % CLVI_SLOTS);
}

int clvi_tape_waiting(const clvi_tape *t)
{
    return t ? t->waiting : 0;
}

bool clvi_tape_runs_ahead(const clvi_tape *t)
{
    return t && !t->broken && t->slot[0].n_stretches > 0 && t->slot[1].n_stretches > 0 &&
           clvi_device_may_record(t->ctx);
}

/* ---- for what is queued ---- */

static clvi_tape *tape_of(const clv_context *ctx)
{
    return ctx->device ? ctx->device->tape : NULL;
}

bool clvi_tape_records(const clv_context *ctx)
{
    const clvi_tape *t = tape_of(ctx);
    return t && t->way == RECORDS;
}

bool clvi_tape_plays(const clv_context *ctx)
{
    const clvi_tape *t = tape_of(ctx);
    return t && t->way == PLAYS;
}

void *clvi_tape_send(clv_context *ctx, const void *bytes, size_t size)
{
    clvi_tape *t = tape_of(ctx);
    if (!t) return NULL;
    const size_t at = t->sent;
    slot *s = &t->slot[t->turn];
    t->sent += (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (t->way == LAUNCHES) return NULL;
    if (t->sent > t->sent_size) {
        t->over = true;
        t->sent = 0;
        return s->block;
    }
    memcpy(s->bytes + at, bytes, size);
    return (char *)s->block + at;
}

size_t clvi_tape_most_sent = (size_t)2 << 30;

/* The slot's last step was collected before this one began: nobody reads what it lent any more. */
void *clvi_tape_lend(clv_context *ctx, const void *bytes, size_t size)
{
    clvi_tape *t = tape_of(ctx);
    if (!t || t->sent + size <= clvi_tape_most_sent) return clvi_tape_send(ctx, bytes, size);
    const size_t at = t->lent;
    slot *s = &t->slot[t->turn];
    t->lent += (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (t->way == LAUNCHES) return NULL;
    if (t->lent > t->lent_size) {
        t->over = true;
        t->lent = 0;
        return s->lent ? s->lent : s->bytes;
    }
    memcpy(s->lent + at, bytes, size);
    return s->lent + at;
}

const void *clvi_tape_bring(clv_context *ctx, const void *bytes, size_t size, void *own)
{
    clvi_device *d = ctx->device;
    const void *sent = clvi_tape_send(ctx, bytes, size);
    if (!sent) clvi_device_note(d, d->backend->copy(d, own, bytes, size, CLVI_COPY_TO_DEVICE));
    return sent ? sent : own;
}

clv_status clvi_tape_fetch(clv_context *ctx, void *to, const void *from, size_t size)
{
    clvi_tape *t = tape_of(ctx);
    const size_t at = t ? t->fetched : 0;
    if (t) t->fetched += (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!t || t->way == LAUNCHES) {
        CLV_TRY(clvi_device_wait(ctx));
        return clvi_device_copy(ctx, to, from, size, CLVI_COPY_TO_HOST);
    }
    slot *s = &t->slot[t->turn];
    CLV_CHECK(t->fetched <= t->fetched_size && s->n_fetch < MOST_FETCHED, CLV_ERR_INTERNAL,
              "a step fetches more than the first one did");
    s->fetch[s->n_fetch++] = (fetched) { to, at, size };
    if (t->way == PLAYS) return CLV_OK;
    return ctx->device->backend->copy(ctx->device, s->results + at, from, size, CLVI_COPY_LATER);
}

clv_status clvi_tape_interrupt(clv_context *ctx)
{
    clvi_tape *t = tape_of(ctx);
    if (!t || t->way == LAUNCHES) return CLV_OK;
    CLV_CHECK(t->way == RECORDS, CLV_ERR_INTERNAL, "a step does what it did not do when it was recorded");
    t->way = LAUNCHES;
    t->broken = true;
    clv_status st = end_recording(t);
    if (st == CLV_OK) st = queue(t);
    if (st == CLV_OK) st = deliver(t, t->turn);
    forget(t, &t->slot[t->turn]);
    return st;
}

/* ---- what a step does many times ---- */

const int64_t *clvi_tape_pass(const clv_context *ctx)
{
    const clvi_tape *t = tape_of(ctx);
    return t && t->repeats ? t->number : NULL;
}

/* Pass k, after which the number is the next one's. */
static clv_status pass_at(clvi_tape *t, int64_t k, clvi_tape_fn *pass, void *user)
{
    clvi_device *d = t->ctx->device;
    t->repeats = true;
    const clv_status st = pass(user, k);
    t->repeats = false;
    if (st != CLV_OK || t->way == PLAYS) return st;
    return d->backend->step->count(d, t->number);
}

/* Passes that are alike. One is recorded, unless it shows that it cannot be, and played so often. */
static clv_status repeat(clvi_tape *t, int64_t times, clvi_tape_fn *pass, void *user)
{
    const clvi_backend *b = t->ctx->device->backend;
    if (t->way == RECORDS && times > 0) CLV_TRY(cut(t, 1));
    if (t->way == RECORDS && times > 0) CLV_TRY(b->record(t->ctx->device));
    for (int64_t k = 0; k < times; k++) {
        t->times = t->way == LAUNCHES ? 1 : times;
        const clv_status st = pass_at(t, k, pass, user);
        t->times = 1;
        if (st != CLV_OK || t->way == PLAYS) return st;
        if (t->way == LAUNCHES) continue;
        CLV_TRY(cut(t, times));
        return b->record(t->ctx->device);
    }
    return CLV_OK;
}

clv_status clvi_tape_repeat(clv_context *ctx, int64_t times, clvi_tape_fn *pass, clvi_tape_fn *last, void *user)
{
    clvi_tape *t = tape_of(ctx);
    const int64_t alike = last ? times - 1 : times;
    for (int64_t k = 0; !t && k < alike; k++) CLV_TRY(pass(user, k));
    if (!t) return last ? last(user, alike) : CLV_OK;
    if (times == 1) return last ? last(user, 0) : pass(user, 0);        /* and nothing is numbered */
    CLV_CHECK(!t->repeats, CLV_ERR_INTERNAL, "a pass of a step repeats something itself");
    CLV_TRY(clvi_device_fill(ctx, t->number, 0, sizeof *t->number));
    CLV_TRY(repeat(t, alike, pass, user));
    return last ? pass_at(t, alike, last, user) : CLV_OK;
}

int64_t clvi_tape_times(const clv_context *ctx)
{
    const clvi_tape *t = tape_of(ctx);
    return t ? t->times : 1;
}
