/* loss_bench.h: timing a loss through the public API: value and gradients of labelled rows in float32. The answer is
 * first held against the plain kernels. */
#ifndef CLEAVE_BENCH_LOSS_BENCH_H
#define CLEAVE_BENCH_LOSS_BENCH_H

#include "clock.h"
#include <cleave/loss.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOSS_BENCH_REPEATS 21

/* Row-major float inputs, some of which get a gradient, and labels. */
typedef struct loss_bench {
    const char       *name;
    const clv_option *options;
    int               n_options, n_inputs, n_grads;
    clv_loss_tensor   in[8], grad[4];
    float            *memory[16];
    int64_t          *labels[4];                         /* n_labels of them */
    int               n_labels;
    double            tolerance;                         /* of gradients, in shares of the largest; 0: 1e-4 */
} loss_bench;

static inline uint32_t loss_bench_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* A float input, nearly normal, and room for its gradient. False: no memory. */
static inline bool loss_bench_tensor(loss_bench *b, const char *name, int ndim, const int64_t *shape, bool gradient)
{
    const int i = b->n_inputs++;
    uint32_t seed = (uint32_t)i + 1;
    int64_t count = 1;
    for (int d = 0; d < ndim; d++) count *= shape[d];
    float *x = b->memory[2 * i] = calloc((size_t)count + 1, sizeof *x);
    if (!x) return false;
    for (int64_t k = 0; k < count; k++)
        for (int n = 0; n < 4; n++) x[k] += (float)loss_bench_random(&seed) / 16777216.0f - 0.5f;
    b->in[i] = (clv_loss_tensor) { name, clv_view_dense(x, CLV_F32, ndim, shape) };
    if (!gradient) return true;
    float *dx = b->memory[2 * i + 1] = calloc((size_t)count + 1, sizeof *dx);
    b->grad[b->n_grads++] = (clv_loss_tensor) { name, clv_view_dense(dx, CLV_F32, ndim, shape) };
    return dx;
}

/* One of [rows, cols] with a gradient. */
static inline bool loss_bench_input(loss_bench *b, const char *name, int64_t rows, int64_t cols)
{
    return loss_bench_tensor(b, name, 2, (int64_t[]) { rows, cols }, true);
}

/* An input of labels below `classes`. */
static inline bool loss_bench_labels(loss_bench *b, const char *name, int ndim, const int64_t *shape, int64_t classes)
{
    uint32_t seed = 77 + (uint32_t)b->n_labels;
    int64_t count = 1;
    for (int d = 0; d < ndim; d++) count *= shape[d];
    int64_t *x = b->labels[b->n_labels++] = calloc((size_t)count + 1, sizeof *x);
    if (!x) return false;
    for (int64_t i = 0; i < count; i++) x[i] = (int64_t)loss_bench_random(&seed) % classes;
    b->in[b->n_inputs++] = (clv_loss_tensor) { name, clv_view_dense(x, CLV_I64, ndim, shape) };
    return true;
}

static inline void loss_bench_free(loss_bench *b)
{
    for (int i = 0; i < 16; i++) free(b->memory[i]);
    for (int i = 0; i < 4; i++) free(b->labels[i]);
}

static inline clv_status loss_bench_run(clv_loss *loss, loss_bench *b, double *value)
{
    return clv_loss_eval(loss, b->in, b->n_inputs, b->grad, b->n_grads, NULL, 0, value);
}

/* The largest entry of the gradients, and the largest difference to `other`, which has the same shapes. */
static inline void loss_bench_compare(const loss_bench *b, float *const *other, double *largest, double *worst)
{
    *largest = *worst = 0;
    for (int i = 0; i < b->n_grads; i++) {
        const float *x = b->grad[i].view.data;
        for (int64_t k = 0; k < clv_view_count(&b->grad[i].view); k++) {
            *largest = fmax(*largest, fabs((double)x[k]));
            *worst = fmax(*worst, fabs((double)x[k] - (double)other[i][k]));
        }
    }
}

/* Value and gradients by fast kernels against those by plain ones. */
static inline clv_status loss_bench_check(clv_context *ctx, loss_bench *b)
{
    double value[2] = { 0 }, largest, worst;
    float *fast[4] = { NULL };
    clv_status st = CLV_OK;
    for (int plain = 0; plain < 2 && st == CLV_OK; plain++) {
        clv_loss *loss = NULL;
        st = clv_loss_create(ctx, b->name, b->options, b->n_options, &loss);
        if (st == CLV_OK) clv_loss_set_reference(loss, plain);
        if (st == CLV_OK) st = loss_bench_run(loss, b, &value[plain]);
        clv_loss_destroy(loss);
        for (int i = 0; i < b->n_grads && !plain && st == CLV_OK; i++) {
            const size_t bytes = (size_t)clv_view_count(&b->grad[i].view) * sizeof(float);
            fast[i] = malloc(bytes + 1);
            if (fast[i]) memcpy(fast[i], b->grad[i].view.data, bytes);
            else st = CLV_ERR_NOMEM;
        }
    }
    if (st == CLV_OK) {
        loss_bench_compare(b, fast, &largest, &worst);
        if (!(fabs(value[0] - value[1]) <= 1e-5 * (1 + fabs(value[1])) && worst <= (b->tolerance > 0 ? b->tolerance : 1e-4) * largest)) {
            fprintf(stderr, "%s: %.9g, the plain kernels give %.9g; gradients off by %.3g of %.3g\n", b->name, value[0],
                    value[1], worst, largest);
            st = CLV_ERR_INTERNAL;
        }
    }
    for (int i = 0; i < 4; i++) free(fast[i]);
    return st;
}

static inline void loss_bench_report(const char *what, int threads, double *seconds, int n, size_t bytes)
{
    qsort(seconds, (size_t)n, sizeof *seconds, bench_by_value);
    printf("%s,%d,%.3f,%.3f,%.3f,%.2f\n", what, threads, 1e3 * seconds[n / 2], 1e3 * seconds[0], 1e3 * seconds[n - 1],
           (double)bytes / 1048576);
}

/* A line of CSV: median, fastest and slowest time, and the memory the evaluation takes beside the caller's. */
static inline clv_status loss_bench_time(clv_context *ctx, loss_bench *b, const char *what)
{
    double seconds[LOSS_BENCH_REPEATS], value;
    size_t bytes = 0;
    clv_loss *loss = NULL;
    clv_status st = clv_loss_create(ctx, b->name, b->options, b->n_options, &loss);
    for (int i = 0; i < 3 && st == CLV_OK; i++) st = loss_bench_run(loss, b, &value);
    for (int i = 0; i < LOSS_BENCH_REPEATS && st == CLV_OK; i++) {
        const double start = bench_now();
        st = loss_bench_run(loss, b, &value);
        seconds[i] = bench_now() - start;
    }
    if (st == CLV_OK) st = clv_loss_memory(loss, b->in, b->n_inputs, &bytes);
    if (st == CLV_OK) loss_bench_report(what, clv_context_threads(ctx), seconds, LOSS_BENCH_REPEATS, bytes);
    clv_loss_destroy(loss);
    return st;
}

#define LOSS_BENCH_HEADER "what,threads,median_ms,fastest_ms,slowest_ms,extra_mib\n"

typedef clv_status (*loss_bench_fn)(clv_context *ctx, const int64_t *size);

/* A program: all of its `n` sizes may be given on the command line, and the number of threads after them. */
static inline int loss_bench_main(int argc, char **argv, int64_t *size, int n, loss_bench_fn bench)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx = NULL;
    for (int i = 0; i < n && argc > n; i++) size[i] = strtoll(argv[i + 1], NULL, 10);
    if (argc > n + 1) desc.threads = (int)strtol(argv[n + 1], NULL, 10);
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK) printf(LOSS_BENCH_HEADER);
    if (st == CLV_OK) st = bench(ctx, size);
    if (st != CLV_OK) fprintf(stderr, "%s: %s: %s\n", argv[0], clv_status_name(st), clv_error_message());
    clv_context_destroy(ctx);
    return st != CLV_OK;
}

#endif
