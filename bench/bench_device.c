/* bench_device.c: how close a device's kernels come to the rate of its memory: what they must read and write at
 * least, over the time they take, beside a pass that reads and writes once. And InfoNCE against a bank: in strict
 * float32, on a GPU also in TF32, and against rows of bfloat16.
 *
 *   bench_device [--device NAME] [--small] [--runs N]
 *
 * A line each: what,median_s=,bytes=, and of InfoNCE flops=. Runs are queued one after another and waited for at the
 * end, so what the host does beside a kernel is hidden where the kernel takes longer. --small: sizes for trying it out
 * on a processor. */
#include "clock.h"
#include "velocity.h"

#include <cleave/bank.h>
#include <cleave/device.h>
#include <cleave/graph.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRY(e)                                                                                                         \
    do {                                                                                                               \
        const clv_status try_ = (e);                                                                                   \
        if (try_ != CLV_OK) return try_;                                                                               \
    } while (0)

enum { REPEATS = 7 };

typedef struct bench {
    clv_context *ctx;
    int          runs;
    bool         gpu;
    int64_t      rows, channels;            /* of a batch norm: a layer of ResNet-50 at batch 256 */
    int64_t      batch, dim, keys;          /* of InfoNCE */
} bench;

/* One piece of work: a graph, or an update of its parameters. */
typedef struct work {
    clv_graph  *graph;
    clv_node    result;                     /* a number: reading it waits */
    clv_params *follower, *moving;
    clv_sgd     sgd;
    bool        descends, follows;
} work;

static clv_status do_once(work *w)
{
    clv_params *params = clv_graph_params(w->graph);
    if (w->descends) return clv_params_sgd(params, &w->sgd);
    return w->follows ? clv_params_follow(w->follower, params, 0.999) : clv_graph_run(w->graph);
}

/* Prints a line without its end. */
static clv_status time_work(bench *b, const char *name, work *w, double bytes)
{
    double seconds[REPEATS];
    clv_view view;
    for (int r = -2; r < REPEATS; r++) {
        TRY(clv_graph_read(w->graph, w->result, &view));
        const double start = bench_now();
        for (int i = 0; i < b->runs; i++) TRY(do_once(w));
        TRY(clv_graph_read(w->graph, w->result, &view));
        seconds[r < 0 ? 0 : r] = (bench_now() - start) / b->runs;
    }
    qsort(seconds, REPEATS, sizeof *seconds, bench_by_value);
    (void)printf("%s,median_s=%.9f,bytes=%.0f", name, seconds[REPEATS / 2], bytes);
    return CLV_OK;
}

static clv_status measure(bench *b, const char *name, work *w, double bytes)
{
    TRY(time_work(b, name, w, bytes));
    (void)printf("\n");
    return CLV_OK;
}

static clv_status make_graph_in(bench *b, bool training, clv_precision precision, work *w)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    *w = (work) { .graph = NULL };
    desc.training = training;
    desc.precision = precision;
    return clv_graph_create(b->ctx, &desc, &w->graph);
}

static clv_status make_graph(bench *b, bool training, work *w)
{
    return make_graph_in(b, training, CLV_PRECISION_FULL, w);
}

static void release(work *w)
{
    clv_params_destroy(w->follower);
    clv_params_destroy(w->moving);
    clv_graph_destroy(w->graph);
}

static clv_status finish(work *w, clv_node result)
{
    w->result = result;
    clv_graph_output(w->graph, result);
    TRY(clv_graph_finish(w->graph));
    TRY(clv_params_init(clv_graph_params(w->graph), 1));
    return clv_graph_run(w->graph);
}

static clv_node matrix(work *w, const char *name, int64_t rows, int64_t cols)
{
    const clv_init init = { CLV_INIT_UNIFORM_FAN, 0.0, cols };
    return clv_parameter(w->graph, name, CLV_PARAM_TRAINABLE, 2, (int64_t[]) { rows, cols }, init);
}

/* A pass that reads every number once and writes it once. */
static clv_status copy(bench *b, work *w)
{
    TRY(make_graph(b, false, w));
    const clv_node y = clv_relu(w->graph, matrix(w, "x", b->rows, b->channels));
    clv_graph_output(w->graph, y);
    TRY(finish(w, clv_reduce(w->graph, clv_slice(w->graph, y, 0, 0, 1), -1, false)));
    return measure(b, "copy", w, 2.0 * 4 * (double)(b->rows * b->channels));
}

static clv_node normalised(bench *b, work *w, const char *x, const char *mean, const char *var)
{
    const clv_init zero = { CLV_INIT_CONSTANT, 0.0, 0 };
    clv_batch_norm_desc norm = { .gamma = CLV_NONE, .beta = CLV_NONE, .groups = 1, .eps = 1e-5, .momentum = 0.1 };
    norm.running_mean = clv_parameter(w->graph, mean, CLV_PARAM_BUFFER, 1, &b->channels, zero);
    norm.running_var = clv_parameter(w->graph, var, CLV_PARAM_BUFFER, 1, &b->channels, zero);
    return clv_batch_norm(w->graph, matrix(w, x, b->rows, b->channels), &norm);
}

/* Forward: statistics, and what is made of them; with the gradient, whose sums it reads for and then again. With two,
 * as a block with a projection ends, only their sum is written. */
static clv_status batch_norm(bench *b, work *w, const char *name, bool gradient, bool two, int passes)
{
    TRY(make_graph(b, true, w));
    clv_node y = normalised(b, w, "x", "mean", "var");
    if (two) y = clv_relu(w->graph, clv_add(w->graph, y, normalised(b, w, "other", "other mean", "other var")));
    const clv_node sum = clv_reduce(w->graph, gradient ? y : clv_slice(w->graph, y, 0, 0, 1), -1, false);
    if (gradient) TRY(clv_graph_backward(w->graph, sum));
    else clv_graph_output(w->graph, y);
    TRY(finish(w, sum));
    return measure(b, name, w, passes * 4 * (double)(b->rows * b->channels));
}

static clv_status update(bench *b, work *w, const char *name, bool descends, bool follows, int vectors)
{
    TRY(make_graph(b, true, w));
    const clv_node x = matrix(w, "x", b->rows / 2, b->channels), sum = clv_reduce(w->graph, x, -1, false);
    TRY(clv_graph_backward(w->graph, sum));
    TRY(finish(w, sum));
    clv_params *params = clv_graph_params(w->graph);
    TRY(clv_params_clone(params, &w->follower));
    w->sgd = (clv_sgd) { .lr = 1e-6, .momentum = 0.9, .weight_decay = 1e-4, .follower = follows ? w->follower : NULL,
                         .follow = 0.999 };
    w->descends = descends;
    w->follows = follows;
    TRY(bench_velocity(params, &w->moving, &w->sgd.velocity));
    return measure(b, name, w, vectors * 4.0 * (double)(b->rows / 2 * b->channels));
}

static clv_status sgd(bench *b, work *w) { return update(b, w, "SGD", true, false, 5); }
static clv_status ema(bench *b, work *w) { return update(b, w, "momentum update", false, true, 3); }
static clv_status both(bench *b, work *w) { return update(b, w, "SGD and momentum update", true, true, 7); }
/* x for the statistics, x and y; a pass over y and one that makes dy; dy and x, dy, x and dx. */
static clv_status norm(bench *b, work *w) { return batch_norm(b, w, "batch norm", false, false, 3); }
static clv_status norm_gradient(bench *b, work *w)
{
    return batch_norm(b, w, "batch norm and its gradient", true, false, 3 + 1 + 1 + 5);
}
static clv_status norms(bench *b, work *w) { return batch_norm(b, w, "two batch norms", false, true, 2 + 3); }
static clv_status norms_gradient(bench *b, work *w)
{
    return batch_norm(b, w, "two batch norms and their gradient", true, true, 5 + 1 + 1 + 8);
}

/* Loss and the queries' gradient; the bank stays on the device. As in training, all of its rows have a flag. At least its
 * rows are read once, and there are two products. */
static clv_status info_nce_in(bench *b, work *w, clv_bank *bank, clv_dtype dtype, clv_precision precision)
{
    clv_bank_nce_desc nce = CLV_BANK_NCE_DESC_INIT;
    char name[64];
    TRY(make_graph_in(b, true, precision, w));
    const clv_view rows = clv_bank_rows(bank), valid = clv_bank_valid(bank);
    nce.query = clv_l2norm_rows(w->graph, matrix(w, "query", b->batch, b->dim), 1e-12);
    nce.key = clv_l2norm_rows(w->graph, matrix(w, "key", b->batch, b->dim), 1e-12);
    nce.bank = clv_input(w->graph, "bank", dtype, 2, rows.shape);
    nce.valid = clv_input(w->graph, "valid", CLV_U8, 1, valid.shape);
    nce.temperature = 0.2;
    nce.unit_rows = true;
    const clv_node sum = clv_reduce(w->graph, clv_bank_nce(w->graph, &nce, NULL), -1, true);
    TRY(clv_graph_backward(w->graph, sum));
    clv_graph_output(w->graph, sum);
    w->result = sum;
    TRY(clv_graph_finish(w->graph));
    TRY(clv_params_init(clv_graph_params(w->graph), 1));
    TRY(clv_graph_bind(w->graph, nce.bank, &rows));
    TRY(clv_graph_bind(w->graph, nce.valid, &valid));
    TRY(clv_graph_run(w->graph));
    (void)snprintf(name, sizeof name, "InfoNCE %" PRId64 " x %" PRId64 " %s", b->batch, b->keys,
                   precision == CLV_PRECISION_TF32 ? "TF32" : clv_dtype_name(dtype));
    TRY(time_work(b, name, w, (double)(b->keys * b->dim) * (double)clv_dtype_size(dtype)));
    (void)printf(",flops=%.0f\n", 4.0 * (double)(b->batch * b->keys * b->dim));
    return CLV_OK;
}

static clv_status info_nce(bench *b, work *w, clv_dtype dtype, clv_precision precision)
{
    char capacity[24], dim[24];
    clv_bank *bank = NULL;
    (void)snprintf(capacity, sizeof capacity, "%" PRId64, b->keys);
    (void)snprintf(dim, sizeof dim, "%" PRId64, b->dim);
    const clv_option options[] = { { "capacity", capacity }, { "dim", dim }, { "dtype", clv_dtype_name(dtype) } };
    TRY(clv_bank_create(b->ctx, "fifo", options, 3, &bank));
    const clv_status st = info_nce_in(b, w, bank, dtype, precision);
    clv_graph_destroy(w->graph);
    w->graph = NULL;
    clv_bank_destroy(bank);
    return st;
}

static clv_status info_nce_f32(bench *b, work *w) { return info_nce(b, w, CLV_F32, CLV_PRECISION_FULL); }
static clv_status info_nce_bf16(bench *b, work *w) { return info_nce(b, w, CLV_BF16, CLV_PRECISION_FULL); }
/* The processor has none. */
static clv_status info_nce_tf32(bench *b, work *w)
{
    return b->gpu ? info_nce(b, w, CLV_F32, CLV_PRECISION_TF32) : CLV_OK;
}

static clv_status run(bench *b, const char *device)
{
    static clv_status (*const all[])(bench *, work *) = { copy, norm, norm_gradient, norms, norms_gradient, sgd, ema,
                                                          both, info_nce_f32, info_nce_tf32, info_nce_bf16 };
    const clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    TRY(clv_context_create(&desc, &b->ctx));
    TRY(clv_context_use(b->ctx, device));
    b->gpu = strncmp(device, "cuda", 4) == 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        work w = { .graph = NULL };
        const clv_status st = all[i](b, &w);
        release(&w);
        TRY(st);
    }
    return CLV_OK;
}

int main(int argc, char **argv)
{
    bench b = { .runs = 20, .rows = 256 * 56 * 56, .channels = 64, .batch = 256, .dim = 128, .keys = 65536 };
    const char *device = "cpu";
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--device") && i + 1 < argc) device = argv[++i];
        else if (!strcmp(argv[i], "--runs") && i + 1 < argc) b.runs = (int)strtol(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--small")) b.rows = 4096, b.batch = 8, b.keys = 512, b.runs = 2;
        else b.runs = 0;
    }
    if (b.runs < 1) {
        (void)fprintf(stderr, "usage: bench_device [--device NAME] [--small] [--runs N]\n");
        return 2;
    }
    const clv_status st = run(&b, device);
    if (st != CLV_OK) (void)fprintf(stderr, "bench_device: %s: %s\n", clv_status_name(st), clv_error_message());
    clv_context_destroy(b.ctx);
    return st != CLV_OK;
}
