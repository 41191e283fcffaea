/* bench_dice.c: dice over several classes, value and gradient, with and without the self-adjusting weight.
 *     bench_dice [items classes threads] */
#include "loss_bench.h"

static clv_status bench(clv_context *ctx, const int64_t *size)
{
    static const char *const alphas[] = { "0", "0.5" }, *const names[] = { "dice alpha 0", "dice alpha 0.5" };
    clv_status st = CLV_OK;
    for (int i = 0; i < 2 && st == CLV_OK; i++) {
        const clv_option options[] = { { "variant", "multiclass_official" }, { "square", "true" },
                                       { "alpha", alphas[i] } };
        loss_bench b = { .name = "dice", .options = options, .n_options = 3 };
        if (!loss_bench_input(&b, "logits", size[0], size[1]) || !loss_bench_labels(&b, "targets", 1, size, size[1]))
            st = CLV_ERR_NOMEM;
        if (st == CLV_OK) st = loss_bench_check(ctx, &b);
        if (st == CLV_OK) st = loss_bench_time(ctx, &b, names[i]);
        loss_bench_free(&b);
    }
    return st;
}

int main(int argc, char **argv)
{
    return loss_bench_main(argc, argv, (int64_t[]) { 4096, 10 }, 2, bench);
}
