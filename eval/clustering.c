/* clustering.c: k-means, and how far two partitions agree. */
#include "core/checked.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "eval/gemm_tile.h"
#include "eval/rows.h"
#include <cleave/eval.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 1024, CHUNK = 256 };

/* ---- k-means ---- */

typedef struct kmeans {
    clv_context   *ctx;
    int64_t        n, dim, clusters;
    float         *rows, *centres;        /* [n,dim], [clusters,dim] */
    double        *sums, *half_norm;      /* [clusters,dim], |centre|^2 / 2 */
    double        *distance;              /* [n]: squared, to the row's centre */
    int64_t       *assignment, *count;
    const float   *centre;                /* of the pass below */
    const float   *scores;
    int64_t        first;
    clvi_gemm_tile tile;
} kmeans;

static double squared_distance(const float *a, const float *b, int64_t dim)
{
    double sum = 0.0;
    for (int64_t j = 0; j < dim; j++) sum += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
    return sum;
}

static void approach_range(void *arg, int64_t begin, int64_t end)
{
    const kmeans *k = arg;
    for (int64_t i = begin; i < end; i++)
        k->distance[i] = fmin(k->distance[i], squared_distance(k->rows + i * k->dim, k->centre, k->dim));
}

/* A row drawn with a chance in proportion to its distance; all at a centre already: any. */
static int64_t draw(const kmeans *k, clvi_rng *rng)
{
    double total = 0.0, passed = 0.0;
    for (int64_t i = 0; i < k->n; i++) total += k->distance[i];
    if (!(total > 0.0)) return (int64_t)clvi_rng_below(rng, (uint64_t)k->n);
    const double target = clvi_rng_f64(rng) * total;
    int64_t last = 0;
    for (int64_t i = 0; i < k->n; i++) {
        if (k->distance[i] <= 0.0) continue;
        passed += k->distance[i];
        last = i;
        if (passed > target) break;
    }
    return last;
}

static void start(kmeans *k, uint64_t seed, int64_t restart)
{
    clvi_rng rng = clvi_rng_make(seed, CLVI_RNG_SUBSET, 2, (uint64_t)restart, 0);
    int64_t row = (int64_t)clvi_rng_below(&rng, (uint64_t)k->n);
    for (int64_t i = 0; i < k->n; i++) {
        k->distance[i] = INFINITY;
        k->assignment[i] = -1;
    }
    for (int64_t c = 0; c < k->clusters; c++) {
        if (c > 0) row = draw(k, &rng);
        memcpy(k->centres + c * k->dim, k->rows + row * k->dim, (size_t)k->dim * sizeof *k->centres);
        k->centre = k->centres + c * k->dim;
        clvi_parallel_for(k->ctx, k->n, CHUNK, approach_range, k);
    }
}

/* The nearest centres of a tile's rows; equally near: the lower. */
static void nearest_range(void *arg, int64_t begin, int64_t end)
{
    kmeans *k = arg;
    for (int64_t i = begin; i < end; i++) {
        const float *score = k->scores + i * k->clusters;
        int64_t best = 0;
        for (int64_t c = 1; c < k->clusters; c++)
            if (score[c] - k->half_norm[c] > score[best] - k->half_norm[best]) best = c;
        const int64_t row = k->first + i;
        k->assignment[row] = best;
        k->distance[row] = squared_distance(k->rows + row * k->dim, k->centres + best * k->dim, k->dim);
    }
}

/* Every row to its nearest centre. */
static clv_status assign(kmeans *k)
{
    for (int64_t c = 0; c < k->clusters; c++) {
        k->half_norm[c] = 0.0;
        for (int64_t j = 0; j < k->dim; j++)
            k->half_norm[c] += 0.5 * k->centres[c * k->dim + j] * (double)k->centres[c * k->dim + j];
    }
    for (k->first = 0; k->first < k->n; k->first += k->tile.rows) {
        const int64_t m = CLVI_MIN(k->tile.rows, k->n - k->first);
        CLV_TRY(clvi_gemm_tile_run(&k->tile, k->rows + k->first * k->dim, m, k->centres, k->clusters, &k->scores));
        clvi_parallel_for(k->ctx, m, CHUNK, nearest_range, k);
    }
    return CLV_OK;
}

/* A cluster without rows takes the row farthest from its centre among clusters that can spare one. */
static void refill(kmeans *k)
{
    memset(k->count, 0, (size_t)k->clusters * sizeof *k->count);
    for (int64_t i = 0; i < k->n; i++) k->count[k->assignment[i]]++;
    for (int64_t c = 0; c < k->clusters; c++) {
        if (k->count[c] > 0) continue;
        int64_t far = -1;
        for (int64_t i = 0; i < k->n; i++)
            if (k->count[k->assignment[i]] > 1 && (far < 0 || k->distance[i] > k->distance[far])) far = i;
        k->count[k->assignment[far]]--;
        k->assignment[far] = c;
        k->count[c] = 1;
        k->distance[far] = 0.0;
    }
}

static void move_centres(kmeans *k)
{
    memset(k->sums, 0, (size_t)(k->clusters * k->dim) * sizeof *k->sums);
    for (int64_t i = 0; i < k->n; i++)
        for (int64_t j = 0; j < k->dim; j++) k->sums[k->assignment[i] * k->dim + j] += k->rows[i * k->dim + j];
    for (int64_t i = 0; i < k->clusters * k->dim; i++)
        k->centres[i] = (float)(k->sums[i] / (double)k->count[i / k->dim]);
}

/* before [n] is scratch. */
static clv_status run_once(kmeans *k, const clv_cluster_desc *desc, int64_t restart, int64_t *before,
                           clv_cluster_result *out)
{
    const size_t bytes = (size_t)k->n * sizeof *before;
    *out = (clv_cluster_result){ .steps = 0 };
    start(k, desc->seed, restart);
    while (out->steps < desc->steps && !out->settled) {
        memcpy(before, k->assignment, bytes);
        CLV_TRY(assign(k));
        refill(k);
        out->settled = memcmp(before, k->assignment, bytes) == 0;
        move_centres(k);
        out->steps++;
    }
    for (int64_t i = 0; i < k->n; i++)
        out->inertia += squared_distance(k->rows + i * k->dim, k->centres + k->assignment[i] * k->dim, k->dim);
    return CLV_OK;
}

static clv_status run_all(kmeans *k, const clv_cluster_desc *desc, int64_t *best, int64_t *before,
                          clv_cluster_result *out)
{
    for (int64_t r = 0; r < desc->restarts; r++) {
        clv_cluster_result result;
        CLV_TRY(run_once(k, desc, r, before, &result));
        if (r > 0 && result.inertia >= out->inertia) continue;
        *out = result;
        memcpy(best, k->assignment, (size_t)k->n * sizeof *best);
    }
    return CLV_OK;
}

static clv_status prepare(kmeans *k, const clv_view *rows, bool unit)
{
    const size_t n = (size_t)k->n, clusters = (size_t)k->clusters, dim = (size_t)k->dim;
    CLV_TRY(clvi_rows_copy(k->ctx, rows, false, unit, &k->rows));
    k->centres = clvi_calloc(k->ctx, clusters * dim, sizeof *k->centres);
    k->sums = clvi_calloc(k->ctx, clusters * dim, sizeof *k->sums);
    k->half_norm = clvi_calloc(k->ctx, clusters, sizeof *k->half_norm);
    k->count = clvi_calloc(k->ctx, clusters, sizeof *k->count);
    k->distance = clvi_calloc(k->ctx, n, sizeof *k->distance);
    k->assignment = clvi_calloc(k->ctx, n, sizeof *k->assignment);
    if (!k->centres || !k->sums || !k->half_norm || !k->count || !k->distance || !k->assignment) return CLV_ERR_NOMEM;
    return clvi_gemm_tile_create(k->ctx, CLVI_MIN((int64_t)TILE, k->n), k->clusters, k->dim, &k->tile);
}

clv_status clv_kmeans(clv_context *ctx, const clv_cluster_desc *desc, const clv_view *rows, int64_t *assignment,
                      clv_cluster_result *out)
{
    CLV_CHECK(ctx && desc && rows && assignment && out, CLV_ERR_INVALID, "clv_kmeans: an argument is NULL");
    CLV_CHECK(desc->struct_size == sizeof *desc, CLV_ERR_INVALID, "k-means: start from CLV_CLUSTER_DESC_INIT");
    CLV_TRY(clvi_rows_check(rows, "k-means"));
    CLV_CHECK(rows->shape[1] > 0, CLV_ERR_SHAPE, "k-means: rows have no values");
    CLV_CHECK(desc->clusters >= 1 && desc->clusters <= rows->shape[0], CLV_ERR_INVALID,
              "k-means: %" PRId64 " clusters of %" PRId64 " rows", desc->clusters, rows->shape[0]);
    CLV_CHECK(desc->restarts >= 1 && desc->steps >= 1, CLV_ERR_INVALID,
              "k-means: %" PRId64 " restarts of %" PRId64 " steps; both must be positive", desc->restarts, desc->steps);
    kmeans k = { .ctx = ctx, .n = rows->shape[0], .dim = rows->shape[1], .clusters = desc->clusters };
    int64_t *before = clvi_calloc(ctx, (size_t)k.n, sizeof *before);
    clv_status st = before ? prepare(&k, rows, desc->unit) : CLV_ERR_NOMEM;
    if (st == CLV_OK) st = run_all(&k, desc, assignment, before, out);
    void *const memory[] = { before, k.rows, k.centres, k.sums, k.half_norm, k.count, k.distance, k.assignment };
    for (size_t i = 0; i < CLVI_COUNT(memory); i++) clvi_free(ctx, memory[i]);
    clvi_gemm_tile_destroy(&k.tile);
    return st;
}

/* ---- partitions ---- */

typedef struct pair {
    int64_t a, b;
} pair;

static int by_both(const void *left, const void *right)
{
    const pair *x = left, *y = right;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    return (x->b > y->b) - (x->b < y->b);
}

/* Of the parts that equal neighbours form: entropy in nats, and pairs of rows that lie in one part. */
static void measure_parts(const pair *sorted, int64_t n, double *entropy, double *together)
{
    *entropy = *together = 0.0;
    for (int64_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && by_both(&sorted[end], &sorted[first]) == 0; end++) {}
        const double rows = (double)(end - first), share = rows / (double)n;
        *entropy -= share * log(share);
        *together += rows * (rows - 1.0) / 2.0;
    }
}

clv_status clv_partitions_compare(clv_context *ctx, const int64_t *a, const int64_t *b, int64_t n, double *nmi,
                                  double *ari)
{
    CLV_CHECK(ctx && a && b && nmi && ari && n >= 1, CLV_ERR_INVALID,
              "clv_partitions_compare: an argument is NULL, or n is 0");
    pair *pairs = clvi_calloc(ctx, (size_t)n, sizeof *pairs);
    if (!pairs) return CLV_ERR_NOMEM;
    double entropy[3], together[3];                   /* of a, of b, of both */
    for (int which = 0; which < 3; which++) {
        for (int64_t i = 0; i < n; i++) pairs[i] = (pair){ which == 1 ? 0 : a[i], which == 0 ? 0 : b[i] };
        qsort(pairs, (size_t)n, sizeof *pairs, by_both);
        measure_parts(pairs, n, &entropy[which], &together[which]);
    }
    clvi_free(ctx, pairs);
    const double mean = 0.5 * (entropy[0] + entropy[1]), all = (double)n * ((double)n - 1.0) / 2.0;
    const double expected = all > 0.0 ? together[0] * together[1] / all : 0.0, most = 0.5 * (together[0] + together[1]);
    *nmi = mean > 0.0 ? fmin(fmax((entropy[0] + entropy[1] - entropy[2]) / mean, 0.0), 1.0) : 1.0;
    *ari = most > expected ? (together[2] - expected) / (most - expected) : 1.0;
    return CLV_OK;
}
