/* tape.h: the device work of a step that is queued over and over. The first time it runs as it is queued; then it is
 * recorded, once for each slot, and played: one copy brings what has changed on the host, one launch runs all of it,
 * and what the host wants to know arrives while the next step is at work.
 *
 * The code that queues a step is the same every time. While a recording is played it queues nothing: it says what to
 * send and what to fetch, in the same order. What changes from step to step therefore reaches kernels through memory
 * that is sent.
 *
 * What a step does many times over (the parts of a batch) is recorded once and played so often: the step is then a few
 * recordings one after the other, with nothing to wait for in between.
 *
 * NULL is a tape on the host, where everything happens as it is called. One thread at a time. */
#ifndef CLVI_DEVICE_TAPE_H
#define CLVI_DEVICE_TAPE_H

#include "core/context.h"

typedef struct clvi_tape clvi_tape;

/* *out is NULL where the context computes on the host. Errors: CLV_ERR_NOMEM. */
clv_status clvi_tape_create(clv_context *ctx, clvi_tape **out) CLV_NODISCARD;
/* Waits for the steps at work. */
void clvi_tape_destroy(clvi_tape *t);

/* What the context's device is given between the two is a step. At most CLVI_SLOTS may wait to be collected. */
clv_status clvi_tape_begin(clvi_tape *t) CLV_NODISCARD;
clv_status clvi_tape_end(clvi_tape *t) CLV_NODISCARD;
/* Instead of the end, after an error: the step does not count. */
void clvi_tape_drop(clvi_tape *t);
/* Waits for the oldest step that was not collected: what it fetched is there. Errors: what a kernel found wrong with
 * its data. */
clv_status clvi_tape_collect(clvi_tape *t) CLV_NODISCARD;
int clvi_tape_waiting(const clvi_tape *t);
/* Steps are played now, or the next one could be: it is worth while to queue one before the last is collected. */
bool clvi_tape_runs_ahead(const clvi_tape *t);

/* ---- for what is queued ---- */

/* Whether runs of this context's device may be recorded at all: not while a profile times them, nor where
 * CLEAVE_GRAPH=0 asks for launch by launch. */
bool clvi_device_may_record(const clv_context *ctx);
/* The step at work is recorded. */
bool clvi_tape_records(const clv_context *ctx);
/* The step at work is played: nothing is to be queued. */
bool clvi_tape_plays(const clv_context *ctx);
/* Where these bytes will be on the device when the step at work runs. NULL: it is not recorded, the caller copies
 * them. */
void *clvi_tape_send(clv_context *ctx, const void *bytes, size_t size);
/* The same of bytes that passes read, each some of them, and once or twice. What one step sends beyond this limit,
 * which only tests change, stays in the host's memory, and the device reads it there. */
extern size_t clvi_tape_most_sent;
void *clvi_tape_lend(clv_context *ctx, const void *bytes, size_t size);
/* As clvi_tape_send; where it is not recorded they are copied to `own` on the device. An error comes out at the next
 * wait. */
const void *clvi_tape_bring(clv_context *ctx, const void *bytes, size_t size, void *own);
/* Bytes of the device come to `to`, at the latest when the step is collected: at once where nothing is recorded. */
clv_status clvi_tape_fetch(clv_context *ctx, void *to, const void *from, size_t size) CLV_NODISCARD;
/* pass(user, k) for 0 <= k < times, which differ in nothing but what kernels read at the place of the pass's number: of a
 * step that is recorded or played only pass(user, 0) is called. Everywhere else, the host included, all are. With `last`
 * the last one is last(user, times - 1) instead, which is recorded by itself. Passes do not repeat anything themselves. */
typedef clv_status clvi_tape_fn(void *user, int64_t k);
clv_status clvi_tape_repeat(clv_context *ctx, int64_t times, clvi_tape_fn *pass, clvi_tape_fn *last,
                            void *user) CLV_NODISCARD;
/* How often what is queued now will run in this step, for who counts. */
int64_t clvi_tape_times(const clv_context *ctx);
/* Where a kernel finds the number of the pass at work, from 0, on the device; NULL: in none. */
const int64_t *clvi_tape_pass(const clv_context *ctx);
/* Before something that cannot be recorded: what was recorded so far runs, and this tape's steps are launched one
 * piece after another from now on. */
clv_status clvi_tape_interrupt(clv_context *ctx) CLV_NODISCARD;

#endif
