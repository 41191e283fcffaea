/* bench_supcon.c: SupCon, loss and gradient with respect to the features, beside the bare matrix products it cannot do
 * without, all scores and their weights times the features. The answer is checked
 * first against the plain kernels in float64. They are timed in turn, so that what else the machine does hits all
 * alike.
 *     bench_supcon [samples views dim threads] */
#include <cleave/graph.h>
#include <cleave/loss.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define REPEATS 11
#define CHECKED 300      /* samples of the smaller problem that is compared */
#define CLASSES 100

typedef struct problem {
    int64_t  samples, views, dim;
    float   *features, *grad;
    int64_t *labels;
} problem;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool make_problem(problem *p)
{
    const int64_t n = p->samples * p->views * p->dim;
    uint32_t seed = 1;
    p->features = malloc((size_t)n * sizeof(float));
    p->grad = malloc((size_t)n * sizeof(float));
    p->labels = malloc((size_t)p->samples * sizeof(int64_t));
    if (!p->features || !p->grad || !p->labels) return false;
    for (int64_t i = 0; i < n; i++) {
        double v = -2;
        for (int k = 0; k < 4; k++) {    /* nearly normal */
            seed = seed * 1664525u + 1013904223u;
            v += (double)(seed >> 8) / 16777216.0;
        }
        p->features[i] = (float)v;
    }
    for (int64_t i = 0; i < p->samples; i++) p->labels[i] = i * 7 % CLASSES;
    return true;
}

static clv_status eval(clv_loss *loss, const problem *p, int64_t samples, void *features, clv_dtype type, void *grad,
                       double *value)
{
    const int64_t shape[] = { samples, p->views, p->dim };
    const clv_loss_tensor in[] = { { "features", clv_view_dense(features, type, 3, shape) },
                                   { "labels", clv_view_dense(p->labels, CLV_I64, 1, &samples) } };
    const clv_loss_tensor grads[] = { { "features", clv_view_dense(grad, type, 3, shape) } };
    return clv_loss_eval(loss, in, 2, grads, 1, NULL, 0, value);
}

/* A smaller batch in float32 with the fast kernels against float64 with the plain ones. */
static clv_status check(clv_context *ctx, const problem *p)
{
    const int64_t samples = p->samples < CHECKED ? p->samples : CHECKED, n = samples * p->views * p->dim;
    double *x = malloc((size_t)n * sizeof *x), *want = malloc((size_t)n * sizeof *want), exact = 0, fast = 0, worst = 0;
    clv_loss *plain = NULL, *loss = NULL;
    clv_status st = x && want ? clv_loss_create(ctx, "supcon", NULL, 0, &plain) : CLV_ERR_NOMEM;
    for (int64_t i = 0; st == CLV_OK && i < n; i++) x[i] = p->features[i];
    if (st == CLV_OK) st = clv_loss_create(ctx, "supcon", NULL, 0, &loss);
    if (st == CLV_OK) clv_loss_set_reference(plain, true);
    if (st == CLV_OK) st = eval(plain, p, samples, x, CLV_F64, want, &exact);
    if (st == CLV_OK) st = eval(loss, p, samples, p->features, CLV_F32, p->grad, &fast);
    double largest = 0;
    for (int64_t i = 0; st == CLV_OK && i < n; i++) {
        largest = fmax(largest, fabs(want[i]));
        worst = fmax(worst, fabs(want[i] - p->grad[i]));
    }
    if (st == CLV_OK && !(fabs(exact - fast) <= 1e-5 * (1 + fabs(exact)) && worst <= 1e-4 * largest)) {
        fprintf(stderr, "loss %.9g, float64 gives %.9g; gradient off by %.3g of %.3g\n", fast, exact, worst, largest);
        st = CLV_ERR_INTERNAL;
    }
    clv_loss_destroy(plain);
    clv_loss_destroy(loss);
    free(x);
    free(want);
    return st;
}

/* scores = x x^T, and scores x. */
static clv_status make_products(clv_context *ctx, const problem *p, clv_graph **out)
{
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    const int64_t shape[] = { p->samples * p->views, p->dim };
    clv_status st = clv_graph_create(ctx, &desc, out);
    if (st != CLV_OK) return st;
    const clv_node x = clv_input(*out, "x", CLV_F32, 2, shape);
    clv_graph_output(*out, clv_matmul(*out, clv_matmul(*out, x, false, x, true), false, x, false));
    if ((st = clv_graph_finish(*out)) != CLV_OK) return st;
    const clv_view view = clv_view_dense(p->features, CLV_F32, 2, shape);
    return clv_graph_bind(*out, x, &view);
}

static void report(clv_context *ctx, const problem *p, const char *name, double *seconds, size_t bytes)
{
    qsort(seconds, REPEATS, sizeof *seconds, by_value);
    const double rows = (double)(p->samples * p->views);
    printf("%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%d,%.2f,%.2f,%.2f,%.1f,%.3f\n", name, p->samples, p->views, p->dim,
           clv_context_threads(ctx), 1e3 * seconds[REPEATS / 2], 1e3 * seconds[0], 1e3 * seconds[REPEATS - 1],
           4e-9 * rows * rows * (double)p->dim / seconds[REPEATS / 2], (double)bytes / 1048576);
}

static clv_status bench(clv_context *ctx, const problem *p)
{
    double products_s[REPEATS], loss_s[REPEATS], value = 0;
    clv_graph *products = NULL;
    clv_loss *loss = NULL;
    clv_graph_memory_t m = { 0 };
    size_t bytes = 0;
    const int64_t shape[] = { p->samples, p->views, p->dim };
    const clv_loss_tensor in[] = { { "features", clv_view_dense(NULL, CLV_F32, 3, shape) },
                                   { "labels", clv_view_dense(NULL, CLV_I64, 1, shape) } };
    clv_status st = check(ctx, p);
    if (st == CLV_OK) st = make_products(ctx, p, &products);
    if (st == CLV_OK) st = clv_loss_create(ctx, "supcon", NULL, 0, &loss);
    for (int i = -1; i < REPEATS && st == CLV_OK; i++) {    /* -1: warm up */
        const double start = now();
        st = clv_graph_run(products);
        const double middle = now();
        if (st == CLV_OK) st = eval(loss, p, p->samples, p->features, CLV_F32, p->grad, &value);
        if (i >= 0) products_s[i] = middle - start, loss_s[i] = now() - middle;
    }
    if (st == CLV_OK) st = clv_graph_memory(products, &m);
    if (st == CLV_OK) st = clv_loss_memory(loss, in, 2, &bytes);
    if (st == CLV_OK) {
        printf("what,samples,views,dim,threads,median_ms,fastest_ms,slowest_ms,gflops_of_two_products,extra_mib\n");
        report(ctx, p, "two matrix products", products_s, m.activations + m.scratch);
        report(ctx, p, "supcon", loss_s, bytes);
    }
    clv_graph_destroy(products);
    clv_loss_destroy(loss);
    return st;
}

int main(int argc, char **argv)
{
    problem p = { .samples = 1024, .views = 2, .dim = 128 };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    if (argc > 3) {
        p.samples = strtoll(argv[1], NULL, 10);
        p.views = strtoll(argv[2], NULL, 10);
        p.dim = strtoll(argv[3], NULL, 10);
    }
    if (argc > 4) desc.threads = (int)strtol(argv[4], NULL, 10);
    clv_context *ctx = NULL;
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK && make_problem(&p)) st = bench(ctx, &p);
    if (st != CLV_OK) fprintf(stderr, "bench_supcon: %s: %s\n", clv_status_name(st), clv_error_message());
    free(p.features);
    free(p.grad);
    free(p.labels);
    clv_context_destroy(ctx);
    return st != CLV_OK;
}
