/* knn.c: exact nearest neighbours and their vote: Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric
 * Instance Discrimination", arXiv:1805.01978, section 3.4. Similarities are computed a tile at a time; each query keeps a
 * heap of its k best, so memory is O(queries * k + tile). */
#include <cleave/eval.h>
#include "core/checked.h"
#include "core/parallel.h"
#include "eval/gemm_tile.h"
#include "eval/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TILE_QUERIES 256
#define TILE_BANK    2048

typedef struct neighbour {
    float   score;
    int64_t index;
} neighbour;

/* a is worse than b: less similar, or as similar with a higher index. */
static bool worse(neighbour a, neighbour b)
{
    return a.score < b.score || (a.score == b.score && a.index > b.index);
}

/* The heap's root is its worst member. */
static void sift_down(neighbour *heap, int64_t size, int64_t at)
{
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= size) return;
        if (child + 1 < size && worse(heap[child + 1], heap[child])) child++;
        if (!worse(heap[child], heap[at])) return;
        const neighbour t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
        at = child;
    }
}

static void heap_add(neighbour *heap, int64_t *size, int64_t k, neighbour n)
{
    if (*size == k) {
        if (!worse(heap[0], n)) return;
        heap[0] = n;
        sift_down(heap, k, 0);
        return;
    }
    int64_t at = (*size)++;
    heap[at] = n;
    while (at > 0 && worse(heap[at], heap[(at - 1) / 2])) {
        const neighbour t = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = t;
        at = (at - 1) / 2;
    }
}

static int best_first(const void *a, const void *b)
{
    return worse(*(const neighbour *)a, *(const neighbour *)b) ? 1 : -1;
}

/* ---- search ---- */

typedef struct search {
    const clv_knn_desc *desc;
    int64_t             k, bank, queries, dim;
    float              *bank_rows, *query_rows;
    double             *bank_norm, *query_norm;    /* squared lengths; L2 only */
    neighbour          *best;                      /* [queries, k] heaps, then sorted */
    int64_t            *size;                      /* [queries] */
    /* the tile at hand */
    const float        *scores;
    int64_t             first_query, first_bank, tile_bank;
} search;

static void scan_tile(void *arg, int64_t begin, int64_t end)
{
    search *s = arg;
    const bool l2 = s->desc->distance == CLV_KNN_L2;
    for (int64_t i = begin; i < end; i++) {
        const int64_t q = s->first_query + i;
        const float *row = s->scores + i * TILE_BANK;
        neighbour *heap = s->best + q * s->k;
        for (int64_t j = 0; j < s->tile_bank; j++) {
            const int64_t b = s->first_bank + j;
            float score = row[j];
            if (l2) score = (float)-sqrt(fmax(s->query_norm[q] + s->bank_norm[b] - 2.0 * score, 0.0));
            if (s->size[q] == s->k && score < heap[0].score) continue;
            if (s->desc->leave_one_out && b == q) continue;
            heap_add(heap, &s->size[q], s->k, (neighbour){ score, b });
        }
    }
}

static void sort_rows(void *arg, int64_t begin, int64_t end)
{
    search *s = arg;
    for (int64_t q = begin; q < end; q++) qsort(s->best + q * s->k, (size_t)s->size[q], sizeof *s->best, best_first);
}

static clv_status run_tiles(clv_context *ctx, search *s)
{
    clvi_gemm_tile tile;
    CLV_TRY(clvi_gemm_tile_create(ctx, TILE_QUERIES, TILE_BANK, s->dim, &tile));
    clv_status st = CLV_OK;
    for (s->first_query = 0; s->first_query < s->queries; s->first_query += TILE_QUERIES) {
        const int64_t n = CLVI_MIN(TILE_QUERIES, s->queries - s->first_query);
        for (s->first_bank = 0; s->first_bank < s->bank; s->first_bank += TILE_BANK) {
            s->tile_bank = CLVI_MIN(TILE_BANK, s->bank - s->first_bank);
            CLV_TRY_OR_DONE(clvi_gemm_tile_run(&tile, s->query_rows + s->first_query * s->dim, n,
                                               s->bank_rows + s->first_bank * s->dim, s->tile_bank, &s->scores));
            clvi_parallel_for(ctx, n, 16, scan_tile, s);
        }
    }
    clvi_parallel_for(ctx, s->queries, 16, sort_rows, s);
done:
    clvi_gemm_tile_destroy(&tile);
    return st;
}

static clv_status squared_lengths(clv_context *ctx, const float *rows, int64_t n, int64_t dim, double **out)
{
    *out = clvi_calloc(ctx, (size_t)n, sizeof **out);
    if (!*out) return CLV_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < dim; j++) (*out)[i] += (double)rows[i * dim + j] * rows[i * dim + j];
    return CLV_OK;
}

static void search_release(clv_context *ctx, search *s)
{
    clvi_free(ctx, s->bank_rows);
    clvi_free(ctx, s->query_rows);
    clvi_free(ctx, s->bank_norm);
    clvi_free(ctx, s->query_norm);
    clvi_free(ctx, s->best);
    clvi_free(ctx, s->size);
}

static clv_status check(const clv_knn_desc *desc, const clv_view *bank, const clv_view *queries)
{
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID, "kNN: start from CLV_KNN_DESC_INIT");
    CLV_CHECK(desc->k >= 1 && desc->temperature > 0, CLV_ERR_INVALID, "kNN: k is %" PRId64 ", temperature %g; both must be positive",
              desc->k, desc->temperature);
    CLV_TRY(clvi_rows_check(bank, "kNN bank"));
    CLV_TRY(clvi_rows_check(queries, "kNN queries"));
    CLV_CHECK(bank->shape[1] == queries->shape[1] && bank->shape[1] > 0, CLV_ERR_SHAPE,
              "kNN: bank rows have %" PRId64 " values, queries %" PRId64, bank->shape[1], queries->shape[1]);
    CLV_CHECK(bank->shape[0] > (desc->leave_one_out ? 1 : 0), CLV_ERR_INVALID, "kNN: the bank has no rows to compare with");
    CLV_CHECK(!desc->leave_one_out || bank->shape[0] == queries->shape[0], CLV_ERR_SHAPE,
              "kNN: leave-one-out compares the bank with itself, but there are %" PRId64 " rows and %" PRId64 " queries",
              bank->shape[0], queries->shape[0]);
    return CLV_OK;
}

static clv_status search_run(clv_context *ctx, const clv_knn_desc *desc, const clv_view *bank, const clv_view *queries,
                             search *s)
{
    CLV_TRY(check(desc, bank, queries));
    const bool unit = desc->distance != CLV_KNN_L2, centre = desc->distance == CLV_KNN_CENTRED_COSINE;
    s->desc = desc;
    s->bank = bank->shape[0];
    s->queries = queries->shape[0];
    s->dim = bank->shape[1];
    s->k = CLVI_MIN(desc->k, s->bank - (desc->leave_one_out ? 1 : 0));
    CLV_TRY(clvi_rows_copy(ctx, bank, centre, unit, &s->bank_rows));
    CLV_TRY(clvi_rows_copy(ctx, queries, centre, unit, &s->query_rows));
    if (!unit) {
        CLV_TRY(squared_lengths(ctx, s->bank_rows, s->bank, s->dim, &s->bank_norm));
        CLV_TRY(squared_lengths(ctx, s->query_rows, s->queries, s->dim, &s->query_norm));
    }
    s->best = clvi_calloc(ctx, (size_t)s->queries * (size_t)s->k, sizeof *s->best);
    s->size = clvi_calloc(ctx, (size_t)s->queries, sizeof *s->size);
    if (!s->best || !s->size) return CLV_ERR_NOMEM;
    return run_tiles(ctx, s);
}

clv_status clv_knn_search(clv_context *ctx, const clv_knn_desc *desc, const clv_view *bank, const clv_view *queries,
                          int64_t *index, float *similarity)
{
    CLV_CHECK(ctx && desc && bank && queries && index && similarity, CLV_ERR_INVALID, "clv_knn_search: an argument is NULL");
    search s = { .desc = desc };
    const clv_status st = search_run(ctx, desc, bank, queries, &s);
    for (int64_t i = 0; st == CLV_OK && i < s.queries * s.k; i++) {
        index[i] = s.best[i].index;
        similarity[i] = s.best[i].score;
    }
    search_release(ctx, &s);
    return st;
}

/* ---- vote ---- */

/* How many classes have more weight than `label`, or as much and a nearer first neighbour. 0: it wins. */
static int64_t rank_of(const double *weight, const int64_t *first, int64_t classes, int64_t label)
{
    int64_t rank = 0;
    for (int64_t c = 0; c < classes; c++)
        if (c != label && (weight[c] > weight[label] || (weight[c] == weight[label] && first[c] < first[label]))) rank++;
    return rank;
}

static int64_t vote(const search *s, int64_t q, const int64_t *labels, int64_t classes, double *weight, int64_t *first)
{
    int64_t winner = -1;
    for (int64_t c = 0; c < classes; c++) {
        weight[c] = 0.0;
        first[c] = s->k;
    }
    for (int64_t j = 0; j < s->size[q]; j++) {
        const neighbour n = s->best[q * s->k + j];
        const int64_t c = labels[n.index];
        /* Relative to the nearest neighbour: the same vote, and no overflow at small temperatures. */
        weight[c] += s->desc->vote == CLV_KNN_MAJORITY ? 1.0 : exp((n.score - s->best[q * s->k].score) / s->desc->temperature);
        first[c] = CLVI_MIN(first[c], j);
    }
    for (int64_t c = 0; c < classes; c++)
        if (first[c] < s->k && (winner < 0 || weight[c] > weight[winner]
                                || (weight[c] == weight[winner] && first[c] < first[winner])))
            winner = c;
    return winner;
}

static clv_status count_classes(const int64_t *labels, int64_t n, const char *what, int64_t *classes)
{
    for (int64_t i = 0; i < n; i++) {
        CLV_CHECK(labels[i] >= 0 && labels[i] < (1 << 24), CLV_ERR_INVALID, "kNN: label %" PRId64 " of %s row %" PRId64 " is out of range",
                  labels[i], what, i);
        *classes = CLVI_MAX(*classes, labels[i] + 1);
    }
    return CLV_OK;
}

static clv_status classify(clv_context *ctx, const search *s, const int64_t *bank_labels, const int64_t *query_labels,
                           int64_t *predicted, clv_knn_result *out)
{
    int64_t classes = 1, right = 0, right5 = 0;
    CLV_TRY(count_classes(bank_labels, s->bank, "bank", &classes));
    CLV_TRY(count_classes(query_labels, s->queries, "query", &classes));
    double *weight = clvi_calloc(ctx, (size_t)classes, sizeof *weight);
    int64_t *first = clvi_calloc(ctx, (size_t)classes, sizeof *first);
    for (int64_t q = 0; weight && first && q < s->queries; q++) {
        const int64_t label = vote(s, q, bank_labels, classes, weight, first);
        if (predicted) predicted[q] = label;
        right += label == query_labels[q];
        right5 += first[query_labels[q]] < s->k && rank_of(weight, first, classes, query_labels[q]) < 5;
    }
    const bool ok = weight && first;
    clvi_free(ctx, weight);
    clvi_free(ctx, first);
    if (!ok) return CLV_ERR_NOMEM;
    const double n = (double)CLVI_MAX(s->queries, INT64_C(1));
    *out = (clv_knn_result){ 100.0 * (double)right / n, 100.0 * (double)right5 / n, s->queries, s->bank, s->k };
    return CLV_OK;
}

clv_status clv_knn_classify(clv_context *ctx, const clv_knn_desc *desc, const clv_view *bank, const int64_t *bank_labels,
                            const clv_view *queries, const int64_t *query_labels, int64_t *predicted, clv_knn_result *out)
{
    CLV_CHECK(ctx && desc && bank && bank_labels && queries && query_labels && out, CLV_ERR_INVALID,
              "clv_knn_classify: an argument is NULL");
    CLV_CHECK(desc->distance != CLV_KNN_L2 || desc->vote == CLV_KNN_MAJORITY, CLV_ERR_INVALID,
              "kNN: L2 distance has no exponential vote");
    search s = { .desc = desc };
    clv_status st = search_run(ctx, desc, bank, queries, &s);
    if (st == CLV_OK) st = classify(ctx, &s, bank_labels, query_labels, predicted, out);
    search_release(ctx, &s);
    return st;
}
