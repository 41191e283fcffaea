/* nccl.c: ranks on GPUs, by NCCL. Only libcleave_nccl.so is linked with NCCL. What is in host memory (embeddings,
 * labels) goes through a buffer on the GPU; gradients are summed where they are. Ranks find each other by the launcher's
 * environment: their number and place, and where rank 0 tells the others NCCL's name for the run. */
#include "train/comm/backend.h"

#include <arpa/inet.h>
#include <cuda_runtime_api.h>
#include <errno.h>
#include <nccl.h>
#include <netdb.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 120 };              /* seconds that ranks wait for each other in the beginning */

static ncclComm_t   comm;
static cudaStream_t stream;
static int          my_rank, n_ranks;
static char        *send_buffer, *receive_buffer;     /* on the GPU, [ranks, room] */
static size_t       room;

/* ---- errors ---- */

static int cuda(cudaError_t error, const char *call, char *why)
{
    if (error != cudaSuccess) snprintf(why, CLVI_COMM_WHY, "%s: %.200s", call, cudaGetErrorString(error));
    return error != cudaSuccess;
}

static int nccl(ncclResult_t error, const char *call, char *why)
{
    if (error != ncclSuccess) snprintf(why, CLVI_COMM_WHY, "%s: %.200s", call, ncclGetErrorString(error));
    return error != ncclSuccess;
}

static int system_error(const char *call, char *why)
{
    snprintf(why, CLVI_COMM_WHY, "%s: %s", call, strerror(errno));
    return 1;
}

/* ---- finding each other ---- */

/* The first of these variables that is set: torchrun's, Open MPI's, Slurm's. */
/* 0 for what is no count. */
static int whole(const char *text)
{
    const long value = strtol(text, NULL, 10);
    return value >= 0 && value < INT_MAX ? (int)value : 0;
}

static int number(const char *torch, const char *mpi, const char *slurm, int otherwise)
{
    const char *const names[] = { torch, mpi, slurm };
    for (int i = 0; i < 3; i++)
        if (getenv(names[i])) return whole(getenv(names[i]));
    return otherwise;
}

/* torchrun listens at MASTER_PORT itself: the next one is ours. */
static int resolve(struct addrinfo **out, char *why)
{
    const char *address = getenv("MASTER_ADDR"), *port = getenv("MASTER_PORT");
    const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
    char service[16];
    snprintf(service, sizeof service, "%d", (port ? whole(port) : 29500) + 1);
    const int error = getaddrinfo(address ? address : "127.0.0.1", service, &hints, out);
    if (error) snprintf(why, CLVI_COMM_WHY, "MASTER_ADDR '%.80s': %s", address ? address : "", gai_strerror(error));
    return error != 0;
}

static int send_all(int fd, const void *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        const ssize_t n = send(fd, (const char *)data + at, size - at, MSG_NOSIGNAL);
        if (n <= 0) return 1;
        at += (size_t)n;
    }
    return 0;
}

/* Rank 0 tells every other rank, in the order they come. */
static int tell_id(const struct addrinfo *at, const ncclUniqueId *id, char *why)
{
    const int on = 1, fd = socket(at->ai_family, at->ai_socktype, 0);
    const struct timeval patience = { PATIENCE, 0 };
    if (fd < 0) return system_error("socket", why);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int failed = bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, n_ranks) != 0;
    for (int told = 1; told < n_ranks && !failed; told++) {
        const int other = accept(fd, NULL, NULL);
        failed = other < 0 || send_all(other, id, sizeof *id);
        if (other >= 0) close(other);
    }
    if (failed) (void)system_error("waiting for the other ranks", why);
    close(fd);
    return failed;
}

static int hear_id(const struct addrinfo *at, ncclUniqueId *id, char *why)
{
    for (int waited = 0; waited < PATIENCE; waited++) {
        const int fd = socket(at->ai_family, at->ai_socktype, 0);
        if (fd < 0) return system_error("socket", why);
        size_t heard = 0;
        if (connect(fd, at->ai_addr, at->ai_addrlen) == 0) {
            ssize_t n = 1;
            while (heard < sizeof *id && (n = recv(fd, (char *)id + heard, sizeof *id - heard, 0)) > 0)
                heard += (size_t)n;
        }
        close(fd);
        if (heard == sizeof *id) return 0;
        sleep(1);                                           /* rank 0 is not there yet */
    }
    snprintf(why, CLVI_COMM_WHY, "rank 0 was not heard of in %d s (MASTER_ADDR, MASTER_PORT)", PATIENCE);
    return 1;
}

static int join(char *why)
{
    ncclUniqueId id;
    struct addrinfo *at = NULL;
    if (my_rank == 0 && nccl(ncclGetUniqueId(&id), "ncclGetUniqueId", why)) return 1;
    if (resolve(&at, why)) return 1;
    const int failed = my_rank == 0 ? tell_id(at, &id, why) : hear_id(at, &id, why);
    freeaddrinfo(at);
    return failed || nccl(ncclCommInitRank(&comm, n_ranks, id, my_rank), "ncclCommInitRank", why);
}

static int nccl_open(int *rank, int *ranks, char *why)
{
    my_rank = number("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", 0);
    n_ranks = number("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", 1);
    const int local = number("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", 0);
    *rank = my_rank;
    *ranks = n_ranks;
    if (comm) return 0;
    if (cuda(cudaSetDevice(local), "cudaSetDevice", why) || join(why)) return 1;
    return cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate", why);
}

static void nccl_close(bool failed)
{
    if (failed && comm) (void)ncclCommAbort(comm);
    if (failed) comm = NULL;
}

/* ---- moving ---- */

static int reserve(size_t size, char *why)
{
    if (size <= room) return 0;
    cudaFree(send_buffer);
    cudaFree(receive_buffer);
    room = 0;
    if (cuda(cudaMalloc((void **)&send_buffer, size * (size_t)n_ranks), "cudaMalloc", why)) return 1;
    if (cuda(cudaMalloc((void **)&receive_buffer, size * (size_t)n_ranks), "cudaMalloc", why)) return 1;
    room = size;
    return 0;
}

static int up(void *to, const void *from, size_t size, char *why)
{
    return cuda(cudaMemcpyAsync(to, from, size, cudaMemcpyHostToDevice, stream), "cudaMemcpy", why);
}

static int down(void *to, const void *from, size_t size, char *why)
{
    if (cuda(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToHost, stream), "cudaMemcpy", why)) return 1;
    return cuda(cudaStreamSynchronize(stream), "cudaStreamSynchronize", why);
}

static int nccl_all_to_all(const void *from, void *to, size_t size, char *why)
{
    const size_t all = size * (size_t)n_ranks;
    if (reserve(size, why) || up(send_buffer, from, all, why)) return 1;
    if (nccl(ncclGroupStart(), "ncclGroupStart", why)) return 1;
    for (int r = 0; r < n_ranks; r++) {
        const size_t at = (size_t)r * size;
        if (nccl(ncclSend(send_buffer + at, size, ncclUint8, r, comm, stream), "ncclSend", why)) return 1;
        if (nccl(ncclRecv(receive_buffer + at, size, ncclUint8, r, comm, stream), "ncclRecv", why)) return 1;
    }
    return nccl(ncclGroupEnd(), "ncclGroupEnd", why) || down(to, receive_buffer, all, why);
}

static int nccl_all_gather(void *x, size_t size, char *why)
{
    const char *mine = (const char *)x + (size_t)my_rank * size;
    if (reserve(size, why) || up(send_buffer, mine, size, why)) return 1;
    if (nccl(ncclAllGather(send_buffer, receive_buffer, size, ncclUint8, comm, stream), "ncclAllGather", why)) return 1;
    return down(x, receive_buffer, size * (size_t)n_ranks, why);
}

static int nccl_swap(int other, const void *from, void *to, size_t size, char *why)
{
    if (reserve(size, why) || up(send_buffer, from, size, why)) return 1;
    if (nccl(ncclGroupStart(), "ncclGroupStart", why)) return 1;
    if (nccl(ncclSend(send_buffer, size, ncclUint8, other, comm, stream), "ncclSend", why)) return 1;
    if (nccl(ncclRecv(receive_buffer, size, ncclUint8, other, comm, stream), "ncclRecv", why)) return 1;
    return nccl(ncclGroupEnd(), "ncclGroupEnd", why) || down(to, receive_buffer, size, why);
}

static int nccl_broadcast(void *x, size_t size, char *why)
{
    if (reserve(size, why) || up(send_buffer, x, size, why)) return 1;
    if (nccl(ncclBroadcast(send_buffer, receive_buffer, size, ncclUint8, 0, comm, stream), "ncclBroadcast", why))
        return 1;
    return down(x, receive_buffer, size, why);
}

/* Whoever filled x has been waited for; this waits for the sum. */
static int nccl_sum_on_device(void *x, int64_t n, char *why)
{
    if (nccl(ncclAllReduce(x, x, (size_t)n, ncclFloat32, ncclSum, comm, stream), "ncclAllReduce", why)) return 1;
    return cuda(cudaStreamSynchronize(stream), "cudaStreamSynchronize", why);
}

static const clvi_comm_backend backend = {
    .abi = CLVI_COMM_ABI, .name = "NCCL", .open = nccl_open, .close = nccl_close, .all_to_all = nccl_all_to_all,
    .all_gather = nccl_all_gather, .swap = nccl_swap, .broadcast = nccl_broadcast,
    .sum_on_device = nccl_sum_on_device,
};

__attribute__((visibility("default"))) const clvi_comm_backend *clvi_comm_get(void);
const clvi_comm_backend *clvi_comm_get(void)
{
    return &backend;
}
