/* bench_dice.c: dice over several classes, value and gradient, with and without the self-adjusting weight. The answer
 * is compared with the plain kernels first.
 *     bench_dice [items classes threads] */
#include <cleave/loss.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPEATS 101

typedef struct problem {
    int64_t  items, classes, *targets;
    float   *logits, *grad, *expected;
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

static void make(problem *p)
{
    uint32_t seed = 1;
    for (int64_t i = 0; i < p->items * p->classes; i++) {
        seed = seed * 1664525u + 1013904223u;
        p->logits[i] = (float)(seed >> 8) / 2097152.0f - 4;
        if (i % p->classes == 0) p->targets[i / p->classes] = (int64_t)(seed >> 8) % p->classes;
    }
}

static clv_status evaluate(clv_loss *loss, const problem *p, float *grad, double *value)
{
    const clv_loss_tensor in[] = { { "logits", clv_view_2d(p->logits, CLV_F32, p->items, p->classes) },
                                   { "targets", clv_view_1d(p->targets, CLV_I64, p->items) } };
    const clv_loss_tensor grads[] = { { "logits", clv_view_2d(grad, CLV_F32, p->items, p->classes) } };
    return clv_loss_eval(loss, in, 2, grads, 1, NULL, 0, value);
}

static bool agrees(const problem *p, double value, double expected)
{
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < p->items * p->classes; i++) {
        largest = fmax(largest, fabs((double)p->expected[i]));
        worst = fmax(worst, fabs((double)p->expected[i] - (double)p->grad[i]));
    }
    const bool good = worst <= 1e-5 * largest && fabs(value - expected) <= 1e-5 * fabs(expected);
    if (!good) fprintf(stderr, "value %.9g, gradient off by %.3g: the reference gives %.9g\n", value, worst, expected);
    return good;
}

static clv_status bench(clv_context *ctx, const problem *p, const char *alpha)
{
    const clv_option options[] = { { "variant", "multiclass_official" }, { "square", "true" }, { "alpha", alpha } };
    static double seconds[REPEATS];
    clv_loss *loss = NULL;
    double value = 0, expected = 0;
    clv_status st = clv_loss_create(ctx, "dice", options, 3, &loss);
    if (st == CLV_OK) clv_loss_set_reference(loss, true);
    if (st == CLV_OK) st = evaluate(loss, p, p->expected, &expected);
    if (st == CLV_OK) clv_loss_set_reference(loss, false);
    if (st == CLV_OK) st = evaluate(loss, p, p->grad, &value);
    if (st == CLV_OK && !agrees(p, value, expected)) st = CLV_ERR_INTERNAL;
    for (int i = 0; i < REPEATS && st == CLV_OK; i++) {
        const double begin = now();
        st = evaluate(loss, p, p->grad, &value);
        seconds[i] = now() - begin;
    }
    qsort(seconds, REPEATS, sizeof *seconds, by_value);
    if (st == CLV_OK)
        printf("dice alpha %s,%" PRId64 ",%" PRId64 ",%d,%.4f,%.4f,%.4f\n", alpha, p->items, p->classes,
               clv_context_threads(ctx), 1e3 * seconds[REPEATS / 2], 1e3 * seconds[0], 1e3 * seconds[REPEATS - 1]);
    clv_loss_destroy(loss);
    return st;
}

int main(int argc, char **argv)
{
    problem p = { .items = argc > 1 ? strtoll(argv[1], NULL, 10) : 4096,
                  .classes = argc > 2 ? strtoll(argv[2], NULL, 10) : 10 };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    clv_context *ctx = NULL;
    if (argc > 3) desc.threads = (int)strtol(argv[3], NULL, 10);
    if (p.items < 1 || p.classes < 2 || p.items > 1 << 24 || p.classes > 1 << 12) return 2;
    const size_t n = (size_t)(p.items * p.classes);
    p.logits = calloc(n, sizeof *p.logits);
    p.grad = calloc(n, sizeof *p.grad);
    p.expected = calloc(n, sizeof *p.expected);
    p.targets = calloc((size_t)p.items, sizeof *p.targets);
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK && p.logits && p.grad && p.expected && p.targets) {
        make(&p);
        printf("what,items,classes,threads,median_ms,fastest_ms,slowest_ms\n");
        st = bench(ctx, &p, "0");
        if (st == CLV_OK) st = bench(ctx, &p, "0.5");
    }
    if (st != CLV_OK) fprintf(stderr, "bench_dice: %s: %s\n", clv_status_name(st), clv_error_message());
    free(p.logits);
    free(p.grad);
    free(p.expected);
    free(p.targets);
    clv_context_destroy(ctx);
    return st != CLV_OK;
}
