/* scores.c: how positives and negatives score: mean, variance, histogram, and how often the positive wins. */
#include "eval/meter.h"
#include "core/checked.h"

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

/* wide: room for TILE_BANK rows, for a bank of bfloat16. */
static clv_status walk_bank(clvi_gemm_tile *tile, const clv_view *query, const clv_view *bank, const uint8_t *valid,
                            float *wide, moments *negative, float *highest)
{
    const int64_t n = query->shape[0], dim = query->shape[1];
    for (int64_t first = 0; first < bank->shape[0]; first += TILE_BANK) {
        const int64_t m = CLVI_MIN(TILE_BANK, bank->shape[0] - first);
        const float *scores = NULL, *rows = (const float *)bank->data + first * dim;
        if (bank->dtype == CLV_BF16) {
            const clv_view half = clv_view_2d((uint16_t *)bank->data + first * dim, CLV_BF16, m, dim);
            const clv_view full = clv_view_2d(wide, CLV_F32, m, dim);
            CLV_TRY(clv_view_copy(&full, &half));
            rows = wide;
        }
        CLV_TRY(clvi_gemm_tile_run(tile, query->data, n, rows, m, &scores));
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

clv_status clvi_score_meter_create(clv_context *ctx, int64_t queries, int64_t dim, clvi_score_meter *out)
{
    *out = (clvi_score_meter){ .highest = NULL };
    CLV_TRY(clvi_gemm_tile_create(ctx, queries, TILE_BANK, dim, &out->tile));
    out->highest = clvi_calloc(ctx, (size_t)queries, sizeof *out->highest);
    out->wide = clvi_calloc(ctx, TILE_BANK * (size_t)dim, sizeof *out->wide);
    if (out->highest && out->wide) return CLV_OK;
    clvi_score_meter_destroy(out);
    return CLV_ERR_NOMEM;
}

void clvi_score_meter_destroy(clvi_score_meter *m)
{
    if (m->tile.ctx) {
        clvi_free(m->tile.ctx, m->highest);
        clvi_free(m->tile.ctx, m->wide);
    }
    m->highest = m->wide = NULL;
    clvi_gemm_tile_destroy(&m->tile);
}

clv_status clvi_score_meter_look(clvi_score_meter *m, const clv_view *query, const clv_view *key, const clv_view *bank,
                                 const uint8_t *valid, clv_scores *out)
{
    const int64_t n = query->shape[0], dim = query->shape[1];
    int64_t wins = 0;
    *out = (clv_scores){ 0 };
    moments positive = { .histogram = out->positive_histogram }, negative = { .histogram = out->negative_histogram };
    for (int64_t i = 0; i < n; i++) m->highest[i] = -INFINITY;
    CLV_TRY(walk_bank(&m->tile, query, bank, valid, m->wide, &negative, m->highest));
    for (int64_t i = 0; i < n; i++) {
        const float *q = (const float *)query->data + i * dim, *k = (const float *)key->data + i * dim;
        double score = 0.0;
        for (int64_t j = 0; j < dim; j++) score += (double)q[j] * k[j];
        add(&positive, score);
        wins += score > m->highest[i];
    }
    finish(&positive, &out->positive_mean, &out->positive_variance);
    finish(&negative, &out->negative_mean, &out->negative_variance);
    out->pretext_top1 = 100.0 * (double)wins / (double)n;
    return CLV_OK;
}

clv_status clv_scores_measure(clv_context *ctx, const clv_view *query, const clv_view *key, const clv_view *bank,
                              const uint8_t *valid, clv_scores *out)
{
    CLV_CHECK(ctx && query && key && bank && out, CLV_ERR_INVALID, "clv_scores_measure: an argument is NULL");
    const clv_view *const views[3] = { query, key, bank };
    for (int i = 0; i < 3; i++)
        CLV_CHECK(views[i]->ndim == 2 && (views[i]->dtype == CLV_F32 || (i == 2 && views[i]->dtype == CLV_BF16))
                      && clv_view_is_dense(views[i])
                      && views[i]->shape[1] == query->shape[1] && (i != 1 || key->shape[0] == query->shape[0]),
                  CLV_ERR_SHAPE, "clv_scores_measure: query, key [n,D] and bank [K,D] must be dense float32 "
                  "(the bank also bfloat16)");
    *out = (clv_scores){ 0 };
    if (query->shape[0] == 0 || query->shape[1] == 0) return CLV_OK;
    clvi_score_meter meter;
    CLV_TRY(clvi_score_meter_create(ctx, query->shape[0], query->shape[1], &meter));
    const clv_status st = clvi_score_meter_look(&meter, query, key, bank, valid, out);
    clvi_score_meter_destroy(&meter);
    return st;
}
