/* bench_bank_nce.c: InfoNCE against a bank, loss and gradient, beside the two bare matrix products it cannot do
 * without. Each variant's answer is checked first, on its first queries, against the plain kernels. They are timed in
 * turn, so that what else the machine does hits all alike.
 *     bench_bank_nce [batch dim keys threads]
 *     bench_bank_nce --growth [threads]          banks of 4096 to 1048576 rows: is time linear? */
#include "clock.h"
#include <cleave/graph.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS 11
#define CHECKED 6       /* queries compared with the reference */

typedef struct problem {
    int64_t   batch, dim, keys;
    float    *query, *key, *bank;    /* rows of unit length */
    uint16_t *half;                  /* the bank's rows in bfloat16 */
} problem;

/* What a loss is measured with. */
typedef struct variant {
    const char *name;
    bool        unit, bf16;
    double      tolerance;           /* of the gradient, whose weights may be rounded to bfloat16; of the loss: 1e-5 */
} variant;

static const variant variants[] = {
    { "bank_nce", false, false, 1e-5 },
    { "bank_nce unit rows", true, false, 1e-5 },
    { "bank_nce unit rows bfloat16", true, true, 2e-4 },
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* A graph and what it computes from the problem. */
typedef struct loss_graph {
    clv_graph *graph;
    clv_node   per_row, gradient;
} loss_graph;

typedef struct timing {
    double seconds[REPEATS], cpu[REPEATS];
} timing;

static float *unit_rows(int64_t rows, int64_t dim, uint32_t seed)
{
    float *x = malloc((size_t)(rows * dim) * sizeof *x);
    for (int64_t i = 0; x && i < rows; i++) {
        double sum = 0;
        for (int64_t d = 0; d < dim; d++) {
            double v = -2;
            for (int k = 0; k < 4; k++) {    /* nearly normal */
                seed = seed * 1664525u + 1013904223u;
                v += (double)(seed >> 8) / 16777216.0;
            }
            x[i * dim + d] = (float)v;
            sum += v * v;
        }
        for (int64_t d = 0; d < dim; d++) x[i * dim + d] /= (float)sqrt(sum);
    }
    return x;
}

static clv_status bind(clv_graph *g, clv_node x, void *data, int64_t rows, int64_t cols)
{
    const clv_view view = clv_view_dense(data, clv_node_dtype(g, x), 2, (int64_t[]) { rows, cols });
    return clv_graph_bind(g, x, &view);
}

static clv_status make_loss(clv_context *ctx, const problem *p, int64_t batch, const variant *v, bool reference,
                            loss_graph *out)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_bank_nce_desc nce = CLV_BANK_NCE_DESC_INIT;
    desc.reference = reference;
    clv_status st = clv_graph_create(ctx, &desc, &out->graph);
    if (st != CLV_OK) return st;
    clv_graph *g = out->graph;
    nce.query = clv_input(g, "query", CLV_F32, 2, (int64_t[]) { batch, p->dim });
    nce.key = clv_input(g, "key", CLV_F32, 2, (int64_t[]) { batch, p->dim });
    nce.bank = clv_input(g, "bank", v->bf16 ? CLV_BF16 : CLV_F32, 2, (int64_t[]) { p->keys, p->dim });
    nce.temperature = 0.2;
    nce.unit_rows = v->unit;
    out->per_row = clv_bank_nce(g, &nce, NULL);
    st = clv_graph_backward(g, clv_reduce(g, out->per_row, -1, false));
    if (st != CLV_OK) return st;
    out->gradient = clv_graph_gradient(g, nce.query);
    clv_graph_output(g, out->per_row);
    clv_graph_output(g, out->gradient);
    if ((st = clv_graph_finish(g)) != CLV_OK) return st;
    if ((st = bind(g, nce.query, p->query, batch, p->dim)) != CLV_OK) return st;
    if ((st = bind(g, nce.key, p->key, batch, p->dim)) != CLV_OK) return st;
    return bind(g, nce.bank, v->bf16 ? (void *)p->half : (void *)p->bank, p->keys, p->dim);
}

/* scores = query bank^T, and scores bank: what any gradient of the loss costs at least. */
static clv_status make_products(clv_context *ctx, const problem *p, clv_graph **out)
{
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_status st = clv_graph_create(ctx, &desc, out);
    if (st != CLV_OK) return st;
    clv_graph *g = *out;
    const clv_node query = clv_input(g, "query", CLV_F32, 2, (int64_t[]) { p->batch, p->dim });
    const clv_node bank = clv_input(g, "bank", CLV_F32, 2, (int64_t[]) { p->keys, p->dim });
    clv_graph_output(g, clv_matmul(g, clv_matmul(g, query, false, bank, true), false, bank, false));
    if ((st = clv_graph_finish(g)) != CLV_OK) return st;
    if ((st = bind(g, query, p->query, p->batch, p->dim)) != CLV_OK) return st;
    return bind(g, bank, p->bank, p->keys, p->dim);
}

static clv_status compare(clv_graph *g, clv_node x, clv_graph *reference, clv_node y, const char *what,
                          double tolerance)
{
    clv_view a, b;
    clv_status st = clv_graph_read(g, x, &a);
    if (st == CLV_OK) st = clv_graph_read(reference, y, &b);
    if (st != CLV_OK) return st;
    int64_t n = 1;
    for (int i = 0; i < b.ndim; i++) n *= b.shape[i];
    for (int64_t i = 0; i < n; i++) {
        const double got = ((const float *)a.data)[i], want = ((const float *)b.data)[i];
        if (fabs(got - want) <= tolerance * (1 + fabs(want))) continue;
        fprintf(stderr, "%s %" PRId64 " is %.9g, the reference gives %.9g\n", what, i, got, want);
        return CLV_ERR_INTERNAL;
    }
    return CLV_OK;
}

static clv_status check(clv_context *ctx, const problem *p, const loss_graph *fast, const variant *v)
{
    loss_graph plain = { 0 };
    const int64_t batch = p->batch < CHECKED ? p->batch : CHECKED;
    clv_status st = make_loss(ctx, p, batch, v, true, &plain);
    if (st == CLV_OK) st = clv_graph_run(plain.graph);
    if (st == CLV_OK) st = compare(fast->graph, fast->per_row, plain.graph, plain.per_row, "loss", 1e-5);
    if (st == CLV_OK) st = compare(fast->graph, fast->gradient, plain.graph, plain.gradient, "gradient", v->tolerance);
    clv_graph_destroy(plain.graph);
    return st;
}

static clv_status timed(clv_graph *g, timing *t, int i)
{
    const double start = bench_clock(CLOCK_MONOTONIC), cpu = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
    const clv_status st = clv_graph_run(g);
    t->seconds[i] = bench_clock(CLOCK_MONOTONIC) - start;
    t->cpu[i] = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    return st;
}

static void report(clv_context *ctx, const problem *p, const char *name, clv_graph *g, timing *t, double base)
{
    clv_graph_memory_t m = { 0 };
    if (clv_graph_memory(g, &m) != CLV_OK) return;
    qsort(t->seconds, REPEATS, sizeof *t->seconds, bench_by_value);
    qsort(t->cpu, REPEATS, sizeof *t->cpu, bench_by_value);
    const double median = t->seconds[REPEATS / 2];
    printf("%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%d,%.2f,%.2f,%.2f,%.2f,%.1f,%.3f,%.2f\n", name, p->batch, p->dim,
           p->keys, clv_context_threads(ctx), 1e3 * median, 1e3 * t->seconds[0], 1e3 * t->seconds[REPEATS - 1],
           1e3 * t->cpu[REPEATS / 2] / clv_context_threads(ctx),
           4e-9 * (double)p->batch * (double)p->dim * (double)p->keys / median, base > 0 ? median / base : 1,
           (double)m.activations / 1048576);
}

static clv_status bench(clv_context *ctx, const problem *p)
{
    loss_graph loss[VARIANTS] = { { 0 } };
    clv_graph *graphs[1 + VARIANTS] = { NULL };
    timing t[1 + VARIANTS];
    clv_status st = make_products(ctx, p, &graphs[0]);
    if (st == CLV_OK) st = clv_graph_run(graphs[0]);
    for (int k = 0; k < VARIANTS && st == CLV_OK; k++) {
        st = make_loss(ctx, p, p->batch, &variants[k], false, &loss[k]);
        graphs[1 + k] = loss[k].graph;
        if (st == CLV_OK) st = clv_graph_run(loss[k].graph);
        if (st == CLV_OK) st = check(ctx, p, &loss[k], &variants[k]);
    }
    for (int i = 0; i < REPEATS; i++)
        for (int k = 0; k <= VARIANTS && st == CLV_OK; k++) st = timed(graphs[k], &t[k], i);
    if (st == CLV_OK) {
        printf("what,batch,dim,keys,threads,median_ms,fastest_ms,slowest_ms,cpu_ms_per_thread,gflops,ratio_to_products,"
               "extra_mib\n");
        report(ctx, p, "two matrix products", graphs[0], &t[0], 0);
        const double base = t[0].seconds[REPEATS / 2];
        for (int k = 0; k < VARIANTS; k++) report(ctx, p, variants[k].name, graphs[1 + k], &t[1 + k], base);
    }
    for (int k = 0; k < VARIANTS; k++) clv_graph_destroy(loss[k].graph);
    clv_graph_destroy(graphs[0]);
    return st;
}

/* Time for one size of bank, in units of what the rows of the first cost. */
static clv_status grow(clv_context *ctx, problem *p, int64_t keys, double *per_key)
{
    const variant v = { "bank_nce", false, false, 0 };
    loss_graph loss = { 0 };
    timing t;
    p->keys = keys;
    clv_status st = make_loss(ctx, p, p->batch, &v, false, &loss);
    for (int i = -3; i < REPEATS && st == CLV_OK; i++) st = timed(loss.graph, &t, i < 0 ? 0 : i);
    if (st == CLV_OK) {
        clv_graph_memory_t m = { 0 };
        st = clv_graph_memory(loss.graph, &m);
        qsort(t.seconds, REPEATS, sizeof *t.seconds, bench_by_value);
        const double median = t.seconds[REPEATS / 2];
        if (*per_key == 0) *per_key = median / (double)keys;
        printf("bank_nce,%" PRId64 ",%d,%.2f,%.2f,%.2f,%.3f,%.2f\n", keys, clv_context_threads(ctx), 1e3 * median,
               1e3 * t.seconds[0], 1e3 * t.seconds[REPEATS - 1], median / (double)keys / *per_key,
               (double)m.activations / 1048576);
        fflush(stdout);
    }
    clv_graph_destroy(loss.graph);
    return st;
}

static clv_status growth(clv_context *ctx)
{
    const int64_t most = 1048576;
    double per_key = 0;
    problem p = { .batch = 256, .dim = 128, .query = unit_rows(256, 128, 1), .key = unit_rows(256, 128, 2),
                  .bank = unit_rows(most, 128, 3) };
    clv_status st = p.query && p.key && p.bank ? CLV_OK : CLV_ERR_NOMEM;
    printf("what,keys,threads,median_ms,fastest_ms,slowest_ms,ratio_to_linear,extra_mib\n");
    for (int64_t keys = 4096; keys <= most && st == CLV_OK; keys *= 4) st = grow(ctx, &p, keys, &per_key);
    free(p.query);
    free(p.key);
    free(p.bank);
    return st;
}

/* The bank's rows rounded to bfloat16. */
static clv_status halve(problem *p)
{
    p->half = calloc((size_t)(p->keys * p->dim) + 1, sizeof *p->half);
    if (!p->half || !p->bank) return CLV_ERR_NOMEM;
    const clv_view to = clv_view_2d(p->half, CLV_BF16, p->keys, p->dim);
    const clv_view from = clv_view_2d(p->bank, CLV_F32, p->keys, p->dim);
    return clv_view_copy(&to, &from);
}

static int main_growth(int threads)
{
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx = NULL;
    desc.threads = threads;
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK) st = growth(ctx);
    if (st != CLV_OK) fprintf(stderr, "bench_bank_nce: %s: %s\n", clv_status_name(st), clv_error_message());
    clv_context_destroy(ctx);
    return st != CLV_OK;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--growth") == 0) return main_growth(argc > 2 ? (int)strtol(argv[2], NULL, 10) : 0);
    problem p = { .batch = 256, .dim = 128, .keys = 65536 };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    if (argc > 3) {
        p.batch = strtoll(argv[1], NULL, 10);
        p.dim = strtoll(argv[2], NULL, 10);
        p.keys = strtoll(argv[3], NULL, 10);
    }
    if (argc > 4) desc.threads = (int)strtol(argv[4], NULL, 10);
    clv_context *ctx = NULL;
    clv_status st = clv_context_create(&desc, &ctx);
    p.query = unit_rows(p.batch, p.dim, 1);
    p.key = unit_rows(p.batch, p.dim, 2);
    p.bank = unit_rows(p.keys, p.dim, 3);
    if (st == CLV_OK) st = halve(&p);
    if (st == CLV_OK && p.query && p.key) st = bench(ctx, &p);
    if (st != CLV_OK) fprintf(stderr, "bench_bank_nce: %s: %s\n", clv_status_name(st), clv_error_message());
    free(p.query);
    free(p.key);
    free(p.bank);
    free(p.half);
    clv_context_destroy(ctx);
    return st != CLV_OK;
}
