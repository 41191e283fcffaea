/* verification.c: are two pictures of one kind? Acceptance of genuine and impostor pairs over all thresholds. */
#include "core/checked.h"
#include "core/rng.h"
#include "eval/rows.h"
#include "eval/similarity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int descending(const void *left, const void *right)
{
    const float a = *(const float *)left, b = *(const float *)right;
    return (a < b) - (a > b);
}

/* ---- scores ---- */

/* One step of the threshold: down to the next score, over all pairs that have it. */
static void lower_threshold(const float *genuine, int64_t genuine_count, const float *impostor, int64_t impostor_count,
                            int64_t *g, int64_t *i)
{
    float at = -INFINITY;
    if (*g < genuine_count) at = genuine[*g];
    if (*i < impostor_count) at = fmaxf(at, impostor[*i]);
    while (*g < genuine_count && genuine[*g] == at) ++*g;
    while (*i < impostor_count && impostor[*i] == at) ++*i;
}

static void walk(const clv_verification_desc *desc, const float *genuine, int64_t genuine_count, const float *impostor,
                 int64_t impostor_count, clv_verification_result *out)
{
    double tar = 0.0, far = 0.0;
    bool crossed = false;
    for (int64_t g = 0, i = 0; g < genuine_count || i < impostor_count;) {
        const double old_tar = tar, old_far = far;
        lower_threshold(genuine, genuine_count, impostor, impostor_count, &g, &i);
        tar = (double)g / (double)genuine_count;
        far = (double)i / (double)impostor_count;
        out->auc += 50.0 * (far - old_far) * (tar + old_tar);
        for (int r = 0; r < CLV_VERIFICATION_RATES; r++)
            if ((double)i <= desc->rate[r] * (double)impostor_count) out->tar[r] = 100.0 * tar;
        const double before = 1.0 - old_tar - old_far, after = 1.0 - tar - far;     /* rejection minus acceptance */
        if (crossed || after > 0.0) continue;
        out->eer = 100.0 * (old_far + before / (before - after) * (far - old_far));
        crossed = true;
    }
}

clv_status clv_verification_scores(const clv_verification_desc *desc, float *genuine, int64_t genuine_count,
                                   float *impostor, int64_t impostor_count, clv_verification_result *out)
{
    CLV_CHECK(desc && genuine && impostor && out, CLV_ERR_INVALID, "clv_verification_scores: an argument is NULL");
    CLV_CHECK(genuine_count > 0 && impostor_count > 0, CLV_ERR_INVALID,
              "verification: %" PRId64 " genuine and %" PRId64 " impostor pairs; both must be there", genuine_count,
              impostor_count);
    for (int r = 0; r < CLV_VERIFICATION_RATES; r++)
        CLV_CHECK(desc->rate[r] >= 0.0 && desc->rate[r] <= 1.0, CLV_ERR_INVALID, "verification: rate %g is not in 0..1",
                  desc->rate[r]);
    for (int64_t i = 0; i < genuine_count; i++)
        CLV_CHECK(!isnan(genuine[i]), CLV_ERR_NUMERIC, "verification: genuine score %" PRId64 " is not a number", i);
    for (int64_t i = 0; i < impostor_count; i++)
        CLV_CHECK(!isnan(impostor[i]), CLV_ERR_NUMERIC, "verification: impostor score %" PRId64 " is not a number", i);
    qsort(genuine, (size_t)genuine_count, sizeof *genuine, descending);
    qsort(impostor, (size_t)impostor_count, sizeof *impostor, descending);
    *out = (clv_verification_result){ .rows = 0, .genuine = genuine_count, .impostors = impostor_count };
    walk(desc, genuine, genuine_count, impostor, impostor_count, out);
    return CLV_OK;
}

/* ---- pairs of rows ---- */

/* Scores of all pairs: genuine ones from the front, impostors from the back of pairs [n (n - 1) / 2]. */
static clv_status compare_all(clvi_similarity *s, const int64_t *labels, float *pairs, int64_t *genuine,
                              int64_t *impostors)
{
    const int64_t n = s->right, total = n * (n - 1) / 2;
    *genuine = *impostors = 0;
    for (int64_t first = 0; first < n; first += s->strip) {
        const float *scores = NULL;
        const int64_t m = CLVI_MIN(s->strip, n - first);
        CLV_TRY(clvi_similarity_strip(s, first, m, &scores));
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = first + i + 1; j < n; j++)
                if (labels[j] == labels[first + i]) pairs[(*genuine)++] = scores[i * n + j];
                else pairs[total - ++*impostors] = scores[i * n + j];
    }
    return CLV_OK;
}

static clv_status measure(clv_context *ctx, const clv_verification_desc *desc, const clv_view *rows,
                          const int64_t *labels, clv_verification_result *out)
{
    const int64_t n = rows->shape[0], total = n * (n - 1) / 2;
    int64_t genuine = 0, impostors = 0;
    clvi_similarity s;
    CLV_TRY(clvi_similarity_create(ctx, desc->distance, rows, NULL, "verification", &s));
    float *pairs = clvi_calloc(ctx, (size_t)total, sizeof *pairs);
    clv_status st = pairs ? compare_all(&s, labels, pairs, &genuine, &impostors) : CLV_ERR_NOMEM;
    if (st == CLV_OK) st = clv_verification_scores(desc, pairs, genuine, pairs + genuine, impostors, out);
    if (st == CLV_OK) out->rows = n;
    clvi_free(ctx, pairs);
    clvi_similarity_destroy(&s);
    return st;
}

/* Of too many rows, max_rows in the order of a seeded permutation. */
static clv_status measure_drawn(clv_context *ctx, const clv_verification_desc *desc, const clv_view *rows,
                                const int64_t *labels, clv_verification_result *out)
{
    const int64_t n = desc->max_rows, dim = rows->shape[1];
    float *some = clvi_calloc(ctx, (size_t)n * (size_t)dim, sizeof *some);
    int64_t *some_labels = clvi_calloc(ctx, (size_t)n, sizeof *some_labels);
    for (int64_t i = 0; some && some_labels && i < n; i++) {
        const int64_t row = (int64_t)clvi_rng_permute(desc->seed, CLVI_RNG_SUBSET, 0, (uint64_t)rows->shape[0],
                                                      (uint64_t)i);
        memcpy(some + i * dim, (const float *)rows->data + row * rows->stride[0], (size_t)dim * sizeof *some);
        some_labels[i] = labels[row];
    }
    const clv_view view = clv_view_2d(some, CLV_F32, n, dim);
    const clv_status st = some && some_labels ? measure(ctx, desc, &view, some_labels, out) : CLV_ERR_NOMEM;
    clvi_free(ctx, some);
    clvi_free(ctx, some_labels);
    return st;
}

clv_status clv_verification_measure(clv_context *ctx, const clv_verification_desc *desc, const clv_view *rows,
                                    const int64_t *labels, clv_verification_result *out)
{
    int64_t classes = 0;
    CLV_CHECK(ctx && desc && rows && labels && out, CLV_ERR_INVALID, "clv_verification_measure: an argument is NULL");
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID,
              "verification: start from CLV_VERIFICATION_DESC_INIT");
    CLV_CHECK(desc->max_rows >= 2, CLV_ERR_INVALID, "verification: %" PRId64 " rows have no pairs", desc->max_rows);
    CLV_TRY(clvi_rows_check(rows, "verification"));
    CLV_TRY(clvi_labels_check(labels, rows->shape[0], INT64_MAX, "verification", &classes));
    return rows->shape[0] <= desc->max_rows ? measure(ctx, desc, rows, labels, out)
                                            : measure_drawn(ctx, desc, rows, labels, out);
}
