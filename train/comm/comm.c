/* comm.c: finding the ranks of a run, and sums over them on top of what a back end moves. */
#include "train/comm/comm.h"
#include "train/comm/overlap.h"
#include "core/checked.h"
#include "core/library.h"
#include "core/profile.h"
#include "device/backend.h"
#include "device/tape.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding ---- */

static int number(const char *variable)
{
    const char *text = getenv(variable);
    const long count = text ? strtol(text, NULL, 10) : 0;
    return count > 0 && count <= INT_MAX ? (int)count : 0;
}

/* What launchers set for each process they start. A batch script of Slurm is no rank: only its steps are. */
static int launched(void)
{
    static const char *const counts[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "WORLD_SIZE" };
    for (size_t i = 0; i < CLVI_COUNT(counts); i++)
        if (number(counts[i]) > 1) return number(counts[i]);
    return 1;
}

static int place(void)
{
    static const char *const places[] = { "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "LOCAL_RANK" };
    for (size_t i = 0; i < CLVI_COUNT(places); i++)
        if (getenv(places[i])) return number(places[i]);
    return 0;
}

static clv_status find(const char *device, int ranks, const clvi_comm_backend **out)
{
    const bool gpu = strcmp(device, "cpu") != 0;
    char why[CLVI_COMM_WHY];
    void *library = gpu ? clvi_library_open("libcleave_nccl.so", "this build has no NCCL back end (libcleave_nccl.so; "
                                            "make CUDA=1 builds it)", why, sizeof why)
                        : clvi_library_open("libcleave_mpi.so", "this build has no MPI back end (libcleave_mpi.so; "
                                            "make MPI=1 builds it)", why, sizeof why);
    CLV_CHECK(library, CLV_ERR_UNSUPPORTED, "one of %d ranks: %s", ranks, why);
    clvi_comm_entry *get = NULL;
    *(void **)&get = clvi_library_find(library, CLVI_COMM_ENTRY);
    *out = get ? get() : NULL;
    CLV_CHECK(*out && (*out)->abi == CLVI_COMM_ABI, CLV_ERR_UNSUPPORTED, "the %s back end is of another version",
              gpu ? "NCCL" : "MPI");
    CLV_CHECK(!gpu == !(*out)->queue, CLV_ERR_INTERNAL, "the %s back end lacks what ranks on a device call",
              (*out)->name);
    return CLV_OK;
}

static clv_status sum_ranks(void *comm, clv_context *ctx, double *x, int64_t n);

clv_status clvi_comm_open(clv_context *ctx, const char *device, clvi_comm **out)
{
    const int ranks = launched();
    char why[CLVI_COMM_WHY] = "";
    *out = NULL;
    clvi_comm *c = clvi_calloc(ctx, 1, sizeof *c);
    if (!c) return CLV_ERR_NOMEM;
    *c = (clvi_comm) { .ctx = ctx, .ranks = 1, .local = place(), .sum = { sum_ranks, c } };
    clv_status st = CLV_OK;
    if (ranks > 1) {
        CLV_TRY_OR_DONE(find(device, ranks, &c->backend));
        CLV_CHECK_OR_DONE(c->backend->open(&c->rank, &c->ranks, why) == 0, CLV_ERR_IO, "%s: %s", c->backend->name, why);
        const size_t bucket = (size_t)(CLVI_COMM_BUCKET + c->ranks);
        c->send = clvi_calloc(ctx, bucket, sizeof *c->send);
        c->receive = clvi_calloc(ctx, bucket, sizeof *c->receive);
        if (!c->send || !c->receive) st = CLV_ERR_NOMEM;
    }
done:
    if (st == CLV_OK) *out = c;
    else clvi_comm_close(c, true);
    return st;
}

void clvi_comm_close(clvi_comm *c, bool failed)
{
    if (!c) return;
    clvi_overlap_destroy(c->overlap);
    if (c->ctx->device) c->ctx->device->watch = NULL;
    if (c->backend) c->backend->close(failed && c->ranks > 1);
    clvi_free(c->ctx, c->send);
    clvi_free(c->ctx, c->receive);
    clvi_free(c->ctx, c);
}

/* ---- speaking ---- */

static bool alone(const clvi_comm *c)
{
    return !c || c->ranks == 1;
}

static double seconds(void)
{
    return 1e-9 * (double)clvi_profile_clock();
}

/* Counts what was sent and how long it took; `error` and `why` are the back end's. */
static clv_status account(clvi_comm *c, double begin, size_t bytes, int error, const char *why)
{
    c->seconds += seconds() - begin;
    c->bytes += (int64_t)bytes;
    CLV_CHECK(!error, CLV_ERR_IO, "rank %d of %d: %s", c->rank, c->ranks, why);
    return CLV_OK;
}

static clv_status all_to_all(clvi_comm *c, const void *from, void *to, size_t size)
{
    char why[CLVI_COMM_WHY] = "";
    const double begin = seconds();
    const int error = c->backend->all_to_all(from, to, size, why);
    return account(c, begin, (size_t)(c->ranks - 1) * size, error, why);
}

clv_status clvi_comm_all_gather(clvi_comm *c, void *x, size_t size)
{
    if (alone(c) || size == 0) return CLV_OK;
    char why[CLVI_COMM_WHY] = "";
    const double begin = seconds();
    const int error = c->backend->all_gather(x, size, why);
    return account(c, begin, (size_t)(c->ranks - 1) * size, error, why);
}

clv_status clvi_comm_swap(clvi_comm *c, int other, const void *x, void *y, size_t size)
{
    char why[CLVI_COMM_WHY] = "";
    if (size == 0) return CLV_OK;
    const double begin = seconds();
    const int error = c->backend->swap(other, x, y, size, why);
    return account(c, begin, size, error, why);
}

clv_status clvi_comm_broadcast(clvi_comm *c, void *x, size_t size)
{
    if (alone(c) || size == 0) return CLV_OK;
    char why[CLVI_COMM_WHY] = "";
    const double begin = seconds();
    const int error = c->backend->broadcast(x, size, why);
    return account(c, begin, c->rank == 0 ? size : 0, error, why);
}

/* ---- sums ---- */

/* The parts of all ranks, added up in their order, into the first. */
static void add_parts(float *parts, int ranks, int64_t n)
{
    for (int r = 1; r < ranks; r++)
        for (int64_t i = 0; i < n; i++) parts[i] += parts[r * n + i];
}

/* At most CLVI_COMM_BUCKET values: each rank adds up one part of them and tells the others. */
static clv_status sum_bucket(clvi_comm *c, float *x, int64_t n)
{
    const int64_t part = (n + c->ranks - 1) / c->ranks;
    memcpy(c->send, x, (size_t)n * sizeof *x);
    memset(c->send + n, 0, (size_t)(part * c->ranks - n) * sizeof *x);
    CLV_TRY(all_to_all(c, c->send, c->receive, (size_t)part * sizeof *x));
    add_parts(c->receive, c->ranks, part);
    memcpy(c->send + c->rank * part, c->receive, (size_t)part * sizeof *x);
    CLV_TRY(clvi_comm_all_gather(c, c->send, (size_t)part * sizeof *x));
    memcpy(x, c->send, (size_t)n * sizeof *x);
    return CLV_OK;
}

clv_status clvi_comm_all_reduce(clvi_comm *c, float *x, int64_t n)
{
    for (int64_t first = 0; !alone(c) && first < n; first += CLVI_COMM_BUCKET)
        CLV_TRY(sum_bucket(c, x + first, CLVI_MIN(n - first, CLVI_COMM_BUCKET)));
    return CLV_OK;
}

clv_status clvi_comm_all_reduce_f64(clvi_comm *c, double *x, int64_t n)
{
    if (alone(c)) return CLV_OK;
    const int64_t most = CLVI_COMM_BUCKET / 2 / c->ranks;            /* a double is two of the bucket's floats */
    double *all = (double *)c->send;
    for (int64_t first = 0; first < n; first += most) {
        const int64_t count = CLVI_MIN(n - first, most);
        memcpy(all + c->rank * count, x + first, (size_t)count * sizeof *x);
        CLV_TRY(clvi_comm_all_gather(c, all, (size_t)count * sizeof *x));
        for (int64_t i = 0; i < count; i++) {
            x[first + i] = all[i];
            for (int r = 1; r < c->ranks; r++) x[first + i] += all[r * count + i];
        }
    }
    return CLV_OK;
}

/* ---- on the device ---- */

static clv_status watch(void *comm)
{
    clvi_comm *c = comm;
    char why[CLVI_COMM_WHY] = "";
    CLV_CHECK(c->backend->queue->watch(why) == 0, CLV_ERR_IO, "rank %d of %d: %s", c->rank, c->ranks, why);
    return CLV_OK;
}

/* Where a back end queues, and somebody who looks after it while it is waited for; NULL: a recording is played, which
 * has it already. The bytes are counted either way. */
static void *stream_of(clvi_comm *c, size_t bytes)
{
    clvi_device *d = c->ctx->device;
    d->watch = watch;
    d->watch_user = c;
    c->bytes += (int64_t)bytes * clvi_tape_times(c->ctx);
    return clvi_tape_plays(c->ctx) ? NULL : d->stream;
}

static clv_status queued(const clvi_comm *c, int error, const char *why)
{
    CLV_CHECK(!error, CLV_ERR_IO, "rank %d of %d: %s", c->rank, c->ranks, why);
    return CLV_OK;
}

clv_status clvi_comm_queue_sum(clvi_comm *c, void *x, int64_t n, size_t value, bool beside)
{
    char why[CLVI_COMM_WHY] = "";
    if (n == 0) return CLV_OK;
    void *stream = stream_of(c, (size_t)n * value * 2 * (size_t)(c->ranks - 1) / (size_t)c->ranks);
    return queued(c, stream ? c->backend->queue->sum(x, n, value, beside, stream, why) : 0, why);
}

clv_status clvi_comm_queue_join(clvi_comm *c)
{
    char why[CLVI_COMM_WHY] = "";
    void *stream = stream_of(c, 0);
    return queued(c, stream ? c->backend->queue->join(stream, why) : 0, why);
}

clv_status clvi_comm_all_gather_arena(clvi_comm *c, void *x, size_t size)
{
    char why[CLVI_COMM_WHY] = "";
    if (alone(c) || size == 0) return CLV_OK;
    void *stream = stream_of(c, (size_t)(c->ranks - 1) * size);
    return queued(c, stream ? c->backend->queue->all_gather(x, size, stream, why) : 0, why);
}

clv_status clvi_comm_swap_arena(clvi_comm *c, int other, const void *x, void *y, size_t size)
{
    char why[CLVI_COMM_WHY] = "";
    if (!c->ctx->device) return clvi_comm_swap(c, other, x, y, size);
    void *stream = stream_of(c, size);
    return queued(c, stream ? c->backend->queue->swap(other, x, y, size, stream, why) : 0, why);
}

clv_status clvi_comm_all_reduce_arena(clvi_comm *c, void *x, int64_t n)
{
    if (alone(c)) return CLV_OK;
    return c->ctx->device ? clvi_comm_queue_sum(c, x, n, sizeof(float), false) : clvi_comm_all_reduce(c, x, n);
}

static clv_status sum_ranks(void *comm, clv_context *ctx, double *x, int64_t n)
{
    return ctx->device ? clvi_comm_queue_sum(comm, x, n, sizeof *x, false) : clvi_comm_all_reduce_f64(comm, x, n);
}
