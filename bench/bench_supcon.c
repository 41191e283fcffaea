/* bench_supcon.c: SupCon, value and gradient, beside the bare matrix products it cannot do without: all scores, and the
 * scores times the features.
 *     bench_supcon [samples views dim threads] */
#include "loss_bench.h"

#include <cleave/graph.h>

#define CLASSES 100

static clv_status make(loss_bench *b, const int64_t *size)
{
    *b = (loss_bench) { .name = "supcon" };
    const bool good = loss_bench_tensor(b, "features", 3, size, true) &&
                      loss_bench_labels(b, "labels", 1, size, CLASSES);
    return good ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status make_products(clv_context *ctx, const loss_bench *b, clv_graph **out)
{
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    const int64_t *size = b->in[0].view.shape, shape[] = { size[0] * size[1], size[2] };
    clv_status st = clv_graph_create(ctx, &desc, out);
    if (st != CLV_OK) return st;
    const clv_node x = clv_input(*out, "x", CLV_F32, 2, shape);
    clv_graph_output(*out, clv_matmul(*out, clv_matmul(*out, x, false, x, true), false, x, false));
    if ((st = clv_graph_finish(*out)) != CLV_OK) return st;
    const clv_view view = clv_view_dense(b->in[0].view.data, CLV_F32, 2, shape);
    return clv_graph_bind(*out, x, &view);
}

static clv_status time_products(clv_context *ctx, const loss_bench *b)
{
    double seconds[LOSS_BENCH_REPEATS];
    clv_graph *products = NULL;
    clv_graph_memory_t m = { 0 };
    clv_status st = make_products(ctx, b, &products);
    for (int i = -3; i < LOSS_BENCH_REPEATS && st == CLV_OK; i++) {    /* below 0: warming up */
        const double start = bench_now();
        st = clv_graph_run(products);
        if (i >= 0) seconds[i] = bench_now() - start;
    }
    if (st == CLV_OK) st = clv_graph_memory(products, &m);
    if (st == CLV_OK)
        loss_bench_report("two matrix products", clv_context_threads(ctx), seconds, LOSS_BENCH_REPEATS, m.activations);
    clv_graph_destroy(products);
    return st;
}

static clv_status bench(clv_context *ctx, const int64_t *size)
{
    loss_bench b;
    const int64_t small[] = { size[0] < 300 ? size[0] : 300, size[1], size[2] };    /* plain kernels take their time */
    clv_status st = make(&b, small);
    if (st == CLV_OK) st = loss_bench_check(ctx, &b);
    loss_bench_free(&b);
    if (st == CLV_OK) st = make(&b, size);
    else return st;
    if (st == CLV_OK) st = time_products(ctx, &b);
    if (st == CLV_OK) st = loss_bench_time(ctx, &b, "supcon");
    loss_bench_free(&b);
    return st;
}

int main(int argc, char **argv)
{
    return loss_bench_main(argc, argv, (int64_t[]) { 1024, 2, 128 }, 3, bench);
}
