/* comm.h: what the processes of a run (its ranks) say to each other. A run is alone, or was started by a launcher that
 * tells rank and address in the environment (mpirun, srun, torchrun); the words are then spoken by a back end, a
 * shared object of its own (train/comm/) that is opened at run time: MPI between processors, NCCL between GPUs.
 *
 * All ranks make the same calls in the same order. Sums are taken in the order of the ranks, so every rank gets the
 * same bits. NULL is accepted for a run that is alone: then every call returns at once. */
#ifndef CLVI_TRAIN_COMM_H
#define CLVI_TRAIN_COMM_H

#include "core/context.h"
#include "tensor/sync.h"
#include "train/comm/backend.h"

#define CLVI_COMM_BUCKET (INT64_C(1) << 20)   /* values that are summed at once */

typedef struct clvi_comm {
    clv_context *ctx;
    int          rank, ranks;
    int          local;                  /* which of the ranks of its machine */
    const clvi_comm_backend *backend;    /* NULL: alone */
    clvi_rank_sum sum;                   /* over it, for graphs */
    float       *send, *receive;         /* one bucket each */
    struct clvi_overlap *overlap;        /* of the sums that are made beside; NULL until the first */
    int64_t      bytes;                  /* sent by this rank so far */
    double       seconds, beside;        /* spent in calls so far; and on sums while their caller computed */
} clvi_comm;

/* Joins the ranks that the launcher started; `device` is the setting of that name. Errors: CLV_ERR_UNSUPPORTED (there
 * are ranks, but no back end for them), CLV_ERR_IO (they cannot be reached). */
clv_status clvi_comm_open(clv_context *ctx, const char *device, clvi_comm **out) CLV_NODISCARD;
/* failed: leaves without a word, as a process does that is killed, which makes the launcher end all ranks. */
void clvi_comm_close(clvi_comm *c, bool failed);

/* Each returns CLV_ERR_IO when a rank cannot be reached. */
/* x, of n values in host memory, becomes the sum over all ranks. */
clv_status clvi_comm_all_reduce(clvi_comm *c, float *x, int64_t n) CLV_NODISCARD;
/* The same beside what the caller does meanwhile (overlap.c): begin returns at once, end when all sums that were begun are
 * made. In between x is not touched, and no other of these functions is called. Ranks begin the same sums in the same
 * order. On a context's device both are queued, and what is queued after the end comes after the sums. */
clv_status clvi_comm_begin(clvi_comm *c, float *x, int64_t n) CLV_NODISCARD;
clv_status clvi_comm_end(clvi_comm *c) CLV_NODISCARD;
/* The same of a few values in double. */
clv_status clvi_comm_all_reduce_f64(clvi_comm *c, double *x, int64_t n) CLV_NODISCARD;
/* x [ranks, bytes]: this rank's part is there, the others' arrive. */
clv_status clvi_comm_all_gather(clvi_comm *c, void *x, size_t bytes) CLV_NODISCARD;
/* Gives `x` to another rank that makes the same call for this one, and gets its into `y`. */
clv_status clvi_comm_swap(clvi_comm *c, int other, const void *x, void *y, size_t bytes) CLV_NODISCARD;
/* x of rank 0 on every rank. */
clv_status clvi_comm_broadcast(clvi_comm *c, void *x, size_t bytes) CLV_NODISCARD;

/* Of memory of the context's device, where they are queued: */
clv_status clvi_comm_all_reduce_arena(clvi_comm *c, void *x, int64_t n) CLV_NODISCARD;
clv_status clvi_comm_all_gather_arena(clvi_comm *c, void *x, size_t bytes) CLV_NODISCARD;
clv_status clvi_comm_swap_arena(clvi_comm *c, int other, const void *x, void *y, size_t bytes) CLV_NODISCARD;
/* n values of `value` bytes, float or double; beside: as between begin and end, of which join is the end. For
 * overlap.c; not alone, on a device. */
clv_status clvi_comm_queue_sum(clvi_comm *c, void *x, int64_t n, size_t value, bool beside) CLV_NODISCARD;
clv_status clvi_comm_queue_join(clvi_comm *c) CLV_NODISCARD;

#endif
