/* bench_barlow.c: Barlow Twins, value and gradients with respect to both views.
 *     bench_barlow [rows dim threads] */
#include "loss_bench.h"

static clv_status bench(clv_context *ctx, const int64_t *size)
{
    loss_bench b = { .name = "barlow_twins" };
    clv_status st = loss_bench_input(&b, "z1", size[0], size[1]) && loss_bench_input(&b, "z2", size[0], size[1])
                        ? CLV_OK : CLV_ERR_NOMEM;
    if (st == CLV_OK) st = loss_bench_check(ctx, &b);
    if (st == CLV_OK) st = loss_bench_time(ctx, &b, "barlow_twins");
    loss_bench_free(&b);
    return st;
}

int main(int argc, char **argv)
{
    return loss_bench_main(argc, argv, (int64_t[]) { 256, 2048 }, 2, bench);
}
