/* overlap.c: sums beside the computation. On a device they are queued beside it. On the host one thread makes them in
 * the order they were begun, which is the same on all ranks, so their calls meet; and as it is the only one that talks
 * to the others until the end, a back end sees one call at a time. */
#include "train/comm/overlap.h"
#include "core/checked.h"
#include "core/profile.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { ROOM = 64 };                      /* sums that wait; whoever begins one more waits, too */

struct clvi_overlap {
    clvi_comm      *comm;
    pthread_t       thread;
    pthread_mutex_t lock;
    pthread_cond_t  changed;
    struct {
        float  *x;
        int64_t n;
    }               sum[ROOM];           /* number i at i % ROOM */
    int64_t         begun, made;         /* since the thread started */
    bool            leave;
    clv_status      status;              /* of the first that failed since the last end; the others are left out */
    char            message[512];
};

/* What it takes is not the caller's time: it is kept apart. */
static clv_status make(clvi_comm *c, float *x, int64_t n)
{
    const double before = c->seconds;
    const clv_status st = clvi_comm_all_reduce(c, x, n);
    c->beside += c->seconds - before;
    c->seconds = before;
    return st;
}

static void *work(void *arg)
{
    clvi_overlap *o = arg;
    pthread_mutex_lock(&o->lock);
    for (;;) {
        while (o->begun == o->made && !o->leave) pthread_cond_wait(&o->changed, &o->lock);
        if (o->begun == o->made) break;
        float *x = o->sum[o->made % ROOM].x;
        const int64_t n = o->sum[o->made % ROOM].n;
        if (o->status == CLV_OK) {
            pthread_mutex_unlock(&o->lock);
            const clv_status st = make(o->comm, x, n);
            pthread_mutex_lock(&o->lock);
            o->status = st;
            if (st != CLV_OK) snprintf(o->message, sizeof o->message, "%s", clv_error_message());
        }
        o->made++;
        pthread_cond_broadcast(&o->changed);
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

/* The thread takes no signals: those are the application's business, in its own threads. */
static clv_status start(clvi_comm *c)
{
    clvi_overlap *o = clvi_calloc(c->ctx, 1, sizeof *o);
    sigset_t all, before;
    if (!o) return CLV_ERR_NOMEM;
    o->comm = c;
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->changed, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&o->thread, NULL, work, o);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) clvi_free(c->ctx, o);
    CLV_CHECK(!error, CLV_ERR_IO, "cannot start a thread for sums over ranks: %s", strerror(error));
    c->overlap = o;
    return CLV_OK;
}

clv_status clvi_comm_begin(clvi_comm *c, float *x, int64_t n)
{
    if (!c || c->ranks == 1 || n == 0) return CLV_OK;
    if (c->ctx->device) return clvi_comm_queue_sum(c, x, n, sizeof *x, true);
    if (!c->overlap) CLV_TRY(start(c));
    clvi_overlap *o = c->overlap;
    c->backend->gentle(true);
    pthread_mutex_lock(&o->lock);
    while (o->begun - o->made == ROOM) pthread_cond_wait(&o->changed, &o->lock);
    o->sum[o->begun % ROOM].x = x;
    o->sum[o->begun % ROOM].n = n;
    o->begun++;
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->lock);
    return CLV_OK;
}

static clv_status wait_for_all(clvi_overlap *o)
{
    char message[sizeof o->message];
    pthread_mutex_lock(&o->lock);
    while (o->begun > o->made) pthread_cond_wait(&o->changed, &o->lock);
    const clv_status st = o->status;
    memcpy(message, o->message, sizeof message);
    o->status = CLV_OK;
    pthread_mutex_unlock(&o->lock);
    CLV_CHECK(st == CLV_OK, st, "%s", message);
    return CLV_OK;
}

clv_status clvi_comm_end(clvi_comm *c)
{
    if (!c || c->ranks == 1) return CLV_OK;
    if (c->ctx->device) return clvi_comm_queue_join(c);
    if (!c->overlap) return CLV_OK;
    const int64_t begin = clvi_profile_clock();
    c->backend->gentle(false);
    const clv_status st = wait_for_all(c->overlap);
    const double waited = 1e-9 * (double)(clvi_profile_clock() - begin);
    c->seconds += waited;
    c->beside = CLVI_MAX(c->beside - waited, 0.0);         /* the thread made sums all the while */
    return st;
}

void clvi_overlap_destroy(clvi_overlap *o)
{
    if (!o) return;
    pthread_mutex_lock(&o->lock);
    o->leave = true;
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->lock);
    pthread_join(o->thread, NULL);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->lock);
    clvi_free(o->comm->ctx, o);
}
