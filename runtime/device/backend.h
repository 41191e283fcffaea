/* backend.h: what a device that is not the host gives: memory, copies, and a table of kernels.
 *
 * A backend is a shared object opened at run time (libcleave_cuda.so), so that one build of the library runs with and
 * without it; the emulator of the tests is one, too. It sees the library only through clvi_backend_host. */
#ifndef CLVI_DEVICE_BACKEND_H
#define CLVI_DEVICE_BACKEND_H

#include "device/device.h"
#include "device/flat.h"
#include "device/pixels.h"
#include "device/rows.h"
#include "device/verdict.h"
#include <stdarg.h>

/* Raised whenever anything here, in device.h or in attr.h changes: a backend of another number is refused. */
#define CLVI_BACKEND_ABI 16

typedef struct clvi_device clvi_device;
typedef struct clvi_recording clvi_recording;     /* the backend's own */

/* What the library does for a backend. */
typedef struct clvi_backend_host {
    clv_status (*vfail)(clv_status status, const char *fmt, va_list args);
    void *(*calloc)(clv_context *ctx, size_t count, size_t size);
    void (*free)(clv_context *ctx, void *memory);
} clvi_backend_host;

/* CLVI_COPY_LATER: to memory of alloc_host, there once the slot at work has been reached. */
typedef enum clvi_copy { CLVI_COPY_TO_DEVICE, CLVI_COPY_TO_HOST, CLVI_COPY_ON_DEVICE, CLVI_COPY_LATER } clvi_copy;

enum { CLVI_SLOTS = 2 };

/* What passes over flat arenas are told. It lies on the device, and they read it when they run: what changes from
 * step to step reaches them through memory. */
typedef struct clvi_flat_sgd_told { clvi_flat_sgd_args sgd; clvi_flat_rate rate; } clvi_flat_sgd_told;
typedef struct clvi_flat_adam_told { clvi_flat_adam_args adam; clvi_flat_rate rate; } clvi_flat_adam_told;
typedef struct clvi_flat_mix_told { double a, b; } clvi_flat_mix_told;       /* y = a x + b y */

/* Passes over flat arenas, as device/flat.h has them, followers included; those that write heed the device's
 * verdict. Sums go to two numbers on the device; they are added up in chunks, with the two sums of each in the
 * device's `sums`. */
typedef struct clvi_flat_passes {
    /* SGD and LARS; v NULL: without momentum. */
    clv_status (*sgd)(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *g, void *v,
                      const clvi_flat_sgd_told *told);
    clv_status (*mix)(clvi_device *device, clv_dtype dtype, int64_t n, const void *x, void *y,
                      const clvi_flat_mix_told *told);
    clv_status (*adamw)(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *g, void *m, void *v,
                        const clvi_flat_adam_told *told);
    clv_status (*lamb)(clvi_device *device, clv_dtype dtype, int64_t n, void *w, const void *m, const void *v,
                       const clvi_flat_adam_told *told);
    /* The sum of squares and the number of entries that are not finite. */
    clv_status (*measure)(clvi_device *device, clv_dtype dtype, int64_t n, const void *x, double *sum);
    clv_status (*norms2)(clvi_device *device, clv_dtype dtype, int64_t n, const void *w, const void *g,
                         double weight_decay, double *sum);
    clv_status (*lamb_moments)(clvi_device *device, clv_dtype dtype, int64_t n, const void *w, const void *g, void *m,
                               void *v, const clvi_flat_adam_told *told, double *sum);
} clvi_flat_passes;

/* What else a step does on the device (device/verdict.h, device/rows.h). `order`, `pass` (NULL: 0),
 * `cursor`, `ids`, `labels` and `mix` lie there, too. */
typedef struct clvi_step_passes {
    clv_status (*judge)(clvi_device *device, const double *sums, const float *loss, double most, clvi_verdict *out);
    clv_status (*find)(clvi_device *device, clv_dtype dtype, int64_t n, const void *x, clvi_verdict *out);
    clv_status (*clip)(clvi_device *device, clv_dtype dtype, int64_t n, void *g, const clvi_verdict *v);
    clv_status (*restore)(clvi_device *device, int64_t words, void *to, const void *from, const clvi_verdict *v);
    clv_status (*place)(clvi_device *device, int64_t rows, int64_t cols, const float *from, const int64_t *order,
                        const int64_t *pass, float *to);
    clv_status (*pick)(clvi_device *device, int64_t rows, int64_t cols, const float *from, const int64_t *order,
                       const int64_t *pass, float *to);
    clv_status (*count)(clvi_device *device, int64_t *number);           /* it goes up by 1 */
    clv_status (*enqueue)(clvi_device *device, const clvi_ring *ring, const int64_t *cursor, int64_t count,
                          const float *rows, const int64_t *ids, const int64_t *labels);
    clv_status (*mix)(clvi_device *device, const clvi_mix *mix, const int64_t shape[4], const float *from,
                      const float *others, float *to);
} clvi_step_passes;

enum { CLVI_FAULT_SIZE = 32, CLVI_TOLD_SIZE = 256 };

/* Chunks of a sum at most. */
#define CLVI_FLAT_CHUNKS 512

/* Every function that returns a status sets the message. Work is queued in order on the device's one stream; only
 * copies to the host, `wait` and `reach` wait for it. */
typedef struct clvi_backend {
    int         abi;
    const char *name;                                       /* "cuda": devices are called cuda:0, cuda:1, ... */
    const clvi_kernel *const *kernels;                      /* best first, NULL at the end */
    int  (*count)(char *why, size_t size);                  /* devices there are; with none, `why` says why */
    bool (*describe)(int ordinal, char *text, size_t size); /* for people: model, memory, versions */
    clv_status (*open)(clv_context *ctx, int ordinal, clvi_device **out);
    void (*close)(clvi_device *device);
    /* Aligned to 256 bytes and zeroed. Errors: CLV_ERR_NOMEM naming the size and what is free. */
    clv_status (*alloc)(clvi_device *device, size_t size, void **out);
    void (*free)(clvi_device *device, void *memory);
    clv_status (*copy)(clvi_device *device, void *to, const void *from, size_t size, clvi_copy kind);
    clv_status (*fill)(clvi_device *device, void *memory, int byte, size_t size);
    /* Until all queued work is done. Errors: what a kernel found wrong with its data (a label beyond the classes);
     * CLV_ERR_DEVICE. */
    clv_status (*wait)(clvi_device *device);
    /* What is queued between the two is recorded, not run; only kernels, fills, and copies on the device or later
     * may be. With `out` NULL the recording is thrown away. Then it runs as often as wanted, for less than its
     * pieces one by one. */
    clv_status (*record)(clvi_device *device);
    clv_status (*recorded)(clvi_device *device, clvi_recording **out);
    clv_status (*play)(clvi_device *device, clvi_recording *recording);
    void (*forget)(clvi_device *device, clvi_recording *recording);    /* NULL is accepted */
    /* What one step needs is on its way while another is at work (device/tape.h): each of CLVI_SLOTS steps has a
     * slot. Memory of the host that copies and kernels reach without the processor, zeroed: */
    clv_status (*alloc_host)(clvi_device *device, size_t size, void **out);
    void (*free_host)(clvi_device *device, void *memory);                  /* NULL is accepted */
    /* A copy beside the stream, once the stream has left the slot. `from` is alloc_host's. */
    clv_status (*send)(clvi_device *device, int slot, void *to, const void *from, size_t size);
    clv_status (*enter)(clvi_device *device, int slot);  /* what is queued from now on comes after the slot's copy */
    clv_status (*leave)(clvi_device *device, int slot);  /* what was queued so far ends the slot's work */
    /* Until the slot's copy is there, or its work done. */
    clv_status (*reach)(clvi_device *device, int slot, bool copied);
    const clvi_flat_passes *flat;
    /* Pictures to views, queued. */
    clv_status (*augment)(clvi_device *device, const clvi_pixel_batch *batch);
    const clvi_step_passes *step;
    bool benchmarks;                                        /* it heeds a device's `benchmark` */
} clvi_backend;

/* What every backend's device begins with. */
struct clvi_device {
    const clvi_backend *backend;
    clv_context        *ctx;
    int                 ordinal;
    void               *sums;           /* 2 + 2 CLVI_FLAT_CHUNKS doubles on the device: a result, and a sum's chunks */
    void               *told;           /* CLVI_TOLD_SIZE bytes on the device for what the next pass is told */
    void               *stream;         /* where work is queued: for libraries that queue theirs between, as NCCL */
    /* Called over and over while somebody waits for queued work; NULL: nobody needs to look. Errors end the wait: of
     * what the work waits for, another rank, it is known that it will not come. */
    clv_status        (*watch)(void *user);
    void               *watch_user;
    const clvi_verdict *verdict;        /* on the device: heeded; NULL: none */
    struct clvi_shadow *shadows;        /* device/shadow.h */
    struct clvi_tape   *tape;           /* what is queued belongs to this step (device/tape.h), or NULL */
    const void         *fault;          /* on the device: CLVI_FAULT_SIZE bytes that start with an int, 0 while nothing
                                         * is wrong; `wait` tells what */
    bool                benchmark;      /* kernels prepared from now on measure what they can choose from */
    clv_status          failed;         /* of something that could not tell; the next wait or copy does */
    char                message[256];
};

/* The one symbol a backend's shared object exports. */
typedef const clvi_backend *clvi_backend_entry(const clvi_backend_host *host);
#define CLVI_BACKEND_ENTRY "clvi_backend_get"

/* Opens the device of a name: NULL or "cpu" gives NULL, the host; "cuda" is "cuda:0". Errors: CLV_ERR_INVALID for a name
 * nobody knows; CLV_ERR_UNSUPPORTED, with the reason, for a device that is not there. Thread-safe. */
clv_status clvi_device_open(clv_context *ctx, const char *name, clvi_device **out) CLV_NODISCARD;
void clvi_device_close(clvi_device *device);

/* Backend `i` of those that could be opened, or NULL with the reason in `why`; false past the end. */
bool clvi_backend_at(int i, const char **name, const clvi_backend **out, const char **why);
/* Adds a backend of this process: tests bring the emulator. At most once a name. */
clv_status clvi_backend_register(const clvi_backend *backend) CLV_NODISCARD;

/* ---- memory on the context's device: plain memory where that is the host ---- */

/* Zeroed. NULL with the message set. */
void *clvi_device_alloc(clv_context *ctx, size_t size);
void clvi_device_free(clv_context *ctx, void *memory, size_t size);
clv_status clvi_device_copy(clv_context *ctx, void *to, const void *from, size_t size, clvi_copy kind) CLV_NODISCARD;
clv_status clvi_device_fill(clv_context *ctx, void *memory, int byte, size_t size) CLV_NODISCARD;
clv_status clvi_device_wait(clv_context *ctx) CLV_NODISCARD;
/* Keeps the first error for the next wait or copy to tell. */
void clvi_device_note(clvi_device *device, clv_status st);

#endif
