/* bench_opl.c: orthogonal projection loss, value and gradient, of its three variants.
 *     bench_opl [batch dim classes threads] */
#include "loss_bench.h"

static clv_status bench(clv_context *ctx, const int64_t *size)
{
    static const char *const modes[] = { "none", "abs_of_mean", "mean_of_abs" };
    clv_status st = CLV_OK;
    for (int i = 0; i < 3 && st == CLV_OK; i++) {
        const clv_option options[] = { { "neg-mode", modes[i] } };
        loss_bench b = { .name = "opl", .options = options, .n_options = 1 };
        if (!loss_bench_input(&b, "features", size[0], size[1]) || !loss_bench_labels(&b, "labels", 1, size, size[2]))
            st = CLV_ERR_NOMEM;
        if (st == CLV_OK) st = loss_bench_check(ctx, &b);
        if (st == CLV_OK) st = loss_bench_time(ctx, &b, modes[i]);
        loss_bench_free(&b);
    }
    return st;
}

int main(int argc, char **argv)
{
    return loss_bench_main(argc, argv, (int64_t[]) { 512, 512, 100 }, 3, bench);
}
