/* gemm_tile.h: dot products of rows against rows, a tile at a time, through the library's own matmul. */
#ifndef CLVI_EVAL_GEMM_TILE_H
#define CLVI_EVAL_GEMM_TILE_H

#include <cleave/graph.h>
#include "core/context.h"

/* scores[i * cols + j] = <a_i, b_j> for blocks of at most rows x cols. */
typedef struct clvi_gemm_tile {
    clv_context *ctx;
    clv_graph   *graph;
    clv_node     a, b, out;
    int64_t      rows, cols, dim;
    float       *a_pad, *b_pad;    /* a last, shorter block, filled up with zeros */
} clvi_gemm_tile;

clv_status clvi_gemm_tile_create(clv_context *ctx, int64_t rows, int64_t cols, int64_t dim, clvi_gemm_tile *out) CLV_NODISCARD;
void clvi_gemm_tile_destroy(clvi_gemm_tile *tile);
/* a [n,dim] with n <= rows, b [m,dim] with m <= cols, dense. *scores has `cols` floats a row and is valid until the next
 * call; only its first n rows and m columns mean anything. Allocates nothing after the first call. */
clv_status clvi_gemm_tile_run(clvi_gemm_tile *tile, const float *a, int64_t n, const float *b, int64_t m,
                              const float **scores) CLV_NODISCARD;

#endif
