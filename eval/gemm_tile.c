/* gemm_tile.c: one matmul graph used for many blocks. */
#include "eval/gemm_tile.h"

#include <string.h>

static clv_status build(clvi_gemm_tile *t)
{
    clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    CLV_TRY(clv_graph_create(t->ctx, &desc, &t->graph));
    const int64_t a[2] = { t->rows, t->dim }, b[2] = { t->cols, t->dim };
    t->a = clv_input(t->graph, "a", CLV_F32, 2, a);
    t->b = clv_input(t->graph, "b", CLV_F32, 2, b);
    t->out = clv_matmul(t->graph, t->a, false, t->b, true);
    clv_graph_output(t->graph, t->out);
    CLV_TRY(clv_graph_finish(t->graph));
    t->a_pad = clvi_calloc(t->ctx, (size_t)(t->rows * t->dim), sizeof(float));
    t->b_pad = clvi_calloc(t->ctx, (size_t)(t->cols * t->dim), sizeof(float));
    return t->a_pad && t->b_pad ? CLV_OK : CLV_ERR_NOMEM;
}

clv_status clvi_gemm_tile_create(clv_context *ctx, int64_t rows, int64_t cols, int64_t dim, clvi_gemm_tile *out)
{
    *out = (clvi_gemm_tile){ .ctx = ctx, .rows = rows, .cols = cols, .dim = dim };
    const clv_status st = build(out);
    if (st != CLV_OK) clvi_gemm_tile_destroy(out);
    return st;
}

void clvi_gemm_tile_destroy(clvi_gemm_tile *t)
{
    clv_graph_destroy(t->graph);
    if (t->ctx) {
        clvi_free(t->ctx, t->a_pad);
        clvi_free(t->ctx, t->b_pad);
    }
    *t = (clvi_gemm_tile){ .ctx = NULL };
}

static clv_status bind(clvi_gemm_tile *t, clv_node node, const float *rows, int64_t n, int64_t wanted, float *pad)
{
    if (n < wanted) {
        memcpy(pad, rows, (size_t)(n * t->dim) * sizeof *pad);
        memset(pad + n * t->dim, 0, (size_t)((wanted - n) * t->dim) * sizeof *pad);
        rows = pad;
    }
    const clv_view view = clv_view_2d((void *)rows, CLV_F32, wanted, t->dim);
    return clv_graph_bind(t->graph, node, &view);
}

clv_status clvi_gemm_tile_run(clvi_gemm_tile *t, const float *a, int64_t n, const float *b, int64_t m, const float **scores)
{
    CLV_TRY(bind(t, t->a, a, n, t->rows, t->a_pad));
    CLV_TRY(bind(t, t->b, b, m, t->cols, t->b_pad));
    CLV_TRY(clv_graph_run(t->graph));
    clv_view out;
    CLV_TRY(clv_graph_read(t->graph, t->out, &out));
    *scores = out.data;
    return CLV_OK;
}
