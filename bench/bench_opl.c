/* bench_opl.c: orthogonal projection loss, value and gradient, of its three variants.
 *     bench_opl [batch dim classes threads] */
#include "loss_bench.h"

static clv_status bench(clv_context *ctx, int64_t batch, int64_t dim, int64_t classes)
{
    static const char *const modes[] = { "none", "abs_of_mean", "mean_of_abs" };
    clv_status st = CLV_OK;
    printf(LOSS_BENCH_HEADER);
    for (int i = 0; i < 3 && st == CLV_OK; i++) {
        const clv_option options[] = { { "neg-mode", modes[i] } };
        loss_bench b = { .name = "opl", .options = options, .n_options = 1 };
        if (!loss_bench_input(&b, "features", batch, dim) || !loss_bench_labels(&b, "labels", 1, &batch, classes)) st = CLV_ERR_NOMEM;
        if (st == CLV_OK) st = loss_bench_check(ctx, &b);
        if (st == CLV_OK) st = loss_bench_time(ctx, &b, modes[i]);
        loss_bench_free(&b);
    }
    return st;
}

int main(int argc, char **argv)
{
    int64_t size[] = { 512, 512, 100 };
    clv_context_desc desc = CLV_CONTEXT_DESC_INIT;
    for (int i = 0; i < 3 && argc > 3; i++) size[i] = strtoll(argv[i + 1], NULL, 10);
    if (argc > 4) desc.threads = (int)strtol(argv[4], NULL, 10);
    clv_context *ctx = NULL;
    clv_status st = clv_context_create(&desc, &ctx);
    if (st == CLV_OK) st = bench(ctx, size[0], size[1], size[2]);
    if (st != CLV_OK) fprintf(stderr, "bench_opl: %s: %s\n", clv_status_name(st), clv_error_message());
    clv_context_destroy(ctx);
    return st != CLV_OK;
}
