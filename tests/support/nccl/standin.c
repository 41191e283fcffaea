/* standin.c: in the place of NCCL and the CUDA runtime, what train/comm/backends/nccl.c calls of them, with the
 * prototypes of their own headers: ranks are processes of one machine with a shared file, their GPUs the emulator.
 *
 * The device's stream is the emulator's, which runs what it is given at once; a stream made here keeps what it is
 * given, and operations end as late as they may: when the device's stream waits for an event behind them, or somebody asks for
 * the stream. With STANDIN_EARLY in the environment they end at once. Memory of the emulator that another stream works
 * on must be handed to it: an event of the device's stream, after which nothing was queued, has been waited for.
 * Operations are recorded with what else the device records. Ranks that do not make the same calls are an error.
 *
 * STANDIN_FAIL=N: the N-th sum is an error of the call. STANDIN_HANG=N: it never ends, and NCCL tells of an error
 * beside. */
#include "device/backend.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RANKS = 4, CHUNK = 1 << 18, MAIL = 1 << 16, OPS = 256, PARTS = 2 * RANKS, BUFFERS = 8 };

/* device/cuda/emu.h, for C */
clv_status clvi_emu_run(clvi_device *device, const char *name, void (*call)(void *), void *body, size_t size);
int64_t clvi_emu_queued(clvi_device *device);

typedef enum kind { SUM, GATHER, BROADCAST, EXCHANGE } kind;

/* What a rank says of its operation. */
typedef struct notice {
    kind   kind;
    size_t size;
    int    type, root;
} notice;

typedef struct shared {
    atomic_int  here;
    atomic_long posted[RANKS], taken[RANKS];          /* chunks */
    notice      said[RANKS];
    char        chunk[RANKS][CHUNK];
    struct {
        atomic_size_t size;                           /* 0: empty */
        char          data[MAIL];
    }           mail[RANKS][RANKS];                   /* from, to */
} shared;

/* A message of a group. */
typedef struct part {
    bool   send;
    int    peer;
    char  *data;
    size_t size, at;
} part;

typedef struct op {
    notice what;
    const char *from;
    char  *to;
    size_t at;                                        /* of what.size */
    bool   posted, hangs;
    part   part[PARTS];
    int    parts;
} op;

struct ncclComm {
    shared *all;
    int     rank, ranks;
    long    chunks;
    bool    aborted, broken;                          /* broken: it tells of an error beside */
};

struct CUstream_st {
    op      waiting[OPS];
    int     first, n;                                 /* a ring */
    int64_t seen;                                     /* how much of the device's stream it comes after */
};

struct CUevent_st {
    cudaStream_t of;
    int64_t      after;
};

static struct ncclComm the_comm;
static struct CUstream_st own;                        /* nccl.c makes one */
static struct CUevent_st events[2];
static int n_events, n_sums, group, n_buffers;
static op grouped;
static cudaStream_t grouped_on;
static struct { char *at; size_t size; } buffers[BUFFERS];
static clvi_device *device;                           /* once its stream was named */

static void die(const char *text)
{
    fprintf(stderr, "standin: %s\n", text);
    abort();
}

static int told(const char *variable)
{
    const char *text = getenv(variable);
    return text ? atoi(text) : 0;
}

static void nap(void)
{
    const struct timespec t = { 0, 50000 };
    nanosleep(&t, NULL);
}

/* ---- operations ---- */

static bool all_reached(const atomic_long *count, long number)
{
    for (int r = 0; r < the_comm.ranks; r++)
        if (atomic_load(&count[r]) < number) return false;
    return true;
}

/* In the order of the ranks. */
static void add(op *o, size_t size)
{
    const size_t value = o->what.type == ncclFloat64 ? sizeof(double) : sizeof(float);
    for (size_t i = 0; i < size / value; i++) {
        double d = 0;
        float f = 0;
        for (int r = 0; r < the_comm.ranks; r++) {
            if (value == sizeof d) d += ((const double *)the_comm.all->chunk[r])[i];
            else f += ((const float *)the_comm.all->chunk[r])[i];
        }
        if (value == sizeof d) memcpy(o->to + o->at + i * value, &d, value);
        else memcpy(o->to + o->at + i * value, &f, value);
    }
}

static void take(op *o, size_t size)
{
    for (int r = 0; r < the_comm.ranks; r++)
        if (memcmp(&the_comm.all->said[r], &o->what, sizeof o->what) != 0) die("ranks make different calls");
    if (o->what.kind == SUM) add(o, size);
    else if (o->what.kind == BROADCAST) memcpy(o->to + o->at, the_comm.all->chunk[o->what.root], size);
    for (int r = 0; r < the_comm.ranks && o->what.kind == GATHER; r++)
        memcpy(o->to + (size_t)r * o->what.size + o->at, the_comm.all->chunk[r], size);
}

/* As far as the other ranks let it; true once it is done. */
static bool go_on(op *o)
{
    shared *s = the_comm.all;
    const int me = the_comm.rank;
    while (o->at < o->what.size) {
        const size_t size = o->what.size - o->at < CHUNK ? o->what.size - o->at : CHUNK;
        if (!o->posted) {
            if (!all_reached(s->taken, the_comm.chunks)) return false;
            memcpy(s->chunk[me], o->from + o->at, size);
            memcpy(&s->said[me], &o->what, sizeof o->what);
            atomic_store(&s->posted[me], ++the_comm.chunks);
            o->posted = true;
        }
        if (!all_reached(s->posted, the_comm.chunks)) return false;
        take(o, size);
        atomic_store(&s->taken[me], the_comm.chunks);
        o->at += size;
        o->posted = false;
    }
    return true;
}

static bool move(part *p)
{
    const int me = the_comm.rank;
    while (p->at < p->size) {
        atomic_size_t *full = p->send ? &the_comm.all->mail[me][p->peer].size : &the_comm.all->mail[p->peer][me].size;
        char *data = p->send ? the_comm.all->mail[me][p->peer].data : the_comm.all->mail[p->peer][me].data;
        const size_t size = p->size - p->at < MAIL ? p->size - p->at : MAIL, there = atomic_load(full);
        if (p->send ? there != 0 : there == 0) return false;
        if (!p->send && there != size) die("a message has another size than is received");
        memcpy(p->send ? data : p->data + p->at, p->send ? p->data + p->at : data, size);
        atomic_store(full, p->send ? size : 0);
        p->at += size;
    }
    return true;
}

static bool exchange(op *o)
{
    bool done = true;
    for (int i = 0; i < o->parts; i++) done = move(&o->part[i]) && done;
    return done;
}

static bool run_on(op *o)
{
    if (the_comm.aborted) return true;
    if (o->hangs) return false;
    return o->what.kind == EXCHANGE ? exchange(o) : go_on(o);
}

/* As the device does it: whoever waits for it meanwhile watches, and gives up when nothing comes any more. */
static void run_to_end(op *o)
{
    while (!run_on(o)) {
        nap();
        const clv_status st = device && device->watch ? device->watch(device->watch_user) : CLV_OK;
        if (st != CLV_OK) clvi_device_note(device, st);
    }
}

static void run_waiting(cudaStream_t stream)
{
    for (; stream->n > 0; stream->n--) {
        run_to_end(&stream->waiting[stream->first]);
        stream->first = (stream->first + 1) % OPS;
    }
}

/* ---- what is queued ---- */

typedef struct queued {
    op           o;
    cudaStream_t stream;                              /* NULL: the device's */
} queued;

static void reach(void *body)
{
    queued *q = body;
    if (!q->stream) {
        op o = q->o;
        run_to_end(&o);
        return;
    }
    if (q->stream->n == OPS) die("too many operations wait");
    q->stream->waiting[(q->stream->first + q->stream->n++) % OPS] = q->o;
    if (getenv("STANDIN_EARLY")) run_waiting(q->stream);
}

static void reach_event(void *body)
{
    run_waiting(*(cudaStream_t *)body);
}

static bool is_own_stream(cudaStream_t stream)
{
    return stream == &own;
}

static bool is_buffer(const void *at)
{
    const char *p = at;
    for (int i = 0; i < n_buffers; i++)
        if (buffers[i].at && p >= buffers[i].at && p < buffers[i].at + buffers[i].size) return true;
    return false;
}

static ncclResult_t queue(op *o, cudaStream_t stream)
{
    queued q = { *o, is_own_stream(stream) ? stream : NULL };
    if (!is_own_stream(stream)) device = (clvi_device *)stream;
    if (q.stream && o->parts == 0 && is_buffer(o->to)) {                /* buffers of nccl.c: the host's business */
        reach(&q);
        return ncclSuccess;
    }
    if (q.stream && o->parts > 0) {
        reach(&q);
        return ncclSuccess;
    }
    if (!device) die("memory of a device whose stream was never named");
    if (q.stream && own.seen != clvi_emu_queued(device))
        die("an operation beside the device's stream does not wait for what was queued there");
    return clvi_emu_run(device, "nccl", reach, &q, sizeof q) == CLV_OK ? ncclSuccess : ncclUnhandledCudaError;
}

static ncclResult_t collective(kind k, const void *from, void *to, size_t size, int type, int root, ncclComm_t comm,
                               cudaStream_t stream)
{
    op o;
    memset(&o, 0, sizeof o);
    if (comm != &the_comm || the_comm.aborted) return ncclInvalidUsage;
    o.what.kind = k;
    o.what.size = size;
    o.what.type = type;
    o.what.root = root;
    o.from = from;
    o.to = to;
    if (k == SUM && ++n_sums == told("STANDIN_FAIL")) return ncclSystemError;
    o.hangs = k == SUM && n_sums == told("STANDIN_HANG");
    the_comm.broken = the_comm.broken || o.hangs;
    return queue(&o, stream);
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t how,
                           ncclComm_t comm, cudaStream_t stream)
{
    if (how != ncclSum || (type != ncclFloat32 && type != ncclFloat64)) return ncclInvalidArgument;
    return collective(SUM, from, to, count * (type == ncclFloat64 ? 8 : 4), (int)type, 0, comm, stream);
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream)
{
    return type == ncclUint8 ? collective(GATHER, from, to, count, (int)type, 0, comm, stream) : ncclInvalidArgument;
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream)
{
    return type == ncclUint8 ? collective(BROADCAST, from, to, count, (int)type, root, comm, stream)
                             : ncclInvalidArgument;
}

/* All of a group are of one stream. */
static ncclResult_t message(bool send, void *data, size_t size, ncclDataType_t type, int peer, ncclComm_t comm,
                            cudaStream_t stream)
{
    if (!group || comm != &the_comm || type != ncclUint8 || grouped.parts == PARTS) return ncclInvalidUsage;
    if (grouped.parts > 0 && stream != grouped_on) return ncclInvalidUsage;
    grouped_on = stream;
    grouped.part[grouped.parts++] = (part){ .send = send, .peer = peer, .data = data, .size = size };
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    return message(true, (void *)(uintptr_t)data, count, type, peer, comm, stream);
}

ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    return message(false, data, count, type, peer, comm, stream);
}

ncclResult_t ncclGroupStart(void)
{
    memset(&grouped, 0, sizeof grouped);
    grouped.what.kind = EXCHANGE;
    group++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (group != 1) return ncclInvalidUsage;
    group--;
    return queue(&grouped, grouped_on);
}

/* ---- communicators ---- */

/* The name of the file. */
ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    const char *folder = getenv("TMPDIR");
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "%s/standin-XXXXXX", folder ? folder : "/tmp");
    const int fd = mkstemp(id->internal);
    if (fd < 0 || ftruncate(fd, (off_t)sizeof(shared)) != 0) return ncclSystemError;
    close(fd);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    const int fd = open(id.internal, O_RDWR | O_CLOEXEC);
    if (ranks > RANKS || fd < 0) return ncclSystemError;
    shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (s == MAP_FAILED) return ncclSystemError;
    the_comm = (struct ncclComm){ .all = s, .rank = rank, .ranks = ranks };
    atomic_fetch_add(&s->here, 1);
    while (atomic_load(&s->here) < ranks) nap();
    if (rank == 0) unlink(id.internal);
    *comm = &the_comm;
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    comm->aborted = true;
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    *error = comm->broken ? ncclRemoteError : ncclSuccess;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t error)
{
    if (error == ncclSystemError) return "unhandled system error";
    return error == ncclRemoteError ? "remote process exited" : "misuse";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "the stand-in was told to fail";
}

/* ---- the CUDA runtime ---- */

cudaError_t cudaSetDevice(int ordinal)
{
    return ordinal < RANKS ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorInvalidDevice ? "invalid device ordinal" : "misuse";
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *stream = &own;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    if (n_events == 2 || flags != cudaEventDisableTiming) return cudaErrorInvalidValue;
    *event = &events[n_events++];
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->of = stream;
    if (!is_own_stream(stream)) device = (clvi_device *)stream;
    if (!is_own_stream(stream)) event->after = clvi_emu_queued(device);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    if (flags != 0 || !event->of) return cudaErrorInvalidValue;
    if (is_own_stream(stream)) {
        stream->seen = event->after;
        return cudaSuccess;
    }
    cudaStream_t other = event->of;
    return clvi_emu_run((clvi_device *)stream, "event", reach_event, &other, sizeof other) == CLV_OK ? cudaSuccess
                                                                                                     : cudaErrorUnknown;
}

/* Something is always still to be done when one asks for the first time. */
cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    if (stream->n == 0) return cudaSuccess;
    nap();
    if (run_on(&stream->waiting[stream->first])) {
        stream->first = (stream->first + 1) % OPS;
        stream->n--;
    }
    return cudaErrorNotReady;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    run_waiting(stream);
    return cudaSuccess;
}

/* Out of the reach of nobody: they hold what the host has, too. */
cudaError_t cudaMalloc(void **out, size_t size)
{
    int i = 0;
    while (i < n_buffers && buffers[i].at) i++;
    if (i == BUFFERS || !(*out = malloc(size))) return cudaErrorMemoryAllocation;
    buffers[i].at = *out;
    buffers[i].size = size;
    if (i == n_buffers) n_buffers++;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    for (int i = 0; i < n_buffers; i++)
        if (buffers[i].at == memory) buffers[i].at = NULL;
    free(memory);
    return cudaSuccess;
}

/* What is copied up is read now, and what an operation behind it reads is there. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind how, cudaStream_t stream)
{
    if (!is_own_stream(stream) || (how != cudaMemcpyHostToDevice && how != cudaMemcpyDeviceToHost))
        return cudaErrorInvalidValue;
    run_waiting(stream);
    memcpy(to, from, size);
    return cudaSuccess;
}
