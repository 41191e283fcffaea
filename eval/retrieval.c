/* retrieval.c: Recall@k, mean average precision and R-precision. Only the ranks of the rows to be found matter: those are
 * sorted, every other row is placed among them, so a query costs M log R instead of M log M. */
#include "core/checked.h"
#include "core/parallel.h"
#include "eval/rows.h"
#include "eval/similarity.h"

#include <stdlib.h>
#include <string.h>

typedef struct found {
    float   score;
    int64_t index;
} found;

typedef struct measure {
    double  average_precision, r_precision;
    int64_t first;             /* rank, from 1, of the best row of the label; 0: there is none */
} measure;

typedef struct job {
    const clv_retrieval_desc *desc;
    const int64_t *gallery_labels, *query_labels;
    int64_t        gallery, at;        /* the strip's first query */
    const float   *scores;
    found         *relevant;           /* [threads, gallery] */
    int64_t       *others;             /* [threads, gallery + 1]: rows of other labels behind so many relevant ones */
    measure       *measures;           /* [queries] */
} job;

static bool comes_before(float score, int64_t index, const found *b)
{
    return score > b->score || (score == b->score && index < b->index);
}

static int by_score(const void *left, const void *right)
{
    const found *a = left, *b = right;
    return comes_before(a->score, a->index, b) ? -1 : comes_before(b->score, b->index, a);
}

/* How many of the sorted rows come before this one. */
static int64_t place(const found *sorted, int64_t n, float score, int64_t index)
{
    int64_t low = 0, high = n;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (comes_before(score, index, &sorted[middle])) high = middle;
        else low = middle + 1;
    }
    return low;
}

static measure rank(const job *j, int64_t query, const float *score, found *relevant, int64_t *others)
{
    const int64_t label = j->query_labels[query], self = j->desc->leave_one_out ? query : -1;
    int64_t n = 0, before = 0;
    measure m = { .first = 0 };
    for (int64_t i = 0; i < j->gallery; i++)
        if (j->gallery_labels[i] == label && i != self) relevant[n++] = (found){ score[i], i };
    if (n == 0) return m;
    qsort(relevant, (size_t)n, sizeof *relevant, by_score);
    memset(others, 0, (size_t)(n + 1) * sizeof *others);
    for (int64_t i = 0; i < j->gallery; i++)
        if (j->gallery_labels[i] != label) others[place(relevant, n, score[i], i)]++;
    for (int64_t i = 0; i < n; i++) {
        before += others[i];
        const int64_t at = before + i + 1;
        if (i == 0) m.first = at;
        m.average_precision += (double)(i + 1) / (double)at / (double)n;
        m.r_precision += at <= n ? 1.0 / (double)n : 0.0;
    }
    return m;
}

static void rank_range(void *arg, int64_t begin, int64_t end)
{
    const job *j = arg;
    const int64_t thread = clvi_thread_index();
    for (int64_t i = begin; i < end; i++)
        j->measures[j->at + i] = rank(j, j->at + i, j->scores + i * j->gallery, j->relevant + thread * j->gallery,
                                      j->others + thread * (j->gallery + 1));
}

static clv_status summarise(const job *j, int64_t queries, clv_retrieval_result *out)
{
    *out = (clv_retrieval_result){ .gallery = j->gallery };
    for (int64_t i = 0; i < queries; i++) {
        const measure *m = &j->measures[i];
        if (m->first == 0) {
            out->without++;
            continue;
        }
        out->queries++;
        out->map += m->average_precision;
        out->r_precision += m->r_precision;
        for (int k = 0; k < CLV_RETRIEVAL_DEPTHS; k++) out->recall[k] += m->first <= j->desc->depth[k];
    }
    CLV_CHECK(out->queries > 0, CLV_ERR_INVALID,
              "retrieval: none of %" PRId64 " queries has a row of its label in the gallery", queries);
    const double percent = 100.0 / (double)out->queries;
    out->map *= percent;
    out->r_precision *= percent;
    for (int k = 0; k < CLV_RETRIEVAL_DEPTHS; k++) out->recall[k] *= percent;
    return CLV_OK;
}

static clv_status rank_all(clv_context *ctx, clvi_similarity *s, job *j, clv_retrieval_result *out)
{
    const size_t threads = (size_t)clv_context_threads(ctx), rows = (size_t)s->right;
    j->relevant = clvi_calloc(ctx, threads * rows, sizeof *j->relevant);
    j->others = clvi_calloc(ctx, threads * (rows + 1), sizeof *j->others);
    j->measures = clvi_calloc(ctx, (size_t)s->left, sizeof *j->measures);
    if (!j->relevant || !j->others || !j->measures) return CLV_ERR_NOMEM;
    for (j->at = 0; j->at < s->left; j->at += s->strip) {
        const int64_t n = CLVI_MIN(s->strip, s->left - j->at);
        CLV_TRY(clvi_similarity_strip(s, j->at, n, &j->scores));
        clvi_parallel_for(ctx, n, 1, rank_range, j);
    }
    return summarise(j, s->left, out);
}

static clv_status check(const clv_retrieval_desc *desc, const clv_view *gallery, const int64_t *gallery_labels,
                        const clv_view *queries, const int64_t *query_labels)
{
    int64_t classes = 0;
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID, "retrieval: start from CLV_RETRIEVAL_DESC_INIT");
    for (int k = 0; k < CLV_RETRIEVAL_DEPTHS; k++)
        CLV_CHECK(desc->depth[k] >= 1, CLV_ERR_INVALID, "retrieval: depth %" PRId64 " is not positive", desc->depth[k]);
    CLV_TRY(clvi_rows_check(gallery, "retrieval gallery"));
    CLV_TRY(clvi_rows_check(queries, "retrieval queries"));
    CLV_CHECK(!desc->leave_one_out || gallery->shape[0] == queries->shape[0], CLV_ERR_SHAPE,
              "retrieval: leave-one-out compares the gallery with itself, but there are %" PRId64 " rows and %" PRId64
              " queries",
              gallery->shape[0], queries->shape[0]);
    CLV_TRY(clvi_labels_check(gallery_labels, gallery->shape[0], INT64_MAX, "retrieval gallery", &classes));
    return clvi_labels_check(query_labels, queries->shape[0], INT64_MAX, "retrieval queries", &classes);
}

clv_status clv_retrieval_measure(clv_context *ctx, const clv_retrieval_desc *desc, const clv_view *gallery,
                                 const int64_t *gallery_labels, const clv_view *queries, const int64_t *query_labels,
                                 clv_retrieval_result *out)
{
    CLV_CHECK(ctx && desc && gallery && gallery_labels && queries && query_labels && out, CLV_ERR_INVALID,
              "clv_retrieval_measure: an argument is NULL");
    CLV_TRY(check(desc, gallery, gallery_labels, queries, query_labels));
    clvi_similarity s;
    CLV_TRY(clvi_similarity_create(ctx, desc->distance, queries, gallery, "retrieval", &s));
    job j = { .desc = desc, .gallery_labels = gallery_labels, .query_labels = query_labels, .gallery = s.right };
    const clv_status st = rank_all(ctx, &s, &j, out);
    clvi_free(ctx, j.relevant);
    clvi_free(ctx, j.others);
    clvi_free(ctx, j.measures);
    clvi_similarity_destroy(&s);
    return st;
}
