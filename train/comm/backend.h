/* backend.h: what a back end of train/comm/comm.h gives: a shared object that needs nothing from the library. */
#ifndef CLVI_TRAIN_COMM_BACKEND_H
#define CLVI_TRAIN_COMM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Raised whenever anything here changes: a back end of another number is refused. */
#define CLVI_COMM_ABI 3
#define CLVI_COMM_WHY 256

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
    void (*gentle)(bool on);
    /* The sum of n floats in the memory of the GPU, in place, the same bits on all ranks; NULL: cannot. */
    int  (*sum_on_device)(void *x, int64_t n, char *why);
} clvi_comm_backend;

/* The one symbol a back end's shared object exports. */
typedef const clvi_comm_backend *clvi_comm_entry(void);
#define CLVI_COMM_ENTRY "clvi_comm_get"

#endif
