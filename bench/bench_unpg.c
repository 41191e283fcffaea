/* bench_unpg.c: unified negative pair generation, value and gradients of features and class directions, beside the
 * margin softmax alone (cosface).
 *     bench_unpg [batch classes dim threads] */
#include "loss_bench.h"

static clv_status make(loss_bench *b, const char *name, int64_t batch, int64_t classes, int64_t dim)
{
    *b = (loss_bench) { .name = name };
    const bool good = loss_bench_input(b, "features", batch, dim) && loss_bench_input(b, "weight", classes, dim) &&
                      loss_bench_labels(b, "labels", 1, &batch, classes);
    return good ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status bench(clv_context *ctx, const int64_t *size)
{
    static const char *const names[] = { "unpg", "cosface" };
    clv_status st = CLV_OK;
    for (int i = 0; i < 2 && st == CLV_OK; i++) {
        loss_bench small, b;
        st = make(&small, names[i], 64, 500, 128);    /* the plain kernels take their time */
        if (st == CLV_OK) st = loss_bench_check(ctx, &small);
        loss_bench_free(&small);
        if (st != CLV_OK) break;
        st = make(&b, names[i], size[0], size[1], size[2]);
        if (st == CLV_OK) st = loss_bench_time(ctx, &b, names[i]);
        loss_bench_free(&b);
    }
    return st;
}

int main(int argc, char **argv)
{
    return loss_bench_main(argc, argv, (int64_t[]) { 512, 10000, 512 }, 3, bench);
}
