/* bench_mochi.c: InfoNCE against a bank with mixed hard negatives, value and gradient, beside InfoNCE alone. The mixes
 * are drawn as in training.
 *     bench_mochi [batch dim keys threads] */
#include "loss_bench.h"

static clv_status make(loss_bench *b, const char *name, int64_t batch, int64_t dim, int64_t keys)
{
    *b = (loss_bench) { .name = name };
    const bool good = loss_bench_input(b, "query", batch, dim) &&
                      loss_bench_tensor(b, "key", 2, (int64_t[]) { batch, dim }, false) &&
                      loss_bench_tensor(b, "queue", 2, (int64_t[]) { keys, dim }, false);
    return good ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status bench(clv_context *ctx, int64_t batch, int64_t dim, int64_t keys)
{
    static const char *const names[] = { "moco_queue", "mochi" };
    clv_status st = CLV_OK;
    printf(LOSS_BENCH_HEADER);
    for (int i = 0; i < 2 && st == CLV_OK; i++) {
        loss_bench small, b;
        st = make(&small, names[i], 8, 128, 5000);    /* the plain kernels take their time */
        if (st == CLV_OK) st = loss_bench_check(ctx, &small);
        loss_bench_free(&small);
        if (st != CLV_OK) break;
        st = make(&b, names[i], batch, dim, keys);
        if (st == CLV_OK) st = loss_bench_time(ctx, &b, names[i]);
        loss_bench_free(&b);
    }
    return st;
}

int main(int argc, char **argv)
{
    int64_t size[] = { 256, 128, 65536 };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    for (int i = 0; i < 3 && argc > 3; i++) size[i] = strtoll(argv[i + 1], NULL, 10);
    if (argc > 4) desc.threads = (int)strtol(argv[4], NULL, 10);
    clv_context *ctx = NULL;
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK) st = bench(ctx, size[0], size[1], size[2]);
    if (st != CLV_OK) fprintf(stderr, "bench_mochi: %s: %s\n", clv_status_name(st), clv_error_message());
    clv_context_destroy(ctx);
    return st != CLV_OK;
}
