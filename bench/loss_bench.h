/* loss_bench.h: timing a loss through the public API: value and gradients of labelled rows in float32. The answer is
 * first held against the plain kernels. */
#ifndef CLEAVE_BENCH_LOSS_BENCH_H
#define CLEAVE_BENCH_LOSS_BENCH_H

#include <cleave/loss.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LOSS_BENCH_REPEATS 21

/* Row-major float inputs, some of which get a gradient, and labels. */
typedef struct loss_bench {
    const char       *name;
    const clv_option *options;
    int               n_options, n_inputs, n_grads;      /* inputs: the float ones, then "labels" */
    clv_loss_tensor   in[4], grad[4];
    float            *memory[8];
    int64_t          *labels;
} loss_bench;

static inline double loss_bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int loss_bench_by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

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

/* The last input: labels below `classes`. */
static inline bool loss_bench_labels(loss_bench *b, const char *name, int ndim, const int64_t *shape, int64_t classes)
{
    uint32_t seed = 77;
    int64_t count = 1;
    for (int d = 0; d < ndim; d++) count *= shape[d];
    b->labels = calloc((size_t)count + 1, sizeof *b->labels);
    if (!b->labels) return false;
    for (int64_t i = 0; i < count; i++) b->labels[i] = (int64_t)loss_bench_random(&seed) % classes;
    b->in[b->n_inputs++] = (clv_loss_tensor) { name, clv_view_dense(b->labels, CLV_I64, ndim, shape) };
    return true;
}

static inline void loss_bench_free(loss_bench *b)
{
    for (int i = 0; i < 8; i++) free(b->memory[i]);
    free(b->labels);
}

static inline clv_status loss_bench_run(clv_loss *loss, loss_bench *b, double *value)
{
    return clv_loss_eval(loss, b->in, b->n_inputs, b->grad, b->n_grads, NULL, 0, value);
}

/* Value and lengths of the gradients, by fast kernels and by plain ones. */
static inline clv_status loss_bench_check(clv_context *ctx, loss_bench *b)
{
    double value[2] = { 0 }, length[2][4] = { { 0 } };
    for (int plain = 0; plain < 2; plain++) {
        clv_loss *loss = NULL;
        clv_status st = clv_loss_create(ctx, b->name, b->options, b->n_options, &loss);
        if (st == CLV_OK) clv_loss_set_reference(loss, plain);
        if (st == CLV_OK) st = loss_bench_run(loss, b, &value[plain]);
        clv_loss_destroy(loss);
        if (st != CLV_OK) return st;
        for (int i = 0; i < b->n_grads; i++)
            for (int64_t k = 0; k < clv_view_count(&b->grad[i].view); k++)
                length[plain][i] += pow(((const float *)b->grad[i].view.data)[k], 2);
    }
    bool good = fabs(value[0] - value[1]) <= 1e-5 * (1 + fabs(value[1]));
    for (int i = 0; i < b->n_grads; i++) good = good && fabs(length[0][i] - length[1][i]) <= 1e-4 * length[1][i];
    if (good) return CLV_OK;
    fprintf(stderr, "%s: %.9g, the plain kernels give %.9g (or the gradients differ)\n", b->name, value[0], value[1]);
    return CLV_ERR_INTERNAL;
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
        const double start = loss_bench_now();
        st = loss_bench_run(loss, b, &value);
        seconds[i] = loss_bench_now() - start;
    }
    if (st == CLV_OK) st = clv_loss_memory(loss, b->in, b->n_inputs, &bytes);
    if (st == CLV_OK) {
        qsort(seconds, LOSS_BENCH_REPEATS, sizeof *seconds, loss_bench_by_value);
        printf("%s,%d,%.3f,%.3f,%.3f,%.2f\n", what, clv_context_threads(ctx), 1e3 * seconds[LOSS_BENCH_REPEATS / 2],
               1e3 * seconds[0], 1e3 * seconds[LOSS_BENCH_REPEATS - 1], (double)bytes / 1048576);
    }
    clv_loss_destroy(loss);
    return st;
}

#define LOSS_BENCH_HEADER "what,threads,median_ms,fastest_ms,slowest_ms,extra_mib\n"

#endif
