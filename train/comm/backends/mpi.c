/* mpi.c: ranks on processors, by MPI. Only libcleave_mpi.so is linked with MPI. */
#include "train/comm/backend.h"

#include <limits.h>
#include <mpi.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { NAP = 50000 };                      /* nanoseconds between two looks, while waiting gently */

static bool abandoned;                     /* leave without MPI_Finalize, which would wait for the others */
static atomic_bool gentle;

static int check(int error, const char *call, char *why)
{
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    if (error == MPI_SUCCESS) return 0;
    MPI_Error_string(error, text, &length);
    snprintf(why, CLVI_COMM_WHY, "%s: %.200s", call, text);
    return 1;
}

/* The largest piece that MPI, which counts in int, is given at once. */
static int too_large(size_t size, char *why)
{
    if (size <= INT_MAX) return 0;
    snprintf(why, CLVI_COMM_WHY, "%zu bytes of a rank at once; MPI takes %d", size, INT_MAX);
    return 1;
}

static void finalize(void)
{
    int done = 0;
    MPI_Finalized(&done);
    if (!done && !abandoned) MPI_Finalize();
}

static int mpi_open(int *rank, int *ranks, char *why)
{
    int started = 0, level = 0;
    MPI_Initialized(&started);
    if (!started) {
        if (check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level), "MPI_Init_thread", why)) return 1;
        atexit(finalize);
    }
    MPI_Query_thread(&level);
    if (level < MPI_THREAD_SERIALIZED) {
        snprintf(why, CLVI_COMM_WHY, "this MPI may be called by one thread only");
        return 1;
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, rank);
    MPI_Comm_size(MPI_COMM_WORLD, ranks);
    return 0;
}

static void mpi_close(bool failed)
{
    abandoned = abandoned || failed;
}

static void mpi_gentle(bool on)
{
    atomic_store(&gentle, on);
}

/* MPI's own wait polls without a pause, and would take a core from those who compute. */
static int wait_for(MPI_Request *request, const char *call, char *why)
{
    const struct timespec nap = { 0, NAP };
    while (atomic_load(&gentle)) {
        int done = 0;
        if (check(MPI_Test(request, &done, MPI_STATUS_IGNORE), call, why)) return 1;
        if (done) return 0;
        nanosleep(&nap, NULL);
    }
    return check(MPI_Wait(request, MPI_STATUS_IGNORE), call, why);
}

static int mpi_all_to_all(const void *from, void *to, size_t size, char *why)
{
    MPI_Request request;
    if (too_large(size, why)) return 1;
    return check(MPI_Ialltoall(from, (int)size, MPI_BYTE, to, (int)size, MPI_BYTE, MPI_COMM_WORLD, &request),
                 "MPI_Ialltoall", why) || wait_for(&request, "MPI_Ialltoall", why);
}

static int mpi_all_gather(void *x, size_t size, char *why)
{
    MPI_Request request;
    if (too_large(size, why)) return 1;
    return check(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, x, (int)size, MPI_BYTE, MPI_COMM_WORLD, &request),
                 "MPI_Iallgather", why) || wait_for(&request, "MPI_Iallgather", why);
}

static int mpi_swap(int other, const void *from, void *to, size_t size, char *why)
{
    if (too_large(size, why)) return 1;
    return check(MPI_Sendrecv(from, (int)size, MPI_BYTE, other, 0, to, (int)size, MPI_BYTE, other, 0, MPI_COMM_WORLD,
                              MPI_STATUS_IGNORE), "MPI_Sendrecv", why);
}

static int mpi_broadcast(void *x, size_t size, char *why)
{
    if (too_large(size, why)) return 1;
    return check(MPI_Bcast(x, (int)size, MPI_BYTE, 0, MPI_COMM_WORLD), "MPI_Bcast", why);
}

static const clvi_comm_backend backend = {
    .abi = CLVI_COMM_ABI, .name = "MPI", .open = mpi_open, .close = mpi_close, .all_to_all = mpi_all_to_all,
    .all_gather = mpi_all_gather, .swap = mpi_swap, .broadcast = mpi_broadcast,
    .gentle = mpi_gentle,
};

__attribute__((visibility("default"))) const clvi_comm_backend *clvi_comm_get(void);
const clvi_comm_backend *clvi_comm_get(void)
{
    return &backend;
}
