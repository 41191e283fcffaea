/* bank_nce_tile.h: the two register-tiled products and the list of bank_nce_isa.c, compiled once for each instruction
 * set. Sums are floats; factors are words that FMA knows: floats, or pairs of bfloat16. The includer defines
 *   LANES       floats in a vector
 *   TILE_Q      queries of a score tile; with 3 vectors of keys it fills the registers
 *   TERMS       words whose sum a value of a query is
 *   TILE_D      vectors of an accumulator tile, with 3 queries
 *   FMA(a,b,c)  a b + c; for pairs, the sum of both products + c
 *   ABOVE(x,f)  bit i: x[i] > f, of LANES floats at any address
 *   TARGET, TILE(name)
 * No include guard: that is the point. */

typedef float TILE(vec) __attribute__((vector_size(LANES * 4)));
typedef float TILE(vec_any) __attribute__((vector_size(LANES * 4), aligned(4), may_alias));   /* at any address */

/* score[q][k] = <query q, key k> for TILE_Q queries, interleaved [dim][TERMS][TILE_Q], and a panel of keys, interleaved
 * [dim][3 LANES]. */
TARGET static void TILE(scores)(const float *query, const float *panel, int64_t dim, float *score, int64_t stride)
{
    TILE(vec) sum[TILE_Q][3] = { { { 0 } } };
    for (int64_t d = 0; d < dim; d++, query += TERMS * TILE_Q, panel += 3 * LANES) {
        const TILE(vec) k0 = *(const TILE(vec_any) *)panel, k1 = *(const TILE(vec_any) *)(panel + LANES),
                        k2 = *(const TILE(vec_any) *)(panel + 2 * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < TERMS * TILE_Q; i++) {
            const TILE(vec) q = query[i] - (TILE(vec)){ 0 };
            TILE(vec) *to = sum[i % TILE_Q];
            to[0] = FMA(q, k0, to[0]);
            to[1] = FMA(q, k1, to[1]);
            to[2] = FMA(q, k2, to[2]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < TILE_Q; i++)
        for (int j = 0; j < 3; j++) *(TILE(vec_any) *)(score + i * stride + j * LANES) = sum[i][j];
}

/* acc[q][..] += sum_k weight[q][k] row[k][..] for 3 queries, `count` rows, `vectors` vectors of columns. */
CLVI_INLINE TARGET void TILE(accumulate)(const float *weight, int64_t weight_stride, const float *row,
                                         int64_t row_stride, int64_t count, float *acc, int64_t acc_stride,
                                         const int vectors)
{
    TILE(vec) sum[3][TILE_D];
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sum[i][v] = *(const TILE(vec_any) *)(acc + i * acc_stride + v * LANES);
    for (int64_t k = 0; k < count; k++, row += row_stride) {
        const TILE(vec) w0 = weight[k] - (TILE(vec)){ 0 }, w1 = weight[weight_stride + k] - (TILE(vec)){ 0 },
                        w2 = weight[2 * weight_stride + k] - (TILE(vec)){ 0 };
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            TILE(vec) x = *(const TILE(vec_any) *)(row + v * LANES);
            LOAD_ONCE(x);
            sum[0][v] = FMA(w0, x, sum[0][v]);
            sum[1][v] = FMA(w1, x, sum[1][v]);
            sum[2][v] = FMA(w2, x, sum[2][v]);
        }
    }
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) *(TILE(vec_any) *)(acc + i * acc_stride + v * LANES) = sum[i][v];
}

/* The same for any number of columns that is a multiple of LANES. */
TARGET static void TILE(accumulate_all)(const float *weight, int64_t weight_stride, const float *row,
                                        int64_t row_stride, int64_t count, float *acc, int64_t acc_stride,
                                        int64_t columns)
{
    int64_t c = 0;
    for (; c + TILE_D * LANES <= columns; c += TILE_D * LANES)
        TILE(accumulate)(weight, weight_stride, row + c, row_stride, count, acc + c, acc_stride, TILE_D);
    for (; c + 2 * LANES <= columns; c += 2 * LANES)
        TILE(accumulate)(weight, weight_stride, row + c, row_stride, count, acc + c, acc_stride, 2);
    for (; c < columns; c += LANES)
        TILE(accumulate)(weight, weight_stride, row + c, row_stride, count, acc + c, acc_stride, 1);
}

/* The scores above a list's floor join it. The list has room for `count` more. */
TARGET static void TILE(list)(const float *score, int64_t count, const int32_t *keep, int64_t first, clvi_topk *list)
{
    int64_t n = list->count;
    for (int64_t j = 0; j < count; j += LANES) {
        unsigned above = ABOVE(score + j, list->floor);
        if (count - j < LANES) above &= (1u << (count - j)) - 1;
        for (; above; above &= above - 1) {
            const int64_t k = j + __builtin_ctz(above);
            if (keep && !keep[k]) continue;
            list->score[n] = score[k];
            list->slot[n++] = (int32_t)(first + k);
        }
    }
    list->count = n;
}

#undef LANES
#undef TILE_Q
#undef TERMS
#undef TILE_D
#undef FMA
#undef ABOVE
#undef TARGET
#undef TILE
