/* backend.h: what a back end of train/comm/comm.h gives: a shared object that needs nothing from the library. */
#ifndef CLVI_TRAIN_COMM_BACKEND_H
#define CLVI_TRAIN_COMM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Raised whenever anything here changes: a back end of another number is refused. */
#define CLVI_COMM_ABI 5
#define CLVI_COMM_WHY 256

/* What ranks do with memory of their GPUs. It is queued, like a kernel, on `work`, the device's stream: after all that
 * was queued there before, and before all that is queued after. It may be recorded with it. */
typedef struct clvi_comm_queue {
    /* The sum of n values of `value` bytes, float or double, in place, the same bits on all ranks. beside: only what is
     * queued after the next join comes after it. */
    int (*sum)(void *x, int64_t n, size_t value, bool beside, void *work, char *why);
    int (*join)(void *work, char *why);
    int (*all_gather)(void *x, size_t size, void *work, char *why);               /* [ranks, size], in place */
    int (*swap)(int other, const void *from, void *to, size_t size, void *work, char *why);   /* as below */
    /* Called over and over while queued work is waited for. Not 0: another rank is lost, and it would never end. */
    int (*watch)(char *why);
} clvi_comm_queue;

/* Functions return 0, or say in `why` (CLVI_COMM_WHY bytes) what went wrong. One call at a time. Sizes in bytes, of one
 * rank's part; memory is the host's. */
typedef struct clvi_comm_backend {
    int         abi;
    const char *name;
    int  (*open)(int *rank, int *ranks, char *why);     /* a second time in a process: the same ranks again */
    void (*close)(bool failed);
    int  (*all_to_all)(const void *from, void *to, size_t size, char *why);      /* [ranks, size] each */
    int  (*all_gather)(void *x, size_t size, char *why);                          /* [ranks, size], in place */
    int  (*swap)(int other, const void *from, void *to, size_t size, char *why);  /* two ranks with each other */
    int  (*broadcast)(void *x, size_t size, char *why);                           /* from rank 0 */
    /* Whether calls that wait for other ranks leave the processor to others meanwhile, or are as quick as they can, as in
     * the beginning. The one function that may be called while another thread is in a call. */
    void (*gentle)(bool on);                               /* of ranks on processors */
    const clvi_comm_queue *queue;                          /* of ranks with GPUs; else NULL */
} clvi_comm_backend;

/* The one symbol a back end's shared object exports. */
typedef const clvi_comm_backend *clvi_comm_entry(void);
#define CLVI_COMM_ENTRY "clvi_comm_get"

#endif
