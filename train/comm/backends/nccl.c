/* nccl.c: ranks on GPUs, by NCCL. Only libcleave_nccl.so is linked with NCCL. What lies on a GPU is summed and gathered
 * there, queued between the kernels of the device's stream or on a stream beside it. What lies in the host's memory
 * goes through a buffer on the GPU, if it is much, or along the lines by which ranks found each other (lines.h), which
 * also tell when one is lost: NCCL itself would wait. */
#include "train/comm/backend.h"
#include "train/comm/backends/lines.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT = 1 << 16 };             /* bytes of all ranks together that go along the lines */

static ncclComm_t   comm;             /* NULL: not open, or lost */
static cudaStream_t beside;
static cudaEvent_t  ready, done;      /* what a sum beside waits for; the last of them */
static int          my_rank, n_ranks;
static char        *send_buffer, *receive_buffer;     /* on the GPU, [ranks, room] */
static size_t       room;
static char         fate[CLVI_COMM_WHY];              /* why the ranks are lost; "" while they are not */

/* ---- errors ---- */

static int cuda(cudaError_t error, const char *call, char *why)
{
    if (error != cudaSuccess) snprintf(why, CLVI_COMM_WHY, "%s: %.200s", call, cudaGetErrorString(error));
    return error != cudaSuccess;
}

/* NCCL's operations end with the communicator, and whoever waits for them goes on. */
static int lose(const char *text, char *why)
{
    if (!fate[0]) snprintf(fate, sizeof fate, "%s", text);
    if (comm) (void)ncclCommAbort(comm);
    comm = NULL;
    snprintf(why, CLVI_COMM_WHY, "%s", fate);
    return 1;
}

/* A call that failed because another rank has gone says so. */
static int nccl(ncclResult_t error, const char *call, char *why)
{
    char text[CLVI_COMM_WHY];
    if (error == ncclSuccess) return 0;
    if (lines_lost(text)) return lose(text, why);
    const char *last = comm ? ncclGetLastError(comm) : NULL;
    snprintf(text, sizeof text, "%s: %.80s%s%.120s", call, ncclGetErrorString(error), last && last[0] ? ": " : "",
             last ? last : "");
    return lose(text, why);
}

static int is_open(char *why)
{
    if (comm) return 0;
    snprintf(why, CLVI_COMM_WHY, "%s", fate[0] ? fate : "the ranks have not met");
    return 1;
}

/* What NCCL and the lines know of the other ranks. */
static int nccl_watch(char *why)
{
    ncclResult_t state = ncclSuccess;
    char text[CLVI_COMM_WHY];
    if (is_open(why)) return 1;
    if (!lines_are_due()) return 0;
    if (lines_lost(text)) return lose(text, why);
    return nccl(ncclCommGetAsyncError(comm, &state), "ncclCommGetAsyncError", why) ||
           nccl(state, "another rank, or the way to it", why);
}

/* ---- joining ---- */

/* The first of these variables that is set: torchrun's, Open MPI's, Slurm's. */
static int number(const char *torch, const char *mpi, const char *slurm, int otherwise)
{
    const char *const names[] = { torch, mpi, slurm };
    for (int i = 0; i < 3; i++)
        if (getenv(names[i])) return lines_number(getenv(names[i]));
    return otherwise;
}

static int join_all(char *why)
{
    ncclUniqueId id;
    memset(&id, 0, sizeof id);
    if (my_rank == 0 && nccl(ncclGetUniqueId(&id), "ncclGetUniqueId", why)) return 1;
    if (lines_open(my_rank, n_ranks, why) || lines_broadcast(&id, sizeof id, why)) return 1;
    return nccl(ncclCommInitRank(&comm, n_ranks, id, my_rank), "ncclCommInitRank", why);
}

static int nccl_open(int *rank, int *ranks, char *why)
{
    my_rank = number("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", 0);
    n_ranks = number("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", 1);
    const int local = number("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", 0);
    *rank = my_rank;
    *ranks = n_ranks;
    if (comm) return 0;
    if (fate[0]) return is_open(why);
    if (my_rank >= n_ranks) {
        snprintf(why, CLVI_COMM_WHY, "the launcher says rank %d of %d", my_rank, n_ranks);
        return 1;
    }
    return cuda(cudaSetDevice(local), "cudaSetDevice", why) || join_all(why) ||
           cuda(cudaStreamCreateWithFlags(&beside, cudaStreamNonBlocking), "cudaStreamCreate", why) ||
           cuda(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming), "cudaEventCreate", why) ||
           cuda(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "cudaEventCreate", why);
}

/* Otherwise the ranks stay together until the process ends, which says goodbye. */
static void nccl_close(bool failed)
{
    char why[CLVI_COMM_WHY];
    if (!failed) return;
    (void)lose("this rank has failed", why);
    lines_close();
}

/* ---- queued work ---- */

static int nccl_sum(void *x, int64_t n, size_t value, bool aside, void *work, char *why)
{
    const ncclDataType_t type = value == sizeof(double) ? ncclFloat64 : ncclFloat32;
    const cudaStream_t stream = aside ? beside : (cudaStream_t)work;
    if (is_open(why)) return 1;
    if (aside && (cuda(cudaEventRecord(ready, (cudaStream_t)work), "cudaEventRecord", why) ||
                  cuda(cudaStreamWaitEvent(beside, ready, 0), "cudaStreamWaitEvent", why)))
        return 1;
    return nccl(ncclAllReduce(x, x, (size_t)n, type, ncclSum, comm, stream), "ncclAllReduce", why);
}

static int nccl_join(void *work, char *why)
{
    return cuda(cudaEventRecord(done, beside), "cudaEventRecord", why) ||
           cuda(cudaStreamWaitEvent((cudaStream_t)work, done, 0), "cudaStreamWaitEvent", why);
}

static int nccl_gather(void *x, size_t size, void *work, char *why)
{
    const char *mine = (const char *)x + (size_t)my_rank * size;
    return is_open(why) ||
           nccl(ncclAllGather(mine, x, size, ncclUint8, comm, (cudaStream_t)work), "ncclAllGather", why);
}

static int nccl_exchange(int other, const void *from, void *to, size_t size, void *work, char *why)
{
    const cudaStream_t stream = (cudaStream_t)work;
    if (is_open(why) || nccl(ncclGroupStart(), "ncclGroupStart", why)) return 1;
    if (nccl(ncclSend(from, size, ncclUint8, other, comm, stream), "ncclSend", why)) return 1;
    if (nccl(ncclRecv(to, size, ncclUint8, other, comm, stream), "ncclRecv", why)) return 1;
    return nccl(ncclGroupEnd(), "ncclGroupEnd", why);
}

/* ---- what lies in the host's memory ---- */

static int reserve(size_t size, char *why)
{
    if (is_open(why)) return 1;
    if (size <= room) return 0;
    cudaFree(send_buffer);
    cudaFree(receive_buffer);
    send_buffer = receive_buffer = NULL;
    room = 0;
    if (cuda(cudaMalloc((void **)&send_buffer, size * (size_t)n_ranks), "cudaMalloc", why)) return 1;
    if (cuda(cudaMalloc((void **)&receive_buffer, size * (size_t)n_ranks), "cudaMalloc", why)) return 1;
    room = size;
    return 0;
}

static int up(void *to, const void *from, size_t size, char *why)
{
    return cuda(cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice, beside), "cudaMemcpy", why);
}

/* Waits for the operation, then copies: a copy into memory like the host's would wait itself, and see nothing. */
static int down(void *to, const void *from, size_t size, char *why)
{
    cudaError_t state;
    while ((state = cudaStreamQuery(beside)) == cudaErrorNotReady) {
        (void)cudaGetLastError();
        if (nccl_watch(why)) return 1;
    }
    return cuda(state, "cudaStreamQuery", why) ||
           cuda(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, beside), "cudaMemcpy", why) ||
           cuda(cudaStreamSynchronize(beside), "cudaStreamSynchronize", why);
}

static int nccl_all_to_all(const void *from, void *to, size_t size, char *why)
{
    const size_t all = size * (size_t)n_ranks;
    if (reserve(size, why) || up(send_buffer, from, all, why)) return 1;
    if (nccl(ncclGroupStart(), "ncclGroupStart", why)) return 1;
    for (int r = 0; r < n_ranks; r++) {
        const size_t at = (size_t)r * size;
        if (nccl(ncclSend(send_buffer + at, size, ncclUint8, r, comm, beside), "ncclSend", why)) return 1;
        if (nccl(ncclRecv(receive_buffer + at, size, ncclUint8, r, comm, beside), "ncclRecv", why)) return 1;
    }
    return nccl(ncclGroupEnd(), "ncclGroupEnd", why) || down(to, receive_buffer, all, why);
}

static int nccl_all_gather(void *x, size_t size, char *why)
{
    const char *mine = (const char *)x + (size_t)my_rank * size;
    const size_t all = size * (size_t)n_ranks;
    if (is_open(why)) return 1;
    if (all <= SHORT) return lines_gather(x, size, why) ? lose(why, why) : 0;
    if (reserve(size, why) || up(send_buffer, mine, size, why)) return 1;
    if (nccl(ncclAllGather(send_buffer, receive_buffer, size, ncclUint8, comm, beside), "ncclAllGather", why)) return 1;
    return down(x, receive_buffer, all, why);
}

static int nccl_swap(int other, const void *from, void *to, size_t size, char *why)
{
    return reserve(size, why) || up(send_buffer, from, size, why) ||
           nccl_exchange(other, send_buffer, receive_buffer, size, beside, why) || down(to, receive_buffer, size, why);
}

static int nccl_broadcast(void *x, size_t size, char *why)
{
    if (is_open(why)) return 1;
    if (size <= SHORT) return lines_broadcast(x, size, why) ? lose(why, why) : 0;
    if (reserve(size, why) || up(send_buffer, x, size, why)) return 1;
    if (nccl(ncclBroadcast(send_buffer, receive_buffer, size, ncclUint8, 0, comm, beside), "ncclBroadcast", why))
        return 1;
    return down(x, receive_buffer, size, why);
}

static const clvi_comm_queue queue = {
    .sum = nccl_sum, .join = nccl_join, .all_gather = nccl_gather, .swap = nccl_exchange, .watch = nccl_watch,
};

static const clvi_comm_backend backend = {
    .abi = CLVI_COMM_ABI, .name = "NCCL", .open = nccl_open, .close = nccl_close, .all_to_all = nccl_all_to_all,
    .all_gather = nccl_all_gather, .swap = nccl_swap, .broadcast = nccl_broadcast, .queue = &queue,
};

__attribute__((visibility("default"))) const clvi_comm_backend *clvi_comm_get(void);
const clvi_comm_backend *clvi_comm_get(void)
{
    return &backend;
}
