/* scores.c: how positives and negatives score: mean, variance, histogram, and how often the positive wins. */
#include <cleave/eval.h>
#include "core/checked.h"
#include "eval/gemm_tile.h"
#include "eval/rows.h"

#include <math.h>

#define TILE_BANK 2048

/* Running sums of one side. */
typedef struct moments {
    double  count, sum, squares;
    int64_t *histogram;
} moments;

static void add(moments *m, double score)
{
    const int64_t bin = (int64_t)((score + 1.0) * 0.5 * CLV_SCORE_BINS);
    m->count += 1.0;
    m->sum += score;
    m->squares += score * score;
    m->histogram[CLVI_MAX(INT64_C(0), CLVI_MIN(bin, (int64_t)CLV_SCORE_BINS - 1))]++;
}

static void finish(const moments *m, double *mean, double *variance)
{
    *mean = m->count > 0 ? m->sum / m->count : 0.0;
    *variance = m->count > 0 ? fmax(m->squares / m->count - *mean * *mean, 0.0) : 0.0;
}

static clv_status walk_bank(clvi_gemm_tile *tile, const clv_view *query, const clv_view *bank, const uint8_t *valid,
                            moments *negative, float *highest)
{
    const int64_t n = query->shape[0], dim = query->shape[1];
    for (int64_t first = 0; first < bank->shape[0]; first += TILE_BANK) {
        const int64_t m = CLVI_MIN(TILE_BANK, bank->shape[0] - first);
        const float *scores = NULL;
        CLV_TRY(clvi_gemm_tile_run(tile, query->data, n, (const float *)bank->data + first * dim, m, &scores));
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < m; j++) {
                if (valid && !valid[first + j]) continue;
                const float score = scores[i * TILE_BANK + j];
                add(negative, score);
                highest[i] = CLVI_MAX(highest[i], score);
            }
    }
    return CLV_OK;
}

clv_status clv_scores_measure(clv_context *ctx, const clv_view *query, const clv_view *key, const clv_view *bank,
                              const uint8_t *valid, clv_scores *out)
{
    CLV_CHECK(ctx && query && key && bank && out, CLV_ERR_INVALID, "clv_scores_measure: an argument is NULL");
    const clv_view *const views[3] = { query, key, bank };
    for (int i = 0; i < 3; i++)
        CLV_CHECK(views[i]->ndim == 2 && views[i]->dtype == CLV_F32 && clv_view_is_dense(views[i])
                      && views[i]->shape[1] == query->shape[1] && (i != 1 || key->shape[0] == query->shape[0]),
                  CLV_ERR_SHAPE, "clv_scores_measure: query, key [n,D] and bank [K,D] must be dense float32");
    const int64_t n = query->shape[0], dim = query->shape[1];
    *out = (clv_scores){ 0 };
    if (n == 0 || dim == 0) return CLV_OK;
    moments positive = { .histogram = out->positive_histogram }, negative = { .histogram = out->negative_histogram };
    clvi_gemm_tile tile = { .ctx = NULL };
    clv_status st = CLV_OK;
    int64_t wins = 0;
    float *highest = clvi_calloc(ctx, (size_t)n, sizeof *highest);
    if (!highest) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) highest[i] = -INFINITY;
    CLV_TRY_OR_DONE(clvi_gemm_tile_create(ctx, n, TILE_BANK, dim, &tile));
    CLV_TRY_OR_DONE(walk_bank(&tile, query, bank, valid, &negative, highest));
    for (int64_t i = 0; i < n; i++) {
        const float *q = (const float *)query->data + i * dim, *k = (const float *)key->data + i * dim;
        double score = 0.0;
        for (int64_t j = 0; j < dim; j++) score += (double)q[j] * k[j];
        add(&positive, score);
        wins += score > highest[i];
    }
    finish(&positive, &out->positive_mean, &out->positive_variance);
    finish(&negative, &out->negative_mean, &out->negative_variance);
    out->pretext_top1 = 100.0 * (double)wins / (double)n;
done:
    clvi_gemm_tile_destroy(&tile);
    clvi_free(ctx, highest);
    return st;
}
