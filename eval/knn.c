/* knn.c: exact nearest neighbours and their vote: Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric
 * Instance Discrimination", arXiv:1805.01978, section 3.4. The bank is walked once for every tile of queries
 * (clv_bank_topk), so memory is O(queries * k). On a device the walk is done there, and the bank is copied once. */
#include <cleave/eval.h>
#include <cleave/graph.h>
#include "core/checked.h"
#include "device/shadow.h"
#include "eval/rows.h"

#include <math.h>
#include <string.h>

enum {
    MAX_TILE = 4096,           /* queries searched for at once */
    MAX_CLASSES = 1 << 24
};

typedef struct neighbour {
    float   score;
    int64_t index;
} neighbour;

/* ---- search ---- */

typedef struct search {
    const clv_knn_desc *desc;
    int64_t             k, bank, queries, tile;
    int64_t             dim;                       /* of the rows below: one more than given for L2 */
    float              *bank_rows, *query_rows;
    clvi_shadow        *bank_there;                /* bank_rows on the device, for all tiles */
    double             *query_norm;                /* squared lengths; L2 only */
    int64_t            *ids;                       /* 0, 1, ...; leave-one-out only */
    neighbour          *best;                      /* [queries, k], best first */
} search;

/* The graph that searches for a tile of queries. */
typedef struct finder {
    clv_graph *graph;
    clv_node   queries, ids, slots, scores;
} finder;

static clv_status finder_create(clv_context *ctx, const search *s, finder *f)
{
    const clv_graph_desc desc = CLV_GRAPH_DESC_INIT;
    clv_bank_topk_desc topk = CLV_BANK_TOPK_DESC_INIT;
    CLV_TRY(clv_graph_create(ctx, &desc, &f->graph));
    f->queries = clv_input(f->graph, "queries", CLV_F32, 2, (int64_t[]){ s->tile, s->dim });
    const clv_node bank = clv_input(f->graph, "bank", CLV_F32, 2, (int64_t[]){ s->bank, s->dim });
    topk.query = f->queries;
    topk.bank = bank;
    topk.top = s->k;
    if (s->ids) {
        topk.ids = f->ids = clv_input(f->graph, "ids", CLV_I64, 1, (int64_t[]){ s->tile });
        topk.bank_ids = clv_input(f->graph, "bank_ids", CLV_I64, 1, (int64_t[]){ s->bank });
    }
    f->slots = clv_bank_topk(f->graph, &topk, &f->scores);
    clv_graph_output(f->graph, f->slots);
    clv_graph_output(f->graph, f->scores);
    CLV_TRY(clv_graph_finish(f->graph));
    const clv_view rows = clv_view_2d(s->bank_rows, CLV_F32, s->bank, s->dim);
    const clv_view ids = clv_view_1d(s->ids, CLV_I64, s->bank);
    CLV_TRY(clv_graph_bind(f->graph, bank, &rows));
    if (s->ids) CLV_TRY(clv_graph_bind(f->graph, topk.bank_ids, &ids));
    return CLV_OK;
}

/* Queries from `first` on, one tile of them. */
static clv_status find(finder *f, search *s, int64_t first)
{
    const clv_view rows = clv_view_2d(s->query_rows + first * s->dim, CLV_F32, s->tile, s->dim);
    const clv_view row_ids = clv_view_1d(s->ids ? s->ids + first : NULL, CLV_I64, s->tile);
    clv_view slots, scores;
    CLV_TRY(clv_graph_bind(f->graph, f->queries, &rows));
    if (s->ids) CLV_TRY(clv_graph_bind(f->graph, f->ids, &row_ids));
    CLV_TRY(clv_graph_run(f->graph));
    CLV_TRY(clv_graph_read(f->graph, f->slots, &slots));
    CLV_TRY(clv_graph_read(f->graph, f->scores, &scores));
    for (int64_t i = 0; i < s->tile * s->k; i++)
        s->best[first * s->k + i] = (neighbour){ ((const float *)scores.data)[i], ((const int64_t *)slots.data)[i] };
    return CLV_OK;
}

/* The last tile begins early enough to be full. */
static clv_status find_all(clv_context *ctx, search *s)
{
    finder f = { .graph = NULL };
    clv_status st = finder_create(ctx, s, &f);
    for (int64_t first = 0; first < s->queries && st == CLV_OK; first += s->tile)
        st = find(&f, s, CLVI_MIN(first, s->queries - s->tile));
    clv_graph_destroy(f.graph);
    return st;
}

/* |q - b|^2 = |q|^2 - 2 (<q,b> - |b|^2 / 2): with one more value in each row, 1 and -|b|^2 / 2, the nearest rows are those
 * with the largest product. */
static clv_status append(clv_context *ctx, const search *s, bool bank, float **rows, double **norm)
{
    const int64_t n = bank ? s->bank : s->queries, dim = s->dim - 1;
    float *longer = clvi_calloc(ctx, (size_t)(n * s->dim), sizeof *longer);
    double *squares = clvi_calloc(ctx, (size_t)n, sizeof *squares);
    for (int64_t i = 0; longer && squares && i < n; i++) {
        const float *row = *rows + i * dim;
        for (int64_t j = 0; j < dim; j++) squares[i] += (double)row[j] * row[j];
        memcpy(longer + i * s->dim, row, (size_t)dim * sizeof *row);
        longer[i * s->dim + dim] = bank ? (float)(-0.5 * squares[i]) : 1.0f;
    }
    const bool ok = longer && squares;
    clvi_free(ctx, ok ? *rows : longer);
    if (ok) *rows = longer;
    if (ok && norm) *norm = squares;
    else clvi_free(ctx, squares);
    return ok ? CLV_OK : CLV_ERR_NOMEM;
}

/* Products to distances, with a minus. */
static void take_roots(search *s)
{
    for (int64_t i = 0; i < s->queries * s->k; i++)
        s->best[i].score = (float)-sqrt(fmax(s->query_norm[i / s->k] - 2.0 * s->best[i].score, 0.0));
}

static void search_release(clv_context *ctx, search *s)
{
    clvi_shadow_destroy(s->bank_there);
    clvi_free(ctx, s->bank_rows);
    clvi_free(ctx, s->query_rows);
    clvi_free(ctx, s->query_norm);
    clvi_free(ctx, s->ids);
    clvi_free(ctx, s->best);
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
        s->dim++;
        CLV_TRY(append(ctx, s, true, &s->bank_rows, NULL));
        CLV_TRY(append(ctx, s, false, &s->query_rows, &s->query_norm));
    }
    if (desc->leave_one_out) {
        s->ids = clvi_calloc(ctx, (size_t)s->bank, sizeof *s->ids);
        if (!s->ids) return CLV_ERR_NOMEM;
        for (int64_t i = 0; i < s->bank; i++) s->ids[i] = i;
    }
    const int64_t tiles = CLVI_MAX((s->queries + MAX_TILE - 1) / MAX_TILE, INT64_C(1));
    s->tile = CLVI_MAX((s->queries + tiles - 1) / tiles, INT64_C(1));
    s->best = clvi_calloc(ctx, (size_t)s->queries * (size_t)s->k, sizeof *s->best);
    if (!s->best) return CLV_ERR_NOMEM;
    CLV_TRY(clvi_shadow_create(ctx, s->bank_rows, s->bank, (size_t)s->dim * sizeof *s->bank_rows, &s->bank_there));
    CLV_TRY(find_all(ctx, s));
    if (!unit) take_roots(s);
    return CLV_OK;
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
    for (int64_t j = 0; j < s->k; j++) {
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

static clv_status classify(clv_context *ctx, const search *s, const int64_t *bank_labels, const int64_t *query_labels,
                           int64_t *predicted, clv_knn_result *out)
{
    int64_t classes = 1, query_classes = 1, right = 0, right5 = 0;
    CLV_TRY(clvi_labels_check(bank_labels, s->bank, MAX_CLASSES, "kNN bank", &classes));
    CLV_TRY(clvi_labels_check(query_labels, s->queries, MAX_CLASSES, "kNN queries", &query_classes));
    classes = CLVI_MAX(classes, query_classes);
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
