/* similarity.c: strips of similarities through the matrix product. */
#include "eval/similarity.h"
#include "core/checked.h"
#include "eval/rows.h"

#include <math.h>
#include <string.h>

enum { COLUMNS = 4096, MAX_STRIP = 512, STRIP_SCORES = 1 << 22 };

static double *squared_lengths(clv_context *ctx, const float *rows, int64_t n, int64_t dim)
{
    double *norm = clvi_calloc(ctx, (size_t)n, sizeof *norm);
    for (int64_t i = 0; norm && i < n * dim; i++) norm[i / dim] += (double)rows[i] * rows[i];
    return norm;
}

static clv_status take_rows(clvi_similarity *s, clv_knn_distance distance, const clv_view *left, const clv_view *right)
{
    const bool unit = distance != CLV_KNN_L2, centre = distance == CLV_KNN_CENTRED_COSINE;
    CLV_TRY(clvi_rows_copy(s->ctx, left, centre, unit, &s->left_rows));
    if (right) CLV_TRY(clvi_rows_copy(s->ctx, right, centre, unit, &s->right_rows));
    else s->right_rows = s->left_rows;
    if (unit) return CLV_OK;
    s->left_norm = squared_lengths(s->ctx, s->left_rows, s->left, s->dim);
    s->right_norm = right ? squared_lengths(s->ctx, s->right_rows, s->right, s->dim) : s->left_norm;
    return s->left_norm && s->right_norm ? CLV_OK : CLV_ERR_NOMEM;
}

static clv_status create(clvi_similarity *s, clv_knn_distance distance, const clv_view *left, const clv_view *right)
{
    CLV_TRY(take_rows(s, distance, left, right));
    s->scores = clvi_calloc(s->ctx, (size_t)s->strip * (size_t)s->right, sizeof *s->scores);
    if (!s->scores) return CLV_ERR_NOMEM;
    return clvi_gemm_tile_create(s->ctx, s->strip, CLVI_MIN((int64_t)COLUMNS, s->right), s->dim, &s->tile);
}

clv_status clvi_similarity_create(clv_context *ctx, clv_knn_distance distance, const clv_view *left,
                                  const clv_view *right, const char *what, clvi_similarity *out)
{
    CLV_CHECK(distance >= CLV_KNN_COSINE && distance <= CLV_KNN_L2, CLV_ERR_INVALID, "%s: there is no distance %d",
              what, distance);
    CLV_TRY(clvi_rows_check(left, what));
    if (right) CLV_TRY(clvi_rows_check(right, what));
    const clv_view *other = right ? right : left;
    CLV_CHECK(left->shape[1] == other->shape[1] && other->shape[1] > 0, CLV_ERR_SHAPE,
              "%s: rows have %" PRId64 " values, those they are compared with %" PRId64, what, left->shape[1],
              other->shape[1]);
    CLV_CHECK(other->shape[0] > 0, CLV_ERR_INVALID, "%s: there are no rows to compare with", what);
    *out = (clvi_similarity){ .ctx = ctx, .left = left->shape[0], .right = other->shape[0], .dim = left->shape[1] };
    out->strip = CLVI_MAX(CLVI_MIN(CLVI_MIN((int64_t)MAX_STRIP, STRIP_SCORES / out->right), out->left), INT64_C(1));
    const clv_status st = create(out, distance, left, right);
    if (st != CLV_OK) clvi_similarity_destroy(out);
    return st;
}

void clvi_similarity_destroy(clvi_similarity *s)
{
    if (!s->ctx) return;
    if (s->right_rows != s->left_rows) clvi_free(s->ctx, s->right_rows);
    if (s->right_norm != s->left_norm) clvi_free(s->ctx, s->right_norm);
    clvi_free(s->ctx, s->left_rows);
    clvi_free(s->ctx, s->left_norm);
    clvi_free(s->ctx, s->scores);
    clvi_gemm_tile_destroy(&s->tile);
    *s = (clvi_similarity){ .ctx = NULL };
}

clv_status clvi_similarity_strip(clvi_similarity *s, int64_t first, int64_t n, const float **scores)
{
    const float *products = NULL;
    for (int64_t column = 0; column < s->right; column += s->tile.cols) {
        const int64_t m = CLVI_MIN(s->tile.cols, s->right - column);
        CLV_TRY(clvi_gemm_tile_run(&s->tile, s->left_rows + first * s->dim, n, s->right_rows + column * s->dim, m,
                                   &products));
        for (int64_t i = 0; i < n; i++) {
            float *to = s->scores + i * s->right + column;
            const float *from = products + i * s->tile.cols;
            memcpy(to, from, (size_t)m * sizeof *to);
            for (int64_t j = 0; s->left_norm && j < m; j++)
                to[j] = (float)-sqrt(fmax(s->left_norm[first + i] + s->right_norm[column + j] - 2.0 * from[j], 0.0));
        }
    }
    *scores = s->scores;
    return CLV_OK;
}
