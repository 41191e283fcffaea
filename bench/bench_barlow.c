/* bench_barlow.c: Barlow Twins, loss and gradients with respect to both views. The answer is checked first against the
 * plain kernels in float64.
 *     bench_barlow [rows dim threads] */
#include <cleave/loss.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define REPEATS 21
#define CHECKED 512       /* columns of the smaller problem that is compared: more than rows, as in the one timed */

typedef struct problem {
    int64_t rows, dim;
    float  *z[2], *grad[2];
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
    const int64_t n = p->rows * p->dim;
    uint32_t seed = 1;
    for (int view = 0; view < 2; view++) {
        p->z[view] = malloc((size_t)n * sizeof(float));
        p->grad[view] = malloc((size_t)n * sizeof(float));
        if (!p->z[view] || !p->grad[view]) return false;
        for (int64_t i = 0; i < n; i++) {
            double v = -2;
            for (int k = 0; k < 4; k++) {    /* nearly normal */
                seed = seed * 1664525u + 1013904223u;
                v += (double)(seed >> 8) / 16777216.0;
            }
            p->z[view][i] = (float)(v + (view ? 0.5 * p->z[0][i] : 0));    /* the views have something in common */
        }
    }
    return true;
}

static clv_status eval(clv_loss *loss, int64_t rows, int64_t dim, void *const *z, void *const *grad, clv_dtype type,
                       double *value)
{
    const clv_loss_tensor in[] = { { "z1", clv_view_2d(z[0], type, rows, dim) },
                                   { "z2", clv_view_2d(z[1], type, rows, dim) } };
    const clv_loss_tensor grads[] = { { "z1", clv_view_2d(grad[0], type, rows, dim) },
                                      { "z2", clv_view_2d(grad[1], type, rows, dim) } };
    return clv_loss_eval(loss, in, 2, grads, 2, NULL, 0, value);
}

/* Narrower features in float32 with the fast kernels against float64 with the plain ones. */
static clv_status check(clv_context *ctx, const problem *p)
{
    const int64_t dim = p->dim < CHECKED ? p->dim : CHECKED, n = p->rows * dim;
    double *x = malloc((size_t)(4 * n) * sizeof *x), exact = 0, fast = 0, worst = 0, largest = 0;
    void *const z[] = { p->z[0], p->z[1] }, *const grad[] = { p->grad[0], p->grad[1] };
    void *const z64[] = { x, x + n }, *const grad64[] = { x + 2 * n, x + 3 * n };
    clv_loss *plain = NULL, *loss = NULL;
    clv_status st = x ? clv_loss_create(ctx, "barlow_twins", NULL, 0, &plain) : CLV_ERR_NOMEM;
    for (int64_t i = 0; st == CLV_OK && i < 2 * n; i++) x[i] = p->z[i / n][i % n];
    if (st == CLV_OK) st = clv_loss_create(ctx, "barlow_twins", NULL, 0, &loss);
    if (st == CLV_OK) clv_loss_set_reference(plain, true);
    if (st == CLV_OK) st = eval(plain, p->rows, dim, z64, grad64, CLV_F64, &exact);
    if (st == CLV_OK) st = eval(loss, p->rows, dim, z, grad, CLV_F32, &fast);
    for (int64_t i = 0; st == CLV_OK && i < 2 * n; i++) {
        largest = fmax(largest, fabs(x[2 * n + i]));
        worst = fmax(worst, fabs(x[2 * n + i] - p->grad[i / n][i % n]));
    }
    if (st == CLV_OK && !(fabs(exact - fast) <= 1e-5 * (1 + fabs(exact)) && worst <= 1e-4 * largest)) {
        fprintf(stderr, "loss %.9g, float64 gives %.9g; gradient off by %.3g of %.3g\n", fast, exact, worst, largest);
        st = CLV_ERR_INTERNAL;
    }
    clv_loss_destroy(plain);
    clv_loss_destroy(loss);
    free(x);
    return st;
}

static clv_status bench(clv_context *ctx, const problem *p)
{
    double seconds[REPEATS], value = 0;
    void *const z[] = { p->z[0], p->z[1] }, *const grad[] = { p->grad[0], p->grad[1] };
    const clv_loss_tensor in[] = { { "z1", clv_view_2d(NULL, CLV_F32, p->rows, p->dim) },
                                   { "z2", clv_view_2d(NULL, CLV_F32, p->rows, p->dim) } };
    clv_loss *loss = NULL;
    size_t bytes = 0;
    clv_status st = check(ctx, p);
    if (st == CLV_OK) st = clv_loss_create(ctx, "barlow_twins", NULL, 0, &loss);
    for (int i = -1; i < REPEATS && st == CLV_OK; i++) {    /* -1: warm up */
        const double start = now();
        st = eval(loss, p->rows, p->dim, z, grad, CLV_F32, &value);
        if (i >= 0) seconds[i] = now() - start;
    }
    if (st == CLV_OK) st = clv_loss_memory(loss, in, 2, &bytes);
    clv_loss_destroy(loss);
    if (st != CLV_OK) return st;
    qsort(seconds, REPEATS, sizeof *seconds, by_value);
    printf("what,rows,dim,threads,median_ms,fastest_ms,slowest_ms,extra_mib\n");
    printf("barlow_twins,%" PRId64 ",%" PRId64 ",%d,%.2f,%.2f,%.2f,%.3f\n", p->rows, p->dim, clv_context_threads(ctx),
           1e3 * seconds[REPEATS / 2], 1e3 * seconds[0], 1e3 * seconds[REPEATS - 1], (double)bytes / 1048576);
    return CLV_OK;
}

int main(int argc, char **argv)
{
    problem p = { .rows = 256, .dim = 2048 };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    if (argc > 2) {
        p.rows = strtoll(argv[1], NULL, 10);
        p.dim = strtoll(argv[2], NULL, 10);
    }
    if (argc > 3) desc.threads = (int)strtol(argv[3], NULL, 10);
    clv_context *ctx = NULL;
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK && make_problem(&p)) st = bench(ctx, &p);
    if (st != CLV_OK) fprintf(stderr, "bench_barlow: %s: %s\n", clv_status_name(st), clv_error_message());
    for (int view = 0; view < 2; view++) {
        free(p.z[view]);
        free(p.grad[view]);
    }
    clv_context_destroy(ctx);
    return st != CLV_OK;
}
